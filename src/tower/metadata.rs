//! The `siamese.*` keys of a model's `metadata_props`.

use super::{Distance, LayerBound, TowerKind, TowerSpec};
use crate::image::Preprocessing;
use crate::onnx::ModelProto;
use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Version of these keys; a file with another one is refused.
pub const FORMAT: &str = "1";

const KEY_FORMAT: &str = "siamese.format";
const KEY_NAME: &str = "siamese.name";
const KEY_KIND: &str = "siamese.kind";
const KEY_PREPROCESSING: &str = "siamese.preprocessing";
const KEY_DISTANCE: &str = "siamese.distance";
const KEY_ALPHA: &str = "siamese.distance.alpha";
pub(super) const KEY_BOUNDS: &str = "siamese.bounds";
const KEY_BATCH: &str = "siamese.batch";
const KEY_COMPATIBLE: &str = "siamese.compatible.sha256";

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

/// The bounds that an exact tower's file states.
///
/// # Errors
/// A value that cannot be read.
pub(super) fn bounds(model: &ModelProto) -> Result<Vec<LayerBound>> {
    Ok(json(model, KEY_BOUNDS)?.unwrap_or_default())
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

pub(super) fn json<T: DeserializeOwned>(model: &ModelProto, key: &str) -> Result<Option<T>> {
    let Some(text) = model.metadata(key) else { return Ok(None) };
    let read = serde_json::from_str(text);
    read.map_err(|e| Error::invalid_because(format!("metadata {key}"), "cannot be read", e)).map(Some)
}

pub(super) fn text(key: &str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::invalid_because(format!("metadata {key}"), "cannot be written", e))
}
