//! What a tower costs: parameters and arithmetic.

use super::Recipe;
use super::plan::plan;
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
/// As [`plan`].
pub fn cost(recipe: &Recipe) -> Result<Cost> {
    let mut cost = Cost { parameters: 0, flop: 0 };
    for part in plan(recipe)? {
        let Some(product) = part.product() else { continue };
        let weights: usize = product.weight.iter().product();
        let pixels: usize = part.output[1..].iter().product();
        cost.parameters += (weights + product.weight[0]) as u64;
        cost.flop += (2 * weights * pixels) as u64;
    }
    Ok(cost)
}
