//! The whole comparison: what is asked, in which order it is done, and what came out.

use super::certificate::{self, Predictions};
use super::hunt::{Hunt, hunt};
use super::layers::{self, Layerwise};
use super::pair::Pair;
use super::portability::{self, Cell};
use super::reduce::{self, Summary};
use super::sample::{Asked, Draw, Images};
use super::sweep::{Setting, Sweep, exact_settings, in_batches, noise_settings, sweep};
use super::values::{self, Tolerance, Values};
use crate::eval;
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::{Named, Options, Runner};
use crate::tower::{INPUT, TowerKind, TowerSpec};
use crate::{Error, Result};
use ndarray::{Axis, s};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A tower file that was read and checked.
#[derive(Clone, Debug)]
pub struct Tower {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub spec: TowerSpec,
    /// Its graph.
    pub model: ModelProto,
}

impl Tower {
    /// Reads and checks a tower.
    ///
    /// # Errors
    /// As [`TowerSpec::read`].
    pub fn read(path: &Path) -> Result<Self> {
        let (spec, model) = TowerSpec::read(path)?;
        Ok(Self { path: path.into(), spec, model })
    }
}

/// What to compare and how far to look.
pub struct Scope<'a> {
    /// The tower on A.
    pub tower: &'a Tower,
    /// The tower on B, where it is another file.
    pub against: Option<&'a Tower>,
    /// The runtimes, A and B.
    pub sides: [&'a Runner; 2],
    /// The images.
    pub images: &'a Images,
    /// The episodes.
    pub asked: Asked,
    /// What counts as equal.
    pub tolerance: Tolerance,
    /// Whether to measure the noise floors (of a float tower) or all bits (of an exact one).
    pub settings: bool,
    /// How many images to run through every node; 0 for none.
    pub layers: usize,
    /// Where to write the smallest diverging sub-model.
    pub reduce: Option<&'a Path>,
    /// Told what is being done.
    pub progress: &'a dyn Fn(&str),
}

/// A tower in a result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TowerFacts {
    /// The file.
    pub file: PathBuf,
    /// What the file says of itself.
    #[serde(flatten)]
    pub spec: TowerSpec,
}

/// A runtime in a result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideFacts {
    /// Library, version, device.
    pub about: String,
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// Time to open the tower and embed all images, milliseconds.
    pub embed_ms: f64,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Whether everything agrees: see [`Comparison::faults`].
    pub agrees: bool,
    /// What does not agree.
    pub faults: Vec<String>,
    /// The tower.
    pub tower: TowerFacts,
    /// The file that B ran, where it is another.
    pub against: Option<TowerFacts>,
    /// The first runtime.
    pub a: SideFacts,
    /// The second.
    pub b: SideFacts,
    /// What it was compared on.
    pub data: String,
    /// How many images.
    pub images: usize,
    /// The numbers.
    pub values: Values,
    /// Whether A maps all images to nearly one point, so that agreement shows little.
    pub collapsed: bool,
    /// The episodes.
    pub predictions: Predictions,
    /// Classes of an episode, and known drawings of each.
    pub way_shot: [usize; 2],
    /// Supports by one runtime, queries by the other.
    pub portability: Vec<Cell>,
    /// The most fragile triplets.
    pub hunt: Hunt,
    /// All settings: one SHA-256 for an exact tower, the noise floors of a float one.
    pub settings: Option<Sweep>,
    /// Every node.
    pub layers: Option<Layerwise>,
    /// The smallest diverging sub-model; none where nothing diverges or none was asked for.
    pub reduced: Option<Summary>,
    /// Time of the whole, seconds.
    pub seconds: f64,
}

/// Images by which a float runtime is compared with itself.
const NOISE_IMAGES: usize = 64;

/// Does what is asked.
///
/// # Errors
/// A runtime that is missing or fails; towers that cannot be compared; too few images for an
/// episode.
pub fn compare(scope: &Scope<'_>) -> Result<Comparison> {
    let start = Instant::now();
    let other = scope.against.unwrap_or(scope.tower);
    let draw = checked(scope, other)?;
    let files = [&scope.tower.path, &other.path];
    let mut embedded = Vec::new();
    for (side, file) in scope.sides.iter().zip(files) {
        (scope.progress)(&format!("{}: {} images", side.name(), scope.images.len()));
        embedded.push(embed(side, file, scope.images)?);
    }
    let [(a, a_facts), (b, b_facts)] =
        <[_; 2]>::try_from(embedded).map_err(|_| Error::invalid("compare", "takes two runtimes"))?;
    let values = values::compare(a.view(), b.view(), scope.tolerance);
    (scope.progress)(&format!("{} episodes", scope.asked.episodes));
    let pair = Pair::new(a.view(), b.view(), &scope.tower.spec.distance);
    let (count, labelled) = (scope.asked.episodes, draw.labelled());
    let predictions = certificate::predictions(&pair, count, labelled, |k| draw.episode(k));
    let portability = portability::matrix(&pair, count.min(1_000), labelled, |k| draw.episode(k));
    (scope.progress)("the most fragile triplets");
    let hunt = hunt(&pair, scope.images.labels());
    let settings = if scope.settings { Some(all_settings(scope)?) } else { None };
    let (layers, reduced) = graphs(scope, other)?;
    let facts = |tower: &Tower| TowerFacts { file: tower.path.clone(), spec: tower.spec.clone() };
    let mut result = Comparison {
        agrees: true,
        faults: Vec::new(),
        tower: facts(scope.tower),
        against: scope.against.map(facts),
        a: a_facts,
        b: b_facts,
        data: scope.images.name().into(),
        images: scope.images.len(),
        values,
        collapsed: eval::collapsed(a.view()),
        predictions,
        way_shot: [scope.asked.way, scope.asked.shot],
        portability,
        hunt,
        settings,
        layers,
        reduced,
        seconds: start.elapsed().as_secs_f64(),
    };
    result.faults = result.find_faults();
    result.agrees = result.faults.is_empty();
    Ok(result)
}

/// Whether the towers and the images fit each other; the episodes.
fn checked(scope: &Scope<'_>, other: &Tower) -> Result<Draw> {
    let (one, two) = (&scope.tower.spec, &other.spec);
    if (one.dim, &one.preprocessing) != (two.dim, &two.preprocessing) {
        let why = format!("takes other images or gives other embeddings than {}", scope.tower.path.display());
        return Err(Error::invalid(other.path.display(), why));
    }
    if scope.images.is_empty() {
        return Err(Error::invalid(scope.images.name(), "holds no image to compare on"));
    }
    let (_, channels, side, _) = scope.images.all().dim();
    if (channels, side) != (one.preprocessing.channels(), one.preprocessing.size()) {
        let why = format!("images [{channels}, {side}, {side}] do not fit the tower {}", one.name);
        return Err(Error::invalid(scope.images.name(), why));
    }
    Draw::new(scope.images, &scope.asked)
}

fn embed(side: &Runner, file: &Path, images: &Images) -> Result<(ndarray::Array2<f32>, SideFacts)> {
    let start = Instant::now();
    let setting = Setting::of(side);
    let mut embedder = side.load(file)?;
    let embeddings = in_batches(&mut *embedder, images.all().view(), setting.batch)?;
    let facts = SideFacts { about: side.about()?, setting, embed_ms: start.elapsed().as_secs_f64() * 1e3 };
    Ok((embeddings, facts))
}

/// Every setting of both runtimes, on all images (exact) or a few (float).
fn all_settings(scope: &Scope<'_>) -> Result<Sweep> {
    let exact = scope.tower.spec.kind == TowerKind::Exact;
    (scope.progress)(if exact { "bits under every setting" } else { "the noise floor of each runtime" });
    let mut settings = Vec::new();
    for (place, side) in scope.sides.iter().enumerate() {
        if place == 1 && side.name() == scope.sides[0].name() {
            continue;
        }
        let make = if exact { exact_settings } else { noise_settings };
        settings.extend(make(&side.name(), side.runtime().levels));
    }
    let mut open = |setting: &Setting| {
        let side = scope.sides.iter().find(|side| side.name() == setting.runtime);
        let side = side.unwrap_or(&scope.sides[0]);
        let options = Options { threads: setting.threads, level: setting.level, ..side.options().clone() };
        side.with(options)?.load(&scope.tower.path)
    };
    let count = if exact { scope.images.len() } else { scope.images.len().min(NOISE_IMAGES) };
    sweep(settings, &mut open, scope.images.all().slice(s![..count, .., .., ..]))
}

/// The parts that run whole graphs.
fn graphs(scope: &Scope<'_>, other: &Tower) -> Result<(Option<Layerwise>, Option<Summary>)> {
    if scope.layers == 0 && scope.reduce.is_none() {
        return Ok((None, None));
    }
    let (mut a, mut b) = (scope.sides[0].engine()?, scope.sides[1].engine()?);
    let models = [&scope.tower.model, &other.model];
    let inputs = inputs(scope)?;
    let mut result = (None, None);
    if scope.layers > 0 {
        (scope.progress)("every node, alone and in place");
        result.0 = Some(layers::analyse((&mut *a, &mut *b), models, &inputs, scope.tolerance)?);
    }
    if let Some(folder) = scope.reduce {
        (scope.progress)("the smallest diverging sub-model");
        if let Some(mut reduced) = reduce::reduce((&mut *a, &mut *b), models, &inputs, scope.tolerance)? {
            reduced.write(folder)?;
            result.1 = Some(reduced.summary);
        }
    }
    Ok(result)
}

/// Evenly spread images as the graph's input.
fn inputs(scope: &Scope<'_>) -> Result<Named> {
    let count = scope.images.len();
    let most = scope.tower.spec.batch.unwrap_or(count);
    let wanted = scope.layers.clamp(1, most.min(count));
    let places: Vec<usize> = (0..wanted).map(|i| i * count / wanted).collect();
    let pixels = scope.images.all().select(Axis(0), &places).into_dyn();
    Ok(vec![(INPUT.into(), Tensor::U8(pixels))])
}

impl Comparison {
    /// What makes the answer negative: numbers outside the tolerance, flipped predictions, bits of an
    /// exact tower that differ.
    fn find_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.values.passes() {
            faults.push(format!(
                "{} of {} numbers are outside the tolerance",
                self.values.offenders, self.values.elements
            ));
        }
        if self.values.non_finite > 0 {
            faults.push(format!("{} numbers are NaN or infinite", self.values.non_finite));
        }
        if self.predictions.flipped > 0 {
            let of = self.predictions.queries;
            faults.push(format!("{} of {of} predictions are flipped", self.predictions.flipped));
        }
        if self.tower.spec.kind == TowerKind::Exact {
            let one = self.settings.as_ref().is_none_or(|sweep| sweep.sha256.is_some());
            if !self.values.bit_equal || !one {
                faults.push("the tower is exact, but its bits differ".into());
            }
        }
        faults
    }
}
