//! A tower with what it makes of the pictures.

use crate::data::Dataset;
use crate::export::Projection;
use crate::onnx::ModelProto;
use crate::runtime::{Embedder, Runner};
use crate::tower::{self, TowerKind, TowerSpec, exact_sibling};
use crate::{Result, embed};
use ndarray::Array2;
use std::path::Path;

/// A tower with what it makes of the pictures.
pub(super) struct Material {
    /// Its file's bytes.
    pub bytes: Vec<u8>,
    pub spec: TowerSpec,
    pub model: ModelProto,
    /// Embeddings `[N, D]`.
    pub embeddings: Array2<f32>,
    /// The same as a projection takes them.
    pub rows: Array2<f32>,
    /// The same of their numbers' roots, where none is below 0 and no exact tower stands beside this one.
    pub roots: Option<Array2<f32>>,
}

impl Material {
    /// Of a tower by name or file.
    ///
    /// # Errors
    /// As [`Material::made`].
    pub fn of(tower: &Path, runner: &Runner, data: &Dataset) -> Result<Self> {
        let alone = exact_sibling(tower).is_none();
        Self::made(tower::read_bytes(tower)?, &tower.display().to_string(), alone, runner, data)
    }

    /// Of a tower's bytes; whether it stands alone, without an exact one.
    ///
    /// # Errors
    /// A tower that cannot be read or run.
    pub fn made(bytes: Vec<u8>, name: &str, alone: bool, runner: &Runner, data: &Dataset) -> Result<Self> {
        let (spec, model) = TowerSpec::from_bytes(&bytes, name)?;
        let mut embedder: Box<dyn Embedder> = runner.load_bytes(&bytes, name)?;
        let embeddings = embed::images(data.images.view(), embedder.as_mut(), |_| ())?;
        let rows = Projection::seen(&spec, embeddings.view(), false);
        let rooted = spec.kind == TowerKind::Float && alone && embeddings.iter().all(|x| *x >= 0.0);
        let roots = rooted.then(|| Projection::seen(&spec, embeddings.view(), true));
        Ok(Self { bytes, spec, model, embeddings, rows, roots })
    }
}
