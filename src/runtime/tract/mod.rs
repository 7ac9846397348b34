//! tract: one plan for one image, run on as many threads as asked for. A tower that is one lowered
//! program runs several images at once without the plan.

use super::batch::Workers;
use super::{Embedder, check_images, check_output, support};
use crate::edge;
use crate::onnx::ModelProto;
use crate::tower::{OUTPUT, TowerSpec};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView3, ArrayView4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::prelude::*;

/// The name of this runtime in errors and reports.
pub const NAME: &str = "tract";
/// The newest operator set that tract is tested with; newer models mostly work.
pub const TESTED_OPSET: i64 = 18;
/// Newer operator sets were not published when this version of tract was: what their operators
/// mean, it cannot know.
pub const NEWEST_OPSET: i64 = 26;

/// How tract runs a tower.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TractOptions {
    /// Threads that a batch is split over; 0 for one a core.
    pub threads: usize,
}

/// A tower in tract.
pub struct TractEmbedder {
    spec: TowerSpec,
    /// The most images that a worker takes at once.
    most: usize,
    workers: Workers<Worker>,
}

/// What runs images on one thread.
enum Worker {
    /// One after the other.
    Plan(Box<TypedSimpleState>),
    /// Several at once.
    Program(Arc<edge::Program>, Box<edge::Scratch>),
}

impl TractEmbedder {
    /// Opens a tower that was read already: `spec` and `model` from its `bytes`.
    ///
    /// # Errors
    /// When tract cannot run it: names every operator that it lacks.
    pub fn open(
        options: &TractOptions,
        spec: TowerSpec,
        model: &ModelProto,
        bytes: &[u8],
        name: &str,
    ) -> Result<Self> {
        let plan = plan(&spec, model, bytes, name)?;
        let failed = |e: TractError| Error::Runtime {
            runtime: NAME,
            action: format!("start {name}"),
            source: e.into(),
        };
        let program = edge::whole(plan.model()).filter(|program| program.output_size(0) == spec.dim);
        let most = program.as_ref().map_or(1, |program| program.images);
        let worker = || match &program {
            Some(program) => Ok(Worker::Program(program.clone(), Box::new(program.scratch()))),
            None => Ok(Worker::Plan(Box::new(plan.spawn().map_err(failed)?))),
        };
        let workers = Workers::new(options.threads, worker)?;
        Ok(Self { spec, most, workers })
    }
}

impl Embedder for TractEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let spec = &self.spec;
        self.workers.rows(images, spec.dim, self.most, |worker, images, rows| match worker {
            Worker::Plan(state) => {
                let mut each = images.outer_iter().zip(rows.chunks_exact_mut(spec.dim));
                each.try_for_each(|(image, row)| run(spec, state, image, row))
            }
            Worker::Program(program, scratch) => {
                let pixels = images.as_standard_layout();
                // In standard layout there is always a slice.
                program.run(scratch, pixels.as_slice().unwrap_or_default());
                let rows = rows.chunks_exact_mut(spec.dim).enumerate();
                rows.for_each(|(i, row)| program.output(scratch, 0, i, row));
                Ok(())
            }
        })
    }
}

/// Runs one image `[C, S, S]` into its row `[D]`.
fn run(
    spec: &TowerSpec,
    state: &mut TypedSimpleState,
    image: ArrayView3<'_, u8>,
    row: &mut [f32],
) -> Result<()> {
    let failed = |e: TractError| Error::Runtime {
        runtime: NAME,
        action: format!("embed an image with {}", spec.name),
        source: e.into(),
    };
    let pixels = image.as_standard_layout();
    let shape = [1, image.shape()[0], image.shape()[1], image.shape()[2]];
    // In standard layout there is always a slice.
    let pixels = pixels.as_slice().unwrap_or_default();
    let input = Tensor::from_shape(&shape, pixels).map_err(failed)?;
    let outputs = state.run(tvec!(input.into())).map_err(failed)?;
    let output = outputs.first().ok_or_else(|| Error::invalid(&spec.name, "gave no output"))?;
    check_output(spec, 1, output.shape())?;
    row.copy_from_slice(output.try_as_plain_ram().and_then(|t| t.as_slice::<f32>()).map_err(failed)?);
    Ok(())
}

/// The optimised plan of a tower for one image.
fn plan(spec: &TowerSpec, model: &ModelProto, bytes: &[u8], name: &str) -> Result<Arc<TypedSimplePlan>> {
    if model.opset().is_some_and(|opset| opset > NEWEST_OPSET) {
        let advice = format!("it knows opsets up to {NEWEST_OPSET}: export the model again with opset 17");
        return Err(support::refusal(NAME, name, model, &[], &advice, None));
    }
    // Intermediate shapes in the file speak of N images; the plan is for one.
    let onnx = onnx().with_ignore_value_info(true);
    let mut lacking = support::operators(model);
    lacking
        .retain(|operator| !operator.domain.is_empty() || !onnx.op_register.0.contains_key(&operator.name));
    if !lacking.is_empty() {
        let advice = "run it with ONNX Runtime (`--runtime ort`), or export it without them";
        return Err(support::refusal(NAME, name, model, &lacking, advice, None));
    }
    // A damaged graph can make tract's loader panic; that is the model's fault, and an error here.
    let built = catch_unwind(AssertUnwindSafe(|| build(spec, &onnx, model, bytes)));
    let source = match built {
        Ok(Ok(plan)) => return Ok(plan),
        Ok(Err(e)) => e.into(),
        Err(panic) => words_of(&*panic).into(),
    };
    let advice = if model.opset().is_some_and(|opset| opset > TESTED_OPSET) {
        format!(
            "it is tested up to opset {TESTED_OPSET}: export the model again with opset 17, or run it with ONNX Runtime"
        )
    } else {
        "check the model with `siamese inspect`, or run it with ONNX Runtime".into()
    };
    Err(support::refusal(NAME, name, model, &[], &advice, Some(source)))
}

fn build(
    spec: &TowerSpec,
    onnx: &tract_onnx::Onnx,
    model: &ModelProto,
    mut bytes: &[u8],
) -> TractResult<Arc<TypedSimplePlan>> {
    let (channels, side) = (spec.preprocessing.channels(), spec.preprocessing.size());
    let image = u8::fact([1, channels, side, side]);
    let typed = onnx
        .model_for_read(&mut bytes)?
        .with_outputs_by_name([OUTPUT])?
        .with_input_fact(0, image.into())?
        .into_typed()?;
    optimised(&edge::lower(typed, model)?)?.into_runnable()
}

/// tract's optimised form of a model. One of its passes moves axes of length 1 about and trips over some
/// graphs; those are optimised without that pass.
///
/// # Errors
/// In tract's words, where it cannot run the model.
pub(crate) fn optimised(typed: &TypedModel) -> TractResult<TypedModel> {
    typed.clone().into_optimized().or_else(|first| without_moved_axes(typed.clone()).map_err(|_| first))
}

fn without_moved_axes(mut typed: TypedModel) -> TractResult<TypedModel> {
    let mut passes = tract_onnx::tract_core::optim::Optimizer::declutter();
    passes.passes.retain(|pass| !format!("{pass:?}").starts_with("ChangeAxes"));
    passes.session().optimize(&mut typed)?;
    typed.optimize()?;
    Ok(typed)
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|s| (*s).to_string());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}
