//! `siamese train`: a recipe's stages, one after another, each into its run folder.

use super::{Context, Outcome, bar, print_json};
use crate::model::{Params, Recipe, read_params};
use crate::report::plot::{Chart, Series, Style};
use crate::runtime::OrtOptions;
use crate::runtime::ort::{self, Device, SessionOptions};
use crate::runtime::provision::{driver_fault, locate};
use crate::train::{
    self, Checkpoints, Evaluator, Figure, Folder, Job, Material, Observer, Progress, Summary,
};
use crate::{Error, Result, data, files};
use indicatif::{HumanDuration, ProgressBar};
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Seconds between lines about progress where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Train a recipe on ONNX Runtime.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A shipped recipe's name, or a recipe.json.
    recipe: String,
    /// Where to train.
    #[arg(long, value_enum, default_value_t)]
    device: Choice,
    /// Another value in the recipe, like `augment.elastic=0`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Steps, in place of the recipe's (of a recipe that begins with another one: of each).
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Seed of the first weights and the batches, in place of the recipe's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Start layers of the same name and shape (of the recipe's `init_layers`, where it has some) from this run,
    /// in place of the recipe's `init_from`.
    #[arg(long, value_name = "RUN")]
    init_from: Option<String>,
    /// Go on from the run's newest checkpoint.
    #[arg(long)]
    resume: bool,
    /// The run's folder [default: runs/<recipe>].
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// The data folder [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads of ONNX Runtime; 0 for one a core, or with --resume as many as before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Seconds between checkpoints.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,
    /// Steps between checkpoints, besides those by the clock.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_steps: Option<u64>,
    /// Only write the training graph: into onnx/<recipe>/ of the repository, else into the run's folder.
    #[arg(long)]
    graph_only: bool,
}

/// `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    /// CUDA where it can be used, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or an error.
    Cuda,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let recipe = recipe(&arguments.recipe, arguments, &arguments.changes, arguments.init_from.as_ref())?;
    let dir = data::data_dir(arguments.data.as_deref())?;
    if arguments.graph_only {
        return graph_only(context, &recipe, arguments, &dir);
    }
    let device = device(context, arguments.device)?;
    let command = Command { context, arguments, dir: &dir, device, stop: &*stop_on_signal()? };
    let out = arguments.out.clone().unwrap_or_else(|| Path::new("runs").join(&recipe.name));
    let summary = command.train(&recipe, Folder::new(out), arguments.resume)?;
    if context.json {
        print_json(&summary)?;
    } else {
        print!("{}", text(&summary));
    }
    Ok(Outcome::Yes)
}

/// The recipe with the arguments in place of its own values.
fn recipe(
    which: &str,
    arguments: &Arguments,
    changes: &[String],
    init_from: Option<&String>,
) -> Result<Recipe> {
    let mut recipe =
        changes.iter().try_fold(Recipe::find(which)?, |recipe, change| recipe.changed(change))?;
    if let Some(steps) = arguments.steps {
        recipe = recipe.over(steps);
    }
    recipe.seed = arguments.seed.unwrap_or(recipe.seed);
    recipe.init_from = init_from.cloned().or(recipe.init_from);
    recipe.validate()?;
    Ok(recipe)
}

fn graph_only(context: &Context, recipe: &Recipe, arguments: &Arguments, dir: &Path) -> Result<Outcome> {
    let material = train::material(recipe, dir)?;
    let device = if arguments.device == Choice::Cuda { Device::Cuda } else { Device::Cpu };
    let graph = train::graph(recipe, &material, device)?;
    let shipped = Path::new("onnx").join(&recipe.name);
    let shipped = Some(shipped).filter(|folder| folder.join("recipe.json").exists());
    let folder = arguments.out.clone().or(shipped).unwrap_or_else(|| Path::new("runs").join(&recipe.name));
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join("train.onnx");
    files::replace(&path, &graph.model.encode_to_vec())?;
    if context.json {
        print_json(&serde_json::json!({ "recipe": recipe.name, "graph": path }))?;
    } else {
        println!("{}", path.display());
    }
    Ok(Outcome::Yes)
}

/// Where to train; what `auto` passes over is told.
fn device(context: &Context, choice: Choice) -> Result<Device> {
    let on_cuda = || ort::try_cuda(&context.library(true)).map(|()| Device::Cuda);
    match choice {
        Choice::Cpu => Ok(Device::Cpu),
        Choice::Cuda => on_cuda(),
        Choice::Auto if driver_fault().is_some() => Ok(Device::Cpu),
        // Looked for first, since nothing as large is fetched unasked.
        Choice::Auto => locate(&context.library(true)).and_then(|_| on_cuda()).or_else(|error| {
            eprintln!("training on the CPU: {:#}", anyhow::Error::from(error));
            Ok(Device::Cpu)
        }),
    }
}

/// The command, checked.
struct Command<'a> {
    context: &'a Context,
    arguments: &'a Arguments,
    dir: &'a Path,
    device: Device,
    stop: &'a AtomicBool,
}

impl Command<'_> {
    /// Trains one recipe, after the one that it starts from where that has not been trained.
    fn train(&self, recipe: &Recipe, folder: Folder, resume: bool) -> Result<Summary> {
        let material = train::material(recipe, self.dir)?;
        let resumed = resume && folder.has_checkpoint();
        if !resume {
            folder.refuse_to_overwrite()?;
        }
        let start = match &recipe.init_from {
            Some(from) if !resumed => Some(self.first_stage(from, folder.path())?),
            _ => None,
        };
        let (images, classes) = (material.training.len(), material.classes.count);
        let (name, steps, out) = (&recipe.name, recipe.steps, folder.path().display());
        let device = self.device;
        eprintln!("{name}: {images} images, {classes} classes, {steps} steps on {device:?}, into {out}");
        let library = self.context.library(device == Device::Cuda);
        let job = Job {
            recipe,
            material: &material,
            folder: folder.clone(),
            library: library.clone(),
            session: SessionOptions {
                device,
                threads: self.arguments.threads,
                spinning: true,
                ..SessionOptions::default()
            },
            start,
            resume,
            log_every: self.arguments.log_every,
            checkpoints: Checkpoints {
                every: Duration::from_secs(self.arguments.checkpoint_every.into()),
                every_steps: self.arguments.checkpoint_steps.unwrap_or(u64::MAX),
            },
            stop: self.stop,
        };
        let runtime =
            OrtOptions { library, device, threads: self.arguments.threads, ..OrtOptions::default() };
        let mut watch = Watch::new(recipe, &material, runtime);
        let result = train::train(&job, &mut watch);
        watch.bar.finish_and_clear();
        let summary = result?;
        if let Err(error) = draw(&folder) {
            eprintln!("note: no loss.png: {:#}", anyhow::Error::from(error));
        }
        Ok(summary)
    }

    /// The parameters of what `from` names: a run's folder, or a recipe, which is trained now, beside
    /// the folder `main` of the run that starts from it, unless it has been.
    fn first_stage(&self, from: &str, main: &Path) -> Result<Params> {
        let given = Folder::new(from);
        if given.params().exists() {
            return Ok(read_params(&given.params())?.0);
        }
        let recipe = recipe(from, self.arguments, &[], None)?;
        let folder = Folder::new(main.parent().unwrap_or(Path::new("")).join(&recipe.name));
        if folder.params().exists() {
            self.must_be_trained_by(&recipe, &folder)?;
        } else {
            self.train(&recipe, folder.clone(), folder.has_checkpoint())?;
        }
        Ok(read_params(&folder.params())?.0)
    }

    /// Refuses a finished run of another recipe.
    fn must_be_trained_by(&self, recipe: &Recipe, folder: &Folder) -> Result<()> {
        let earlier = Recipe::load(folder.path())?;
        let same =
            Recipe { about: earlier.about.clone(), evaluation: earlier.evaluation.clone(), ..recipe.clone() };
        if earlier == same {
            return Ok(());
        }
        let why = format!(
            "is a run of a recipe that is not {} with these steps and this seed; name it with --init-from if it \
             is meant to start this run, or move it away",
            recipe.name
        );
        Err(Error::invalid(folder.path().display(), why))
    }
}

/// The loss over the steps, as a picture in the run's folder.
fn draw(folder: &Folder) -> Result<()> {
    let points = folder.lines()?.iter().map(|line| (line.step as f64, line.loss)).collect();
    let series = vec![Series { name: "loss".into(), points }];
    Chart::new("step", "loss", Style::Lines, series).png(&folder.path().join("loss.png"))
}

fn text(summary: &Summary) -> String {
    let (name, steps, run) = (&summary.recipe, summary.steps, summary.run.display());
    let mut text = format!("trained {name} for {steps} steps: {run}\n");
    if let Some(last) = &summary.last {
        let (loss, pace, waiting) = (last.loss, last.images_per_second, 100.0 * last.waiting_share);
        text += &format!(
            "  loss        {loss:.4}; {pace:.0} images/s, {waiting:.1} % of it waiting for batches\n"
        );
    }
    if let Some(figure) = &summary.evaluation {
        let percent = 100.0 * figure.accuracy;
        text += &format!("  evaluation  {percent:.2} % {} ({})\n", figure.protocol, figure.data);
    }
    text += &format!("  parameters  {}, of step {}\n", summary.params.display(), summary.params_step);
    text + &format!("  next        siamese export {run}\n")
}

/// Set when the user asks to stop.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            files::abandon();
            std::process::exit(130);
        }
        eprintln!("stopping after this step; once more to stop at once");
    })
    .map_err(|e| Error::invalid_because("signal handler", "cannot be set", e))?;
    Ok(stop)
}

/// Shows the run's progress on stderr, and evaluates.
struct Watch {
    bar: ProgressBar,
    evaluator: Option<Evaluator>,
    steps: u64,
    /// When the last line about progress was written, and after which step; where there is no bar.
    told: Option<(Instant, u64)>,
}

impl Watch {
    fn new(recipe: &Recipe, material: &Material, runtime: OrtOptions) -> Self {
        let bar = bar(recipe.steps, "step");
        let told = bar.is_hidden().then(|| (Instant::now(), 0));
        let mut watch = Self { bar, evaluator: None, steps: recipe.steps, told };
        match Evaluator::new(recipe, material, runtime) {
            Ok(evaluator) => watch.evaluator = Some(evaluator),
            Err(error) => watch.note(&format!("no evaluations: {:#}", anyhow::Error::from(error))),
        }
        watch
    }
}

impl Observer for Watch {
    fn step(&mut self, p: &Progress) {
        let text = format!("loss {:.4}, lr {:.1e}, {:.0} images/s", p.loss, p.lr, p.images_per_second);
        let Some((at, from)) = self.told else {
            self.bar.set_position(p.step);
            self.bar.set_message(text);
            return;
        };
        if from == 0 {
            self.told = Some((at, p.step));
        } else if at.elapsed() >= LINE_EVERY {
            let left = at.elapsed().mul_f64((self.steps - p.step) as f64 / (p.step - from).max(1) as f64);
            eprintln!("step {}/{}, {text}, {} left", p.step, self.steps, HumanDuration(left));
            self.told = Some((Instant::now(), p.step));
        }
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| eprintln!("note: {text}"));
    }

    fn evaluate(&mut self, step: u64, params: &Params) -> Result<Option<Figure>> {
        let Some(evaluator) = &self.evaluator else { return Ok(None) };
        let figure = evaluator.figure(params)?;
        let Figure { accuracy: a, .. } = &figure;
        let text = format!("step {step}: {:.2} % {} ({})", 100.0 * a.accuracy, a.protocol, a.data);
        self.bar.suspend(|| eprintln!("{text}"));
        Ok(Some(figure))
    }
}
