//! The operator that runs a program inside a tract plan.

use super::program::Program;
use super::run::Scratch;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// A lowered tower, or the beginning of one: `uint8 [1, C, H, W]` → float32 values.
#[derive(Clone, Debug)]
pub struct Lowered {
    pub(super) program: Arc<Program>,
    /// The shape of each output.
    pub(super) shapes: Vec<TVec<usize>>,
}

impl PartialEq for Lowered {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.program, &other.program)
    }
}

impl Eq for Lowered {}

impl Op for Lowered {
    fn name(&self) -> StaticName {
        "SiameseLowered".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(self.program.describe())
    }

    op_as_typed_op!();
}

impl EvalOp for Lowered {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        Ok(Some(Box::new(State(self.program.scratch()))))
    }
}

impl TypedOp for Lowered {
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
        let op = op.downcast_ref::<Lowered>().context("the state of another operator")?;
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
