//! A runtime made of the reference interpreter, which rounds each result to float32 and can be told to be
//! wrong at one operator: what tests of everything that compares runtimes run on.
#![allow(clippy::unwrap_used)]

use super::{Backend, Device, Embedder, Engine, Options, ReadTower, Runner, Runtime, check_images};
use crate::Result;
use crate::onnx::{DType, ModelProto, Tensor};
use crate::tower::{INPUT, TowerSpec};
use crate::walk::Interpreter;
use ndarray::{Array2, ArrayView4, Axis};

/// The runtime.
#[derive(Clone, Copy, Debug)]
pub struct Interpreted {
    /// Its name.
    pub name: &'static str,
    /// (operator, what is done to each of its results).
    pub fault: Option<(&'static str, fn(f64) -> f64)>,
}

impl Interpreted {
    /// One without faults.
    pub fn sound(name: &'static str) -> Self {
        Self { name, fault: None }
    }

    /// A row of its own, which is in no table.
    pub fn runner(self) -> Runner {
        let runtime = Runtime {
            name: self.name,
            title: "the interpreter",
            about: "the interpreter",
            devices: &[Device::Cpu],
            levels: &[],
            library: false,
            backend: Some(Box::leak(Box::new(self))),
        };
        Box::leak(Box::new(runtime)).with(Options { threads: 1, ..Options::default() }).unwrap()
    }
}

impl Backend for Interpreted {
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn open(&self, _: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
        Ok(Box::new(Tower { engine: *self, spec: tower.spec, model: tower.model.clone() }))
    }

    fn engine(&self, _: &Options) -> Result<Box<dyn Engine>> {
        Ok(Box::new(*self))
    }
}

impl Engine for Interpreted {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&mut self, model: &ModelProto, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
        let given = inputs.iter().map(|(name, value)| (name.clone(), value.to_f64())).collect();
        let values = Interpreter::<f64>::new(model)?.trace_with(given, |node, result| {
            let wrong = self.fault.filter(|(op, _)| node.op_type() == *op);
            result.mapv_inplace(|x| f64::from(wrong.map_or(x, |(_, f)| f(x)) as f32));
        })?;
        let outputs = model.graph.iter().flat_map(|g| &g.output).filter_map(|o| values.get(o.name()));
        Ok(outputs.map(|v| Tensor::from_f64(v, DType::F32)).collect())
    }
}

struct Tower {
    engine: Interpreted,
    spec: TowerSpec,
    model: ModelProto,
}

impl Embedder for Tower {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let mut rows = Array2::zeros((images.len_of(Axis(0)), self.spec.dim));
        for (image, mut row) in images.axis_chunks_iter(Axis(0), 1).zip(rows.rows_mut()) {
            let input = [(INPUT.to_string(), Tensor::U8(image.to_owned().into_dyn()))];
            let result = self.engine.run(&self.model, &input)?.remove(0).to_f64();
            row.iter_mut().zip(&result).for_each(|(to, from)| *to = *from as f32);
        }
        Ok(rows)
    }
}
