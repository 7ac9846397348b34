//! What several verbs have in common.

use super::Context;
use super::output::warn;
use crate::data::{Dataset, Set};
use crate::embed::{Listed, PictureFile, PictureFiles};
use crate::gallery::{Gallery, Limit};
use crate::image::{Preprocessing, Triage};
use crate::runtime::{Embedder, Options, Runner, Runtime};
use crate::{Error, Result, tower};
use clap::Args;
use indicatif::ProgressBar;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Which runtime embeds.
#[derive(Clone, Debug, Args)]
pub struct RuntimeArgs {
    /// The runtime that runs the tower.
    #[arg(long, value_enum, default_value_t = Runtime::preferred())]
    pub runtime: &'static Runtime,
    /// Its threads; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

impl RuntimeArgs {
    /// Loads a tower.
    pub fn load(&self, context: &Context, tower: &Path) -> Result<Box<dyn Embedder>> {
        self.runner(context)?.load(tower)
    }

    /// The runtime with its options, where this build has it.
    pub fn runner(&self, context: &Context) -> Result<Runner> {
        let library = context.library(false);
        self.runtime.with(Options { threads: self.threads, library, ..Options::default() })
    }
}

/// What happens to pictures that cannot be used.
#[derive(Clone, Debug, Args)]
pub struct PictureArgs {
    /// Stop at the first picture that cannot be used; else each is told, the rest is done, and the exit code is 2.
    #[arg(long)]
    pub strict: bool,
}

impl PictureArgs {
    /// As the arguments say; pictures that cannot be used are told on stderr.
    pub fn triage(&self) -> Triage<'static> {
        if self.strict { Triage::strict() } else { Triage::lenient(warn) }
    }

    /// As [`PictureArgs::triage`], above a bar.
    pub fn triage_above(&self, bar: &ProgressBar) -> Triage<'static> {
        let bar = bar.clone();
        if self.strict { Triage::strict() } else { Triage::lenient(move |e| bar.suspend(|| warn(e))) }
    }
}

/// The tower of a gallery, or the one named, or the shipped one.
pub fn embedder(
    context: &Context,
    runtime: &RuntimeArgs,
    gallery: Option<&Gallery>,
    tower: Option<&Path>,
) -> Result<Box<dyn Embedder>> {
    let load = |path: &Path| runtime.load(context, path);
    match (gallery, tower) {
        (Some(gallery), _) => gallery.embedder(tower, load),
        (None, tower) => load(tower.unwrap_or(Path::new(tower::DEFAULT))),
    }
}

/// The pictures of these files and folders; `-` is a list of paths on stdin.
pub fn inputs(paths: &[PathBuf]) -> Result<Box<dyn Iterator<Item = Result<PictureFile>> + Send>> {
    match paths {
        [only] if only == Path::new("-") => {
            Ok(Box::new(Listed::new(BufReader::new(std::io::stdin()), "the list on stdin")))
        }
        _ if paths.iter().any(|p| p == Path::new("-")) => {
            Err(Error::invalid("-", "a list on stdin cannot be mixed with other pictures"))
        }
        _ => Ok(Box::new(PictureFiles::new(paths.to_vec()))),
    }
}

/// Reads a set of a data folder; without a name Omniglot's evaluation part, MNIST's test images or class
/// folders, whichever is there first.
pub fn labelled(dir: &Path, set: Option<Set>, how: &Preprocessing, triage: &Triage<'_>) -> Result<Dataset> {
    let set = set.unwrap_or_else(|| Set::found(dir, &[Set::OmniglotEvaluation, Set::MnistTest]));
    set.read(dir, how, triage)
}

/// The distance that a limit means for a gallery; none given is that of a gallery that was calibrated.
pub fn threshold(given: Option<Limit>, gallery: &Gallery) -> Result<Option<f32>> {
    let found = given.unwrap_or(Limit::Calibrated).distance(gallery.facts());
    if given == Some(Limit::Calibrated) && found.is_none() {
        let why = "has no calibrated threshold; run `siamese calibrate`, or give --threshold a distance";
        return Err(Error::invalid(gallery.location(), why));
    }
    Ok(found)
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}
