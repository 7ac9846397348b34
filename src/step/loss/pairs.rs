//! Losses on pairs: the second half of the batch belongs to the first.

use super::Parts;
use crate::Result;
use crate::graph::{DType, Graph, Value};

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
pub(super) fn spring(g: &mut Graph, embedding: Value, same: Value, margin: f32, pull: Pull) -> Result<Parts> {
    let difference = pair_difference(g, embedding)?;
    let square = g.mul(difference, difference)?;
    let squared = g.reduce_sum(square, &[1], false)?;
    let epsilon = g.scalar(DISTANCE_EPSILON);
    let shifted = g.add(squared, epsilon)?;
    let distance = g.sqrt(shifted)?;
    let one = g.scalar(1.0);
    let different = g.sub(one, same)?;
    let near = g.mul(same, if pull == Pull::Square { squared } else { distance })?;
    let margin = g.scalar(margin);
    let gap = g.sub(margin, distance)?;
    let gap = g.relu(gap)?;
    let push = g.mul(gap, gap)?;
    let far = g.mul(different, push)?;
    let terms = g.add(near, far)?;
    let loss = g.reduce_mean(terms, &[0], false)?;
    let metrics = vec![
        ("same", weighted_mean(g, distance, same)?),
        ("different", weighted_mean(g, distance, different)?),
    ];
    Ok(Parts { loss, metrics })
}

/// Binary cross-entropy of `σ(z)`, `z = Σ αⱼ|aⱼ − bⱼ| + β`, as `max(z, 0) − z·y + ln(1 + e^−|z|)`.
pub(super) fn sigmoid(
    g: &mut Graph,
    embedding: Value,
    same: Value,
    alpha: Value,
    beta: Value,
) -> Result<Parts> {
    let difference = pair_difference(g, embedding)?;
    let apart = g.abs(difference)?;
    let weighted = g.mul(apart, alpha)?;
    let sum = g.reduce_sum(weighted, &[1], false)?;
    let logit = g.add(sum, beta)?;
    let positive = g.relu(logit)?;
    let agreed = g.mul(logit, same)?;
    let linear = g.sub(positive, agreed)?;
    let size = g.abs(logit)?;
    let decay = g.neg(size)?;
    let decay = g.exp(decay)?;
    let one = g.scalar(1.0);
    let soft = g.add(one, decay)?;
    let soft = g.log(soft)?;
    let terms = g.add(linear, soft)?;
    let loss = g.reduce_mean(terms, &[0], false)?;
    let accuracy = pair_accuracy(g, logit, same)?;
    Ok(Parts { loss, metrics: vec![("accuracy", accuracy)] })
}

/// First half of the batch minus the second: `[2B, D]` → `[B, D]`.
fn pair_difference(g: &mut Graph, embedding: Value) -> Result<Value> {
    let rows = g.shape(embedding)[0];
    let a = g.slice(embedding, &[0], &[rows / 2], &[0], &[1])?;
    let b = g.slice(embedding, &[rows / 2], &[rows], &[0], &[1])?;
    g.sub(a, b)
}

/// `Σ w·x / max(Σ w, 1)` over `[B]`, for weights of 0 and 1.
fn weighted_mean(g: &mut Graph, x: Value, weights: Value) -> Result<Value> {
    let weighted = g.mul(x, weights)?;
    let sum = g.reduce_sum(weighted, &[0], false)?;
    let count = g.reduce_sum(weights, &[0], false)?;
    let one = g.scalar(1.0);
    let count = g.max(count, one)?;
    g.div(sum, count)
}

/// Share of pairs with a positive logit where the classes agree, and only there.
fn pair_accuracy(g: &mut Graph, logit: Value, same: Value) -> Result<Value> {
    let zero = g.scalar(0.0);
    let yes = g.greater(logit, zero)?;
    let yes = g.cast(yes, DType::F32)?;
    let wrong = g.sub(yes, same)?;
    let wrong = g.abs(wrong)?;
    let share = g.reduce_mean(wrong, &[0], false)?;
    let one = g.scalar(1.0);
    g.sub(one, share)
}
