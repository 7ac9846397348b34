//! The sets of labelled images that can be read, by name.

use super::{Dataset, folder, glyphs, lake, mnist, omniglot};
use crate::Result;
use crate::image::{Preprocessing, Triage};
use clap::ValueEnum;
use std::path::Path;

/// A set of labelled images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Omniglot, the parts that are there.
    Omniglot,
    /// Omniglot's 30 background alphabets.
    OmniglotBackground,
    /// Omniglot's 20 evaluation alphabets.
    OmniglotEvaluation,
    /// The 20 one-shot runs: of each its training images, then its test images.
    Lake,
    /// MNIST's training images.
    #[value(alias = "mnist")]
    MnistTrain,
    /// MNIST's test images.
    MnistTest,
    /// Class folders.
    Folder,
    /// Built-in alphabets.
    Glyphs,
}

impl Set {
    /// The first of these that a folder holds; class folders where it holds none of them.
    pub fn found(dir: &Path, among: &[Self]) -> Self {
        among.iter().copied().find(|set| set.is_in(dir)).unwrap_or(Self::Folder)
    }

    fn is_in(self, dir: &Path) -> bool {
        match self {
            Self::Omniglot => omniglot::Part::ALL.iter().any(|&part| omniglot::has(dir, part)),
            Self::OmniglotBackground => omniglot::has(dir, omniglot::Part::Background),
            Self::OmniglotEvaluation => omniglot::has(dir, omniglot::Part::Evaluation),
            Self::Lake => lake::has(dir),
            Self::MnistTrain => mnist::has(dir, mnist::Part::Train),
            Self::MnistTest => mnist::has(dir, mnist::Part::Test),
            Self::Folder => dir.is_dir(),
            Self::Glyphs => true,
        }
    }

    /// Reads it from a data folder; of class folders the pictures that the triage keeps.
    ///
    /// # Errors
    /// Where it is not there, or not what it must be.
    pub fn read(self, dir: &Path, how: &Preprocessing, triage: &Triage<'_>) -> Result<Dataset> {
        match self {
            Self::Omniglot => whole_omniglot(dir, how),
            Self::OmniglotBackground => omniglot(dir, omniglot::Part::Background, how),
            Self::OmniglotEvaluation => omniglot(dir, omniglot::Part::Evaluation, how),
            Self::Lake => lake(dir, how)?.dataset(),
            Self::MnistTrain => mnist(dir, mnist::Part::Train, how),
            Self::MnistTest => mnist(dir, mnist::Part::Test, how),
            Self::Folder => folder(dir, how, triage),
            Self::Glyphs => glyphs::framed(&glyphs::SAMPLE, how),
        }
    }
}

/// The parts of Omniglot that are there, as one set.
fn whole_omniglot(dir: &Path, how: &Preprocessing) -> Result<Dataset> {
    let [background, evaluation] = omniglot::Part::ALL.map(|part| omniglot::has(dir, part));
    if !(background && evaluation) {
        // Where neither is there, the reader says so.
        let part = if evaluation { omniglot::Part::Evaluation } else { omniglot::Part::Background };
        let only = omniglot(dir, part, how)?;
        return Ok(Dataset { name: "omniglot".into(), ..only });
    }
    let mut whole = omniglot(dir, omniglot::Part::Background, how)?;
    whole.extend(&omniglot(dir, omniglot::Part::Evaluation, how)?)?;
    whole.name = "omniglot".into();
    Ok(whole)
}
