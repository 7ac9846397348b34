//! What needs runtimes about a file: the proof that a tower made of a foreign model does what the model did, and
//! the exact form of a float tower, with what it is worth ([`exact()`]).
//!
//! The model as it was given runs picture by picture, at its own batch, on the first runtime that can run it;
//! that is the truth. The tower runs on every runtime at hand, in batches of 1, 2 and 5, permuted and
//! repeated. Row *i* must be the truth of picture *i*, and depend on nothing else (`trial`). A tower that
//! no runtime gives right rows of is not written.

mod agreement;
mod exact;
mod pictures;
#[cfg(feature = "ort")]
pub mod published;
mod reference;
#[cfg(test)]
mod tests;
mod trial;

pub use agreement::{Agreement, OneShot};
pub use exact::{ExactTower, Exactly, FloatTower, exact};
pub use reference::Reference;
pub use trial::{Outcome, Trial};

use crate::export::{self, Batch, Foreign, ImportOptions};
use crate::runtime::{Runner, TRACT};
use crate::tower::TowerSpec;
use crate::{Error, Result};
use prost::Message;
use serde::Serialize;
use std::path::{Path, PathBuf};
use trial::{Candidate, batched, trial};

/// With what a tower is proven.
pub struct Proving<'a> {
    /// The runtimes of this build.
    pub runners: Vec<Runner>,
    /// Is told what is being done.
    pub progress: &'a dyn Fn(&str),
}

/// A tower made of a foreign model, in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    /// The file.
    pub file: PathBuf,
    /// The tower's facts.
    pub tower: TowerSpec,
    /// What the user should know of it.
    pub notes: Vec<String>,
    /// How it was proven; none where that was not wanted.
    pub proof: Option<Proof>,
}

/// That a tower does what the model did.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The runtime that ran the model as it was given.
    pub reference: String,
    /// How many pictures there were.
    pub pictures: usize,
    /// The greatest number of their embeddings.
    pub scale: f64,
    /// How far the embeddings of the two most different pictures are apart in a number, relative to the scale.
    pub spread: f64,
    /// What each runtime of this build does with the tower.
    pub runtimes: Vec<Trial>,
}

impl Proof {
    /// The names of the runtimes that give the right rows.
    pub fn proven(&self) -> Vec<String> {
        let right = self.runtimes.iter().filter(|trial| trial.outcome == Outcome::Right);
        right.map(|trial| trial.runtime.clone()).collect()
    }

    /// The largest difference from the model on those, relative to the embeddings' scale.
    pub fn difference(&self) -> f64 {
        let right = self.runtimes.iter().filter(|trial| trial.outcome == Outcome::Right);
        right.filter_map(|trial| trial.difference).fold(0.0, f64::max)
    }
}

/// Reads a foreign model, proves the tower made of it, and writes it.
///
/// # Errors
/// As [`Foreign::read`]; a model that no runtime runs, or a tower of which no runtime gives the right rows:
/// with the reason of each; the same file for both; a file that cannot be written.
pub fn adopt(path: &Path, out: &Path, options: &ImportOptions, how: &Proving<'_>) -> Result<Adopted> {
    let at = |e: Error| e.at(&path.display().to_string());
    (how.progress)("reading the model");
    let foreign = Foreign::read(path, options)?;
    apart(path, out)?;
    let reference = Reference::of(&foreign, how).map_err(at)?;
    let (batch, proof) = best(&foreign, &reference, how).map_err(at)?;
    let proven = proof.proven();
    if proven.is_empty() {
        return Err(at(refused(&proof)));
    }
    let notes = notes(&foreign, &reference, &proof, batch, how);
    let mut imported = foreign.tower(batch, reference.dim(), &proven).map_err(at)?;
    imported.notes.extend(notes);
    let tower = export::save(&imported.model, out)?;
    Ok(Adopted { file: out.into(), tower, notes: imported.notes, proof: Some(proof) })
}

/// As [`adopt`], without the proof and without any runtime.
///
/// # Errors
/// As [`export::import()`]; the same file for both; a file that cannot be written.
pub fn adopt_unchecked(path: &Path, out: &Path, options: &ImportOptions) -> Result<Adopted> {
    let mut imported = export::import(path, options)?;
    apart(path, out)?;
    let tower = export::save(&imported.model, out)?;
    imported
        .notes
        .push("it was not run (--unchecked): whether it gives what the model gave is not known".into());
    Ok(Adopted { file: out.into(), tower, notes: imported.notes, proof: None })
}

fn apart(path: &Path, out: &Path) -> Result<()> {
    if matches!((path.canonicalize(), out.canonicalize()), (Ok(a), Ok(b)) if a == b) {
        return Err(Error::invalid(out.display(), "is the model itself; name another file with -o"));
    }
    Ok(())
}

/// Of the towers that can be made of the model, the first that all runtimes run rightly that load it, else that
/// which most do.
fn best(foreign: &Foreign, reference: &Reference, how: &Proving<'_>) -> Result<(Batch, Proof)> {
    let mut found: Option<(Batch, Proof)> = None;
    for batch in foreign.batches() {
        let imported = foreign.tower(batch, reference.dim(), &[])?;
        let bytes = imported.model.encode_to_vec();
        let tower = Candidate { model: &imported.model, bytes: &bytes, coarse: foreign.is_coarse() };
        let mut runtimes: Vec<Trial> = Vec::new();
        for runner in &how.runners {
            (how.progress)(&format!("the tower on {}", runner.runtime().title));
            runtimes.push(trial(runner, &tower, reference));
        }
        if batch == Batch::Free {
            alone(&mut runtimes, &tower, reference, how);
        }
        let proof = reference.proof(runtimes);
        let settled =
            proof.runtimes.iter().all(|trial| trial.outcome != Outcome::Wrong) && !proof.proven().is_empty();
        let better = found.as_ref().is_none_or(|(_, best)| proof.proven().len() > best.proven().len());
        if better {
            found = Some((batch, proof));
        }
        if settled {
            break;
        }
    }
    found.ok_or_else(|| Error::invalid("the model", "can be made no tower of"))
}

/// Where nothing but tract is there, which runs a tower picture by picture: its engine runs a batch, so that a
/// batch that mixes pictures does not pass.
fn alone(runtimes: &mut [Trial], tower: &Candidate<'_>, reference: &Reference, how: &Proving<'_>) {
    let together = |trial: &Trial| trial.outcome == Outcome::Right && trial.runtime != TRACT.name;
    if runtimes.iter().any(together) {
        return;
    }
    let tract = how.runners.iter().find(|runner| *runner.runtime() == TRACT);
    let trial = runtimes.iter_mut().find(|t| t.runtime == TRACT.name && t.outcome == Outcome::Right);
    if let (Some(runner), Some(trial)) = (tract, trial) {
        (how.progress)("a batch on tract");
        batched(runner, tower, reference, trial);
    }
}

fn refused(proof: &Proof) -> Error {
    let each = proof.runtimes.iter().map(Trial::told);
    let why = format!(
        "no runtime at hand gives the rows of the model, so that no tower was written (--unchecked writes it all \
         the same): {}",
        each.collect::<Vec<_>>().join("; ")
    );
    Error::invalid("the tower", why)
}

/// What the numbers say about the model.
fn notes(
    foreign: &Foreign,
    reference: &Reference,
    proof: &Proof,
    batch: Batch,
    how: &Proving<'_>,
) -> Vec<String> {
    let mut notes = Vec::new();
    let proven = proof.proven();
    for trial in proof.runtimes.iter().filter(|trial| trial.outcome != Outcome::Right) {
        notes.push(trial.told());
    }
    let others = |trial: &Trial| trial.outcome == Outcome::Right && trial.runtime != TRACT.name;
    if proven == [TRACT.name] && batch == Batch::Free && !proof.runtimes.iter().any(others) {
        let batch = proof.runtimes.iter().any(|t| t.runtime == TRACT.name && t.batched);
        notes.push(match batch {
            true => "only tract proved the tower, and ran the model too".into(),
            false => {
                "only tract proved the tower, which runs it picture by picture: batches are not proven".into()
            }
        });
    }
    if !proven.iter().any(|name| name == TRACT.name) && how.runners.iter().any(|r| *r.runtime() == TRACT) {
        notes.extend(foreign.untested());
    }
    notes.extend(reference.oddities(proof, foreign));
    notes
}
