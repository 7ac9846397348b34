//! The losses: from embeddings `[N, D]` to one number, and the metrics that cost little beside it.

mod classes;
mod pairs;
mod related;

use super::TrainingClasses;
use super::batch::{Batch, Targets};
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
    /// Names and `float32 []`.
    pub metrics: Vec<(&'static str, Expr<'g>)>,
}

/// The parameters of the loss itself, layer `head`.
///
/// `sigmoid` has `head.alpha` `[D]` and `head.beta` `[1]`, `softmax` `head.weight` `[classes, D]`
/// and `head.bias` `[classes]`, `cosine` the class proxies `head.weight` `[classes, D]`.
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
pub(super) fn build<'g>(
    recipe: &Recipe,
    classes: &TrainingClasses,
    batch: &Batch<'g>,
    embedding: Expr<'g>,
    values: &BTreeMap<String, Expr<'g>>,
) -> Result<Parts<'g>> {
    Ok(match (&recipe.loss, batch.targets) {
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
