//! Pictures → galleries and answers: what `siamese enroll`, `classify` and `verify` do, batch by batch as
//! pictures are embedded.

use super::{Answer, Classifier, Example, Gallery, Loading, Location, Rule, Shots, check_label};
use crate::embed::{self, PictureFile, PictureFiles, Tally};
use crate::eval::between;
use crate::runtime::Embedder;
use crate::{Error, Result};
use ndarray::{Array1, Array3};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What an enrolment of pictures came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Enrolment {
    /// The gallery.
    pub gallery: Location,
    /// Examples that were added.
    pub added: u64,
    /// Examples that were there already.
    pub present: u64,
    /// Classes that it holds now.
    pub classes: usize,
    /// Examples that it holds now.
    pub examples: u64,
    /// SHA-256 of its tower.
    pub tower_sha256: String,
}

/// How pictures are recognised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// What stands for a class.
    pub shots: Shots,
    /// The nearest classes to tell.
    pub top: usize,
    /// What a picture must be to be known; without, nothing is unknown.
    pub rule: Option<Rule>,
    /// Keep the ink of each picture with its answer.
    pub with_ink: bool,
}

/// A picture with its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// Where it came from.
    pub source: String,
    /// Its class, as its place tells.
    pub place: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// Its ink `[C, S, S]`, where it was asked for.
    #[serde(skip)]
    pub ink: Option<Array3<u8>>,
}

/// Which pictures show the same as one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// The one picture.
    pub picture: PathBuf,
    /// Pictures at most this far apart show the same.
    pub threshold: f32,
    /// The others, in their order.
    pub pairs: Vec<Verified>,
    /// Pictures that could not be used.
    pub broken: u64,
}

/// A picture that was compared with another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verified {
    /// Where it came from.
    pub source: String,
    /// Whether both show the same.
    pub same: bool,
    /// How far apart they are.
    pub distance: f32,
}

/// Enrols pictures into a gallery, which is made where there is none: all of them, or none. Each gets the
/// label given, else the one that its place tells.
///
/// # Errors
/// A picture that cannot be used, a label that cannot be kept; a new gallery without a tower; those of
/// [`Gallery::open`] and `load`.
pub fn enroll(
    at: &Location,
    tower: Option<&Path>,
    label: Option<&str>,
    pictures: impl Iterator<Item = Result<PictureFile>> + Send,
    load: impl FnOnce(&Path) -> Loading,
    seen: impl FnMut(),
) -> Result<Enrolment> {
    label.map_or(Ok(()), check_label)?;
    let existing = Gallery::find(at)?;
    let made_with = existing.as_ref().map(|gallery| gallery.facts().tower_path.as_path());
    let Some(file) = tower.or(made_with) else {
        let why = "does not exist yet; name the tower of the new gallery with --tower";
        return Err(Error::invalid(at, why));
    };
    let mut embedder = match &existing {
        Some(gallery) => gallery.embedder(tower, load)?,
        None => load(file)?,
    };
    let examples = examples(pictures, embedder.as_mut(), label, seen)?;
    let mut gallery = match existing {
        Some(gallery) => gallery,
        None => Gallery::create(at, embedder.spec(), file)?,
    };
    let done = gallery.enroll(&examples)?;
    let entries = gallery.classes()?;
    Ok(Enrolment {
        gallery: at.clone(),
        added: done.added,
        present: done.present,
        classes: entries.len(),
        examples: entries.iter().map(|e| e.examples).sum(),
        tower_sha256: gallery.facts().tower_sha256.clone(),
    })
}

fn examples(
    pictures: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    label: Option<&str>,
    mut seen: impl FnMut(),
) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    embed::pictures(pictures, embedder, |input, embedding| {
        let embedding = embedding?.to_vec();
        let label = label.map_or_else(|| input.label.clone(), String::from);
        // Found early: a thousand pictures later would be late.
        check_label(&label)?;
        examples.push(Example { label, embedding, source: input.source(), added_unix_s: None });
        seen();
        Ok(())
    })?;
    Ok(examples)
}

/// Recognises pictures by a gallery and its tower; `each` is given the answers batch by batch, with the
/// errors of pictures that could not be used, in the order of the pictures.
///
/// # Errors
/// An empty gallery, or one that cannot be asked so; those of [`embed::batches`] and of `each`.
pub fn classify(
    gallery: &Gallery,
    how: Question,
    pictures: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    mut each: impl FnMut(Vec<Result<Answered>>) -> Result<()>,
) -> Result<Tally> {
    let distance = gallery.facts().distance.clone();
    let classifier = Classifier::new(gallery.load()?, distance, how.shots, &gallery.location().to_string())?;
    let mut tally = Tally::default();
    embed::batches(pictures, embedder, |batch| {
        let answers = classifier.classify(batch.embeddings.view(), how.top, how.rule.as_ref());
        each(tally.take(batch.pictures, |input, embedded| Answered {
            source: input.source(),
            place: input.label,
            answer: answers[embedded.row].clone(),
            ink: how.with_ink.then_some(embedded.ink),
        }))
    })?;
    Ok(tally)
}

/// Which of the others show the same as one picture: those at most `threshold` apart by the tower's
/// distance. `each` is given them as [`classify()`] gives answers.
///
/// # Errors
/// A first picture that cannot be used, or is a folder of several; those of [`embed::batches`] and of
/// `each`.
pub fn verify(
    picture: &Path,
    threshold: f32,
    others: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    mut each: impl FnMut(Vec<Result<Verified>>) -> Result<()>,
) -> Result<Tally> {
    let first = one(picture, embedder)?;
    let how = embedder.spec().distance.clone();
    let mut tally = Tally::default();
    embed::batches(others, embedder, |batch| {
        each(tally.take(batch.pictures, |input, embedded| {
            let distance = between(&how, first.view(), batch.embeddings.row(embedded.row));
            Verified { source: input.source(), same: distance <= threshold, distance }
        }))
    })?;
    Ok(tally)
}

/// The embedding of one picture.
fn one(picture: &Path, embedder: &mut dyn Embedder) -> Result<Array1<f32>> {
    let mut first = None;
    embed::pictures(PictureFiles::new([picture.to_path_buf()]), embedder, |_, embedding| {
        let another = first.replace(embedding?.to_owned()).is_some();
        let why = "is a folder of several pictures; the first argument is one picture";
        if another { Err(Error::invalid(picture.display(), why)) } else { Ok(()) }
    })?;
    first.ok_or_else(|| Error::invalid(picture.display(), "is no picture"))
}
