//! The tower built into a graph: one function for training, inference and export.

use super::plan::{Kind, Part, Product, plan};
use super::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Recipe};
use crate::graph::{Channels, DType, Expr};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// What the tower is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout masks are graph inputs; batch normalisation uses the batch's statistics and gives
    /// the next running ones.
    Train,
    /// No dropout; batch normalisation uses the running statistics.
    Infer,
    /// No dropout; the parameters come from [`super::fold`], so there is no batch normalisation.
    Folded,
}

/// A dropout mask, an input of the training graph drawn on the host: 0 with probability
/// `1 − keep`, else `1 / keep`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskSpec {
    /// `mask.dropout1`.
    pub name: String,
    /// Shape, with the batch axis: `[N, C, H, W]` or `[N, D]`.
    pub shape: Vec<usize>,
    /// Probability that a value stays.
    pub keep: f32,
}

/// What the tower gives.
#[derive(Clone, Debug)]
pub struct Forward<'g> {
    /// `float32 [N, D]`.
    pub embedding: Expr<'g>,
    /// The result of each part, in the order of [`plan`]; none of an ONNX model.
    pub parts: Vec<Expr<'g>>,
    /// The masks that became graph inputs ([`Mode::Train`] only), in the order of the layers.
    pub masks: Vec<MaskSpec>,
    /// Statistics of the batch ([`Mode::Train`] only).
    pub stats: Vec<Statistic<'g>>,
}

/// A statistic of the batch, which moves a running one.
#[derive(Clone, Debug)]
pub struct Statistic<'g> {
    /// The running one: `bn1.mean`.
    pub name: String,
    /// Of this batch, `[C]`.
    pub batch: Expr<'g>,
    /// The share of the way that the running one goes towards it.
    pub share: f32,
}

impl<'g> Statistic<'g> {
    /// The running one after this step: `old + share·(batch − old)`.
    pub fn next(&self, old: Expr<'g>) -> Expr<'g> {
        old + (self.batch - old) * self.share
    }
}

/// Builds the tower: `image` is `uint8 [N, C, S, S]`; it is cast to float32 and multiplied by 1/255
/// inside. `values` holds the parameters by their name.
///
/// # Errors
/// Layers that do not fit, a parameter that is missing, or one of another shape.
pub fn forward<'g>(
    recipe: &Recipe,
    image: Expr<'g>,
    values: &BTreeMap<String, Expr<'g>>,
    mode: Mode,
) -> Result<Forward<'g>> {
    forward_with(recipe, image, values, mode, Channels::First)
}

/// The same with the axis of the channels chosen for all that lies between the image and the first
/// flat layer; the meaning of parameters and masks does not depend on it.
///
/// # Errors
/// Those of [`forward`].
pub fn forward_with<'g>(
    recipe: &Recipe,
    image: Expr<'g>,
    values: &BTreeMap<String, Expr<'g>>,
    mode: Mode,
    channels: Channels,
) -> Result<Forward<'g>> {
    if let Some((how, backbone)) = recipe.backbone()? {
        return backbone.forward(how, image, values, mode, channels);
    }
    let mut builder = Builder { image, values, mode, channels, masks: Vec::new(), stats: Vec::new() };
    let mut parts: Vec<Expr<'g>> = Vec::new();
    for part in plan(recipe)? {
        let inputs: Vec<Expr<'g>> = part.inputs.iter().map(|&place| parts[place]).collect();
        parts.push(image.graph().within(&part.layer, || builder.part(&part, &inputs))?);
    }
    image.graph().check()?;
    let embedding = parts.last().copied().unwrap_or(image);
    Ok(Forward { embedding, parts, masks: builder.masks, stats: builder.stats })
}

struct Builder<'a, 'g> {
    image: Expr<'g>,
    values: &'a BTreeMap<String, Expr<'g>>,
    mode: Mode,
    channels: Channels,
    masks: Vec<MaskSpec>,
    stats: Vec<Statistic<'g>>,
}

impl<'g> Builder<'_, 'g> {
    fn part(&mut self, part: &Part, inputs: &[Expr<'g>]) -> Result<Expr<'g>> {
        let x = inputs.first().copied().unwrap_or(self.image);
        Ok(match &part.kind {
            Kind::Image => self.ordered(x.cast(DType::F32) * (1.0 / 255.0)),
            Kind::Product(product) => self.product(&part.name, product, x)?,
            Kind::BatchNorm => self.batch_norm(&part.name, x)?,
            Kind::Relu => x.relu(),
            Kind::Sigmoid => x.sigmoid(),
            Kind::Relu6 => x.clip(0.0, 6.0),
            Kind::HardSwish => x * (x * (1.0 / 6.0) + 0.5).clip(0.0, 1.0),
            Kind::Silu => x * x.sigmoid(),
            Kind::Means => x.mean_kept(if self.is_last(x) { &[1, 2] } else { &[2, 3] }),
            Kind::Scale => x * inputs[1],
            &Kind::MaxPool(size) if self.is_last(x) => x.max_pool_last([size; 2]),
            &Kind::MaxPool(size) => x.max_pool([size; 2], [size; 2]),
            &Kind::AveragePool(size) if self.is_last(x) => x.average_pool_last([size; 2]),
            &Kind::AveragePool(size) => x.average_pool([size; 2], [size; 2]),
            Kind::GlobalAveragePool => x.mean(if self.is_last(x) { &[1, 2] } else { &[2, 3] }),
            // The order in which the weights of the layer behind expect the values.
            Kind::Flatten => self.channels_first(x, |x| x.flatten(1)),
            &Kind::Dropout(rate) => self.dropout(part, x, rate),
            Kind::Add => x + inputs[1],
            Kind::L2Norm => unit_length(x),
        })
    }

    /// The image `[N, C, H, W]` with its channels where the layers want them; with one channel that is
    /// no move.
    fn ordered(&self, image: Expr<'g>) -> Expr<'g> {
        match (self.channels, image.shape().as_slice()) {
            (Channels::Last, &[n, 1, h, w]) => image.reshape(&[n, h, w, 1]),
            (Channels::Last, [_, _, _, _]) => image.channels_last(),
            _ => image,
        }
    }

    /// Whether `x` is an image with channels last.
    fn is_last(&self, x: Expr<'g>) -> bool {
        self.channels == Channels::Last && x.rank() == 4
    }

    /// What `part` gives for an image, whose channels it wants first.
    fn channels_first(&self, x: Expr<'g>, part: impl FnOnce(Expr<'g>) -> Expr<'g>) -> Expr<'g> {
        if !self.is_last(x) {
            return part(x);
        }
        let y = part(x.channels_first());
        if y.rank() == 4 { y.channels_last() } else { y }
    }

    fn product(&self, name: &str, product: &Product, x: Expr<'g>) -> Result<Expr<'g>> {
        let weight = self.value(name, "weight")?;
        let biased = product.bias || self.mode == Mode::Folded;
        let bias = biased.then(|| self.value(name, "bias")).transpose()?;
        Ok(match product.conv {
            None => x.linear(weight, bias),
            Some(conv) if self.is_last(x) => x.conv_last(weight, bias, conv),
            Some(conv) => x.conv(weight, bias, conv),
        })
    }

    /// `γ·(x − mean)/√(var + ε) + β` over all axes but that of the channels.
    fn batch_norm(&mut self, name: &str, x: Expr<'g>) -> Result<Expr<'g>> {
        if self.mode == Mode::Folded {
            return Ok(x);
        }
        let [scale, shift, mean, var] = ["scale", "bias", "mean", "var"].map(|part| self.value(name, part));
        let (scale, shift, mean, var) = (scale?, shift?, mean?, var?);
        let (scale, shift) = (self.per_channel(scale, x), self.per_channel(shift, x));
        if self.mode == Mode::Infer {
            let (mean, var) = (self.per_channel(mean, x), self.per_channel(var, x));
            return Ok((x - mean).over_deviation(var, scale, shift, BATCH_NORM_EPSILON).0);
        }
        let normalised = x.batch_norm(scale, shift, BATCH_NORM_EPSILON, self.channels);
        self.stat(name, "mean", mean, normalised.mean, 1.0);
        // The running variance is the unbiased estimate, as everyone's implementation has it.
        let count = x.count() / mean.count();
        let unbiased = count as f32 / (count.max(2) - 1) as f32;
        self.stat(name, "var", var, normalised.var, unbiased);
        Ok(normalised.y)
    }

    /// Keeps `factor·batch`, `[C]`, for the running statistic `old`.
    fn stat(&mut self, layer: &str, part: &str, old: Expr<'g>, batch: Expr<'g>, factor: f32) {
        let batch = batch.reshape(&old.shape()).stop_gradient() * factor;
        let name = format!("{layer}.{part}");
        self.stats.push(Statistic { name, batch, share: BATCH_NORM_MOMENTUM });
    }

    /// The mask has the channels first whatever the graph does: what is drawn does not depend on it.
    fn dropout(&mut self, part: &Part, x: Expr<'g>, rate: f32) -> Expr<'g> {
        if self.mode != Mode::Train || rate == 0.0 {
            return x;
        }
        let shape = [&[x.dim(0)], part.output.as_slice()].concat();
        let spec = MaskSpec { name: format!("mask.{}", part.name), shape, keep: 1.0 - rate };
        let mask = x.graph().input(&spec.name, DType::F32, &spec.shape);
        self.masks.push(spec);
        x * if self.is_last(x) { mask.channels_last() } else { mask }
    }

    /// `[C]` so that it broadcasts over `x`: `[C, 1, 1]` for images with channels first.
    fn per_channel(&self, v: Expr<'g>, x: Expr<'g>) -> Expr<'g> {
        if x.rank() == 2 || self.is_last(x) { v } else { v.reshape(&[v.dim(0), 1, 1]) }
    }

    fn value(&self, layer: &str, part: &str) -> Result<Expr<'g>> {
        let name = format!("{layer}.{part}");
        self.values.get(&name).copied().ok_or_else(|| {
            Error::invalid(format!("parameter {name}"), "is missing; was it trained with this recipe?")
        })
    }
}

/// Added to the squared length before the root, so that the gradient at the origin is finite.
const LENGTH_EPSILON: f32 = 1e-12;

/// Divides each row of `[N, D]` by its Euclidean length.
pub(crate) fn unit_length(x: Expr<'_>) -> Expr<'_> {
    x / (x.squared().sum_kept(&[1]) + LENGTH_EPSILON).sqrt()
}
