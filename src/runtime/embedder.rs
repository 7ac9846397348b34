//! A tower that is loaded: images in, embeddings out.

use crate::tower::TowerSpec;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView4, Axis};

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

/// Refuses a batch that does not have the tower's shape; every embedder asks this first.
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
pub fn check_output(spec: &TowerSpec, images: usize, shape: &[usize]) -> Result<()> {
    if shape == [images, spec.dim] {
        return Ok(());
    }
    let why = format!("gave the shape {shape:?} for {images} images, not [{images}, {}]", spec.dim);
    Err(Error::invalid(format!("tower {}", spec.name), why))
}

/// The most images in one run of a runtime that spreads a batch over the cores itself: enough to fill them, and
/// memory stays small.
const MOST_IMAGES: usize = 64;

/// Embeds a batch of any size in parts; `run` appends the rows of each to those before it.
///
/// # Errors
/// Images that do not have the tower's shape; those of `run`.
pub fn in_parts(
    spec: &TowerSpec,
    images: ArrayView4<'_, u8>,
    mut run: impl FnMut(ArrayView4<'_, u8>, &mut Vec<f32>) -> Result<()>,
) -> Result<Array2<f32>> {
    check_images(spec, &images)?;
    let count = images.len_of(Axis(0));
    let mut rows = Vec::with_capacity(count * spec.dim);
    // A graph whose batch is fixed gets picture by picture.
    let most = spec.batch.unwrap_or(MOST_IMAGES);
    images.axis_chunks_iter(Axis(0), most).try_for_each(|part| run(part, &mut rows))?;
    Array2::from_shape_vec((count, spec.dim), rows)
        .map_err(|e| Error::invalid_because("embeddings", "do not fill their shape", e))
}
