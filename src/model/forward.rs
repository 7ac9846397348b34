//! The tower built into a graph: one function for training, inference and export.

use super::plan::{Placed, pads, plan};
use super::recipe::{Layer, Padding, Recipe};
use super::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM};
use crate::graph::{Channels, ConvAttrs, DType, Graph, Value};
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
    /// Shape, with the batch axis.
    pub shape: Vec<usize>,
    /// Probability that a value stays.
    pub keep: f32,
}

/// What the tower gives.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `float32 [N, D]`.
    pub embedding: Value,
    /// The masks that became graph inputs ([`Mode::Train`] only), in the order of the layers.
    pub masks: Vec<MaskSpec>,
    /// `bn1.mean` → its value after this step ([`Mode::Train`] only).
    pub next_stats: Vec<(String, Value)>,
}

/// Builds the tower: `image` is `uint8 [N, 1, S, S]`; it is cast to float32 and multiplied by 1/255
/// inside. `values` holds the parameters by their name.
///
/// # Errors
/// Layers that do not fit, a parameter that is missing, or one of another shape.
pub fn forward(
    g: &mut Graph,
    recipe: &Recipe,
    image: Value,
    values: &BTreeMap<String, Value>,
    mode: Mode,
) -> Result<Forward> {
    forward_with(g, recipe, image, values, mode, Channels::First)
}

/// The same with the axis of the channels chosen for all that lies between the image and the first
/// flat layer; the meaning of the parameters does not depend on it.
///
/// # Errors
/// Those of [`forward`].
pub fn forward_with(
    g: &mut Graph,
    recipe: &Recipe,
    image: Value,
    values: &BTreeMap<String, Value>,
    mode: Mode,
    channels: Channels,
) -> Result<Forward> {
    let ink = g.cast(image, DType::F32)?;
    let level = g.scalar(1.0 / 255.0);
    let scaled = g.mul(ink, level)?;
    let mut builder = Builder { g, values, mode, channels, masks: Vec::new(), next_stats: Vec::new() };
    let mut x = builder.in_order(scaled)?;
    for p in plan(recipe)? {
        let outer = builder.g.scope(&p.name);
        let y = builder.layer(&p, x);
        builder.g.set_scope(outer);
        x = y?;
    }
    Ok(Forward { embedding: x, masks: builder.masks, next_stats: builder.next_stats })
}

struct Builder<'a> {
    g: &'a mut Graph,
    values: &'a BTreeMap<String, Value>,
    mode: Mode,
    channels: Channels,
    masks: Vec<MaskSpec>,
    next_stats: Vec<(String, Value)>,
}

impl Builder<'_> {
    /// The image `[N, 1, H, W]` with its channel where the layers want it; with one channel that is
    /// no move.
    fn in_order(&mut self, image: Value) -> Result<Value> {
        let &[n, c, h, w] = self.g.shape(image) else { return Ok(image) };
        match self.channels {
            Channels::First => Ok(image),
            Channels::Last => self.g.reshape(image, &[n, h, w, c]),
        }
    }

    /// Whether `x` is an image with channels last.
    fn is_last(&self, x: Value) -> bool {
        self.channels == Channels::Last && self.g.shape(x).len() == 4
    }

    /// What `layer` gives for an image, whose channels it wants first.
    fn channels_first(
        &mut self,
        x: Value,
        layer: impl FnOnce(&mut Graph, Value) -> Result<Value>,
    ) -> Result<Value> {
        if !self.is_last(x) {
            return layer(self.g, x);
        }
        let x = self.g.channels_first(x)?;
        let y = layer(self.g, x)?;
        if self.g.shape(y).len() == 4 { self.g.channels_last(y) } else { Ok(y) }
    }

    fn layer(&mut self, p: &Placed, x: Value) -> Result<Value> {
        let name = p.name.as_str();
        match p.layer {
            Layer::Conv { kernel, stride, padding, .. } => {
                let bias = p.bias || self.mode == Mode::Folded;
                self.conv(name, x, Window { kernel, stride, padding }, bias)
            }
            Layer::Relu => self.g.relu(x),
            Layer::Sigmoid => self.g.sigmoid(x),
            Layer::BatchNorm => self.batch_norm(name, x),
            Layer::MaxPool { size } => {
                self.channels_first(x, |g, x| g.max_pool(x, [size, size], [size, size]))
            }
            Layer::AveragePool { size } if self.is_last(x) => self.g.average_pool_last(x, [size, size]),
            Layer::AveragePool { size } => self.g.average_pool(x, [size, size], [size, size]),
            Layer::GlobalAveragePool if self.is_last(x) => self.g.reduce_mean(x, &[1, 2], false),
            Layer::GlobalAveragePool => self.g.reduce_mean(x, &[2, 3], false),
            Layer::Residual { stride, .. } => self.residual(p, x, stride),
            // The order in which the weights of the layer behind expect the values.
            Layer::Flatten => self.channels_first(x, |g, x| g.flatten(x, 1)),
            Layer::Fc { .. } => self.fc(name, x, p.bias || self.mode == Mode::Folded),
            Layer::Dropout(rate) => self.dropout(name, x, rate),
            Layer::L2Norm => unit_length(self.g, x),
        }
    }

    fn conv(&mut self, name: &str, x: Value, window: Window, bias: bool) -> Result<Value> {
        let weight = self.value(name, "weight")?;
        let bias = if bias { Some(self.value(name, "bias")?) } else { None };
        let axes = if self.is_last(x) { [1, 2] } else { [2, 3] };
        let [h, w] = axes.map(|axis| {
            let side = self.g.shape(x)[axis];
            pads(side, window.kernel, window.stride, window.padding)
        });
        let strides = [window.stride; 2];
        if self.is_last(x) {
            let pads = [h[0], w[0], h[1], w[1]];
            return self.g.conv_last(x, weight, bias, ConvAttrs { strides, pads, ..ConvAttrs::default() });
        }
        // Uneven padding is a node of its own: CUDA has no kernel for the gradient otherwise.
        if h[0] != h[1] || w[0] != w[1] {
            let padded = self.g.pad(x, &[0, 0, h[0], w[0], 0, 0, h[1], w[1]], 0.0)?;
            return self.g.conv(padded, weight, bias, ConvAttrs { strides, ..ConvAttrs::default() });
        }
        let pads = [h[0], w[0], h[1], w[1]];
        self.g.conv(x, weight, bias, ConvAttrs { strides, pads, ..ConvAttrs::default() })
    }

    fn fc(&mut self, name: &str, x: Value, bias: bool) -> Result<Value> {
        let weight = self.value(name, "weight")?;
        let bias = if bias { Some(self.value(name, "bias")?) } else { None };
        self.g.gemm(x, weight, bias, false, true)
    }

    fn residual(&mut self, p: &Placed, x: Value, stride: usize) -> Result<Value> {
        let window = |kernel, stride| Window { kernel, stride, padding: Padding::Half };
        let mut y = self.conv_norm(p, 1, x, window(3, stride))?;
        y = self.g.relu(y)?;
        y = self.conv_norm(p, 2, y, window(3, 1))?;
        let shortcut = if p.input == p.output { x } else { self.conv_norm(p, 3, x, window(1, stride))? };
        let sum = self.g.add(y, shortcut)?;
        self.g.relu(sum)
    }

    /// Convolution `i` of a block and its normalisation.
    fn conv_norm(&mut self, p: &Placed, i: usize, x: Value, window: Window) -> Result<Value> {
        let y = self.conv(&format!("{}.conv{i}", p.name), x, window, self.mode == Mode::Folded)?;
        self.batch_norm(&format!("{}.bn{i}", p.name), y)
    }

    /// `γ·(x − mean)/√(var + ε) + β` over all axes but that of the channels.
    fn batch_norm(&mut self, name: &str, x: Value) -> Result<Value> {
        if self.mode == Mode::Folded {
            return Ok(x);
        }
        let (scale, shift) = (self.value(name, "scale")?, self.value(name, "bias")?);
        let (mean, var) = (self.value(name, "mean")?, self.value(name, "var")?);
        let (scale, shift) = (self.per_channel(scale, x)?, self.per_channel(shift, x)?);
        if self.mode == Mode::Infer {
            let (mean, var) = (self.per_channel(mean, x)?, self.per_channel(var, x)?);
            let centred = self.g.sub(x, mean)?;
            return Ok(self.g.scale_centred(centred, var, scale, shift, BATCH_NORM_EPSILON)?.0);
        }
        let normalised = self.g.batch_norm(x, scale, shift, BATCH_NORM_EPSILON, self.channels)?;
        self.next_stat(name, "mean", mean, normalised.mean, 1.0)?;
        // The running variance is the unbiased estimate, as everyone's implementation has it.
        let counted = |shape: &[usize]| shape.iter().product::<usize>();
        let count = counted(self.g.shape(x)) / counted(self.g.shape(mean));
        let unbiased = count as f32 / (count.max(2) - 1) as f32;
        self.next_stat(name, "var", var, normalised.var, unbiased)?;
        Ok(normalised.y)
    }

    /// `old + momentum·(factor·batch − old)`, `[C]`.
    fn next_stat(&mut self, layer: &str, part: &str, old: Value, batch: Value, factor: f32) -> Result<()> {
        let channels = self.g.shape(old).to_vec();
        let flat = self.g.reshape(batch, &channels)?;
        let flat = self.g.stop_gradient(flat)?;
        let momentum = self.g.scalar(BATCH_NORM_MOMENTUM);
        let factor = self.g.scalar(factor);
        let new = self.g.mul(flat, factor)?;
        let change = self.g.sub(new, old)?;
        let step = self.g.mul(change, momentum)?;
        let next = self.g.add(old, step)?;
        self.next_stats.push((format!("{layer}.{part}"), next));
        Ok(())
    }

    fn dropout(&mut self, name: &str, x: Value, rate: f32) -> Result<Value> {
        if self.mode != Mode::Train || rate == 0.0 {
            return Ok(x);
        }
        let shape = self.g.shape(x).to_vec();
        let spec = MaskSpec { name: format!("mask.{name}"), shape, keep: 1.0 - rate };
        let mask = self.g.input(&spec.name, DType::F32, &spec.shape);
        self.masks.push(spec);
        self.g.mul(x, mask)
    }

    /// `[C]` so that it broadcasts over `x`: `[C, 1, 1]` for images with channels first.
    fn per_channel(&mut self, v: Value, x: Value) -> Result<Value> {
        if self.g.shape(x).len() == 2 || self.is_last(x) {
            return Ok(v);
        }
        let channels = self.g.shape(v)[0];
        self.g.reshape(v, &[channels, 1, 1])
    }

    fn value(&self, layer: &str, part: &str) -> Result<Value> {
        let name = format!("{layer}.{part}");
        self.values.get(&name).copied().ok_or_else(|| {
            Error::invalid(format!("parameter {name}"), "is missing; was it trained with this recipe?")
        })
    }
}

#[derive(Clone, Copy)]
struct Window {
    kernel: usize,
    stride: usize,
    padding: Padding,
}

/// Added to the squared length before the root, so that the gradient at the origin is finite.
const LENGTH_EPSILON: f32 = 1e-12;

/// Divides each row of `[N, D]` by its Euclidean length.
pub(crate) fn unit_length(g: &mut Graph, x: Value) -> Result<Value> {
    let square = g.mul(x, x)?;
    let sum = g.reduce_sum(square, &[1], true)?;
    let epsilon = g.scalar(LENGTH_EPSILON);
    let shifted = g.add(sum, epsilon)?;
    let length = g.sqrt(shifted)?;
    g.div(x, length)
}
