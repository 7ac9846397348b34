//! The `siamese.*` keys of a model's `metadata_props`.

use super::{Distance, LayerBound, TowerKind, TowerSpec};
use crate::image::Preprocessing;
use crate::model::Recipe;
use crate::onnx::ModelProto;
use crate::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of these keys; a file with another one is refused.
pub const FORMAT: &str = "1";

const KEY_FORMAT: &str = "siamese.format";
const KEY_NAME: &str = "siamese.name";
const KEY_KIND: &str = "siamese.kind";
const KEY_PREPROCESSING: &str = "siamese.preprocessing";
const KEY_DISTANCE: &str = "siamese.distance";
const KEY_ALPHA: &str = "siamese.distance.alpha";
const KEY_RECIPE: &str = "siamese.recipe";
const KEY_SOURCE: &str = "siamese.source";
const KEY_LICENCE: &str = "siamese.licence";
const KEY_DATA: &str = "siamese.data";
const KEY_DATA_HASH: &str = "siamese.data.sha256";
const KEY_ACCURACY: &str = "siamese.accuracy";
const KEY_BOUNDS: &str = "siamese.bounds";
const KEY_BATCH: &str = "siamese.batch";
const KEY_PROVEN: &str = "siamese.proven";
const KEY_COMPATIBLE: &str = "siamese.compatible.sha256";

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

/// Reads the facts; D and the hash are left for the caller.
pub(super) fn read(model: &ModelProto) -> Result<TowerSpec> {
    match model.metadata(KEY_FORMAT) {
        Some(FORMAT) => {}
        Some(other) => {
            let why = format!(
                "is {other:?}, and this program reads {FORMAT:?}; use the siamese that wrote the file"
            );
            return Err(Error::invalid(format!("metadata {KEY_FORMAT}"), why));
        }
        None => {
            let why = "is an ONNX model, but no tower: it has no siamese.* metadata; make it one with \
                       `siamese import`";
            return Err(Error::invalid("the model", why));
        }
    }
    let preprocessing: Preprocessing =
        json(model, KEY_PREPROCESSING)?.ok_or_else(|| missing(KEY_PREPROCESSING))?;
    preprocessing.validate(&format!("metadata {KEY_PREPROCESSING}"))?;
    Ok(TowerSpec {
        name: required(model, KEY_NAME)?.into(),
        kind: kind(required(model, KEY_KIND)?)?,
        preprocessing,
        dim: 0,
        distance: distance(model)?,
        batch: batch(model)?,
        compatible_with: compatible(model)?,
        sha256: String::new(),
    })
}

pub(super) fn write(spec: &TowerSpec, model: &mut ModelProto) -> Result<()> {
    model.set_metadata(KEY_FORMAT, FORMAT);
    model.set_metadata(KEY_NAME, &spec.name);
    model.set_metadata(KEY_KIND, spec.kind.name());
    model.set_metadata(KEY_PREPROCESSING, text(KEY_PREPROCESSING, &spec.preprocessing)?);
    model.set_metadata(KEY_DISTANCE, spec.distance.name());
    model.metadata_props.retain(|p| !matches!(p.key(), KEY_ALPHA | KEY_BATCH | KEY_COMPATIBLE));
    if let Some(batch) = spec.batch {
        model.set_metadata(KEY_BATCH, batch.to_string());
    }
    if let Some(old) = &spec.compatible_with {
        model.set_metadata(KEY_COMPATIBLE, old);
    }
    if let Distance::WeightedL1 { alpha } = &spec.distance {
        // The shortest text that gives the same float32 back.
        let numbers: Vec<String> = alpha.iter().map(f32::to_string).collect();
        model.set_metadata(KEY_ALPHA, numbers.join(" "));
    }
    Ok(())
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
            bounds: json(model, KEY_BOUNDS)?.unwrap_or_default(),
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

fn kind(text: &str) -> Result<TowerKind> {
    let known = [TowerKind::Float, TowerKind::Exact].into_iter().find(|k| k.name() == text);
    known.ok_or_else(|| {
        Error::invalid(format!("metadata {KEY_KIND}"), format!("is {text:?}, not float or exact"))
    })
}

fn distance(model: &ModelProto) -> Result<Distance> {
    let name = required(model, KEY_DISTANCE)?;
    let alpha = model.metadata(KEY_ALPHA);
    if let (Some(_), "l1" | "l2" | "cosine") = (alpha, name) {
        let why = format!("is given, but the distance is {name}, which has no weights");
        return Err(Error::invalid(format!("metadata {KEY_ALPHA}"), why));
    }
    Ok(match name {
        "l1" => Distance::L1,
        "l2" => Distance::L2,
        "cosine" => Distance::Cosine,
        "weighted-l1" => Distance::WeightedL1 { alpha: numbers(alpha.ok_or_else(|| missing(KEY_ALPHA))?)? },
        other => {
            let why = format!("is {other:?}, not l1, l2, cosine or weighted-l1");
            return Err(Error::invalid(format!("metadata {KEY_DISTANCE}"), why));
        }
    })
}

fn batch(model: &ModelProto) -> Result<Option<usize>> {
    match model.metadata(KEY_BATCH) {
        None => Ok(None),
        Some("1") => Ok(Some(1)),
        Some(other) => {
            let why = format!("is {other:?}; a tower takes any batch, or 1");
            Err(Error::invalid(format!("metadata {KEY_BATCH}"), why))
        }
    }
}

/// The hash of the tower that it is compatible with.
fn compatible(model: &ModelProto) -> Result<Option<String>> {
    let Some(hash) = model.metadata(KEY_COMPATIBLE) else { return Ok(None) };
    if hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(Some(hash.into()));
    }
    let why = format!("is {hash:?}, no SHA-256 in lower-case hexadecimal");
    Err(Error::invalid(format!("metadata {KEY_COMPATIBLE}"), why))
}

fn numbers(text: &str) -> Result<Vec<f32>> {
    let number = |word: &str| {
        word.parse::<f32>().map_err(|e| {
            Error::invalid_because(format!("metadata {KEY_ALPHA}"), format!("{word:?} is no number"), e)
        })
    };
    text.split_whitespace().map(number).collect()
}

fn required<'a>(model: &'a ModelProto, key: &str) -> Result<&'a str> {
    model.metadata(key).ok_or_else(|| missing(key))
}

fn missing(key: &str) -> Error {
    Error::invalid(format!("metadata {key}"), "is missing; export or import the tower again")
}

fn json<T: DeserializeOwned>(model: &ModelProto, key: &str) -> Result<Option<T>> {
    let Some(text) = model.metadata(key) else { return Ok(None) };
    let read = serde_json::from_str(text);
    read.map_err(|e| Error::invalid_because(format!("metadata {key}"), "cannot be read", e)).map(Some)
}

fn text(key: &str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::invalid_because(format!("metadata {key}"), "cannot be written", e))
}
