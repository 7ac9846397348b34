//! What is asked of a tower, and what was found.

use super::LinearClassifier;
use super::identification::Galleries;
use super::open_set::OpenSet;
use super::score::{Score, Trial};
use super::second_look::SecondLookResult;
use crate::data::Makers;
use crate::sample::EpisodeSpec;
use crate::tower::TowerKind;
use clap::ValueEnum;
use ndarray::{Array2, Array4};
use serde::Serialize;
use std::fmt;

/// Trials of the figure that stands beside Lake's 400: episodes of 20.
pub const LAKE_EPISODES: u64 = 1000;
/// A protocol of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// MNIST: first training image of each digit, 10,000 test images, by L1 and L2.
    NearestTruth,
    /// The 20 characters of Angelic, 380 queries (and the README's way: 400).
    Angelic,
    /// The 20 runs of Lake et al. 2015, and random trials of the same kind.
    Lake,
    /// N-way K-shot episodes over Omniglot's evaluation part, or class folders.
    Episodes,
    /// 20-way and 5-way, one-shot and five-shot episodes over the 423 characters of Vinyals et al. 2016, each of their
    /// four turns a class: the split of few-shot papers, not Lake's.
    Vinyals,
    /// Galleries of N classes with K examples, each calibrated by itself, asked for all other images of
    /// Omniglot's evaluation part, or class folders: what is known, and what is unknown.
    Identification,
    /// 10-way K-shot episodes over MNIST's test images.
    Digits,
    /// MNIST's test images by the classifier that a softmax recipe trained with the tower (--run).
    Accuracy,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// What some protocols ask besides.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalOptions {
    /// The kind of episode.
    pub spec: EpisodeSpec,
    /// Their number; for Lake those of the figure beside the 400 trials, 0 for none.
    pub episodes: u64,
    /// Their seed.
    pub seed: u64,
    /// False positive identification rates that galleries are asked for.
    pub rates: Vec<f64>,
    /// The classifier whose accuracy is asked: no one-shot recognition, but what a network whose layers
    /// start another one is measured by.
    pub classifier: Option<LinearClassifier>,
    /// Who made the pictures of class folders: then supports and queries are by different makers.
    pub makers: Option<Makers>,
}

/// What a protocol found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationResult {
    /// The protocol's name.
    pub protocol: Protocol,
    /// The tower's name.
    pub tower: String,
    /// SHA-256 of its file.
    pub tower_sha256: String,
    /// SHA-256 of the older tower that embedded what is known, where another one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_by: Option<String>,
    /// How its numbers are made.
    pub kind: TowerKind,
    /// Which data.
    pub data: String,
    /// Accuracies; the first is the protocol's own.
    pub figures: Vec<Figure>,
    /// Wrong answers of each run (Lake only).
    pub run_errors: Vec<RunErrors>,
    /// How well unknown queries are rejected, by the tower's own distance.
    pub open_set: Option<OpenSet>,
    /// How galleries tell the unknown (identification only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identification: Option<Galleries>,
    /// What a second look at the nearest classes made of the figures, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_look: Option<SecondLookResult>,
    /// Whether the tower maps everything to nearly one point.
    pub collapsed: bool,
    /// Images that were embedded.
    pub images: u64,
    /// Seconds that embedding took.
    pub embedding_s: f64,
}

/// One accuracy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was asked.
    pub what: String,
    /// The distance that decided.
    pub distance: String,
    /// The answer.
    pub score: Score,
}

/// The wrong answers of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunErrors {
    /// `run01`.
    pub run: String,
    /// Wrong answers.
    pub errors: u64,
    /// All.
    pub trials: u64,
}

/// What the accuracies were counted from, for pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// `[N, C, S, S]`.
    pub images: Array4<u8>,
    /// `[N, D]`.
    pub embeddings: Array2<f32>,
    /// A name for each image's class.
    pub classes: Vec<String>,
    /// The decisions of the first figure by the tower's own distance.
    pub decisions: Vec<Decision>,
}

/// One decision; images are places in [`Evidence::images`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The image that was asked.
    pub query: usize,
    /// The (first) known image of its class.
    pub truth: usize,
    /// The (first) known image of the nearest class.
    pub nearest: usize,
    /// The distances.
    pub trial: Trial,
}
