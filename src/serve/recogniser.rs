//! What the server does, without HTTP.

use super::answers::{Answered, Batch, By, Compared, Examples, Named, Outcome, Recognised, Thumbnail, Told};
use super::second_look::Second;
use crate::eval::between;
use crate::gallery::{
    Again, Classifier, Enrolled, Example, Gallery, Limit, MAX_PICTURE_BYTES, Picture, Rule, Shots, Watcher,
    check_label, check_source, recalibrate,
};
use crate::report::picture;
use crate::runtime::{Embedder, Runtime};
use crate::second_look::{REACH, SecondLook};
use crate::tower::TowerSpec;
use crate::{Error, Result, embed, image, page, tower};
use ndarray::{Array2, Array3, ArrayView3, Axis, stack};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// What stands for a class.
    pub shots: Shots,
    /// When a picture is unknown.
    pub limit: Limit,
    /// Whether to look at all examples, whatever index there is.
    pub exact: bool,
    /// Whether requests may enrol and remove.
    pub editable: bool,
}

/// How pictures are asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// The nearest classes to tell.
    pub top: usize,
    /// Whether to show what the tower sees.
    pub with_ink: bool,
    /// When a picture is unknown; none means as the server was started.
    pub limit: Option<Limit>,
    /// Whether the nearest classes are looked at again; none means as the server was started.
    pub second_look: Option<bool>,
}

/// A gallery and its tower, ready for many requests at a time.
///
/// What other processes enrol, remove or calibrate counts from the next request on.
pub struct Recogniser {
    embedder: Mutex<Box<dyn Embedder>>,
    spec: TowerSpec,
    runtime: &'static Runtime,
    options: Options,
    /// The tower's file, where it is another than the gallery names.
    tower: Option<PathBuf>,
    second: Option<Second>,
    shelf: Mutex<Shelf>,
}

/// The gallery, and what was last read from it.
struct Shelf {
    gallery: Gallery,
    /// None where it must be read (again).
    classifier: Option<Arc<Classifier>>,
    /// What a second look compares; none where it must be read (again).
    again: Option<Arc<Mutex<Again>>>,
    /// Whether the gallery has changed since it was calibrated.
    stale: bool,
    /// Classes and examples; none where they must be counted (again).
    size: Option<(usize, u64)>,
}

/// What answers a request.
struct Basis {
    classifier: Arc<Classifier>,
    /// The rule that belongs to it, and whether that is stale.
    rule: Option<Rule>,
    stale: bool,
    /// What looks again at the same examples, where that is wanted.
    again: Option<Arc<Mutex<Again>>>,
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
        gallery.standing(&spec)?;
        let shelf = Mutex::new(Shelf { gallery, classifier: None, again: None, stale: false, size: None });
        let embedder = Mutex::new(embedder);
        let recogniser = Self { embedder, spec, runtime, options, tower: None, second: None, shelf };
        // An empty gallery may be filled later; what else is wrong shows now.
        if !recogniser.shelf().gallery.classes()?.is_empty() {
            recogniser.basis(options.limit, false)?;
        }
        Ok(recogniser)
    }

    /// With the tower's file, where it is another than the gallery names.
    #[must_use]
    pub fn with_tower(self, tower: Option<PathBuf>) -> Self {
        Self { tower, ..self }
    }

    /// With a second look at the nearest classes, unless a request wants none.
    ///
    /// # Errors
    /// Where the gallery holds examples, and has kept no picture of them.
    pub fn with_second_look(self, second: SecondLook) -> Result<Self> {
        let recogniser = Self { second: Some(Second::by(second)), ..self };
        if !recogniser.shelf().gallery.classes()?.is_empty() {
            recogniser.basis(recogniser.options.limit, true)?;
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
        let other = self.second.as_ref().and_then(Second::other);
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
            keeps_pictures: facts.keeps_pictures,
            second_look: self.second.is_some(),
            other_tower: other.map(|tower| tower.name.clone()),
            other_tower_sha256: other.map(|tower| tower.sha256.clone()),
            asked_by: facts.by_another(&self.spec).map(|_| self.spec.name.clone()),
            asked_by_sha256: facts.by_another(&self.spec).map(|_| self.spec.sha256.clone()),
            classes: shelf.gallery.classes()?,
        })
    }

    /// How many classes and examples the gallery holds now.
    pub fn size(&self) -> Result<(usize, u64)> {
        let mut shelf = self.shelf();
        shelf.refresh()?;
        if let Some(size) = shelf.size {
            return Ok(size);
        }
        let classes = shelf.gallery.classes()?;
        let size = (classes.len(), classes.iter().map(|class| class.examples).sum());
        shelf.size = Some(size);
        Ok(size)
    }

    /// Which class the picture in these bytes is of, with the nearest.
    ///
    /// # Errors
    /// Where it is no picture, or the gallery cannot answer so: it is empty, say.
    pub fn classify(&self, picture: &[u8], asked: Asked) -> Result<Recognised, RequestError> {
        let ink = self.decode(picture)?;
        let (mut answers, by) = self.answers(&[(picture, ink.view())], asked)?;
        let shown = || picture::sheet(&[vec![ink.view()]], 2).map(|png| picture::data_uri(&png));
        let ink = asked.with_ink.then(shown).transpose()?;
        Ok(Recognised { answered: answers.swap_remove(0), ink, by })
    }

    /// Which classes several pictures are of; one that cannot be used is told of, the others are answered.
    ///
    /// # Errors
    /// Where the gallery cannot answer so.
    pub fn classify_all(
        &self,
        pictures: Vec<(Option<String>, impl AsRef<[u8]>)>,
        asked: Asked,
    ) -> Result<Batch, RequestError> {
        let inks: Vec<_> = pictures.iter().map(|(_, bytes)| self.decode(bytes.as_ref())).collect();
        let each = pictures.iter().zip(&inks);
        let usable = each.filter_map(|((_, bytes), ink)| Some((bytes.as_ref(), ink.as_ref().ok()?.view())));
        let (answers, by) = self.answers(&usable.collect::<Vec<_>>(), asked)?;
        let mut answers = answers.into_iter();
        let mut named = Vec::with_capacity(pictures.len());
        for ((name, _), ink) in pictures.into_iter().zip(inks) {
            let outcome = match ink {
                Ok(_) => Outcome::Answer(answers.next().ok_or_else(|| lost("an answer is missing"))?),
                Err(fault) => Outcome::Fault { error: Error::from(fault).to_string() },
            };
            named.push(Named { name, outcome });
        }
        Ok(Batch { answers: named, by })
    }

    /// The answers to pictures, each given as its file and as the tower sees it `[C, S, S]`, in their order.
    fn answers(
        &self,
        pictures: &[(&[u8], ArrayView3<'_, u8>)],
        asked: Asked,
    ) -> Result<(Vec<Answered>, By), RequestError> {
        let since = Instant::now();
        let second = self.second_look(asked)?;
        let limit = asked.limit.unwrap_or(self.options.limit);
        let Basis { classifier, rule, stale, again } = self.basis(limit, second.is_some())?;
        let answers = if pictures.is_empty() {
            Vec::new()
        } else {
            let inks: Vec<_> = pictures.iter().map(|(_, ink)| ink.view()).collect();
            let embeddings = self.embed_inks(&inks)?;
            let most = if second.is_some() { asked.top.max(REACH) } else { asked.top };
            let answers = classifier.classify(embeddings.view(), most, rule.as_ref())?;
            match second.zip(again) {
                None => answers.into_iter().map(|answer| Answered { answer, second_look: None }).collect(),
                Some((second, again)) => {
                    let kept = |number| self.shelf().gallery.picture(number);
                    second.look(&again, pictures, embeddings.view(), (answers, asked.top), kept)?
                }
            }
        };
        let milliseconds = since.elapsed().as_micros() as f64 / 1e3;
        let (threshold, recall) = (rule.map(|rule| rule.threshold), classifier.recall());
        let recall_at_1 = recall.map(|recall| recall.share);
        Ok((answers, By { threshold, stale, recall_at_1, milliseconds }))
    }

    /// What looks again, where that is wanted.
    fn second_look(&self, asked: Asked) -> Result<Option<&Second>, RequestError> {
        match (asked.second_look, &self.second) {
            (Some(true), None) => {
                let why = "cannot be taken by this server; start it with --second-look";
                Err(RequestError::NotYet(Error::invalid("a second look", why)))
            }
            (Some(false), _) => Ok(None),
            (_, second) => Ok(second.as_ref()),
        }
    }

    /// Whether two pictures show the same: at most `threshold` apart, or as the gallery was calibrated by pairs.
    ///
    /// # Errors
    /// Where one is no picture, or there is no threshold.
    pub fn verify(&self, pictures: [&[u8]; 2], threshold: Option<f32>) -> Result<Compared, RequestError> {
        let calibrated = {
            let mut shelf = self.shelf();
            shelf.refresh()?;
            // One that was chosen by another tower says nothing of this one's distances.
            let facts = shelf.gallery.facts();
            let pairs = facts.threshold.as_ref().filter(|_| facts.tower_sha256 == self.spec.sha256);
            pairs.map(|pairs| pairs.distance)
        };
        let Some(threshold) = threshold.or(calibrated) else {
            let why = "has no threshold for pairs of pictures; give ?threshold=DISTANCE, or calibrate it";
            return Err(RequestError::NotYet(Error::invalid(self.name(), why)));
        };
        let inks = [self.decode(pictures[0])?, self.decode(pictures[1])?];
        let embedded = self.embed_inks(&inks.each_ref().map(|ink| ink.view()))?;
        let distance = between(&self.spec.distance, embedded.row(0), embedded.row(1));
        Ok(Compared { same: distance <= threshold, distance, threshold })
    }

    /// The embedding `[D]` of the picture in these bytes.
    ///
    /// # Errors
    /// Where it is no picture.
    pub fn embed(&self, picture: &[u8]) -> Result<Vec<f32>, RequestError> {
        Ok(self.embed_inks(&[self.decode(picture)?.view()])?.into_raw_vec_and_offset().0)
    }

    /// The tower's file, for clients that recognise by themselves.
    ///
    /// # Errors
    /// Where it is no longer there, or has changed.
    pub fn tower_file(&self) -> Result<Vec<u8>, RequestError> {
        let path = self.tower.clone().unwrap_or_else(|| self.shelf().gallery.facts().tower_path.clone());
        let bytes = tower::read_bytes(&path)?;
        if tower::sha256(&bytes) == self.spec.sha256 {
            return Ok(bytes);
        }
        let why = "has changed since the server was started; start it again";
        Err(RequestError::NotYet(Error::invalid(format!("the tower {}", self.spec.name), why)))
    }

    /// The gallery as one file, for clients that recognise by themselves.
    ///
    /// # Errors
    /// Where it is another tower's by now, or too large for that.
    pub fn gallery_file(&self) -> Result<Vec<u8>, RequestError> {
        let mut shelf = self.shelf();
        shelf.refresh()?;
        let (gallery, Options { shots, limit, .. }) = (&shelf.gallery, self.options);
        gallery.check(&self.spec).map_err(RequestError::NotYet)?;
        page::check_size(gallery, &self.spec).map_err(RequestError::NotYet)?;
        Ok(page::exported(gallery, &self.spec, page::Options { shots, limit })?)
    }

    /// Enrols the picture in these bytes, which are kept where the gallery keeps pictures.
    ///
    /// # Errors
    /// Where it is no picture, or the label or the picture cannot be kept.
    pub fn enroll(&self, picture: &[u8], label: String, source: String) -> Result<Enrolled, RequestError> {
        check_label(&label).and_then(|()| check_source(&source)).map_err(RequestError::Request)?;
        let embedding = self.embed(picture)?;
        let mut shelf = self.shelf();
        shelf.refresh()?;
        shelf.gallery.check(&self.spec).map_err(RequestError::NotYet)?;
        let keeps = shelf.gallery.facts().keeps_pictures;
        if keeps && picture.len() > MAX_PICTURE_BYTES {
            let why = format!(
                "has {} bytes; the gallery keeps pictures of at most {} MiB each: make it smaller",
                picture.len(),
                MAX_PICTURE_BYTES >> 20
            );
            return Err(RequestError::Request(Error::invalid("the picture", why)));
        }
        let kept = [keeps.then(|| Picture::from(picture))];
        let example = Example { label, embedding, source, added_unix_s: None };
        let done = shelf.gallery.enroll_with(&[example], &kept)?;
        shelf.forget();
        Ok(done)
    }

    /// The first examples of a class, with their pictures, made small, where the gallery keeps them.
    ///
    /// # Errors
    /// Where there is no such class; a kept picture that is damaged.
    pub fn examples(&self, label: String, most: usize) -> Result<Examples, RequestError> {
        let shown = {
            let mut shelf = self.shelf();
            shelf.refresh()?;
            shelf.gallery.shown(&label, most)?
        };
        if shown.is_empty() {
            let absent = Error::invalid(format!("class {label:?}"), "is not in the gallery");
            return Err(RequestError::Absent(absent));
        }
        let examples = shown.into_iter().map(Thumbnail::of).collect::<Result<_>>()?;
        Ok(Examples { label, examples })
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
        shelf.forget();
        if removed == 0 { absent("has no example from that source") } else { Ok(removed) }
    }

    /// What waits for changes by others, where the gallery's store tells of them.
    ///
    /// # Errors
    /// Where it cannot be listened to.
    pub fn watcher(&self) -> Result<Option<Watcher>> {
        self.shelf().gallery.watch()
    }

    /// Reads again what others have changed, so that no request has to wait for it.
    ///
    /// # Errors
    /// As [`Recogniser::classify`].
    pub fn prepare(&self) -> Result<(), RequestError> {
        self.basis(self.options.limit, self.second.is_some()).map(|_| ())
    }

    fn decode(&self, picture: &[u8]) -> Result<Array3<u8>, RequestError> {
        image::decode(picture, "the request's body", &self.spec.preprocessing).map_err(RequestError::Request)
    }

    fn embed_inks(&self, inks: &[ArrayView3<'_, u8>]) -> Result<Array2<f32>> {
        let inks = stack(Axis(0), inks).map_err(|_| lost("pictures have different sizes"))?;
        let mut embedder = self.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        embed::images(inks.view(), embedder.as_mut(), |_| {})
    }

    /// What it is called in what clients are told.
    fn name(&self) -> String {
        format!("the gallery {}", self.shelf().gallery.location().name())
    }

    /// What answers now by this limit; also what looks again, where that is wanted.
    fn basis(&self, limit: Limit, looks_again: bool) -> Result<Basis, RequestError> {
        let mut shelf = self.shelf();
        shelf.refresh()?;
        let at = format!("the gallery {}", shelf.gallery.location().name());
        let classifier = match &shelf.classifier {
            Some(classifier) => Arc::clone(classifier),
            None => {
                shelf.settle(self.options)?;
                // It may have gone over to another tower.
                shelf.gallery.standing(&self.spec).map_err(RequestError::NotYet)?;
                let known = shelf.gallery.known(self.options.shots, self.options.exact)?;
                let distance = shelf.gallery.facts().distance.clone();
                let classifier = Classifier::new(known, distance, self.options.shots, &at);
                let classifier = Arc::new(classifier.map_err(RequestError::NotYet)?);
                shelf.classifier = Some(Arc::clone(&classifier));
                classifier
            }
        };
        let again = looks_again.then(|| shelf.again(at)).transpose().map_err(RequestError::NotYet)?;
        let stale = limit == Limit::Calibrated && shelf.stale;
        Ok(Basis { classifier, rule: limit.rule(shelf.gallery.facts()), stale, again })
    }

    /// A request that panicked leaves the file as it was: nothing there is half done.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn refresh(&mut self) -> Result<()> {
        if self.gallery.refresh()? {
            self.forget();
        }
        Ok(())
    }

    /// What a second look compares.
    fn again(&mut self, at: String) -> Result<Arc<Mutex<Again>>> {
        if let Some(again) = &self.again {
            return Ok(Arc::clone(again));
        }
        let again = Arc::new(Mutex::new(Again::of(&self.gallery, at)?));
        self.again = Some(Arc::clone(&again));
        Ok(again)
    }

    /// The gallery has changed.
    fn forget(&mut self) {
        (self.classifier, self.again, self.size) = (None, None, None);
    }

    /// Calibrates again what does so by itself, where this server may change it: once after many changes, when
    /// somebody asks. Where that cannot be, the threshold of before serves.
    fn settle(&mut self, options: Options) -> Result<()> {
        self.stale = self.gallery.is_stale()?;
        let serves = options.limit == Limit::Calibrated;
        if self.stale
            && serves
            && options.editable
            && matches!(recalibrate(&mut self.gallery, false), Some(Ok(_)))
        {
            self.stale = false;
        }
        Ok(())
    }
}

/// That something is not as this module made it.
fn lost(what: &str) -> Error {
    Error::invalid("the server", what)
}
