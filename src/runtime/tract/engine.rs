//! Whole graphs on tract.

use super::{NAME, faults, mend, optimised};
use crate::onnx::{self, DType, ModelProto};
use crate::runtime::caught::{Cause, caught};
use crate::runtime::{Engine, Named, TRACT};
use crate::{Error, Result};
use prost::Message;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// tract; one thread, which is all that one image at a time can use.
#[derive(Debug, Default)]
pub struct TractEngine;

impl Engine for TractEngine {
    fn name(&self) -> &str {
        TRACT.name
    }

    fn run(&mut self, model: &ModelProto, inputs: &[(String, onnx::Tensor)]) -> Result<Vec<onnx::Tensor>> {
        faults::check(model, "the graph")?;
        run_as_is(&mend::mended(model), inputs)
    }

    fn run_each(&mut self, model: &ModelProto, inputs: &[Named]) -> Result<Vec<Vec<onnx::Tensor>>> {
        let Some(first) = inputs.first() else { return Ok(Vec::new()) };
        // A plan holds the lists among its inputs, which then must be the same.
        if first.iter().any(|(_, value)| is_list(value)) {
            return inputs.iter().map(|inputs| self.run(model, inputs)).collect();
        }
        faults::check(model, "the graph")?;
        let model = mend::mended(model);
        let plan = caught(|| prepared(&model, first)).map_err(failed)?;
        let each = inputs
            .iter()
            .map(|inputs| caught(|| execute(&plan, inputs)).map_err(failed)?.iter().map(read).collect());
        each.collect()
    }

    fn stream(
        &mut self,
        model: &ModelProto,
        inputs: &mut dyn Iterator<Item = Named>,
        take: &mut dyn FnMut(Vec<onnx::Tensor>) -> Result<()>,
    ) -> Result<()> {
        let Some(first) = inputs.next() else { return Ok(()) };
        if first.iter().any(|(_, value)| is_list(value)) {
            take(self.run(model, &first)?)?;
            for inputs in inputs {
                take(self.run(model, &inputs)?)?;
            }
            return Ok(());
        }
        faults::check(model, "the graph")?;
        let model = mend::mended(model);
        let plan = caught(|| prepared(&model, &first)).map_err(failed)?;
        for inputs in std::iter::once(first).chain(inputs) {
            let results = caught(|| execute(&plan, &inputs)).map_err(failed)?;
            take(results.iter().map(read).collect::<Result<_>>()?)?;
        }
        Ok(())
    }
}

fn failed(source: Cause) -> Error {
    Error::Runtime { runtime: NAME, action: "run a graph".into(), source }
}

/// The outputs of a model, without a look at what tract gets wrong.
///
/// # Errors
/// Where tract refuses it or fails.
pub(super) fn run_as_is(model: &ModelProto, inputs: &[(String, onnx::Tensor)]) -> Result<Vec<onnx::Tensor>> {
    let work = || prepared(model, inputs).and_then(|plan| execute(&plan, inputs));
    let results = caught(work).map_err(failed)?;
    results.iter().map(read).collect()
}

/// Whole numbers in a row, as the shape that a `Reshape` reads: tract plans with their values.
fn is_list(value: &onnx::Tensor) -> bool {
    matches!(value, onnx::Tensor::I64(list) if list.ndim() <= 1)
}

/// The model with some of its inputs as weights.
fn holding(model: &ModelProto, fixed: &[&(String, onnx::Tensor)]) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph.input.retain(|input| fixed.iter().all(|(name, _)| name != input.name()));
        graph.initializer.extend(fixed.iter().map(|(name, value)| value.to_proto(name)));
    }
    model
}

/// Which inputs a plan holds: lists, unless there is nothing else.
fn parted(inputs: &[(String, onnx::Tensor)]) -> (Vec<&(String, onnx::Tensor)>, Vec<&(String, onnx::Tensor)>) {
    let all = inputs.iter().all(|(_, value)| is_list(value));
    inputs.iter().partition(|(_, value)| !all && is_list(value))
}

fn prepared(model: &ModelProto, inputs: &[(String, onnx::Tensor)]) -> TractResult<Arc<TypedSimplePlan>> {
    let (fixed, _) = parted(inputs);
    let typed = onnx()
        // What inference finds is compared; what a file claims of inner tensors is not needed.
        .with_ignore_value_info(true)
        .model_for_read(&mut holding(model, &fixed).encode_to_vec().as_slice())?
        .into_typed()?;
    optimised(typed)?.into_runnable()
}

fn execute(plan: &Arc<TypedSimplePlan>, inputs: &[(String, onnx::Tensor)]) -> TractResult<Vec<Tensor>> {
    let (_, given) = parted(inputs);
    let values =
        given.iter().map(|(_, value)| Ok(tensor(value)?.into_tvalue())).collect::<TractResult<TVec<_>>>()?;
    plan.run(values)?.into_iter().map(|value| numeric(value.into_tensor())).collect()
}

/// Shapes inside tract may be symbolic expressions; here they are all numbers.
fn numeric(tensor: Tensor) -> TractResult<Tensor> {
    if tensor.datum_type() == TDim::datum_type() {
        return Ok(tensor.cast_to::<i64>()?.into_owned());
    }
    Ok(tensor)
}

fn tensor(value: &onnx::Tensor) -> TractResult<Tensor> {
    Ok(match value {
        onnx::Tensor::F32(a) => a.clone().into_tensor(),
        onnx::Tensor::F64(a) => a.clone().into_tensor(),
        onnx::Tensor::U8(a) => a.clone().into_tensor(),
        onnx::Tensor::I8(a) => a.clone().into_tensor(),
        onnx::Tensor::I32(a) => a.clone().into_tensor(),
        onnx::Tensor::I64(a) => a.clone().into_tensor(),
        onnx::Tensor::Bool(a) => a.clone().into_tensor(),
    })
}

fn read(tensor: &Tensor) -> Result<onnx::Tensor> {
    let kinds = [
        (f32::datum_type(), DType::F32),
        (f64::datum_type(), DType::F64),
        (u8::datum_type(), DType::U8),
        (i8::datum_type(), DType::I8),
        (i32::datum_type(), DType::I32),
        (i64::datum_type(), DType::I64),
        (bool::datum_type(), DType::Bool),
    ];
    let found = kinds.iter().find(|(kind, _)| *kind == tensor.datum_type());
    let Some((_, dtype)) = found else {
        let why = format!("gives a tensor of type {:?}, which is not compared", tensor.datum_type());
        return Err(Error::invalid(NAME, why));
    };
    onnx::Tensor::from_bytes(*dtype, tensor.shape(), tensor.as_bytes())
}
