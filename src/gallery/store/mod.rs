//! Where galleries are kept: facts, classes and examples, every change one transaction.
//!
//! A store is a file of this folder and an entry of [`KINDS`]; nothing else in the crate names it. What
//! stores share, how embeddings are packed and checked, is in [`packing`].

mod packing;
mod sqlite;

pub(super) use packing::{PackedExample, Packing};

use super::{Example, Facts, KnownClass, State};
use crate::{Error, Result};
use serde::Serialize;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The stores of this build.
const KINDS: &[StoreKind] = &[sqlite::KIND];

/// Where a gallery is, as users name it: the path of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Location(PathBuf);

impl Location {
    /// What it is called, without the way to it.
    pub fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// What stands before `://`; none in the path of a file.
    fn scheme(&self) -> Option<&str> {
        let (scheme, _) = self.0.to_str()?.split_once("://")?;
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
        is_scheme.then_some(scheme)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl From<OsString> for Location {
    fn from(typed: OsString) -> Self {
        Self(typed.into())
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self(path.into())
    }
}

/// A kind of store: which locations are its own, and how its galleries are found, opened and made.
struct StoreKind {
    /// What stands before `://` in its locations; none for paths of files.
    scheme: Option<&'static str>,
    exists: fn(&Location) -> Result<bool>,
    open: fn(&Location) -> Result<Box<dyn Store>>,
    /// Opens a gallery, or makes one with these facts where there is none.
    create: fn(&Location, &Facts) -> Result<Box<dyn Store>>,
}

/// The open store of one gallery.
pub(super) trait Store: Send {
    /// A number that is another one whenever somebody else has changed the gallery.
    fn version(&self) -> Result<i64>;

    /// The facts.
    fn facts(&self) -> Result<Facts>;

    /// Changes the facts; `change` sees those that are kept now.
    fn change_facts(&mut self, change: &dyn Fn(&mut Facts)) -> Result<Facts>;

    /// What the examples are now: another state whenever one came or went.
    fn state(&self) -> Result<State>;

    /// Adds examples, all or none, and their classes; tells how many were added. One whose class,
    /// source and checksum are those of another is there already.
    fn add(&mut self, examples: &[PackedExample<'_>]) -> Result<u64>;

    /// Removes the classes of these labels, or only their examples from one source; tells how many
    /// examples went. No class stays without an example.
    fn remove(&mut self, labels: &[String], source: Option<&str>) -> Result<u64>;

    /// The classes, in the order of their first enrolment.
    fn classes(&self) -> Result<Vec<KnownClass>>;

    /// All embeddings, in the order of enrolment, and all labels, of one and the same state.
    ///
    /// # Errors
    /// Where an embedding is not what was written.
    fn embeddings(&self, packing: Packing) -> Result<Embeddings>;

    /// All examples, whole, in the order of enrolment.
    ///
    /// # Errors
    /// Where an embedding is not what was written.
    fn examples(&self, packing: Packing) -> Result<Vec<Example>>;
}

/// All embeddings of a store.
pub(super) struct Embeddings {
    /// `[N, D]`, row by row.
    pub numbers: Vec<f32>,
    /// Class id of each.
    pub classes: Vec<i64>,
    /// Ids and labels, by id: in the order of enrolment.
    pub labels: Vec<(i64, String)>,
}

/// Whether there is a gallery, or something else, at a location.
pub(super) fn exists(at: &Location) -> Result<bool> {
    (kind(at)?.exists)(at)
}

/// Opens an existing gallery.
pub(super) fn open(at: &Location) -> Result<Box<dyn Store>> {
    (kind(at)?.open)(at)
}

/// Opens a gallery, or makes one with these facts where there is none.
pub(super) fn create(at: &Location, facts: &Facts) -> Result<Box<dyn Store>> {
    (kind(at)?.create)(at, facts)
}

fn kind(at: &Location) -> Result<&'static StoreKind> {
    KINDS.iter().find(|kind| kind.scheme == at.scheme()).ok_or_else(|| {
        // An address may hold a password, so no more of it is told.
        let scheme = at.scheme().unwrap_or_default();
        let what = format!("this build of siamese keeps no galleries at addresses {scheme}://…");
        Error::missing(what, "name a file")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_location_is_a_file_unless_it_is_an_address() {
        for path in ["g", "a/b.gallery", "C:\\g", "./a://b", "://g"] {
            assert_eq!(Location::from(Path::new(path)).scheme(), None, "{path}");
        }
        let address = Location::from(Path::new("postgres://me:secret@host/known"));
        assert_eq!((address.scheme(), address.name().as_str()), (Some("postgres"), "known"));
        let error = open(&address).err().unwrap();
        assert_eq!(error.exit_code(), 3);
        let said = error.to_string();
        assert!(said.contains("postgres://") && !said.contains("secret"), "{said}");
    }
}
