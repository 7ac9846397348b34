//! The operator that runs a program inside a tract plan, and how it gets there.

use super::kernels::Kernels;
use super::program::Program;
use super::run::Scratch;
use super::{Compiled, compile};
use crate::onnx::ModelProto;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// Replaces what can be lowered of a typed tract model, whose input is `uint8 [1, C, H, W]`, by one
/// operator; a model of which nothing can be lowered is returned as it is. `model` is the file that
/// the tract model was made from.
///
/// # Errors
/// If tract refuses the replacement.
pub fn lower(
    mut typed: TypedModel,
    model: &ModelProto,
    kernels: &'static Kernels,
) -> TractResult<TypedModel> {
    let input = typed.input_outlets()?[0];
    let image = typed.outlet_fact(input)?.clone();
    let shape = image.shape.as_concrete().map(<[usize]>::to_vec);
    let Some([1, channels, height, width]) = shape.as_deref() else { return Ok(typed) };
    if typed.input_outlets()?.len() != 1 || image.datum_type != u8::datum_type() {
        return Ok(typed);
    }
    let Ok(compiled) = compile(model, [*channels, *height, *width], kernels) else {
        return Ok(typed);
    };
    let Compiled { program, outputs, .. } = compiled;
    let outlets: Option<Vec<OutletId>> =
        outputs.iter().map(|(name, _)| typed.find_outlet_label(name)).collect();
    let Some(outlets) = outlets else { return Ok(typed) };
    let shapes = outputs.iter().map(|(_, value)| TVec::from_vec(value.view.shape()));
    let op = LoweredOp { shapes: shapes.collect(), program: Arc::new(program) };
    let mut patch = TypedModelPatch::default();
    let tapped = patch.tap_model(&typed, input)?;
    let made = patch.wire_node("lowered", op, &[tapped])?;
    for (outlet, made) in outlets.iter().zip(made) {
        patch.shunt_outside(&typed, *outlet, made)?;
    }
    patch.apply(&mut typed)?;
    Ok(typed)
}

/// A lowered tower, or the beginning of one, as an operator of tract: `uint8 [1, C, H, W]` → float32
/// values.
#[derive(Clone, Debug)]
pub struct LoweredOp {
    program: Arc<Program>,
    /// The shape of each output.
    shapes: Vec<TVec<usize>>,
}

impl PartialEq for LoweredOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.program, &other.program)
    }
}

impl Eq for LoweredOp {}

impl Op for LoweredOp {
    fn name(&self) -> StaticName {
        "SiameseLowered".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(self.program.describe())
    }

    op_as_typed_op!();
}

impl EvalOp for LoweredOp {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(State(self.program.scratch()))))
    }
}

impl TypedOp for LoweredOp {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.shapes.iter().map(f32::fact).collect())
    }
}

/// The memory of one thread's runs.
#[derive(Clone, Debug)]
struct State(Scratch);

impl OpState for State {
    fn eval(&mut self, _: &EvalContext, op: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let op = op.downcast_ref::<LoweredOp>().context("the state of another operator")?;
        let image = args_1!(inputs);
        let image = image.try_as_plain_ram()?;
        op.program.run(&mut self.0, image.as_slice::<u8>()?);
        let mut outputs = TVec::new();
        for (i, shape) in op.shapes.iter().enumerate() {
            let mut tensor = Tensor::zero::<f32>(shape)?;
            op.program.output(&self.0, i, 0, tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
            outputs.push(tensor.into());
        }
        Ok(outputs)
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        // Every run begins anew.
        Ok(())
    }
}
