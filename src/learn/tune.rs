//! The tower's own layers, tuned gently by the pictures, where that can be afforded.
//!
//! The recipe is the usual one of `siamese train --model`: all layers, cosine softmax over the classes, small steps. For
//! how many steps is chosen on held-out classes (early stopping); what it is worth is then asked of trainings that
//! saw neither those classes nor those pictures. Operations are counted and not seconds, so that the same
//! pictures give the same tower on a busy machine.

use super::begin::Begun;
use super::material::Material;
use super::trial::{Fold, gain, measure, surely_worse};
use super::ways::{Lesson, Way, candidate};
use super::{Candidate, LEAST_GAIN, Trials, Watch};
use crate::data::Dataset;
use crate::export::{Projection, float};
use crate::model::recipe::Sampling;
use crate::model::{Recipe, read_tower};
use crate::runtime::ort::SessionOptions;
use crate::runtime::{Lookup, Options, Runner};
use crate::sample;
use crate::tower::{Provenance, TowerKind};
use crate::train::{
    self, Changes, Checkpoints, Evaluator, Folder, Job, ModelChange, Observer, Progress, Team,
};
use crate::{Error, Result, walk};
use prost::Message;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The most steps of a training, and the fewest that are worth trying.
const MOST: u64 = 240;
const FEWEST: u64 = 40;
/// Figures on held-out classes within a training, among which the best is chosen.
const FIGURES: u64 = 4;
/// Trainings of the most steps: one to choose, two to judge, one of all pictures.
const TRAININGS: f64 = 4.0;
/// Floating-point operations of all trainings together: one to two minutes of two cores.
const BUDGET: f64 = 4e12;
/// Operations of a training step over those of the tower: forward, and back to activations and to weights.
const BACK_AND_FORTH: f64 = 3.0;

/// What tuning the layers comes to below the best way so far, and the tower where it is surely better than that; none
/// where there are too few pictures to tell.
///
/// # Errors
/// As [`Tuner::new`] and [`train::train`].
pub(super) fn tuned(
    trials: &Trials<'_>,
    runner: &Runner,
    watch: &mut dyn Watch,
) -> Result<Option<(Candidate, Option<Material>)>> {
    let &Trials { begun, folds, way } = trials;
    let Begun { data, material, .. } = begun;
    let [first, second, .., last] = folds else { return Ok(None) };
    if !tells(data, &first.held()) {
        watch.say("the layers are not tuned: the pictures are too few to tell when to stop");
        return Ok(None);
    }
    let tuner = Tuner::new(begun, runner)?;
    watch.say(&format!("tuning the tower's layers, at most {} steps", tuner.steps));
    let steps = tuner.stopped_by(first)?.steps;
    let judges = [second.clone(), last.clone()];
    let made = |bytes| Material::made(bytes, "the tuned tower", material.roots.is_some(), runner, data);
    let towers = judges.iter().map(|fold| made(tuner.tuned(&fold.learn, steps)?.bytes));
    let towers = towers.collect::<Result<Vec<_>>>()?;
    // The shares of a tower for each judge, below a way or without one.
    let shares = |of: [&Material; 2], way: Option<Way>| match way {
        None => measure(&judges, &material.spec.distance, |place| Some(of[place].embeddings.clone())),
        Some(way) => measure(&judges, &Projection::distance(&material.spec), |place| {
            of[place].seen_by(way, &Lesson::of(&judges[place].learn))
        }),
    };
    let as_was = [material; 2];
    let (Some(as_is), Some(before), Some(after)) =
        (shares(as_was, None), shares(as_was, way), shares([&towers[0], &towers[1]], way))
    else {
        return Ok(None);
    };
    let below = way.map_or_else(String::new, |way| format!(", then {}", way.name()));
    let tried = candidate(format!("layers tuned in {steps} steps{below}"), &as_is, &after);
    let (gain, [low, _]) = gain(&before, &after);
    let better = gain >= LEAST_GAIN && low > 0.0 && !tried.surely_worse && !surely_worse(&before, &after);
    let members = data.by_class();
    let tower = better.then(|| made(tuner.tuned(&members, steps)?.bytes)).transpose()?;
    Ok(Some((tried, tower)))
}

/// Whether held-out pictures can be asked one-shot: two classes at least, each of two pictures at least.
fn tells(data: &Dataset, held: &[usize]) -> bool {
    let classes = data.subset(held).by_class();
    let mut counts = classes.iter().map(Vec::len).filter(|count| *count > 0);
    counts.clone().count() > 1 && counts.all(|count| count > 1)
}

/// What tunes a tower.
struct Tuner<'a> {
    recipe: Recipe,
    data: &'a Dataset,
    library: Lookup,
    steps: u64,
}

/// A tuned tower: its file's bytes, and the step whose parameters it has.
struct Tuned {
    bytes: Vec<u8>,
    steps: u64,
}

impl<'a> Tuner<'a> {
    /// For a tower, with the pictures as it sees them.
    ///
    /// # Errors
    /// An exact tower, one without derivatives, or one too large to be tuned in the time that there is.
    fn new(begun: &'a Begun, runner: &Runner) -> Result<Self> {
        let Begun { tower, data, material: Material { spec, model, .. } } = begun;
        if spec.kind == TowerKind::Exact {
            return Err(Error::invalid("the tower", "is exact, and integers cannot be moved a little"));
        }
        let onnx = ModelChange { onnx: Some(tower.clone()), ..ModelChange::default() };
        let mut recipe = Changes { model: onnx, ..Changes::default() }.fine_tuning()?;
        recipe.sampling = sample::fitted(&recipe.sampling, data);
        let Sampling::Images { batch, .. } = recipe.sampling else {
            return Err(Error::invalid("the recipe of --model", "does not draw single images"));
        };
        let of_step = walk::flop(model).unwrap_or(u64::MAX) as f64 * BACK_AND_FORTH * batch as f64;
        let steps = ((BUDGET / TRAININGS / of_step) as u64).min(MOST) / FIGURES * FIGURES;
        if steps < FEWEST {
            let why = format!(
                "is too large for it; `siamese train --model {} --data DIR` does it, in its own time",
                tower.display()
            );
            return Err(Error::invalid("the tower", why));
        }
        // What was not asked for is not fetched.
        let library = Lookup { offline: true, ..runner.options().library.clone() };
        Ok(Self { recipe, data, library, steps })
    }

    /// Tuned by what may be learned from in a fold, for as many steps as its held-out pictures ask for.
    ///
    /// # Errors
    /// As [`train::train`].
    fn stopped_by(&self, fold: &Fold) -> Result<Tuned> {
        self.train(&fold.learn, Some(&fold.held()), self.steps)
    }

    /// Tuned by pictures, given by class, for so many steps.
    ///
    /// # Errors
    /// As [`train::train`].
    fn tuned(&self, classes: &[Vec<usize>], steps: u64) -> Result<Tuned> {
        self.train(classes, None, steps)
    }

    fn train(&self, classes: &[Vec<usize>], held: Option<&[usize]>, steps: u64) -> Result<Tuned> {
        let images: Vec<usize> = classes.iter().flatten().copied().collect();
        let training = self.data.subset(&images);
        let mut recipe = self.recipe.clone().over(steps);
        recipe.evaluation.every = (steps / FIGURES).max(1);
        recipe.sampling = sample::fitted(&recipe.sampling, &training);
        let mut material = train::Material::new(&recipe, training)?;
        material.held_out = held.map(|held| self.data.subset(held));
        let options = Options { library: self.library.clone(), ..Options::default() };
        let evaluator = held.map(|_| Evaluator::new(&recipe, &material, options)).transpose()?;
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let job = Job {
            recipe: &recipe,
            material: &material,
            folder: Folder::new(folder.path()),
            library: self.library.clone(),
            session: SessionOptions { spinning: true, kernels: true, ..SessionOptions::default() },
            team: Team::default(),
            start: None,
            resume: false,
            evaluator: evaluator.as_ref(),
            log_every: steps,
            checkpoints: Checkpoints { every: Duration::MAX, every_steps: u64::MAX },
            stop: &AtomicBool::new(false),
        };
        let finished = train::train(&job, &mut Unseen)?;
        let (params, _) = read_tower(&recipe, &finished.params)?;
        let mut told = Provenance::default();
        material.facts.tell(&mut told);
        let bytes = float(&recipe, &params, &told)?.encode_to_vec();
        Ok(Tuned { bytes, steps: finished.params_step })
    }
}

/// Looks on, and says nothing.
struct Unseen;

impl Observer for Unseen {
    fn step(&mut self, _: &Progress) {}

    fn note(&mut self, _: &str) {}
}
