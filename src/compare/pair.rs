//! Embeddings of the same images by two runtimes, and episodes over them.

use super::metric::{divergence, resolution, rounding};
use crate::sample::Episode;
use crate::tower::Distance;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

/// Embeddings `[N, D]` of the same images by both runtimes, and the tower's distance.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    a: Array2<f32>,
    b: Array2<f32>,
    /// The tower's.
    pub distance: &'a Distance,
}

/// Class prototypes `[way][D]` of an episode by each runtime.
pub struct Sides {
    /// By A.
    pub a: Vec<Vec<f32>>,
    /// By B.
    pub b: Vec<Vec<f32>>,
}

impl<'a> Pair<'a> {
    /// Pairs the rows.
    pub fn new(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, distance: &'a Distance) -> Self {
        let standard = |x: ArrayView2<'_, f32>| x.as_standard_layout().into_owned();
        Self { a: standard(a), b: standard(b), distance }
    }

    /// N.
    pub fn len(&self) -> usize {
        self.a.nrows()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A's embedding of an image.
    pub fn a_row(&self, image: usize) -> &[f32] {
        row(&self.a, image)
    }

    /// B's.
    pub fn b_row(&self, image: usize) -> &[f32] {
        row(&self.b, image)
    }

    /// ‖Δ‖ of each image, in the norm of the distance.
    pub fn moved(&self) -> Vec<f64> {
        (0..self.len())
            .into_par_iter()
            .map(|i| divergence(self.distance, self.a_row(i), self.b_row(i)))
            .collect()
    }

    /// The class prototypes of an episode.
    pub fn sides(&self, episode: &Episode) -> Sides {
        let of = |side: &Array2<f32>| episode.supports.iter().map(|images| prototype(side, images)).collect();
        Sides { a: of(&self.a), b: of(&self.b) }
    }

    /// Whether a runtime's own noise, and the roundings of its embeddings and distances, can move two classes past
    /// each other; `distances` are those of `query` to the prototypes.
    pub fn tied(
        &self,
        noise: f64,
        query: &[f32],
        prototypes: &[Vec<f32>],
        distances: &[f64],
        (x, y): (usize, usize),
    ) -> bool {
        let own = |row: &[f32]| noise.max(resolution(self.distance, row));
        let moves = |c: usize| {
            own(query) + own(&prototypes[c]) + rounding(self.distance, query, &prototypes[c], distances[c])
        };
        (distances[x] - distances[y]).abs() <= moves(x) + moves(y)
    }

    /// Distances of a query to all prototypes, as the runtimes' callers compute them.
    pub fn distances(&self, query: &[f32], prototypes: &[Vec<f32>]) -> Vec<f64> {
        prototypes.iter().map(|s| f64::from(self.distance.between(query, s))).collect()
    }
}

fn row(side: &Array2<f32>, image: usize) -> &[f32] {
    let dim = side.ncols();
    // Both arrays are in standard order.
    side.as_slice().map_or(&[], |all| &all[image * dim..(image + 1) * dim])
}

/// The mean of the support embeddings of a class; of one, itself.
fn prototype(side: &Array2<f32>, images: &[usize]) -> Vec<f32> {
    if let [image] = images {
        return row(side, *image).to_vec();
    }
    let mut sums = vec![0.0f64; side.ncols()];
    for &image in images {
        sums.iter_mut().zip(row(side, image)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.iter().map(|sum| (sum / images.len().max(1) as f64) as f32).collect()
}

/// The lowest index of the smallest distance.
pub fn nearest(distances: &[f64]) -> usize {
    let mut best = 0;
    for (c, d) in distances.iter().enumerate() {
        if *d < distances[best] {
            best = c;
        }
    }
    best
}

/// Whether `truth` is strictly nearer than every other class: a tie is an error.
pub fn sole_nearest(distances: &[f64], truth: usize) -> bool {
    distances.iter().enumerate().all(|(c, d)| c == truth || *d > distances[truth])
}
