//! Pictures and data sets → a sink.

use super::{BATCH, Embedded, PictureFile, Sink, images, pictures};
use crate::data::Dataset;
use crate::runtime::Embedder;
use crate::{Error, Result};
use ndarray::s;

/// How many pictures there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub pictures: u64,
    /// Those that could not be used.
    pub broken: u64,
}

impl Tally {
    /// Counts pictures, and makes something of each that was embedded.
    pub(crate) fn take<T>(
        &mut self,
        pictures: Vec<(PictureFile, Result<Embedded>)>,
        mut make: impl FnMut(PictureFile, Embedded) -> T,
    ) -> Vec<Result<T>> {
        self.pictures += pictures.len() as u64;
        self.broken += pictures.iter().filter(|(_, embedded)| embedded.is_err()).count() as u64;
        pictures.into_iter().map(|(input, embedded)| Ok(make(input, embedded?))).collect()
    }

    /// The error that ends work some of whose pictures were broken.
    ///
    /// # Errors
    /// Where there was one.
    pub fn none_broken(self) -> Result<()> {
        let Self { pictures, broken } = self;
        if broken == 0 {
            return Ok(());
        }
        Err(Error::invalid(format!("{broken} of {pictures} pictures"), "could not be used (see above)"))
    }
}

/// Embeds pictures into a sink. `seen` is told each, with the error of one that cannot be used; where it
/// returns an error, that ends the work.
///
/// # Errors
/// As [`pictures`], and those of the sink.
pub fn write_pictures(
    inputs: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    sink: &mut dyn Sink,
    mut seen: impl FnMut(Option<Error>) -> Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    pictures(inputs, embedder, |input, embedding| {
        tally.pictures += 1;
        match embedding {
            Ok(embedding) => {
                sink.row(&input.source(), &input.label, embedding)?;
                seen(None)
            }
            Err(error) => {
                tally.broken += 1;
                seen(Some(error))
            }
        }
    })?;
    Ok(tally)
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
) -> Result<Tally> {
    for first in (0..set.len()).step_by(BATCH) {
        let last = (first + BATCH).min(set.len());
        let rows = images(set.images.slice(s![first..last, .., .., ..]), embedder, |_| ())?;
        for (i, row) in (first..last).zip(rows.outer_iter()) {
            sink.row(&set.sources[i], &set.classes[set.labels[i] as usize].name, row)?;
        }
        done(last);
    }
    Ok(Tally { pictures: set.len() as u64, broken: 0 })
}
