//! Distances of embeddings.
//!
//! Sums are kept in float64 in an order that is the same on every machine. Of exact embeddings
//! (integers in [−127, 127]) every term and every sum is an integer below 2⁵³, so the sums are exact,
//! and a root or a quotient of them is rounded once, as IEEE 754 says.

use crate::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use ndarray::{Array2, ArrayView2, Axis};
#[cfg(not(target_family = "wasm"))]
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Distance of two embeddings `[D]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// `Σ |aⱼ − bⱼ|`.
    L1,
    /// `√Σ (aⱼ − bⱼ)²`.
    L2,
    /// `1 − a·b / (‖a‖‖b‖)`; 1 where one of them is zero and so has no direction.
    Cosine,
    /// `−Σ αⱼ|aⱼ − bⱼ|`, the learned similarity's argument with its sign turned (Koch 2015).
    WeightedL1 {
        /// α, `[D]`.
        alpha: Vec<f32>,
    },
}

impl Distance {
    /// The name in metadata: `l1`, `l2`, `cosine`, `weighted-l1`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::WeightedL1 { .. } => "weighted-l1",
        }
    }

    /// The distance of two embeddings of equal length.
    pub fn between(&self, a: &[f32], b: &[f32]) -> f32 {
        self.between_f64(a, b) as f32
    }

    /// As [`Distance::between`], not yet rounded to float32.
    pub fn between_f64(&self, a: &[f32], b: &[f32]) -> f64 {
        debug_assert_eq!(a.len(), b.len());
        match self {
            Self::L1 => sum(a, b, |x, y| (x - y).abs()),
            Self::L2 => sum(a, b, |x, y| (x - y) * (x - y)).sqrt(),
            Self::Cosine => {
                let squares = sum(a, a, |x, y| x * y) * sum(b, b, |x, y| x * y);
                if squares > 0.0 { 1.0 - sum(a, b, |x, y| x * y) / squares.sqrt() } else { 1.0 }
            }
            Self::WeightedL1 { alpha } => -weighted(a, b, alpha),
        }
    }

    /// All distances of the rows of `a: [M, D]` to those of `b: [N, D]` → `[M, N]`; each is exactly
    /// [`Distance::between`]. The rows of `a` are shared out over the cores.
    ///
    /// # Errors
    /// Rows of different lengths.
    #[cfg(not(target_family = "wasm"))]
    pub fn block(&self, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        self.fits(a.ncols())?;
        if a.ncols() != b.ncols() {
            let why = format!("have {} and {} numbers; use one tower for both", a.ncols(), b.ncols());
            return Err(Error::invalid("the embeddings", why));
        }
        let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
        let mut block = Array2::zeros((a.nrows(), b.nrows()));
        block.axis_iter_mut(Axis(0)).into_par_iter().zip(a.axis_iter(Axis(0))).for_each(|(mut out, left)| {
            for (cell, right) in out.iter_mut().zip(b.axis_iter(Axis(0))) {
                if let (Some(left), Some(right)) = (left.as_slice(), right.as_slice()) {
                    *cell = self.between(left, right);
                }
            }
        });
        Ok(block)
    }

    /// Whether it can be taken of embeddings of `dim` numbers.
    ///
    /// # Errors
    /// α of another length, or with a value that is not finite.
    pub fn fits(&self, dim: usize) -> Result<()> {
        let Self::WeightedL1 { alpha } = self else { return Ok(()) };
        if alpha.len() != dim {
            let why = format!("α has {} numbers, the embedding {dim}", alpha.len());
            return Err(Error::invalid("the distance weighted-l1", why));
        }
        match alpha.iter().position(|x| !x.is_finite()) {
            Some(j) => Err(Error::invalid("the distance weighted-l1", format!("α[{j}] is {}", alpha[j]))),
            None => Ok(()),
        }
    }
}

/// Sums that run side by side, so that the loop uses vector registers.
const LANES: usize = 8;

/// `Σ term(aⱼ, bⱼ)`.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a, rest_a) = a.as_chunks::<LANES>();
    let (b, rest_b) = b.as_chunks::<LANES>();
    for (x, y) in a.iter().zip(b) {
        for l in 0..LANES {
            lanes[l] += term(f64::from(x[l]), f64::from(y[l]));
        }
    }
    for (l, (x, y)) in rest_a.iter().zip(rest_b).enumerate() {
        lanes[l] += term(f64::from(*x), f64::from(*y));
    }
    lanes.iter().sum()
}

/// `Σ αⱼ|aⱼ − bⱼ|`.
fn weighted(a: &[f32], b: &[f32], alpha: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    for (j, ((x, y), w)) in a.iter().zip(b).zip(alpha).enumerate() {
        lanes[j % LANES] += f64::from(*w) * (f64::from(*x) - f64::from(*y)).abs();
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn distances_are_those_of_the_formulas() {
        let (a, b) = ([1.0, 2.0, -2.0], [1.0, 0.0, 2.0]);
        assert_eq!(Distance::L1.between(&a, &b), 6.0);
        assert_eq!(Distance::L2.between(&a, &b), 20.0f32.sqrt());
        assert_eq!(Distance::Cosine.between(&a, &b), (1.0 + 3.0 / (9.0f64 * 5.0).sqrt()) as f32);
        assert_eq!(Distance::WeightedL1 { alpha: vec![5.0, -1.0, 0.5] }.between(&a, &b), 0.0);
        assert_eq!(Distance::Cosine.between(&a, &[0.0; 3]), 1.0);
        assert_eq!(Distance::Cosine.between(&[0.0; 3], &[0.0; 3]), 1.0);
    }

    #[test]
    fn weights_of_another_length_are_refused() {
        let short = Distance::WeightedL1 { alpha: vec![1.0; 2] };
        assert!(short.fits(3).unwrap_err().to_string().contains("α has 2 numbers, the embedding 3"));
        let bad = Distance::WeightedL1 { alpha: vec![1.0, f32::NAN, 0.0] };
        assert!(bad.fits(3).unwrap_err().to_string().contains("α[1]"));
        assert!(Distance::L2.block(array![[1.0f32]].view(), array![[1.0f32, 2.0]].view()).is_err());
    }

    fn integers(n: usize) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec((-127i32..=127).prop_map(|x| x as f32), n)
    }

    proptest! {
        #[test]
        fn exact_embeddings_have_integer_distances(a in integers(37), b in integers(37)) {
            let whole = |x: &[f32], y: &[f32], f: fn(i64, i64) -> i64| -> i64 {
                x.iter().zip(y).map(|(x, y)| f(*x as i64, *y as i64)).sum()
            };
            let l1 = whole(&a, &b, |x, y| (x - y).abs());
            let l2 = whole(&a, &b, |x, y| (x - y).pow(2));
            prop_assert_eq!(Distance::L1.between_f64(&a, &b), l1 as f64);
            prop_assert_eq!(Distance::L2.between_f64(&a, &b), (l2 as f64).sqrt());
            let dot = |x: &[f32], y: &[f32]| whole(x, y, |x, y| x * y);
            let squares = dot(&a, &a) * dot(&b, &b);
            if squares > 0 {
                let cosine = 1.0 - dot(&a, &b) as f64 / (squares as f64).sqrt();
                prop_assert_eq!(Distance::Cosine.between_f64(&a, &b), cosine);
            }
        }

        #[test]
        fn a_block_holds_the_distances_of_its_rows(rows in proptest::collection::vec(integers(11), 1..6)) {
            let table = Array2::from_shape_fn((rows.len(), 11), |(i, j)| rows[i][j] / 3.0);
            for how in [Distance::L1, Distance::L2, Distance::Cosine, Distance::WeightedL1 { alpha: vec![0.3; 11] }] {
                let block = how.block(table.view(), table.view()).unwrap();
                for ((i, j), d) in block.indexed_iter() {
                    let of = |k: usize| table.row(k).to_vec();
                    prop_assert_eq!(*d, how.between(&of(i), &of(j)));
                    prop_assert_eq!(*d, block[[j, i]]);
                }
            }
        }
    }
}
