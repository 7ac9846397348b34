//! rten: pure Rust. A tower's batch is one run, spread over a pool of threads that belongs to the embedder.
//!
//! rten has no int64, bool or float64: it computes with int32 and float32 in their place.

use super::caught::{Cause, caught};
use super::support::{self, OperatorUse};
use super::{Backend, Embedder, Engine, OptLevel, Options, RTEN, ReadTower, check_output, in_parts};
use crate::onnx::{self, DType, ModelProto, ValueInfoProto};
use crate::tower::{INPUT, OUTPUT, TowerSpec};
use crate::walk::Types;
use crate::{Error, Result};
use ndarray::{Array2, ArrayD, ArrayView4, Axis, IxDyn};
use prost::Message;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;
use std::sync::Arc;

/// What messages call it.
const NAME: &str = RTEN.title;
/// The version of rten that is built in.
const VERSION: &str = "0.27.0";
/// The newest operator set that it has operators of; what those of a newer one mean, it cannot know.
const NEWEST_OPSET: i64 = 26;

/// rten.
#[derive(Debug)]
pub struct Rten;

impl Backend for Rten {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn open(&self, options: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
        support::check_opset(NAME, &tower, NEWEST_OPSET)?;
        let model = Loaded::new(options, tower.bytes).map_err(|source| explain(&tower, source))?;
        Ok(Box::new(RtenEmbedder { spec: tower.spec, model }))
    }

    fn engine(&self, options: &Options) -> Result<Box<dyn Engine>> {
        Ok(Box::new(RtenEngine(options.clone())))
    }
}

/// A graph, and the threads that run it.
struct Loaded {
    model: Model,
    pool: Arc<ThreadPool>,
}

impl Loaded {
    fn new(options: &Options, bytes: &[u8]) -> Result<Self, Cause> {
        let optimise = options.level != Some(OptLevel::Off);
        let load = || ModelOptions::with_all_ops().enable_optimization(optimise).load(bytes.to_vec());
        let pool = Arc::new(ThreadPool::with_num_threads(options.threads()));
        Ok(Self { model: caught(load)?, pool })
    }

    fn run(&self, inputs: Vec<(&str, ValueOrView<'_>)>, outputs: &[&str]) -> Result<Vec<Value>, Cause> {
        caught(|| {
            let id = |name: &str| self.model.node_id(name);
            let inputs = inputs.into_iter().map(|(name, value)| Ok((id(name)?, value)));
            let inputs = inputs.collect::<Result<Vec<_>, rten::RunError>>()?;
            let outputs = outputs.iter().map(|name| id(name)).collect::<Result<Vec<NodeId>, _>>()?;
            let how = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
            self.model.run(inputs, &outputs, Some(how))
        })
    }
}

/// A tower in rten.
struct RtenEmbedder {
    spec: TowerSpec,
    model: Loaded,
}

impl Embedder for RtenEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        let Self { spec, model } = self;
        in_parts(spec, images, |part, rows| {
            rows.extend(run(spec, model, part)?);
            Ok(())
        })
    }
}

/// The rows of a part of a batch.
fn run(spec: &TowerSpec, model: &Loaded, images: ArrayView4<'_, u8>) -> Result<Vec<f32>> {
    let failed = |source: Cause| Error::Runtime {
        runtime: NAME,
        action: format!("embed images with {}", spec.name),
        source,
    };
    let pixels = images.as_standard_layout();
    // In standard layout there is always a slice.
    let pixels = pixels.as_slice().unwrap_or_default();
    let input = ValueView::from_shape(images.shape(), pixels).map_err(|e| failed(e.into()))?;
    let results = model.run(vec![(INPUT, input.into())], &[OUTPUT]).map_err(failed)?;
    let output = results.first().and_then(|value| value.as_tensor_view::<f32>());
    let output = output.ok_or_else(|| Error::invalid(&spec.name, "gave no embeddings"))?;
    check_output(spec, images.len_of(Axis(0)), output.shape())?;
    Ok(output.to_vec())
}

/// rten names the first fault only; asks it for every operator that it does not have.
fn explain(tower: &ReadTower<'_>, source: Cause) -> Error {
    let lacking = support::lacking(tower.model, |operator| knows(tower.model, operator));
    support::refusal(NAME, tower, &lacking, support::advice(&lacking), Some(source))
}

/// Whether rten has this operator: a model of that single node fails with these words where it has not.
fn knows(model: &ModelProto, operator: &OperatorUse) -> bool {
    let as_written = Options { threads: 1, level: Some(OptLevel::Off), ..Options::default() };
    let words = match Loaded::new(&as_written, &support::one_node(model, operator).encode_to_vec()) {
        Ok(_) => return true,
        Err(cause) => cause.to_string(),
    };
    !["operator not supported or not enabled", "operator not enabled because"]
        .iter()
        .any(|sign| words.contains(sign))
}

/// Whole graphs on rten.
struct RtenEngine(Options);

impl Engine for RtenEngine {
    fn name(&self) -> &str {
        RTEN.name
    }

    fn run(&mut self, model: &ModelProto, inputs: &[(String, onnx::Tensor)]) -> Result<Vec<onnx::Tensor>> {
        let failed = |source| Error::Runtime { runtime: NAME, action: "run a graph".into(), source };
        let loaded = Loaded::new(&self.0, &model.encode_to_vec()).map_err(failed)?;
        let given = inputs.iter().map(|(name, tensor)| Ok((name.as_str(), value(tensor)?.into())));
        let outputs = model.graph.iter().flat_map(|graph| &graph.output);
        let names: Vec<&str> = outputs.map(ValueInfoProto::name).collect();
        let results = loaded.run(given.collect::<Result<_>>()?, &names).map_err(failed)?;
        let types = Types::elements(model);
        let told = |name: &str| types.get(name).and_then(|known| known.dtype);
        results.iter().zip(names).map(|(value, name)| read(value, told(name))).collect()
    }
}

/// A tensor for rten: int64 and bool become int32, float64 becomes float32.
fn value(tensor: &onnx::Tensor) -> Result<Value> {
    fn of<T: Copy, U>(array: &ArrayD<T>, to: impl Fn(T) -> Result<U>) -> Result<Value>
    where
        Value: From<Tensor<U>>,
    {
        let numbers = array.iter().map(|&x| to(x)).collect::<Result<Vec<U>>>()?;
        Value::from_shape(array.shape(), numbers)
            .map_err(|e| Error::invalid_because(NAME, "takes no tensor of this shape", e))
    }
    let short = |x: i64| {
        let why =
            || Error::invalid(NAME, format!("computes with int32 in place of int64, which {x} does not fit"));
        i32::try_from(x).map_err(|_| why())
    };
    match tensor {
        onnx::Tensor::F32(a) => of(a, Ok),
        onnx::Tensor::F64(a) => of(a, |x| Ok(x as f32)),
        onnx::Tensor::U8(a) => of(a, Ok),
        onnx::Tensor::I8(a) => of(a, Ok),
        onnx::Tensor::I32(a) => of(a, Ok),
        onnx::Tensor::I64(a) => of(a, short),
        onnx::Tensor::Bool(a) => of(a, |x| Ok(i32::from(x))),
    }
}

/// A tensor from rten, in the type that the graph tells of it.
fn read(value: &Value, told: Option<DType>) -> Result<onnx::Tensor> {
    fn array<T: Copy>(tensor: &Tensor<T>) -> Result<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(tensor.shape()), tensor.to_vec())
            .map_err(|e| Error::invalid_because(NAME, "gives a tensor that does not fill its shape", e))
    }
    let given = match value {
        Value::FloatTensor(tensor) => onnx::Tensor::F32(array(tensor)?),
        Value::Int32Tensor(tensor) => onnx::Tensor::I32(array(tensor)?),
        Value::Int8Tensor(tensor) => onnx::Tensor::I8(array(tensor)?),
        Value::UInt8Tensor(tensor) => onnx::Tensor::U8(array(tensor)?),
        other => {
            let why = format!("gives a value of type {}, which is not compared", other.dtype());
            return Err(Error::invalid(NAME, why));
        }
    };
    Ok(match told {
        Some(dtype) if dtype != given.dtype() => onnx::Tensor::from_f64(&given.to_f64(), dtype),
        _ => given,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    #[test]
    fn int64_is_computed_as_int32_where_it_fits() {
        let g = Graph::new("turn");
        g.output("y", g.input("x", DType::I64, &[2, 3]).reshape(&[3, 2]));
        let model = g.to_model().unwrap();
        let mut engine = Rten.engine(&Options::default()).unwrap();
        let mut run = |numbers: [i64; 6]| {
            let x = ArrayD::from_shape_vec(IxDyn(&[2, 3]), numbers.to_vec()).unwrap();
            engine.run(&model, &[("x".into(), onnx::Tensor::I64(x))])
        };
        let turned = ArrayD::from_shape_vec(IxDyn(&[3, 2]), vec![1, -2, 3, 4, 5, 6]).unwrap();
        assert_eq!(run([1, -2, 3, 4, 5, 6]).unwrap(), [onnx::Tensor::I64(turned)]);
        assert!(run([1, 2, 3, 4, 5, 1 << 40]).unwrap_err().to_string().contains("int32"));
    }
}
