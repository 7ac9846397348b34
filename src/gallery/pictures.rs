//! Pictures → galleries and answers: what `siamese enroll`, `classify` and `verify` do, batch by batch as
//! pictures are embedded.

use super::second_look::{Again, Asked};
use super::{
    Answer, Classifier, Enrolled, Example, Gallery, Loading, Location, Looked, Picture, Rule, Shots,
    check_label,
};
use crate::data::Dataset;
use crate::embed::{self, Embedded, EmbeddedBatch, PictureFile, PictureFiles};
use crate::eval::between;
use crate::image::Triage;
use crate::runtime::Embedder;
use crate::second_look::{REACH, SecondLook};
use crate::tower;
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
    /// Pictures that could not be used.
    pub broken: u64,
    /// Classes that it holds now.
    pub classes: usize,
    /// Examples that it holds now.
    pub examples: u64,
    /// SHA-256 of its tower.
    pub tower_sha256: String,
}

/// How pictures are enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enrolling<'a> {
    /// The tower: of a new gallery the shipped one, where none is given.
    pub tower: Option<&'a Path>,
    /// The label of all pictures; each has that of its place, where none is given.
    pub label: Option<&'a str>,
    /// Keep the pictures, from now on; a gallery that keeps them already goes on.
    pub keep_pictures: bool,
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
    /// Look at all examples, whatever index there is.
    pub exact: bool,
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
    /// What a second look at the nearest classes saw, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_look: Option<Looked>,
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

/// Enrols the pictures that the triage keeps into a gallery, which is made where there is none, of the tower
/// given or else the shipped one: all of them, or none. Each gets the label given, else the one that its place
/// tells; one whose label cannot be kept cannot be used, nor one that is too long where pictures are kept. `seen` is
/// called after each.
///
/// # Errors
/// Those of the triage; no picture that can be used; those of [`Gallery::open`] and `load`.
pub fn enroll(
    at: &Location,
    how: Enrolling<'_>,
    pictures: impl Iterator<Item = Result<PictureFile>> + Send,
    load: impl FnOnce(&Path) -> Loading,
    triage: &Triage<'_>,
    seen: impl FnMut(),
) -> Result<Enrolment> {
    let Enrolling { tower, label, keep_pictures } = how;
    label.map_or(Ok(()), check_label)?;
    let existing = Gallery::find(at)?;
    let keeps = keep_pictures || existing.as_ref().is_some_and(|gallery| gallery.facts().keeps_pictures);
    let of_new = tower.unwrap_or(Path::new(tower::DEFAULT));
    let mut embedder = match &existing {
        Some(gallery) => gallery.embedder(tower, load)?,
        None => load(of_new)?,
    };
    let pictures = pictures.map(|picture| Ok(if keeps { picture?.with_bytes() } else { picture? }));
    let (examples, pictures) = examples(pictures, embedder.as_mut(), label, triage, seen)?;
    if examples.is_empty() {
        return Err(Error::invalid(at, "is not changed: there is no picture that can be used"));
    }
    let mut gallery = match existing {
        Some(gallery) => gallery,
        None => Gallery::create(at, embedder.spec(), of_new)?,
    };
    if keep_pictures {
        gallery.keep_pictures()?;
    }
    let done = gallery.enroll_with(&examples, &pictures)?;
    Enrolment::of(&gallery, done, triage)
}

/// Enrols a data set into a new gallery of a tower; classes are called as [`Dataset::title`] calls them.
///
/// # Errors
/// A gallery that is there already; a label that cannot be kept; those of [`embed::images`].
pub fn enroll_set(
    at: &Location,
    tower: &Path,
    embedder: &mut dyn Embedder,
    data: &Dataset,
    triage: &Triage<'_>,
) -> Result<Enrolment> {
    if Gallery::find(at)?.is_some() {
        return Err(Error::invalid(at, "is there already; name another place"));
    }
    let embeddings = embed::images(data.images.view(), embedder, |_| ())?;
    let each = embeddings.outer_iter().zip(&data.labels).zip(&data.sources);
    let examples = each.map(|((row, &label), source)| Example {
        label: data.title(label),
        embedding: row.to_vec(),
        source: source.clone(),
        added_unix_s: None,
    });
    let mut gallery = Gallery::create(at, embedder.spec(), tower)?;
    let done = gallery.enroll(&examples.collect::<Vec<_>>())?;
    Enrolment::of(&gallery, done, triage)
}

impl Enrolment {
    fn of(gallery: &Gallery, done: Enrolled, triage: &Triage<'_>) -> Result<Self> {
        let entries = gallery.classes()?;
        Ok(Self {
            gallery: gallery.location().clone(),
            added: done.added,
            present: done.present,
            broken: triage.tally().broken,
            classes: entries.len(),
            examples: entries.iter().map(|e| e.examples).sum(),
            tower_sha256: gallery.facts().tower_sha256.clone(),
        })
    }
}

/// What the pictures become, each with its file where that was read.
fn examples(
    pictures: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    label: Option<&str>,
    triage: &Triage<'_>,
    mut seen: impl FnMut(),
) -> Result<(Vec<Example>, Vec<Option<Picture>>)> {
    let (mut examples, mut kept) = (Vec::new(), Vec::new());
    embed::pictures(pictures, embedder, |input, embedding| {
        let label = label.map_or_else(|| input.label.clone(), String::from);
        let usable = embedding.and_then(|embedding| {
            check_label(&label).map_err(|error| error.at(&input.source()))?;
            input.bytes.as_deref().map_or(Ok(()), |bytes| super::kept::check(bytes, &input.source()))?;
            Ok(embedding.to_vec())
        });
        if let Some(embedding) = triage.keep(usable)? {
            kept.push(input.bytes.clone());
            examples.push(Example { label, embedding, source: input.source(), added_unix_s: None });
        }
        seen();
        Ok(())
    })?;
    Ok((examples, kept))
}

/// Recognises pictures by a gallery and its tower, with a second look at the nearest classes, where one is given; of
/// the pictures that the triage keeps `each` is given the answers, batch by batch, in the order of the pictures.
///
/// # Errors
/// Those of the triage; an empty gallery, or one that cannot be asked so; of a second look, pictures that were not kept;
/// those of [`embed::batches`] and of `each`.
pub fn classify(
    gallery: &Gallery,
    how: Question,
    pictures: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    second: Option<&mut SecondLook>,
    triage: &Triage<'_>,
    mut each: impl FnMut(Vec<Answered>) -> Result<()>,
) -> Result<()> {
    let distance = gallery.facts().distance.clone();
    let (known, at) = (gallery.known(how.shots, how.exact)?, gallery.location().to_string());
    let classifier = Classifier::new(known, distance, how.shots, &at)?;
    let mut second = second.map(|second| Ok::<_, Error>((Again::of(gallery, at)?, second))).transpose()?;
    let top = if second.is_some() { how.top.max(REACH) } else { how.top };
    // A tower that sees pictures another way decodes them again: the same bytes, whatever becomes of the file.
    let with_files = second.as_ref().is_some_and(|(_, second)| second.needs_files());
    let pictures = pictures.map(|picture| Ok(if with_files { picture?.with_bytes() } else { picture? }));
    embed::batches(pictures, embedder, |EmbeddedBatch { pictures, embeddings }| {
        let answers = classifier.classify(embeddings.view(), top, how.rule.as_ref())?;
        let answers: Vec<(Answer, Option<Looked>)> = match &mut second {
            None => answers.into_iter().map(|answer| (answer, None)).collect(),
            Some((again, second)) => {
                let usable =
                    pictures.iter().filter_map(|(input, e)| e.as_ref().ok().map(|e| (input, &e.ink)));
                let (files, inks): (Vec<_>, Vec<_>) = usable.map(|(input, ink)| (input, ink.view())).unzip();
                let views = second.views(&inks, |i, how| files[i].decode(how))?;
                let asked = Asked { views: &views, embeddings: embeddings.view(), answers };
                let looked = again.look(second, asked, |number| gallery.picture(number))?.into_iter();
                looked.map(|(answer, looked)| (answer, Some(looked))).collect()
            }
        };
        let answered = |(input, embedded): (PictureFile, Embedded)| {
            let (mut answer, second_look) = answers[embedded.row].clone();
            answer.nearest.truncate(how.top);
            let ink = how.with_ink.then_some(embedded.ink);
            Answered { source: input.source(), place: input.label, answer, second_look, ink }
        };
        each(kept(pictures, triage)?.into_iter().map(answered).collect())
    })
}

/// Which of the others show the same as one picture: those at most `threshold` apart by the tower's
/// distance. `each` is given them as [`classify()`] gives answers.
///
/// # Errors
/// Those of the triage; a first picture that cannot be used, or is a folder of several; those of [`embed::batches`] and of
/// `each`.
pub fn verify(
    picture: &Path,
    threshold: f32,
    others: impl Iterator<Item = Result<PictureFile>> + Send,
    embedder: &mut dyn Embedder,
    triage: &Triage<'_>,
    mut each: impl FnMut(Vec<Verified>) -> Result<()>,
) -> Result<()> {
    let first = one(picture, embedder)?;
    let how = embedder.spec().distance.clone();
    embed::batches(others, embedder, |EmbeddedBatch { pictures, embeddings }| {
        let verified = |(input, embedded): (PictureFile, Embedded)| {
            let distance = between(&how, first.view(), embeddings.row(embedded.row));
            Verified { source: input.source(), same: distance <= threshold, distance }
        };
        each(kept(pictures, triage)?.into_iter().map(verified).collect())
    })
}

/// The pictures of a batch that the triage keeps.
fn kept(
    pictures: Vec<(PictureFile, Result<Embedded>)>,
    triage: &Triage<'_>,
) -> Result<Vec<(PictureFile, Embedded)>> {
    triage.keep_all(pictures.into_iter().map(|(input, embedded)| Ok((input, embedded?))))
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
