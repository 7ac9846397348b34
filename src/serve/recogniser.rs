//! What the server does, without HTTP.

use crate::eval::identification::Strangeness;
use crate::gallery::{
    Answer, Classifier, Enrolled, Example, Gallery, KnownClass, Limit, Rule, Shots, check_label, recalibrate,
};
use crate::report::picture;
use crate::runtime::{Embedder, Runtime};
use crate::tower::{TowerKind, TowerSpec};
use crate::{Error, Result, embed, image};
use ndarray::{Array2, Array3, Axis};
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What stands for a class.
    pub shots: Shots,
    /// When a picture is unknown.
    pub limit: Limit,
    /// Whether requests may enrol and remove.
    pub editable: bool,
}

/// A gallery and its tower, ready for many requests at a time.
///
/// What other processes enrol, remove or calibrate counts from the next request on.
pub struct Recogniser {
    embedder: Mutex<Box<dyn Embedder>>,
    spec: TowerSpec,
    runtime: &'static Runtime,
    options: Options,
    shelf: Mutex<Shelf>,
}

/// The gallery, and what was last read from it.
struct Shelf {
    gallery: Gallery,
    /// None where it must be read (again).
    classifier: Option<Arc<Classifier>>,
    /// Whether the gallery has changed since it was calibrated.
    stale: bool,
}

/// What the gallery holds; no paths, which are nobody's business on a network.
#[derive(Debug, Serialize)]
pub struct Told {
    gallery: String,
    tower: String,
    tower_sha256: String,
    kind: TowerKind,
    dim: usize,
    distance: &'static str,
    runtime: &'static Runtime,
    /// What is stranger than that is unknown.
    threshold: Option<f32>,
    /// How strange a picture is.
    strangeness: Option<Strangeness>,
    /// Why the threshold may not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubts: Option<&'static str>,
    editable: bool,
    classes: Vec<KnownClass>,
}

/// The answer to one picture.
#[derive(Debug, Serialize)]
pub struct Recognised {
    /// The nearest classes.
    #[serde(flatten)]
    pub answer: Answer,
    /// If it were stranger than that it would be unknown.
    pub threshold: Option<f32>,
    /// Whether the gallery has changed since that was chosen.
    pub stale: bool,
    /// Milliseconds from the decoded picture to the answer.
    pub milliseconds: f64,
    /// The ink as the tower sees it: a PNG's data URI, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ink: Option<String>,
}

/// Why a request could not be answered.
#[derive(Debug)]
pub enum RequestError {
    /// What it brought cannot be used: no picture, a label that cannot be kept.
    Request(Error),
    /// What it names is not there.
    Absent(Error),
    /// The gallery cannot answer as it is: it is empty, say.
    NotYet(Error),
    /// The server's own: a damaged gallery, a runtime that failed.
    Own(Error),
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl From<RequestError> for Error {
    fn from(fault: RequestError) -> Self {
        match fault {
            RequestError::Request(e)
            | RequestError::Absent(e)
            | RequestError::NotYet(e)
            | RequestError::Own(e) => e,
        }
    }
}

impl Recogniser {
    /// Of an open gallery and its tower.
    ///
    /// # Errors
    /// Where the gallery belongs to another tower, cannot be read, or cannot be answered from as the
    /// options say.
    pub fn new(
        gallery: Gallery,
        embedder: Box<dyn Embedder>,
        runtime: &'static Runtime,
        options: Options,
    ) -> Result<Self> {
        let spec = embedder.spec().clone();
        gallery.check(&spec)?;
        let shelf = Mutex::new(Shelf { gallery, classifier: None, stale: false });
        let recogniser = Self { embedder: Mutex::new(embedder), spec, runtime, options, shelf };
        // An empty gallery may be filled later; what else is wrong shows now.
        if !recogniser.shelf().gallery.classes()?.is_empty() {
            recogniser.classifier()?;
        }
        Ok(recogniser)
    }

    /// Whether requests may enrol and remove.
    pub fn editable(&self) -> bool {
        self.options.editable
    }

    /// What the gallery holds now.
    pub fn told(&self) -> Result<Told> {
        let mut shelf = self.shelf();
        shelf.refresh()?;
        let facts = shelf.gallery.facts();
        let rule = self.options.limit.rule(facts);
        let doubts = if self.options.limit == Limit::Calibrated { shelf.gallery.doubts()? } else { None };
        Ok(Told {
            gallery: shelf.gallery.location().name(),
            tower: facts.tower.clone(),
            tower_sha256: facts.tower_sha256.clone(),
            kind: facts.kind,
            dim: facts.dim,
            distance: facts.distance.name(),
            runtime: self.runtime,
            threshold: rule.map(|rule| rule.threshold),
            strangeness: rule.map(|rule| rule.strangeness),
            doubts,
            editable: self.options.editable,
            classes: shelf.gallery.classes()?,
        })
    }

    /// Which class the picture in these bytes is of, with the `top` nearest.
    ///
    /// # Errors
    /// Where it is no picture, or the gallery is empty.
    pub fn classify(&self, picture: &[u8], top: usize, with_ink: bool) -> Result<Recognised, RequestError> {
        let ink = self.decode(picture)?;
        let since = Instant::now();
        let query = self.embed_ink(ink.clone())?;
        let (classifier, rule, stale) = self.classifier()?;
        let answer = classifier.classify(query.view(), top, rule.as_ref()).swap_remove(0);
        let milliseconds = since.elapsed().as_micros() as f64 / 1e3;
        let shown =
            with_ink.then(|| picture::sheet(&[vec![ink.view()]], 2).map(|png| picture::data_uri(&png)));
        let threshold = rule.map(|rule| rule.threshold);
        Ok(Recognised { answer, threshold, stale, milliseconds, ink: shown.transpose()? })
    }

    /// The embedding `[D]` of the picture in these bytes.
    ///
    /// # Errors
    /// Where it is no picture.
    pub fn embed(&self, picture: &[u8]) -> Result<Vec<f32>, RequestError> {
        Ok(self.embed_ink(self.decode(picture)?)?.into_raw_vec_and_offset().0)
    }

    /// Enrols the picture in these bytes.
    ///
    /// # Errors
    /// Where it is no picture, or the label cannot be kept.
    pub fn enroll(&self, picture: &[u8], label: String, source: String) -> Result<Enrolled, RequestError> {
        check_label(&label).map_err(RequestError::Request)?;
        let embedding = self.embed(picture)?;
        let mut shelf = self.shelf();
        let done = shelf.gallery.enroll(&[Example { label, embedding, source, added_unix_s: None }])?;
        shelf.classifier = None;
        Ok(done)
    }

    /// Removes a class, or only its examples from one source; tells how many examples went.
    ///
    /// # Errors
    /// Where there is no such class, or it has no example from there.
    pub fn remove(&self, label: String, source: Option<&str>) -> Result<u64, RequestError> {
        let mut shelf = self.shelf();
        let absent = |why| Err(RequestError::Absent(Error::invalid(format!("class {label:?}"), why)));
        if !shelf.gallery.classes()?.iter().any(|entry| entry.label == label) {
            return absent("is not in the gallery");
        }
        let removed = shelf.gallery.remove(std::slice::from_ref(&label), source)?;
        shelf.classifier = None;
        if removed == 0 { absent("has no example from that source") } else { Ok(removed) }
    }

    fn decode(&self, picture: &[u8]) -> Result<Array3<u8>, RequestError> {
        image::decode(picture, "the request's body", &self.spec.preprocessing).map_err(RequestError::Request)
    }

    fn embed_ink(&self, ink: Array3<u8>) -> Result<Array2<f32>> {
        let mut embedder = self.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        embed::images(ink.insert_axis(Axis(0)).view(), embedder.as_mut(), |_| {})
    }

    /// What answers now, the rule that belongs to it, and whether that is stale.
    fn classifier(&self) -> Result<(Arc<Classifier>, Option<Rule>, bool), RequestError> {
        let mut shelf = self.shelf();
        shelf.refresh()?;
        if let Some(classifier) = &shelf.classifier {
            let rule = self.options.limit.rule(shelf.gallery.facts());
            return Ok((Arc::clone(classifier), rule, shelf.stale));
        }
        shelf.settle(self.options)?;
        let (rule, stale) = (self.options.limit.rule(shelf.gallery.facts()), shelf.stale);
        let (known, distance) = (shelf.gallery.load()?, self.spec.distance.clone());
        let at = format!("the gallery {}", shelf.gallery.location().name());
        let classifier =
            Classifier::new(known, distance, self.options.shots, &at).map_err(RequestError::NotYet)?;
        let classifier = Arc::new(classifier);
        shelf.classifier = Some(Arc::clone(&classifier));
        Ok((classifier, rule, stale))
    }

    /// A request that panicked leaves the file as it was: nothing there is half done.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn refresh(&mut self) -> Result<()> {
        if self.gallery.refresh()? {
            self.classifier = None;
        }
        Ok(())
    }

    /// Calibrates again what does so by itself, where this server may change it: once after many changes, when
    /// somebody asks. Where that cannot be, the threshold of before serves.
    fn settle(&mut self, options: Options) -> Result<()> {
        self.stale = options.limit == Limit::Calibrated && self.gallery.is_stale()?;
        if self.stale && options.editable && matches!(recalibrate(&mut self.gallery, false), Some(Ok(_))) {
            self.stale = false;
        }
        Ok(())
    }
}
