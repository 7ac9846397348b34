//! From a recipe's list of layers to the tower's parts: named, wired, with known shapes.

use super::recipe::{Padding, Recipe};
use crate::graph::ConvAttrs;
use crate::{Error, Result};
use std::collections::HashMap;

/// Most channels or units of a layer.
const MAX_WIDTH: usize = 1 << 20;

/// One computation of a tower, in its place among the others: what follows it finds its result there.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The layer that it is of: kind and number, counted from 1 for each kind (`conv1`, `block2`); empty for
    /// the image.
    pub layer: String,
    /// Its own name, with which those of its parameters begin: `conv1`, `block2.conv1`.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// The places of the parts whose results it takes.
    pub inputs: Vec<usize>,
    /// The shape of its result for one image: `[C, H, W]` or `[D]`.
    pub output: Vec<usize>,
}

/// What a part computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The image, its levels from 0 to 1. Always the first part.
    Image,
    /// A convolution or a matrix product.
    Product(Product),
    /// Normalisation of each channel; its input is a product.
    BatchNorm,
    /// `max(0, x)`.
    Relu,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `min(max(0, x), 6)`.
    Relu6,
    /// `x · min(max(0, x/6 + 1/2), 1)`.
    HardSwish,
    /// `x / (1 + e⁻ˣ)`.
    Silu,
    /// The mean over H and W: `[C, 1, 1]`.
    Means,
    /// The first result times the second, `[C, 1, 1]`.
    Scale,
    /// The greatest value of each square of this side.
    MaxPool(usize),
    /// The mean of each square of this side.
    AveragePool(usize),
    /// The mean over H and W.
    GlobalAveragePool,
    /// `[C, H, W]` → `[C·H·W]`.
    Flatten,
    /// Drops with this probability while training.
    Dropout(f32),
    /// The sum of two results.
    Add,
    /// Division by the Euclidean length.
    L2Norm,
}

/// A convolution or a matrix product.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Shape of the weight: `[F, C/groups, k, k]` or `[out, in]`.
    pub weight: Vec<usize>,
    /// How a convolution slides; none of a matrix product.
    pub conv: Option<ConvAttrs>,
    /// Whether it learns a bias of its own: not where a normalisation follows.
    pub bias: bool,
}

impl Part {
    /// The part as a product, if it is one.
    pub fn product(&self) -> Option<&Product> {
        match &self.kind {
            Kind::Product(product) => Some(product),
            _ => None,
        }
    }
}

/// The parts of the recipe's tower, from the image to the embedding.
///
/// # Errors
/// A layer that does not fit what comes before it; the message names both with their shapes. A tower that is an
/// ONNX model has no parts.
pub fn plan(recipe: &Recipe) -> Result<Vec<Part>> {
    if let Some(onnx) = recipe.tower.onnx() {
        let why = format!("is the model {}, which has no layers of ours", onnx.onnx.display());
        return Err(Error::invalid(format!("recipe {}, tower", recipe.name), why));
    }
    let layers = recipe.tower.layers();
    let mut counts = HashMap::new();
    let mut parts = Parts::new(recipe.image());
    let mut last = 0;
    for layer in layers {
        let count: &mut usize = counts.entry(layer.prefix()).or_default();
        *count += 1;
        parts.layer = format!("{}{count}", layer.prefix());
        last = layer.lay(&mut parts, last).map_err(|why| {
            let before = parts.list[last].layer.as_str();
            let (before, shape) = (if before.is_empty() { "the image" } else { before }, parts.shape(last));
            let at = format!("recipe {}, layer {}", recipe.name, parts.layer);
            Error::invalid(at, format!("{why}; {before} gives {shape:?}"))
        })?;
    }
    if layers.is_empty() {
        return Err(Error::invalid(format!("recipe {}, tower", recipe.name), "has no layers"));
    }
    let Part { layer, output, .. } = &parts.list[last];
    if output.len() != 1 {
        let why = format!(
            "the tower must end in an embedding [D], but its last layer gives {output:?}; add \"flatten\" and an fc"
        );
        return Err(Error::invalid(format!("recipe {}, layer {layer}", recipe.name), why));
    }
    Ok(parts.list)
}

/// Parts in the making, and the shape rule of each kind. `name` is a part's own within its layer, empty for
/// the only part of a layer; `x` the place of the part that it follows.
pub(super) struct Parts {
    list: Vec<Part>,
    /// The layer in the making.
    layer: String,
}

/// How a square window slides.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub kernel: usize,
    pub stride: usize,
    pub padding: Padding,
}

/// The place of a part, or what does not fit.
type Laid = Result<usize, String>;

impl Parts {
    fn new(image: [usize; 3]) -> Self {
        let output = image.to_vec();
        let image =
            Part { layer: String::new(), name: "image".into(), kind: Kind::Image, inputs: vec![], output };
        Self { list: vec![image], layer: String::new() }
    }

    /// The shape of a part's result.
    pub fn shape(&self, x: usize) -> &[usize] {
        &self.list[x].output
    }

    pub fn push(&mut self, name: &str, kind: Kind, inputs: &[usize], output: Vec<usize>) -> Laid {
        let layer = self.layer.clone();
        let name = if name.is_empty() { layer.clone() } else { format!("{layer}.{name}") };
        self.list.push(Part { layer, name, kind, inputs: inputs.to_vec(), output });
        Ok(self.list.len() - 1)
    }

    pub fn conv(&mut self, name: &str, x: usize, filters: usize, window: Window, groups: usize) -> Laid {
        let [channels, h, w] = self.image(x)?;
        width("filters", filters)?;
        at_least_one("groups", groups)?;
        if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(format!("{groups} groups do not divide {channels} channels and {filters} filters"));
        }
        let ([top, bottom], [left, right]) = (window.pads(h)?, window.pads(w)?);
        let output = vec![filters, window.output(h)?, window.output(w)?];
        let conv = ConvAttrs {
            strides: [window.stride; 2],
            pads: [top, left, bottom, right],
            groups,
            ..ConvAttrs::default()
        };
        let weight = vec![filters, channels / groups, window.kernel, window.kernel];
        self.push(name, Kind::Product(Product { weight, conv: Some(conv), bias: true }), &[x], output)
    }

    pub fn fc(&mut self, name: &str, x: usize, units: usize) -> Laid {
        width("units", units)?;
        let &[inputs] = self.shape(x) else {
            return Err("takes [D]: put \"flatten\" or \"global-average-pool\" before it".into());
        };
        let product = Product { weight: vec![units, inputs], conv: None, bias: true };
        self.push(name, Kind::Product(product), &[x], vec![units])
    }

    pub fn batch_norm(&mut self, name: &str, x: usize) -> Laid {
        let Kind::Product(product) = &mut self.list[x].kind else {
            return Err(
                "batch-norm must stand right after a conv or fc layer, so that it can be folded into it"
                    .into(),
            );
        };
        product.bias = false;
        self.map(name, Kind::BatchNorm, x)
    }

    /// A convolution `conv‹number›` and its normalisation `bn‹number›`.
    pub fn conv_norm(
        &mut self,
        number: &str,
        x: usize,
        filters: usize,
        window: Window,
        groups: usize,
    ) -> Laid {
        let y = self.conv(&format!("conv{number}"), x, filters, window, groups)?;
        self.batch_norm(&format!("bn{number}"), y)
    }

    /// What keeps the shape.
    pub fn map(&mut self, name: &str, kind: Kind, x: usize) -> Laid {
        self.push(name, kind, &[x], self.shape(x).to_vec())
    }

    pub fn dropout(&mut self, name: &str, x: usize, rate: f32) -> Laid {
        if !(0.0..1.0).contains(&rate) {
            return Err(format!("drops with probability {rate}, which must be from 0 to below 1"));
        }
        self.map(name, Kind::Dropout(rate), x)
    }

    pub fn pool(&mut self, name: &str, kind: Kind, x: usize, size: usize) -> Laid {
        let [channels, h, w] = self.image(x)?;
        let window = Window { kernel: size, stride: size, padding: Padding::Valid };
        self.push(name, kind, &[x], vec![channels, window.output(h)?, window.output(w)?])
    }

    pub fn global_average_pool(&mut self, name: &str, x: usize) -> Laid {
        let [channels, ..] = self.image(x)?;
        self.push(name, Kind::GlobalAveragePool, &[x], vec![channels])
    }

    pub fn flatten(&mut self, name: &str, x: usize) -> Laid {
        self.push(name, Kind::Flatten, &[x], vec![self.shape(x).iter().product()])
    }

    pub fn add(&mut self, name: &str, x: usize, y: usize) -> Laid {
        let shape = self.shape(x).to_vec();
        if shape != self.shape(y) {
            return Err(format!("adds {shape:?} and {:?}", self.shape(y)));
        }
        self.push(name, Kind::Add, &[x, y], shape)
    }

    pub fn l2_norm(&mut self, name: &str, x: usize) -> Laid {
        match self.shape(x) {
            [_] => self.map(name, Kind::L2Norm, x),
            _ => Err("takes [D]: put \"flatten\" before it".into()),
        }
    }

    pub fn image(&self, x: usize) -> Result<[usize; 3], String> {
        self.shape(x).try_into().map_err(|_| "takes [C, H, W]".to_string())
    }
}

impl Window {
    /// Zeros before and after an axis of this length.
    fn pads(self, side: usize) -> Result<[usize; 2], String> {
        let Self { kernel, stride, padding } = self;
        at_least_one("kernel or size", kernel)?;
        at_least_one("stride", stride)?;
        Ok(match padding {
            Padding::Valid => [0, 0],
            Padding::Half => [kernel / 2, kernel / 2],
            Padding::Same => {
                let total = ((side.div_ceil(stride) - 1) * stride + kernel).saturating_sub(side);
                [total / 2, total - total / 2]
            }
        })
    }

    /// The places that it takes along an axis of this length.
    fn output(self, side: usize) -> Result<usize, String> {
        let padded = side + self.pads(side)?.iter().sum::<usize>();
        match padded.checked_sub(self.kernel) {
            Some(way) => Ok(way / self.stride + 1),
            None => Err(format!("a window of {} does not fit a side of {padded}", self.kernel)),
        }
    }
}

/// Channels or units: a number that a machine can hold.
fn width(what: &str, n: usize) -> Result<(), String> {
    at_least_one(what, n)?;
    if n > MAX_WIDTH { Err(format!("{n} {what} are too many: {MAX_WIDTH} are the most")) } else { Ok(()) }
}

fn at_least_one(what: &str, n: usize) -> Result<(), String> {
    if n == 0 { Err(format!("{what} must be at least 1")) } else { Ok(()) }
}
