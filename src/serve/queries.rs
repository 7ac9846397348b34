//! What the addresses of the API may be asked with.
#![allow(unused_qualifications, reason = "the macros' own")]

use super::recogniser::Asked;
use super::refusal::Refusal;
use crate::gallery::Limit;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

/// The most classes that an answer tells.
const MAX_TOP: usize = 1000;
/// The most examples that are shown at a time.
const MAX_SHOWN: usize = 64;

/// The query of an address; what it does not know is refused.
pub(super) struct Asking<Q>(pub Q);

impl<S: Send + Sync, Q: DeserializeOwned> FromRequestParts<S> for Asking<Q> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let asked: Result<Query<Q>, QueryRejection> = Query::from_request_parts(parts, state).await;
        Ok(Self(asked?.0))
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClassifyQuery {
    /// The nearest classes to tell.
    #[serde(default = "five")]
    #[param(minimum = 1, maximum = 1000, default = 5)]
    pub top: usize,
    /// Whether to show what the tower sees, as a PNG's data URI.
    #[serde(default)]
    pub ink: bool,
    /// When a picture is unknown: `auto` (as the gallery was calibrated), `none`, or beyond this distance.
    pub threshold: Option<String>,
    /// Whether the nearest classes are looked at again; else as the server was started: `serve --second-look` does so.
    pub second_look: Option<bool>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BatchQuery {
    /// The nearest classes to tell.
    #[serde(default = "five")]
    #[param(minimum = 1, maximum = 1000, default = 5)]
    pub top: usize,
    /// When a picture is unknown: `auto` (as the gallery was calibrated), `none`, or beyond this distance.
    pub threshold: Option<String>,
    /// Whether the nearest classes are looked at again; else as the server was started: `serve --second-look` does so.
    pub second_look: Option<bool>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VerifyQuery {
    /// They show the same if they are at most that far apart; else as the gallery was calibrated by pairs.
    pub threshold: Option<f32>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShownQuery {
    /// The class.
    pub label: String,
    /// The most examples to show.
    #[serde(default = "twelve")]
    #[param(minimum = 1, maximum = 64, default = 12)]
    pub most: usize,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NewQuery {
    /// The class; a form may have it as a field.
    pub label: Option<String>,
    /// Where the picture comes from [default: its SHA-256, so that the same picture is the same example].
    pub source: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExampleQuery {
    /// The class.
    pub label: String,
    /// Only its examples from there.
    pub source: Option<String>,
}

fn five() -> usize {
    5
}

fn twelve() -> usize {
    12
}

impl ClassifyQuery {
    pub fn asked(&self) -> Result<Asked, Refusal> {
        if !(1..=MAX_TOP).contains(&self.top) {
            return Err(bad(format!("top is {}; it must be 1 to {MAX_TOP}", self.top)));
        }
        let limit = |text: &String| text.parse::<Limit>().map_err(|why| bad(format!("threshold: {why}")));
        let limit = self.threshold.as_ref().map(limit).transpose()?;
        Ok(Asked { top: self.top, with_ink: self.ink, limit, second_look: self.second_look })
    }
}

impl ShownQuery {
    /// The class, and the most examples to show.
    pub fn asked(self) -> Result<(String, usize), Refusal> {
        let Self { label, most } = self;
        if (1..=MAX_SHOWN).contains(&most) {
            return Ok((label, most));
        }
        Err(bad(format!("most is {most}; it must be 1 to {MAX_SHOWN}")))
    }
}

/// What cannot be asked so.
pub(super) fn bad(why: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, why)
}
