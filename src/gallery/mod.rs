//! Galleries: what is known by example, kept in a store, and recognised again.
//!
//! A gallery belongs to one tower, whose SHA-256 it holds. Stores, search and thresholds see embeddings
//! only; [`enroll`], [`classify()`] and [`verify`] take pictures, and the tower that embeds them.

mod asking;
pub mod calibrate;
mod classify;
mod facts;
mod indexed;
mod kept;
mod migrate;
pub mod page;
mod pictures;
mod second_look;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod threshold;

pub use crate::recognise::{Answer, Candidate, Loaded, Rule, Shots};
pub use asking::Standing;
pub use classify::{Classifier, Known};
pub use facts::{AskedBy, Facts, Former};
pub use indexed::{Indexed, Narrower, Remote, USUAL_RECALL};
pub use kept::{MAX_PICTURE_BYTES, Picture, Shown};
pub use migrate::{Migration, calibrate_as, migrate};
pub use pictures::{
    Answered, Enrolling, Enrolment, Question, Verification, Verified, classify, enroll, enroll_set, verify,
};
#[cfg(feature = "serve")]
pub(crate) use second_look::{Again, Asked};
pub use second_look::{Compared, Looked};
pub use store::Location;
pub use threshold::{Calibrated, Limit, PairThreshold, State, recalibrate};

use crate::runtime::Embedder;
use crate::tower::{self, TowerSpec};
use crate::{Error, Result};
use ndarray::Array2;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use store::{Packing, Store};

/// The longest label, bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// A tower that was loaded, or why it could not be.
type Loading = Result<Box<dyn Embedder>>;

/// One known drawing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Its class.
    pub label: String,
    /// Its embedding `[D]`.
    #[serde(skip)]
    pub embedding: Vec<f32>,
    /// Where it came from.
    pub source: String,
    /// When it was enrolled, seconds since 1970; none means now.
    pub added_unix_s: Option<i64>,
}

/// One class of a gallery.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct KnownClass {
    /// Its label.
    pub label: String,
    /// The number of its examples.
    pub examples: u64,
    /// When the first of them was enrolled, seconds since 1970.
    pub first_added_unix_s: i64,
    /// When the last of them was enrolled, seconds since 1970.
    pub last_added_unix_s: i64,
}

/// What an enrolment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Enrolled {
    /// Examples that were added.
    pub added: u64,
    /// Examples that were there already, with the same label, source and embedding.
    pub present: u64,
}

/// An open gallery.
pub struct Gallery {
    store: Box<dyn Store>,
    facts: Facts,
    at: Location,
    version: i64,
}

/// Waits for changes of a gallery by others.
pub struct Watcher(Box<dyn store::Watch>);

impl Watcher {
    /// Waits for a change, at most for so long; tells whether there may have been one.
    ///
    /// # Errors
    /// What the store fails in for good; that it cannot be reached for a while is none.
    pub fn wait(&mut self, most: Duration) -> Result<bool> {
        self.0.wait(most)
    }
}

impl Gallery {
    /// Opens an existing gallery.
    ///
    /// # Errors
    /// Where there is none, or what is there is something else, damaged, or written only in part.
    pub fn open(at: &Location) -> Result<Self> {
        Self::of(store::open(at)?, at)
    }

    /// Opens a gallery where there is one.
    ///
    /// # Errors
    /// As [`Gallery::open`], but for where there is none.
    pub fn find(at: &Location) -> Result<Option<Self>> {
        if store::exists(at)? { Self::open(at).map(Some) } else { Ok(None) }
    }

    /// Opens the gallery of a tower, or makes it where there is none.
    ///
    /// # Errors
    /// As [`Gallery::open`], and where it belongs to another tower.
    pub fn create(at: &Location, tower: &TowerSpec, tower_path: &Path) -> Result<Self> {
        let facts = Facts::of(tower, tower_path);
        let gallery = Self::of(store::create(at, &facts)?, at)?;
        gallery.check(tower)?;
        Ok(gallery)
    }

    fn of(store: Box<dyn Store>, at: &Location) -> Result<Self> {
        let (version, facts) = (store.version()?, store.facts()?);
        Ok(Self { store, facts, at: at.clone(), version })
    }

    /// Reads the facts again where somebody else has changed the gallery; tells whether that is so.
    pub fn refresh(&mut self) -> Result<bool> {
        let version = self.store.version()?;
        let changed = version != self.version;
        if changed {
            self.facts = self.store.facts()?;
            self.version = version;
        }
        Ok(changed)
    }

    /// What it knows about itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.at
    }

    /// The tower's file: the one given, else that which the gallery was made with.
    ///
    /// # Errors
    /// Where that is no longer there.
    pub fn tower<'a>(&'a self, given: Option<&'a Path>) -> Result<&'a Path> {
        let made_with = &self.facts.tower_path;
        if given.is_none() && !tower::exists(made_with) {
            let why = format!(
                "was made with the tower {}, which is no longer there; name it with --tower (SHA-256 {})",
                made_with.display(),
                self.facts.tower_sha256
            );
            return Err(Error::invalid(&self.at, why));
        }
        Ok(given.unwrap_or(made_with))
    }

    /// Its tower by `load`: the file given, else the one that the gallery was made with.
    ///
    /// # Errors
    /// Where that file is no longer there; a tower that is not the gallery's; those of `load`.
    pub fn embedder(&self, given: Option<&Path>, load: impl FnOnce(&Path) -> Loading) -> Loading {
        let embedder = load(self.tower(given)?)?;
        self.check(embedder.spec())?;
        Ok(embedder)
    }

    /// Adds examples, all or none. Those that are there already are passed over.
    ///
    /// # Errors
    /// Where a label or an embedding cannot be kept.
    pub fn enroll(&mut self, examples: &[Example]) -> Result<Enrolled> {
        self.enroll_with(examples, &[])
    }

    /// As [`Gallery::enroll`], with the pictures of the first examples, which are kept; those of examples that are
    /// there without one too.
    ///
    /// # Errors
    /// As there, and a picture that is longer than [`MAX_PICTURE_BYTES`].
    pub fn enroll_with(&mut self, examples: &[Example], pictures: &[Option<Picture>]) -> Result<Enrolled> {
        let mut packed = packed(&self.facts, examples)?;
        for (packed, picture) in packed.iter_mut().zip(pictures) {
            packed.picture = picture.as_deref();
            picture.as_deref().map_or(Ok(()), |bytes| kept::check(bytes, packed.source))?;
        }
        let added = self.store.add(&self.facts.tower_sha256, &packed)?;
        Ok(Enrolled { added, present: examples.len() as u64 - added })
    }

    /// Removes classes, or only their examples from one source; tells how many examples went.
    ///
    /// # Errors
    /// Where a label is not there; nothing is removed then.
    pub fn remove(&mut self, labels: &[String], source: Option<&str>) -> Result<u64> {
        let known = self.store.classes()?;
        if let Some(unknown) = labels.iter().find(|label| !known.iter().any(|entry| entry.label == **label)) {
            let why = format!("has no class {unknown:?}; `siamese list` shows them");
            return Err(Error::invalid(&self.at, why));
        }
        self.store.remove(labels, source)
    }

    /// Adds the examples of another gallery of the same tower, with their times, and with the pictures that it kept
    /// where this one keeps pictures.
    ///
    /// # Errors
    /// Where it belongs to another tower.
    pub fn merge(&mut self, other: &Self) -> Result<Enrolled> {
        let (ours, theirs) = (&self.facts, &other.facts);
        if ours.tower_sha256 != theirs.tower_sha256 {
            let why = format!(
                "belongs to the tower {} (SHA-256 {}), but {} to {} (SHA-256 {})",
                theirs.tower, theirs.tower_sha256, self.at, ours.tower, ours.tower_sha256
            );
            return Err(Error::invalid(&other.at, why));
        }
        let pictures = if ours.keeps_pictures { other.pictures()? } else { Vec::new() };
        self.enroll_with(&other.examples()?, &pictures)
    }

    /// Its classes, in the order of their first enrolment.
    pub fn classes(&self) -> Result<Vec<KnownClass>> {
        self.store.classes()
    }

    /// All its examples, whole, in the order of enrolment.
    pub fn examples(&self) -> Result<Vec<Example>> {
        self.store.examples(self.packing())
    }

    /// All its embeddings.
    ///
    /// # Errors
    /// Where an embedding is not what was written.
    pub fn load(&self) -> Result<Loaded> {
        let store::Embeddings { numbers, classes, labels } = self.store.embeddings(self.packing())?;
        let damaged = || Error::invalid(&self.at, "is damaged: an example has no class");
        let place = |id: &i64| labels.binary_search_by_key(id, |l| l.0).map(|p| p as u32).ok();
        let classes = classes.iter().map(place).collect::<Option<Vec<u32>>>().ok_or_else(damaged)?;
        let embeddings = Array2::from_shape_vec((classes.len(), self.facts.dim), numbers)
            .map_err(|e| Error::invalid_because(&self.at, "is damaged", e))?;
        Ok(Loaded { labels: labels.into_iter().map(|l| l.1).collect(), embeddings, classes })
    }

    /// What there is to ask: its index, where it has one and each class is to be as near as its nearest example;
    /// else, or where the answers are to be exact, all its embeddings.
    ///
    /// # Errors
    /// As [`Gallery::load`].
    pub fn known(&self, shots: Shots, exact: bool) -> Result<Known> {
        match self.index_of(shots, exact) {
            Some(index) => Remote::of(self, index).map(Known::Indexed),
            None => self.load().map(Known::Whole),
        }
    }

    /// The index that is asked then.
    pub fn index_of(&self, shots: Shots, exact: bool) -> Option<&Indexed> {
        self.facts.indexed.as_ref().filter(|_| shots == Shots::Best && !exact)
    }

    /// What tells of changes by others as they happen; none where the store does not.
    pub fn watch(&self) -> Result<Option<Watcher>> {
        Ok(self.store.watch()?.map(Watcher))
    }

    /// Changes what it knows about itself.
    fn change_facts(&mut self, change: &dyn Fn(&mut Facts)) -> Result<()> {
        self.facts = self.store.change_facts(change)?;
        Ok(())
    }

    /// Puts examples and facts in the place of its own, unless these are no longer as they were.
    fn replace(&mut self, facts: Facts, examples: &[Example], before: State) -> Result<()> {
        self.store.replace(&facts, &packed(&facts, examples)?, before)?;
        self.facts = facts;
        Ok(())
    }

    /// What its examples are now.
    fn state(&self) -> Result<State> {
        self.store.state()
    }

    fn packing(&self) -> Packing {
        Packing::of(&self.facts)
    }
}

/// Examples as a gallery with these facts keeps them.
///
/// # Errors
/// A label, a source or an embedding that it cannot keep.
fn packed<'a>(facts: &Facts, examples: &'a [Example]) -> Result<Vec<store::PackedExample<'a>>> {
    let (packing, now, needs) = (Packing::of(facts), now(), facts.dim);
    let pack = |example: &'a Example| {
        check_label(&example.label)?;
        check_source(&example.source)?;
        let has = example.embedding.len();
        if has != needs {
            let why = format!("its embedding has {has} numbers; this gallery holds {needs}");
            return Err(Error::invalid(&example.source, why));
        }
        packing.pack(example, now)
    };
    examples.iter().map(pack).collect()
}

/// That a label can be kept and shown: not empty, on one line, of reasonable length.
///
/// # Errors
/// Where it cannot.
pub fn check_label(label: &str) -> Result<()> {
    let shown: String = label.chars().take(40).collect();
    let why = if label.trim().is_empty() {
        "a label cannot be empty".to_string()
    } else if label.len() > MAX_LABEL_BYTES {
        format!("is {} bytes long; a label has at most {MAX_LABEL_BYTES}", label.len())
    } else if let Some(c) = label.chars().find(|c| c.is_control()) {
        format!("holds the control character {c:?}; a label is one line of text")
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("label {shown:?}"), why))
}

/// That every store can keep what an example came from.
///
/// # Errors
/// Where it cannot.
pub fn check_source(source: &str) -> Result<()> {
    if source.contains('\0') {
        return Err(Error::invalid(format!("source {source:?}"), "holds a zero byte, which cannot be kept"));
    }
    Ok(())
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() as i64)
}
