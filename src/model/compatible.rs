//! Backward compatibility as a recipe says it.

use super::recipe::{Recipe, Sampling};
use super::{DistanceKind, embedding_dim};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The embeddings may be compared with those of an older tower: a gallery of that one then answers pictures that the
/// new one embeds, and nothing has to be enrolled again. In a recipe:
///
/// ```json
/// "compatible": {"with": "old/tower.onnx", "scale": 20.0, "weight": 1.0}
/// ```
///
/// What is added to the loss is the influence of the old tower (Shen, Xiong, Xia, Soatto 2020, "Towards
/// Backward-Compatible Representation Learning", equation 4). There the new embeddings go through the old classifier. Towers
/// have none, and one-shot recognition compares pictures with pictures; so here each new embedding is told among the old
/// tower's embeddings of the batch: the mean of `−ln softmax` over the scaled cosines to all of them, at those of its own
/// class. The old tower sees each picture once, undistorted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compatible {
    /// The older tower: its file, from where the program runs, or a tower's name.
    pub with: PathBuf,
    /// SHA-256 of its file: where a recipe tells it, no other file is taken; a run tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// s, the factor on cosines.
    #[serde(default = "twenty")]
    pub scale: f32,
    /// Factor on this part of the loss.
    #[serde(default = "one")]
    pub weight: f32,
}

fn twenty() -> f32 {
    20.0
}

fn one() -> f32 {
    1.0
}

/// The tower whose embeddings of the training pictures a loss reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Teacher<'a> {
    /// Its file or name.
    pub tower: &'a Path,
    /// T, the numbers of its embedding.
    pub dim: usize,
    /// Where the recipe tells of it.
    pub key: &'static str,
}

impl Compatible {
    /// With this tower, as strong as usual.
    pub fn new(with: &Path) -> Self {
        Self { with: with.into(), sha256: None, scale: twenty(), weight: one() }
    }
}

impl Recipe {
    /// The tower whose embeddings of the training pictures the loss reads, if any.
    ///
    /// # Errors
    /// As [`embedding_dim`].
    pub fn teacher(&self) -> Result<Option<Teacher<'_>>> {
        if let Some(distil) = self.loss.distil() {
            return Ok(Some(Teacher { tower: &distil.teacher, dim: distil.dim, key: "loss.distil" }));
        }
        let Some(compatible) = &self.compatible else { return Ok(None) };
        Ok(Some(Teacher { tower: &compatible.with, dim: embedding_dim(self)?, key: "compatible" }))
    }

    pub(super) fn check_compatible(&self) -> Result<()> {
        let Some(Compatible { scale, weight, .. }) = self.compatible else { return Ok(()) };
        super::validate::positive("compatible.scale", scale)?;
        super::validate::positive("compatible.weight", weight)?;
        let refused = |why: &str| Err(Error::invalid("compatible", why));
        if self.loss.distil().is_some() {
            return refused(
                "learns from an older tower, and the loss from a teacher; a recipe has one of them",
            );
        }
        if !matches!(self.sampling, Sampling::Images { .. } | Sampling::Classes { .. }) {
            return refused("needs batches whose classes are known: sampling of images or classes");
        }
        if self.distance() != DistanceKind::Cosine {
            return refused("compares cosines, and this loss shapes the embedding for another distance");
        }
        if self.wccn.is_some() {
            return refused(
                "and `wccn` do not go together: that turns the embedding away from the older tower's; leave it out \
                 (--set wccn=null)",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn changed(name: &str, changes: &[&str]) -> Result<Recipe> {
        let recipe = changes.iter().try_fold(Recipe::find(name)?, |recipe, change| recipe.changed(change))?;
        recipe.validate().map(|()| recipe)
    }

    #[test]
    fn a_compatible_recipe_compares_cosines_of_known_classes() {
        let with = "compatible.with=old.onnx";
        let recipe = changed("omniglot-edge-base", &[with]).unwrap();
        assert_eq!(recipe.compatible, Some(Compatible::new(Path::new("old.onnx"))));
        let teacher = recipe.teacher().unwrap().unwrap();
        assert_eq!((teacher.tower, teacher.dim), (Path::new("old.onnx"), 128));
        assert!(recipe.loss_spans_batch());
        for (name, changes, told) in [
            ("omniglot-edge", &[with][..], "--set wccn=null"),
            ("mnist-conv3-embed", &[with], "classes are known"),
            ("emoji-edge-distil", &[with], "has one of them"),
            ("omniglot-edge-base", &[with, "compatible.scale=0"], "compatible.scale"),
            ("omniglot-edge-base", &[with, "compatible.weight=-1"], "compatible.weight"),
        ] {
            let said = changed(name, changes).unwrap_err().to_string();
            assert!(said.starts_with("compatible") && said.contains(told), "{name}: {said}");
        }
    }
}
