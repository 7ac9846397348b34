//! From class folders to a recogniser: what a tower knows already is measured, then what can be learned from
//! the folders themselves is tried on classes and examples held out, and kept where it is surely better.
//!
//! What can be learned: a projection of the embeddings of any tower, or of their roots where they lie behind a
//! rectifier, by the within-class covariance and how far classes differ (`closed`), and by a contrastive step after it
//! (`contrast`). It becomes part of the tower's graph. Where there is ONNX Runtime and the tower is small enough, its
//! layers are tuned too, below the same projection (`tune`).
//! Whatever is not better, beyond what chance explains, leaves the tower as it was.

mod closed;
mod contrast;
mod page;
mod survey;
mod trial;
#[cfg(feature = "ort")]
mod tune;

pub use survey::Survey;

use crate::adopt::{self, Exactly, FloatTower, Proving};
use crate::data::{self, Dataset};
use crate::embed;
use crate::export::{self, ImportOptions, Projection, project};
use crate::gallery::{self, Enrolment, Gallery, Location};
use crate::image::Triage;
use crate::onnx::ModelProto;
use crate::report::html::Page;
use crate::runtime::{Embedder, Runner, Runtime};
use crate::tower::{self, Shipped, TowerKind, TowerSpec};
use crate::{Error, Result, files};
use closed::Spread;
use contrast::Contrast;
use ndarray::{Array2, ArrayView2};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use trial::{Fold, Shares, folds, gain, measure, surely_worse};

/// The share of the mean variance that is added to the within-class covariance, and others that are tried.
const USUAL: f64 = 1.0;
const SMOOTHINGS: [f64; 3] = [0.1, 0.3, 3.0];
/// A smaller gain is not worth another tower, whose embeddings no earlier gallery can use.
const LEAST_GAIN: f64 = 0.005;
/// The seed of folds.
const SEED: u64 = 0;
/// The most pictures by which the scales of a tuned tower's exact form are chosen, and others that it is compared on.
const CALIBRATED: usize = 256;
const COMPARED: usize = 200;

/// What to learn from.
pub struct Task<'a> {
    /// Class folders.
    pub pictures: &'a Path,
    /// The tower to begin with: a file, or a shipped one's name.
    pub tower: &'a Path,
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

/// A tower with what it makes of the pictures.
struct Material {
    /// Its file's bytes.
    bytes: Vec<u8>,
    spec: TowerSpec,
    model: ModelProto,
    /// Embeddings `[N, D]`.
    embeddings: Array2<f32>,
    /// The same as a projection takes them.
    rows: Array2<f32>,
    /// The same of their numbers' roots, where none is below 0 and no exact tower stands beside this one.
    roots: Option<Array2<f32>>,
}

/// A way to learn a projection.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    /// Of the numbers' roots.
    root: bool,
    /// Share of the mean variance that is added to the within-class covariance.
    smoothing: f64,
    /// Directions count by how far classes differ in them.
    telling: bool,
    contrast: Option<Contrast>,
}

impl Way {
    /// The rows that it takes.
    fn rows<'a>(&self, material: &'a Material) -> Option<&'a Array2<f32>> {
        if self.root { material.roots.as_ref() } else { Some(&material.rows) }
    }

    fn learn(&self, material: &Material, lesson: &Lesson<'_>) -> Option<Projection> {
        let rows = self.rows(material)?.view();
        let mut map = Projection { root: self.root, ..lesson.spread(self, rows)?.rounded(self.smoothing)? };
        if self.telling {
            map = closed::telling(rows, lesson.classes, &map)?;
        }
        Some(match &self.contrast {
            Some(contrast) => contrast.learn(rows, lesson.classes, map),
            None => map,
        })
    }

    fn name(&self) -> String {
        let of = if self.root { "roots, " } else { "" };
        let weighed = if self.telling { ", between" } else { "" };
        let then = if self.contrast.is_some() { ", then contrast" } else { "" };
        format!("{of}within-class covariance, smoothed by {}{weighed}{then}", self.smoothing)
    }
}

/// Pictures to learn from, by class, with what several ways begin with.
struct Lesson<'a> {
    classes: &'a [Vec<usize>],
    /// How they lie, as they are and with their numbers' roots.
    spreads: [OnceLock<Option<Spread>>; 2],
}

impl<'a> Lesson<'a> {
    fn of(classes: &'a [Vec<usize>]) -> Self {
        Self { classes, spreads: Default::default() }
    }

    fn spread(&self, way: &Way, rows: ArrayView2<'_, f32>) -> Option<&Spread> {
        self.spreads[usize::from(way.root)].get_or_init(|| Spread::of(rows, self.classes)).as_ref()
    }
}

/// Learns from class folders.
///
/// # Errors
/// A tower or pictures that cannot be used; a folder that cannot be written, or that holds a gallery already.
pub fn learn(task: &Task<'_>, watch: &mut dyn Watch) -> Result<Learned> {
    let (spec, _) = TowerSpec::read(task.tower)?;
    let at = Location::from(task.out.join("gallery").as_path());
    if Gallery::find(&at)?.is_some() {
        return Err(Error::invalid(
            &at,
            "is of an earlier run; name another folder with --out, or remove it",
        ));
    }
    watch.say(&format!("reading {} as {} sees it", task.pictures.display(), spec.name));
    let data = data::folder(task.pictures, &spec.preprocessing, task.triage)?;
    let survey = Survey::of(&data);
    watch.say(&told(&survey));
    let material = Material::of(task.tower, task.runner, &data)?;
    let members = data.by_class();
    let folds = folds(&members, SEED);
    let (ways, mut candidates) = tried(&material, &folds, watch);
    let mut kept = best(&candidates);
    let way = kept.checked_sub(1).map(|place| ways[place]);
    let tuned = tuned(task, &Trials { material: &material, data: &data, folds: &folds, way }, watch);
    let better = tuned.and_then(|(candidate, tower)| {
        candidates.push(candidate);
        tower
    });
    if better.is_some() {
        kept = candidates.len() - 1;
    }
    std::fs::create_dir_all(task.out).map_err(Error::io("create", task.out))?;
    watch.say(&format!("keeping {}", candidates[kept].name));
    let towers = towers(task, &data, &members, (&material, better), way)?;
    watch.say("enrolling all pictures");
    let last = &towers[towers.len() - 1];
    let mut embedder = task.runner.load(last)?;
    let gallery = gallery::enroll_set(&at, last, embedder.as_mut(), &data, task.triage)?;
    let report = task.out.join("report.html");
    let learned = Learned { survey, tower: spec.name, candidates, kept, towers, gallery, report };
    let page: Page = page::page(&learned, &data)?;
    page.write(&learned.report)?;
    Ok(learned)
}

/// What is tried on which pictures.
#[cfg_attr(not(feature = "ort"), expect(dead_code, reason = "layers are tuned by ONNX Runtime"))]
struct Trials<'a> {
    material: &'a Material,
    data: &'a Dataset,
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
    tune::tuned(task, trials, watch).unwrap_or_else(|error| {
        watch.say(&format!("the layers are not tuned: {:#}", anyhow::Error::from(error)));
        None
    })
}

#[cfg(not(feature = "ort"))]
fn tuned(_: &Task<'_>, _: &Trials<'_>, _: &mut dyn Watch) -> Option<(Candidate, Option<Material>)> {
    None
}

/// Writes the towers, the float one and the exact one where there is one beside it.
fn towers(
    task: &Task<'_>,
    data: &Dataset,
    members: &[Vec<usize>],
    (as_was, tuned): (&Material, Option<Material>),
    way: Option<Way>,
) -> Result<Vec<PathBuf>> {
    let mut towers = vec![write(tuned.as_ref().unwrap_or(as_was), way, members, task.out)?];
    let Some(sibling) = exact_sibling(task.tower) else { return Ok(towers) };
    towers.push(match tuned {
        Some(_) => recalibrated(task, &towers[0])?,
        None => write(&Material::of(&sibling, task.runner, data)?, way, members, task.out)?,
    });
    Ok(towers)
}

/// The exact tower of a float one whose layers are others than those of any exact one.
fn recalibrated(task: &Task<'_>, float: &Path) -> Result<PathBuf> {
    let runners = Runtime::built_in().filter_map(|r| r.with(task.runner.options().clone()).ok()).collect();
    let proving = Proving { runners, progress: &|_| () };
    let triage = &Triage::lenient(drop);
    let (calibrate, compare) = (CALIBRATED, COMPARED);
    let how = Exactly { pictures: task.pictures, calibrate, compare, triage, proving: &proving };
    let float = FloatTower::read(float, &ImportOptions::default(), &proving)?;
    Ok(adopt::exact(&float, &task.out.join(name(TowerKind::Exact)), &how)?.file)
}

impl Material {
    fn of(tower: &Path, runner: &Runner, data: &Dataset) -> Result<Self> {
        let alone = exact_sibling(tower).is_none();
        Self::made(tower::read_bytes(tower)?, &tower.display().to_string(), alone, runner, data)
    }

    /// Of a tower's bytes; whether it stands alone, without an exact one.
    fn made(bytes: Vec<u8>, name: &str, alone: bool, runner: &Runner, data: &Dataset) -> Result<Self> {
        let (spec, model) = TowerSpec::from_bytes(&bytes, name)?;
        let mut embedder: Box<dyn Embedder> = runner.load_bytes(&bytes, name)?;
        let embeddings = embed::images(data.images.view(), embedder.as_mut(), |_| ())?;
        let rows = Projection::seen(&spec, embeddings.view(), false);
        let rooted = spec.kind == TowerKind::Float && alone && embeddings.iter().all(|x| *x >= 0.0);
        let roots = rooted.then(|| Projection::seen(&spec, embeddings.view(), true));
        Ok(Self { bytes, spec, model, embeddings, rows, roots })
    }

    /// What a way learns of a lesson makes of all pictures, `[N, E]`; none where it learns nothing.
    fn seen_by(&self, way: Way, lesson: &Lesson<'_>) -> Option<Array2<f32>> {
        Some(way.learn(self, lesson)?.apply(way.rows(self)?.view()))
    }
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

/// The ways that were tried, and what came of each, the tower as it was first.
fn tried(material: &Material, folds: &[Fold], watch: &mut dyn Watch) -> (Vec<Way>, Vec<Candidate>) {
    let (distance, of_projected) = (&material.spec.distance, Projection::distance(&material.spec));
    let as_is = measure(folds, distance, |_| Some(material.embeddings.clone())).unwrap_or_default();
    let mut candidates = vec![candidate("the tower as it was".into(), &as_is, &as_is)];
    let mut ways = Vec::new();
    let lessons: Vec<Lesson<'_>> = folds.iter().map(|fold| Lesson::of(&fold.learn)).collect();
    let attempt = |way: Way| measure(folds, &of_projected, |place| material.seen_by(way, &lessons[place]));
    let mut add = |way: Way| {
        if let Some(shares) = attempt(way) {
            candidates.push(candidate(way.name(), &as_is, &shares));
            ways.push(way);
        }
        // The best so far, which what follows is added to.
        let gain = |&place: &usize| candidates[place + 1].gain;
        (0..ways.len()).max_by(|a, b| gain(a).total_cmp(&gain(b))).map(|place| ways[place])
    };
    watch.say("trying projections by the within-class covariance");
    let plain = Way { root: false, smoothing: USUAL, telling: false, contrast: None };
    let mut best = add(plain);
    if material.roots.is_some() {
        best = add(Way { root: true, ..plain });
    }
    let root = best.is_some_and(|way| way.root);
    for smoothing in SMOOTHINGS {
        best = add(Way { root, smoothing, ..plain });
    }
    if let Some(way) = best {
        watch.say("weighing directions by how far classes differ in them");
        best = add(Way { telling: true, ..way });
    }
    if let Some(way) = best {
        watch.say("trying a contrastive step after it");
        add(Way { contrast: Some(Contrast::default()), ..way });
    }
    (ways, candidates)
}

fn candidate(name: String, as_is: &Shares, shares: &Shares) -> Candidate {
    let (gain, gain_interval_95) = gain(as_is, shares);
    let [new_classes, new_pictures, from_all] = shares.questions().map(Shares::mean);
    let surely_worse = surely_worse(as_is, shares);
    Candidate { name, new_classes, new_pictures, from_all, gain, gain_interval_95, surely_worse }
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

/// The exact tower that is shipped beside a float one.
fn exact_sibling(tower: &Path) -> Option<PathBuf> {
    Shipped::find(tower)?;
    let exact = PathBuf::from(format!("{}-exact", tower.display()));
    Shipped::find(&exact).map(|_| exact)
}

/// What a tower's file is called.
fn name(kind: TowerKind) -> &'static str {
    match kind {
        TowerKind::Exact => "tower.exact.onnx",
        TowerKind::Float => "tower.onnx",
    }
}

/// Writes the tower with what was learned of all pictures.
fn write(material: &Material, way: Option<Way>, members: &[Vec<usize>], out: &Path) -> Result<PathBuf> {
    let file = out.join(name(material.spec.kind));
    let learned = way.and_then(|way| Some((way.learn(material, &Lesson::of(members))?, way.rows(material)?)));
    let Some((map, rows)) = learned else {
        files::replace(&file, &material.bytes)?;
        return Ok(file);
    };
    let largest = map.apply(rows.view()).iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
    export::save(&project(&material.model, &material.spec, &map, largest)?, &file)?;
    Ok(file)
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
