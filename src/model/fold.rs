//! What inference needs no layer of its own for, folded into the layer before it: batch normalisation, and
//! the normalisation of the embedding.

use super::params::check;
use super::plan::{Kind, plan};
use super::{BATCH_NORM_EPSILON, Params, Recipe, WCCN};
use crate::{Error, Result};
use ndarray::{Axis, Ix2};

/// Folds each batch normalisation into its convolution or product, for [`super::Mode::Folded`]:
/// `w' = w·γ/√(var + ε)`, `b' = β − mean·γ/√(var + ε)` with the running statistics. Where the recipe asks
/// for `wccn`, its matrix M goes into the last product: `w' = M·w`, `b' = M·b`.
///
/// The result holds a weight and a bias for every convolution and product, and nothing else of
/// the tower; parameters that are not the tower's (`head.*`) are passed through.
///
/// # Errors
/// A parameter that is missing, has another shape, or is not finite.
pub fn fold(recipe: &Recipe, params: &Params) -> Result<Params> {
    check(recipe, params)?;
    let plan = plan(recipe)?;
    let mut folded = params.clone();
    for norm in plan.iter().filter(|part| part.kind == Kind::BatchNorm) {
        fold_one(&mut folded, &plan[norm.inputs[0]].name, &norm.name)?;
    }
    if recipe.wccn.is_some()
        && let Some(last) = plan.iter().rfind(|part| part.product().is_some())
    {
        fold_wccn(&mut folded, &last.name)?;
    }
    Ok(folded)
}

fn fold_wccn(params: &mut Params, product: &str) -> Result<()> {
    let matrix = params.remove(WCCN).ok_or_else(|| missing(WCCN))?;
    for part in ["weight", "bias"] {
        let name = format!("{product}.{part}");
        let values = params.get_mut(&name).ok_or_else(|| missing(&name))?;
        let units = values.shape()[0];
        if matrix.shape() != [units, units] || matrix.iter().any(|x| !x.is_finite()) {
            let why = format!("must be [{units}, {units}] finite numbers; train again");
            return Err(Error::invalid(format!("parameter {WCCN}"), why));
        }
        let shape = values.raw_dim();
        let misfit = |e| Error::invalid_because(name.as_str(), "does not fill its shape", e);
        let rows = values.to_shape((units, values.len() / units)).map_err(misfit)?;
        let matrix = matrix.view().into_dimensionality::<Ix2>().map_err(misfit)?;
        let mapped = matrix.dot(&rows).into_shape_with_order(shape).map_err(misfit)?;
        *values = mapped;
    }
    Ok(())
}

fn fold_one(params: &mut Params, product: &str, norm: &str) -> Result<()> {
    let mut part = |part: &str| {
        let name = format!("{norm}.{part}");
        params.remove(&name).ok_or_else(|| missing(&name))
    };
    let (scale, shift, mean, var) = (part("scale")?, part("bias")?, part("mean")?, part("var")?);
    let factor = scale / var.mapv(|v| (v + BATCH_NORM_EPSILON).sqrt());
    let bias = shift - mean * &factor;
    let name = format!("{product}.weight");
    let weight = params.get_mut(&name).ok_or_else(|| missing(&name))?;
    for (mut row, f) in weight.axis_iter_mut(Axis(0)).zip(&factor) {
        row *= *f;
    }
    params.insert(format!("{product}.bias"), bias);
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("parameter {name}"), "is missing; was it trained with this recipe?")
}
