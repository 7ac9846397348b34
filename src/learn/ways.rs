//! The ways to learn a projection, and which of them are tried.

use super::closed::{self, Spread};
use super::contrast::Contrast;
use super::material::Material;
use super::trial::{Fold, Shares, gain, measure, surely_worse};
use super::{Candidate, Watch};
use crate::export::Projection;
use ndarray::{Array2, ArrayView2};
use std::sync::OnceLock;

/// The share of the mean variance that is added to the within-class covariance, and others that are tried.
const USUAL: f64 = 1.0;
const SMOOTHINGS: [f64; 3] = [0.1, 0.3, 3.0];

/// A way to learn a projection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Way {
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
    pub fn rows<'a>(&self, material: &'a Material) -> Option<&'a Array2<f32>> {
        if self.root { material.roots.as_ref() } else { Some(&material.rows) }
    }

    /// What it learns; none where nothing varies within classes.
    pub fn learn(&self, material: &Material, lesson: &Lesson<'_>) -> Option<Projection> {
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

    /// What it is called.
    pub fn name(&self) -> String {
        let of = if self.root { "roots, " } else { "" };
        let weighed = if self.telling { ", between" } else { "" };
        let then = if self.contrast.is_some() { ", then contrast" } else { "" };
        format!("{of}within-class covariance, smoothed by {}{weighed}{then}", self.smoothing)
    }
}

/// Pictures to learn from, by class, with what several ways begin with.
pub(super) struct Lesson<'a> {
    classes: &'a [Vec<usize>],
    /// How they lie, as they are and with their numbers' roots.
    spreads: [OnceLock<Option<Spread>>; 2],
}

impl<'a> Lesson<'a> {
    pub fn of(classes: &'a [Vec<usize>]) -> Self {
        Self { classes, spreads: Default::default() }
    }

    fn spread(&self, way: &Way, rows: ArrayView2<'_, f32>) -> Option<&Spread> {
        self.spreads[usize::from(way.root)].get_or_init(|| Spread::of(rows, self.classes)).as_ref()
    }
}

impl Material {
    /// What a way learns of a lesson makes of all pictures, `[N, E]`; none where it learns nothing.
    pub fn seen_by(&self, way: Way, lesson: &Lesson<'_>) -> Option<Array2<f32>> {
        Some(way.learn(self, lesson)?.apply(way.rows(self)?.view()))
    }
}

/// The ways that were tried, and what came of each, the tower as it was first.
pub(super) fn tried(
    material: &Material,
    folds: &[Fold],
    watch: &mut dyn Watch,
) -> (Vec<Way>, Vec<Candidate>) {
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

/// What came of a trial, beside the tower as it was.
pub(super) fn candidate(name: String, as_is: &Shares, shares: &Shares) -> Candidate {
    let (gain, gain_interval_95) = gain(as_is, shares);
    let [new_classes, new_pictures, from_all] = shares.questions().map(Shares::mean);
    let surely_worse = surely_worse(as_is, shares);
    Candidate { name, new_classes, new_pictures, from_all, gain, gain_interval_95, surely_worse }
}
