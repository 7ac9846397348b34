//! The training loop on ONNX Runtime: state stays with the runtime, batches are made ahead, and what
//! was done is on disk.
//!
//! A run is a folder: `recipe.json`, `train.onnx`, `metrics.jsonl`, `checkpoint.safetensors` (and the
//! one before it), and at the end `params.safetensors`, which `siamese export` reads. A run that is
//! stopped at any moment continues from its checkpoint to the same bits: step k draws its batch and
//! masks from (seed, k) alone, and the graph holds nothing random.

mod checkpoint;
mod feed;
mod folder;
mod start;
mod stepper;

pub use checkpoint::{Checkpoint, read_params, write_params};
pub use folder::{Folder, Line};
pub use start::{Material, material, starting_state};
pub use stepper::{Measured, Stepper};

use crate::model::{Params, Recipe};
use crate::runtime::ort::{Device, SessionOptions};
use crate::runtime::provision::Request;
use crate::step::{StepGraph, Target, build, exported_params, learning_rate};
use crate::{Error, Result};
use feed::Feed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What to train, where, and how.
pub struct Job<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its training material.
    pub material: &'a Material,
    /// The run's folder.
    pub folder: Folder,
    /// The library.
    pub library: Request,
    /// Device and threads.
    pub session: SessionOptions,
    /// Layers that start this run (`init_from`).
    pub start: Option<Params>,
    /// Continue from the folder's checkpoint.
    pub resume: bool,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// Set from outside to stop after the step at hand.
    pub stop: &'a AtomicBool,
}

/// Told after each step.
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean loss since the last line of the log.
    pub loss: f64,
    /// Training images used each second, over the last steps.
    pub images_per_second: f64,
}

/// What looks on: progress, and evaluations that the recipe asks for.
pub trait Observer {
    /// After each step.
    fn step(&mut self, progress: &Progress);
    /// Something worth telling: a checkpoint that could not be read, say.
    fn note(&mut self, text: &str);
    /// The figure of the recipe's periodic evaluation, 0–1, for the parameters after `step`.
    ///
    /// # Errors
    /// Those of the evaluation.
    fn evaluate(&mut self, step: u64, params: &Params) -> Result<Option<f64>>;
}

/// The graph of a job's training step.
///
/// # Errors
/// Those of [`build`].
pub fn graph(recipe: &Recipe, material: &Material, device: Device) -> Result<StepGraph> {
    let target = match device {
        Device::Cpu => Target::Cpu,
        Device::Cuda => Target::Cuda,
    };
    build(recipe, &material.classes, target)
}

/// Trains to the end of the recipe, and gives the parameters to export.
///
/// # Errors
/// A loss that is no number; a run folder of another recipe; a full disk; [`Error::Interrupted`],
/// after a checkpoint, when `stop` was set.
pub fn train(job: &Job, observer: &mut dyn Observer) -> Result<Params> {
    let graph = graph(job.recipe, job.material, job.session.device)?;
    let first = first_state(job, &graph, observer)?;
    job.folder.begin(job.recipe, &graph, first.step)?;
    let stepper = Stepper::new(&graph, first.state, &job.library, &job.session)?;
    let mut run = Run { job, graph: &graph, stepper, log: Log::new(first.step), saved: Instant::now() };
    run.steps(first.step, observer)?;
    let params = exported_params(&run.stepper.state()?, job.recipe)?;
    job.folder.finish(&params)?;
    Ok(params)
}

/// The state to begin from: the checkpoint's where the run is continued, else a fresh one.
fn first_state(job: &Job, graph: &StepGraph, observer: &mut dyn Observer) -> Result<Checkpoint> {
    let fresh = || Ok(Checkpoint { step: 0, state: starting_state(job.recipe, graph, job.start.as_ref())? });
    if !job.resume {
        job.folder.refuse_to_overwrite()?;
        return fresh();
    }
    match job.folder.checkpoint(job.recipe, graph, &mut |text| observer.note(text))? {
        Some(checkpoint) => Ok(checkpoint),
        None => {
            observer.note("there is no checkpoint to continue from; beginning at step 1");
            fresh()
        }
    }
}

/// The loop's own state.
struct Run<'a> {
    job: &'a Job<'a>,
    graph: &'a StepGraph,
    stepper: Stepper,
    log: Log,
    saved: Instant,
}

impl Run<'_> {
    fn steps(&mut self, done: u64, observer: &mut dyn Observer) -> Result<()> {
        let (recipe, material) = (self.job.recipe, self.job.material);
        let mut feed = Feed::start(material, recipe, &self.graph.masks, done..recipe.steps);
        for step in done + 1..=recipe.steps {
            let inputs = feed.next()?;
            let lr = learning_rate(recipe, step);
            let measured = self.stepper.step(inputs, lr, step)?;
            if !measured.loss.is_finite() {
                return Err(diverged(recipe, step, measured.loss));
            }
            self.log.add(&measured);
            observer.step(&self.log.progress(step, recipe.steps, material.sampler.batch_images()));
            self.after(step, lr, observer)?;
        }
        Ok(())
    }

    /// What is due after a step: a line of the log, an evaluation, a checkpoint, the end.
    fn after(&mut self, step: u64, lr: f32, observer: &mut dyn Observer) -> Result<()> {
        let (job, last) = (self.job, step == self.job.recipe.steps);
        let figure = match step.is_multiple_of(job.recipe.evaluation.every.max(1)) || last {
            true => observer.evaluate(step, &exported_params(&self.stepper.state()?, job.recipe)?)?,
            false => None,
        };
        if step.is_multiple_of(job.log_every) || last || figure.is_some() {
            job.folder.append(&self.log.line(step, lr, figure))?;
        }
        let stopping = job.stop.load(Ordering::Relaxed) && !last;
        if self.saved.elapsed() >= job.checkpoint_every || stopping || last {
            job.folder.save(job.recipe, step, &self.stepper.state()?)?;
            self.saved = Instant::now();
        }
        if stopping {
            let run = job.folder.path().display();
            return Err(Error::Interrupted(format!(
                "step {step} is saved in {run}; the same command with --resume goes on"
            )));
        }
        Ok(())
    }
}

fn diverged(recipe: &Recipe, step: u64, loss: f32) -> Error {
    let why = format!(
        "the loss is {loss} at step {step}; the last checkpoint is kept. Lower the learning rate, or set clip_norm"
    );
    Error::invalid(format!("recipe {}", recipe.name), why)
}

/// Means since the last line.
struct Log {
    began: Instant,
    since: u64,
    loss: f64,
    metrics: Vec<(String, f64)>,
    counted: u64,
    pace: Pace,
}

/// Images a second, over a sliding stretch of at least two seconds.
struct Pace {
    at: Instant,
    step: u64,
    rate: f64,
}

impl Log {
    fn new(step: u64) -> Self {
        let now = Instant::now();
        let pace = Pace { at: now, step, rate: 0.0 };
        Self { began: now, since: step, loss: 0.0, metrics: Vec::new(), counted: 0, pace }
    }

    fn add(&mut self, measured: &Measured) {
        self.counted += 1;
        self.loss += f64::from(measured.loss);
        if self.metrics.is_empty() {
            self.metrics = measured.metrics.iter().map(|(name, _)| (name.clone(), 0.0)).collect();
        }
        for (sum, (_, value)) in self.metrics.iter_mut().zip(&measured.metrics) {
            sum.1 += f64::from(*value);
        }
    }

    fn progress(&mut self, step: u64, steps: u64, batch: usize) -> Progress {
        let seconds = self.pace.at.elapsed().as_secs_f64();
        if seconds > 2.0 || self.pace.rate == 0.0 {
            self.pace.rate = (step - self.pace.step) as f64 * batch as f64 / seconds.max(1e-9);
            (self.pace.at, self.pace.step) = (Instant::now(), step);
        }
        let loss = self.loss / self.counted.max(1) as f64;
        Progress { step, steps, loss, images_per_second: self.pace.rate }
    }

    /// The means, which begin anew.
    fn line(&mut self, step: u64, lr: f32, evaluation: Option<f64>) -> Line {
        let count = self.counted.max(1) as f64;
        let metrics = self.metrics.drain(..).map(|(name, sum)| (name, sum / count)).collect();
        let line = Line {
            step,
            loss: self.loss / count,
            lr,
            metrics,
            evaluation,
            seconds: self.began.elapsed().as_secs_f64(),
            steps_in_mean: step - self.since,
        };
        (self.since, self.loss, self.counted) = (step, 0.0, 0);
        line
    }
}

#[cfg(test)]
mod tests;
