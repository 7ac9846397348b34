//! How a recipe names a model, and which of its weights learn.

use super::Backbone;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// A tower that is an ONNX model: `{"onnx": "MODEL.onnx", "freeze": ["conv1"], "batch_norm": "batch"}`.
///
/// The model's size, colours and preprocessing hold; a recipe need not repeat them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxTower {
    /// A tower made by `siamese import`, a shipped one's name, or a model that `import` takes without options:
    /// from where the program runs.
    pub onnx: PathBuf,
    /// SHA-256 of the tower, which it must have where a recipe tells it; a run's recipe does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Weights whose names begin so stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Only the last so many convolutions and products learn, and what follows the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_last: Option<usize>,
    /// What batch normalisation normalises by.
    #[serde(default, skip_serializing_if = "BatchNorm::is_frozen")]
    pub batch_norm: BatchNorm,
    /// The model, once it was read.
    #[serde(skip)]
    pub read: Read,
}

/// What batch normalisation normalises by while a model is trained; its scale and shift learn either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNorm {
    /// The statistics in the file, which stay.
    #[default]
    Frozen,
    /// Those of the batch; the running ones follow.
    Batch,
}

impl BatchNorm {
    fn is_frozen(&self) -> bool {
        *self == Self::Frozen
    }
}

/// What was read of the model. Two towers of the same settings are the same whether or not they were read: the
/// SHA-256 among the settings tells models apart.
#[derive(Clone, Debug, Default)]
pub struct Read(pub Option<Arc<Backbone>>);

impl PartialEq for Read {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl OnnxTower {
    /// The model of a file, all of which learns.
    pub fn new(onnx: impl Into<PathBuf>) -> Self {
        Self {
            onnx: onnx.into(),
            sha256: None,
            freeze: Vec::new(),
            train_last: None,
            batch_norm: BatchNorm::Frozen,
            read: Read(None),
        }
    }
}
