//! Losses on classes: a softmax over a classifier's rows, proxies, other drawings, or means of supports.

use super::Parts;
use crate::Result;
use crate::graph::{DType, Graph, Value};
use crate::model::unit_length;
use crate::step::TrainingClasses;

/// Taken from logits that do not take part: e⁻¹⁰⁰⁰⁰ is 0 in float32, and no sum overflows.
const PENALTY: f32 = 1e4;

/// Softmax over `W·x + b`.
pub(super) fn softmax(
    g: &mut Graph,
    embedding: Value,
    labels: Value,
    weight: Value,
    bias: Value,
) -> Result<Parts> {
    let logits = g.gemm(embedding, weight, Some(bias), false, true)?;
    let count = g.shape(logits)[1];
    let truth = g.one_hot(labels, count)?;
    let accuracy = accuracy(g, logits, truth)?;
    Ok(Parts { loss: cross_entropy(g, logits, truth)?, metrics: vec![("accuracy", accuracy)] })
}

/// Softmax over `s·(cos(x, wⱼ) − m·[j = y])` (CosFace), siblings of y left out.
pub(super) struct Cosine<'a> {
    pub scale: f32,
    pub margin: f32,
    pub classes: &'a TrainingClasses,
}

impl Cosine<'_> {
    pub(super) fn build(
        &self,
        g: &mut Graph,
        embedding: Value,
        labels: Value,
        proxies: Value,
    ) -> Result<Parts> {
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
pub(super) fn contrast(
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
pub(super) fn prototype(
    g: &mut Graph,
    embedding: Value,
    way: usize,
    shot: usize,
    queries: usize,
) -> Result<Parts> {
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
