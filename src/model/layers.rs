//! Layers as a recipe names them; `layer` tells their parts.

use serde::{Deserialize, Serialize};

/// One layer; `layer` tells its parts. Names are given by kind and order: `conv1`, `conv2`, `bn1`, `block1`, ….
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layer {
    /// 2-D convolution with bias (without, where a batch normalisation follows).
    Conv {
        /// Output channels.
        filters: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Stride of both axes.
        #[serde(default = "one")]
        stride: usize,
        /// Zero padding.
        #[serde(default)]
        padding: Padding,
        /// Groups of channels that are convolved apart; it must divide input and output channels.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
    },
    /// Convolution of each channel by itself, with bias (without, where a batch normalisation follows).
    Depthwise {
        /// Side of the square kernel.
        kernel: usize,
        /// Stride of both axes.
        #[serde(default = "one")]
        stride: usize,
        /// Zero padding.
        #[serde(default)]
        padding: Padding,
    },
    /// `min(max(0, x), 6)`.
    Relu6,
    /// `x · min(max(0, x/6 + 1/2), 1)` (Howard et al. 2019).
    HardSwish,
    /// `x · σ(x)` (Elfwing, Uchibe, Doya 2017), also called swish.
    Silu,
    /// Each channel times a factor in (0, 1) made of the means of all channels: fc – ReLU – fc – sigmoid (Hu et
    /// al. 2018).
    SqueezeExcite {
        /// Channels between the two products.
        units: usize,
    },
    /// conv 1×1 to `expand` times the channels – BN – activation – depthwise – BN – activation – conv 1×1 – BN,
    /// plus the input where the shape stays (Sandler et al. 2018); padded by half a kernel on every side.
    InvertedResidual {
        /// Output channels.
        filters: usize,
        /// Side of the depthwise kernel.
        #[serde(default = "three")]
        kernel: usize,
        /// Stride of the depthwise convolution.
        #[serde(default = "one")]
        stride: usize,
        /// Factor on the input's channels; at 1 the first convolution is left out.
        expand: usize,
        /// What follows the first two convolutions.
        #[serde(default)]
        activation: Activation,
        /// Channels between the products of a squeeze-and-excitation behind the depthwise convolution; none
        /// without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        squeeze: Option<usize>,
    },
    /// `max(0, x)`.
    Relu,
    /// `1 / (1 + e⁻ˣ)`; the last activation of Koch's tower.
    Sigmoid,
    /// Batch normalisation over N, H, W.
    BatchNorm,
    /// Max-pooling, no padding.
    MaxPool {
        /// Side of the window and stride.
        size: usize,
    },
    /// Average-pooling, no padding.
    AveragePool {
        /// Side of the window and stride.
        size: usize,
    },
    /// Mean over H and W: `[N, C, H, W]` → `[N, C]`.
    GlobalAveragePool,
    /// conv 3×3 – BN – ReLU – conv 3×3 – BN, plus the input (through conv 1×1 – BN where the shape
    /// changes), then ReLU; padded by one pixel on every side. He et al. 2015, figure 2.
    Residual {
        /// Output channels.
        filters: usize,
        /// Stride of the first convolution and of the shortcut.
        #[serde(default = "one")]
        stride: usize,
    },
    /// `[N, C, H, W]` → `[N, C·H·W]`.
    Flatten,
    /// Fully connected with bias; no activation.
    Fc {
        /// Outputs.
        units: usize,
    },
    /// Drops with this probability while training (mask as a graph input).
    Dropout(f32),
    /// Divides each row by its Euclidean norm.
    L2Norm,
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

/// The activation inside a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`.
    #[default]
    Relu6,
    /// `x · min(max(0, x/6 + 1/2), 1)`.
    HardSwish,
    /// `x · σ(x)`.
    Silu,
}

/// Zero padding of a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Output side = ⌈side / stride⌉; of an odd total, the greater half is after (as TensorFlow).
    #[default]
    Same,
    /// `kernel / 2` on every side (as PyTorch users write it): the output side is that of `Same`
    /// for odd kernels, with no extra padding node in strided layers.
    Half,
    /// None.
    Valid,
}
