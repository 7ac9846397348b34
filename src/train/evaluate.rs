//! The evaluation that a recipe asks for while it is trained.

use super::{Material, Validation};
use crate::Result;
use crate::data::Dataset;
use crate::eval::bootstrap::Unit;
use crate::eval::{LinearClassifier, nearest_truth, one_shot};
use crate::export::float;
use crate::model::recipe::EvalProtocol;
use crate::model::{Params, Recipe};
use crate::runtime::{ORT, Options};
use crate::sample::{EpisodeSampler, EpisodeSpec, episodes};
use crate::tower::{Accuracy, Distance, Provenance, TowerSpec};
use ndarray::Axis;
use prost::Message;
use std::collections::BTreeSet;

/// Queries of MNIST's protocols: images from the training set's end.
const QUERIES: usize = 5_000;
/// The most images that an evaluation embeds where it only shows how training goes.
const MOST_IMAGES: usize = 2_000;
/// N of the one-shot trials, where the data have as many classes.
const WAY: usize = 20;

/// Evaluates parameters as the recipe asks.
pub struct Evaluator {
    recipe: Recipe,
    runtime: Options,
    data: Dataset,
    held_out: bool,
    kind: Kind,
}

/// What is done with the embeddings of the data.
enum Kind {
    OneShot {
        sampler: EpisodeSampler,
        episodes: u64,
        name: String,
    },
    /// The first images are the ground truths of classes 0, 1, …; the others are asked.
    NearestTruth {
        truths: usize,
    },
    Accuracy,
}

impl Evaluator {
    /// For a recipe and its material.
    ///
    /// # Errors
    /// Data with too few classes or drawings for the protocol.
    pub fn new(recipe: &Recipe, material: &Material, runtime: Options) -> Result<Self> {
        let held_out = material.held_out.is_some();
        let (data, kind) = match recipe.evaluation.protocol {
            EvalProtocol::OneShot { episodes } => {
                let data = match &material.held_out {
                    Some(data) => data.clone(),
                    None => some_classes(&material.training),
                };
                let kind = one_shot_kind(&data, recipe, episodes as u64)?;
                (data, kind)
            }
            EvalProtocol::NearestTruth => {
                let (data, truths) = with_truths(&material.training);
                (data, Kind::NearestTruth { truths })
            }
            EvalProtocol::Accuracy => {
                let all = &material.training;
                (all.subset(&last(all)), Kind::Accuracy)
            }
        };
        Ok(Self { recipe: recipe.clone(), runtime, data, held_out, kind })
    }

    /// Evaluates these parameters.
    ///
    /// # Errors
    /// Parameters that are not the recipe's or not finite; a failure of the runtime.
    pub fn evaluate(&self, params: &Params) -> Result<Validation> {
        let tower = float(&self.recipe, params, &Provenance::default())?.encode_to_vec();
        let name = "the tower in training";
        let spec = TowerSpec::from_bytes(&tower, name)?.0;
        let embeddings =
            ORT.with(self.runtime.clone())?.load_bytes(&tower, name)?.embed(self.data.images.view())?;
        let (protocol, score) = match &self.kind {
            Kind::OneShot { sampler, episodes, name } => {
                let units = Unit::of(&self.data);
                (name.clone(), one_shot(embeddings.view(), &units, &spec.distance, sampler, *episodes))
            }
            Kind::NearestTruth { truths } => {
                let (known, asked) = embeddings.view().split_at(Axis(0), *truths);
                let answers: Vec<usize> = self.data.labels[*truths..].iter().map(|&l| l as usize).collect();
                ("nearest ground truth, L2".into(), nearest_truth(known, asked, &answers, &Distance::L2))
            }
            Kind::Accuracy => {
                let score = LinearClassifier::of(params)?.score(embeddings.view(), &self.data.labels)?;
                ("classification".into(), score)
            }
        };
        let seen = if self.held_out { "held-out classes" } else { "training images" };
        let accuracy = Accuracy {
            protocol,
            data: format!("{}, {seen}", self.data.name),
            accuracy: score.accuracy,
            interval_95: Some(score.interval_95),
        };
        Ok(Validation { accuracy, held_out: self.held_out })
    }
}

/// One-shot trials within alphabets by different drawers, where the data allow both.
fn one_shot_kind(data: &Dataset, recipe: &Recipe, count: u64) -> Result<Kind> {
    let classes = data.labels.iter().collect::<BTreeSet<_>>().len();
    let way = WAY.min(classes);
    let spec =
        |within, different_drawers| EpisodeSpec { way, shot: 1, queries: 1, within, different_drawers };
    let sampler = [(true, true), (true, false), (false, true)]
        .into_iter()
        .find_map(|(within, drawers)| episodes(data, &spec(within, drawers), recipe.seed).ok())
        .map_or_else(|| episodes(data, &spec(false, false), recipe.seed), Ok)?;
    let within = if sampler.spec().within { " within alphabets" } else { "" };
    let name = format!("{way}-way one-shot{within}, {count} episodes");
    Ok(Kind::OneShot { sampler, episodes: count, name })
}

/// Whole classes, evenly spread over all, of about [`MOST_IMAGES`] images.
fn some_classes(data: &Dataset) -> Dataset {
    let members = data.by_class();
    let each = data.len().max(1) as f64 / members.len().max(1) as f64;
    let wanted = ((MOST_IMAGES as f64 / each) as usize).clamp(WAY.min(members.len()), members.len());
    let chosen = (0..wanted).map(|i| i * members.len() / wanted);
    data.subset(&chosen.flat_map(|class| members[class].iter().copied()).collect::<Vec<_>>())
}

/// The first image of each class, then the queries.
fn with_truths(data: &Dataset) -> (Dataset, usize) {
    let mut images: Vec<usize> = data.by_class().iter().filter_map(|m| m.first().copied()).collect();
    let truths = images.len();
    images.extend(last(data));
    (data.subset(&images), truths)
}

/// The last images: at most half of all.
fn last(data: &Dataset) -> Vec<usize> {
    (data.len() - QUERIES.min(data.len() / 2)..data.len()).collect()
}
