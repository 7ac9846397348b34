//! A runtime made of the reference interpreter, which rounds each result to float32 and can be told
//! to be wrong at one node: what tests of everything above [`Engine`] run on.

use super::{Blob, Engine};
use crate::Result;
use crate::onnx::{DType, ModelProto};
use crate::walk::Interpreter;

/// The runtime.
pub struct Mock {
    /// Its name.
    pub name: &'static str,
    /// (operator, what is done to each of its results).
    pub fault: Option<(&'static str, fn(f64) -> f64)>,
}

impl Mock {
    /// One without faults.
    pub fn sound(name: &'static str) -> Self {
        Self { name, fault: None }
    }
}

impl Engine for Mock {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&mut self, model: &ModelProto, inputs: &[(String, Blob)]) -> Result<Vec<Blob>> {
        let given = inputs.iter().map(|(name, value)| (name.clone(), value.to_f64())).collect();
        let values = Interpreter::<f64>::new(model)?.trace_with(given, |node, result| {
            let wrong = self.fault.filter(|(op, _)| node.op_type() == *op);
            result.mapv_inplace(|x| f64::from(wrong.map_or(x, |(_, f)| f(x)) as f32));
        })?;
        let outputs = model.graph.iter().flat_map(|g| &g.output).filter_map(|o| values.get(o.name()));
        Ok(outputs.map(|v| Blob::from_f64(v, DType::F32)).collect())
    }
}
