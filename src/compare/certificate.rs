//! Predictions of two runtimes over one-shot episodes, and the no-flip certificate.
//!
//! Let d_A be the distances as runtime A computes them, and e(c) = ‖Δq‖ + ‖Δs_c‖ + ρ(c) the bound on
//! how far the distance of class c can be from B's (see [`super::metric`]; ρ covers the rounding of
//! both computed distances). Where d_A(c) − d_A(best) > e(c) + e(best) for every other class c, B
//! must name the same class: the episode is *certified*.

use super::metric::{divergence, rounding};
use crate::sample::Episode;
use crate::tower::Distance;
use ndarray::{Array1, ArrayView2, Axis};
use rayon::prelude::*;
use serde::Serialize;

/// What two runtimes said over many queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Predictions {
    /// Episodes drawn.
    pub episodes: u64,
    /// Queries answered.
    pub queries: usize,
    /// Queries to which both gave the same class.
    pub agreed: usize,
    /// Queries to which they gave different classes.
    pub flipped: usize,
    /// Queries whose agreement is proved by the margin.
    pub certified: usize,
    /// Right answers of A; of B.
    pub correct: [usize; 2],
    /// Smallest margin of A between its best two classes.
    pub smallest_margin: f64,
    /// Largest bound on the movement of a distance, e(c).
    pub largest_bound: f64,
    /// Smallest (margin ÷ bound) over all queries and classes; above 1 everything is certified.
    pub safety: f64,
    /// The most fragile queries, most fragile first.
    pub fragile: Vec<Fragile>,
}

/// A query whose answer is near to changing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fragile {
    /// The query, an image of the data set.
    pub query: usize,
    /// The support that A found nearest.
    pub best: usize,
    /// The support nearest to overtaking it.
    pub rival: usize,
    /// d_A(rival) − d_A(best).
    pub margin: f64,
    /// e(rival) + e(best).
    pub bound: f64,
    /// Whether B names another class.
    pub flipped: bool,
}

impl Fragile {
    fn safety(&self) -> f64 {
        if self.bound > 0.0 { self.margin / self.bound } else if self.margin > 0.0 { f64::INFINITY } else { 0.0 }
    }
}

/// Embeddings `[N, D]` of the same images by both runtimes, and the tower's distance.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The first runtime's.
    pub a: ArrayView2<'a, f32>,
    /// The second's.
    pub b: ArrayView2<'a, f32>,
    /// The tower's.
    pub distance: &'a Distance,
}

/// How many fragile queries are kept.
const KEPT: usize = 12;

/// Compares the predictions over `episodes`, each made from its number by `draw`.
pub fn predictions(pair: Pair<'_>, episodes: u64, draw: impl Fn(u64) -> Episode + Sync) -> Predictions {
    let answers: Vec<Answer> =
        (0..episodes).into_par_iter().flat_map_iter(|k| pair.answers(&draw(k))).collect();
    summarise(episodes, answers)
}

struct Answer {
    fragile: Fragile,
    correct: [bool; 2],
    largest_bound: f64,
}

impl Pair<'_> {
    fn answers(&self, episode: &Episode) -> Vec<Answer> {
        let prototypes = |side: ArrayView2<'_, f32>| -> Vec<Vec<f32>> {
            episode.supports.iter().map(|images| prototype(side, images)).collect()
        };
        let (supports_a, supports_b) = (prototypes(self.a), prototypes(self.b));
        let moved: Vec<f64> = supports_a.iter().zip(&supports_b).map(|(x, y)| divergence(self.distance, x, y)).collect();
        let queries = episode.queries.iter();
        queries.map(|&query| self.answer(episode, query, [&supports_a, &supports_b], &moved)).collect()
    }

    fn answer(&self, episode: &Episode, (image, truth): (usize, usize), supports: [&[Vec<f32>]; 2], moved: &[f64]) -> Answer {
        let (q_a, q_b) = (self.a.row(image).to_vec(), self.b.row(image).to_vec());
        let distances = |q: &[f32], s: &[Vec<f32>]| -> Vec<f64> {
            s.iter().map(|s| f64::from(self.distance.between(q, s))).collect()
        };
        let (d_a, d_b) = (distances(&q_a, supports[0]), distances(&q_b, supports[1]));
        let query_moved = divergence(self.distance, &q_a, &q_b);
        let bounds: Vec<f64> = (0..d_a.len())
            .map(|c| {
                let rounded = rounding(self.distance, &q_a, &supports[0][c]) + rounding(self.distance, &q_b, &supports[1][c]);
                query_moved + moved[c] + rounded
            })
            .collect();
        let (best_a, best_b) = (nearest(&d_a), nearest(&d_b));
        Answer {
            fragile: self.fragility(episode, image, &d_a, &bounds, (best_a, best_b)),
            correct: [sole_nearest(&d_a, truth), sole_nearest(&d_b, truth)],
            largest_bound: bounds.iter().copied().fold(0.0, f64::max),
        }
    }

    /// The class nearest to overtaking A's answer, measured in bounds.
    fn fragility(&self, episode: &Episode, query: usize, d: &[f64], bounds: &[f64], (best, best_b): (usize, usize)) -> Fragile {
        let against = |c: usize| Fragile {
            query,
            best: episode.supports[best][0],
            rival: episode.supports[c][0],
            margin: d[c] - d[best],
            bound: bounds[c] + bounds[best],
            flipped: best != best_b,
        };
        let rivals = (0..d.len()).filter(|&c| c != best).map(against);
        rivals.min_by(|x, y| x.safety().total_cmp(&y.safety())).unwrap_or_else(|| against(best))
    }
}

fn summarise(episodes: u64, mut answers: Vec<Answer>) -> Predictions {
    answers.sort_by(|x, y| x.fragile.safety().total_cmp(&y.fragile.safety()));
    let count = |test: &dyn Fn(&Answer) -> bool| answers.iter().filter(|a| test(a)).count();
    let flipped = count(&|a| a.fragile.flipped);
    Predictions {
        episodes,
        queries: answers.len(),
        agreed: answers.len() - flipped,
        flipped,
        certified: count(&|a| a.fragile.margin > a.fragile.bound),
        correct: [count(&|a| a.correct[0]), count(&|a| a.correct[1])],
        smallest_margin: answers.iter().map(|a| a.fragile.margin).fold(f64::INFINITY, f64::min),
        largest_bound: answers.iter().map(|a| a.largest_bound).fold(0.0, f64::max),
        safety: answers.first().map_or(f64::INFINITY, |a| a.fragile.safety()),
        fragile: answers.iter().take(KEPT).map(|a| a.fragile.clone()).collect(),
    }
}

/// The mean of the support embeddings of a class; of one, itself.
fn prototype(embeddings: ArrayView2<'_, f32>, images: &[usize]) -> Vec<f32> {
    if let [image] = images {
        return embeddings.row(*image).to_vec();
    }
    let rows = embeddings.select(Axis(0), images);
    rows.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(embeddings.ncols())).to_vec()
}

/// The lowest index of the smallest distance.
fn nearest(distances: &[f64]) -> usize {
    let mut best = 0;
    for (c, d) in distances.iter().enumerate() {
        if *d < distances[best] {
            best = c;
        }
    }
    best
}

/// Whether `truth` is strictly nearer than every other class: a tie is an error.
fn sole_nearest(distances: &[f64], truth: usize) -> bool {
    distances.iter().enumerate().all(|(c, d)| c == truth || *d > distances[truth])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    fn episode() -> Episode {
        Episode { supports: vec![vec![0], vec![1]], queries: vec![(2, 0)] }
    }

    #[test]
    fn a_wide_margin_is_certified_and_a_flip_never_is() {
        let a = array![[0.0f32, 0.0], [4.0, 0.0], [1.0, 0.0]];
        let near = &a + 1e-6;
        let far = array![[0.0f32, 0.0], [4.0, 0.0], [3.0, 0.0]];
        let said = |b: &Array2<f32>| {
            predictions(Pair { a: a.view(), b: b.view(), distance: &Distance::L2 }, 1, |_| episode())
        };
        let same = said(&near);
        assert_eq!((same.certified, same.agreed, same.flipped), (1, 1, 0));
        assert!(same.safety > 1.0);
        let flip = said(&far);
        assert_eq!((flip.certified, flip.agreed, flip.flipped), (0, 0, 1));
        assert_eq!(flip.correct, [1, 0]);
    }

    #[test]
    fn a_tie_is_an_error_and_not_certified() {
        let a = array![[0.0f32, 0.0], [2.0, 0.0], [1.0, 0.0]];
        let said = predictions(Pair { a: a.view(), b: a.view(), distance: &Distance::L2 }, 1, |_| episode());
        assert_eq!((said.certified, said.correct), (0, [0, 0]));
    }

    proptest! {
        /// The certificate is sound: whatever moved, a certified query has not flipped.
        #[test]
        fn certified_queries_never_flip(
            a in proptest::collection::vec(-1.0f32..1.0, 24), noise in proptest::collection::vec(-1.0f32..1.0, 24), size in 0.0f32..0.3
        ) {
            let a = Array2::from_shape_vec((6, 4), a).unwrap();
            let b = &a + &(Array2::from_shape_vec((6, 4), noise).unwrap() * size);
            let draw = |_| Episode { supports: vec![vec![0], vec![1], vec![2, 3]], queries: vec![(4, 0), (5, 2)] };
            for distance in [Distance::L1, Distance::L2, Distance::Cosine] {
                let said = predictions(Pair { a: a.view(), b: b.view(), distance: &distance }, 1, draw);
                for query in &said.fragile {
                    prop_assert!(!(query.flipped && query.margin > query.bound), "{distance:?} {query:?}");
                }
            }
        }
    }
}
