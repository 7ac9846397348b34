//! Pictures and data sets → embeddings, streaming: decoding runs ahead on all cores while the
//! runtime embeds, and only a few batches are ever in memory.

mod format;
mod inputs;
mod lines;
mod npy;
mod parquet;
mod sink;
mod tensors;
#[cfg(test)]
mod tests;
mod within;
mod write;

pub use format::{Format, create};
pub use inputs::{Listed, PictureFile, PictureFiles};
pub use lines::{names, stream};
pub use sink::{Sink, Tee};
pub use within::{rounding_matrix, telling_matrix, within_class};
pub use write::{write_pictures, write_set};

use crate::image::Preprocessing;
use crate::runtime::Embedder;
use crate::{Error, Result};
use ndarray::{Array2, Array3, Array4, ArrayView1, ArrayView3, ArrayView4, Axis, s};
use rayon::prelude::*;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Images that are decoded and embedded together.
pub const BATCH: usize = 64;
/// Batches that may wait for the runtime.
const AHEAD: usize = 2;

/// Pictures that were embedded together.
pub struct EmbeddedBatch {
    /// Each in its order, or why it could not be used: it cannot be read, or the tower gives no number.
    pub pictures: Vec<(PictureFile, Result<Embedded>)>,
    /// `[M, D]`, finite: of those that could be used.
    pub embeddings: Array2<f32>,
}

/// A picture that was embedded.
pub struct Embedded {
    /// Its ink, `[C, S, S]`.
    pub ink: Array3<u8>,
    /// Its row of [`EmbeddedBatch::embeddings`].
    pub row: usize,
}

/// Embeds pictures in order; `each` is told every one, with its embedding `[D]` or why it has none. Its
/// first error ends the work.
///
/// # Errors
/// As [`batches`].
pub fn pictures(
    inputs: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    mut each: impl FnMut(&PictureFile, Result<ArrayView1<'_, f32>>) -> Result<()>,
) -> Result<()> {
    batches(inputs, embedder, |EmbeddedBatch { pictures, embeddings }| {
        let mut pictures = pictures.into_iter();
        pictures.try_for_each(|(input, embedded)| each(&input, embedded.map(|e| embeddings.row(e.row))))
    })
}

/// Embeds pictures batch by batch, in order; the first error of `each` ends the work.
///
/// # Errors
/// Those of `inputs` (a folder that cannot be read, say), of the runtime, and of `each`.
pub fn batches(
    inputs: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    mut each: impl FnMut(EmbeddedBatch) -> Result<()>,
) -> Result<()> {
    let how = embedder.spec().preprocessing.clone();
    let (send, receive) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(|| decode(inputs, &how, send));
        for batch in receive {
            each(embed_batch(batch?, embedder)?)?;
        }
        Ok(())
    })
}

type Decoded = Vec<(PictureFile, Result<Array3<u8>>)>;

/// Decodes batch by batch on all cores, until all is sent or nobody listens any more.
fn decode(
    inputs: impl Iterator<Item = Result<PictureFile>>,
    how: &Preprocessing,
    send: SyncSender<Result<Decoded>>,
) {
    let mut inputs = inputs.peekable();
    while inputs.peek().is_some() {
        let batch: Result<Vec<PictureFile>> = inputs.by_ref().take(BATCH).collect();
        let read = |input: PictureFile| {
            let image = input.decode(how);
            (input, image)
        };
        let decoded = batch.map(|batch| match batch.len() {
            // One picture needs no other thread.
            1 => batch.into_iter().map(read).collect(),
            _ => batch.into_par_iter().map(read).collect(),
        });
        let failed = decoded.is_err();
        if send.send(decoded).is_err() || failed {
            return;
        }
    }
}

fn embed_batch(batch: Decoded, embedder: &mut dyn Embedder) -> Result<EmbeddedBatch> {
    let views: Vec<ArrayView3<'_, u8>> =
        batch.iter().filter_map(|(_, image)| image.as_ref().ok()).map(|image| image.view()).collect();
    let embeddings = match views.is_empty() {
        true => Array2::zeros((0, embedder.spec().dim)),
        false => embed(embedder, stack(&views)?.view())?,
    };
    let (mut decoded, mut finite) = (0, Vec::new());
    let mut embedded = |input: &PictureFile, ink| {
        let place = decoded;
        decoded += 1;
        if embeddings.row(place).iter().any(|x| !x.is_finite()) {
            return Err(not_finite(&input.source()));
        }
        finite.push(place);
        Ok(Embedded { ink, row: finite.len() - 1 })
    };
    let pictures = batch
        .into_iter()
        .map(|(input, image)| {
            let picture = image.and_then(|ink| embedded(&input, ink));
            (input, picture)
        })
        .collect();
    let all = finite.len() == embeddings.nrows();
    Ok(EmbeddedBatch {
        pictures,
        embeddings: if all { embeddings } else { embeddings.select(Axis(0), &finite) },
    })
}

fn stack(images: &[ArrayView3<'_, u8>]) -> Result<Array4<u8>> {
    ndarray::stack(Axis(0), images)
        .map_err(|e| Error::invalid_because("the pictures", "cannot be put into one batch", e))
}

fn not_finite(at: &str) -> Error {
    Error::invalid(at, "the tower gives an embedding that is not a number; nothing can be near to that")
}

/// One call of the runtime, its answer's shape checked.
fn embed(embedder: &mut dyn Embedder, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
    let embeddings = embedder.embed(images)?;
    let (dim, count) = (embedder.spec().dim, images.shape()[0]);
    if embeddings.dim() == (count, dim) {
        return Ok(embeddings);
    }
    let why =
        format!("gives embeddings {:?} of {count} images; [{count}, {dim}] was promised", embeddings.shape());
    Err(Error::invalid(format!("the tower {}", embedder.spec().name), why))
}

/// Embeds images `[N, C, S, S]` batch by batch: `[N, D]`. `done` is told how many are ready.
///
/// # Errors
/// Those of the runtime, and where an embedding is not finite.
pub fn images(
    images: ArrayView4<'_, u8>,
    embedder: &mut dyn Embedder,
    mut done: impl FnMut(usize),
) -> Result<Array2<f32>> {
    let count = images.shape()[0];
    let mut all = Array2::zeros((count, embedder.spec().dim));
    for first in (0..count).step_by(BATCH) {
        let last = (first + BATCH).min(count);
        let part = embed(embedder, images.slice(s![first..last, .., .., ..]))?;
        if let Some(i) = part.outer_iter().position(|row| row.iter().any(|x| !x.is_finite())) {
            return Err(not_finite(&format!("image {}", first + i)));
        }
        all.slice_mut(s![first..last, ..]).assign(&part);
        done(last);
    }
    Ok(all)
}
