//! Where a tower comes from: keys of a model's `metadata_props` that nobody needs to use it, and everybody to judge it.

use super::LayerBound;
use super::metadata::{KEY_BOUNDS, bounds, json, text};
use crate::Result;
use crate::model::Recipe;
use crate::onnx::ModelProto;
use serde::{Deserialize, Serialize};

const KEY_RECIPE: &str = "siamese.recipe";
const KEY_SOURCE: &str = "siamese.source";
const KEY_LICENCE: &str = "siamese.licence";
const KEY_DATA: &str = "siamese.data";
const KEY_DATA_HASH: &str = "siamese.data.sha256";
const KEY_ACCURACY: &str = "siamese.accuracy";
const KEY_PROVEN: &str = "siamese.proven";

/// Where a tower comes from: what nobody needs to use it, and everybody to judge it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// The recipe that trained it; none for a foreign model.
    pub recipe: Option<Recipe>,
    /// Of a foreign model: its file and SHA-256.
    pub source: Option<String>,
    /// Under which terms its weights are published, and whose they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Of a foreign model: the runtimes on which the tower was seen to give the model's own embeddings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proven: Vec<String>,
    /// The training data, in words.
    pub data: Option<String>,
    /// SHA-256 of the training data.
    pub data_sha256: Option<String>,
    /// Accuracy as evaluated.
    pub accuracy: Vec<Accuracy>,
    /// The proven bounds of an exact tower.
    pub bounds: Vec<LayerBound>,
}

/// One figure of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// What was done: `20-way one-shot, 1000 episodes`.
    pub protocol: String,
    /// On which data.
    pub data: String,
    /// Share of right answers, 0–1.
    pub accuracy: f64,
    /// 95 % interval, where it was estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_95: Option<[f64; 2]>,
}

impl Provenance {
    /// Reads what a model tells of its origin.
    ///
    /// # Errors
    /// Values that cannot be read.
    pub fn read(model: &ModelProto) -> Result<Self> {
        let recipe = model.metadata(KEY_RECIPE);
        Ok(Self {
            recipe: recipe.map(|text| Recipe::parse(text, &format!("metadata {KEY_RECIPE}"))).transpose()?,
            source: model.metadata(KEY_SOURCE).map(String::from),
            licence: model.metadata(KEY_LICENCE).map(String::from),
            proven: model
                .metadata(KEY_PROVEN)
                .unwrap_or_default()
                .split_whitespace()
                .map(String::from)
                .collect(),
            data: model.metadata(KEY_DATA).map(String::from),
            data_sha256: model.metadata(KEY_DATA_HASH).map(String::from),
            accuracy: json(model, KEY_ACCURACY)?.unwrap_or_default(),
            bounds: bounds(model)?,
        })
    }

    /// Writes it into a model's metadata.
    ///
    /// # Errors
    /// None in practice: values that JSON cannot hold.
    pub fn write(&self, model: &mut ModelProto) -> Result<()> {
        let recipe = self.recipe.as_ref().map(|r| text(KEY_RECIPE, r)).transpose()?;
        let list = |empty: bool, written: Result<String>| if empty { Ok(None) } else { written.map(Some) };
        let entries = [
            (KEY_RECIPE, recipe),
            (KEY_SOURCE, self.source.clone()),
            (KEY_LICENCE, self.licence.clone()),
            (KEY_PROVEN, Some(self.proven.join(" ")).filter(|names| !names.is_empty())),
            (KEY_DATA, self.data.clone()),
            (KEY_DATA_HASH, self.data_sha256.clone()),
            (KEY_ACCURACY, list(self.accuracy.is_empty(), text(KEY_ACCURACY, &self.accuracy))?),
            (KEY_BOUNDS, list(self.bounds.is_empty(), text(KEY_BOUNDS, &self.bounds))?),
        ];
        for (key, value) in entries {
            match value {
                Some(value) => model.set_metadata(key, value),
                None => model.metadata_props.retain(|p| p.key() != key),
            }
        }
        Ok(())
    }
}
