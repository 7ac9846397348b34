//! A runtime made of the reference interpreter, which rounds each result to float32 and can be told
//! to be wrong at one node: what tests of everything above [`Engine`] run on.

use super::{Blob, Engine};
use crate::Result;
use crate::graph::{DType, reference};
use crate::onnx::ModelProto;

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
        let graph = model.graph.clone().unwrap_or_default();
        let mut constants = model.clone();
        constants.graph.as_mut().into_iter().for_each(|g| g.node.clear());
        let given = inputs.iter().map(|(name, value)| (name.clone(), value.to_f64())).collect();
        let mut values = reference::trace(&constants, given)?;
        for node in &graph.node {
            let results = reference::evaluate(node, &values)?;
            let wrong = self.fault.filter(|(op, _)| node.op_type.as_deref() == Some(op));
            for (name, mut result) in node.output.iter().zip(results) {
                result.mapv_inplace(|x| f64::from(wrong.map_or(x, |(_, f)| f(x)) as f32));
                values.insert(name.clone(), result);
            }
        }
        let outputs = graph.output.iter().filter_map(|o| values.get(o.name.as_deref().unwrap_or_default()));
        Ok(outputs.map(|v| Blob::from_f64(v, DType::F32)).collect())
    }
}
