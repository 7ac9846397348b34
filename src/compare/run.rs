//! The whole comparison: what is asked, in which order it is done, and what came out.

use super::certificate::{self, Noise, Predictions};
use super::hunt::{Hunt, hunt};
use super::layers::{self, Layerwise};
use super::pair::Pair;
use super::portability::{self, Cell};
use super::reduce::{self, Summary};
use super::sample::{Asked, Draw, Images};
use super::sweep::{Run, Setting, Sweep, exact_settings, in_batches, noise_settings, quick_settings, sweep};
use super::values::{self, Tolerance, Values};
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::{Named, Options, Runner};
use crate::tower::{Finding, INPUT, TowerKind, TowerSpec, diagnose};
use crate::{Error, Result};
use ndarray::{ArrayView2, Axis, s};
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
    /// What counts as equal numbers.
    pub tolerance: Tolerance,
    /// Whether numbers outside the tolerance are a negative answer too.
    pub strict: bool,
    /// Whether to run every setting: for the noise floors of a float tower, for all bits of an exact one. Otherwise
    /// just a few, which show whether embeddings depend on more than their picture.
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

/// What is wrong with the embeddings of a side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideFinding {
    /// `A`, `B`, or `A and B`.
    pub side: &'static str,
    /// What it is.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The answer to the whole question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No answer depends on which runtime gives it.
    Agree,
    /// Some do.
    Differ,
    /// The embeddings are such that no answer means anything.
    NoAnswers,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The answer to the whole question.
    pub verdict: Verdict,
    /// Whether that is [`Verdict::Agree`].
    pub agrees: bool,
    /// What makes the answer negative.
    pub faults: Vec<String>,
    /// What else is to be known, and was not counted.
    pub remarks: Vec<String>,
    /// Whether numbers outside the tolerance count.
    pub strict: bool,
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
    /// What is wrong with the embeddings, whoever made them.
    pub findings: Vec<SideFinding>,
    /// How far each runtime is from itself, as far as was looked: part of the certificate and of what is a tie.
    pub noise: Noise,
    /// The episodes.
    pub predictions: Predictions,
    /// Classes of an episode, and known drawings of each.
    pub way_shot: [usize; 2],
    /// Supports by one runtime, queries by the other.
    pub portability: Vec<Cell>,
    /// The most fragile triplets.
    pub hunt: Hunt,
    /// Both runtimes under several settings, or under all: one SHA-256 for an exact tower, the noise floors of a
    /// float one.
    pub settings: Sweep,
    /// Every node.
    pub layers: Option<Layerwise>,
    /// The smallest diverging sub-model; none where nothing diverges or none was asked for.
    pub reduced: Option<Summary>,
    /// Time of the whole, seconds.
    pub seconds: f64,
}

/// Images by which a float runtime is compared with itself.
const NOISE_IMAGES: usize = 64;
/// The same where little time is to be taken.
const QUICK_IMAGES: usize = 16;

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
    let labels = labels(scope);
    let settings = all_settings(scope, other, &labels)?;
    let [noise_a, noise_b] = [0, 1].map(|side| settings.noise(&labels[side]));
    let noise = Noise { a: noise_a, b: noise_b };
    let floors = [0, 1].map(|side| settings.floor(&labels[side]));
    let findings = findings([a.view(), b.view()], floors);
    (scope.progress)(&format!("{} episodes", scope.asked.episodes));
    let pair = Pair::new(a.view(), b.view(), &scope.tower.spec.distance);
    let (count, labelled) = (scope.asked.episodes, draw.labelled());
    let predictions = certificate::predictions(&pair, noise, count, labelled, |k| draw.episode(k));
    let portability = portability::matrix(&pair, noise, count.min(1_000), labelled, |k| draw.episode(k));
    (scope.progress)("the most fragile triplets");
    let hunt = hunt(&pair, scope.images.labels());
    let (layers, reduced) = graphs(scope, other)?;
    let facts = |tower: &Tower| TowerFacts { file: tower.path.clone(), spec: tower.spec.clone() };
    let mut result = Comparison {
        verdict: Verdict::Agree,
        agrees: true,
        faults: Vec::new(),
        remarks: Vec::new(),
        strict: scope.strict,
        tower: facts(scope.tower),
        against: scope.against.map(facts),
        a: a_facts,
        b: b_facts,
        data: scope.images.name().into(),
        images: scope.images.len(),
        values,
        findings,
        noise,
        predictions,
        way_shot: [scope.asked.way, scope.asked.shot],
        portability,
        hunt,
        settings,
        layers,
        reduced,
        seconds: start.elapsed().as_secs_f64(),
    };
    result.judge(&labels);
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

/// What the runs under several settings call each side: its runtime, and the side where A and B are one runtime on
/// two files.
fn labels(scope: &Scope<'_>) -> [String; 2] {
    let [a, b] = scope.sides.map(Runner::name);
    let apart = a == b && scope.against.is_some();
    [a, if apart { format!("{b} (B)") } else { b }]
}

/// Both runtimes under several settings: all of them on all images (exact) or a few (float), or a few settings.
fn all_settings(scope: &Scope<'_>, other: &Tower, labels: &[String; 2]) -> Result<Sweep> {
    let exact = scope.tower.spec.kind == TowerKind::Exact;
    (scope.progress)(if exact { "bits under every setting" } else { "the noise floor of each runtime" });
    let make = match (scope.settings, exact) {
        (false, _) => quick_settings,
        (true, true) => exact_settings,
        (true, false) => noise_settings,
    };
    let mut settings = Vec::new();
    for (side, label) in scope.sides.iter().zip(labels) {
        if settings.iter().all(|setting: &Setting| setting.runtime != *label) {
            settings.extend(make(label, side.runtime().levels));
        }
    }
    let mut open = |setting: &Setting| {
        let place = usize::from(setting.runtime != labels[0]);
        let (side, tower) = (scope.sides[place], [scope.tower, other][place]);
        let options = Options { threads: setting.threads, level: setting.level, ..side.options().clone() };
        side.with(options)?.load(&tower.path)
    };
    let most = match (scope.settings, exact) {
        (false, _) => QUICK_IMAGES,
        (true, true) => scope.images.len(),
        (true, false) => NOISE_IMAGES,
    };
    let count = scope.images.len().min(most);
    let images = scope.images.all().slice(s![..count, .., .., ..]);
    sweep(settings, &mut open, images, &scope.tower.spec.distance)
}

/// What is wrong with either side's embeddings; `floors` tell how far its numbers move by themselves.
fn findings(sides: [ArrayView2<'_, f32>; 2], floors: [f64; 2]) -> Vec<SideFinding> {
    let [a, b] = [0, 1].map(|side| diagnose(sides[side], floors[side]));
    let shared =
        |finding: &Finding, others: &[Finding]| others.iter().any(|other| other.what == finding.what);
    let of_b: Vec<Finding> = b.iter().filter(|finding| !shared(finding, &a)).cloned().collect();
    let of_a = a
        .into_iter()
        .map(|finding| SideFinding { side: if shared(&finding, &b) { "A and B" } else { "A" }, finding });
    of_a.chain(of_b.into_iter().map(|finding| SideFinding { side: "B", finding })).collect()
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
    /// Finds the verdict, and what to say of it.
    fn judge(&mut self, labels: &[String; 2]) {
        let fatal = self.findings.iter().any(|found| found.finding.fatal);
        self.faults = self.find_faults(labels);
        self.remarks = self.find_remarks();
        self.verdict = match (fatal, self.faults.is_empty()) {
            (true, _) => Verdict::NoAnswers,
            (false, true) => Verdict::Agree,
            (false, false) => Verdict::Differ,
        };
        self.agrees = self.verdict == Verdict::Agree;
    }

    /// What makes the answer negative: embeddings that mean nothing, or that depend on more than their picture;
    /// flipped predictions; bits of an exact tower that differ; numbers, where they are to count.
    fn find_faults(&self, labels: &[String; 2]) -> Vec<String> {
        let fatal = self.findings.iter().filter(|found| found.finding.fatal);
        let mut faults: Vec<String> =
            fatal.map(|found| format!("{}: {}", found.side, found.finding.words)).collect();
        for (side, label) in labels.iter().enumerate() {
            if side == 0 || label != &labels[0] {
                faults.extend(self.settings.dependence(label).map(|run| self.dependence(label, run)));
            }
        }
        let p = &self.predictions;
        if p.flipped > 0 {
            faults.push(format!(
                "{} of {} predictions are flipped (numbers are up to {:.1e} apart)",
                p.flipped, p.queries, self.values.max_abs
            ));
        } else if let Some(cell) = self.portability.iter().find(|cell| cell.flipped > 0) {
            faults.push(format!(
                "a gallery does not travel: {} of {} answers change where one runtime embeds the known images and the \
                 other the query ({})",
                cell.flipped, cell.queries, cell.who
            ));
        }
        if self.tower.spec.kind == TowerKind::Exact
            && (!self.values.bit_equal || self.against.is_none() && self.settings.sha256.is_none())
        {
            faults.push("the tower is exact, but its bits differ".into());
        }
        if self.strict && !self.values.passes() {
            faults.push(self.outside());
        }
        faults
    }

    /// What was seen and not counted.
    fn find_remarks(&self) -> Vec<String> {
        let told = self.findings.iter().filter(|found| !found.finding.fatal);
        let mut remarks: Vec<String> =
            told.map(|found| format!("{}: {}", found.side, found.finding.words)).collect();
        if !self.strict && !self.values.passes() {
            remarks.push(format!("{}; --strict counts them", self.outside()));
        }
        remarks
    }

    fn outside(&self) -> String {
        format!("{} of {} numbers are outside the tolerance", self.values.offenders, self.values.elements)
    }

    fn dependence(&self, label: &str, run: &Run) -> String {
        let mut changed = Vec::new();
        if run.setting.reversed {
            changed.push("the order of the images".to_string());
        }
        if let Some(first) =
            self.settings.runs.iter().find(|first| first.setting.runtime == run.setting.runtime)
        {
            if run.setting.batch != first.setting.batch {
                changed.push(format!("the batch ({} instead of {})", run.setting.batch, first.setting.batch));
            }
            if run.setting.threads != first.setting.threads {
                changed.push("the number of threads".into());
            }
        }
        let when = if changed.is_empty() {
            "it runs again".into()
        } else {
            format!("{} changes", changed.join(" and "))
        };
        format!(
            "{label} gives no function of the picture: {} of {} embeddings change, by up to {:.1e} in a number, when {when}; \
             rows depend on others of their batch or on what came before (training mode, a mean over the batch, a state)",
            run.strayed, self.settings.images, run.max_abs
        )
    }
}
