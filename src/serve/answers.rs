//! What clients are told, as JSON.

use crate::Result;
use crate::gallery::{Answer, KnownClass, Looked, Picture, Shown};
use crate::image::{self, Backdrop, Fit, Preprocessing};
use crate::recognise::Strangeness;
use crate::report::picture;
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
    /// Whether the pictures of what is enrolled are kept.
    pub(super) keeps_pictures: bool,
    /// Whether the nearest classes are looked at again, by distorted copies of the pictures.
    pub(super) second_look: bool,
    /// The other tower that looks then, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) other_tower: Option<String>,
    /// SHA-256 of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) other_tower_sha256: Option<String>,
    /// The newer tower that embeds what is asked about, where that is not the gallery's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked_by: Option<String>,
    /// SHA-256 of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked_by_sha256: Option<String>,
    pub(super) classes: Vec<KnownClass>,
}

/// The first examples of a class.
#[derive(Debug, Serialize, ToSchema)]
pub struct Examples {
    /// The class.
    pub label: String,
    /// In the order of enrolment.
    pub examples: Vec<Thumbnail>,
}

/// An example, small.
#[derive(Debug, Serialize, ToSchema)]
pub struct Thumbnail {
    /// Where it came from.
    pub source: String,
    /// When it was enrolled, seconds since 1970.
    pub added_unix_s: i64,
    /// Its picture, made small: a PNG's data URI; none where it was not kept.
    pub thumbnail: Option<String>,
}

impl Thumbnail {
    /// Side of a thumbnail, pixels.
    const SIDE: usize = 96;

    /// Of an example of a gallery. Nothing of the file but its pixels is shown.
    pub(super) fn of(shown: Shown) -> Result<Self> {
        let how =
            Preprocessing::Colour { size: Self::SIDE, fit: Fit::default(), backdrop: Backdrop::default() };
        let small = |picture: &Picture| {
            let pixels = image::decode(picture, &shown.source, &how)?;
            picture::sheet(&[vec![pixels.view()]], 1).map(|png| picture::data_uri(&png))
        };
        let thumbnail = shown.picture.as_ref().map(small).transpose()?;
        Ok(Self { source: shown.source, added_unix_s: shown.added_unix_s, thumbnail })
    }
}

/// The nearest classes of a picture.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answered {
    /// As the tower has them, in the order of the second look where there was one.
    #[serde(flatten)]
    pub answer: Answer,
    /// What a second look at them saw, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_look: Option<Looked>,
}

/// The answer to one picture.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recognised {
    /// The nearest classes.
    #[serde(flatten)]
    pub answered: Answered,
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
    Answer(Answered),
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
