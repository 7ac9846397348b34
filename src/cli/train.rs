//! `siamese train`.

use super::{Context, Outcome, bar};
use crate::model::{Params, Recipe};
use crate::runtime::ort::{self, Device, SessionOptions};
use crate::train::{self, Folder, Job, Material, Observer, Progress};
use crate::{Error, Result, data};
use indicatif::ProgressBar;
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Train a recipe on ONNX Runtime.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A shipped recipe's name, or a recipe.json.
    recipe: String,
    /// Where to train.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Steps, in place of the recipe's.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Seed of the first weights and the batches, in place of the recipe's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Go on from the run's checkpoint.
    #[arg(long)]
    resume: bool,
    /// The run's folder [default: runs/<recipe>].
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// The data folder [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads of ONNX Runtime; 0 for one a core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, value_name = "N", default_value_t = 100)]
    log_every: u64,
    /// Seconds between checkpoints.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    checkpoint_every: f64,
    /// Only write the training graph, to onnx/<recipe>/train.onnx or --out.
    #[arg(long)]
    graph_only: bool,
}

/// `--device`.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Choice {
    /// CUDA where it is at hand, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or an error.
    Cuda,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut recipe = Recipe::find(&arguments.recipe)?;
    recipe.steps = arguments.steps.unwrap_or(recipe.steps);
    recipe.seed = arguments.seed.unwrap_or(recipe.seed);
    recipe.validate()?;
    let dir = data::data_dir(arguments.data.as_deref())?;
    if arguments.graph_only {
        return graph_only(&recipe, arguments, &dir);
    }
    let stop = stop_on_signal()?;
    let folder = train_run(context, arguments, &recipe, &dir, &stop)?;
    if context.json {
        println!(
            "{}",
            serde_json::json!({ "run": folder.path(), "params": folder.params(), "steps": recipe.steps })
        );
    } else {
        println!("trained {} for {} steps: {}", recipe.name, recipe.steps, folder.params().display());
    }
    Ok(Outcome::Yes)
}

fn graph_only(recipe: &Recipe, arguments: &Arguments, dir: &Path) -> Result<Outcome> {
    let material = train::material(recipe, dir)?;
    let device = if matches!(arguments.device, Choice::Cuda) { Device::Cuda } else { Device::Cpu };
    let graph = train::graph(recipe, &material, device)?;
    let folder = arguments.out.clone().unwrap_or_else(|| Path::new("onnx").join(&recipe.name));
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join("train.onnx");
    std::fs::write(&path, graph.model.encode_to_vec()).map_err(Error::io("write", &path))?;
    println!("{}", path.display());
    Ok(Outcome::Yes)
}

/// Trains one recipe, after the one that it starts from where that has not been trained.
fn train_run(
    context: &Context,
    arguments: &Arguments,
    recipe: &Recipe,
    dir: &Path,
    stop: &AtomicBool,
) -> Result<Folder> {
    let folder = Folder::new(arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&recipe.name)));
    let library = context.library(matches!(arguments.device, Choice::Cuda));
    let device = match arguments.device {
        Choice::Auto if ort::library(&library)?.has_cuda() => Device::Cuda,
        Choice::Auto => Device::Cpu,
        Choice::Cpu => Device::Cpu,
        Choice::Cuda => Device::Cuda,
    };
    let start = recipe
        .init_from
        .as_deref()
        .map(|from| first_stage(context, arguments, from, dir, stop))
        .transpose()?;
    let material = train::material(recipe, dir)?;
    eprintln!(
        "{}: {} images of {} classes, {} steps on {device:?}, into {}",
        recipe.name,
        material.training.len(),
        material.classes.count,
        recipe.steps,
        folder.path().display()
    );
    let job = Job {
        recipe,
        material: &material,
        folder: folder.clone(),
        library,
        session: SessionOptions {
            device,
            threads: arguments.threads,
            spinning: true,
            ..SessionOptions::default()
        },
        start,
        resume: arguments.resume,
        log_every: arguments.log_every.max(1),
        checkpoint_every: Duration::from_secs_f64(arguments.checkpoint_every.clamp(0.0, 1e9)),
        stop,
    };
    let mut watch = Watch { bar: bar(recipe.steps, "step"), _material: &material };
    let result = train::train(&job, &mut watch);
    watch.bar.finish_and_clear();
    result.map(|_| folder)
}

/// The parameters of the run that `from` names: a run's folder, or a shipped recipe, which is
/// trained now unless it has been.
fn first_stage(
    context: &Context,
    arguments: &Arguments,
    from: &str,
    dir: &Path,
    stop: &AtomicBool,
) -> Result<Params> {
    let given = Folder::new(from);
    if given.params().exists() {
        return Ok(train::read_params(&given.params())?.0);
    }
    let recipe = Recipe::find(from)?;
    let beside =
        arguments.out.as_deref().and_then(Path::parent).unwrap_or(Path::new("runs")).join(&recipe.name);
    let folder = Folder::new(&beside);
    if !folder.params().exists() {
        let own = Arguments {
            recipe: from.into(),
            out: Some(beside.clone()),
            resume: beside.exists(),
            data: arguments.data.clone(),
            steps: None,
            seed: None,
            graph_only: false,
            ..*arguments
        };
        train_run(context, &own, &recipe, dir, stop)?;
    }
    Ok(train::read_params(&folder.params())?.0)
}

/// Set when the user asks to stop.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping after this step; once more to stop at once");
    })
    .map_err(|e| Error::invalid_because("signal handler", "cannot be set", e))?;
    Ok(stop)
}

/// Shows the run's progress on stderr.
struct Watch<'a> {
    bar: ProgressBar,
    _material: &'a Material,
}

impl Observer for Watch<'_> {
    fn step(&mut self, progress: &Progress) {
        self.bar.set_position(progress.step);
        self.bar
            .set_message(format!("loss {:.4}, {:.0} images/s", progress.loss, progress.images_per_second));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| eprintln!("note: {text}"));
    }

    fn evaluate(&mut self, _step: u64, _params: &Params) -> Result<Option<f64>> {
        Ok(None)
    }
}
