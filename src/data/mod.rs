//! Labelled drawings: what a data set is, and the readers that make one.
//!
//! Every reader gives images in the pixel contract, classes grouped by alphabet, and an error
//! that names the file (and the entry in an archive) where something is not what it must be.

mod archive;
pub mod draw;
mod folder;
pub mod get;
pub mod glyphs;
pub mod idx;
mod info;
pub mod lake;
mod makers;
pub mod mnist;
pub mod omniglot;
mod published;
mod set;
pub mod sheet;
mod survey;
#[cfg(test)]
mod tests;
pub mod vinyals;
mod zipped;

pub use folder::{class_folders, folder, is_class_folders};
pub use info::{Held, Info, Runs, Total, info};
pub use lake::{LakeRun, LakeRuns, lake};
pub use makers::{Choice, Makers};
pub use mnist::mnist;
pub use omniglot::omniglot;
pub use published::Published;
pub use set::Set;
pub use survey::Survey;

use crate::image::{Preprocessing, Triage};
use crate::model::{Recipe, recipe};
use crate::{Error, Result, files};
use glyphs::GlyphSpec;
use ndarray::{Array3, Array4, ArrayView3, Axis};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// The longest file of a data set that is read, bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Labelled images, already in the pixel contract.
///
/// Classes are grouped by alphabet; a data set without alphabets (MNIST) has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What it is and which part: `omniglot background`.
    pub name: String,
    /// Ink levels (0 = paper) or colours `[N, C, S, S]`.
    pub images: Array4<u8>,
    /// Class of each image, an index into `classes`.
    pub labels: Vec<u32>,
    /// The classes (characters, digits).
    pub classes: Vec<Class>,
    /// The names of the alphabets.
    pub alphabets: Vec<String>,
    /// Drawer or maker of each image, numbered from 0; all 0 where the source does not tell.
    pub drawers: Vec<u16>,
    /// Where each image came from: a path inside the source, for messages and reports.
    pub sources: Vec<String>,
}

/// A class of a [`Dataset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name: `character01`, `7`.
    pub name: String,
    /// Its alphabet, an index into [`Dataset::alphabets`].
    pub alphabet: u32,
}

#[cfg(test)]
impl Dataset {
    /// Pictures of one pixel without ink: so many classes of one alphabet, with so many pictures each.
    pub(crate) fn blank(classes: usize, each: usize) -> Self {
        let count = classes * each;
        Self {
            name: "test".into(),
            images: Array4::zeros((count, 1, 1, 1)),
            labels: (0..count).map(|i| (i / each) as u32).collect(),
            classes: (0..classes).map(|c| Class { name: c.to_string(), alphabet: 0 }).collect(),
            alphabets: vec!["all".into()],
            drawers: vec![0; count],
            sources: vec![String::new(); count],
        }
    }
}

impl Dataset {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Side of the square images, pixels.
    pub fn size(&self) -> usize {
        self.images.shape()[3]
    }

    /// Image `i`, `[C, S, S]`.
    pub fn image(&self, i: usize) -> ArrayView3<'_, u8> {
        self.images.index_axis(Axis(0), i)
    }

    /// The images of each class, in the order of the data set.
    pub fn by_class(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.classes.len()];
        for (i, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(i);
        }
        members
    }

    /// The classes of each alphabet.
    pub fn by_alphabet(&self) -> Vec<Vec<u32>> {
        let mut members = vec![Vec::new(); self.alphabets.len()];
        for (class, c) in self.classes.iter().enumerate() {
            members[c.alphabet as usize].push(class as u32);
        }
        members
    }

    /// The images of these indices, in this order, with all classes and alphabets kept.
    ///
    /// # Panics
    /// Where an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self {
            name: self.name.clone(),
            images: self.images.select(Axis(0), indices),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            classes: self.classes.clone(),
            alphabets: self.alphabets.clone(),
            drawers: indices.iter().map(|&i| self.drawers[i]).collect(),
            sources: indices.iter().map(|&i| self.sources[i].clone()).collect(),
        }
    }

    /// Parts the data by alphabet: (the others, the named ones), each with its own numbering of
    /// classes and alphabets. A name that is not there is an error that lists those that are.
    pub fn split_alphabets(&self, names: &[String]) -> Result<(Self, Self)> {
        if let Some(unknown) = names.iter().find(|n| !self.alphabets.contains(n)) {
            let why = format!("there is no alphabet {unknown:?}; there are: {}", self.alphabets.join(", "));
            return Err(Error::invalid(&self.name, why));
        }
        let named = |alphabet: &String| names.contains(alphabet);
        Ok((self.keep_alphabets(|a| !named(a)), self.keep_alphabets(named)))
    }

    /// Appends another data set of the same image size; its classes and alphabets come after.
    pub fn extend(&mut self, other: &Self) -> Result<()> {
        self.images.append(Axis(0), other.images.view()).map_err(|e| {
            let (ours, theirs) = (self.images.shape().to_vec(), other.images.shape());
            Error::invalid_because(&other.name, format!("images {theirs:?} do not go with {ours:?}"), e)
        })?;
        let (classes, alphabets) = (self.classes.len() as u32, self.alphabets.len() as u32);
        self.labels.extend(other.labels.iter().map(|label| label + classes));
        self.classes.extend(
            other.classes.iter().map(|c| Class { name: c.name.clone(), alphabet: c.alphabet + alphabets }),
        );
        self.alphabets.extend_from_slice(&other.alphabets);
        self.drawers.extend_from_slice(&other.drawers);
        self.sources.extend_from_slice(&other.sources);
        Ok(())
    }

    /// Only the alphabets that `keep` names, classes and alphabets numbered anew.
    fn keep_alphabets(&self, keep: impl Fn(&String) -> bool) -> Self {
        self.keep_classes(|class| keep(&self.alphabets[self.classes[class].alphabet as usize]))
    }

    /// Only the classes that `keep` names, classes and alphabets numbered anew.
    fn keep_classes(&self, keep: impl Fn(usize) -> bool) -> Self {
        let wanted: Vec<bool> = (0..self.classes.len()).map(keep).collect();
        let any = |classes: &Vec<u32>| classes.iter().any(|&class| wanted[class as usize]);
        let mut alphabets = Vec::new();
        let named = self.alphabets.iter().zip(self.by_alphabet());
        let alphabet_map: Vec<Option<u32>> = named
            .map(|(name, classes)| any(&classes).then(|| renumber(&mut alphabets, name.clone())))
            .collect();
        let mut classes = Vec::new();
        let class_map: Vec<Option<u32>> = self
            .classes
            .iter()
            .zip(&wanted)
            .map(|(c, wanted)| {
                let alphabet = alphabet_map[c.alphabet as usize].filter(|_| *wanted)?;
                Some(renumber(&mut classes, Class { name: c.name.clone(), alphabet }))
            })
            .collect();
        let kept: Vec<usize> =
            (0..self.len()).filter(|&i| class_map[self.labels[i] as usize].is_some()).collect();
        let mut part = self.subset(&kept);
        part.labels = part.labels.iter().filter_map(|&label| class_map[label as usize]).collect();
        Self { classes, alphabets, ..part }
    }

    /// Images without labels yet; [`Dataset::push`] tells them one by one.
    fn empty(name: &str, images: Array4<u8>) -> Self {
        let capacity = images.shape()[0];
        Self {
            name: name.to_string(),
            images,
            labels: Vec::with_capacity(capacity),
            classes: Vec::new(),
            alphabets: Vec::new(),
            drawers: Vec::with_capacity(capacity),
            sources: Vec::with_capacity(capacity),
        }
    }

    /// A class's name, behind that of its alphabet where there are several; empty for an unknown label.
    pub fn title(&self, label: u32) -> String {
        let Some(class) = self.classes.get(label as usize) else { return String::new() };
        match self.alphabets.get(class.alphabet as usize) {
            Some(alphabet) if self.alphabets.len() > 1 => format!("{alphabet}/{}", class.name),
            _ => class.name.clone(),
        }
    }

    /// The index of a class, new unless it is the one before; images come sorted by class.
    fn class(&mut self, alphabet: &str, name: &str) -> u32 {
        if self.alphabets.last().is_none_or(|last| last != alphabet) {
            self.alphabets.push(alphabet.to_string());
        }
        let alphabet = self.alphabets.len() as u32 - 1;
        if self.classes.last().is_none_or(|last| last.alphabet != alphabet || last.name != name) {
            self.classes.push(Class { name: name.to_string(), alphabet });
        }
        self.classes.len() as u32 - 1
    }

    /// Tells the next image.
    fn push(&mut self, class: u32, drawer: u16, source: String) {
        self.labels.push(class);
        self.drawers.push(drawer);
        self.sources.push(source);
    }
}

/// Appends an item and tells its index.
fn renumber<T>(items: &mut Vec<T>, item: T) -> u32 {
    items.push(item);
    items.len() as u32 - 1
}

/// The training material of a recipe, whole: alphabets that the recipe holds out are in it, and
/// [`Dataset::split_alphabets`] takes them apart. Of pictures that lie in folders those count that the triage keeps.
pub fn load(recipe: &Recipe, dir: &Path, triage: &Triage<'_>) -> Result<Dataset> {
    load_as(recipe, &recipe.preprocessing(), dir, triage)
}

/// The same pictures as another tower sees them.
pub fn load_as(recipe: &Recipe, how: &Preprocessing, dir: &Path, triage: &Triage<'_>) -> Result<Dataset> {
    match recipe.data {
        recipe::Data::Mnist => mnist(dir, mnist::Part::Train, how),
        recipe::Data::Omniglot { glyph_alphabets, split, .. } => {
            let mut set = match split {
                recipe::Split::Lake => omniglot(dir, omniglot::Part::Background, how)?,
                recipe::Split::Vinyals => vinyals::training(dir, how)?,
            };
            if glyph_alphabets > 0 {
                let (characters, drawers) = omniglot::USUAL;
                let spec = GlyphSpec { alphabets: glyph_alphabets, characters, drawers, seed: 0 };
                set.extend(&glyphs::framed(&spec, how)?)?;
            }
            Ok(set)
        }
        recipe::Data::Folder { ref path, ref makers, ref leave_out, .. } => {
            let makers = makers.as_ref().map(|makers| located(makers, dir));
            let choice = Choice { leave_out: leave_out.clone(), ..Choice::all_by(makers.as_deref())? };
            // It is told under the name that the recipe gives it: where it lies is this machine's own.
            let found = class_folders(located(path, dir), how, &choice, triage)?;
            Ok(Dataset { name: path.display().to_string(), ..found })
        }
        recipe::Data::Glyphs { alphabets, characters, drawers, seed } => {
            glyphs::framed(&GlyphSpec { alphabets, characters, drawers, seed }, how)
        }
    }
}

/// Whether a folder holds the data set that a recipe names, or the recipe names its own folder.
pub fn has(recipe: &Recipe, dir: &Path) -> bool {
    match recipe.data {
        recipe::Data::Mnist => mnist::has(dir, mnist::Part::Train),
        recipe::Data::Omniglot { split: recipe::Split::Lake, .. } => {
            omniglot::has(dir, omniglot::Part::Background)
        }
        recipe::Data::Omniglot { split: recipe::Split::Vinyals, .. } => {
            omniglot::Part::ALL.iter().all(|&part| omniglot::has(dir, part))
        }
        recipe::Data::Folder { .. } => true,
        // They are made, and stand in for what a folder holds.
        recipe::Data::Glyphs { .. } => false,
    }
}

/// Where a path of a recipe leads: from where the program runs, or else in the data folder.
fn located(path: &Path, dir: &Path) -> PathBuf {
    if path.exists() { path.to_path_buf() } else { dir.join(path) }
}

/// The data folder: the one given (`--data`), else `SIAMESE_DATA`, else the cache, where
/// `siamese data get` puts data sets.
pub fn data_dir(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(dir) = given {
        return Ok(dir.to_path_buf());
    }
    if let Some(dir) = std::env::var_os("SIAMESE_DATA").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    cache_dir()
}

/// Where `siamese data get` puts data sets unless told otherwise.
pub fn cache_dir() -> Result<PathBuf> {
    files::cache_dir().map(|cache| cache.join("data")).ok_or_else(|| {
        Error::missing("this user has no cache folder", "name a data folder with --data DIR or SIAMESE_DATA")
    })
}

/// That a folder, or what stands for one, is there at all.
fn there(dir: &Path) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let why = "there is none; name class folders or a data set with --data DIR, or fetch one with `siamese data get \
               omniglot`";
    Err(Error::invalid(format!("cannot read the folder {}", dir.display()), why))
}

/// A data set is not where it was looked for.
fn absent(dir: &Path, file: &str, set: &str) -> Error {
    if !dir.exists() {
        let why =
            format!("this data folder does not exist; `siamese data get {set}` fetches {set} into the cache");
        return Error::invalid(dir.display(), why);
    }
    let why = format!("has no {file}; run `siamese data get {set}`, or name another folder with --data");
    Error::invalid(dir.display(), why)
}

/// Makes `count` images on all cores, each thread with its own state: `[N, C, S, S]`.
fn gather<S>(
    count: usize,
    how: &Preprocessing,
    state: impl Fn() -> S + Sync + Send,
    image: impl Fn(&mut S, usize) -> Result<Array3<u8>> + Sync + Send,
) -> Result<Array4<u8>> {
    let mut images = room(count, how)?;
    images.as_slice_mut().unwrap_or_default().par_chunks_mut(bytes_of(how)).enumerate().try_for_each_init(
        state,
        |state, (i, target)| {
            lay(&image(state, i)?, target);
            Ok::<_, Error>(())
        },
    )?;
    Ok(images)
}

/// As [`gather`], of those that the triage keeps: `[M, C, S, S]`, and which they are.
fn gather_usable(
    count: usize,
    how: &Preprocessing,
    triage: &Triage<'_>,
    image: impl Fn(usize) -> Result<Array3<u8>> + Sync + Send,
) -> Result<(Array4<u8>, Vec<usize>)> {
    if triage.is_strict() {
        let strictly = |_: &mut (), i| triage.keep(image(i)).map(Option::unwrap_or_default);
        return Ok((gather(count, how, || (), strictly)?, (0..count).collect()));
    }
    let mut images = room(count, how)?;
    let made: Vec<Result<()>> = images
        .as_slice_mut()
        .unwrap_or_default()
        .par_chunks_mut(bytes_of(how))
        .enumerate()
        .map(|(i, target)| image(i).map(|made| lay(&made, target)))
        .collect();
    // Told in the order of the pictures.
    let numbered = made.into_iter().enumerate().map(|(i, made)| made.map(|()| i));
    let used = triage.keep_all(numbered)?;
    let images = if used.len() == count { images } else { images.select(Axis(0), &used) };
    Ok((images, used))
}

/// Bytes of an image.
fn bytes_of(how: &Preprocessing) -> usize {
    how.channels() * how.size() * how.size()
}

fn lay(image: &Array3<u8>, target: &mut [u8]) {
    target.iter_mut().zip(image).for_each(|(t, &p)| *t = p);
}

/// Images without anything on them.
fn room(count: usize, how: &Preprocessing) -> Result<Array4<u8>> {
    let (channels, size) = (how.channels(), how.size());
    let mut pixels = Vec::new();
    let room = count.checked_mul(bytes_of(how)).filter(|&bytes| pixels.try_reserve_exact(bytes).is_ok());
    let Some(bytes) = room else {
        let why =
            format!("{count} images of {size}×{size} pixels do not fit into memory; use a smaller size");
        return Err(Error::invalid("the data", why));
    };
    pixels.resize(bytes, 0_u8);
    Array4::from_shape_vec((count, channels, size, size), pixels)
        .map_err(|e| Error::invalid_because("the data", "cannot be shaped into images", e))
}
