//! The folder of a training run, as far as exporting reads it.
//!
//! `recipe.json` and `params.safetensors` (the final parameters, keyed as [`Params`]) must be there;
//! `data.json` ([`DataFacts`]) and `accuracy.json` (a list of [`Accuracy`]) are read where they are.

use super::with_model;
use crate::data::Dataset;
use crate::model::{Params, Recipe, read_tower};
use crate::tower::{Accuracy, Provenance};
use crate::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::path::Path;

/// File of the final parameters.
pub const PARAMS_FILE: &str = "params.safetensors";
/// File that tells of the training data.
pub const DATA_FILE: &str = "data.json";
/// File of the figures of evaluations.
pub const ACCURACY_FILE: &str = "accuracy.json";

/// A trained tower before export.
#[derive(Clone, Debug)]
pub struct Trained {
    /// What it was trained by.
    pub recipe: Recipe,
    /// Its parameters.
    pub params: Params,
    /// What the run tells of its data and accuracy.
    pub told: Provenance,
}

/// What a data set is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: usize,
    /// Hash of its images, labels and class names.
    pub sha256: String,
}

impl DataFacts {
    /// The facts of a data set in memory.
    pub fn of(data: &Dataset) -> Self {
        let mut hash = Sha256::new();
        for image in data.images.outer_iter() {
            match image.as_slice() {
                Some(levels) => hash.update(levels),
                None => hash.update(image.iter().copied().collect::<Vec<u8>>()),
            }
        }
        for label in &data.labels {
            hash.update(label.to_le_bytes());
        }
        for class in &data.classes {
            hash.update(class.name.as_bytes());
            hash.update([0]);
        }
        let sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Self { name: data.name.clone(), images: data.images.shape()[0], sha256 }
    }

    /// Writes them into a tower's provenance.
    pub fn tell(&self, told: &mut Provenance) {
        told.data = Some(format!("{} ({} images)", self.name, self.images));
        told.data_sha256 = Some(self.sha256.clone());
    }
}

/// Reads the folder of a training run.
///
/// # Errors
/// A folder without recipe or parameters, or with files that cannot be read as such.
pub fn trained(run: &Path) -> Result<Trained> {
    if !run.is_dir() {
        return Err(Error::invalid(
            run.display(),
            "is not the folder of a training run; `siamese train` makes one",
        ));
    }
    let recipe = with_model(Recipe::load(run)?, Some(run))?;
    let file = run.join(PARAMS_FILE);
    if !file.exists() {
        let why = format!("has no {PARAMS_FILE}; finish the training with `siamese train --resume`");
        return Err(Error::invalid(run.display(), why));
    }
    let (params, _) = read_tower(&recipe, &file)?;
    let mut told = Provenance::default();
    if let Some(facts) = read_json::<DataFacts>(&run.join(DATA_FILE))? {
        facts.tell(&mut told);
    }
    told.accuracy = read_json::<Vec<Accuracy>>(&run.join(ACCURACY_FILE))?.unwrap_or_default();
    Ok(Trained { recipe, params, told })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|e| Error::invalid_because(path.display(), "cannot be read", e))
}

/// Calibration images: `count` of the training images `[N, C, S, S]` (those of alphabets that the recipe
/// holds out are not among them), drawn by the recipe's seed.
///
/// # Errors
/// Alphabets that the data do not have.
pub fn calibration_images(recipe: &Recipe, data: &Dataset, count: usize) -> Result<ndarray::Array4<u8>> {
    let hold_out = recipe.data.hold_out();
    let training = if hold_out.is_empty() { data } else { &data.split_alphabets(hold_out)?.0 };
    let mut order: Vec<usize> = (0..training.images.shape()[0]).collect();
    let mut rng = crate::random::stream(recipe.seed, "calibration", 0, 0);
    let count = count.min(order.len());
    let drawn = crate::random::draw(&mut rng, &mut order, count);
    drawn.sort_unstable();
    Ok(training.images.select(ndarray::Axis(0), drawn))
}
