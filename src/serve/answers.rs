//! What clients are told, as JSON.

use crate::gallery::{Answer, KnownClass};
use crate::recognise::Strangeness;
use crate::runtime::Runtime;
use crate::tower::TowerKind;
use serde::Serialize;
use utoipa::ToSchema;

/// What the gallery holds; no paths, which are nobody's business on a network.
#[derive(Debug, Serialize, ToSchema)]
pub struct Told {
    pub(super) gallery: String,
    pub(super) tower: String,
    pub(super) tower_sha256: String,
    #[schema(value_type = String)]
    pub(super) kind: TowerKind,
    pub(super) dim: usize,
    pub(super) distance: &'static str,
    #[schema(value_type = String)]
    pub(super) runtime: &'static Runtime,
    /// What is stranger than that is unknown.
    pub(super) threshold: Option<f32>,
    /// How strange a picture is.
    #[schema(value_type = Option<String>)]
    pub(super) strangeness: Option<Strangeness>,
    /// Why the threshold may not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) doubts: Option<&'static str>,
    pub(super) editable: bool,
    pub(super) classes: Vec<KnownClass>,
}

/// The answer to one picture.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recognised {
    /// The nearest classes.
    #[serde(flatten)]
    pub answer: Answer,
    /// The ink as the tower sees it: a PNG's data URI, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ink: Option<String>,
    /// By what it was decided.
    #[serde(flatten)]
    pub by: By,
}

/// By what answers were decided.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct By {
    /// What is stranger than that is unknown.
    pub threshold: Option<f32>,
    /// Whether the gallery has changed since that was chosen.
    pub stale: bool,
    /// How often the nearest example is found, as measured, where the gallery is asked by an index; without it
    /// always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall_at_1: Option<f64>,
    /// Milliseconds from the decoded pictures to the answers.
    pub milliseconds: f64,
}

/// The answers to several pictures.
#[derive(Debug, Serialize, ToSchema)]
pub struct Batch {
    /// For each picture, in their order.
    pub answers: Vec<Named>,
    /// By what they were decided.
    #[serde(flatten)]
    pub by: By,
}

/// A picture with its answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Named {
    /// What the client calls it.
    pub name: Option<String>,
    /// Its answer, or what is wrong with it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a picture among several.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Outcome {
    /// It was recognised, or is unknown.
    Answer(Answer),
    /// It cannot be used.
    Fault {
        /// Why.
        error: String,
    },
}

/// Whether two pictures show the same.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Compared {
    /// Whether they do.
    pub same: bool,
    /// How far apart they are.
    pub distance: f32,
    /// They show the same if they are at most that far apart.
    pub threshold: f32,
}
