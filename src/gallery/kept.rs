//! Pictures that a gallery keeps: what was enrolled, as it was.

use super::Gallery;
use crate::{Error, Result};
use std::sync::Arc;

/// The longest picture file that a gallery keeps, bytes.
pub const MAX_PICTURE_BYTES: usize = 16 << 20;

/// A picture's file.
pub type Picture = Arc<[u8]>;

/// An example as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Where it came from.
    pub source: String,
    /// When it was enrolled, seconds since 1970.
    pub added_unix_s: i64,
    /// Its picture, where that was kept.
    pub picture: Option<Picture>,
}

impl Gallery {
    /// Keeps the pictures of what is enrolled from now on.
    ///
    /// # Errors
    /// A gallery that cannot be changed.
    pub fn keep_pictures(&mut self) -> Result<()> {
        if self.facts().keeps_pictures {
            return Ok(());
        }
        self.change_facts(&|facts| facts.keeps_pictures = true)
    }

    /// The first examples of a class, with their pictures.
    ///
    /// # Errors
    /// A picture that is not what was written.
    pub fn shown(&self, label: &str, most: usize) -> Result<Vec<Shown>> {
        let shown = |seen: super::store::Seen| {
            let picture = seen.picture.map(|id| self.picture(id)).transpose()?;
            Ok(Shown { source: seen.source, added_unix_s: seen.added_unix_s, picture })
        };
        self.store.seen(Some(label), most)?.into_iter().map(shown).collect()
    }

    /// Of each example, in the order of enrolment, the number of its picture, where that was kept.
    pub(super) fn kept(&self) -> Result<Vec<Option<i64>>> {
        Ok(self.store.seen(None, usize::MAX)?.into_iter().map(|seen| seen.picture).collect())
    }

    /// How many examples have a picture.
    ///
    /// # Errors
    /// A gallery that cannot be read.
    pub fn kept_pictures(&self) -> Result<u64> {
        Ok(self.kept()?.iter().flatten().count() as u64)
    }

    /// The picture of a number.
    pub(crate) fn picture(&self, number: i64) -> Result<Picture> {
        self.store.picture(number).map(Picture::from)
    }

    /// All pictures, each example's in its place.
    pub(super) fn pictures(&self) -> Result<Vec<Option<Picture>>> {
        self.kept()?.into_iter().map(|number| number.map(|n| self.picture(n)).transpose()).collect()
    }
}

/// That a picture is not too long to be kept.
///
/// # Errors
/// Where it is.
pub(super) fn check(picture: &[u8], source: &str) -> Result<()> {
    if picture.len() <= MAX_PICTURE_BYTES {
        return Ok(());
    }
    let mib = MAX_PICTURE_BYTES >> 20;
    let why = format!(
        "has {} bytes; the gallery keeps pictures of at most {mib} MiB each: make it smaller",
        picture.len()
    );
    Err(Error::invalid(source, why))
}
