//! Losses on pairs: the second half of the batch belongs to the first, or every two drawings are a pair.

use super::related::Related;
use super::{Metric, Parts};
use crate::graph::{DType, Expr};
use crate::step::TrainingClasses;

/// Added to a squared distance before the root, for a finite gradient at 0.
const DISTANCE_EPSILON: f32 = 1e-6;

/// How similar pairs are pulled together.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pull {
    /// By d².
    Square,
    /// By d.
    Linear,
}

/// Mean of `y·pull + (1−y)·max(0, m−d)²` with `d = √(‖a−b‖² + 1e-6)`.
pub(super) fn spring<'g>(embedding: Expr<'g>, same: Expr<'g>, margin: f32, pull: Pull) -> Parts<'g> {
    let squared = pair_difference(embedding).squared().sum(&[1]);
    let distance = (squared + DISTANCE_EPSILON).sqrt();
    let different = 1.0 - same;
    let pull = match pull {
        Pull::Square => squared,
        Pull::Linear => distance,
    };
    let terms = same * pull + different * (margin - distance).relu().squared();
    let loss = terms.mean(&[0]);
    let mean = |name, of: Expr<'g>| {
        let (value, terms) = weighted_mean(distance, of);
        Metric { name, value, terms: Some(terms) }
    };
    Parts { loss, metrics: vec![mean("same", same), mean("different", different)] }
}

/// Binary cross-entropy of `σ(z)`, `z = Σ αⱼ|aⱼ − bⱼ| + β`, as `max(z, 0) − z·y + ln(1 + e^−|z|)`.
pub(super) fn sigmoid<'g>(embedding: Expr<'g>, same: Expr<'g>, alpha: Expr<'g>, beta: Expr<'g>) -> Parts<'g> {
    let z = (pair_difference(embedding).abs() * alpha).sum(&[1]) + beta;
    let loss = binary_cross_entropy(z, same).mean(&[0]);
    let accuracy = 1.0 - told_wrong(z, same).mean(&[0]);
    Parts { loss, metrics: vec![Metric::new("accuracy", accuracy)] }
}

/// As [`sigmoid`], of every two drawings of a batch of classes: half the mean over the similar pairs and half
/// that over the others. Siblings take no part.
pub(super) fn sigmoid_of_all<'g>(
    embedding: Expr<'g>,
    labels: Expr<'g>,
    alpha: Expr<'g>,
    beta: Expr<'g>,
    classes: &TrainingClasses,
) -> Parts<'g> {
    let (rows, dim) = (embedding.dim(0), embedding.dim(1));
    let apart = (embedding.reshape(&[rows, 1, dim]) - embedding).abs();
    let sums = apart.reshape(&[rows * rows, dim]).linear(alpha.reshape(&[1, dim]), None);
    let z = sums.reshape(&[rows, rows]) + beta;
    let Related { positive, out, .. } = Related::of(labels, classes);
    let negative = 1.0 - (positive + out);
    let balanced = |x| (weighted_mean(x, positive).0 + weighted_mean(x, negative).0) * 0.5;
    let loss = balanced(binary_cross_entropy(z, positive));
    let accuracy = 1.0 - balanced(told_wrong(z, positive));
    Parts { loss, metrics: vec![Metric::new("accuracy", accuracy)] }
}

/// `−ln σ(z)` where y is 1, `−ln(1 − σ(z))` where it is 0.
fn binary_cross_entropy<'g>(z: Expr<'g>, y: Expr<'g>) -> Expr<'g> {
    z.relu() - z * y + (1.0 + (-z.abs()).exp()).log()
}

/// First half of the batch minus the second: `[2B, D]` → `[B, D]`.
fn pair_difference(embedding: Expr<'_>) -> Expr<'_> {
    let rows = embedding.dim(0);
    embedding.narrow(0, 0..rows / 2) - embedding.narrow(0, rows / 2..rows)
}

/// `Σ w·x / max(Σ w, 1)` and `Σ w`, for weights of 0 and 1.
fn weighted_mean<'g>(x: Expr<'g>, weights: Expr<'g>) -> (Expr<'g>, Expr<'g>) {
    let (sum, terms) = ((x * weights).total(), weights.total());
    (sum / terms.max(1.0), terms)
}

/// 1 for pairs whose logit is positive where the classes differ, or is not where they agree; else 0.
fn told_wrong<'g>(logit: Expr<'g>, same: Expr<'g>) -> Expr<'g> {
    (logit.greater(0.0).cast(DType::F32) - same).abs()
}
