//! What a tower is: the facts that travel inside its ONNX file as `siamese.*` metadata.

use crate::image::Preprocessing;
use serde::{Deserialize, Serialize};

/// Facts about a tower, read from its file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TowerSpec {
    /// The recipe's name, or the file's for a foreign model.
    pub name: String,
    /// How its numbers are made.
    pub kind: TowerKind,
    /// From picture file to input `image: uint8 [N, C, S, S]`.
    pub preprocessing: Preprocessing,
    /// D of the output `embedding: float32 [N, D]`.
    pub dim: usize,
    /// The distance that it was trained for.
    pub distance: Distance,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
}

/// How a tower's numbers are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TowerKind {
    /// Floating point; runtimes agree to rounding.
    Float,
    /// Integers held in float32; runtimes agree to the bit.
    Exact,
}

/// Distance of two embeddings `[D]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distance {
    /// `Σ |aⱼ − bⱼ|`.
    L1,
    /// `√Σ (aⱼ − bⱼ)²`.
    L2,
    /// `1 − a·b / (‖a‖‖b‖)`.
    Cosine,
    /// `−Σ αⱼ|aⱼ − bⱼ|`, the learned similarity's argument with its sign turned (Koch 2015).
    WeightedL1 {
        /// α, `[D]`.
        alpha: Vec<f32>,
    },
}
