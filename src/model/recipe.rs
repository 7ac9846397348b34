//! `recipe.json`: everything that a training run is made of, except the data's bytes.
//!
//! Unknown keys are refused. Keys of values are in snake case (`clip_norm`, `warm_up`); the names of
//! choices (layers, losses, …) are in kebab case and externally tagged:
//! `{"conv": {"filters": 32, "kernel": 3}}`, `"relu"`, `{"dropout": 0.5}`.

pub use super::augment::Augment;
pub use super::backbone::{BatchNorm, OnnxTower};
pub use super::compatible::Compatible;
pub use super::distil::{Distil, Likeness};
pub use super::layers::{Activation, Layer, Padding};
pub use super::structure::Tower;
use crate::image::{Colour, Frame};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A training run: data, tower, loss, sampling, augmentation, optimiser, schedule, evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The folder's name under `onnx/`.
    pub name: String,
    /// One sentence for people.
    pub about: String,
    /// What it is trained on.
    pub data: Data,
    /// Side of the square input, pixels; an ONNX model tells its own.
    #[serde(default)]
    pub size: usize,
    /// What the square is laid around.
    #[serde(default, skip_serializing_if = "Frame::is_picture")]
    pub frame: Frame,
    /// Colours instead of ink: the tower takes `[N, 3, S, S]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<Colour>,
    /// The tower, from the image to the embedding.
    pub tower: Tower,
    /// Initialisation of weights (biases start at `bias_init`).
    #[serde(default)]
    pub init: Init,
    /// The first value of every bias.
    #[serde(default)]
    pub bias_init: f32,
    /// The loss.
    pub loss: Loss,
    /// An older tower whose galleries the new one's embeddings are to be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatible: Option<Compatible>,
    /// How batches are drawn.
    pub sampling: Sampling,
    /// Images of a micro-batch: a step is then the sum over micro-batches of this size, in an order that is fixed, so
    /// that any number of workers computes the same bits (`--workers`, `mpirun`). It divides the batch's images, and is
    /// even for pairs. Batch normalisation normalises each micro-batch by its own statistics, and the running ones move
    /// towards the mean of the micro-batches' means and (unbiased) variances, once a step. Dropout draws a mask for
    /// each. Losses that compare all images of a batch still do, by a second pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Random distortion of training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// The learning rate over the steps.
    #[serde(default)]
    pub schedule: Schedule,
    /// Global gradient-norm clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f32>,
    /// Decay of the exponential moving average of the weights, which is then what is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f32>,
    /// Within-class covariance normalisation of the embedding (Hatch, Kajarekar, Stolcke 2006), found after
    /// the last step and folded into the tower's last product. The value smooths it: this share of the mean
    /// variance is added to every variance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wccn: Option<f32>,
    /// L2 penalties `λ · Σ w²` added to the loss, for layers whose name begins with the prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub l2: Vec<LayerFactor>,
    /// Factors on the learning rate, for layers whose name begins with the prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lr_factors: Vec<LayerFactor>,
    /// Optimiser steps.
    pub steps: u64,
    /// Seed of initialisation and batches.
    #[serde(default)]
    pub seed: u64,
    /// Run (or folder of a recipe) whose layers of the same name and shape start this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<String>,
    /// Prefixes of the names of the layers that `init_from` starts; all that fit, where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_layers: Vec<String>,
    /// Periodic evaluation.
    pub evaluation: Evaluation,
}

/// A value for the layers whose name begins with `layers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerFactor {
    /// Prefix of layer names: `conv` means every convolution, `conv1` the first.
    pub layers: String,
    /// The penalty or factor.
    pub value: f32,
}

/// Training material.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Data {
    /// MNIST's 60,000 training images.
    Mnist,
    /// Omniglot's characters for training.
    Omniglot {
        /// By which split: which characters they are.
        #[serde(default, skip_serializing_if = "Split::is_lake")]
        split: Split,
        /// Alphabets kept out of training, for choosing.
        #[serde(default)]
        hold_out: Vec<String>,
        /// Built-in alphabets added as extra classes.
        #[serde(default)]
        glyph_alphabets: usize,
    },
    /// The built-in glyph generator.
    Glyphs {
        /// Alphabets made.
        alphabets: usize,
        /// Characters of each.
        characters: usize,
        /// Drawers of each character.
        drawers: usize,
        /// Seed of the generator.
        #[serde(default)]
        seed: u64,
    },
    /// Class folders, `DIR/<class>/*.png` or `DIR/<group>/<class>/*.png`, or a zip file of such.
    Folder {
        /// The folder or zip file: from where the program runs, or else in the data folder.
        path: PathBuf,
        /// A JSON file that tells who made each picture: from the stem of its file's name to the maker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        makers: Option<PathBuf>,
        /// Groups kept out of training, for choosing.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hold_out: Vec<String>,
        /// Stems of file names that are passed over everywhere.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leave_out: Vec<String>,
    },
}

/// Which of Omniglot's characters are for training, and which for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The published one (Lake et al. 2015): the 964 of `images_background`; those of `images_evaluation` are for tests.
    #[default]
    Lake,
    /// That of few-shot papers (Vinyals et al. 2016): 1,200, of both parts, and 423 of `images_evaluation` for tests. As
    /// Snell et al. 2017 do at the end, those that others validate by are trained on as well.
    Vinyals,
}

impl Split {
    fn is_lake(&self) -> bool {
        *self == Self::Lake
    }
}

impl Data {
    /// The alphabets or groups kept out of training.
    pub fn hold_out(&self) -> &[String] {
        match self {
            Self::Omniglot { hold_out, .. } | Self::Folder { hold_out, .. } => hold_out,
            Self::Mnist | Self::Glyphs { .. } => &[],
        }
    }
}

fn one() -> usize {
    1
}

/// Initialisation of weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Init {
    /// Normal with variance 2 / fan-in.
    #[default]
    He,
    /// Uniform in ±√(6 / (fan-in + fan-out)).
    Glorot,
    /// Normal cut at two standard deviations.
    TruncatedNormal {
        /// Standard deviation before cutting.
        std: f32,
    },
}

/// The loss; formulas in `step`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// Contrastive: `y·d² + (1−y)·max(0, m−d)²` (Hadsell, Chopra, LeCun 2006).
    Spring {
        /// m.
        margin: f32,
    },
    /// `y·d + (1−y)·max(0, m−d)²`.
    SpringLinear {
        /// m.
        margin: f32,
    },
    /// `σ(Σ αⱼ|o₁ⱼ − o₂ⱼ| + β)` with binary cross-entropy (Koch, Zemel, Salakhutdinov 2015). Of a batch of
    /// classes every two drawings are a pair, and similar and dissimilar ones weigh half each.
    Sigmoid,
    /// Softmax cross-entropy of a fully connected classifier on the embedding.
    Softmax,
    /// Cosine softmax over class proxies with an additive margin (Wang et al. 2018, CosFace);
    /// mask siblings (equal drawings under a turn) leave the denominator.
    Cosine {
        /// s, the factor on cosines.
        scale: f32,
        /// m, taken from the true class's cosine.
        margin: f32,
    },
    /// Softmax over the cosines to all other drawings of the batch (Khosla et al. 2020, "Supervised
    /// contrastive learning", equation 2): what one-shot recognition asks, a drawing against
    /// drawings. Mask siblings leave the denominator. Needs class sampling.
    Contrast {
        /// s, the factor on cosines; 1 over the paper's temperature.
        scale: f32,
    },
    /// Prototypical networks (Snell, Swersky, Zemel 2017): softmax over negative squared
    /// distances to class means. Needs episode sampling.
    Prototype,
    /// A larger tower's embeddings of the same pictures, without labels or beside a loss on them.
    Distil(Distil),
}

/// How batches are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sampling {
    /// Two independent batches zipped into pairs (the seed's MNIST way).
    ZippedPairs {
        /// Pairs.
        batch: usize,
    },
    /// `n_samples` similar pairs drawn from all, and as many dissimilar (the seed's Omniglot way).
    ListedPairs {
        /// Pairs in a batch.
        batch: usize,
        /// Similar pairs drawn.
        n_samples: usize,
    },
    /// Images drawn without replacement, epoch by epoch.
    Images {
        /// Images in a batch.
        batch: usize,
        /// Quarter turns as extra classes: 1 (none) or 4.
        #[serde(default = "one")]
        turns: usize,
        /// Mirror images as extra classes (doubles the classes).
        #[serde(default)]
        flips: bool,
    },
    /// P classes × K drawings.
    Classes {
        /// P.
        classes: usize,
        /// K.
        drawings: usize,
        /// Quarter turns as extra classes: 1 (none) or 4.
        #[serde(default = "one")]
        turns: usize,
        /// Mirror images as extra classes (doubles the classes).
        #[serde(default)]
        flips: bool,
        /// Share of batches whose classes come from one alphabet, 0–1.
        #[serde(default)]
        within: f32,
        /// Whether the drawings of a class are by different drawers or makers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        different_makers: bool,
    },
    /// N-way K-shot episodes with Q queries a class; image order: supports class by class, then
    /// queries class by class.
    Episodes {
        /// N.
        way: usize,
        /// K.
        shot: usize,
        /// Q.
        queries: usize,
        /// Quarter turns as extra classes: 1 (none) or 4.
        #[serde(default = "one")]
        turns: usize,
        /// Share of episodes from one alphabet, 0–1.
        #[serde(default)]
        within: f32,
    },
}

/// The optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimiser {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        lr: f32,
        /// Momentum, 0 for none.
        #[serde(default)]
        momentum: f32,
        /// Nesterov's form.
        #[serde(default)]
        nesterov: bool,
    },
    /// Kingma, Ba 2015.
    Adam {
        /// Learning rate.
        lr: f32,
    },
    /// Loshchilov, Hutter 2019: decoupled weight decay on weights (not biases, not normalisation).
    AdamW {
        /// Learning rate.
        lr: f32,
        /// λ.
        weight_decay: f32,
    },
}

/// The learning rate's factor over the steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// 1.
    #[default]
    Constant,
    /// `decay^(step / every)`, continuous.
    Exponential {
        /// Factor after `every` steps.
        decay: f32,
        /// Steps.
        every: u64,
    },
    /// Linear warm-up, then a half cosine to 0.
    Cosine {
        /// Steps of warm-up.
        #[serde(default)]
        warm_up: u64,
    },
    /// Smith 2018: up from `start` over `warm_up` of the steps, cosine down to `end`.
    OneCycle {
        /// Share of the steps spent rising, 0–1.
        warm_up: f32,
        /// First factor.
        start: f32,
        /// Last factor.
        end: f32,
    },
}

/// Periodic evaluation; a figure on held-out alphabets chooses the parameters that are exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The figure.
    pub protocol: EvalProtocol,
    /// Steps between evaluations.
    pub every: u64,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EvalProtocol {
    /// MNIST by nearest ground truth, L2: the first training image of each digit, and the last 5,000
    /// as queries. They are trained on, so the figure shows how training goes and chooses nothing.
    NearestTruth,
    /// 20-way one-shot on held-out alphabets (or, where none, on the training classes).
    OneShot {
        /// Episodes.
        episodes: usize,
    },
    /// Share of right classes of a softmax classifier on the last 5,000 training images.
    Accuracy,
}
