//! Pictures and data sets → a sink.

use super::{BATCH, PictureFile, Sink, images, pictures};
use crate::Result;
use crate::data::Dataset;
use crate::image::Triage;
use crate::runtime::Embedder;
use ndarray::s;

/// Embeds pictures into a sink: those that the triage keeps. `seen` is called after each.
///
/// # Errors
/// As [`pictures`], and those of the triage and of the sink.
pub fn write_pictures(
    inputs: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    triage: &Triage<'_>,
    sink: &mut dyn Sink,
    mut seen: impl FnMut(),
) -> Result<()> {
    pictures(inputs, embedder, |input, embedding| {
        if let Some(embedding) = triage.keep(embedding)? {
            sink.row(&input.source(), &input.label, embedding)?;
        }
        seen();
        Ok(())
    })
}

/// Embeds a data set into a sink, batch by batch; `done` is told how many images are written.
///
/// # Errors
/// As [`images`], and those of the sink.
pub fn write_set(
    set: &Dataset,
    embedder: &mut dyn Embedder,
    sink: &mut dyn Sink,
    mut done: impl FnMut(usize),
) -> Result<()> {
    for first in (0..set.len()).step_by(BATCH) {
        let last = (first + BATCH).min(set.len());
        let rows = images(set.images.slice(s![first..last, .., .., ..]), embedder, |_| ())?;
        for (i, row) in (first..last).zip(rows.outer_iter()) {
            sink.row(&set.sources[i], &set.classes[set.labels[i] as usize].name, row)?;
        }
        done(last);
    }
    Ok(())
}
