//! The losses: from embeddings `[N, D]` to one number, and the metrics that cost little beside it.

mod classes;
mod pairs;
mod related;
mod taught;

use super::TrainingClasses;
use super::batch::{Known, Targets};
use crate::graph::Expr;
use crate::model::recipe::Loss;
use crate::model::{ParamSpec, Recipe, Role, embedding_dim};
use crate::{Error, Result};
use classes::Cosine;
use pairs::Pull;
use std::collections::BTreeMap;

/// What a loss gives.
pub(super) struct Parts<'g> {
    /// `float32 []`.
    pub loss: Expr<'g>,
    /// What is told beside it.
    pub metrics: Vec<Metric<'g>>,
}

/// A mean over the batch that costs little beside the loss.
pub(super) struct Metric<'g> {
    pub name: &'static str,
    /// `float32 []`.
    pub value: Expr<'g>,
    /// How many terms it is the mean of, `float32 []`, where that differs from batch to batch; of none it is 0.
    pub terms: Option<Expr<'g>>,
}

impl<'g> Metric<'g> {
    /// A mean over all images or pairs.
    fn new(name: &'static str, value: Expr<'g>) -> Self {
        Self { name, value, terms: None }
    }
}

/// The parameters of the loss itself, layer `head`.
///
/// `sigmoid` has `head.alpha` `[D]` and `head.beta` `[1]`, `softmax` `head.weight` `[classes, D]`
/// and `head.bias` `[classes]`, `cosine` the class proxies `head.weight` `[classes, D]`, `distil` the map
/// `head.teacher` `[T, D]` where D is not T, and those of the loss beside it.
///
/// # Errors
/// As [`crate::model::param_specs`].
pub fn head_specs(recipe: &Recipe, classes: &TrainingClasses) -> Result<Vec<ParamSpec>> {
    let dim = embedding_dim(recipe)?;
    let spec = |part: &str, shape: &[usize], role| ParamSpec {
        name: format!("head.{part}"),
        shape: shape.to_vec(),
        role,
        fan_in: dim,
        fan_out: classes.count,
    };
    let proxies = spec("weight", &[classes.count, dim], Role::Weight);
    let mut specs = match recipe.loss.on_labels() {
        Some(Loss::Sigmoid) => vec![spec("alpha", &[dim], Role::Weight), spec("beta", &[1], Role::Bias)],
        Some(Loss::Softmax) => vec![proxies, spec("bias", &[classes.count], Role::Bias)],
        Some(Loss::Cosine { .. }) => vec![proxies],
        _ => Vec::new(),
    };
    if let Some(distil) = recipe.loss.distil().filter(|distil| distil.needs_map(dim)) {
        let map = spec("teacher", &[distil.dim, dim], Role::Weight);
        specs.push(ParamSpec { fan_out: distil.dim, ..map });
    }
    Ok(specs)
}

/// Builds the recipe's loss on the embeddings of its batch.
pub(super) fn build<'g>(
    recipe: &Recipe,
    classes: &TrainingClasses,
    known: &Known<'g>,
    embedding: Expr<'g>,
    values: &BTreeMap<String, Expr<'g>>,
) -> Result<Parts<'g>> {
    let on_labels = |loss: &Loss| labelled(recipe, loss, classes, known.targets, embedding, values);
    let parts = match (&recipe.loss, known.teacher) {
        (Loss::Distil(distil), Some(teacher)) => {
            let map = values.get("head.teacher").copied();
            let taught = taught::build(distil, embedding, teacher, map);
            let beside = distil.beside.as_deref().map(on_labels).transpose()?;
            with(beside, taught, distil.weight)
        }
        (loss, _) => on_labels(loss)?,
    };
    Ok(match (&recipe.compatible, known.teacher, known.targets) {
        (Some(compatible), Some(old), Targets::Labels(labels)) => {
            let told = classes::compatible(embedding, old, labels, compatible.scale, classes);
            with(Some(parts), told, compatible.weight)
        }
        _ => parts,
    })
}

/// A loss, where there is one, and another one beside it.
fn with<'g>(loss: Option<Parts<'g>>, other: Parts<'g>, weight: f32) -> Parts<'g> {
    let other = Parts { loss: other.loss * weight, ..other };
    let Some(loss) = loss else { return other };
    let metrics = loss.metrics.into_iter().chain(other.metrics).collect();
    Parts { loss: loss.loss + other.loss, metrics }
}

/// A loss on labels.
fn labelled<'g>(
    recipe: &Recipe,
    loss: &Loss,
    classes: &TrainingClasses,
    targets: Targets<'g>,
    embedding: Expr<'g>,
    values: &BTreeMap<String, Expr<'g>>,
) -> Result<Parts<'g>> {
    Ok(match (loss, targets) {
        (Loss::Spring { margin }, Targets::Same(same)) => {
            pairs::spring(embedding, same, *margin, Pull::Square)
        }
        (Loss::SpringLinear { margin }, Targets::Same(same)) => {
            pairs::spring(embedding, same, *margin, Pull::Linear)
        }
        (Loss::Sigmoid, Targets::Same(same)) => {
            pairs::sigmoid(embedding, same, values["head.alpha"], values["head.beta"])
        }
        (Loss::Sigmoid, Targets::Labels(labels)) => {
            let (alpha, beta) = (values["head.alpha"], values["head.beta"]);
            pairs::sigmoid_of_all(embedding, labels, alpha, beta, classes)
        }
        (Loss::Softmax, Targets::Labels(labels)) => {
            classes::softmax(embedding, labels, values["head.weight"], values["head.bias"])
        }
        (Loss::Cosine { scale, margin }, Targets::Labels(labels)) => {
            let cosine = Cosine { scale: *scale, margin: *margin, classes };
            cosine.build(embedding, labels, values["head.weight"])
        }
        (Loss::Contrast { scale }, Targets::Labels(labels)) => {
            classes::contrast(embedding, labels, *scale, classes)
        }
        (Loss::Prototype, Targets::Episode { way, shot, queries }) => {
            classes::prototype(embedding, way, shot, queries)
        }
        _ => {
            let at = format!("recipe {}", recipe.name);
            return Err(Error::invalid(at, "its sampling does not fit its loss"));
        }
    })
}
