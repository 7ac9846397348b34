//! Who made the pictures of class folders, and which of them are read.
//!
//! One-shot recognition asks whether a thing is known again from somebody else's picture of it, so the known
//! picture and the one that is asked should not be by the same hand (or camera, or shop). Omniglot tells its
//! drawers; of other pictures a file of makers does: a JSON object from the stem of a file's name to its maker,
//! `{"noto": "google", "noto-v1": "google", "twemoji": "twitter"}`.

use crate::{Error, Result, files};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// The longest file of makers that is read, bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Who made pictures, by the stem of their files' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Makers {
    /// The file, for messages.
    at: String,
    names: Vec<String>,
    by_stem: HashMap<String, u16>,
}

impl Makers {
    /// Reads a file of makers.
    ///
    /// # Errors
    /// A file that cannot be read, is not an object of texts, or names too many makers.
    pub fn read(path: &Path) -> Result<Self> {
        let at = path.display().to_string();
        let bytes = files::read(path, MAX_BYTES, "a file of makers")?;
        let told: HashMap<String, String> = serde_json::from_slice(&bytes).map_err(|e| {
            let why = "is no file of makers: a JSON object from the stem of a file's name to who made it";
            Error::invalid_because(&at, why, e)
        })?;
        let names: Vec<String> = told.values().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        if names.len() > usize::from(u16::MAX) {
            return Err(Error::invalid(
                at,
                format!("names {} makers; {} are the most", names.len(), u16::MAX),
            ));
        }
        let number = |name: &String| names.partition_point(|other| other < name) as u16;
        let by_stem = told.iter().map(|(stem, maker)| (stem.clone(), number(maker))).collect();
        Ok(Self { at, names, by_stem })
    }

    /// The makers' names, by their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of the maker of the picture in a file of this name.
    fn of(&self, file: &str) -> Result<u16> {
        self.by_stem.get(stem(file)).copied().ok_or_else(|| {
            let why = format!("does not tell who made {:?} (the stem of {file:?}); add it", stem(file));
            Error::invalid(&self.at, why)
        })
    }
}

/// Which pictures of class folders are read, and who made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Who made them; all are by one maker where nobody tells.
    pub makers: Option<Makers>,
    /// Stems of file names that are passed over.
    pub leave_out: Vec<String>,
    /// Of more pictures about so many are read, in runs that keep classes together; all where none is told.
    pub most: Option<usize>,
}

/// Pictures of a run, where not all are read.
const RUN: usize = 8;

impl Choice {
    /// All pictures, made by whom the file tells, if one is named.
    ///
    /// # Errors
    /// As [`Makers::read`].
    pub fn all_by(makers: Option<&Path>) -> Result<Self> {
        Ok(Self { makers: makers.map(Makers::read).transpose()?, ..Self::default() })
    }

    /// Keeps the pictures that are read; `file` tells the name of a picture's file.
    ///
    /// # Errors
    /// A stem to be left out that no file has; `at` names the data.
    pub(super) fn keep<T>(&self, at: &str, pictures: &mut Vec<T>, file: impl Fn(&T) -> &str) -> Result<()> {
        let unknown = |wanted: &&String| !pictures.iter().any(|picture| stem(file(picture)) == **wanted);
        if let Some(wanted) = self.leave_out.iter().find(unknown) {
            let why = format!("has no picture named {wanted:?} that could be left out");
            return Err(Error::invalid(at, why));
        }
        pictures.retain(|picture| !self.leave_out.iter().any(|wanted| wanted == stem(file(picture))));
        if pictures.is_empty() {
            return Err(Error::invalid(at, "has no picture that is not left out"));
        }
        if let Some(most) = self.most.filter(|most| pictures.len() > *most) {
            let (each, mut place) = (pictures.len().div_ceil(most.max(1)), 0);
            pictures.retain(|_| {
                place += 1;
                ((place - 1) / RUN).is_multiple_of(each)
            });
        }
        Ok(())
    }

    /// The number of the maker of the picture in a file of this name; 0 where nobody tells.
    pub(super) fn maker(&self, file: &str) -> Result<u16> {
        self.makers.as_ref().map_or(Ok(0), |makers| makers.of(file))
    }
}

/// A file's name without its last extension.
fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}
