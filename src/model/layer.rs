//! What each layer of a recipe is made of. A new layer is a variant of [`Layer`] and its rows here;
//! everything else (parameters, the graphs of training and of towers, folding, cost) follows from its parts.

use super::plan::{Kind, Parts, Window};
use super::recipe::{Layer, Padding};

impl Layer {
    /// How its name begins; a number follows.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
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
            Self::Conv { filters, kernel, stride, padding } => {
                parts.conv("", x, filters, Window { kernel, stride, padding })
            }
            Self::Relu => parts.map("", Kind::Relu, x),
            Self::Sigmoid => parts.map("", Kind::Sigmoid, x),
            Self::BatchNorm => parts.batch_norm("", x),
            Self::MaxPool { size } => parts.pool("", Kind::MaxPool(size), x, size),
            Self::AveragePool { size } => parts.pool("", Kind::AveragePool(size), x, size),
            Self::GlobalAveragePool => parts.global_average_pool("", x),
            Self::Residual { filters, stride } => {
                let half = |kernel, stride| Window { kernel, stride, padding: Padding::Half };
                let y = parts.conv_norm("1", x, filters, half(3, stride))?;
                let y = parts.map("relu1", Kind::Relu, y)?;
                let y = parts.conv_norm("2", y, filters, half(3, 1))?;
                let same = parts.shape(x) == parts.shape(y);
                let shortcut = if same { x } else { parts.conv_norm("3", x, filters, half(1, stride))? };
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
