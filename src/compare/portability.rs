//! Galleries that travel: supports embedded by one runtime, queries by the other.

use super::certificate::Noise;
use super::pair::{Pair, nearest, sole_nearest};
use crate::sample::Episode;
use rayon::prelude::*;
use serde::Serialize;

/// One cell of the matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Who embedded the supports and who the queries: `AB` is supports by A, queries by B.
    pub who: &'static str,
    /// Queries answered.
    pub queries: usize,
    /// Queries answered as by A alone.
    pub as_aa: usize,
    /// Queries answered otherwise, where no tie within the noise explains it.
    pub flipped: usize,
    /// Right answers (a tie is wrong); none where the images have no classes.
    pub correct: Option<usize>,
}

const WHO: [&str; 4] = ["AA", "AB", "BA", "BB"];

/// The cells AA, AB, BA, BB over `episodes`.
pub fn matrix(
    pair: &Pair<'_>,
    noise: Noise,
    episodes: u64,
    labelled: bool,
    draw: impl Fn(u64) -> Episode + Sync,
) -> Vec<Cell> {
    let start = || WHO.map(|who| Cell { who, correct: labelled.then_some(0), ..Cell::default() });
    let add = |mut cells: [Cell; 4], k: u64| {
        let episode = draw(k);
        let sides = pair.sides(&episode);
        for &(image, truth) in &episode.queries {
            let (q_a, q_b) = (pair.a_row(image), pair.b_row(image));
            let ways = [(q_a, &sides.a), (q_b, &sides.a), (q_a, &sides.b), (q_b, &sides.b)];
            let distances = ways.map(|(q, supports)| pair.distances(q, supports));
            let reference = nearest(&distances[0]);
            for ((cell, d), (q, supports)) in cells.iter_mut().zip(&distances).zip(ways) {
                let answer = nearest(d);
                let both = (reference, answer);
                let tied = |noise, q, supports, d: &[f64]| pair.tied(noise, q, supports, d, both);
                cell.queries += 1;
                cell.as_aa += usize::from(answer == reference);
                cell.flipped += usize::from(
                    answer != reference
                        && !tied(noise.a, q_a, &sides.a, &distances[0])
                        && !tied(noise.a.max(noise.b), q, supports, d),
                );
                cell.correct = cell.correct.map(|n| n + usize::from(sole_nearest(d, truth)));
            }
        }
        cells
    };
    let merge = |mut x: [Cell; 4], y: [Cell; 4]| {
        for (x, y) in x.iter_mut().zip(y) {
            x.queries += y.queries;
            x.as_aa += y.as_aa;
            x.flipped += y.flipped;
            x.correct = x.correct.zip(y.correct).map(|(x, y)| x + y);
        }
        x
    };
    (0..episodes).into_par_iter().fold(start, add).reduce(start, merge).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tower::Distance;
    use ndarray::array;

    #[test]
    fn a_gallery_that_does_not_travel_is_seen() {
        let a = array![[0.0f32, 0.0], [4.0, 0.0], [1.0, 0.0]];
        // B sees everything moved by 4 along the first axis: alone it agrees, mixed it does not.
        let b = array![[4.0f32, 0.0], [8.0, 0.0], [5.0, 0.0]];
        let pair = Pair::new(a.view(), b.view(), &Distance::L2);
        let episode = Episode { supports: vec![vec![0], vec![1]], queries: vec![(2, 0)] };
        let cells = matrix(&pair, Noise::default(), 3, true, |_| episode.clone());
        let seen: Vec<_> = cells.iter().map(|c| (c.who, c.as_aa, c.correct)).collect();
        assert_eq!(seen, [("AA", 3, Some(3)), ("AB", 0, Some(0)), ("BA", 3, Some(3)), ("BB", 3, Some(3))]);
        assert!(cells.iter().all(|c| c.queries == 3));
        assert_eq!(cells.iter().map(|c| c.flipped).collect::<Vec<_>>(), [0, 3, 0, 0]);
    }
}
