//! What several verbs have in common.

use super::Context;
use super::output::warn;
use crate::data::{Dataset, Set};
use crate::embed::{Listed, PictureFile, PictureFiles};
use crate::gallery::Gallery;
use crate::image::Preprocessing;
#[cfg(feature = "tract")]
use crate::runtime::TractOptions;
use crate::runtime::{Embedder, Runtime, RuntimeName};
#[cfg(feature = "ort")]
use crate::runtime::{OrtOptions, provision::Request};
use crate::{Error, Result};
use clap::Args;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
}

/// The tower of a gallery, or the one named.
pub fn embedder(
    context: &Context,
    runtime: &RuntimeArgs,
    gallery: Option<&Gallery>,
    tower: Option<&Path>,
) -> Result<Box<dyn Embedder>> {
    let load = |path: &Path| runtime.load(context, path);
    match (gallery, tower) {
        (Some(gallery), _) => gallery.embedder(tower, load),
        (None, Some(tower)) => load(tower),
        (None, None) => Err(Error::invalid("the tower", "is not named; give a gallery or --tower")),
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

/// What was made of pictures; of those that could not be used it is told why.
pub fn usable<T>(pictures: Vec<Result<T>>) -> Vec<T> {
    pictures.into_iter().filter_map(|picture| picture.map_err(warn).ok()).collect()
}

/// Reads a set of a data folder; without a name Omniglot's evaluation part, MNIST's test images or class
/// folders, whichever is there first.
pub fn labelled(dir: &Path, set: Option<Set>, how: &Preprocessing) -> Result<Dataset> {
    let set = set.unwrap_or_else(|| Set::found(dir, &[Set::OmniglotEvaluation, Set::MnistTest]));
    set.read(dir, how)
}

/// Beyond which distance a picture is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdArg {
    /// As calibrated.
    Auto,
    /// Nothing is unknown.
    None,
    /// This distance.
    At(f32),
}

impl FromStr for ThresholdArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => match text.parse::<f32>() {
                Ok(x) if x.is_finite() => Ok(Self::At(x)),
                _ => Err("give auto, none, or a distance".into()),
            },
        }
    }
}

impl ThresholdArg {
    /// The distance that is meant for a gallery.
    pub fn of(given: Option<Self>, gallery: &Gallery) -> Result<Option<f32>> {
        let calibrated = gallery.facts().threshold.as_ref().map(|t| t.distance);
        match given {
            None => Ok(calibrated),
            Some(Self::None) => Ok(None),
            Some(Self::At(distance)) => Ok(Some(distance)),
            Some(Self::Auto) if calibrated.is_some() => Ok(calibrated),
            Some(Self::Auto) => {
                let why =
                    "has no calibrated threshold; run `siamese calibrate`, or give --threshold a distance";
                Err(Error::invalid(gallery.location(), why))
            }
        }
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}
