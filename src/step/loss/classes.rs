//! Losses on classes: a softmax over a classifier's rows, proxies, other drawings, or means of supports.

use super::related::{Related, equality};
use super::{Metric, Parts};
use crate::graph::{DType, Expr};
use crate::model::unit_length;
use crate::step::TrainingClasses;

/// Taken from logits that do not take part: e⁻¹⁰⁰⁰⁰ is 0 in float32, and no sum overflows.
const PENALTY: f32 = 1e4;

/// Softmax over `W·x + b`.
pub(super) fn softmax<'g>(
    embedding: Expr<'g>,
    labels: Expr<'g>,
    weight: Expr<'g>,
    bias: Expr<'g>,
) -> Parts<'g> {
    let logits = embedding.linear(weight, Some(bias));
    let truth = labels.one_hot(logits.dim(1));
    let accuracy = accuracy(logits, truth);
    Parts { loss: cross_entropy(logits, truth), metrics: vec![Metric::new("accuracy", accuracy)] }
}

/// Softmax over `s·(cos(x, wⱼ) − m·[j = y])` (CosFace), siblings of y left out.
pub(super) struct Cosine<'a> {
    pub scale: f32,
    pub margin: f32,
    pub classes: &'a TrainingClasses,
}

impl Cosine<'_> {
    pub(super) fn build<'g>(&self, embedding: Expr<'g>, labels: Expr<'g>, proxies: Expr<'g>) -> Parts<'g> {
        let (x, w) = (unit_length(embedding), unit_length(proxies));
        // The scale goes on the small operand: the logits `[B, C]` are the largest tensor here.
        let cosines = (x * self.scale).linear(w, None);
        let truth = labels.one_hot(self.classes.count);
        let logits = self.without_siblings(cosines, truth, labels);
        let accuracy = accuracy(logits, truth);
        let logits = logits - truth * (self.scale * self.margin);
        Parts { loss: cross_entropy(logits, truth), metrics: vec![Metric::new("accuracy", accuracy)] }
    }

    fn without_siblings<'g>(&self, logits: Expr<'g>, truth: Expr<'g>, labels: Expr<'g>) -> Expr<'g> {
        if self.classes.groups.is_empty() {
            return logits;
        }
        let groups = labels.graph().ints(&self.classes.groups);
        let siblings = equality(groups.gather(labels, 0), groups) - truth;
        logits - siblings * PENALTY
    }
}

/// For each drawing, the mean of `−ln softmax` at the others of its class, over the scaled cosines to all
/// others.
pub(super) fn contrast<'g>(
    embedding: Expr<'g>,
    labels: Expr<'g>,
    scale: f32,
    classes: &TrainingClasses,
) -> Parts<'g> {
    let x = unit_length(embedding);
    let cosines = (x * scale).linear(x, None);
    let Related { positive, out, .. } = Related::of(labels, classes);
    let logits = cosines - out * PENALTY;
    let picked = (logits.log_softmax(1) * positive).sum(&[1]);
    let loss = -(picked / positive.sum(&[1]).max(1.0)).mean(&[0]);
    let accuracy = nearest_is_positive(logits, positive);
    Parts { loss, metrics: vec![Metric::new("accuracy", accuracy)] }
}

/// For each drawing, the mean of `−ln softmax` at the old tower's embeddings of its class, over the scaled cosines to
/// all of the old tower's `[B, D]` (see [`crate::model::recipe::Compatible`]).
pub(super) fn compatible<'g>(
    embedding: Expr<'g>,
    old: Expr<'g>,
    labels: Expr<'g>,
    scale: f32,
    classes: &TrainingClasses,
) -> Parts<'g> {
    let cosines = (unit_length(embedding) * scale).linear(unit_length(old), None);
    let Related { positive, out, itself } = Related::of(labels, classes);
    // The old tower's embedding of a drawing is one of its class.
    let (same, siblings) = (positive + itself, out - itself);
    let logits = if classes.groups.is_empty() { cosines } else { cosines - siblings * PENALTY };
    let picked = (logits.log_softmax(1) * same).sum(&[1]);
    let loss = -(picked / same.sum(&[1])).mean(&[0]);
    let accuracy = nearest_is_positive(logits, same);
    Parts { loss, metrics: vec![Metric::new("compatible", accuracy)] }
}

/// Share of rows whose greatest logit is one of the positives'.
fn nearest_is_positive<'g>(logits: Expr<'g>, positive: Expr<'g>) -> Expr<'g> {
    let own = logits - (1.0 - positive) * PENALTY;
    share_not_below(own.amax(&[1]), logits.amax(&[1]))
}

/// Softmax over the negative squared distances of queries to the means of the supports.
pub(super) fn prototype(embedding: Expr<'_>, way: usize, shot: usize, queries: usize) -> Parts<'_> {
    let (first, rows) = (way * shot, way * (shot + queries));
    let supports = embedding.narrow(0, 0..first);
    let asked = embedding.narrow(0, first..rows);
    let means = supports.reshape(&[way, shot, embedding.dim(1)]).mean(&[1]);
    let logits = negative_squared_distances(asked, means);
    let labels: Vec<i64> = (0..way as i64).flat_map(|class| std::iter::repeat_n(class, queries)).collect();
    let truth = embedding.graph().ints(&labels).one_hot(way);
    let accuracy = accuracy(logits, truth);
    Parts { loss: cross_entropy(logits, truth), metrics: vec![Metric::new("accuracy", accuracy)] }
}

/// `2·q·p − ‖q‖² − ‖p‖²`: `[Q, D]`, `[P, D]` → `[Q, P]`.
fn negative_squared_distances<'g>(queries: Expr<'g>, prototypes: Expr<'g>) -> Expr<'g> {
    let product = (queries * 2.0).linear(prototypes, None);
    let of_queries = queries.squared().sum_kept(&[1]);
    let of_prototypes = prototypes.squared().sum(&[1]).reshape(&[1, prototypes.dim(0)]);
    product - of_queries - of_prototypes
}

/// Mean of `−ln softmax(logits)` at the true class; both `[B, C]`, the truth one-hot.
fn cross_entropy<'g>(logits: Expr<'g>, truth: Expr<'g>) -> Expr<'g> {
    -(logits.log_softmax(1) * truth).sum(&[1]).mean(&[0])
}

/// Share of rows whose true class has the greatest logit; ties count as right here.
fn accuracy<'g>(logits: Expr<'g>, truth: Expr<'g>) -> Expr<'g> {
    let best = logits.amax(&[1]);
    share_not_below((logits * truth).sum(&[1]), best)
}

/// Share of places where `own` is not below `best`.
fn share_not_below<'g>(own: Expr<'g>, best: Expr<'g>) -> Expr<'g> {
    1.0 - own.less(best).cast(DType::F32).mean(&[0])
}
