//! A gallery whose questions go over to a newer, compatible tower: which answers stay?
//!
//! The gallery's examples stay where they are, and a picture's embedding moves from q (by the older tower) to q′ (by the
//! newer). Let a be the example nearest to q, and b one of another class. How far q may move, whatever the direction,
//! before b can be nearer than a follows from the distances to both alone:
//!
//! - cosine: of unit vectors q̂, â, b̂ the picture is nearer to a as long as q̂·(â − b̂) > 0, a plane; q̂ is the angle
//!   arcsin(m / ‖â − b̂‖) away from it, m = d(q, b) − d(q, a) being the margin;
//! - L2: the plane between both is (d(q, b)² − d(q, a)²) / (2‖a − b‖) away;
//! - L1 and weighted L1: m / 2 at least, by the triangle inequality.
//!
//! An answer whose embedding moves less than the least of these, over all b of other classes, is **certified to stay**:
//! by the older tower's answer and the size of the change alone. The first two bounds are the best that these allow. Room
//! is left for the rounding of every number ([`super::metric`]). Answers that are not certified may stay as well; whether
//! they do is told too, for the pictures at hand.

use super::metric::{divergence, rounding};
use crate::gallery::Loaded;
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;

/// How far numbers that are computed here in float64 of float32 embeddings may be off, of 1.
const OFF: f64 = 1e-9;
/// By how much distances may be rounded more once the query has moved: none is then more than twice what the farther one
/// was, and both are rounded.
const ROOM: f64 = 4.0;

/// What becomes of the answers to some pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stays {
    /// Pictures that were asked about.
    pub queries: usize,
    /// Answers that are certified to stay.
    pub certified: usize,
    /// Answers that are the same by both towers.
    pub same: usize,
    /// Right answers by the older and by the newer tower, where the pictures' classes are the gallery's, and how many
    /// these are.
    pub right: Option<Right>,
    /// How far embeddings moved, in the units of the bounds (radians for the cosine distance): median and greatest.
    pub moved_p50: f64,
    /// See there.
    pub moved_max: f64,
    /// How far they might have, before the answer could change: median.
    pub reach_p50: f64,
}

/// How many answers were right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Right {
    /// Pictures of classes that the gallery knows.
    pub of: usize,
    /// By the older tower.
    pub older: usize,
    /// By the newer one.
    pub newer: usize,
}

/// What became of one answer.
struct Answer {
    moved: f64,
    reach: f64,
    classes: [u32; 2],
}

/// Compares the answers of a gallery, which holds embeddings of the older tower, to the same pictures embedded by the older
/// and by the newer tower, `[M, D]` each. `truths` are the pictures' classes, where they are known.
///
/// # Errors
/// A gallery without examples, or of one class; no picture.
pub fn stays(
    known: &Loaded,
    distance: &Distance,
    [older, newer]: [ArrayView2<'_, f32>; 2],
    truths: &[Option<u32>],
) -> Result<Stays> {
    if known.labels.len() < 2 || older.nrows() == 0 {
        let why = "two classes at least and a picture are needed to tell which answers stay";
        return Err(Error::invalid("compare", why));
    }
    let examples: Vec<Vec<f32>> = known.embeddings.outer_iter().map(|row| row.to_vec()).collect();
    let ask = |i: usize| answer(known, &examples, distance, [older.row(i).to_vec(), newer.row(i).to_vec()]);
    let answers: Vec<Answer> = (0..older.nrows()).into_par_iter().map(ask).collect();
    let right = |side: usize| {
        let each = answers.iter().zip(truths);
        each.filter(|(answer, truth)| **truth == Some(answer.classes[side])).count()
    };
    let of = truths.iter().flatten().count();
    let moved = sorted(answers.iter().map(|answer| answer.moved));
    let reach = sorted(answers.iter().map(|answer| answer.reach));
    Ok(Stays {
        queries: answers.len(),
        certified: answers.iter().filter(|answer| answer.moved < answer.reach).count(),
        same: answers.iter().filter(|answer| answer.classes[0] == answer.classes[1]).count(),
        right: (of > 0).then(|| Right { of, older: right(0), newer: right(1) }),
        moved_p50: moved[moved.len() / 2],
        moved_max: moved[moved.len() - 1],
        reach_p50: reach[reach.len() / 2],
    })
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn answer(known: &Loaded, examples: &[Vec<f32>], distance: &Distance, [old, new]: [Vec<f32>; 2]) -> Answer {
    let distances: Vec<f64> = examples.iter().map(|e| distance.between_f64(&old, e)).collect();
    let best = nearest(known, &distances);
    let class = known.classes[best];
    let rivals = (0..examples.len()).filter(|&rival| known.classes[rival] != class);
    let reach = rivals
        .map(|rival| {
            let rounds = [best, rival].map(|e| rounding(distance, &old, &examples[e], distances[e]));
            let near = [distances[best], distances[rival]];
            reach(distance, &examples[best], &examples[rival], near, ROOM * (rounds[0] + rounds[1]))
        })
        .fold(f64::INFINITY, f64::min);
    let by_new: Vec<f64> = examples.iter().map(|e| distance.between_f64(&new, e)).collect();
    let classes = [class, known.classes[nearest(known, &by_new)]];
    Answer { moved: moved(distance, &old, &new), reach, classes }
}

/// The nearest example; of equal distances, in the float32 that answers have, that of the first class.
fn nearest(known: &Loaded, distances: &[f64]) -> usize {
    let key = |&i: &usize| (distances[i] as f32, known.classes[i], i);
    let before = |a: &usize, b: &usize| {
        let ((x, c, i), (y, d, j)) = (key(a), key(b));
        x.total_cmp(&y).then((c, i).cmp(&(d, j)))
    };
    (0..distances.len()).min_by(before).unwrap_or_default()
}

/// How far an embedding moved; rather too far than not far enough.
fn moved(distance: &Distance, old: &[f32], new: &[f32]) -> f64 {
    let moved = divergence(distance, old, new);
    let moved = match distance {
        // Of the chord between two unit vectors the arc; vectors without a direction may lie anywhere.
        Distance::Cosine if moved >= 2.0 => std::f64::consts::PI,
        Distance::Cosine => 2.0 * (moved / 2.0).asin(),
        _ => moved,
    };
    moved * (1.0 + OFF)
}

/// How far a query may move, in any direction, before `rival` can be as near as `best` but for roundings; `near` and
/// `far` are its distances to both.
fn reach(distance: &Distance, best: &[f32], rival: &[f32], [near, far]: [f64; 2], rounds: f64) -> f64 {
    let (apart, margin) = (divergence(distance, best, rival), far - near);
    if margin <= 0.0 || apart <= 0.0 {
        return 0.0;
    }
    let reach = match distance {
        // Without a direction nothing is known but that its distance is 1.
        Distance::Cosine if [best, rival].iter().any(|e| e.iter().all(|&x| x == 0.0)) => 0.0,
        Distance::Cosine => (margin / apart).min(1.0).asin() - (rounds / apart).min(1.0).asin(),
        Distance::L2 => (margin - 2.0 * rounds) * (near + far) / (2.0 * apart),
        Distance::L1 | Distance::WeightedL1 { .. } => (margin - rounds) / 2.0,
    };
    reach.max(0.0) * (1.0 - OFF)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    fn known(embeddings: Array2<f32>, classes: &[u32]) -> Loaded {
        let labels = (0..=classes.iter().copied().max().unwrap()).map(|c| c.to_string()).collect();
        Loaded { labels, embeddings, classes: classes.to_vec() }
    }

    #[test]
    fn answers_are_certified_up_to_the_plane_between_two_examples() {
        // The plane between both lies at 2 for L2; at 45 degrees for the cosine.
        let line = known(array![[0.0, 0.0], [4.0, 0.0]], &[0, 1]);
        let square = known(array![[1.0, 0.0], [0.0, 1.0]], &[0, 1]);
        let turned = |degrees: f32| array![[degrees.to_radians().cos(), degrees.to_radians().sin()]];
        for (known, distance, from, to, certified, same) in [
            (&line, Distance::L2, array![[0.5, 1.0]], array![[1.9, 1.0]], 1, 1),
            (&line, Distance::L2, array![[0.5, 1.0]], array![[0.5, 2.6]], 0, 1),
            (&line, Distance::L2, array![[0.5, 1.0]], array![[2.1, 1.0]], 0, 0),
            (&line, Distance::L1, array![[0.5, 0.0]], array![[1.9, 0.0]], 1, 1),
            (&square, Distance::Cosine, turned(10.0), turned(44.0) * 7.0, 1, 1),
            (&square, Distance::Cosine, turned(10.0), turned(-26.0), 0, 1),
            (&square, Distance::Cosine, turned(10.0), turned(46.0), 0, 0),
        ] {
            let found = stays(known, &distance, [from.view(), to.view()], &[Some(0)]).unwrap();
            assert_eq!((found.certified, found.same), (certified, same), "{distance:?} {from} {to}");
            assert_eq!(found.right, Some(Right { of: 1, older: 1, newer: same }));
        }
    }

    #[test]
    fn without_classes_or_pictures_nothing_is_told() {
        let one = known(array![[0.0], [1.0]], &[0, 0]);
        assert!(stays(&one, &Distance::L2, [array![[0.0]].view(); 2], &[None]).is_err());
        let two = known(array![[0.0], [1.0]], &[0, 1]);
        let none = Array2::<f32>::zeros((0, 1));
        assert!(stays(&two, &Distance::L2, [none.view(), none.view()], &[]).is_err());
    }

    fn rows(count: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
        proptest::collection::vec(proptest::collection::vec(-10.0f32..10.0, 4), count)
    }

    proptest! {
        #[test]
        fn what_is_certified_stays(rows in rows(6), q in rows(1), step in rows(1), size in 0.0f32..2.0) {
            let flat: Vec<f32> = rows.concat();
            let known = known(Array2::from_shape_vec((6, 4), flat).unwrap(), &[0, 1, 2, 0, 1, 2]);
            let from = Array2::from_shape_vec((1, 4), q[0].clone()).unwrap();
            let to = Array2::from_shape_fn((1, 4), |(_, j)| q[0][j] + size * step[0][j]);
            let alpha = vec![-0.5, -2.0, -0.1, -1.0];
            for distance in [Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha }] {
                let found = stays(&known, &distance, [from.view(), to.view()], &[None]).unwrap();
                prop_assert!(found.certified <= found.same, "{distance:?}: {found:?}");
            }
        }
    }
}
