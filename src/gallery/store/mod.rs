//! Where galleries are kept: facts, classes and examples, every change one transaction.
//!
//! A store is a file of this folder and an entry of [`KINDS`]; nothing else in the crate names it. What
//! stores share, how embeddings are packed and checked, is in [`packing`].

mod location;
mod packing;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

pub use location::Location;
pub(super) use packing::{PackedExample, Packing};

use super::{Example, Facts, Indexed, KnownClass, State};
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// The stores of this build.
const KINDS: &[StoreKind] = &[
    sqlite::KIND,
    #[cfg(feature = "postgres")]
    postgres::KIND,
];

/// A kind of store: which locations are its own, and how its galleries are found, opened and made.
struct StoreKind {
    /// What may stand before `://` in its locations; nothing does in paths of files.
    schemes: &'static [&'static str],
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

    /// Adds examples of a tower, all or none, their classes and the pictures that they bring; tells how many were added.
    /// One whose class, source and checksum are those of another is there already, and gets its picture where it has
    /// none.
    ///
    /// # Errors
    /// Where the gallery has gone over to another tower.
    fn add(&mut self, tower_sha256: &str, examples: &[PackedExample<'_>]) -> Result<u64>;

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

    /// The examples of a class, or of all, without their embeddings, in the order of enrolment; at most so many.
    fn seen(&self, label: Option<&str>, most: usize) -> Result<Vec<Seen>>;

    /// A picture that is kept, by its id.
    ///
    /// # Errors
    /// Where it is not there, or not what was written.
    fn picture(&self, id: i64) -> Result<Vec<u8>>;

    /// Puts these examples in the place of all others, and these facts in the place of its own, in one step. Each
    /// keeps the picture of the one whose place it takes.
    ///
    /// # Errors
    /// Where the examples are no longer as they were.
    fn replace(&mut self, facts: &Facts, examples: &[PackedExample<'_>], before: State) -> Result<()>;

    /// Makes an index of the nearest examples, or takes it away.
    ///
    /// # Errors
    /// Where the store, or the distance, has none.
    fn set_index(&mut self, facts: &Facts, wanted: bool) -> Result<()> {
        let _ = (facts, wanted);
        Err(Error::invalid(
            self.location(),
            "is a file, which is read whole and searched exactly; it needs no index",
        ))
    }

    /// What finds nearest examples by that index.
    ///
    /// # Errors
    /// Where the store has none.
    fn nearest(&self, facts: &Facts, index: &Indexed) -> Result<Arc<dyn Nearest>> {
        let _ = (facts, index);
        Err(Error::invalid(self.location(), "has no index"))
    }

    /// What is told of changes by others as they happen; none where others tell nothing.
    fn watch(&self) -> Result<Option<Box<dyn Watch>>> {
        Ok(None)
    }

    /// Where it is, as it is shown.
    fn location(&self) -> &str;
}

/// An example without its embedding.
pub(super) struct Seen {
    /// Where it came from.
    pub source: String,
    /// When it was enrolled, seconds since 1970.
    pub added_unix_s: i64,
    /// The id of its picture, where that is kept.
    pub picture: Option<i64>,
}

/// Finds the examples that are nearest to a query, without reading all of them.
pub(super) trait Nearest: Send + Sync {
    /// The classes, as many as there were when this was made.
    fn classes(&self) -> usize;

    /// Examples that may be the nearest ones.
    ///
    /// # Errors
    /// Where an embedding is not what was written.
    fn candidates(&self, query: &[f32], width: Width) -> Result<Candidates>;
}

/// How far to look for candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// At so many examples, by the index.
    Examples(usize),
    /// At all examples, for the nearest of so many classes.
    Classes(usize),
}

/// What may be nearest to a query.
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "files have no index"))]
pub(super) struct Candidates {
    /// Of each class that was met the nearest example, and those that are as near but for rounding.
    pub rows: Vec<NearRow>,
    /// Whoever is nearer than this is among them, as far as the index knows.
    pub reach: f64,
}

/// An example that may be the nearest of its class.
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "files have no index"))]
pub(super) struct NearRow {
    /// Its id; ids grow in the order of enrolment.
    pub id: i64,
    /// The id of its class.
    pub class: i64,
    /// The label of its class.
    pub label: String,
    /// Its embedding `[D]`.
    pub embedding: Vec<f32>,
}

/// Waits for changes.
pub(super) trait Watch: Send {
    /// Waits for a change, at most for so long; tells whether there may have been one.
    fn wait(&mut self, most: Duration) -> Result<bool>;
}

/// By how much, of the distance and beside it, a sum of D terms in float32 may differ from the true one: twice the
/// rounding of two such sums in any order (Higham 2002, §3.1).
pub(super) fn rounding(dim: usize) -> f64 {
    4.0 * (dim as f64 + 8.0) * f64::from(f32::EPSILON) / 2.0
}

/// That the examples are as they were.
fn check_state(at: &str, now: State, before: State) -> Result<()> {
    let why = "has been changed by another process meanwhile; nothing was changed here, try again";
    if now == before { Ok(()) } else { Err(Error::invalid(at, why)) }
}

/// That a gallery has still this tower.
fn check_tower(at: &str, facts: &Facts, tower_sha256: &str) -> Result<()> {
    if facts.tower_sha256 == tower_sha256 {
        return Ok(());
    }
    let why = format!(
        "has gone over to the tower {} (SHA-256 {}) meanwhile; embeddings of {tower_sha256} cannot be added",
        facts.tower, facts.tower_sha256
    );
    Err(Error::invalid(at, why))
}

/// That an example's embedding is not what was written.
fn damaged(at: &str, place: usize) -> Error {
    let why = format!("example {place} is damaged (its checksum differs); restore the gallery from a copy");
    Error::invalid(at, why)
}

/// That a kept picture is not what was written, or gone.
fn damaged_picture(at: &str, id: i64) -> Error {
    let why = format!(
        "the kept picture {id} is damaged (its SHA-256 differs) or gone; restore the gallery from a copy"
    );
    Error::invalid(at, why)
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
    let its_own = |kind: &&StoreKind| match at.scheme() {
        Some(scheme) => kind.schemes.contains(&scheme),
        None => kind.schemes.is_empty(),
    };
    KINDS.iter().find(its_own).ok_or_else(|| {
        // An address may hold a password, so no more of it is told.
        let scheme = at.scheme().unwrap_or_default();
        let what = format!("this build of siamese keeps no galleries at addresses {scheme}://…");
        let known: Vec<&str> = KINDS.iter().flat_map(|kind| kind.schemes).copied().collect();
        let other = if known.is_empty() {
            "a build with --features postgres takes postgres://…".to_string()
        } else {
            format!("it takes {}://…", known.join("://… and "))
        };
        Error::missing(what, format!("name a file; {other}"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    #[test]
    fn an_address_that_this_build_does_not_know_is_told_without_its_password() {
        let error = open(&Location::from(Path::new("mysql://me:secret@host/known"))).err().unwrap();
        assert_eq!(error.exit_code(), 3);
        let said = error.to_string();
        assert!(said.contains("mysql://") && !said.contains("secret"), "{said}");
    }
}
