//! Adam's step, in one pass.

use super::elementwise::PART;
use super::tensors::{in_parallel, operand, outcome};
use super::{KERNELS, flag};
use crate::edge::kernels::{AdamStep, AdamTensors};
use ort::operator::{ComputeContext, KernelContext};

/// What does not change from step to step.
pub struct Attributes {
    beta: [f32; 2],
    /// Whether the parameter decays.
    decay: bool,
}

impl Attributes {
    pub fn of(node: &KernelContext<'_>) -> Self {
        Self {
            beta: ["beta1", "beta2"].map(|name| node.get(name).unwrap_or(0.0)),
            decay: flag(node, "decay"),
        }
    }
}

pub fn step(attributes: &Attributes, context: &ComputeContext) -> ort::Result<()> {
    let old = [operand(context, 0)?, operand(context, 1)?, operand(context, 2)?, operand(context, 3)?];
    let scalar = |place: usize| operand(context, place)?.scalar();
    let averaged = 6 + usize::from(attributes.decay);
    let average = if context.num_outputs()? > 3 { Some(operand(context, averaged)?) } else { None };
    let how = AdamStep {
        beta1: attributes.beta[0],
        beta2: attributes.beta[1],
        rate: scalar(4)?,
        epsilon: scalar(5)?,
        kept: if attributes.decay { scalar(6)? } else { 1.0 },
        share: if average.is_some() { scalar(averaged + 1)? } else { 0.0 },
    };
    let shape = old[0].shape();
    let mut new = [outcome(context, 0, &shape)?, outcome(context, 1, &shape)?, outcome(context, 2, &shape)?];
    let mut moved = if average.is_some() { Some(outcome(context, 3, &shape)?) } else { None };

    let mut old = [old[0].floats()?, old[1].floats()?, old[2].floats()?, old[3].floats()?]
        .map(|tensor| tensor.chunks(PART));
    let [next, m, v] = &mut new;
    let mut new = [next.floats()?, m.floats()?, v.floats()?].map(|tensor| tensor.chunks_mut(PART));
    let mut averages = match (&average, &mut moved) {
        (Some(average), Some(moved)) => {
            Some(average.floats()?.chunks(PART).zip(moved.floats()?.chunks_mut(PART)))
        }
        _ => None,
    };
    let parts = std::iter::from_fn(|| {
        let [param, grad, m, v] = old.each_mut().map(Iterator::next);
        let [next, next_m, next_v] = new.each_mut().map(Iterator::next);
        Some(AdamTensors {
            old: [param?, grad?, m?, v?],
            new: [next?, next_m?, next_v?],
            average: averages.as_mut().and_then(Iterator::next),
        })
    });
    in_parallel(context, parts, |_, tensors| KERNELS.adam_step(how, tensors))
}
