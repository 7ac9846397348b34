//! Pictures and data sets → embeddings, streaming: decoding runs ahead on all cores while the
//! runtime embeds, and only a few batches are ever in memory.

mod inputs;
mod npy;
mod parquet;
mod sink;
mod tensors;
#[cfg(test)]
mod tests;

pub use inputs::{Input, Inputs, listed};
pub use sink::{Format, Sink, create};

use crate::image::{self, Preprocessing};
use crate::runtime::Embedder;
use crate::{Error, Result};
use ndarray::{Array2, Array3, Array4, ArrayView1, ArrayView3, ArrayView4, Axis, s};
use rayon::prelude::*;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Images that are decoded and embedded together.
pub const BATCH: usize = 64;
/// Batches that may wait for the runtime.
const AHEAD: usize = 2;

/// An embedded picture.
pub struct Embedded<'a> {
    /// Where it came from.
    pub input: &'a Input,
    /// Its ink, `[C, S, S]`.
    pub image: ArrayView3<'a, u8>,
    /// `[D]`, finite.
    pub embedding: ArrayView1<'a, f32>,
}

/// What became of one picture.
pub enum Outcome<'a> {
    /// It was embedded.
    Embedded(Embedded<'a>),
    /// It could not be read, or the tower gave no number.
    Broken(&'a Input, Error),
}

/// Embeds pictures in order; `each` is told every one, and its first error ends the work.
///
/// # Errors
/// Those of `inputs` (a folder that cannot be read, say), of the runtime, and of `each`.
pub fn pictures(
    inputs: impl Iterator<Item = Result<Input>> + Send,
    embedder: &mut dyn Embedder,
    mut each: impl FnMut(Outcome<'_>) -> Result<()>,
) -> Result<()> {
    let how = embedder.spec().preprocessing.clone();
    let (send, receive) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(|| decode(inputs, &how, send));
        for batch in receive {
            embed_batch(batch?, embedder, &mut each)?;
        }
        Ok(())
    })
}

type Decoded = Vec<(Input, Result<Array3<u8>>)>;

/// Decodes batch by batch on all cores, until all is sent or nobody listens any more.
fn decode(
    inputs: impl Iterator<Item = Result<Input>>,
    how: &Preprocessing,
    send: SyncSender<Result<Decoded>>,
) {
    let mut inputs = inputs.peekable();
    while inputs.peek().is_some() {
        let batch: Result<Vec<Input>> = inputs.by_ref().take(BATCH).collect();
        let read = |input: Input| {
            let image = image::load(&input.path, how);
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

fn embed_batch(
    batch: Decoded,
    embedder: &mut dyn Embedder,
    each: &mut impl FnMut(Outcome<'_>) -> Result<()>,
) -> Result<()> {
    let views: Vec<ArrayView3<'_, u8>> =
        batch.iter().filter_map(|(_, image)| image.as_ref().ok()).map(|image| image.view()).collect();
    let embeddings = match views.is_empty() {
        true => Array2::zeros((0, embedder.spec().dim)),
        false => embed(embedder, stack(&views)?.view())?,
    };
    let mut rows = embeddings.outer_iter();
    for (input, image) in batch {
        let image = match image {
            Ok(image) => image,
            Err(error) => {
                each(Outcome::Broken(&input, error))?;
                continue;
            }
        };
        each(match rows.next() {
            Some(embedding) if embedding.iter().all(|x| x.is_finite()) => {
                Outcome::Embedded(Embedded { input: &input, image: image.view(), embedding })
            }
            _ => Outcome::Broken(&input, not_finite(&input.source())),
        })?;
    }
    Ok(())
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
