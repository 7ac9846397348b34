//! Runs towers: one small trait, and an adapter for each runtime.
//!
//! Rooms above see [`Embedder`] and [`Runtime`] only; their tests use [`MockEmbedder`].

mod batch;
pub mod doctor;
mod mock;
#[cfg(feature = "ort")]
pub mod ort;
#[cfg(feature = "ort")]
pub mod provision;
pub mod support;
#[cfg(all(test, any(feature = "ort", feature = "tract")))]
mod tests;
#[cfg(feature = "tract")]
pub mod tract;

pub use mock::MockEmbedder;
#[cfg(feature = "ort")]
pub use ort::{Device, OptLevel, OrtOptions};
#[cfg(feature = "tract")]
pub use tract::TractOptions;

use crate::onnx::ModelProto;
use crate::tower::{self, TowerSpec};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView4};
use serde::Serialize;
use std::path::Path;

/// Maps images `uint8 [N, C, S, S]` to embeddings `float32 [N, D]`; row i depends on image i alone.
pub trait Embedder: Send {
    /// The tower's facts.
    fn spec(&self) -> &TowerSpec;

    /// The embeddings of a batch of any size, also of none.
    ///
    /// # Errors
    /// When the images do not have the tower's shape, or the runtime fails.
    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>>;
}

/// A runtime, with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Runtime {
    /// ONNX Runtime.
    #[cfg(feature = "ort")]
    Ort(OrtOptions),
    /// tract.
    #[cfg(feature = "tract")]
    Tract(TractOptions),
}

/// The name of a runtime, for arguments and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeName {
    /// ONNX Runtime.
    Ort,
    /// tract, pure Rust.
    Tract,
}

impl Runtime {
    /// Its name.
    pub fn name(&self) -> RuntimeName {
        match *self {
            #[cfg(feature = "ort")]
            Self::Ort(_) => RuntimeName::Ort,
            #[cfg(feature = "tract")]
            Self::Tract(_) => RuntimeName::Tract,
        }
    }

    /// Opens a tower file.
    ///
    /// # Errors
    /// As [`TowerSpec::read`]; and when the runtime is not there, or cannot run the tower: then all
    /// operators that it lacks are named at once.
    pub fn load(&self, path: &Path) -> Result<Box<dyn Embedder>> {
        self.load_bytes(&tower::read_bytes(path)?, &path.display().to_string())
    }

    /// As [`Runtime::load`], of a file's bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub fn load_bytes(&self, bytes: &[u8], name: &str) -> Result<Box<dyn Embedder>> {
        let (spec, model) = TowerSpec::from_bytes(bytes, name)?;
        self.open(spec, &model, bytes, name)
    }

    /// Opens a tower that was read already: `spec` and `model` from its `bytes`.
    ///
    /// # Errors
    /// As [`Runtime::load`], but for the reading.
    pub fn open(
        &self,
        spec: TowerSpec,
        model: &ModelProto,
        bytes: &[u8],
        name: &str,
    ) -> Result<Box<dyn Embedder>> {
        // Without a feature the arms below vanish.
        let _ = (&spec, bytes);
        support::check_outputs(model, name)?;
        match *self {
            #[cfg(feature = "ort")]
            Self::Ort(ref options) => {
                Ok(Box::new(ort::OrtEmbedder::open(options, spec, model, bytes, name)?))
            }
            #[cfg(feature = "tract")]
            Self::Tract(ref options) => {
                Ok(Box::new(tract::TractEmbedder::open(options, spec, model, bytes, name)?))
            }
        }
    }
}

/// Refuses a batch that does not have the tower's shape; every adapter asks this first.
///
/// # Errors
/// Naming both shapes.
pub fn check_images(spec: &TowerSpec, images: &ArrayView4<'_, u8>) -> Result<()> {
    let (channels, side) = (spec.preprocessing.channels(), spec.preprocessing.size());
    let (n, given) = (images.shape()[0], &images.shape()[1..]);
    if given == [channels, side, side] {
        return Ok(());
    }
    let why = format!(
        "have the shape [{n}, {}, {}, {}], but the tower takes [N, {channels}, {side}, {side}]",
        given[0], given[1], given[2]
    );
    Err(Error::invalid(format!("images for {}", spec.name), why))
}

/// Refuses an output that is not `[N, D]`.
///
/// # Errors
/// Naming both shapes.
#[cfg(any(feature = "ort", feature = "tract"))]
fn check_output(spec: &TowerSpec, images: usize, shape: &[usize]) -> Result<()> {
    if shape == [images, spec.dim] {
        return Ok(());
    }
    let why = format!("gave the shape {shape:?} for {images} images, not [{images}, {}]", spec.dim);
    Err(Error::invalid(format!("tower {}", spec.name), why))
}
