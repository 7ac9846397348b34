//! What a run begins with: its material and its first state.

use crate::data::{self, Dataset};
use crate::export::{DataFacts, with_model};
use crate::image::Triage;
use crate::model::recipe::{Data, Sampling};
use crate::model::{Params, Recipe, embedding_dim};
use crate::sample::{Sampler, sampler, siblings};
use crate::step::{StepGraph, TrainingClasses, initial_state};
use crate::tower::{Distance, TowerSpec};
use crate::{Error, Result, sample};
use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;

/// A recipe's data, ready to be drawn from.
pub struct Material {
    /// The training images, without those held out.
    pub training: Arc<Dataset>,
    /// The whole data, held-out classes included, in few words.
    pub facts: DataFacts,
    /// The alphabets held out, if any.
    pub held_out: Option<Dataset>,
    /// Batches.
    pub sampler: Arc<dyn Sampler>,
    /// The classes as the loss numbers them.
    pub classes: TrainingClasses,
    /// What the recipe's teacher makes of each training image, and of its turns and flips where the recipe has some as
    /// classes, `[V·N, T]` (see [`crate::sample::Batch::drawn`]); none where it has no teacher, or has not
    /// been asked yet.
    pub teacher: Option<Arc<Array2<f32>>>,
}

/// A recipe made to fit its data.
pub struct Fitted {
    /// The recipe that is trained.
    pub recipe: Recipe,
    /// Its material.
    pub material: Material,
    /// What of the recipe was changed, in words.
    pub notes: Vec<String>,
}

/// Reads a recipe's data from the data folder. Where that holds class folders and not the data set that the
/// recipe names, these are trained on, those that the triage keeps; batches larger than the data are reduced.
///
/// # Errors
/// Data that is missing or broken, or that cannot fill any batch.
pub fn fitted(recipe: &Recipe, dir: &Path, triage: &Triage<'_>) -> Result<Fitted> {
    let mut recipe = with_older_tower(with_model(recipe.clone(), None)?)?;
    let mut notes = recipe.backbone()?.map_or_else(Vec::new, |(_, backbone)| backbone.notes().to_vec());
    if !data::has(&recipe, dir) && data::is_class_folders(dir) {
        let path = dir.canonicalize().map_err(Error::io("read the folder", dir))?;
        notes.push(format!("training on the class folders of {}", path.display()));
        recipe.data = Data::Folder { path, makers: None, hold_out: Vec::new(), leave_out: Vec::new() };
    }
    let all = data::load(&recipe, dir, triage)?;
    let sampling = sample::fitted(&recipe.sampling, &all);
    if sampling != recipe.sampling {
        let told = |sampling| serde_json::to_string(sampling).unwrap_or_default();
        let (large, small) = (told(&recipe.sampling), told(&sampling));
        notes.push(format!("the data are too few for the batches {large}; they are {small}"));
        recipe.sampling = sampling;
        let fitting = recipe.clone().with_fitting_micro_batch();
        if let (Some(large), Some(small)) = (recipe.micro_batch, fitting.micro_batch)
            && large != small
        {
            notes.push(format!("micro-batches of {large} images do not divide them; they have {small}"));
        }
        recipe = fitting;
    }
    notes.extend(word_on_colours(&recipe).map(String::from));
    let material = Material::new(&recipe, all)?;
    Ok(Fitted { recipe, material, notes })
}

/// The recipe, with the hash of the tower that it is to be compatible with.
///
/// # Errors
/// A tower that is not there, is another one than the recipe tells, or whose embeddings cannot be compared.
fn with_older_tower(mut recipe: Recipe) -> Result<Recipe> {
    let dim = embedding_dim(&recipe)?;
    let Some(compatible) = &mut recipe.compatible else { return Ok(recipe) };
    let (old, _) = TowerSpec::read(&compatible.with)?;
    let wrong = |why: String| Err(Error::invalid(format!("recipe {}: compatible", recipe.name), why));
    if let Some(told) = compatible.sha256.as_ref().filter(|told| **told != old.sha256) {
        return wrong(format!(
            "SHA-256 {told} is asked for, but {} has {}",
            compatible.with.display(),
            old.sha256
        ));
    }
    if (old.dim, &old.distance) != (dim, &Distance::Cosine) {
        return wrong(format!(
            "{} gives {} numbers compared by {}, this recipe {dim} by cosine; they cannot be compared",
            old.name,
            old.dim,
            old.distance.name()
        ));
    }
    compatible.sha256 = Some(old.sha256);
    Ok(recipe)
}

/// What should be told of a recipe of colours whose data have none.
fn word_on_colours(recipe: &Recipe) -> Option<&'static str> {
    let grey = matches!(recipe.data, Data::Mnist | Data::Omniglot { .. });
    (grey && recipe.preprocessing().channels() == 3).then_some(
        "these data have no colours: each channel is the same grey, and a recipe of ink is as good",
    )
}

impl Material {
    /// Of data in memory.
    ///
    /// # Errors
    /// Data that cannot fill the recipe's batches.
    pub fn new(recipe: &Recipe, all: Dataset) -> Result<Self> {
        let facts = DataFacts::of(&all);
        let (training, held_out) = match recipe.data.hold_out() {
            [] => (all, None),
            hold_out => {
                let (kept, held) = all.split_alphabets(hold_out)?;
                (kept, Some(held))
            }
        };
        let training = Arc::new(training);
        let sampler = sampler(&recipe.sampling, recipe.augment.as_ref(), Arc::clone(&training), recipe.seed)?;
        let classes = classes_of_characters(recipe, training.classes.len())?;
        Ok(Self { training, facts, held_out, sampler: Arc::from(sampler), classes, teacher: None })
    }
}

/// The classes that a recipe makes of so many characters, with their turns and flips.
///
/// # Errors
/// More of them than there can be.
pub fn classes_of_characters(recipe: &Recipe, characters: usize) -> Result<TrainingClasses> {
    let (turns, flips) = match recipe.sampling {
        Sampling::Images { turns, flips, .. } | Sampling::Classes { turns, flips, .. } => (turns, flips),
        Sampling::Episodes { turns, .. } => (turns, false),
        _ => (1, false),
    };
    let count = characters * turns * (1 + usize::from(flips));
    let pairs = siblings(characters, turns, flips)?;
    Ok(if pairs.is_empty() {
        TrainingClasses::distinct(count)
    } else {
        TrainingClasses::with_siblings(count, &pairs)
    })
}

/// The state before the first step: drawn with the recipe's seed, then what `start` has of the same
/// name and shape among the recipe's `init_layers`, for parameters and their moving averages.
///
/// # Errors
/// A graph that is not of this recipe; a start that shares no layer with it, or none of an entry of
/// `init_layers`.
pub fn starting_state(recipe: &Recipe, graph: &StepGraph, start: Option<&Params>) -> Result<Params> {
    let mut state = initial_state(recipe, graph)?;
    let Some(start) = start else { return Ok(state) };
    let every = [String::new()];
    let prefixes = if recipe.init_layers.is_empty() { &every[..] } else { &recipe.init_layers };
    for prefix in prefixes {
        let mut taken = 0;
        for (name, value) in &mut state {
            let name = ["param.", "ema.", "stat."].iter().find_map(|kind| name.strip_prefix(kind));
            let wanted = name.filter(|name| name.starts_with(prefix)).and_then(|name| start.get(name));
            if let Some(given) = wanted.filter(|given| given.shape() == value.shape()) {
                value.assign(given);
                taken += 1;
            }
        }
        if taken == 0 {
            let from = recipe.init_from.as_deref().unwrap_or("the start");
            let layers = if prefix.is_empty() { "layer".into() } else { format!("layer {prefix:?}") };
            let why = format!("shares no {layers} with {from}");
            return Err(Error::invalid(format!("recipe {}", recipe.name), why));
        }
    }
    Ok(state)
}
