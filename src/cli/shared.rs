//! What several verbs have in common.

use super::output::{note, warn};
use super::{Context, progress};
use crate::data::{Dataset, Set};
use crate::embed::{Listed, PictureFile, PictureFiles};
use crate::eval::bootstrap::Share;
use crate::eval::identification::Point;
use crate::gallery::{self, Gallery, Limit, Rule, Shots};
use crate::image::{Preprocessing, Triage};
use crate::runtime::{Embedder, Options, Runner, Runtime};
use crate::second_look::SecondLook;
use crate::{Error, Result, tower};
use clap::Args;
use indicatif::ProgressBar;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Which runtime embeds.
#[derive(Clone, Debug, Args)]
pub struct RuntimeArgs {
    /// The runtime that runs the tower.
    #[arg(long, value_enum, default_value_t = Runtime::preferred())]
    pub runtime: &'static Runtime,
    /// Its threads; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

impl RuntimeArgs {
    /// Loads a tower.
    pub fn load(&self, context: &Context, tower: &Path) -> Result<Box<dyn Embedder>> {
        self.runner(context)?.load(tower)
    }

    /// The runtime with its options, where this build has it.
    pub fn runner(&self, context: &Context) -> Result<Runner> {
        let library = context.library(false);
        self.runtime.with(Options { threads: self.threads, library, ..Options::default() })
    }
}

/// What happens to pictures that cannot be used.
#[derive(Clone, Debug, Args)]
pub struct PictureArgs {
    /// Stop at the first picture that cannot be used; else each is told, the rest is done, and the exit code is 2.
    #[arg(long)]
    pub strict: bool,
}

impl PictureArgs {
    /// As the arguments say; pictures that cannot be used are told on stderr.
    pub fn triage(&self) -> Triage<'static> {
        if self.strict { Triage::strict() } else { Triage::lenient(warn) }
    }

    /// As [`PictureArgs::triage`], above a bar.
    pub fn triage_above(&self, bar: &ProgressBar) -> Triage<'static> {
        let bar = bar.clone();
        if self.strict { Triage::strict() } else { Triage::lenient(move |e| bar.suspend(|| warn(e))) }
    }
}

/// The tower of a gallery, or the one named, or the shipped one.
pub fn embedder(
    context: &Context,
    runtime: &RuntimeArgs,
    gallery: Option<&Gallery>,
    tower: Option<&Path>,
) -> Result<Box<dyn Embedder>> {
    let load = |path: &Path| runtime.load(context, path);
    match (gallery, tower) {
        (Some(gallery), _) => gallery.embedder(tower, load),
        (None, tower) => load(tower.unwrap_or(Path::new(tower::DEFAULT))),
    }
}

/// The tower that asks a gallery; that it is not the gallery's own is told.
pub fn asker(
    context: &Context,
    runtime: &RuntimeArgs,
    gallery: &Gallery,
    tower: Option<&Path>,
) -> Result<Box<dyn Embedder>> {
    let embedder = gallery.asker(tower, |path| runtime.load(context, path))?;
    if let Some(told) = gallery.facts().by_another(embedder.spec()) {
        note(format_args!("note: {}: {told}", gallery.location()));
    }
    Ok(embedder)
}

/// Whether to look again at the nearest classes, and by which tower beside the one that answers.
#[derive(Clone, Debug, Args)]
pub struct SecondLookArgs {
    /// Have the five nearest classes looked at again, by distorted copies of the pictures; with `=TOWER` (a file, or a
    /// shipped one's name) by that tower too, which may see pictures another way. A gallery must have kept its own
    /// (`--keep-pictures`); an evaluation, of all protocols but identification and accuracy, tells what it gains and costs.
    #[arg(long, value_name = "TOWER", num_args = 0..=1, require_equals = true)]
    #[allow(clippy::option_option)]
    second_look: Option<Option<PathBuf>>,
}

impl SecondLookArgs {
    /// Whether it is wanted.
    pub fn wanted(&self) -> bool {
        self.second_look.is_some()
    }

    /// What looks again, where it is wanted: the tower that answers, which `own` loads once more since it embeds copies
    /// between batches, and the other one that was named.
    pub fn load(
        &self,
        context: &Context,
        runtime: &RuntimeArgs,
        own: impl FnOnce() -> Result<Box<dyn Embedder>>,
    ) -> Result<Option<SecondLook>> {
        let Some(other) = &self.second_look else { return Ok(None) };
        let second = SecondLook::by(own()?)?;
        let Some(other) = other else { return Ok(Some(second)) };
        second.and_by(runtime.load(context, other)?).map(Some)
    }
}

/// The pictures of these files and folders; `-` is a list of paths on stdin.
pub fn inputs(paths: &[PathBuf]) -> Result<Box<dyn Iterator<Item = Result<PictureFile>> + Send>> {
    match paths {
        [only] if only == Path::new("-") => {
            Ok(Box::new(Listed::new(BufReader::new(std::io::stdin()), "the list on stdin")))
        }
        _ if paths.iter().any(|p| p == Path::new("-")) => {
            Err(Error::invalid("-", "a list on stdin cannot be mixed with other pictures"))
        }
        _ => Ok(Box::new(PictureFiles::new(paths.to_vec()))),
    }
}

/// A bar for these pictures, which counts them meanwhile.
pub fn bar_of(paths: &[PathBuf]) -> ProgressBar {
    let named = !paths.is_empty() && !paths.iter().any(|p| p == Path::new("-"));
    let paths = paths.to_vec();
    let count = move || PictureFiles::new(paths).filter(Result::is_ok).count() as u64;
    progress::counter("pictures", named.then_some(count))
}

/// Reads a set of a data folder; without a name Omniglot's evaluation part, MNIST's test images or class
/// folders, whichever is there first.
pub fn labelled(dir: &Path, set: Option<Set>, how: &Preprocessing, triage: &Triage<'_>) -> Result<Dataset> {
    let set = set.unwrap_or_else(|| Set::found(dir, &[Set::OmniglotEvaluation, Set::MnistTest]));
    set.read(dir, how, triage)
}

/// The rule that a limit means for a gallery; none given is that of a gallery that was calibrated. What may not
/// fit is told.
pub fn rule(given: Option<Limit>, shots: Shots, gallery: &Gallery) -> Result<Option<Rule>> {
    let limit = given.unwrap_or(Limit::Calibrated);
    let found = limit.rule(gallery.facts());
    if given == Some(Limit::Calibrated) && found.is_none() {
        let why = "has no calibrated threshold; run `siamese calibrate`, or give --threshold a distance";
        return Err(Error::invalid(gallery.location(), why));
    }
    if limit == Limit::Calibrated && found.is_some() {
        if let Some(doubts) = gallery.doubts()? {
            note(format_args!("note: {}: {doubts}", gallery.location()));
        }
        of_best(shots);
    }
    Ok(found)
}

/// That a calibrated threshold belongs to the nearest example.
pub fn of_best(shots: Shots) {
    if shots != Shots::Best {
        note("note: the threshold was chosen for --shots best, and may not fit means");
    }
}

/// Calibrates a gallery again after a change, where it does so by itself or that is asked for. The change
/// stands in any case, so that a gallery cannot be calibrated is told, and no fault of the verb.
pub fn recalibrate(gallery: &mut Gallery, asked: bool) {
    match gallery::recalibrate(gallery, asked) {
        Some(Ok(found)) => calibrated(&found.point),
        Some(Err(e)) => note(format_args!("note: not calibrated again: {e}")),
        None => {}
    }
}

/// Tells what a gallery was calibrated to.
pub fn calibrated(point: &Point) {
    note(format_args!(
        "calibrated: {} % of false positives asked for, {} % expected",
        percent(point.asked),
        percent(point.false_positives.share)
    ));
    if let Some(short) = shortfall(point) {
        note(format_args!("note: {short}"));
    }
}

/// That less was asked for than the gallery can tell.
pub fn shortfall(point: &Point) -> Option<String> {
    let (asked, carried) = (percent(point.asked), percent(point.carried));
    point.is_short().then(|| {
        format!("so few classes cannot tell {asked} % of false positives; the smallest they can, {carried} %, is taken")
    })
}

/// A rate between 0 and 1 as users give it: `1%` or `0.01`.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.trim().parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate < unit => Ok(rate / unit),
        _ => Err("give a rate between 0 and 1, such as 1% or 0.01".into()),
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// A share and its interval as percentages.
pub fn interval(share: &Share) -> String {
    let [low, high] = share.interval_95.map(percent);
    format!("{} ({low}–{high})", percent(share.share))
}

/// A distance or score in four digits.
pub fn rounded(number: f32) -> String {
    let digits = if number == 0.0 { 0 } else { (3 - number.abs().log10().floor() as i32).clamp(0, 9) };
    format!("{number:.*}", digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shares_or_percentages() {
        for (text, value) in [("1%", 0.01), ("0.01", 0.01), ("12.5 %", 0.125)] {
            assert_eq!(rate(text), Ok(value));
        }
        for text in ["0", "1", "100%", "-1%", "x", "", "%", "nan"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_four_digits() {
        for (number, text) in [
            (0.0, "0"),
            (0.123_456, "0.1235"),
            (12.3456, "12.35"),
            (-0.012_346, "-0.01235"),
            (98765.4, "98765"),
        ] {
            assert_eq!(rounded(number), text);
        }
    }
}
