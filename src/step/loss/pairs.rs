//! Losses on pairs: the second half of the batch belongs to the first.

use super::Parts;
use crate::graph::{DType, Expr};

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
    let metrics =
        vec![("same", weighted_mean(distance, same)), ("different", weighted_mean(distance, different))];
    Parts { loss, metrics }
}

/// Binary cross-entropy of `σ(z)`, `z = Σ αⱼ|aⱼ − bⱼ| + β`, as `max(z, 0) − z·y + ln(1 + e^−|z|)`.
pub(super) fn sigmoid<'g>(embedding: Expr<'g>, same: Expr<'g>, alpha: Expr<'g>, beta: Expr<'g>) -> Parts<'g> {
    let z = (pair_difference(embedding).abs() * alpha).sum(&[1]) + beta;
    let terms = z.relu() - z * same + (1.0 + (-z.abs()).exp()).log();
    let loss = terms.mean(&[0]);
    Parts { loss, metrics: vec![("accuracy", pair_accuracy(z, same))] }
}

/// First half of the batch minus the second: `[2B, D]` → `[B, D]`.
fn pair_difference(embedding: Expr<'_>) -> Expr<'_> {
    let rows = embedding.dim(0);
    embedding.narrow(0, 0..rows / 2) - embedding.narrow(0, rows / 2..rows)
}

/// `Σ w·x / max(Σ w, 1)` over `[B]`, for weights of 0 and 1.
fn weighted_mean<'g>(x: Expr<'g>, weights: Expr<'g>) -> Expr<'g> {
    (x * weights).sum(&[0]) / weights.sum(&[0]).max(1.0)
}

/// Share of pairs with a positive logit where the classes agree, and only there.
fn pair_accuracy<'g>(logit: Expr<'g>, same: Expr<'g>) -> Expr<'g> {
    let yes = logit.greater(0.0).cast(DType::F32);
    1.0 - (yes - same).abs().mean(&[0])
}
