//! From a recipe's list of layers to named layers with known shapes.

use super::recipe::{Layer, Padding, Recipe};
use crate::{Error, Result};
use std::collections::HashMap;

/// Most channels or units of a layer.
const MAX_WIDTH: usize = 1 << 20;

/// A layer in its place: named, with the shapes that go in and come out (without the batch axis:
/// `[C, H, W]` or `[D]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Kind and number, counted from 1 for each kind: `conv1`, `bn1`, `block2`, `fc1`, `dropout1`.
    pub name: String,
    /// What it does.
    pub layer: Layer,
    /// Shape that it takes.
    pub input: Vec<usize>,
    /// Shape that it gives.
    pub output: Vec<usize>,
    /// Whether it has a bias: convolutions and fully connected layers that no batch
    /// normalisation follows.
    pub bias: bool,
}

/// Names the layers of the recipe's tower and follows the shape of one image through them.
///
/// # Errors
/// A layer that does not fit what comes before it; the message names both with their shapes.
pub fn plan(recipe: &Recipe) -> Result<Vec<Placed>> {
    let mut counts = HashMap::new();
    let mut shape = vec![1, recipe.size, recipe.size];
    let mut placed: Vec<Placed> = Vec::with_capacity(recipe.tower.len());
    for (i, layer) in recipe.tower.iter().enumerate() {
        let kind = kind(layer);
        let count: &mut usize = counts.entry(kind).or_default();
        *count += 1;
        let name = format!("{kind}{count}");
        let before = placed.last().map_or("the image", |p| p.name.as_str());
        let output = output_shape(layer, &shape).map_err(|why| {
            Error::invalid(
                format!("recipe {}, layer {name}", recipe.name),
                format!("{why}; {before} gives {shape:?}"),
            )
        })?;
        let normalised = matches!(recipe.tower.get(i + 1), Some(Layer::BatchNorm));
        let bias = learns_product(layer) && !normalised;
        placed.push(Placed { name, layer: layer.clone(), input: shape, output: output.clone(), bias });
        shape = output;
    }
    check_ends(recipe, &placed)?;
    Ok(placed)
}

fn kind(layer: &Layer) -> &'static str {
    match layer {
        Layer::Conv { .. } => "conv",
        Layer::Relu => "relu",
        Layer::Sigmoid => "sigmoid",
        Layer::BatchNorm => "bn",
        Layer::MaxPool { .. } => "pool",
        Layer::AveragePool { .. } => "average",
        Layer::GlobalAveragePool => "mean",
        Layer::Residual { .. } => "block",
        Layer::Flatten => "flatten",
        Layer::Fc { .. } => "fc",
        Layer::Dropout(_) => "dropout",
        Layer::L2Norm => "norm",
    }
}

fn learns_product(layer: &Layer) -> bool {
    matches!(layer, Layer::Conv { .. } | Layer::Fc { .. })
}

fn check_ends(recipe: &Recipe, placed: &[Placed]) -> Result<()> {
    let at = |name: &str| format!("recipe {}, layer {name}", recipe.name);
    let Some(last) = placed.last() else {
        return Err(Error::invalid(format!("recipe {}, tower", recipe.name), "has no layers"));
    };
    if last.output.len() != 1 {
        let why = format!(
            "the tower must end in an embedding [D], but its last layer gives {:?}; add \"flatten\" and an fc",
            last.output
        );
        return Err(Error::invalid(at(&last.name), why));
    }
    for (i, p) in placed.iter().enumerate() {
        let after_product = i > 0 && learns_product(&placed[i - 1].layer);
        if p.layer == Layer::BatchNorm && !after_product {
            let why =
                "batch-norm must stand right after a conv or fc layer, so that it can be folded into it";
            return Err(Error::invalid(at(&p.name), why));
        }
    }
    Ok(())
}

/// The shape after the layer, or what does not fit.
fn output_shape(layer: &Layer, input: &[usize]) -> Result<Vec<usize>, String> {
    match *layer {
        Layer::Conv { filters, kernel, stride, padding } => {
            let [_, h, w] = image_shape(input)?;
            width("filters", filters)?;
            Ok(vec![filters, window(h, kernel, stride, padding)?, window(w, kernel, stride, padding)?])
        }
        Layer::Residual { filters, stride } => {
            let [_, h, w] = image_shape(input)?;
            width("filters", filters)?;
            Ok(vec![filters, window(h, 3, stride, Padding::Half)?, window(w, 3, stride, Padding::Half)?])
        }
        Layer::MaxPool { size } | Layer::AveragePool { size } => {
            let [c, h, w] = image_shape(input)?;
            Ok(vec![c, window(h, size, size, Padding::Valid)?, window(w, size, size, Padding::Valid)?])
        }
        Layer::GlobalAveragePool => image_shape(input).map(|[c, _, _]| vec![c]),
        Layer::Flatten => Ok(vec![input.iter().product()]),
        Layer::Fc { units } => {
            width("units", units)?;
            match input {
                [_] => Ok(vec![units]),
                _ => Err("takes [D]: put \"flatten\" or \"global-average-pool\" before it".into()),
            }
        }
        Layer::L2Norm => match input {
            [_] => Ok(input.to_vec()),
            _ => Err("takes [D]: put \"flatten\" before it".into()),
        },
        Layer::Dropout(rate) if !(0.0..1.0).contains(&rate) => {
            Err(format!("drops with probability {rate}, which must be from 0 to below 1"))
        }
        Layer::Relu | Layer::Sigmoid | Layer::BatchNorm | Layer::Dropout(_) => Ok(input.to_vec()),
    }
}

fn image_shape(input: &[usize]) -> Result<[usize; 3], String> {
    input.try_into().map_err(|_| "takes [C, H, W]".to_string())
}

/// Channels or units: a number that a machine can hold.
fn width(what: &str, n: usize) -> Result<(), String> {
    at_least_one(what, n)?;
    if n > MAX_WIDTH { Err(format!("{n} {what} are too many: {MAX_WIDTH} are the most")) } else { Ok(()) }
}

fn at_least_one(what: &str, n: usize) -> Result<(), String> {
    if n == 0 { Err(format!("{what} must be at least 1")) } else { Ok(()) }
}

/// Output side of a sliding window.
fn window(side: usize, kernel: usize, stride: usize, padding: Padding) -> Result<usize, String> {
    at_least_one("kernel or size", kernel)?;
    at_least_one("stride", stride)?;
    let pads = pads(side, kernel, stride, padding);
    let padded = side + pads[0] + pads[1];
    if kernel > padded {
        return Err(format!("a window of {kernel} does not fit a side of {padded}"));
    }
    Ok((padded - kernel) / stride + 1)
}

/// Zeros before and after one axis.
pub(crate) fn pads(side: usize, kernel: usize, stride: usize, padding: Padding) -> [usize; 2] {
    match padding {
        Padding::Valid => [0, 0],
        Padding::Half => [kernel / 2, kernel / 2],
        Padding::Same => {
            let out = side.div_ceil(stride);
            let total = ((out - 1) * stride + kernel).saturating_sub(side);
            [total / 2, total - total / 2]
        }
    }
}
