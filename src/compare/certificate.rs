//! Predictions of two runtimes over one-shot episodes, and the no-flip certificate.
//!
//! Let d_A be the distances as runtime A computes them, and e(c) = ‖Δq‖ + ‖Δs_c‖ + ρ(c) the bound on
//! how far the distance of class c can be from B's (see [`super::metric`]; ρ covers the rounding of
//! both computed distances). Where d_A(c) − d_A(best) > e(c) + e(best) for every other class c, B
//! must name the same class: the query is *certified*. A runtime also differs from itself when batches, order,
//! threads or optimisation change ([`Noise`]); what was seen of that is added to ‖Δ‖ of every image, so that the
//! answer holds under the other settings too.
//!
//! Where A and B do answer differently, one may be as right as the other: if the two classes are no further apart
//! for A, or for B, than its own noise and roundings can move them, the query is a *tie*, and no flip.

use super::metric::{divergence, rounding};
use super::pair::{Pair, Sides, nearest, sole_nearest};
use crate::sample::Episode;
use rayon::prelude::*;
use serde::Serialize;

/// How far an embedding of each runtime moves, in the norm that bounds the distance, when only the runtime's own
/// settings change; 0 where that was not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Noise {
    /// A's.
    pub a: f64,
    /// B's.
    pub b: f64,
}

/// What two runtimes said over many queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Predictions {
    /// Episodes drawn.
    pub episodes: u64,
    /// Queries answered.
    pub queries: usize,
    /// Queries to which both gave the same class.
    pub agreed: usize,
    /// Queries to which they gave different classes that are one or the other within a runtime's own noise.
    pub ties: usize,
    /// Queries to which they gave different classes, and no tie explains it.
    pub flipped: usize,
    /// Queries whose agreement is proved by the margin.
    pub certified: usize,
    /// Right answers of A and of B (a tie is wrong); none where the images have no classes.
    pub correct: Option<[usize; 2]>,
    /// Smallest margin of A between its best two classes.
    pub smallest_margin: f64,
    /// Largest bound on the movement of a distance, e(c).
    pub largest_bound: f64,
    /// Largest movement seen of a distance, |d_A − d_B|.
    pub largest_divergence: f64,
    /// Smallest (margin ÷ bound) over all queries and classes; above 1 everything is certified.
    pub safety: f64,
    /// The most fragile queries, most fragile first.
    pub fragile: Vec<Fragile>,
}

impl Predictions {
    /// Smallest margin ÷ largest divergence: how many times over the narrowest decision would hold.
    pub fn margin_over_divergence(&self) -> f64 {
        self.smallest_margin / self.largest_divergence
    }
}

/// A query whose answer is near to changing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fragile {
    /// The query, an image of the data set.
    pub query: usize,
    /// The first support of the class that A found nearest.
    pub best: usize,
    /// The first support of the class nearest to overtaking it.
    pub rival: usize,
    /// d_A(rival) − d_A(best).
    pub margin: f64,
    /// e(rival) + e(best).
    pub bound: f64,
    /// Whether B names another class.
    pub flipped: bool,
    /// Whether that is a tie within the noise.
    pub tie: bool,
}

impl Fragile {
    /// Margin in bounds; above 1 no flip is possible.
    pub fn safety(&self) -> f64 {
        match (self.margin > 0.0, self.bound > 0.0) {
            (_, true) => self.margin / self.bound,
            (true, false) => f64::INFINITY,
            (false, false) => 0.0,
        }
    }
}

/// How many fragile queries are kept.
pub const KEPT: usize = 12;

/// Compares the predictions over `episodes`, each made from its number by `draw`; `labelled` tells
/// whether an episode's truth means anything.
pub fn predictions(
    pair: &Pair<'_>,
    noise: Noise,
    episodes: u64,
    labelled: bool,
    draw: impl Fn(u64) -> Episode + Sync,
) -> Predictions {
    let moved = pair.moved();
    let start = || Tally { correct: labelled.then_some([0, 0]), ..Tally::default() };
    let add = |mut tally: Tally, k| {
        let episode = draw(k);
        let sides = pair.sides(&episode);
        let judge = Judge { pair, episode: &episode, sides, moved: &moved, noise };
        judge.judge(&mut tally);
        tally
    };
    (0..episodes).into_par_iter().fold(start, add).reduce(start, Tally::merge).finish(episodes)
}

/// What is known after some episodes.
struct Tally {
    queries: usize,
    ties: usize,
    flipped: usize,
    certified: usize,
    correct: Option<[usize; 2]>,
    smallest_margin: f64,
    largest_bound: f64,
    largest_divergence: f64,
    fragile: Vec<Fragile>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            queries: 0,
            ties: 0,
            flipped: 0,
            certified: 0,
            correct: None,
            smallest_margin: f64::INFINITY,
            largest_bound: 0.0,
            largest_divergence: 0.0,
            fragile: Vec::new(),
        }
    }
}

impl Tally {
    fn keep(&mut self, fragile: Fragile) {
        if self.fragile.len() == KEPT && self.fragile.last().is_some_and(|f| f.safety() <= fragile.safety()) {
            return;
        }
        let places = |f: &Fragile| (f.query, f.best, f.rival);
        // Episodes meet the same three images again and again.
        if self.fragile.iter().any(|f| places(f) == places(&fragile)) {
            return;
        }
        self.fragile.push(fragile);
        sort(&mut self.fragile);
        self.fragile.truncate(KEPT);
    }

    fn merge(mut self, other: Self) -> Self {
        self.queries += other.queries;
        self.ties += other.ties;
        self.flipped += other.flipped;
        self.certified += other.certified;
        self.correct = self.correct.zip(other.correct).map(|(x, y)| [x[0] + y[0], x[1] + y[1]]);
        self.smallest_margin = self.smallest_margin.min(other.smallest_margin);
        self.largest_bound = self.largest_bound.max(other.largest_bound);
        self.largest_divergence = self.largest_divergence.max(other.largest_divergence);
        other.fragile.into_iter().for_each(|f| self.keep(f));
        self
    }

    fn finish(self, episodes: u64) -> Predictions {
        Predictions {
            episodes,
            queries: self.queries,
            agreed: self.queries - self.flipped - self.ties,
            ties: self.ties,
            flipped: self.flipped,
            certified: self.certified,
            correct: self.correct,
            smallest_margin: self.smallest_margin,
            largest_bound: self.largest_bound,
            largest_divergence: self.largest_divergence,
            safety: self.fragile.first().map_or(f64::INFINITY, Fragile::safety),
            fragile: self.fragile,
        }
    }
}

/// Flips first, then by safety; equal ones by place, so that no thread can change the order.
fn sort(fragile: &mut [Fragile]) {
    fragile.sort_by(|x, y| {
        let places = |f: &Fragile| (f.query, f.best, f.rival);
        x.safety().total_cmp(&y.safety()).then(places(x).cmp(&places(y)))
    });
}

struct Judge<'a> {
    pair: &'a Pair<'a>,
    episode: &'a Episode,
    sides: Sides,
    /// ‖Δ‖ of each image.
    moved: &'a [f64],
    noise: Noise,
}

impl Judge<'_> {
    fn judge(&self, tally: &mut Tally) {
        let distance = self.pair.distance;
        let supports_moved: Vec<f64> =
            self.sides.a.iter().zip(&self.sides.b).map(|(x, y)| divergence(distance, x, y)).collect();
        for &(image, truth) in &self.episode.queries {
            let (q_a, q_b) = (self.pair.a_row(image), self.pair.b_row(image));
            let (d_a, d_b) =
                (self.pair.distances(q_a, &self.sides.a), self.pair.distances(q_b, &self.sides.b));
            let bounds: Vec<f64> = (0..d_a.len())
                .map(|c| {
                    let of_a = rounding(distance, q_a, &self.sides.a[c], d_a[c]);
                    let of_b = rounding(distance, q_b, &self.sides.b[c], d_b[c]);
                    let own = 2.0 * (self.noise.a + self.noise.b);
                    self.moved[image] + supports_moved[c] + own + of_a + of_b
                })
                .collect();
            tally.queries += 1;
            if let Some(correct) = &mut tally.correct {
                correct[0] += usize::from(sole_nearest(&d_a, truth));
                correct[1] += usize::from(sole_nearest(&d_b, truth));
            }
            let apart = d_a.iter().zip(&d_b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            tally.largest_divergence = tally.largest_divergence.max(apart);
            tally.largest_bound = bounds.iter().copied().fold(tally.largest_bound, f64::max);
            let answers = (nearest(&d_a), nearest(&d_b));
            let tie = answers.0 != answers.1
                && (self.pair.tied(self.noise.a, q_a, &self.sides.a, &d_a, answers)
                    || self.pair.tied(self.noise.b, q_b, &self.sides.b, &d_b, answers));
            let fragile = Fragile { tie, ..self.fragility(image, &d_a, &bounds, answers) };
            tally.ties += usize::from(tie);
            tally.flipped += usize::from(fragile.flipped && !tie);
            // NaN is never above a bound.
            tally.certified += usize::from(fragile.margin > fragile.bound);
            let runner_up = |&best: &usize| (0..d_a.len()).filter(move |&c| c != best);
            let best = nearest(&d_a);
            let margin = runner_up(&best).map(|c| d_a[c] - d_a[best]).fold(f64::INFINITY, f64::min);
            tally.smallest_margin = tally.smallest_margin.min(margin);
            tally.keep(fragile);
        }
    }

    /// The class nearest to overtaking A's answer, measured in bounds.
    fn fragility(&self, query: usize, d: &[f64], bounds: &[f64], (best, best_b): (usize, usize)) -> Fragile {
        let support = |c: usize| self.episode.supports[c].first().copied().unwrap_or_default();
        let against = |c: usize| Fragile {
            query,
            best: support(best),
            rival: support(c),
            margin: d[c] - d[best],
            bound: bounds[c] + bounds[best],
            flipped: best != best_b,
            tie: false,
        };
        let rivals = (0..d.len()).filter(|&c| c != best).map(against);
        rivals.min_by(|x, y| x.safety().total_cmp(&y.safety())).unwrap_or_else(|| against(best))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tower::Distance;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    fn said(a: &Array2<f32>, b: &Array2<f32>, distance: &Distance, episode: &Episode) -> Predictions {
        predictions(&Pair::new(a.view(), b.view(), distance), Noise::default(), 1, true, |_| episode.clone())
    }

    fn episode() -> Episode {
        Episode { supports: vec![vec![0], vec![1]], queries: vec![(2, 0)] }
    }

    #[test]
    fn a_wide_margin_is_certified_and_a_flip_never_is() {
        let a = array![[0.0f32, 0.0], [4.0, 0.0], [1.0, 0.0]];
        let same = said(&a, &(&a + 1e-6), &Distance::L2, &episode());
        assert_eq!((same.certified, same.agreed, same.flipped), (1, 1, 0));
        assert!(same.safety > 1.0);
        let far = array![[0.0f32, 0.0], [4.0, 0.0], [3.0, 0.0]];
        let flip = said(&a, &far, &Distance::L2, &episode());
        assert_eq!((flip.certified, flip.agreed, flip.flipped), (0, 0, 1));
        assert_eq!(flip.correct, Some([1, 0]));
        assert_eq!((flip.smallest_margin, flip.largest_divergence), (2.0, 2.0));
    }

    #[test]
    fn a_tie_is_an_error_and_not_certified() {
        let a = array![[0.0f32, 0.0], [2.0, 0.0], [1.0, 0.0]];
        let tie = said(&a, &a, &Distance::L2, &episode());
        assert_eq!((tie.certified, tie.correct), (0, Some([0, 0])));
    }

    #[test]
    fn a_flip_within_a_runtimes_own_noise_is_a_tie_and_the_noise_is_part_of_the_bound() {
        let a = array![[0.0f32, 0.0], [4.0, 0.0], [1.99, 0.0]];
        let b = array![[0.0f32, 0.0], [4.0, 0.0], [2.01, 0.0]];
        let pair = Pair::new(a.view(), b.view(), &Distance::L2);
        let count = |noise| {
            let said = predictions(&pair, noise, 1, true, |_| episode());
            (said.agreed, said.ties, said.flipped)
        };
        assert_eq!(count(Noise::default()), (0, 0, 1));
        assert_eq!(count(Noise { a: 0.0, b: 0.001 }), (0, 0, 1));
        assert_eq!(count(Noise { a: 0.0, b: 0.01 }), (0, 1, 0));
        assert_eq!(count(Noise { a: 0.01, b: 0.0 }), (0, 1, 0));
        // What the runtimes agree on is certified only where their own noise cannot turn it either.
        let same = Pair::new(a.view(), a.view(), &Distance::L2);
        let certified = |b| predictions(&same, Noise { a: 0.0, b }, 1, true, |_| episode()).certified;
        assert_eq!([0.0, 0.001, 0.01].map(certified), [1, 1, 0]);
    }

    #[test]
    fn an_embedding_that_is_not_a_number_is_never_certified() {
        let a = array![[0.0f32, 0.0], [f32::NAN, 0.0], [1.0, 0.0]];
        assert_eq!(said(&a, &a, &Distance::L2, &episode()).certified, 0);
    }

    proptest! {
        /// The certificate is sound: whatever moved, a certified query has not flipped.
        #[test]
        fn certified_queries_never_flip(
            a in proptest::collection::vec(-1.0f32..1.0, 24),
            noise in proptest::collection::vec(-1.0f32..1.0, 24),
            size in 0.0f32..0.3,
        ) {
            let a = Array2::from_shape_vec((6, 4), a).unwrap();
            let b = &a + &(Array2::from_shape_vec((6, 4), noise).unwrap() * size);
            let episode =
                Episode { supports: vec![vec![0], vec![1], vec![2, 3]], queries: vec![(4, 0), (5, 2)] };
            let alpha = vec![1.0, -0.5, 2.0, 0.1];
            for distance in [Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha }] {
                let said = said(&a, &b, &distance, &episode);
                for query in &said.fragile {
                    prop_assert!(!(query.flipped && query.margin > query.bound), "{distance:?} {query:?}");
                }
                prop_assert!(said.certified <= said.agreed);
                prop_assert!(said.largest_divergence <= said.largest_bound);
            }
        }
    }
}
