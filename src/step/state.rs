//! The state on the host: its first values, and what of it is exported.

use super::{StepGraph, state_name};
use crate::model::{ParamSpec, Params, Recipe, initialise, param_specs, shaped};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};

/// First β of the sigmoid loss: with α it says that alike embeddings are of one class.
const FIRST_BETA: f32 = 1.0;

/// The state before the first step, keyed by state input: parameters drawn with the recipe's
/// seed, moving averages equal to them, optimiser state 0.
///
/// # Errors
/// A graph that is not of this recipe.
pub fn initial_state(recipe: &Recipe, graph: &StepGraph) -> Result<Params> {
    let mut first = initialise(recipe, &graph.params, recipe.seed);
    for spec in &graph.params {
        if let Some(value) = first_of_head(spec) {
            first.insert(spec.name.clone(), ArrayD::from_elem(IxDyn(&spec.shape), value));
        }
    }
    graph
        .state
        .iter()
        .map(|s| {
            let (prefix, name) = s.input.split_once('.').unwrap_or((s.input.as_str(), ""));
            let value = match prefix {
                "param" | "stat" | "ema" => first.get(name).cloned().ok_or_else(|| {
                    Error::invalid(format!("state {}", s.input), "is not in this recipe's towers")
                })?,
                _ => ArrayD::zeros(IxDyn(&s.shape)),
            };
            Ok((s.input.clone(), value))
        })
        .collect()
}

/// First value of the sigmoid loss's own parameters: distance speaks against one class.
fn first_of_head(spec: &ParamSpec) -> Option<f32> {
    match spec.name.as_str() {
        "head.alpha" => Some(-1.0 / (spec.shape[0] as f32).sqrt()),
        "head.beta" => Some(FIRST_BETA),
        _ => None,
    }
}

/// The tower's parameters of a state, by their own names (`conv1.weight`), and the loss's
/// (`head.*`); the moving averages where the recipe keeps them.
///
/// # Errors
/// A parameter of the recipe's tower that the state lacks.
pub fn exported_params(state: &Params, recipe: &Recipe) -> Result<Params> {
    let prefix = if recipe.ema.is_some() { "ema." } else { "param." };
    let own =
        |name: &String| name.strip_prefix(prefix).or_else(|| name.strip_prefix("stat.")).map(String::from);
    let params: Params = state.iter().filter_map(|(k, v)| Some((own(k)?, v.clone()))).collect();
    for spec in param_specs(recipe)? {
        shaped(&params, &spec.name, &spec.shape).map_err(|why| {
            let why = format!("{why}; is this a state of recipe {}?", recipe.name);
            Error::invalid(state_name(&spec), why)
        })?;
    }
    Ok(params)
}
