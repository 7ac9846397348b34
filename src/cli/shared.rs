//! What the verbs that embed pictures have in common.

use super::Context;
use crate::data::{self, Dataset, mnist, omniglot};
use crate::embed::{Input, Inputs, listed};
use crate::gallery::Gallery;
use crate::image::Preprocessing;
#[cfg(feature = "tract")]
use crate::runtime::TractOptions;
use crate::runtime::{Embedder, Runtime, RuntimeName};
#[cfg(feature = "ort")]
use crate::runtime::{OrtOptions, provision::Request};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// Which runtime embeds.
#[derive(Clone, Debug, Args)]
pub struct RuntimeArgs {
    /// The runtime that runs the tower.
    #[arg(long, value_enum, default_value_t = DEFAULT)]
    pub runtime: RuntimeName,
    /// Its threads; 0 takes all cores.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// The runtime that is used unless told otherwise: tract starts fastest.
const DEFAULT: RuntimeName = if cfg!(feature = "tract") { RuntimeName::Tract } else { RuntimeName::Ort };

impl RuntimeArgs {
    /// Loads a tower.
    pub fn load(&self, context: &Context, tower: &Path) -> Result<Box<dyn Embedder>> {
        self.options(context)?.load(tower)
    }

    /// The runtime with its options, where this build has it.
    pub fn options(&self, context: &Context) -> Result<Runtime> {
        // Without a feature its arm is the error below.
        let _ = context;
        match self.runtime {
            #[cfg(feature = "tract")]
            RuntimeName::Tract => Ok(Runtime::Tract(TractOptions { threads: self.threads })),
            #[cfg(feature = "ort")]
            RuntimeName::Ort => {
                let library =
                    Request { path: context.ort.clone(), offline: context.offline, ..Request::default() };
                Ok(Runtime::Ort(OrtOptions { library, threads: self.threads, ..OrtOptions::default() }))
            }
            #[allow(unreachable_patterns)]
            other => Err(Error::missing(
                format!("this build of siamese has no {other:?} runtime"),
                "build it with that feature, or name the other runtime with --runtime",
            )),
        }
    }

    /// Loads the tower of a gallery: the one given, else the file that the gallery was made with.
    pub fn load_for(
        &self,
        context: &Context,
        gallery: &Gallery,
        given: Option<&Path>,
    ) -> Result<Box<dyn Embedder>> {
        let facts = gallery.facts();
        let path = given.unwrap_or(&facts.tower_path);
        if given.is_none() && !path.exists() {
            let why = format!(
                "was made with the tower {}, which is no longer there; name it with --tower (SHA-256 {})",
                path.display(),
                facts.tower_sha256
            );
            return Err(Error::invalid(gallery.path().display(), why));
        }
        let embedder = self.load(context, path)?;
        gallery.check(embedder.spec())?;
        Ok(embedder)
    }
}

/// Whether there is a gallery, or something else, at this path: not nothing, nor an empty file.
pub fn is_there(gallery: &Path) -> bool {
    std::fs::metadata(gallery).is_ok_and(|file| file.len() > 0)
}

/// The pictures of these files and folders; `-` is a list of paths on stdin.
pub fn inputs(paths: &[PathBuf]) -> Result<Box<dyn Iterator<Item = Result<Input>> + Send>> {
    match paths {
        [only] if only == Path::new("-") => {
            Ok(Box::new(listed(std::io::BufReader::new(std::io::stdin()), "the list on stdin")))
        }
        _ if paths.iter().any(|p| p == Path::new("-")) => {
            Err(Error::invalid("-", "a list on stdin cannot be mixed with other pictures"))
        }
        _ => Ok(Box::new(Inputs::new(paths.to_vec()))),
    }
}

/// A set of labelled images in a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SetName {
    /// Omniglot's 30 background alphabets.
    OmniglotBackground,
    /// Omniglot's 20 evaluation alphabets.
    OmniglotEvaluation,
    /// MNIST's training images.
    MnistTrain,
    /// MNIST's test images.
    MnistTest,
    /// Class folders.
    Folder,
}

/// Reads a set; without a name Omniglot's evaluation part, MNIST's test images or class folders,
/// whichever is there first.
pub fn labelled(dir: &Path, set: Option<SetName>, how: &Preprocessing) -> Result<Dataset> {
    let found = || {
        if omniglot::has(dir, omniglot::Part::Evaluation) {
            SetName::OmniglotEvaluation
        } else if mnist::has(dir, mnist::Part::Test) {
            SetName::MnistTest
        } else {
            SetName::Folder
        }
    };
    match set.unwrap_or_else(found) {
        SetName::OmniglotBackground => omniglot(dir, omniglot::Part::Background, how),
        SetName::OmniglotEvaluation => omniglot(dir, omniglot::Part::Evaluation, how),
        SetName::MnistTrain => mnist(dir, mnist::Part::Train, how),
        SetName::MnistTest => mnist(dir, mnist::Part::Test, how),
        SetName::Folder => data::folder(dir, how),
    }
}

/// A counter of images on stderr; on a terminal only.
pub fn counter() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} images, {per_sec}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// A bar of images on stderr; on a terminal only.
pub fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} images, {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Prints a result as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::invalid_because("the result", "cannot be written as JSON", e))?;
    println!("{text}");
    Ok(())
}

/// Tells of a picture that could not be used, with the causes, and goes on.
pub fn warn(error: Error) {
    eprintln!("siamese: {:#}", anyhow::Error::from(error));
}

/// The error that ends a verb some of whose pictures were broken.
pub fn broken(count: u64, all: u64) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    Err(Error::invalid(format!("{count} of {all} pictures"), "could not be used (see above)"))
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}
