//! Batch normalisation folded into the layer before it, for inference.

use super::plan::plan;
use super::recipe::{Layer, Recipe};
use super::{BATCH_NORM_EPSILON, Params};
use crate::{Error, Result};
use ndarray::{Array1, Axis, Ix1};

/// Folds each batch normalisation into its convolution or product, for [`super::Mode::Folded`]:
/// `w' = w·γ/√(var + ε)`, `b' = β − mean·γ/√(var + ε)` with the running statistics.
///
/// The result holds a weight and a bias for every convolution and product, and nothing else of
/// the tower; parameters that are not the tower's (`head.*`) are passed through.
///
/// # Errors
/// A parameter that is missing or has another shape.
pub fn fold(recipe: &Recipe, params: &Params) -> Result<Params> {
    let mut folded = params.clone();
    let mut product = String::new();
    for p in plan(recipe)? {
        match p.layer {
            Layer::Conv { .. } | Layer::Fc { .. } => product = p.name,
            Layer::BatchNorm => fold_one(&mut folded, &product, &p.name)?,
            Layer::Residual { .. } => {
                for i in 1..=if p.input == p.output { 2 } else { 3 } {
                    fold_one(&mut folded, &format!("{}.conv{i}", p.name), &format!("{}.bn{i}", p.name))?;
                }
            }
            _ => {}
        }
    }
    Ok(folded)
}

fn fold_one(params: &mut Params, product: &str, norm: &str) -> Result<()> {
    let name = format!("{product}.weight");
    let channels = params.get(&name).ok_or_else(|| missing(&name))?.shape()[0];
    let mut part = |part: &str| take(params, &format!("{norm}.{part}"), channels);
    let (scale, shift, mean, var) = (part("scale")?, part("bias")?, part("mean")?, part("var")?);
    let factor = scale / var.mapv(|v| (v + BATCH_NORM_EPSILON).sqrt());
    let bias = shift - mean * &factor;
    let weight = params.get_mut(&name).ok_or_else(|| missing(&name))?;
    for (mut row, f) in weight.axis_iter_mut(Axis(0)).zip(&factor) {
        row *= *f;
    }
    params.insert(format!("{product}.bias"), bias.into_dyn());
    Ok(())
}

/// Takes out a vector with one value a channel.
fn take(params: &mut Params, name: &str, channels: usize) -> Result<Array1<f32>> {
    let array = params.remove(name).ok_or_else(|| missing(name))?;
    if array.shape() != [channels] {
        let why = format!("has shape {:?}, but its layer has {channels} channels", array.shape());
        return Err(Error::invalid(format!("parameter {name}"), why));
    }
    array.into_dimensionality::<Ix1>().map_err(|e| Error::invalid_because(name, "must have the shape [C]", e))
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("parameter {name}"), "is missing; was it trained with this recipe?")
}
