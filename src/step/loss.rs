//! The losses: from embeddings `[N, D]` to one number, and the metrics that cost little beside it.

use super::TrainingClasses;
use super::batch::{Batch, Targets};
use crate::graph::{DType, Graph, Value};
use crate::model::recipe::Loss;
use crate::model::{ParamSpec, Recipe, Role, plan, unit_length};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Added to a squared distance before the root, for a finite gradient at 0.
const DISTANCE_EPSILON: f32 = 1e-6;
/// Taken from logits that do not take part: e⁻¹⁰⁰⁰⁰ is 0 in float32, and no sum overflows.
const PENALTY: f32 = 1e4;

/// What a loss gives.
pub(super) struct Parts {
    /// `float32 []`.
    pub loss: Value,
    /// Names and `float32 []`.
    pub metrics: Vec<(&'static str, Value)>,
}

/// The parameters of the loss itself, layer `head`.
///
/// `sigmoid` has `head.alpha` `[D]` and `head.beta` `[1]`, `softmax` `head.weight` `[classes, D]`
/// and `head.bias` `[classes]`, `cosine` the class proxies `head.weight` `[classes, D]`.
///
/// # Errors
/// As [`crate::model::param_specs`].
pub fn head_specs(recipe: &Recipe, classes: &TrainingClasses) -> Result<Vec<ParamSpec>> {
    let dim = plan(recipe)?.last().map_or(0, |p| p.output[0]);
    let spec = |part: &str, shape: &[usize], role| ParamSpec {
        name: format!("head.{part}"),
        shape: shape.to_vec(),
        role,
        fan_in: dim,
        fan_out: classes.count,
    };
    let proxies = spec("weight", &[classes.count, dim], Role::Weight);
    Ok(match recipe.loss {
        Loss::Sigmoid => vec![spec("alpha", &[dim], Role::Weight), spec("beta", &[1], Role::Bias)],
        Loss::Softmax => vec![proxies, spec("bias", &[classes.count], Role::Bias)],
        Loss::Cosine { .. } => vec![proxies],
        Loss::Spring { .. } | Loss::SpringLinear { .. } | Loss::Contrast { .. } | Loss::Prototype => {
            Vec::new()
        }
    })
}

/// Builds the recipe's loss on the embeddings of its batch.
pub(super) fn build(
    g: &mut Graph,
    recipe: &Recipe,
    classes: &TrainingClasses,
    batch: &Batch,
    embedding: Value,
    values: &BTreeMap<String, Value>,
) -> Result<Parts> {
    match (&recipe.loss, batch.targets) {
        (Loss::Spring { margin }, Targets::Same(same)) => spring(g, embedding, same, *margin, Pull::Square),
        (Loss::SpringLinear { margin }, Targets::Same(same)) => {
            spring(g, embedding, same, *margin, Pull::Linear)
        }
        (Loss::Sigmoid, Targets::Same(same)) => {
            sigmoid(g, embedding, same, values["head.alpha"], values["head.beta"])
        }
        (Loss::Softmax, Targets::Labels(labels)) => {
            let logits = g.gemm(embedding, values["head.weight"], Some(values["head.bias"]), false, true)?;
            let truth = g.one_hot(labels, classes.count)?;
            let accuracy = accuracy(g, logits, truth)?;
            Ok(Parts { loss: cross_entropy(g, logits, truth)?, metrics: vec![("accuracy", accuracy)] })
        }
        (Loss::Cosine { scale, margin }, Targets::Labels(labels)) => {
            let cosine = Cosine { scale: *scale, margin: *margin, classes };
            cosine.build(g, embedding, labels, values["head.weight"])
        }
        (Loss::Contrast { scale }, Targets::Labels(labels)) => {
            contrast(g, embedding, labels, *scale, classes)
        }
        (Loss::Prototype, Targets::Episode { way, shot, queries }) => {
            prototype(g, embedding, way, shot, queries)
        }
        _ => Err(Error::invalid(format!("recipe {}", recipe.name), "its sampling does not fit its loss")),
    }
}

// Losses on pairs.

/// How similar pairs are pulled together.
#[derive(Clone, Copy, PartialEq)]
enum Pull {
    /// By d².
    Square,
    /// By d.
    Linear,
}

/// Mean of `y·pull + (1−y)·max(0, m−d)²` with `d = √(‖a−b‖² + 1e-6)`.
fn spring(g: &mut Graph, embedding: Value, same: Value, margin: f32, pull: Pull) -> Result<Parts> {
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
fn sigmoid(g: &mut Graph, embedding: Value, same: Value, alpha: Value, beta: Value) -> Result<Parts> {
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

// Losses on classes.

/// Softmax over `s·(cos(x, wⱼ) − m·[j = y])` (CosFace), siblings of y left out.
struct Cosine<'a> {
    scale: f32,
    margin: f32,
    classes: &'a TrainingClasses,
}

impl Cosine<'_> {
    fn build(&self, g: &mut Graph, embedding: Value, labels: Value, proxies: Value) -> Result<Parts> {
        let x = unit_length(g, embedding)?;
        let w = unit_length(g, proxies)?;
        let scale = g.scalar(self.scale);
        // The scale goes on the small operand: the logits `[B, C]` are the largest tensor here.
        let x = g.mul(x, scale)?;
        let cosines = g.gemm(x, w, None, false, true)?;
        let truth = g.one_hot(labels, self.classes.count)?;
        let logits = self.without_siblings(g, cosines, truth, labels)?;
        let accuracy = accuracy(g, logits, truth)?;
        let margin = g.scalar(self.scale * self.margin);
        let handicap = g.mul(truth, margin)?;
        let logits = g.sub(logits, handicap)?;
        Ok(Parts { loss: cross_entropy(g, logits, truth)?, metrics: vec![("accuracy", accuracy)] })
    }

    fn without_siblings(&self, g: &mut Graph, logits: Value, truth: Value, labels: Value) -> Result<Value> {
        if self.classes.groups.is_empty() {
            return Ok(logits);
        }
        let groups = g.ints(&self.classes.groups);
        let own = g.gather(groups, labels, 0)?;
        let related = equality(g, own, groups)?;
        let siblings = g.sub(related, truth)?;
        let penalty = g.scalar(PENALTY);
        let penalty = g.mul(siblings, penalty)?;
        g.sub(logits, penalty)
    }
}

/// For each drawing, the mean of `−ln softmax` at the others of its class, over the scaled cosines to all
/// others.
fn contrast(
    g: &mut Graph,
    embedding: Value,
    labels: Value,
    scale: f32,
    classes: &TrainingClasses,
) -> Result<Parts> {
    let x = unit_length(g, embedding)?;
    let scale = g.scalar(scale);
    let scaled = g.mul(x, scale)?;
    let cosines = g.gemm(scaled, x, None, false, true)?;
    let batch = g.shape(labels)[0];
    let itself = g.ints(&(0..batch as i64).collect::<Vec<_>>());
    let itself = g.one_hot(itself, batch)?;
    let same = equality(g, labels, labels)?;
    let positive = g.sub(same, itself)?;
    // What leaves the denominator: the drawing itself, and siblings of its class.
    let out = match classes.groups.is_empty() {
        true => itself,
        false => {
            let groups = g.ints(&classes.groups);
            let own = g.gather(groups, labels, 0)?;
            let related = equality(g, own, own)?;
            g.sub(related, positive)?
        }
    };
    let penalty = g.scalar(PENALTY);
    let handicap = g.mul(out, penalty)?;
    let logits = g.sub(cosines, handicap)?;
    let log = g.log_softmax(logits, 1)?;
    let picked = g.mul(log, positive)?;
    let picked = g.reduce_sum(picked, &[1], false)?;
    let count = g.reduce_sum(positive, &[1], false)?;
    let one = g.scalar(1.0);
    let count = g.max(count, one)?;
    let per_drawing = g.div(picked, count)?;
    let mean = g.reduce_mean(per_drawing, &[0], false)?;
    let loss = g.neg(mean)?;
    let accuracy = nearest_is_positive(g, logits, positive)?;
    Ok(Parts { loss, metrics: vec![("accuracy", accuracy)] })
}

/// Share of rows whose greatest logit is one of the positives'.
fn nearest_is_positive(g: &mut Graph, logits: Value, positive: Value) -> Result<Value> {
    let (one, penalty) = (g.scalar(1.0), g.scalar(PENALTY));
    let negative = g.sub(one, positive)?;
    let handicap = g.mul(negative, penalty)?;
    let own = g.sub(logits, handicap)?;
    let own = g.reduce_max(own, &[1], false)?;
    let best = g.reduce_max(logits, &[1], false)?;
    share_not_below(g, own, best)
}

/// 1 where `a: [A]` equals `b: [B]`, else 0: `[A, B]`.
fn equality(g: &mut Graph, a: Value, b: Value) -> Result<Value> {
    let rows = g.shape(a)[0];
    let a = g.reshape(a, &[rows, 1])?;
    let equal = g.equal(a, b)?;
    g.cast(equal, DType::F32)
}

/// Softmax over the negative squared distances of queries to the means of the supports.
fn prototype(g: &mut Graph, embedding: Value, way: usize, shot: usize, queries: usize) -> Result<Parts> {
    let dim = g.shape(embedding)[1];
    let (first, rows) = (way * shot, way * (shot + queries));
    let supports = g.slice(embedding, &[0], &[first], &[0], &[1])?;
    let asked = g.slice(embedding, &[first], &[rows], &[0], &[1])?;
    let supports = g.reshape(supports, &[way, shot, dim])?;
    let means = g.reduce_mean(supports, &[1], false)?;
    let logits = negative_squared_distances(g, asked, means)?;
    let labels: Vec<i64> = (0..way as i64).flat_map(|class| std::iter::repeat_n(class, queries)).collect();
    let labels = g.ints(&labels);
    let truth = g.one_hot(labels, way)?;
    let accuracy = accuracy(g, logits, truth)?;
    Ok(Parts { loss: cross_entropy(g, logits, truth)?, metrics: vec![("accuracy", accuracy)] })
}

/// `2·q·p − ‖q‖² − ‖p‖²`: `[Q, D]`, `[P, D]` → `[Q, P]`.
fn negative_squared_distances(g: &mut Graph, queries: Value, prototypes: Value) -> Result<Value> {
    let two = g.scalar(2.0);
    let doubled = g.mul(queries, two)?;
    let product = g.gemm(doubled, prototypes, None, false, true)?;
    let count = g.shape(prototypes)[0];
    let square = g.mul(queries, queries)?;
    let of_queries = g.reduce_sum(square, &[1], true)?;
    let square = g.mul(prototypes, prototypes)?;
    let of_prototypes = g.reduce_sum(square, &[1], false)?;
    let of_prototypes = g.reshape(of_prototypes, &[1, count])?;
    let rest = g.sub(product, of_queries)?;
    g.sub(rest, of_prototypes)
}

/// Mean of `−ln softmax(logits)` at the true class; both `[B, C]`, the truth one-hot.
fn cross_entropy(g: &mut Graph, logits: Value, truth: Value) -> Result<Value> {
    let log = g.log_softmax(logits, 1)?;
    let picked = g.mul(log, truth)?;
    let per_image = g.reduce_sum(picked, &[1], false)?;
    let mean = g.reduce_mean(per_image, &[0], false)?;
    g.neg(mean)
}

/// Share of rows whose true class has the greatest logit; ties count as right here.
fn accuracy(g: &mut Graph, logits: Value, truth: Value) -> Result<Value> {
    let best = g.reduce_max(logits, &[1], false)?;
    let own = g.mul(logits, truth)?;
    let own = g.reduce_sum(own, &[1], false)?;
    share_not_below(g, own, best)
}

/// Share of places where `own` is not below `best`.
fn share_not_below(g: &mut Graph, own: Value, best: Value) -> Result<Value> {
    let beaten = g.less(own, best)?;
    let beaten = g.cast(beaten, DType::F32)?;
    let share = g.reduce_mean(beaten, &[0], false)?;
    let one = g.scalar(1.0);
    g.sub(one, share)
}
