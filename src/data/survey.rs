//! What the pictures of class folders are like: sizes and colours, looked at without making images of them.

use super::archive::{Archive, Reader};
use super::{folder, zipped};
use crate::image::{self, Colour, MAX_FILE_BYTES, Preprocessing, Seen};
use crate::{Result, files};
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;

/// Pictures that are looked at to tell whether a set is one of colours.
const SAMPLE: usize = 100;

/// What pictures are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// Pictures looked at.
    pub pictures: usize,
    /// Those in colour.
    pub coloured: usize,
    /// The narrowest and the widest, pixels.
    pub width_px: [usize; 2],
    /// The lowest and the highest, pixels.
    pub height_px: [usize; 2],
}

impl Survey {
    /// Looks at all pictures of class folders, or of a zip file of such.
    ///
    /// # Errors
    /// As [`super::folder()`].
    pub fn of(path: &Path) -> Result<Self> {
        Self::of_some(path, usize::MAX)
    }

    /// Looks at some of them, evenly spread: enough to tell whether they are in colour.
    ///
    /// # Errors
    /// As [`super::folder()`].
    pub fn of_sample(path: &Path) -> Result<Self> {
        Self::of_some(path, SAMPLE)
    }

    /// How a set is best looked at: in colours where most of a sample of its pictures have some, else as `ink`.
    ///
    /// # Errors
    /// As [`super::folder()`].
    pub fn preprocessing(path: &Path, ink: Preprocessing) -> Result<Preprocessing> {
        let coloured = Self::of_sample(path)?.is_coloured();
        Ok(if coloured { ink.in_colour(Colour::default()) } else { ink })
    }

    /// Whether most pictures are in colour.
    pub fn is_coloured(&self) -> bool {
        2 * self.coloured > self.pictures
    }

    /// Looks at `most` pictures, evenly spread; those that cannot be read are told of by who reads them.
    fn of_some(path: &Path, most: usize) -> Result<Self> {
        let spread = |count: usize| {
            let some = count.min(most);
            (0..some).map(|i| (i as u128 * count as u128 / some as u128) as usize).collect::<Vec<_>>()
        };
        let seen = if zipped::is_zip(path) {
            let archive = Archive::of_pictures(path)?;
            let (pictures, first) = (zipped::pictures(&archive)?, archive.reader()?);
            let look = |(reader, bytes): &mut (Reader<'_>, Vec<u8>), i: usize| {
                let entry = pictures[i].entry;
                reader.read(entry, bytes)?;
                image::look(bytes, &archive.label(entry))
            };
            let each = spread(pictures.len()).into_par_iter();
            each.map_init(|| (first.split(), Vec::new()), look).filter_map(Result::ok).collect::<Vec<Seen>>()
        } else {
            let pictures = folder::pictures(path)?;
            let look = |i: usize| {
                let path = &pictures[i].path;
                let bytes = files::read(path, MAX_FILE_BYTES, "a picture")?;
                image::look(&bytes, &path.display().to_string())
            };
            spread(pictures.len()).into_par_iter().map(look).filter_map(Result::ok).collect::<Vec<Seen>>()
        };
        Ok(Self::summed(&seen))
    }

    fn summed(seen: &[Seen]) -> Self {
        let range = |side: fn(&Seen) -> usize| {
            let sides = || seen.iter().map(side);
            [sides().min().unwrap_or(0), sides().max().unwrap_or(0)]
        };
        Self {
            pictures: seen.len(),
            coloured: seen.iter().filter(|one| one.coloured).count(),
            width_px: range(|one| one.width_px),
            height_px: range(|one| one.height_px),
        }
    }
}
