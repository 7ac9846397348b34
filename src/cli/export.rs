//! `siamese export`: a training run's parameters → a tower; any float tower → an exact one.

use super::import::{Told, runners};
use super::output::show;
use super::shared::{PictureArgs, interval, percent};
use super::{Context, Outcome, progress};
use crate::adopt::{ExactTower, Exactly, FloatTower, OneShot, Proving, exact};
use crate::exactness::LIMIT;
use crate::export::{ExactOptions, Exported, export_run, float, trained};
use crate::{Error, Result, data};
use clap::Args;
use prost::Message;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder of a training run, the name of a tower (shipped or fetched), a tower, or any ONNX model that
    /// `siamese import` takes.
    run: PathBuf,
    /// Make an exact tower: integers that give the same bits on every runtime.
    #[arg(long)]
    exact: bool,
    /// The file to write [default: tower.onnx or tower.exact.onnx in the run's folder; of a shipped tower
    /// NAME.onnx here; of a file the same name with .exact.onnx].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the scales of an exact tower are chosen from: so many training images of a run, or your own pictures:
    /// class folders, a zip file of such, or any pictures. Those that are not needed for it tell how the exact
    /// tower recognises beside the float one.
    #[arg(long, value_name = "N|DIR", default_value = "400", requires = "exact")]
    calibrate: Calibrate,
    /// Of your own pictures, the most that scales are chosen on.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "exact", value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
    /// Take the mean error of rounded weights out of the biases; from your own pictures that is always done.
    #[arg(long, requires = "exact")]
    correct_biases: bool,
    /// The folder with the recipe's data, for an exact tower [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    picture: PictureArgs,
    #[command(flatten, next_help_heading = "A model that is no tower yet (see `siamese import`)")]
    told: Box<Told>,
}

/// What scales are chosen from.
#[derive(Clone, Debug)]
enum Calibrate {
    Images(u32),
    Pictures(PathBuf),
}

impl FromStr for Calibrate {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<u32>() {
            Ok(0) => Err("give at least one image".into()),
            Ok(count) => Ok(Self::Images(count)),
            Err(_) => Ok(Self::Pictures(text.into())),
        }
    }
}

/// The most pictures on which both towers are compared.
const COMPARED: usize = 400;

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { run, exact, calibrate, .. } = arguments;
    match calibrate {
        Calibrate::Pictures(pictures) if *exact => return on_pictures(context, arguments, pictures),
        Calibrate::Images(_) if run.is_file() => {
            let why = match exact {
                true => "is a file: name pictures of yours for its scales with --calibrate DIR",
                false => {
                    "is a file; --exact --calibrate DIR makes an exact tower of it, `siamese import` a float one"
                }
            };
            return Err(Error::invalid(run.display(), why));
        }
        Calibrate::Images(_) | Calibrate::Pictures(_) => {}
    }
    let exactly = if *exact { Some(exactly(arguments)?) } else { None };
    let exported = export_run(run, exactly.as_ref(), arguments.out.as_deref())?;
    show(context, &exported, text)?;
    Ok(Outcome::Yes)
}

fn exactly(arguments: &Arguments) -> Result<ExactOptions> {
    let &Arguments { ref calibrate, correct_biases, .. } = arguments;
    let data = data::data_dir(arguments.data.as_deref())?;
    let images = match calibrate {
        Calibrate::Images(count) => *count as usize,
        Calibrate::Pictures(_) => 0,
    };
    Ok(ExactOptions { data, images, correct_biases })
}

/// An exact tower of any float one, its scales chosen on pictures of the user's.
fn on_pictures(context: &Context, arguments: &Arguments, pictures: &Path) -> Result<Outcome> {
    let bar = progress::steps();
    let proving = Proving { runners: runners(context)?, progress: &|step| bar.set_message(step.to_string()) };
    let triage = arguments.picture.triage_above(&bar);
    let how = Exactly {
        pictures,
        calibrate: arguments.pictures as usize,
        compare: COMPARED,
        triage: &triage,
        proving: &proving,
    };
    let run = &arguments.run;
    let (tower, file) = if run.is_dir() {
        let trained = trained(run)?;
        let model = float(&trained.recipe, &trained.params, &trained.told)?;
        let (spec, model) =
            crate::tower::TowerSpec::from_bytes(&model.encode_to_vec(), &run.display().to_string())?;
        let bytes = model.encoded_len() as u64;
        (FloatTower { model, spec, bytes, notes: Vec::new() }, run.join("tower.exact.onnx"))
    } else {
        let tower = FloatTower::read(run, &arguments.told.options()?, &proving)?;
        let name = run.file_stem().map_or_else(|| "tower".into(), |stem| stem.to_string_lossy().into_owned());
        (tower, run.with_file_name(format!("{name}.exact.onnx")))
    };
    let made = exact(&tower, arguments.out.as_deref().unwrap_or(&file), &how);
    bar.finish_and_clear();
    show(context, &made?, words)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

fn text(e: &Exported) -> String {
    let (kind, distance) = (e.spec.kind.name(), e.spec.distance.name());
    let mut text = format!(
        "{}: {kind} tower {}, D = {}, distance {distance}, {} bytes\n",
        crate::error::shown(&e.file),
        e.spec.name,
        e.spec.dim,
        e.bytes
    );
    if let Some(bound) = e.bound_log2 {
        text += &proven(bound);
    }
    text + &format!("SHA-256 {}\n", e.spec.sha256)
}

fn proven(bound: f64) -> String {
    format!("proven exact: the greatest sum is 2^{bound:.2}, below 2^{}\n", LIMIT.log2())
}

fn words(e: &ExactTower) -> String {
    let mut text = format!(
        "{}: exact tower {}, D = {}, distance {}, {} bytes ({} % of {})\n",
        crate::error::shown(&e.file),
        e.tower.name,
        e.tower.dim,
        e.tower.distance.name(),
        e.bytes,
        percent(e.bytes as f64 / e.float_bytes.max(1) as f64),
        e.float_bytes,
    );
    text += &proven(e.bound_log2);
    let channels: usize = e.cost.coarser.iter().map(|c| c.channels).sum();
    if let Some(most) = e.cost.coarser.iter().max_by_key(|c| (c.bits, c.channels)) {
        text += &format!(
            "for that, {channels} channels of {} of the {} products have weights of fewer than 8 bits ({} at least, in {})\n",
            e.cost.coarser.len(),
            e.cost.products,
            8 - most.bits,
            most.node
        );
    }
    if !e.cost.tables.is_empty() {
        text += &format!(
            "{} functions are tables of integers; other runtimes look each value up, at some nanoseconds a value\n",
            e.cost.tables.len()
        );
    }
    text += &format!("scales chosen on {} pictures with {}\n", e.calibrated_on, e.calibrated_by);
    let a = &e.agreement;
    text += &format!(
        "on {} other pictures: the nearest other picture is the float tower's for {} %\n",
        a.pictures,
        interval(&a.nearest)
    );
    if let Some(OneShot { way, float, exact, .. }) = &a.one_shot {
        text += &format!(
            "{way}-way one-shot on these: exact {} %, float {} %\n",
            interval(exact),
            interval(float)
        );
    }
    if !e.same_bits.is_empty() {
        text += &format!(
            "the same bits on {}; `siamese compare {}` looks closer\n",
            e.same_bits.join(", "),
            e.file.display()
        );
    }
    text.extend(e.notes.iter().map(|note| format!("note: {note}\n").replace("note: warning:", "warning:")));
    text + &format!("SHA-256 {}\n", e.tower.sha256)
}
