//! `siamese calibrate`: from which distance on is it something else?

use super::shared::{self, RuntimeArgs, SetName, percent};
use super::{Context, Outcome};
use crate::embed;
use crate::gallery::calibrate::{Calibration, Choice, calibrate};
use crate::gallery::{Gallery, Loaded};
use crate::report::decisions;
use crate::runtime::Embedder;
use crate::tower::Distance;
use crate::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Arguments of `calibrate`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The gallery that keeps the threshold; its own examples are measured unless --data is given.
    #[arg(required_unless_present = "data")]
    gallery: Option<PathBuf>,
    /// Measure these drawings: class folders, or a folder with Omniglot or MNIST.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which set of the data folder.
    #[arg(long, value_enum, requires = "data")]
    set: Option<SetName>,
    /// The tower [default: the one that the gallery was made with].
    #[arg(long, value_name = "FILE")]
    tower: Option<PathBuf>,
    /// Where the threshold is put: `eer` (equal error rate), or a false accept rate such as 0.001.
    #[arg(long, default_value = "eer", value_name = "eer|RATE")]
    at: ChoiceArg,
    /// Write a page with the distributions and curves.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Where the threshold is put.
#[derive(Clone, Copy, Debug)]
pub struct ChoiceArg(Choice);

impl FromStr for ChoiceArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "eer" {
            return Ok(Self(Choice::EqualErrorRate));
        }
        match text.parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate < 1.0 => Ok(Self(Choice::FalseAcceptRate(rate))),
            _ => Err("give eer, or a false accept rate between 0 and 1".into()),
        }
    }
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    let mut gallery = command.gallery.as_deref().map(Gallery::open).transpose()?;
    let (known, distance, data) = measured(context, command, gallery.as_ref())?;
    let (calibration, scores) = calibrate(&known, &distance, command.at.0, &data)?;
    if let Some(gallery) = &mut gallery {
        gallery.set_threshold(calibration.threshold.clone())?;
    }
    if let Some(out) = &command.report {
        decisions::calibration(&calibration, &scores)?.write(out)?;
    }
    if context.json {
        shared::print_json(&json!({ "gallery": command.gallery, "calibration": calibration }))?;
    } else {
        print!("{}", text(&calibration, command.gallery.as_deref()));
    }
    Ok(Outcome::Yes)
}

/// What is measured: the gallery's examples, or other drawings; with their name.
fn measured(
    context: &Context,
    command: &Command,
    gallery: Option<&Gallery>,
) -> Result<(Loaded, Distance, String)> {
    let tower = command.tower.as_deref();
    let Some(dir) = &command.data else {
        let Some(gallery) = gallery else {
            return Err(Error::invalid("calibrate", "give a gallery or --data"));
        };
        let name = format!("the examples of {}", gallery.path().display());
        return Ok((gallery.load()?, gallery.facts().distance.clone(), name));
    };
    let mut embedder: Box<dyn Embedder> = match (gallery, tower) {
        (Some(gallery), _) => command.runtime.load_for(context, gallery, tower)?,
        (None, Some(tower)) => command.runtime.load(context, tower)?,
        (None, None) => return Err(Error::invalid("calibrate", "give a gallery or --tower")),
    };
    let set = shared::labelled(dir, command.set, &embedder.spec().preprocessing)?;
    let bar = shared::bar();
    bar.set_length(set.len() as u64);
    let embeddings =
        embed::images(set.images.view(), embedder.as_mut(), |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let labels = set.classes.iter().map(|c| c.name.clone()).collect();
    let known = Loaded { labels, embeddings, classes: set.labels };
    Ok((known, embedder.spec().distance.clone(), set.name))
}

fn text(calibration: &Calibration, gallery: Option<&Path>) -> String {
    let Calibration { same_pairs, different_pairs, threshold, .. } = calibration;
    let mut text = format!(
        "{}: {} embeddings of {} classes, {same_pairs} same and {different_pairs} different pairs\n",
        threshold.data, calibration.embeddings, calibration.classes
    );
    text += &format!("AUROC              {:.5}\n", calibration.auroc);
    text += &format!("equal error rate   {} %\n", percent(calibration.equal_error_rate));
    for rate in &calibration.rates {
        let [low, high] = rate.interval_95.map(percent);
        text += &format!(
            "TAR at FAR {:<7} {} % ({low}–{high})  at distance {}\n",
            rate.false_accept_rate,
            percent(rate.true_accept_rate),
            rate.threshold
        );
    }
    let kept = gallery.map_or(String::new(), |g| format!(", kept in {}", g.display()));
    text + &format!("threshold          {} ({}){kept}\n", threshold.distance, threshold.chosen_at)
}
