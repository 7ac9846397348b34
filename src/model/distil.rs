//! Distillation as a recipe says it.

use super::recipe::Loss;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A larger tower's embeddings are learned (Hinton, Vinyals, Dean 2015), without labels or beside a loss on labels. In a
/// recipe:
///
/// ```json
/// "loss": {"distil": {"teacher": "efficientnet-lite0", "dim": 1280, "by": "relations", "weight": 5.0,
///                     "beside": {"cosine": {"scale": 20.0, "margin": 0.2}}}}
/// ```
///
/// The teacher sees each training picture once, as it is and at the size that it takes, before the first step; the
/// student sees it distorted. What the teacher made of them is kept in the run's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distil {
    /// The teacher: a tower's file, from where the program runs, or a tower's name.
    pub teacher: PathBuf,
    /// Numbers in its embedding, T.
    pub dim: usize,
    /// What of it is learned.
    #[serde(default)]
    pub by: Likeness,
    /// Factor on it.
    #[serde(default = "one")]
    pub weight: f32,
    /// The loss on labels that is added; none for pictures that have no labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Box<Loss>>,
}

/// What of the teacher's embeddings is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likeness {
    /// Each embedding's direction: `1 − cos(W·x, t)`. Where the student's D is not T, a matrix W `[T, D]` is learned
    /// beside the tower and left out of the export; else there is none.
    #[default]
    Cosine,
    /// Each embedding: the mean of `(W·x − t)²` over its numbers, with W as above.
    Square,
    /// How pictures are related, whatever the directions: the mean of `(cos(xᵢ, xⱼ) − cos(tᵢ, tⱼ))²` over every two
    /// pictures of a batch (Park et al. 2019, "Relational Knowledge Distillation"; of cosines, as Tung, Mori 2019,
    /// "Similarity-Preserving Knowledge Distillation").
    Relations,
}

fn one() -> f32 {
    1.0
}

impl Distil {
    /// Whether a student of D numbers needs a matrix to be compared with the teacher.
    pub fn needs_map(&self, dim: usize) -> bool {
        self.by != Likeness::Relations && dim != self.dim
    }
}

impl Loss {
    /// The part of it that needs labels, if any.
    pub fn on_labels(&self) -> Option<&Self> {
        match self {
            Self::Distil(distil) => distil.beside.as_deref(),
            other => Some(other),
        }
    }

    /// The part of it that needs a teacher, if any.
    pub fn distil(&self) -> Option<&Distil> {
        match self {
            Self::Distil(distil) => Some(distil),
            _ => None,
        }
    }
}
