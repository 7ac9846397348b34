//! What each layer of a recipe is made of. A new layer is a variant of [`Layer`] and its rows here;
//! everything else (parameters, the graphs of training and of towers, folding, cost) follows from its parts.

use super::plan::{Kind, Parts, Window};
use super::recipe::{Activation, Layer, Padding};

impl Layer {
    /// How its name begins; a number follows.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::Depthwise { .. } => "depthwise",
            Self::Relu6 => "relu6_",
            Self::HardSwish => "hardswish",
            Self::Silu => "silu",
            Self::SqueezeExcite { .. } => "squeeze",
            Self::InvertedResidual { .. } => "inverted",
            Self::Relu => "relu",
            Self::Sigmoid => "sigmoid",
            Self::BatchNorm => "bn",
            Self::MaxPool { .. } => "pool",
            Self::AveragePool { .. } => "average",
            Self::GlobalAveragePool => "mean",
            Self::Residual { .. } => "block",
            Self::Flatten => "flatten",
            Self::Fc { .. } => "fc",
            Self::Dropout(_) => "dropout",
            Self::L2Norm => "norm",
        }
    }

    /// Lays its parts behind the part `x` and gives the place of the last, or tells what does not fit.
    pub(super) fn lay(&self, parts: &mut Parts, x: usize) -> Result<usize, String> {
        match *self {
            Self::Conv { filters, kernel, stride, padding, groups } => {
                parts.conv("", x, filters, Window { kernel, stride, padding }, groups)
            }
            Self::Depthwise { kernel, stride, padding } => {
                let channels = parts.shape(x)[0];
                parts.conv("", x, channels, Window { kernel, stride, padding }, channels)
            }
            Self::Relu6 => parts.map("", Kind::Relu6, x),
            Self::HardSwish => parts.map("", Kind::HardSwish, x),
            Self::Silu => parts.map("", Kind::Silu, x),
            Self::SqueezeExcite { units } => squeeze_excite(parts, x, units),
            Self::InvertedResidual { filters, kernel, stride, expand, activation, squeeze } => {
                let [channels, ..] = parts.image(x)?;
                let half = |kernel, stride| Window { kernel, stride, padding: Padding::Half };
                let wide = channels.saturating_mul(expand);
                let mut y = x;
                if expand != 1 {
                    y = parts.conv_norm("1", y, wide, half(1, 1), 1)?;
                    y = parts.map("act1", activation.kind(), y)?;
                }
                y = parts.conv_norm("2", y, wide, half(kernel, stride), wide)?;
                y = parts.map("act2", activation.kind(), y)?;
                if let Some(units) = squeeze {
                    y = squeeze_excite(parts, y, units)?;
                }
                y = parts.conv_norm("3", y, filters, half(1, 1), 1)?;
                if parts.shape(x) == parts.shape(y) { parts.add("add", y, x) } else { Ok(y) }
            }
            Self::Relu => parts.map("", Kind::Relu, x),
            Self::Sigmoid => parts.map("", Kind::Sigmoid, x),
            Self::BatchNorm => parts.batch_norm("", x),
            Self::MaxPool { size } => parts.pool("", Kind::MaxPool(size), x, size),
            Self::AveragePool { size } => parts.pool("", Kind::AveragePool(size), x, size),
            Self::GlobalAveragePool => parts.global_average_pool("", x),
            Self::Residual { filters, stride } => {
                let half = |kernel, stride| Window { kernel, stride, padding: Padding::Half };
                let y = parts.conv_norm("1", x, filters, half(3, stride), 1)?;
                let y = parts.map("relu1", Kind::Relu, y)?;
                let y = parts.conv_norm("2", y, filters, half(3, 1), 1)?;
                let same = parts.shape(x) == parts.shape(y);
                let shortcut = if same { x } else { parts.conv_norm("3", x, filters, half(1, stride), 1)? };
                let sum = parts.add("add", y, shortcut)?;
                parts.map("relu2", Kind::Relu, sum)
            }
            Self::Flatten => parts.flatten("", x),
            Self::Fc { units } => parts.fc("", x, units),
            Self::Dropout(rate) => parts.dropout("", x, rate),
            Self::L2Norm => parts.l2_norm("", x),
        }
    }
}

impl Activation {
    fn kind(self) -> Kind {
        match self {
            Self::Relu => Kind::Relu,
            Self::Relu6 => Kind::Relu6,
            Self::HardSwish => Kind::HardSwish,
            Self::Silu => Kind::Silu,
        }
    }
}

/// The products are convolutions of the one pixel that the means are.
fn squeeze_excite(parts: &mut Parts, x: usize, units: usize) -> Result<usize, String> {
    let [channels, ..] = parts.image(x)?;
    let one = Window { kernel: 1, stride: 1, padding: Padding::Valid };
    let y = parts.push("means", Kind::Means, &[x], vec![channels, 1, 1])?;
    let y = parts.conv("fc1", y, units, one, 1)?;
    let y = parts.map("relu", Kind::Relu, y)?;
    let y = parts.conv("fc2", y, channels, one, 1)?;
    let gate = parts.map("gate", Kind::Sigmoid, y)?;
    let shape = parts.shape(x).to_vec();
    parts.push("scale", Kind::Scale, &[x, gate], shape)
}
