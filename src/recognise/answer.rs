//! What the nearest classes mean.

use super::Rule;
use serde::Serialize;

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Answer {
    /// The class; none where the rule calls the picture unknown.
    pub label: Option<String>,
    /// Distance to the nearest class.
    pub distance: f32,
    /// How much farther the second nearest class is; none where there is but one.
    pub margin: Option<f32>,
    /// How strange it is to the gallery, where that decides what is known; see [`Rule`].
    pub strangeness: Option<f32>,
    /// The nearest classes, nearest first; of equal distances the one enrolled first.
    pub nearest: Vec<Candidate>,
}

/// A class that may be the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// Its label.
    pub label: String,
    /// Its distance.
    pub distance: f32,
}

/// The nearest classes that must be found to tell the `top` nearest by a rule.
pub fn wanted(top: usize, rule: Option<&Rule>) -> usize {
    let reach = rule.map_or(0, |rule| rule.strangeness.reach());
    top.max(reach).max(2)
}

/// What the nearest classes mean, of which there are as many as [`wanted`] says, or all; the `top` nearest are told.
pub fn answer(mut nearest: Vec<Candidate>, top: usize, rule: Option<&Rule>) -> Answer {
    let distances: Vec<f32> = nearest.iter().map(|candidate| candidate.distance).collect();
    let strangeness = rule.map(|rule| rule.strangeness.of(&distances));
    let known = rule.zip(strangeness).is_none_or(|(rule, strange)| strange <= rule.threshold);
    let distance = distances.first().copied().unwrap_or(f32::INFINITY);
    let label = nearest.first().filter(|_| known).map(|candidate| candidate.label.clone());
    nearest.truncate(top);
    Answer { label, distance, margin: distances.get(1).map(|second| second - distance), strangeness, nearest }
}
