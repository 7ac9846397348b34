//! tract: one plan for one image, run on as many threads as asked for. A tower that is one lowered
//! program needs no plan.

mod anew;
mod engine;
mod faults;
#[cfg(test)]
mod faults_tests;
mod mend;

use super::batch::Workers;
use super::caught::{Cause, caught};
use super::lowered::{ProgramEmbedder, program};
use super::{Backend, Embedder, Engine, Options, ReadTower, TRACT, check_images, check_output, support};
use crate::edge::{self, kernels::Kernels};
use crate::tower::{OUTPUT, TowerSpec};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView3, ArrayView4};
use prost::Message;
use std::borrow::Cow;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// What messages call it.
const NAME: &str = TRACT.title;
/// The version of tract that is built in.
const VERSION: &str = "0.23.9";
/// The newest operator set that tract is tested with; newer models mostly work.
pub const TESTED_OPSET: i64 = 18;
/// Newer operator sets were not published when this version of tract was: what their operators
/// mean, it cannot know.
pub const NEWEST_OPSET: i64 = 26;

/// tract.
#[derive(Debug)]
pub struct Tract;

impl Backend for Tract {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn open(&self, options: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
        support::check_opset(NAME, &tower, NEWEST_OPSET)?;
        faults::check(tower.model, tower.name)?;
        let kernels = edge::kernels()?;
        if let Some(Ok(program)) = kernels.map(|kernels| program(&tower, kernels)) {
            return Ok(Box::new(ProgramEmbedder::new(options, program, tower.spec)?));
        }
        Ok(Box::new(TractEmbedder::open(options, tower, kernels)?))
    }

    fn engine(&self, _: &Options) -> Result<Box<dyn Engine>> {
        Ok(Box::new(engine::TractEngine))
    }
}

/// A tower in tract.
struct TractEmbedder {
    spec: TowerSpec,
    workers: Workers<Worker>,
}

/// What runs images on one thread.
enum Worker {
    /// One after the other.
    Plan(Box<TypedSimpleState>),
    /// One after the other, each with a state of its own.
    Anew(Arc<TypedSimplePlan>),
}

impl TractEmbedder {
    /// Makes a tower ready.
    ///
    /// # Errors
    /// When tract cannot run it: names every operator that it lacks.
    fn open(options: &Options, tower: ReadTower<'_>, kernels: Option<&'static Kernels>) -> Result<Self> {
        let plan = plan(&tower, kernels)?;
        let failed = |e: TractError| Error::Runtime {
            runtime: NAME,
            action: format!("start {}", tower.name),
            source: e.into(),
        };
        let anew = anew::carries_over(plan.model());
        let worker = || match anew {
            true => Ok(Worker::Anew(plan.clone())),
            false => Ok(Worker::Plan(Box::new(plan.spawn().map_err(failed)?))),
        };
        let workers = Workers::new(options.threads(), worker)?;
        Ok(Self { spec: tower.spec, workers })
    }
}

impl Embedder for TractEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let spec = &self.spec;
        self.workers.rows(images, spec.dim, 1, |worker, images, rows| match worker {
            Worker::Plan(state) => {
                let mut each = images.outer_iter().zip(rows.chunks_exact_mut(spec.dim));
                each.try_for_each(|(image, row)| run(spec, |inputs| state.run(inputs), image, row))
            }
            Worker::Anew(plan) => {
                let mut each = images.outer_iter().zip(rows.chunks_exact_mut(spec.dim));
                each.try_for_each(|(image, row)| run(spec, |inputs| plan.run(inputs), image, row))
            }
        })
    }
}

/// Runs one image `[C, S, S]` into its row `[D]`.
fn run(
    spec: &TowerSpec,
    plan: impl FnOnce(TVec<TValue>) -> TractResult<TVec<TValue>>,
    image: ArrayView3<'_, u8>,
    row: &mut [f32],
) -> Result<()> {
    let told = |source: Cause| Error::Runtime {
        runtime: NAME,
        action: format!("embed an image with {}", spec.name),
        source,
    };
    let failed = |e: TractError| told(e.into());
    let pixels = image.as_standard_layout();
    let shape = [1, image.shape()[0], image.shape()[1], image.shape()[2]];
    // In standard layout there is always a slice.
    let pixels = pixels.as_slice().unwrap_or_default();
    let input = Tensor::from_shape(&shape, pixels).map_err(failed)?;
    let outputs = caught(|| plan(tvec!(input.into()))).map_err(told)?;
    let output = outputs.first().ok_or_else(|| Error::invalid(&spec.name, "gave no output"))?;
    check_output(spec, 1, output.shape())?;
    row.copy_from_slice(output.try_as_plain_ram().and_then(|t| t.as_slice::<f32>()).map_err(failed)?);
    Ok(())
}

/// The optimised plan of a tower for one image.
fn plan(tower: &ReadTower<'_>, kernels: Option<&'static Kernels>) -> Result<Arc<TypedSimplePlan>> {
    // Intermediate shapes in the file speak of N images; the plan is for one.
    let onnx = onnx().with_ignore_value_info(true);
    let lacking = support::lacking(tower.model, |operator| {
        operator.domain.is_empty() && onnx.op_register.0.contains_key(&operator.name)
    });
    if !lacking.is_empty() {
        return Err(support::refusal(NAME, tower, &lacking, support::advice(&lacking), None));
    }
    caught(|| build(&onnx, tower, kernels)).map_err(|source| {
        let advice = if tower.model.opset().is_some_and(|opset| opset > TESTED_OPSET) {
            format!(
                "it is tested up to opset {TESTED_OPSET}: export the model again with opset 17, or run it with ONNX Runtime"
            )
        } else {
            support::advice(&[]).into()
        };
        support::refusal(NAME, tower, &[], &advice, Some(source))
    })
}

fn build(
    onnx: &tract_onnx::Onnx,
    tower: &ReadTower<'_>,
    kernels: Option<&'static Kernels>,
) -> TractResult<Arc<TypedSimplePlan>> {
    let how = &tower.spec.preprocessing;
    let image = u8::fact([1, how.channels(), how.size(), how.size()]);
    let bytes = match mend::mended(tower.model) {
        Cow::Borrowed(_) => Cow::Borrowed(tower.bytes),
        Cow::Owned(model) => Cow::Owned(model.encode_to_vec()),
    };
    let typed = onnx
        .model_for_read(&mut &*bytes)?
        .with_outputs_by_name([OUTPUT])?
        .with_input_fact(0, image.into())?
        .into_typed()?;
    let lowered = match kernels {
        Some(kernels) => edge::lower(typed, tower.model, kernels)?,
        None => typed,
    };
    optimised(lowered)?.into_runnable()
}

/// tract's optimised form of a model, whose recurrences begin anew in each run. One of its passes moves axes of
/// length 1 about and trips over some graphs; those are optimised without that pass.
///
/// # Errors
/// In tract's words, where it cannot run the model.
fn optimised(mut typed: TypedModel) -> TractResult<TypedModel> {
    anew::begin_anew(&mut typed);
    typed.clone().into_optimized().or_else(|first| without_moved_axes(typed).map_err(|_| first))
}

fn without_moved_axes(mut typed: TypedModel) -> TractResult<TypedModel> {
    let mut passes = tract_onnx::tract_core::optim::Optimizer::declutter();
    passes.passes.retain(|pass| !format!("{pass:?}").starts_with("ChangeAxes"));
    passes.session().optimize(&mut typed)?;
    typed.optimize()?;
    Ok(typed)
}
