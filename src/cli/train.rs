//! `siamese train`: a recipe's stages, one after another, each into its run folder.

use super::interrupt::on_interrupt;
use super::output::{note, show};
use super::processes::Processes;
use super::shared::PictureArgs;
use super::{Context, Outcome, progress};
use crate::error::shown;
use crate::image::Triage;
use crate::model::{BatchNorm, Recipe};
use crate::runtime::Device;
use crate::train::{
    Changes, Checkpoints, DeviceChoice, FinishedRun, Folder, GraphFile, ModelChange, Observer, Progress,
    Ranks, Stage, Team, Training, Validation, run_folder, write_graph,
};
use crate::{Error, Result, data};
use indicatif::{HumanDuration, ProgressBar};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Seconds between lines about progress where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Train a recipe on ONNX Runtime.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A shipped recipe's name (`siamese recipes` lists them), or a recipe.json.
    #[arg(required_unless_present_any = ["resume", "model"])]
    recipe: Option<String>,
    /// Train this ONNX model in place of the recipe's tower: a tower of `siamese import`, or what that takes
    /// without options. Without a recipe: the usual one for a model that learns the classes of --data.
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Weights of the model whose names begin so stay as they are; may be given several times.
    #[arg(long, value_name = "PREFIX")]
    freeze: Vec<String>,
    /// Of the model, only the last N convolutions and products learn, and what follows the first of them.
    #[arg(long, value_name = "N")]
    train_last: Option<usize>,
    /// What the model's batch normalisation normalises by [default: frozen, the statistics in the file].
    #[arg(long, value_name = "BY")]
    batch_norm: Option<BatchNorm>,
    /// Where to train.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
    /// Let CUDA round the operands of products and convolutions to TF32 (10 bits of mantissa): faster, less exact.
    #[arg(long)]
    tf32: bool,
    /// Train on a CPU by ONNX Runtime's own operators alone, without our kernels for what it does slowly.
    #[arg(long)]
    standard_operators: bool,
    /// Another value in the recipe, like `augment.elastic=0`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Steps, in place of the recipe's (of a recipe that begins with another one: of each).
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Seed of the first weights and the batches, in place of the recipe's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Start layers of the same name and shape (of the recipe's `init_layers`, where it has some) from this run
    /// or shipped tower (omniglot-edge), in place of the recipe's `init_from`.
    #[arg(long, value_name = "RUN")]
    init_from: Option<String>,
    /// Train the tower so that its embeddings may be compared with those of this older one: galleries of that one then
    /// answer pictures that the new one embeds.
    #[arg(long, value_name = "TOWER")]
    compatible_with: Option<PathBuf>,
    /// Go on from the newest checkpoint: of this run, which needs no recipe beside it, or of the recipe's.
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    #[allow(clippy::option_option)]
    resume: Option<Option<PathBuf>>,
    /// The run's folder [default: runs/<recipe>].
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// The data folder, or class folders to train on in place of the recipe's data
    /// [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads of ONNX Runtime, with micro-batches of each worker; 0 for one a core, or one a worker, or with --resume
    /// as many as before.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Workers that share the micro-batches of a recipe that has some (`micro_batch`), each with a session of its own;
    /// 0 for one a core. How many there are changes no bit. Under mpirun each process has so many, one unless told.
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
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
    #[command(flatten)]
    pictures: PictureArgs,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let changes = Changes {
        set: arguments.changes.clone(),
        steps: arguments.steps,
        seed: arguments.seed,
        init_from: arguments.init_from.clone(),
        model: ModelChange {
            onnx: arguments.model.clone(),
            freeze: arguments.freeze.clone(),
            train_last: arguments.train_last,
            batch_norm: arguments.batch_norm,
        },
        compatible_with: arguments.compatible_with.clone(),
    };
    let (which, run) = arguments.what()?;
    let recipe = which.map_or_else(|| changes.fine_tuning(), |which| changes.recipe(&which))?;
    if arguments.graph_only {
        return only_write(context, arguments, &recipe, run.as_deref());
    }
    let processes = Processes::join()?;
    let folder = Folder::new(run.unwrap_or_else(|| run_folder(&recipe)));
    processes.end(train(context, arguments, changes, &recipe, &folder, processes.ranks()))
}

fn only_write(
    context: &Context,
    arguments: &Arguments,
    recipe: &Recipe,
    out: Option<&Path>,
) -> Result<Outcome> {
    let dir = data::data_dir(arguments.data.as_deref())?;
    let triage = arguments.pictures.triage();
    let graph = write_graph(recipe, &dir, &triage, arguments.device.of_graph(), out)?;
    let lines = |g: &GraphFile| {
        let files = std::iter::once(&g.graph).chain(&g.parts);
        files.map(|file| format!("{}\n", shown(file))).collect::<String>()
    };
    show(context, &graph, lines)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

/// Trains by this process and those beside it.
fn train(
    context: &Context,
    arguments: &Arguments,
    changes: Changes,
    recipe: &Recipe,
    folder: &Folder,
    ranks: Rc<dyn Ranks>,
) -> Result<Outcome> {
    let team = Team { ranks, workers: arguments.workers };
    let dir = data::data_dir(arguments.data.as_deref())?;
    // All processes read the same pictures: one tells of those that cannot be used.
    let triage = match team.leads() || arguments.pictures.strict {
        true => arguments.pictures.triage(),
        false => Triage::lenient(drop),
    };
    let library = context.library(false);
    let tell = |text: &str| {
        if team.leads() {
            note(text)
        }
    };
    let device = arguments.device.device(&library, tell)?;
    if arguments.tf32 && device != Device::Cuda {
        return Err(Error::invalid(
            "--tf32",
            "is how CUDA may round, and this training would run on the CPU; leave it out",
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let training = Training {
        data: &dir,
        changes,
        library: context.library(device == Device::Cuda),
        device,
        tf32: arguments.tf32,
        standard_operators: arguments.standard_operators,
        threads: arguments.threads,
        team,
        log_every: arguments.log_every,
        checkpoints: Checkpoints {
            every: Duration::from_secs(arguments.checkpoint_every.into()),
            every_steps: arguments.checkpoint_steps.unwrap_or(u64::MAX),
        },
        triage: &triage,
        stop: &stop,
    };
    if !training.team.leads() {
        // Who leads says when to stop.
        on_interrupt(|| ())?;
        return training.follow(recipe).map(|_| Outcome::Yes);
    }
    stop_on_signal(Arc::clone(&stop))?;
    let mut watch = TrainingBar { bar: ProgressBar::hidden(), steps: 0, told: None };
    let finished = training.run(recipe, folder, arguments.resume.is_some(), &mut watch);
    watch.bar.finish_and_clear();
    show(context, &finished?, text)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

impl Arguments {
    /// The recipe, if not that of a model alone, and the run's folder where one is named. A run that goes on has its recipe in its folder.
    fn what(&self) -> Result<(Option<String>, Option<PathBuf>)> {
        let resumed = self.resume.iter().flatten().next();
        if let (Some(run), Some(out)) = (resumed, &self.out) {
            let why = format!("names another run than --resume {}; give one of them", run.display());
            return Err(Error::invalid(format!("--out {}", out.display()), why));
        }
        let which = match (&self.recipe, resumed) {
            (Some(recipe), _) => Some(recipe.clone()),
            (None, Some(run)) if run.join("recipe.json").is_file() => {
                Some(run.to_string_lossy().into_owned())
            }
            (None, _) if self.model.is_some() => None,
            (None, Some(run)) => {
                let why = "is no run, for it holds no recipe.json; `siamese train RECIPE --resume` goes on with \
                           the run of a recipe";
                return Err(Error::invalid(run.display(), why));
            }
            (None, None) => {
                return Err(Error::invalid(
                    "--resume",
                    "goes on with which run? Name its folder, or its recipe",
                ));
            }
        };
        Ok((which, resumed.or(self.out.as_ref()).cloned()))
    }
}

fn stop_on_signal(stop: Arc<AtomicBool>) -> Result<()> {
    on_interrupt(move || {
        stop.store(true, Ordering::Relaxed);
        note("stopping after this step; once more to stop at once");
    })
}

fn text(finished: &FinishedRun) -> String {
    let (name, steps, run) = (&finished.recipe, finished.steps, shown(&finished.run));
    let mut text = format!("trained {name} for {steps} steps: {run}\n");
    if let Some(last) = &finished.last {
        let (loss, pace, waiting) = (last.loss, last.images_per_second, 100.0 * last.waiting_share);
        text += &format!(
            "  loss        {loss:.4}; {pace:.0} images/s, {waiting:.1} % of it waiting for batches\n"
        );
    }
    if let Some(figure) = &finished.evaluation {
        let percent = 100.0 * figure.accuracy;
        text += &format!("  evaluation  {percent:.2} % {} ({})\n", figure.protocol, figure.data);
    }
    text += &format!("  parameters  {}, of step {}\n", shown(&finished.params), finished.params_step);
    text + &format!("  next        siamese export {run}\n")
}

/// Shows the progress of a stage on stderr.
struct TrainingBar {
    bar: ProgressBar,
    steps: u64,
    /// When the last line about progress was written, and after which step; where there is no bar.
    told: Option<(Instant, u64)>,
}

impl Observer for TrainingBar {
    fn begins(&mut self, stage: &Stage<'_>) {
        self.bar.finish_and_clear();
        let &Stage { recipe, images, classes, place, folder } = stage;
        let (name, steps, out) = (&recipe.name, recipe.steps, shown(folder));
        note(format_args!(
            "{name}: {images} images, {classes} classes, {steps} steps on {place}, into {out}"
        ));
        self.bar = progress::bar(steps, "step");
        self.steps = steps;
        self.told = self.bar.is_hidden().then(|| (Instant::now(), 0));
    }

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
            note(format_args!("step {}/{}, {text}, {} left", p.step, self.steps, HumanDuration(left)));
            self.told = Some((Instant::now(), p.step));
        }
    }

    fn evaluated(&mut self, step: u64, validation: &Validation) {
        let a = &validation.accuracy;
        let text = format!("step {step}: {:.2} % {} ({})", 100.0 * a.accuracy, a.protocol, a.data);
        self.bar.suspend(|| note(text));
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| note(format_args!("note: {text}")));
    }
}
