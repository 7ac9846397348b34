//! `siamese bench`: how fast is a tower on each runtime?

use super::output::{self, show};
use super::progress::bar;
use super::shared::RuntimeArgs;
use super::{Context, Outcome};
#[cfg(feature = "lowered")]
use crate::bench::tiles::Tiles;
use crate::bench::{self, Changes, Method, Plan, against, child, criterion, page, text};
#[cfg(feature = "lowered")]
use crate::edge::kernels::Kernels;
#[cfg(feature = "ort")]
use crate::runtime::ort::SessionOptions;
use crate::runtime::{Options, Runner, Runtime};
use crate::tower::{TowerKind, TowerSpec};
use crate::{Error, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done in place of timing a tower.
const INSTEAD: &[&str] = &[
    "criterion",
    #[cfg(feature = "lowered")]
    "tiles",
    #[cfg(feature = "ort")]
    "training",
];

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The tower: a file, or a shipped one's name.
    #[arg(required_unless_present_any = INSTEAD)]
    tower: Option<PathBuf>,
    /// Its exact version [default: tower.exact.onnx beside tower.onnx, if it is there].
    #[arg(long, value_name = "FILE")]
    exact: Option<PathBuf>,
    /// Measure only these runtimes; ratios are to the first.
    #[arg(long, value_enum, value_delimiter = ',')]
    runtime: Vec<&'static Runtime>,
    /// Numbers of threads; 0 is all cores.
    #[arg(long, value_delimiter = ',', default_value = "1,0")]
    threads: Vec<usize>,
    /// Images of a call.
    #[arg(long, value_delimiter = ',', default_value = "1,64", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
    /// Processes for each configuration.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds that each process is timed.
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    seconds: f64,
    /// Seconds that each process runs before.
    #[arg(long, default_value_t = 0.1, value_parser = seconds)]
    warm_up: f64,
    /// What the images are drawn by.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compare with an earlier `--json`; exit code 1 if something is slower beyond the noise.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write a page with the break-even curve.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run tract's towers on these kernels instead of this processor's fastest; `doctor` lists them.
    #[cfg(feature = "lowered")]
    #[cfg_attr(feature = "ort", arg(conflicts_with = "training"))]
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Instead, tell what share of this core's peak the main tiles of the kernels reach: those of --kernels, or of all.
    #[cfg(feature = "lowered")]
    #[arg(long, group = "instead", conflicts_with_all = ["tower", "exact", "runtime", "threads", "batch", "rounds", "against", "report"])]
    tiles: bool,
    /// Instead, time each step of the tower on tract: one image, one thread.
    #[cfg(feature = "lowered")]
    #[arg(long, group = "instead", conflicts_with_all = ["exact", "runtime", "threads", "batch", "rounds", "against", "report"])]
    profile: bool,
    /// Instead, time the training steps of this recipe on the CPU, on images and labels drawn at random, with the first of
    /// --threads.
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "RECIPE", group = "instead", conflicts_with_all = ["tower", "exact", "runtime", "batch", "rounds", "seconds", "warm_up", "against", "report"])]
    training: Option<String>,
    /// With --training: how many steps are timed.
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "tower", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// With --training: by ONNX Runtime's own operators alone.
    #[cfg(feature = "ort")]
    #[arg(long, conflicts_with = "tower")]
    standard_operators: bool,
    /// Measure nothing: print what `cargo bench` left in this folder as Markdown.
    #[arg(long, value_name = "DIR", group = "instead", conflicts_with_all = ["tower", "exact", "against", "report"])]
    criterion: Option<PathBuf>,
}

/// Arguments of the measuring process.
#[derive(Debug, Args)]
pub struct Process {
    tower: PathBuf,
    #[command(flatten)]
    runtime: RuntimeArgs,
    #[arg(long)]
    batch: usize,
    #[arg(long, value_parser = seconds)]
    warm_up: f64,
    #[arg(long, value_parser = seconds)]
    seconds: f64,
    #[arg(long)]
    seed: u64,
}

/// A time that can be waited for.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
    let fits = (0.0..=3600.0).contains(&value);
    if fits { Ok(value) } else { Err(format!("{text} is not within 0 to 3600 seconds")) }
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    if let Some(folder) = &arguments.criterion {
        show(context, &criterion::read(folder)?, |benches| criterion::markdown(benches))?;
        return Ok(Outcome::Yes);
    }
    #[cfg(feature = "lowered")]
    if arguments.profile {
        return profile(context, arguments);
    }
    #[cfg(feature = "lowered")]
    if arguments.tiles {
        return tiles(context, arguments);
    }
    #[cfg(feature = "ort")]
    if let Some(recipe) = &arguments.training {
        return training(context, arguments, recipe);
    }
    // An earlier result that cannot be read should not cost a minute.
    let then = arguments.against.as_deref().map(against::read).transpose()?;
    let plan = plan(context, arguments)?;
    let bar = bar(0, "process");
    let told = bench::run(&plan, |what, done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(what.to_string());
    });
    bar.finish_and_clear();
    let mut told = told?;
    if let (Some(then), Some(file)) = (&then, &arguments.against) {
        told.against = Some(against::compare(then, &told, file)?);
    }
    if let Some(path) = &arguments.report {
        page::page(&told)?.write(path)?;
    }
    show(context, &told, text::summary)?;
    let holds = told.against.as_ref().is_none_or(Changes::holds);
    Ok(if holds { Outcome::Yes } else { Outcome::No })
}

/// Times the training steps of a recipe.
#[cfg(feature = "ort")]
fn training(context: &Context, arguments: &Arguments, recipe: &str) -> Result<Outcome> {
    let asked = arguments.threads.first().copied().unwrap_or_default();
    let options = SessionOptions {
        threads: Options { threads: asked, ..Options::default() }.threads(),
        kernels: !arguments.standard_operators,
        spinning: true,
        ..SessionOptions::default()
    };
    let recipe = crate::train::Changes::default().recipe(recipe)?;
    let pace = bench::training::training(&recipe, arguments.steps, &options, &context.library(false))?;
    show(context, &pace, bench::training::Pace::summary)?;
    Ok(Outcome::Yes)
}

/// Times the steps of the tower on tract.
#[cfg(feature = "lowered")]
fn profile(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let tower = arguments.tower.as_deref().unwrap_or(Path::new(""));
    let time = Duration::from_secs_f64(arguments.seconds);
    let kernels = bench::judge::kernels(arguments.kernels.as_deref())?;
    let profile = bench::profile::profile(tower, kernels, arguments.seed, time)?;
    show(context, &profile, |profile| profile.summary())?;
    Ok(Outcome::Yes)
}

/// Times the tiles of one set of kernels, or of all that this processor has.
#[cfg(feature = "lowered")]
fn tiles(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let name = arguments.kernels.as_deref();
    let sets = match name {
        Some(_) => vec![bench::judge::kernels(name)?],
        None => Kernels::all(),
    };
    let time = Duration::from_secs_f64(arguments.seconds);
    let told: Vec<Tiles> = sets.into_iter().map(|kernels| bench::tiles::tiles(kernels, time)).collect();
    show(context, &told, |told| bench::tiles::summary(told))?;
    Ok(Outcome::Yes)
}

fn plan(context: &Context, arguments: &Arguments) -> Result<Plan> {
    let tower = arguments.tower.as_deref().unwrap_or(Path::new(""));
    let mut towers = vec![tower.to_path_buf()];
    let (spec, _) = TowerSpec::read(tower)?;
    match &arguments.exact {
        Some(exact) => {
            let (other, _) = TowerSpec::read(exact)?;
            if other.kind != TowerKind::Exact || spec.kind == TowerKind::Exact {
                let why = "name a float tower, and with --exact the exact one of the same recipe";
                return Err(Error::invalid(exact.display(), why));
            }
            towers.push(exact.clone());
        }
        None => towers.extend(beside(tower).filter(|_| spec.kind == TowerKind::Float)),
    }
    let threads = arguments.threads.iter().map(|&n| Options { threads: n, ..Options::default() }.threads());
    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    Ok(Plan {
        towers,
        runtimes: runners(context, &arguments.runtime)?,
        threads: distinct(threads),
        batches: distinct(arguments.batch.iter().map(|&n| usize::from(n))),
        method: Method {
            rounds: arguments.rounds.into(),
            warm_up_seconds: arguments.warm_up,
            seconds: arguments.seconds,
            seed: arguments.seed,
        },
        kernels: kernels(arguments),
        program,
    })
}

/// The kernels that were named.
#[cfg_attr(not(feature = "lowered"), allow(unused_variables))]
fn kernels(arguments: &Arguments) -> Option<String> {
    #[cfg(feature = "lowered")]
    return arguments.kernels.clone();
    #[cfg(not(feature = "lowered"))]
    return None;
}

/// `tower.exact.onnx` beside `tower.onnx`.
fn beside(tower: &Path) -> Option<PathBuf> {
    let exact = tower.with_extension("exact.onnx");
    exact.is_file().then_some(exact)
}

fn distinct(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut kept = Vec::new();
    numbers.for_each(|n| {
        if !kept.contains(&n) {
            kept.push(n);
        }
    });
    kept
}

/// Those named, else all that are built in.
fn runners(context: &Context, named: &[&'static Runtime]) -> Result<Vec<Runner>> {
    let all = || Runtime::built_in().collect();
    let runtimes: Vec<&Runtime> = if named.is_empty() { all() } else { named.to_vec() };
    let options = Options { library: context.library(false), ..Options::default() };
    runtimes.into_iter().map(|runtime| runtime.with(options.clone())).collect()
}

/// The measuring process.
pub(super) fn process(context: &Context, arguments: &Process) -> Result<Outcome> {
    let runner = arguments.runtime.runner(context)?;
    let job = child::Job {
        batch: arguments.batch,
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        time: Duration::from_secs_f64(arguments.seconds),
        seed: arguments.seed,
    };
    child::run(&runner, &arguments.tower, &job, &mut output::stdout())?;
    Ok(Outcome::Yes)
}
