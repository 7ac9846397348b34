//! `siamese calibrate`: from which distance on is it something else?

use super::output::show;
use super::progress::bar;
use super::shared::{self, PictureArgs, RuntimeArgs, percent};
use super::{Context, Outcome};
use crate::data::Set;
use crate::gallery::calibrate::{CalibrationSet, ErrorRates, OperatingPoint, calibrate};
use crate::gallery::{Gallery, Location, page};
use crate::image::Triage;
use crate::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `calibrate`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery that keeps the threshold; its own examples are measured unless --data is given.
    #[arg(required_unless_present = "data")]
    gallery: Option<Location>,
    /// Measure these drawings: class folders, or a folder with Omniglot or MNIST.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which set of the data folder.
    #[arg(long, value_enum, requires = "data")]
    set: Option<Set>,
    /// The tower: a file, or a shipped one's name [default: the gallery's, else omniglot-edge-exact].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// Where the threshold is put: `eer` (equal error rate), or a false accept rate such as 0.001.
    #[arg(long, default_value = "eer", value_name = "eer|RATE")]
    at: OperatingPoint,
    /// Write a page with the distributions and curves.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// A gallery's threshold, and what it was chosen by.
#[derive(Debug, Serialize)]
struct Calibrated {
    gallery: Option<Location>,
    calibration: ErrorRates,
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut gallery = arguments.gallery.as_ref().map(Gallery::open).transpose()?;
    let triage = arguments.pictures.triage();
    let measured = match (&gallery, &arguments.data) {
        (gallery, Some(dir)) => drawings(context, arguments, dir, gallery.as_ref(), &triage)?,
        (Some(gallery), None) => CalibrationSet::gallery(gallery)?,
        (None, None) => return Err(Error::invalid("calibrate", "give a gallery or --data")),
    };
    let (calibration, scores) = calibrate(&measured, arguments.at)?;
    if let Some(gallery) = &mut gallery {
        gallery.set_threshold(calibration.threshold.clone())?;
    }
    if let Some(out) = &arguments.report {
        page::calibration(&calibration, &scores)?.write(out)?;
    }
    show(context, &Calibrated { gallery: arguments.gallery.clone(), calibration }, text)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

/// The drawings of a data folder, embedded.
fn drawings(
    context: &Context,
    arguments: &Arguments,
    dir: &Path,
    gallery: Option<&Gallery>,
    triage: &Triage<'_>,
) -> Result<CalibrationSet> {
    let tower = arguments.tower.as_deref();
    let mut embedder = shared::embedder(context, &arguments.runtime, gallery, tower)?;
    let set = shared::labelled(dir, arguments.set, &embedder.spec().preprocessing, triage)?;
    let bar = bar(set.len() as u64, "image");
    let measured = CalibrationSet::set(set, embedder.as_mut(), |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(measured)
}

fn text(told: &Calibrated) -> String {
    let rates = &told.calibration;
    let ErrorRates { same_pairs, different_pairs, threshold, .. } = rates;
    let mut text = format!(
        "{}: {} embeddings of {} classes, {same_pairs} same and {different_pairs} different pairs\n",
        threshold.data, rates.embeddings, rates.classes
    );
    text += &format!("AUROC              {:.5}\n", rates.auroc);
    text += &format!("equal error rate   {} %\n", percent(rates.equal_error_rate));
    for rate in &rates.rates {
        let [low, high] = rate.interval_95.map(percent);
        text += &format!(
            "TAR at FAR {:<7} {} % ({low}–{high})  at distance {}\n",
            rate.false_accept_rate,
            percent(rate.true_accept_rate),
            rate.threshold
        );
    }
    let kept = told.gallery.as_ref().map_or(String::new(), |gallery| format!(", kept in {gallery}"));
    text + &format!("threshold          {} ({}){kept}\n", threshold.distance, threshold.chosen_at)
}
