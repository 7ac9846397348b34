//! Within-class covariance normalisation of a trained embedding (see [`crate::embed::within_class`]).

use crate::data::Dataset;
use crate::embed::{rounding_matrix, within_class};
use crate::export::float;
use crate::model::{DistanceKind, Params, Recipe, WCCN};
use crate::runtime::{ORT, Options};
use crate::tower::Provenance;
use crate::{Error, Result};
use prost::Message;

/// Finds M by the undistorted training images and adds it to the parameters, where the recipe asks for it.
pub(super) fn add(recipe: &Recipe, params: &mut Params, training: &Dataset, runtime: &Options) -> Result<()> {
    let Some(smoothing) = recipe.wccn else { return Ok(()) };
    let plain = Recipe { wccn: None, ..recipe.clone() };
    let tower = float(&plain, params, &Provenance::default())?.encode_to_vec();
    let mut tower = ORT.with(runtime.clone())?.load_bytes(&tower, "the trained tower")?;
    let mut embeddings = tower.embed(training.images.view())?.mapv(f64::from);
    if recipe.distance() == DistanceKind::Cosine {
        for mut row in embeddings.outer_iter_mut() {
            row /= row.dot(&row).sqrt().max(f64::MIN_POSITIVE);
        }
    }
    let fault = |why| Error::invalid(format!("recipe {}: wccn", recipe.name), why);
    let within = within_class(embeddings, &training.by_class())
        .ok_or_else(|| fault("needs classes of two drawings or more"))?;
    let matrix = rounding_matrix(within, f64::from(smoothing))
        .ok_or_else(|| fault("found no variance within classes; the embedding collapsed"))?;
    params.insert(WCCN.into(), matrix.mapv(|x| x as f32).into_dyn());
    Ok(())
}
