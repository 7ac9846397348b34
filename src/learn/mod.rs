//! From class folders to a recogniser: what a tower knows already is measured, then what can be learned from
//! the folders themselves is tried on classes and examples held out, and kept where it is surely better.
//!
//! What can be learned: a projection of the embeddings of any tower, or of their roots where they lie behind a
//! rectifier, by the within-class covariance and how far classes differ (`closed`), and by a contrastive step after it
//! (`contrast`). It becomes part of the tower's graph. Where there is ONNX Runtime and the tower is small enough, its
//! layers are tuned too, below the same projection (`tune`).
//! Whatever is not better, beyond what chance explains, leaves the tower as it was.

mod begin;
mod closed;
mod contrast;
mod material;
mod page;
mod survey;
mod trial;
#[cfg(feature = "ort")]
mod tune;
mod ways;
mod written;

pub use survey::Survey;

use crate::gallery::{self, Enrolment, Gallery, Location};
use crate::image::Triage;
use crate::report::html::Page;
use crate::runtime::Runner;
use crate::{Error, Result};
use begin::Begun;
use material::Material;
use serde::Serialize;
use std::path::{Path, PathBuf};
use trial::{Fold, folds};
use ways::{Way, tried};

/// A smaller gain is not worth another tower, whose embeddings no earlier gallery can use.
const LEAST_GAIN: f64 = 0.005;
/// The seed of folds.
const SEED: u64 = 0;

/// What to learn from.
pub struct Task<'a> {
    /// Class folders.
    pub pictures: &'a Path,
    /// The tower to begin with: a file, or a shipped one's name; none for the best at hand.
    pub tower: Option<&'a Path>,
    /// The runtime that embeds.
    pub runner: &'a Runner,
    /// The folder for towers, gallery and report.
    pub out: &'a Path,
    /// What happens to pictures that cannot be used.
    pub triage: &'a Triage<'a>,
}

/// What is told meanwhile.
pub trait Watch {
    /// What begins now.
    fn say(&mut self, text: &str);
}

/// What was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// What it is.
    pub name: String,
    /// Mean accuracy by class on held-out classes, from one example of each; none where there are too few.
    pub new_classes: Option<f64>,
    /// Mean accuracy by class on held-out pictures of known classes, from one such picture of each.
    pub new_pictures: Option<f64>,
    /// The same, from all pictures of the classes that were not held out.
    pub from_all: Option<f64>,
    /// How much better than the tower as it was, all together.
    pub gain: f64,
    /// Its 95 % interval, by a bootstrap over classes.
    pub gain_interval_95: [f64; 2],
    /// Whether it is worse at one of the three, beyond what chance explains.
    pub surely_worse: bool,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Learned {
    /// What the pictures are.
    pub survey: Survey,
    /// The tower that was begun with.
    pub tower: String,
    /// What was tried, the tower as it was first.
    pub candidates: Vec<Candidate>,
    /// The place of what was kept.
    pub kept: usize,
    /// The towers that were written.
    pub towers: Vec<PathBuf>,
    /// All pictures in a gallery of the last of these, the exact one where there is one.
    pub gallery: Enrolment,
    /// The page.
    pub report: PathBuf,
}

/// Learns from class folders.
///
/// # Errors
/// A tower or pictures that cannot be used; a folder that cannot be written, or that holds a gallery already.
pub fn learn(task: &Task<'_>, watch: &mut dyn Watch) -> Result<Learned> {
    let at = Location::from(task.out.join("gallery").as_path());
    if Gallery::find(&at)?.is_some() {
        return Err(Error::invalid(
            &at,
            "is of an earlier run; name another folder with --out, or remove it",
        ));
    }
    let begun = Begun::with(task, watch)?;
    let Begun { data, material, .. } = &begun;
    let survey = Survey::of(data);
    watch.say(&told(&survey));
    let folds = folds(&data.by_class(), SEED);
    let (ways, mut candidates) = tried(material, &folds, watch);
    let mut kept = best(&candidates);
    let way = kept.checked_sub(1).map(|place| ways[place]);
    let tuned = tuned(task, &Trials { begun: &begun, folds: &folds, way }, watch);
    let better = tuned.and_then(|(candidate, tower)| {
        candidates.push(candidate);
        tower
    });
    if better.is_some() {
        kept = candidates.len() - 1;
    }
    std::fs::create_dir_all(task.out).map_err(Error::io("create", task.out))?;
    watch.say(&format!("keeping {}", candidates[kept].name));
    let towers = written::towers(task, &begun, better.as_ref(), way)?;
    watch.say("enrolling all pictures");
    let last = &towers[towers.len() - 1];
    let mut embedder = task.runner.load(last)?;
    let gallery = gallery::enroll_set(&at, last, embedder.as_mut(), data, task.triage)?;
    let report = task.out.join("report.html");
    let tower = material.spec.name.clone();
    let learned = Learned { survey, tower, candidates, kept, towers, gallery, report };
    let page: Page = page::page(&learned, data)?;
    page.write(&learned.report)?;
    Ok(learned)
}

/// What is tried on which pictures.
#[cfg_attr(not(feature = "ort"), expect(dead_code, reason = "layers are tuned by ONNX Runtime"))]
struct Trials<'a> {
    begun: &'a Begun,
    folds: &'a [Fold],
    /// The best way so far; none where the tower as it was is.
    way: Option<Way>,
}

/// What tuning the tower's layers came to, where it was tried, and the tower where that is better than what there is.
#[cfg(feature = "ort")]
fn tuned(
    task: &Task<'_>,
    trials: &Trials<'_>,
    watch: &mut dyn Watch,
) -> Option<(Candidate, Option<Material>)> {
    tune::tuned(trials, task.runner, watch).unwrap_or_else(|error| {
        watch.say(&format!("the layers are not tuned: {:#}", anyhow::Error::from(error)));
        None
    })
}

#[cfg(not(feature = "ort"))]
fn tuned(_: &Task<'_>, _: &Trials<'_>, _: &mut dyn Watch) -> Option<(Candidate, Option<Material>)> {
    None
}

fn told(survey: &Survey) -> String {
    let Survey { classes, pictures, fewest, most, single, duplicates } = survey;
    let mut text = format!("{pictures} pictures of {classes} classes, {fewest} to {most} of each");
    if !single.is_empty() {
        let few: Vec<&str> = single.iter().take(3).map(String::as_str).collect();
        text += &format!("; {} classes of one picture teach nothing ({}…)", single.len(), few.join(", "));
    }
    if !duplicates.is_empty() {
        text += &format!("; {} pictures are the same as others to the tower", duplicates.len());
    }
    text
}

/// The place of the candidate with the greatest gain among those whose gain is worth it, which chance does not
/// explain, and which are surely worse at nothing; 0 is the tower as it was.
fn best(candidates: &[Candidate]) -> usize {
    let better = |place: &usize| {
        let candidate = &candidates[*place];
        candidate.gain >= LEAST_GAIN && candidate.gain_interval_95[0] > 0.0 && !candidate.surely_worse
    };
    let gain = |place: usize| candidates[place].gain;
    (1..candidates.len()).filter(better).max_by(|&a, &b| gain(a).total_cmp(&gain(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(gain: f64, low: f64, surely_worse: bool) -> Candidate {
        let (name, gain_interval_95) = (String::new(), [low, gain]);
        let (new_classes, new_pictures, from_all) = (None, None, None);
        Candidate { name, new_classes, new_pictures, from_all, gain, gain_interval_95, surely_worse }
    }

    #[test]
    fn only_what_is_surely_better_and_nowhere_surely_worse_is_kept() {
        let as_it_was = || candidate(0.0, 0.0, false);
        let maybe = candidate(0.05, -0.01, false);
        assert_eq!(best(&[as_it_was(), maybe.clone(), candidate(0.02, 0.0, false)]), 0);
        assert_eq!(best(&[as_it_was(), candidate(0.05, 0.01, false), candidate(0.06, 0.02, false)]), 2);
        assert_eq!(best(&[as_it_was(), candidate(0.05, 0.01, false), candidate(0.06, 0.02, true)]), 1);
        assert_eq!(best(&[as_it_was(), candidate(0.004, 0.001, false)]), 0);
        assert_eq!(best(&[as_it_was()]), 0);
    }
}
