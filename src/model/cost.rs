//! What a tower costs: parameters and arithmetic.

use super::plan::{Placed, plan};
use super::recipe::{Layer, Recipe};
use super::specs::param_specs;
use crate::Result;
use serde::Serialize;

/// What one image costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Numbers in the exported file (batch normalisation folded into biases).
    pub parameters: u64,
    /// Multiplications and additions of the convolutions and products for one image, counted
    /// separately: a multiply-add is 2.
    pub flop: u64,
}

/// Counts the exported tower's parameters and arithmetic.
///
/// # Errors
/// As [`param_specs`].
pub fn cost(recipe: &Recipe) -> Result<Cost> {
    let weights =
        param_specs(recipe)?.iter().filter(|s| s.role == super::Role::Weight).map(size).sum::<usize>();
    let placed = plan(recipe)?;
    let biases: usize = placed.iter().map(biases).sum();
    let flop: usize = placed.iter().map(|p| 2 * multiply_adds(p)).sum();
    Ok(Cost { parameters: (weights + biases) as u64, flop: flop as u64 })
}

fn size(spec: &super::ParamSpec) -> usize {
    spec.shape.iter().product()
}

fn biases(p: &Placed) -> usize {
    match p.layer {
        Layer::Conv { filters, .. } => filters,
        Layer::Fc { units } => units,
        Layer::Residual { filters, .. } => filters * if p.input == p.output { 2 } else { 3 },
        _ => 0,
    }
}

fn multiply_adds(p: &Placed) -> usize {
    let pixels: usize = p.output[1..].iter().product();
    match p.layer {
        Layer::Conv { filters, kernel, .. } => filters * p.input[0] * kernel * kernel * pixels,
        Layer::Fc { units } => units * p.input[0],
        Layer::Residual { filters, .. } => {
            let shortcut = if p.input == p.output { 0 } else { p.input[0] };
            filters * (9 * p.input[0] + 9 * filters + shortcut) * pixels
        }
        _ => 0,
    }
}
