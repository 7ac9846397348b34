//! The 20 one-shot runs of Lake, Salakhutdinov, Tenenbaum 2015 (`all_runs.zip`): in each, 20
//! characters of one alphabet by one drawer are the classes, and 20 drawings by another drawer
//! are to be recognised.

use super::Dataset;
use super::archive::{Archive, Entry};
use super::omniglot::{dark, decode_all};
use crate::image::Preprocessing;
use crate::{Error, Result};
use ndarray::{Array4, Axis, concatenate, s};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The runs, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct LakeRuns {
    /// 20 of them in the published archive.
    pub runs: Vec<LakeRun>,
}

/// One run: a classification of `test` images by one `training` image a class.
#[derive(Clone, Debug, PartialEq)]
pub struct LakeRun {
    /// `run01`.
    pub name: String,
    /// One image a class, `[K, C, S, S]`.
    pub training: Array4<u8>,
    /// The images to recognise, `[M, C, S, S]`.
    pub test: Array4<u8>,
    /// For each test image the index of the right training image.
    pub answers: Vec<usize>,
}

impl LakeRuns {
    /// The runs as one data set: an alphabet a run, a class a training image, named by its place; of each
    /// run its training images (drawer 0), then its test images (drawer 1).
    ///
    /// # Errors
    /// Runs whose images differ in shape.
    pub fn dataset(&self) -> Result<Dataset> {
        let mut set = Dataset::empty("omniglot one-shot runs", self.images()?);
        for run in &self.runs {
            let first = set.classes.len() as u32;
            for i in 0..run.training.shape()[0] {
                let class = set.class(&run.name, &i.to_string());
                set.push(class, 0, format!("{}/training/{i}", run.name));
            }
            for (i, &answer) in run.answers.iter().enumerate() {
                set.push(first + answer as u32, 1, format!("{}/test/{i}", run.name));
            }
        }
        Ok(set)
    }

    /// All images, `[N, C, S, S]`: of each run its training images, then its test images.
    ///
    /// # Errors
    /// Runs whose images differ in shape.
    pub fn images(&self) -> Result<Array4<u8>> {
        let parts: Vec<_> = self.runs.iter().flat_map(|r| [r.training.view(), r.test.view()]).collect();
        concatenate(Axis(0), &parts)
            .map_err(|e| Error::invalid_because("Lake's runs", "have images of different shapes", e))
    }
}

/// Reads `dir/omniglot/all_runs.zip` or `dir/all_runs.zip`.
pub fn lake(dir: impl AsRef<Path>, how: &Preprocessing) -> Result<LakeRuns> {
    from_archive(&Archive::open(&source(dir.as_ref())?)?, how)
}

/// Reads the archive from memory; `name` is for messages.
pub fn from_zip(bytes: Vec<u8>, name: &str, how: &Preprocessing) -> Result<LakeRuns> {
    from_archive(&Archive::from_bytes(bytes, name)?, how)
}

/// Whether `dir/omniglot` or `dir` has the archive.
pub fn has(dir: &Path) -> bool {
    source(dir).is_ok()
}

/// Where the archive lies.
fn source(dir: &Path) -> Result<PathBuf> {
    [dir.join("omniglot/all_runs.zip"), dir.join("all_runs.zip")]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| super::absent(dir, "omniglot/all_runs.zip", "omniglot"))
}

/// The list of a run: test picture and training picture on each line.
const LIST: &str = "class_labels.txt";

fn from_archive(archive: &Archive, how: &Preprocessing) -> Result<LakeRuns> {
    let how = dark(how);
    how.validate(archive.name())?;
    let entries: BTreeMap<&str, &Entry> = archive.entries().iter().map(|e| (e.path.as_str(), e)).collect();
    let lists = entries.values().filter(|e| e.path.rsplit('/').next() == Some(LIST));
    let runs: Vec<LakeRun> = lists.map(|list| run(archive, &entries, list, &how)).collect::<Result<_>>()?;
    if runs.is_empty() {
        return Err(Error::invalid(archive.name(), format!("holds no run (run01/{LIST}, …)")));
    }
    Ok(LakeRuns { runs })
}

fn run(
    archive: &Archive,
    entries: &BTreeMap<&str, &Entry>,
    list: &Entry,
    how: &Preprocessing,
) -> Result<LakeRun> {
    let at = archive.label(list);
    let mut bytes = Vec::new();
    archive.reader()?.read(list, &mut bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| Error::invalid_because(&at, "is not text", e))?;
    let folder = list.path.strip_suffix(LIST).unwrap_or_default();
    // Paths in the list begin at the run's folder, whatever the archive puts it in.
    let root = folder.trim_end_matches('/').rsplit_once('/').map_or("", |(root, _)| root);
    let entry = |path: &str, line: usize| {
        let full = if root.is_empty() { path.to_string() } else { format!("{root}/{path}") };
        let missing =
            || Error::invalid(format!("{at}, line {line}"), format!("names {path}, which the archive lacks"));
        entries.get(full.as_str()).copied().ok_or_else(missing)
    };
    let pairs = pairs(text, &at)?;
    let mut classes: Vec<&str> = pairs.iter().map(|p| p.training).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut wanted = Vec::with_capacity(classes.len() + pairs.len());
    for class in &classes {
        let line = pairs.iter().find(|p| p.training == *class).map_or(0, |p| p.line);
        wanted.push(entry(class, line)?);
    }
    for pair in &pairs {
        wanted.push(entry(pair.test, pair.line)?);
    }
    let images = decode_all(archive, &wanted, how)?;
    let answers = pairs.iter().filter_map(|p| classes.binary_search(&p.training).ok()).collect();
    Ok(LakeRun {
        name: folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_string(),
        training: images.slice(s![..classes.len(), .., .., ..]).to_owned(),
        test: images.slice(s![classes.len().., .., .., ..]).to_owned(),
        answers,
    })
}

/// A line of a list.
struct Pair<'a> {
    line: usize,
    test: &'a str,
    training: &'a str,
}

fn pairs<'a>(text: &'a str, at: &str) -> Result<Vec<Pair<'a>>> {
    let mut pairs = Vec::new();
    for (i, content) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let mut words = content.split_whitespace();
        let (Some(test), Some(training), None) = (words.next(), words.next(), words.next()) else {
            let why = "must be the path of a test picture and the path of a training picture";
            return Err(Error::invalid(format!("{at}, line {}", i + 1), why));
        };
        pairs.push(Pair { line: i + 1, test, training });
    }
    if pairs.is_empty() {
        return Err(Error::invalid(at, "lists no pictures"));
    }
    Ok(pairs)
}
