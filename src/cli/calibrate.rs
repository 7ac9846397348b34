//! `siamese calibrate`: from where on is it unknown, and from which distance on something else?

use super::output::{note, show};
use super::progress::bar;
use super::shared::{self, PictureArgs, RuntimeArgs, interval, percent};
use super::{Context, Outcome};
use crate::data::Set;
use crate::eval::identification::{Identification, Point, USUAL};
use crate::gallery::calibrate::{CalibrationSet, ErrorRates, OperatingPoint, Scores, calibrate};
use crate::gallery::{Gallery, Location, page};
use crate::image::Triage;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `calibrate`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery that keeps the thresholds; its own examples are left out and measured.
    #[arg(required_unless_present = "data")]
    gallery: Option<Location>,
    /// How many pictures of unknown things may be taken for something known: 1% or 0.01
    /// [default: as before, else 5%].
    #[arg(long, value_name = "RATE", value_parser = shared::rate)]
    false_positives: Option<f64>,
    /// Calibrate this gallery again by itself whenever it changes.
    #[arg(long, value_enum, value_name = "on|off", requires = "gallery")]
    by_itself: Option<Switch>,
    /// Measure pairs (for `verify`) of these drawings instead: class folders, or a folder with Omniglot or
    /// MNIST. Without a gallery all is measured on them, and nothing kept.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which set of the data folder.
    #[arg(long, value_enum, requires = "data")]
    set: Option<Set>,
    /// The tower: a file, or a shipped one's name [default: the gallery's, else omniglot-edge-exact].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// Where the threshold of pairs is put: `eer` (equal error rate), or a false accept rate such as 0.001.
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

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// A gallery's thresholds, and what they were chosen by.
#[derive(Debug, Serialize)]
struct Calibrated {
    gallery: Option<Location>,
    /// What is unknown.
    identification: Identification,
    /// What shows the same; none where no class has two examples.
    calibration: Option<ErrorRates>,
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
    let rate = arguments.false_positives;
    let identification = match &mut gallery {
        Some(gallery) => gallery.calibrate(rate)?,
        None => measured.identify(rate.unwrap_or(USUAL))?,
    };
    let pairs = pairs(&measured, arguments)?;
    if let Some(gallery) = &mut gallery {
        if let Some((rates, _)) = &pairs {
            gallery.set_threshold(rates.threshold.clone())?;
        }
        if let Some(switch) = arguments.by_itself {
            gallery.set_calibrates_itself(switch == Switch::On)?;
        }
    }
    if let Some(out) = &arguments.report {
        page::calibration(&measured.data, &identification, &measured.strange(), pairs.as_ref())?
            .write(out)?;
    }
    let calibration = pairs.map(|(rates, _)| rates);
    show(context, &Calibrated { gallery: arguments.gallery.clone(), identification, calibration }, text)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

/// Pairs, where any two examples are of one class; what was asked for by name must be there.
fn pairs(measured: &CalibrationSet, arguments: &Arguments) -> Result<Option<(ErrorRates, Scores)>> {
    match calibrate(measured, arguments.at) {
        Ok(found) => Ok(Some(found)),
        Err(e) if arguments.data.is_some() || arguments.at != OperatingPoint::EqualErrorRate => Err(e),
        Err(e) => {
            note(format_args!("note: no threshold of pairs, for `verify`: {e}"));
            Ok(None)
        }
    }
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
    let found = &told.identification;
    let mut text = format!("{} examples of {} classes", found.examples, found.classes);
    if found.asked_examples < found.examples {
        text += &format!("; {} of {} classes were asked", found.asked_examples, found.asked_classes);
    }
    text +=
        &shared::shortfall(&found.point).map_or_else(|| "\n".into(), |short| format!("\nnote: {short}\n"));
    text += &format!(
        "{:<16}{:<24}{:<24}{}\n",
        "unknown: asked", "false positives, %", "true positives, %", "threshold"
    );
    let mut points: Vec<&Point> = found.points.iter().chain([&found.point]).collect();
    points.sort_by(|a, b| b.asked.total_cmp(&a.asked));
    for point in points {
        let mark = if *point == found.point { "*" } else { " " };
        let true_positives = point.true_positives.as_ref().map_or_else(|| "not measured".into(), interval);
        text += &format!(
            "{mark} {:<14}{:<24}{true_positives:<24}{:.4}\n",
            format!("{} %", percent(point.asked)),
            interval(&point.false_positives),
            point.threshold
        );
    }
    if let Some(right) = &found.rank_one {
        text += &format!("without a threshold {} % of known pictures get the right class\n", interval(right));
    }
    let kept = told.gallery.as_ref().map_or(String::new(), |gallery| format!(", kept in {gallery}"));
    let Point { threshold, bound, .. } = &found.point;
    text += &format!(
        "* score {} at most {threshold:.4}{kept}; conformal bound of false positives {} %\n",
        found.strangeness,
        percent(*bound)
    );
    told.calibration
        .as_ref()
        .map_or_else(|| text.clone(), |rates| format!("{text}{}", pair_text(rates, &kept)))
}

fn pair_text(rates: &ErrorRates, kept: &str) -> String {
    let ErrorRates { same_pairs, different_pairs, threshold, .. } = rates;
    let mut text = format!(
        "pairs, for `verify`: {same_pairs} same and {different_pairs} different, of {}\n",
        threshold.data
    );
    text += &format!("  AUROC              {:.5}\n", rates.auroc);
    text += &format!("  equal error rate   {} %\n", percent(rates.equal_error_rate));
    for rate in &rates.rates {
        let [low, high] = rate.interval_95.map(percent);
        text += &format!(
            "  TAR at FAR {:<7} {} % ({low}–{high})  at distance {:.4}\n",
            rate.false_accept_rate,
            percent(rate.true_accept_rate),
            rate.threshold
        );
    }
    text + &format!("  threshold          {:.4} ({}){kept}\n", threshold.distance, threshold.chosen_at)
}
