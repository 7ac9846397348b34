//! What a tower is made of: layers of a recipe, or an ONNX model.

use super::backbone::{Backbone, OnnxTower};
use super::recipe::{Layer, Recipe};
use crate::{Error, Result};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;

/// What a tower is made of: a list of layers, or `{"onnx": "MODEL.onnx"}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Tower {
    /// Layers, from the image to the embedding.
    Layers(Vec<Layer>),
    /// A model that somebody trained.
    Onnx(OnnxTower),
}

impl Tower {
    /// Its layers; none of an ONNX model.
    pub fn layers(&self) -> &[Layer] {
        match self {
            Self::Layers(layers) => layers,
            Self::Onnx(_) => &[],
        }
    }

    /// The ONNX model, if it is one.
    pub fn onnx(&self) -> Option<&OnnxTower> {
        match self {
            Self::Onnx(onnx) => Some(onnx),
            Self::Layers(_) => None,
        }
    }
}

impl From<Vec<Layer>> for Tower {
    fn from(layers: Vec<Layer>) -> Self {
        Self::Layers(layers)
    }
}

impl Recipe {
    /// The ONNX model of its tower with what was read of it; none of a tower of layers.
    ///
    /// # Errors
    /// A model that was not read yet.
    pub fn backbone(&self) -> Result<Option<(&OnnxTower, &Arc<Backbone>)>> {
        let Tower::Onnx(onnx) = &self.tower else { return Ok(None) };
        let read = onnx.read.0.as_ref().ok_or_else(|| {
            let why = format!("{} was not read yet", onnx.onnx.display());
            Error::invalid(format!("recipe {}, tower", self.name), why)
        })?;
        Ok(Some((onnx, read)))
    }

    /// Whether the tower can be looked at: not an ONNX model that was not read yet.
    pub(super) fn is_known(&self) -> bool {
        self.tower.onnx().is_none_or(|onnx| onnx.read.0.is_some())
    }
}

impl<'de> Deserialize<'de> for Tower {
    /// By what stands there, so that errors are about the layer or the key and not about both forms.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Tower;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of layers, [ … ], or {\"onnx\": \"MODEL.onnx\"}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<Tower, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Tower::Layers)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Tower, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Tower::Onnx)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
