//! EfficientNet-Lite (Google 2020): inverted residuals (Sandler et al. 2018) in the proportions of EfficientNet (Tan, Le
//! 2019), with ReLU6 and without squeeze-and-excitation. Weights have the names of its ports to PyTorch.

use super::Weights;
use crate::graph::{ConvAttrs, Expr, Tensor};
use crate::{Error, Result};

/// The proportions of one of them.
#[derive(Clone, Copy, Debug)]
pub struct EfficientNetLite {
    /// Channels of the first convolution, 3×3, stride 2.
    pub stem: usize,
    /// The inverted residuals.
    pub stages: &'static [Stage],
    /// Channels of the last convolution, 1×1: D of the embedding.
    pub head: usize,
}

/// Blocks of the same kind.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// How many.
    pub repeats: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the first block; the others have 1.
    pub stride: usize,
    /// Factor on the channels inside; at 1 the first convolution is left out.
    pub expand: usize,
    /// Channels behind each block.
    pub filters: usize,
}

/// Added to variances.
const EPSILON: f64 = 1e-3;
/// The classifier, which is left out.
const CLASSIFIER: [&str; 2] = ["_fc.weight", "_fc.bias"];

/// A convolution with its normalisation folded in, padded so that the output's side is ⌈side / stride⌉, of an odd total
/// more behind (TensorFlow's `SAME`).
struct Conv<'a> {
    conv: &'a str,
    norm: &'a str,
    filters: usize,
    kernel: usize,
    stride: usize,
    depthwise: bool,
}

impl Conv<'_> {
    fn build<'g>(&self, x: Expr<'g>, weights: &mut Weights) -> Result<Expr<'g>> {
        let channels = x.dim(1);
        let (inner, groups) = if self.depthwise { (1, channels) } else { (channels, 1) };
        let shape = [self.filters, inner, self.kernel, self.kernel];
        let (weight, bias) = weights.take_normalised(self.conv, self.norm, shape, EPSILON)?;
        let constant =
            |part, values| x.graph().initializer(&format!("{}.{part}", self.conv), Tensor::F32(values));
        let [top, bottom] = self.pads(x.dim(2));
        let [left, right] = self.pads(x.dim(3));
        let attrs = ConvAttrs {
            strides: [self.stride; 2],
            pads: [top, left, bottom, right],
            groups,
            ..ConvAttrs::default()
        };
        Ok(x.conv(constant("weight", weight), Some(constant("bias", bias)), attrs))
    }

    fn pads(&self, side: usize) -> [usize; 2] {
        let reached = (side.div_ceil(self.stride).max(1) - 1) * self.stride + self.kernel;
        let total = reached.saturating_sub(side);
        [total / 2, total - total / 2]
    }
}

fn relu6(x: Expr<'_>) -> Expr<'_> {
    x.clip(0.0, 6.0)
}

impl EfficientNetLite {
    /// From normalised pictures `[N, 3, S, S]` to the mean of the last map, `[N, D]`.
    ///
    /// # Errors
    /// Weights that are not its own.
    pub(super) fn features<'g>(&self, x: Expr<'g>, mut weights: Weights) -> Result<Expr<'g>> {
        let whole = |conv, norm, filters, kernel, stride| Conv {
            conv,
            norm,
            filters,
            kernel,
            stride,
            depthwise: false,
        };
        let g = x.graph();
        let mut x = g.within("stem", || {
            whole("_conv_stem", "_bn0", self.stem, 3, 2).build(x, &mut weights).map(relu6)
        })?;
        let mut number = 0;
        for stage in self.stages {
            for repeat in 0..stage.repeats {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                let name = format!("block{number}");
                x = g.within(&name, || stage.block(x, number, stride, &mut weights))?;
                number += 1;
            }
        }
        let x = g.within("head", || {
            let x = whole("_conv_head", "_bn1", self.head, 1, 1).build(x, &mut weights)?;
            Ok::<_, Error>(relu6(x).mean(&[2, 3]))
        })?;
        weights.finish(&CLASSIFIER)?;
        Ok(x)
    }
}

impl Stage {
    /// conv 1×1 – ReLU6 – depthwise – ReLU6 – conv 1×1, plus the input where the shape stays.
    fn block<'g>(
        &self,
        x: Expr<'g>,
        number: usize,
        stride: usize,
        weights: &mut Weights,
    ) -> Result<Expr<'g>> {
        let name = |part: &str| format!("_blocks.{number}.{part}");
        let wide = x.dim(1) * self.expand;
        let mut conv = |x: Expr<'g>, part: &str, norm: &str, filters, depthwise| {
            let (kernel, stride) = if depthwise { (self.kernel, stride) } else { (1, 1) };
            Conv { conv: &name(part), norm: &name(norm), filters, kernel, stride, depthwise }
                .build(x, weights)
        };
        let mut y = x;
        if self.expand != 1 {
            y = relu6(conv(y, "_expand_conv", "_bn0", wide, false)?);
        }
        y = relu6(conv(y, "_depthwise_conv", "_bn1", wide, true)?);
        y = conv(y, "_project_conv", "_bn2", self.filters, false)?;
        Ok(if y.shape() == x.shape() { y + x } else { y })
    }
}
