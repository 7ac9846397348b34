//! What a tower is: the facts that travel inside its ONNX file as `siamese.*` metadata, the distance
//! that it was trained for, and the proof that an exact tower is exact.
//!
//! A file is read once, whole: [`TowerSpec::read`] checks that what the metadata say is what the graph
//! is, so that nothing after it has to ask again.

pub(crate) mod contract;
mod diagnosis;
mod distance;
mod metadata;
mod proof;
#[cfg(not(target_family = "wasm"))]
mod provenance;
#[cfg(not(target_family = "wasm"))]
mod shipped;
#[cfg(test)]
pub(crate) mod tests;
mod weights;

pub use diagnosis::{Finding, Trouble, collapsed, diagnose};
pub use distance::Distance;
pub use metadata::FORMAT;
pub use proof::{LayerBound, prove};
#[cfg(not(target_family = "wasm"))]
pub use provenance::{Accuracy, Provenance};
#[cfg(not(target_family = "wasm"))]
pub use shipped::{
    DEFAULT, DEFAULT_IN_COLOUR, SHIPPED, Shipped, at_hand, exact_sibling, exists, is_named, kept, read_bytes,
};
pub use weights::finite;

use crate::image::Preprocessing;
use crate::onnx::{ModelProto, other_than_onnx};
use crate::{Error, Result};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
#[cfg(not(target_family = "wasm"))]
use std::path::Path;

/// Name of every tower's input, `uint8 [N, C, S, S]`.
pub const INPUT: &str = "image";
/// Name of every tower's output, `float32 [N, D]`.
pub const OUTPUT: &str = "embedding";
/// The longest file that the ONNX format allows, bytes.
pub const MAX_BYTES: u64 = (1 << 31) - 1;

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
    /// The only batch that its graph takes, 1; none for a graph that takes any, as all but those of some foreign
    /// models do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// SHA-256 of the older tower whose galleries it may be asked about, which it was trained for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatible_with: Option<String>,
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

impl TowerKind {
    /// The name in metadata: `float`, `exact`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Exact => "exact",
        }
    }
}

impl TowerSpec {
    /// The first size of its input and output as a graph tells it; none where it is open.
    pub(crate) fn fixed_batch(&self) -> Option<i64> {
        self.batch.map(|n| n as i64)
    }

    /// Reads a tower file and checks it.
    ///
    /// # Errors
    /// A file that cannot be read, that is no ONNX model or is cut off, that lacks the `siamese.*`
    /// metadata, or whose metadata contradict its graph; weights that are not finite; an exact tower
    /// whose bounds do not hold.
    #[cfg(not(target_family = "wasm"))]
    pub fn read(path: impl AsRef<Path>) -> Result<(Self, ModelProto)> {
        let path = path.as_ref();
        Self::shared(&read_bytes(path)?.into(), &path.display().to_string())
    }

    /// As [`TowerSpec::read`], of a file's bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`TowerSpec::read`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<(Self, ModelProto)> {
        Self::shared(&Bytes::copy_from_slice(bytes), name)
    }

    /// The same without a copy: the model's weights stay where they are.
    pub(crate) fn shared(bytes: &Bytes, name: &str) -> Result<(Self, ModelProto)> {
        let (sha256, read) = hashed_beside(bytes, || {
            let model = decode_shared(bytes, name)?;
            Ok::<_, Error>((Self::of(&model).map_err(|e| e.at(name))?, model))
        });
        let (spec, model) = read?;
        Ok((Self { sha256, ..spec }, model))
    }

    /// The facts of a model in memory, checked; all but the SHA-256.
    fn of(model: &ModelProto) -> Result<Self> {
        let mut spec = metadata::read(model)?;
        spec.dim = contract::check(model, &spec)?;
        spec.distance.fits(spec.dim)?;
        let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
        weights::whole(graph)?;
        finite(graph)?;
        if spec.kind == TowerKind::Exact {
            let proven = prove(model)?;
            contract::same_bounds(&metadata::bounds(model)?, &proven)?;
        }
        Ok(spec)
    }

    /// Writes the facts into a model's metadata, all but the SHA-256 and D, which the file itself
    /// tells.
    ///
    /// # Errors
    /// A distance that does not fit D.
    pub fn write_metadata(&self, model: &mut ModelProto) -> Result<()> {
        self.distance.fits(self.dim)?;
        metadata::write(self, model)
    }
}

/// Decodes an ONNX file; `name` stands in messages.
///
/// # Errors
/// Bytes that are no ONNX model, or a model that is cut off.
pub fn decode(bytes: &[u8], name: &str) -> Result<ModelProto> {
    decode_shared(&Bytes::copy_from_slice(bytes), name)
}

/// The same, whose weights stay where they are.
fn decode_shared(bytes: &Bytes, name: &str) -> Result<ModelProto> {
    // Field 1 of a model, its IR version, is written first by every exporter.
    let looks_like_onnx = bytes.first() == Some(&0x08);
    let other = || if looks_like_onnx { None } else { other_than_onnx(bytes) };
    let model = ModelProto::decode(bytes.clone()).map_err(|e| {
        let why = if looks_like_onnx {
            format!(
                "is an ONNX model that is cut off or damaged ({} bytes); fetch or export it again",
                bytes.len()
            )
        } else {
            other().unwrap_or_else(|| "is not an ONNX model; fetch it again, or export it as ONNX".into())
        };
        Error::invalid_because(name, why, e)
    })?;
    if model.graph.as_ref().is_none_or(|g| g.node.is_empty() || g.output.is_empty()) {
        let unknown = "is not an ONNX model, or one that is cut off: it holds no graph with nodes and outputs; \
                       fetch or export it again";
        return Err(Error::invalid(name, other().unwrap_or_else(|| unknown.into())));
    }
    Ok(model)
}

/// The SHA-256 of a file, and what else is made of it meanwhile: of a big one the hash takes as long as the reading.
#[cfg(not(target_family = "wasm"))]
fn hashed_beside<T>(bytes: &[u8], other: impl FnOnce() -> T) -> (String, T) {
    /// Fewer bytes are hashed before a thread has begun.
    const MANY: usize = 1 << 20;
    std::thread::scope(|scope| {
        let hash = || std::thread::Builder::new().spawn_scoped(scope, || sha256(bytes)).ok();
        let hash = if bytes.len() < MANY { None } else { hash() };
        let made = other();
        let hash = hash.and_then(|thread| thread.join().ok());
        (hash.unwrap_or_else(|| sha256(bytes)), made)
    })
}

#[cfg(target_family = "wasm")]
fn hashed_beside<T>(bytes: &[u8], other: impl FnOnce() -> T) -> (String, T) {
    (sha256(bytes), other())
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
