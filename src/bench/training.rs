//! The pace of training steps on the CPU: `siamese bench --training`.
//!
//! A step is the whole of what `siamese train` runs, from uint8 images to the updated weights, on images, labels and
//! masks drawn at random, which cost the same as real ones.

use super::statistics::quantile;
use crate::model::recipe::Data;
use crate::model::{Recipe, seeded};
use crate::runtime::Lookup;
use crate::runtime::ort::SessionOptions;
use crate::sample::{Batch, Targets, mask};
use crate::step::{StepGraph, Target, TrainingClasses, build, initial_state, learning_rate};
use crate::train::{Inputs, Stepper, classes_of_characters};
use crate::{Error, Result};
use ndarray::{Array2, Array4};
use rand::RngExt;
use serde::Serialize;
use std::time::Instant;

/// Characters of Omniglot's background, of which its recipes make their classes; of other data a round number.
const CHARACTERS: usize = 964;
const CLASSES: usize = 100;
/// Steps before the first that counts: memory is taken, and caches are filled.
const WARM_UP: u64 = 2;

/// How long each of some steps took.
#[derive(Clone, Debug, Serialize)]
pub struct Pace {
    /// The recipe's name.
    pub recipe: String,
    /// Where and by what it was computed.
    pub by: String,
    /// Threads of the session.
    pub threads: usize,
    /// Images of a step.
    pub images: usize,
    /// Of each step, in order.
    pub milliseconds: Vec<f64>,
}

impl Pace {
    /// In words.
    pub fn summary(&self) -> String {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = quantile(&sorted, 0.5);
        format!(
            "{}: {} images a step, {} threads, {}\n  {middle:.1} ms a step (least {:.1}), {:.0} images/s\n",
            self.recipe,
            self.images,
            self.threads,
            self.by,
            quantile(&sorted, 0.0),
            1e3 * self.images as f64 / middle
        )
    }
}

/// Times so many steps of a recipe.
///
/// # Errors
/// A recipe whose layers do not fit, or with micro-batches, whose steps are shared by workers; those of the runtime.
pub fn training(recipe: &Recipe, steps: u64, options: &SessionOptions, library: &Lookup) -> Result<Pace> {
    if recipe.micro_batch.is_some() {
        let why = "has micro-batches, which workers share; time `siamese train` with it instead";
        return Err(Error::invalid(format!("recipe {}", recipe.name), why));
    }
    let characters = if matches!(recipe.data, Data::Omniglot { .. }) { CHARACTERS } else { CLASSES };
    let classes = classes_of_characters(recipe, characters)?;
    let target = if options.kernels { Target::Kernels } else { Target::Cpu };
    let graph = build(recipe, &classes, target)?;
    let mut stepper = Stepper::new(&graph, initial_state(recipe, &graph)?, library, options)?;
    let (mut milliseconds, mut images) = (Vec::new(), 0);
    for step in 1..=WARM_UP + steps {
        let inputs = drawn(&graph, &classes, recipe.seed, step)?;
        images = inputs.batch.images.dim().0;
        let began = Instant::now();
        stepper.step(inputs, learning_rate(recipe, step), step)?;
        if step > WARM_UP {
            milliseconds.push(1e3 * began.elapsed().as_secs_f64());
        }
    }
    let (recipe, by, threads) = (recipe.name.clone(), options.place(), options.threads);
    Ok(Pace { recipe, by, threads, images, milliseconds })
}

/// What a step reads, at random.
fn drawn(graph: &StepGraph, classes: &TrainingClasses, seed: u64, step: u64) -> Result<Inputs> {
    let mut rng = seeded(seed, &format!("bench {step}"));
    let shape_of = |name: &str| graph.batch.iter().find(|spec| spec.name == name).map(|spec| &spec.shape[..]);
    let Some(&[n, c, h, w]) = shape_of("batch.images") else {
        return Err(Error::invalid("the training graph", "takes no images"));
    };
    let images = Array4::from_shape_simple_fn((n, c, h, w), || rng.random());
    let targets = if shape_of("batch.labels").is_some() {
        Targets::Labels((0..n).map(|_| rng.random_range(0..classes.count as i64)).collect())
    } else if let Some(&[pairs]) = shape_of("batch.same") {
        Targets::Same((0..pairs).map(|_| f32::from(rng.random::<bool>())).collect())
    } else {
        Targets::Episode
    };
    let teacher = match shape_of("batch.teacher") {
        Some(&[rows, dim]) => Some(Array2::from_shape_simple_fn((rows, dim), || rng.random_range(-1.0..1.0))),
        _ => None,
    };
    let masks = graph.masks.iter().enumerate().map(|(i, spec)| mask(seed, step, i, &spec.shape, spec.keep));
    Ok(Inputs { batch: Batch { images, targets, drawn: Vec::new() }, teacher, masks: masks.collect() })
}
