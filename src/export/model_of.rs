//! The ONNX model of a recipe's tower, read: from a run's folder, a tower's file, or a foreign model that is
//! imported on the way.

use super::{ImportOptions, import};
use crate::image::{Colour, Frame, Preprocessing};
use crate::model::recipe::Tower;
use crate::model::{Backbone, Facts, Recipe};
use crate::tower::{self, TowerKind, TowerSpec};
use crate::{Error, Result};
use prost::Message;
use std::path::Path;
use std::sync::Arc;

/// The file in a run's folder that keeps the model as it was before the training.
pub const MODEL_FILE: &str = "model.onnx";

/// The recipe with the model of its tower read, its size and SHA-256 filled in. A run's folder has a model of its
/// own. Nothing happens to towers of layers, or to models that were read.
///
/// # Errors
/// A file that is no tower and cannot be imported without options; an exact tower, or one that takes one picture
/// at a time; a recipe that speaks of ink where the model takes colours, or the reverse; operators that have no
/// derivative, all of them named; other keys that do not fit the model.
pub fn with_model(recipe: Recipe, run: Option<&Path>) -> Result<Recipe> {
    let Some(onnx) = recipe.tower.onnx().filter(|onnx| onnx.read.0.is_none()) else {
        return Ok(recipe);
    };
    let kept = run.map(|run| run.join(MODEL_FILE)).filter(|path| path.is_file());
    let path = kept.unwrap_or_else(|| onnx.onnx.clone());
    let read = backbone(&path).map_err(|e| e.at(&path.display().to_string()))?;
    if let Some(told) = onnx.sha256.as_ref().filter(|told| *told != read.sha256()) {
        let why = format!(
            "is not the model that recipe {} was made for: SHA-256 {told} there, {} here",
            recipe.name,
            read.sha256()
        );
        return Err(Error::invalid(path.display(), why));
    }
    check_pictures(&recipe, read.preprocessing())?;
    let mut recipe = recipe;
    recipe.size = read.preprocessing().size();
    if let Tower::Onnx(onnx) = &mut recipe.tower {
        onnx.sha256 = Some(read.sha256().into());
        onnx.read.0 = Some(Arc::new(read));
    }
    recipe.validate()?;
    Ok(recipe)
}

fn backbone(path: &Path) -> Result<Backbone> {
    let name = path.display().to_string();
    let given = tower::read_bytes(path)?;
    let model = tower::decode(&given, &name)?;
    let (bytes, notes) = match model.metadata("siamese.format") {
        Some(_) => (given, Vec::new()),
        None => {
            let imported = import(path, &ImportOptions::default())?;
            (imported.model.encode_to_vec(), imported.notes)
        }
    };
    let (spec, model) = TowerSpec::from_bytes(&bytes, &name)?;
    if spec.kind == TowerKind::Exact {
        let why = "is an exact tower, whose integers cannot be moved a little; train the float tower that it was \
                   made of";
        return Err(Error::invalid("the model", why));
    }
    if spec.batch.is_some() {
        let why = "takes one picture at a time (siamese.batch = 1), and is trained on batches; export the model \
                   with an open batch, and import it again";
        return Err(Error::invalid("the model", why));
    }
    let facts = Facts { preprocessing: spec.preprocessing, dim: spec.dim, sha256: spec.sha256, notes };
    Backbone::new(bytes, model, facts)
}

/// What a recipe says of pictures must be so of the model's.
fn check_pictures(recipe: &Recipe, own: &Preprocessing) -> Result<()> {
    if recipe.size != 0 && recipe.size != own.size() {
        let why = format!("is {}, but the model takes {}; leave it out", recipe.size, own.size());
        return Err(Error::invalid("size", why));
    }
    match recipe.colour {
        Some(_) if own.channels() == 1 => {
            let why = "the recipe is one of colours, and the model takes ink; leave it out, or name a model that \
                       takes colours";
            return Err(Error::invalid("colour", why));
        }
        Some(colour) if colour != Colour::default() && *own != own.in_colour(colour) => {
            let why = "the model lays pictures its own way; leave it out, or give {}";
            return Err(Error::invalid("colour", why));
        }
        _ => {}
    }
    if recipe.frame == Frame::Ink && !matches!(own, Preprocessing::Ink { frame: Frame::Ink, .. }) {
        let takes = if own.channels() == 1 { "the whole picture" } else { "colours" };
        let why =
            format!("the recipe lays the square around the ink, and the model takes {takes}; leave it out");
        return Err(Error::invalid("frame", why));
    }
    Ok(())
}
