//! `siamese compare`: do two runtimes recognise the same things with one tower?

use super::output::show;
use super::shared::{inputs, labelled};
use super::{Context, Outcome, stays};
use crate::compare::run::{Scope, Tower, compare};
use crate::compare::sample::{Asked, Images};
use crate::compare::values::Tolerance;
use crate::compare::{page, text};
use crate::data::{self, Set};
use crate::gallery::Location;
use crate::image::{self, Preprocessing, Triage};
use crate::runtime::{Device, ORT, Options, Runner, Runtime, TRACT};
use crate::{Error, Result};
use clap::Args;
use indicatif::ProgressBar;
use ndarray::Axis;
use std::path::{Path, PathBuf};

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// The tower: a file, or a shipped one's name.
    pub(super) tower: PathBuf,
    /// Pictures to compare on: files, folders of pictures, or a folder of class folders.
    images: Vec<PathBuf>,
    /// Compare on the data set in this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "images")]
    data: Option<PathBuf>,
    /// Which part of it [default: Omniglot's evaluation part, MNIST's test images, class folders].
    #[arg(long, value_enum, requires = "data")]
    set: Option<Set>,
    /// Compare on so many images of random strokes [default, where nothing else is named: 500].
    #[arg(long, value_name = "N", conflicts_with_all = ["images", "data"])]
    random: Option<usize>,
    /// Take at most so many images, evenly spread; 0 takes all.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    limit: usize,
    #[arg(long, default_value = ORT.name, value_name = "RUNTIME", help = choices())]
    a: String,
    /// The second runtime, or the first with other settings.
    #[arg(long, default_value = TRACT.name, value_name = "RUNTIME")]
    b: String,
    /// Let the second runtime run this other version of the tower.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Compare instead the answers of this gallery by its own tower with those by this one, which was trained to be
    /// compatible with it: for which share of the pictures is the answer certified to stay, for which does it stay?
    #[arg(long, value_name = "GALLERY", conflicts_with_all = ["against", "layers", "reduce", "report", "strict", "random"])]
    gallery: Option<Location>,
    /// The gallery's own tower, where it is no longer where it was.
    #[arg(long, value_name = "TOWER", requires = "gallery")]
    pub(super) older: Option<PathBuf>,
    /// Numbers agree where |a−b| ≤ atol + rtol·s, s being the root mean square of the embeddings of B.
    #[arg(long, default_value_t = Tolerance::default().atol)]
    atol: f64,
    /// See --atol.
    #[arg(long, default_value_t = Tolerance::default().rtol)]
    rtol: f64,
    /// Differ also where numbers are outside the tolerance, though no answer changes.
    #[arg(long)]
    strict: bool,
    /// One-shot episodes on which predictions are compared.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    episodes: u64,
    /// Classes of an episode [default: 20, or as many as there are].
    #[arg(long, value_name = "N")]
    way: Option<usize>,
    /// Known drawings of each class.
    #[arg(long, value_name = "N", default_value_t = 1)]
    shot: usize,
    /// What episodes and random images are drawn by.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run every node on both, alone and in place, on so many images [2 if no number is given].
    #[arg(long, value_name = "IMAGES", num_args = 0..=1, default_missing_value = "2", require_equals = true)]
    layers: Option<usize>,
    /// Write the smallest sub-model that differs beyond the tolerance, with its inputs.
    #[arg(long, value_name = "DIR")]
    reduce: Option<PathBuf>,
    /// Leave out most runs under other settings: those that remain (another batch, another order, 16 images) still
    /// show whether embeddings depend on more than their picture.
    #[arg(long)]
    quick: bool,
    /// Write a page with pictures of the most fragile episodes.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn choices() -> String {
    let names = Runtime::spellings();
    format!("The first runtime: {names}; with settings as in {ORT}:threads=1,level=basic")
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Compare) -> Result<Outcome> {
    if let Some(gallery) = &arguments.gallery {
        return stays::run(context, arguments, gallery);
    }
    for (name, value) in [("--atol", arguments.atol), ("--rtol", arguments.rtol)] {
        if value.is_nan() || value < 0.0 {
            return Err(Error::invalid(name, format!("{value} is no tolerance; give a number ≥ 0")));
        }
    }
    let tower = Tower::read(&arguments.tower)?;
    let against = arguments.against.as_deref().map(Tower::read).transpose()?;
    let [a, b] = sides(context, [&arguments.a, &arguments.b])?;
    let images = images(arguments, &tower.spec.preprocessing)?;
    let bar = ProgressBar::new_spinner();
    let scope = Scope {
        tower: &tower,
        against: against.as_ref(),
        sides: [&a, &b],
        asked: Asked {
            episodes: arguments.episodes,
            way: arguments.way.unwrap_or_else(|| most_ways(&images)),
            shot: arguments.shot,
            seed: arguments.seed,
        },
        images: &images,
        tolerance: Tolerance { atol: arguments.atol, rtol: arguments.rtol },
        strict: arguments.strict,
        settings: !arguments.quick,
        layers: arguments.layers.unwrap_or(0),
        reduce: arguments.reduce.as_deref(),
        progress: &|what| {
            bar.set_message(what.to_string());
            bar.tick();
        },
    };
    let result = compare(&scope);
    bar.finish_and_clear();
    let result = result?;
    if let Some(path) = &arguments.report {
        page::page(&result, &images)?.write(path)?;
    }
    show(context, &result, |result| {
        let mut words = text::summary(result);
        if arguments.reduce.is_some() && result.reduced.is_none() {
            words += "nothing was cut out: no tensor differs beyond the tolerance; lower --atol and --rtol\n";
        }
        words
    })?;
    Ok(if result.agrees { Outcome::Yes } else { Outcome::No })
}

/// 20, or what the images allow.
fn most_ways(images: &Images) -> usize {
    let most = match images {
        Images::Labelled(data) => data.by_class().iter().filter(|members| members.len() > 1).count(),
        Images::Plain { .. } => images.len() / 2,
    };
    most.clamp(2, 20)
}

/// Both runtimes with their settings, as typed. A process loads one library: where one side computes on CUDA,
/// the other takes the library that can.
fn sides(context: &Context, typed: [&str; 2]) -> Result<[Runner; 2]> {
    let [a, b] = [Runtime::parse(typed[0])?, Runtime::parse(typed[1])?];
    let library = context.library(a.1.device == Device::Cuda || b.1.device == Device::Cuda);
    let runner = |(runtime, options): (&'static Runtime, Options)| {
        runtime.with(Options { library: library.clone(), ..options })
    };
    Ok([runner(a)?, runner(b)?])
}

/// The pictures that are named.
pub(super) fn images(arguments: &Compare, how: &Preprocessing) -> Result<Images> {
    let images = match (&arguments.data, arguments.images.as_slice()) {
        (Some(dir), _) => {
            Images::Labelled(labelled(&data::data_dir(Some(dir))?, arguments.set, how, &Triage::strict())?)
        }
        (None, []) => {
            let count = arguments.random.unwrap_or(500);
            Images::random(count, how.channels(), how.size(), arguments.seed)
        }
        (None, [folder]) if has_folders(folder) => {
            Images::Labelled(data::folder(folder, how, &Triage::strict())?)
        }
        (None, paths) => pictures(paths, how)?,
    };
    Ok(images.limited(arguments.limit))
}

fn has_folders(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
}

/// Pictures, and those in folders.
fn pictures(paths: &[PathBuf], how: &Preprocessing) -> Result<Images> {
    let pictures = inputs(paths)?.map(|input| image::load(input?.path, how)).collect::<Result<Vec<_>>>()?;
    let shown: Vec<_> = pictures.iter().map(|picture| picture.view()).collect();
    let images = ndarray::stack(Axis(0), &shown)
        .map_err(|e| Error::invalid_because("pictures", "there is none to compare on", e))?;
    Ok(Images::Plain { name: "pictures".into(), images })
}
