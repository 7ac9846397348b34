//! Large galleries: their store finds candidates by an index, and the tower's distance decides among them.
//!
//! An index may miss the nearest example. How often it does is measured when it is made, and told with every answer.

use super::Gallery;
use super::store::{NearRow, Nearest, Width, rounding};
use crate::eval::bootstrap::{Share, Unit, share};
use crate::random::{below, stream};
use crate::recognise::Candidate;
use crate::search::Index;
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The recall that an index is made for, where none is asked for.
pub const USUAL_RECALL: f64 = 0.995;
/// How wide a search may be; the first that reaches the recall is taken.
const WIDTHS: [u32; 8] = [40, 64, 100, 160, 250, 400, 640, 1000];
/// Questions by which it is measured.
const QUESTIONS: usize = 1000;
/// Examples that a search asks for at first.
const FIRST: usize = 40;
/// By how much more it asks for where these were too few.
const FACTOR: usize = 2;
/// The most that it asks an index for; then all examples are looked at.
const MOST: usize = 16 * 1024;

/// An index of a gallery's examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Indexed {
    /// The candidates that a search holds on its way through the index: pgvector's `hnsw.ef_search`.
    pub ef_search: u32,
    /// The share of questions whose nearest example the index finds.
    pub recall_at_1: Share,
    /// The questions by which it was measured.
    pub questions: usize,
    /// Examples at that time.
    pub examples: usize,
    /// Seconds since 1970.
    pub built_unix_s: i64,
    /// Narrower searches that found the nearest example too seldom, with how often they did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrower: Vec<Narrower>,
}

/// A search that was too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Narrower {
    /// As in [`Indexed`].
    pub ef_search: u32,
    /// The share of the questions whose nearest example it found.
    pub recall_at_1: f64,
}

/// A gallery that is asked by its index.
pub struct Remote {
    nearest: Arc<dyn Nearest>,
    distance: Distance,
    recall: Share,
    /// The examples that the last search had to ask for; the next one begins there.
    first: AtomicUsize,
}

impl Remote {
    /// A gallery by an index that it has.
    pub(super) fn of(gallery: &Gallery, index: &Indexed) -> Result<Self> {
        Ok(Self {
            nearest: gallery.store.nearest(gallery.facts(), index)?,
            distance: gallery.facts().distance.clone(),
            recall: index.recall_at_1,
            first: AtomicUsize::new(FIRST),
        })
    }

    /// Whether there is nothing to find.
    pub(super) fn is_empty(&self) -> bool {
        self.nearest.classes() == 0
    }

    /// How often it finds the nearest example, as measured.
    pub(super) fn recall(&self) -> Share {
        self.recall
    }

    /// The `top` nearest classes of each query `[M, D]`, as [`Index::search`] orders them.
    pub(super) fn search(&self, queries: ArrayView2<'_, f32>, top: usize) -> Result<Vec<Vec<Candidate>>> {
        let queries: Vec<Vec<f32>> = queries.outer_iter().map(|query| query.to_vec()).collect();
        // One waits on its own thread, so that those that compute are not kept from it.
        if let [query] = queries.as_slice() {
            return Ok(vec![self.one(query, top)?]);
        }
        queries.into_par_iter().map(|query| self.one(&query, top)).collect()
    }

    /// Asks for more and more until there are enough classes, and the last of them is nearer than what was not
    /// asked for: then no tie can be hidden there.
    fn one(&self, query: &[f32], top: usize) -> Result<Vec<Candidate>> {
        let top = top.min(self.nearest.classes());
        let slack = rounding(query.len());
        let first = self.first.load(Ordering::Relaxed);
        let (mut width, mut met) = (Width::Examples(first), first);
        loop {
            let found = self.nearest.candidates(query, width)?;
            let best = best(found.rows, &self.distance, query);
            let last = top.checked_sub(1).and_then(|last| best.get(last));
            let sure = last.is_some_and(|hit| {
                f64::from(hit.candidate.distance) < found.reach - slack * (1.0 + found.reach.abs())
            });
            if sure || found.reach == f64::INFINITY {
                self.learn(met, &best, top);
                return Ok(best.into_iter().take(top).map(|hit| hit.candidate).collect());
            }
            width = match width {
                Width::Examples(k) if k < MOST => Width::Examples(k * FACTOR),
                // One more than are asked for, so that what is beyond them is known.
                Width::Examples(_) => Width::Classes(top + 1),
                Width::Classes(k) => Width::Classes(k * FACTOR),
            };
            if let Width::Examples(k) = width {
                met = k;
            }
        }
    }

    /// Begins the next search where this one ended, or before where it had far more than it needed.
    fn learn(&self, met: usize, best: &[Hit], top: usize) {
        let next = if best.len() >= FACTOR * top { (met / FACTOR).max(FIRST) } else { met };
        self.first.store(next, Ordering::Relaxed);
    }
}

/// A class that was found, by its nearest example.
struct Hit {
    candidate: Candidate,
    class: i64,
}

/// The nearest example of each class, nearest first; of equal distances that of the class enrolled first.
fn best(rows: Vec<NearRow>, how: &Distance, query: &[f32]) -> Vec<Hit> {
    let mut hits: Vec<(i64, Hit)> = rows
        .into_iter()
        .map(|NearRow { id, class, label, embedding }| {
            let distance = how.between(query, &embedding);
            (id, Hit { candidate: Candidate { label, distance }, class })
        })
        .filter(|(_, hit)| !hit.candidate.distance.is_nan())
        .collect();
    hits.sort_by(|(a, x), (b, y)| {
        x.candidate.distance.total_cmp(&y.candidate.distance).then((x.class, a).cmp(&(y.class, b)))
    });
    let mut seen = std::collections::HashSet::new();
    hits.into_iter().map(|(_, hit)| hit).filter(|hit| seen.insert(hit.class)).collect()
}

impl Gallery {
    /// Makes an index of its examples, and measures by 1,000 questions how wide a search must be to find the nearest
    /// one as often as `recall` says; the answers change to those of the index at the end.
    ///
    /// A question is an example moved by the difference of two others of a class: as far from it, that is, as
    /// examples of a class are from each other. All examples are read to know the true answers.
    ///
    /// # Errors
    /// A gallery in a file, which needs none; a distance or a dimension that has none; no example.
    pub fn build_index(&mut self, recall: f64) -> Result<Indexed> {
        self.store.set_index(&self.facts, true)?;
        let known = self.load()?;
        let examples = known.classes.len();
        if examples == 0 {
            return Err(Error::invalid(&self.at, "holds no example; enroll something before it is indexed"));
        }
        let questions = questions(&known.embeddings, &known.classes);
        let whole = Index::new(known.embeddings, known.classes, self.facts.distance.clone());
        let truth: Vec<Option<f32>> = whole
            .search(questions.view(), 1)
            .iter()
            .map(|hits| hits.first().map(|hit| hit.distance))
            .collect();
        drop(whole);
        let mut index = Indexed {
            ef_search: WIDTHS[0],
            recall_at_1: Share { share: 0.0, interval_95: [0.0; 2] },
            questions: questions.nrows(),
            examples,
            built_unix_s: super::now(),
            narrower: Vec::new(),
        };
        for (place, ef_search) in WIDTHS.into_iter().enumerate() {
            if place > 0 {
                let recall_at_1 = index.recall_at_1.share;
                index.narrower.push(Narrower { ef_search: index.ef_search, recall_at_1 });
            }
            index.ef_search = ef_search;
            let found = Remote::of(self, &index)?.search(questions.view(), 1)?;
            let right = found.iter().zip(&truth).enumerate().map(|(question, (found, truth))| {
                (Unit::class(question as u32), found.first().map(|c| c.distance) == *truth, 1.0)
            });
            index.recall_at_1 = share(right);
            if index.recall_at_1.share >= recall {
                break;
            }
        }
        self.change_facts(&|facts| facts.indexed = Some(index.clone()))?;
        Ok(index)
    }

    /// Takes the index away; answers are exact again.
    ///
    /// # Errors
    /// A gallery in a file, which has none.
    pub fn drop_index(&mut self) -> Result<()> {
        self.change_facts(&|facts| facts.indexed = None)?;
        self.store.set_index(&self.facts, false)
    }
}

/// Made-up questions about examples `[N, D]` → `[M, D]`.
fn questions(examples: &Array2<f32>, classes: &[u32]) -> Array2<f32> {
    let mut rng = stream(0, "index questions", examples.nrows() as u64, 0);
    let mut members = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    classes.iter().enumerate().for_each(|(i, &class)| members.entry(class).or_default().push(i));
    let several: Vec<Vec<usize>> = members.into_values().filter(|group| group.len() > 1).collect();
    let count = QUESTIONS.min(examples.nrows());
    let mut made = Array2::zeros((count, examples.ncols()));
    for mut row in made.outer_iter_mut() {
        row.assign(&examples.row(below(&mut rng, examples.nrows())));
        let group = match several.as_slice() {
            // Where every class has one example there is nothing to move by but half the way to another.
            [] => {
                let other = examples.row(below(&mut rng, examples.nrows())).to_owned();
                row.zip_mut_with(&other, |x, y| *x = (*x + y) / 2.0);
                continue;
            }
            several => &several[below(&mut rng, several.len())],
        };
        let (a, b) = (below(&mut rng, group.len()), below(&mut rng, group.len() - 1));
        let (a, b) = (group[a], group[if b >= a { b + 1 } else { b }]);
        let moved = &examples.row(a) - &examples.row(b);
        row += &moved;
    }
    made
}
