//! The loop.

use super::events::Events;
use super::feed::Feed;
use super::folder::{Checkpoint, Folder, Line};
use super::follow::Beginning;
use super::identity::{Identity, Surroundings};
use super::log::{Log, Took};
use super::ranks::Team;
use super::start::{Material, starting_state};
use super::stepper::Stepper;
use super::{Job, Observer, Progress, Validation, wccn};
use crate::model::{Params, Recipe};
use crate::runtime::ort;
use crate::runtime::{Device, Options};
use crate::step::{StepGraph, Target, build, exported_params, learning_rate};
use crate::tower::Accuracy;
use crate::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a finished run came to.
#[derive(Clone, Debug, Serialize)]
pub struct FinishedRun {
    /// The recipe's name.
    pub recipe: String,
    /// Its folder.
    pub run: PathBuf,
    /// The exported parameters.
    pub params: PathBuf,
    /// Steps in all.
    pub steps: u64,
    /// The step after which the exported parameters stood: the best, where held-out data choose.
    pub params_step: u64,
    /// Where it was computed.
    pub by: Surroundings,
    /// The last line of the log.
    pub last: Option<Line>,
    /// The last evaluation of this process.
    pub evaluation: Option<Accuracy>,
    /// Of this process.
    pub seconds: f64,
}

/// The graph of a job's training step in standard ONNX.
///
/// # Errors
/// A recipe whose layers or classes do not fit.
pub fn graph(recipe: &Recipe, material: &Material, device: Device) -> Result<StepGraph> {
    let target = match device {
        Device::Cpu => Target::Cpu,
        Device::Cuda => Target::Cuda,
    };
    build(recipe, &material.classes, target)
}

/// The graph that a job runs: the same step, maybe with our own kernels.
pub(super) fn own_graph(job: &Job) -> Result<StepGraph> {
    match (job.session.device, job.session.kernels) {
        (Device::Cpu, true) => build(job.recipe, &job.material.classes, Target::Kernels),
        (device, _) => graph(job.recipe, job.material, device),
    }
}

/// Trains to the end of the recipe and writes the parameters to export.
///
/// # Errors
/// A loss that is no number; a run folder of another recipe, or in use; a full disk;
/// [`Error::Interrupted`], after a checkpoint, when `stop` was set.
pub fn train(job: &Job, observer: &mut dyn Observer) -> Result<FinishedRun> {
    let began = Instant::now();
    if job.recipe.teacher()?.is_some() && job.material.teacher.is_none() {
        let why = "learns from a teacher, whose embeddings the material lacks";
        return Err(Error::invalid(format!("recipe {}", job.recipe.name), why));
    }
    let team = job.team.fit(job.recipe, job.session.device)?;
    let graph = own_graph(job)?;
    let identity = Identity::new(job.recipe, &job.material.facts)?;
    let _lock = job.folder.lock()?;
    let first = first_state(job, &graph, &identity, observer)?;
    let by = surroundings(job, first.by.as_ref())?;
    if let Some(difference) = first.by.as_ref().and_then(|earlier| by.difference(earlier)) {
        observer.note(&difference);
    }
    let options = job.options(by.threads);
    Beginning { step: first.step, threads: by.threads, digest: identity.digest(&by.onnx_runtime)? }
        .tell(&team)?;
    let stepper = Stepper::with_team(&graph, first.state, &job.library, &options, &team)?;
    job.folder.keep_model(job.recipe)?;
    let standard = super::graph(job.recipe, job.material, job.session.device)?;
    job.folder.begin(&identity, &standard, first.step)?;

    let mut run = Run {
        job,
        graph: &graph,
        identity: &identity,
        by: &by,
        stepper,
        team,
        log: Log::new(job.material.sampler.batch_images()),
        events: Events::create(job.folder.path(), first.step)?,
        saved: (Instant::now(), first.step),
        best: job.folder.best(),
        validation: None,
        evaluated: None,
    };
    let done = run.steps(first.step, observer);
    if matches!(done, Ok(()) | Err(Error::Interrupted(_))) {
        run.stepper.end(done.is_ok())?;
    }
    done?;
    let params = run.evaluated.take().map_or_else(|| run.params(), Ok)?;
    let params_step = job.folder.finish(job.recipe.steps, &params)?;
    Ok(FinishedRun {
        recipe: job.recipe.name.clone(),
        run: job.folder.path().into(),
        params: job.folder.params(),
        steps: job.recipe.steps,
        params_step,
        last: job.folder.lines()?.pop(),
        evaluation: run.validation.map(|v| v.accuracy),
        seconds: began.elapsed().as_secs_f64(),
        by,
    })
}

/// The state to begin from: the checkpoint's where the run is continued, else a fresh one.
fn first_state(
    job: &Job,
    graph: &StepGraph,
    identity: &Identity,
    observer: &mut dyn Observer,
) -> Result<Checkpoint> {
    let fresh = || {
        let state = starting_state(job.recipe, graph, job.start.as_ref())?;
        Ok(Checkpoint { step: 0, state, by: None })
    };
    if !job.resume {
        job.folder.refuse_to_overwrite()?;
        return fresh();
    }
    match job.folder.checkpoint(identity, graph, &mut |text| observer.note(text))? {
        Some(checkpoint) => Ok(checkpoint),
        None => {
            observer.note("there is no checkpoint to continue from; beginning at step 1");
            fresh()
        }
    }
}

/// Where this job computes; threads that were not asked for are those of the run's earlier part. Of workers each has
/// one: the last bits may depend on how many share a node, and must not depend on the machine.
fn surroundings(job: &Job, earlier: Option<&Surroundings>) -> Result<Surroundings> {
    let usual = || match job.recipe.micro_batch {
        Some(_) => 1,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let threads = match job.session.threads {
        0 => earlier.map_or_else(usual, |e| e.threads),
        asked => asked,
    };
    let onnx_runtime = ort::library(&job.library)?.version.to_string();
    Ok(Surroundings { device: job.session.place(), threads, onnx_runtime })
}

/// The loop's own state.
struct Run<'a> {
    job: &'a Job<'a>,
    graph: &'a StepGraph,
    identity: &'a Identity,
    by: &'a Surroundings,
    stepper: Stepper,
    team: Team,
    log: Log,
    events: Events,
    /// When the last checkpoint was written, and after which step.
    saved: (Instant, u64),
    /// The best figure on held-out data.
    best: Option<f64>,
    /// The last evaluation.
    validation: Option<Validation>,
    /// The parameters after the last step, where they were evaluated: to normalise them takes a pass over
    /// the training images.
    evaluated: Option<Params>,
}

impl Run<'_> {
    fn folder(&self) -> &Folder {
        &self.job.folder
    }

    fn steps(&mut self, done: u64, observer: &mut dyn Observer) -> Result<()> {
        let recipe = self.job.recipe;
        let mut feed = Feed::start(self.job.material, recipe, self.graph, &self.team, done..recipe.steps)?;
        for step in done + 1..=recipe.steps {
            let begin = Instant::now();
            let inputs = feed.next()?;
            let waiting = begin.elapsed();
            let lr = learning_rate(recipe, step);
            let measured = self.stepper.step(inputs, lr, step)?;
            if !measured.loss.is_finite() {
                return Err(self.diverged(step, &format!("the loss is {}", measured.loss)));
            }
            self.log.add(&measured, Took { waiting, computing: begin.elapsed() - waiting });
            let (loss, images_per_second) = (self.log.loss(), self.log.pace());
            observer.step(&Progress { step, loss, lr, images_per_second });
            self.after(step, lr, observer)?;
        }
        Ok(())
    }

    /// What is due after a step: an evaluation, a line of the log, a checkpoint, the end. The
    /// checkpoint comes last: what a kill loses before it is done again when the run goes on.
    fn after(&mut self, step: u64, lr: f32, observer: &mut dyn Observer) -> Result<()> {
        let (job, last) = (self.job, step == self.job.recipe.steps);
        let figure = match step.is_multiple_of(job.recipe.evaluation.every) || last {
            true => self.evaluate(step, observer)?,
            false => None,
        };
        if step.is_multiple_of(job.log_every) || last || figure.is_some() {
            self.tell(step, lr, figure)?;
        }
        let stopping = job.stop.load(Ordering::Relaxed) && !last;
        let due = self.saved.0.elapsed() >= job.checkpoints.every
            || step.is_multiple_of(job.checkpoints.every_steps);
        if due || stopping || last {
            self.save(step).inspect_err(|_| observer.note(&format!("not saved; {}", self.kept())))?;
        }
        if stopping {
            let run = job.folder.path().display();
            let why = format!("step {step} is saved in {run}; the same command with --resume goes on");
            return Err(Error::Interrupted(why));
        }
        Ok(())
    }

    /// What a tower is made of, as things stand.
    fn params(&self) -> Result<Params> {
        let job = self.job;
        let mut params = exported_params(&self.stepper.state()?, job.recipe)?;
        let runtime = Options {
            library: job.library.clone(),
            device: job.session.device,
            threads: self.by.threads,
            ..Options::default()
        };
        wccn::add(job.recipe, &mut params, &job.material.training, &runtime)?;
        Ok(params)
    }

    /// Evaluates; keeps the parameters if they are the best on held-out data.
    fn evaluate(&mut self, step: u64, observer: &mut dyn Observer) -> Result<Option<f64>> {
        let Some(evaluator) = self.job.evaluator else { return Ok(None) };
        let params = self.params()?;
        let validation = match evaluator.evaluate(&params) {
            Ok(validation) => validation,
            Err(error) => {
                let error = anyhow::Error::from(error);
                observer.note(&format!("no evaluation after step {step}: {error:#}"));
                return Ok(None);
            }
        };
        observer.evaluated(step, &validation);
        let value = validation.accuracy.accuracy;
        if validation.held_out && self.best.is_none_or(|best| value > best) {
            self.folder().save_best(step, &validation.accuracy, &params)?;
            self.best = Some(value);
        }
        self.validation = Some(validation);
        self.evaluated = (step == self.job.recipe.steps).then_some(params);
        Ok(Some(value))
    }

    /// A line of the log, and the same for TensorBoard.
    fn tell(&mut self, step: u64, lr: f32, figure: Option<f64>) -> Result<()> {
        let line = self.log.line(step, lr, figure);
        self.folder().append(&line)?;
        let fixed = [
            ("loss", line.loss),
            ("learning rate", f64::from(lr)),
            ("images per second", line.images_per_second),
        ];
        let metrics = line.metrics.iter().map(|(name, value)| (name.as_str(), *value));
        let evaluation = figure.map(|value| ("evaluation", value));
        self.events.scalars(step, fixed.into_iter().chain(metrics).chain(evaluation))
    }

    fn save(&mut self, step: u64) -> Result<()> {
        let state = self.stepper.state()?;
        if let Some((name, _)) = state.iter().find(|(_, a)| a.iter().any(|x| !x.is_finite())) {
            return Err(self.diverged(step, &format!("{name} holds a number that is not finite")));
        }
        self.folder().save(self.identity, self.by, step, &state)?;
        self.saved = (Instant::now(), step);
        Ok(())
    }

    /// What a failure leaves to go on from.
    fn kept(&self) -> String {
        match self.saved.1 {
            0 => "no checkpoint had been written yet".into(),
            saved => format!("the checkpoint of step {saved} is kept"),
        }
    }

    fn diverged(&self, step: u64, what: &str) -> Error {
        let kept = self.kept();
        let why = format!(
            "at step {step} {what}: the training diverged; {kept}. Lower the learning rate or set clip_norm in \
             the recipe, and train into another folder with --out"
        );
        Error::invalid(format!("recipe {}", self.job.recipe.name), why)
    }
}
