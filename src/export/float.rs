//! Trained parameters → a float tower.

use crate::graph::{DType, Graph, Tensor};
use crate::model::{self, DistanceKind, Forward, Kind, Mode, Params, Part, Recipe};
use crate::onnx::ModelProto;
use crate::tower::{Distance, INPUT, OUTPUT, Provenance, TowerKind, TowerSpec};
use crate::{Error, Result};

/// Builds the float tower of a recipe: `image: uint8 [N, C, S, S]` → `embedding: float32 [N, D]`, batch
/// normalisation folded into the convolutions, everything else as in training. Of a tower that is an ONNX
/// model, that model with other weights. `told` is written into the metadata; its recipe is set here.
///
/// # Errors
/// A parameter that is missing, of another shape than the recipe's, or not finite.
pub fn float(recipe: &Recipe, params: &Params, told: &Provenance) -> Result<ModelProto> {
    if recipe.tower.onnx().is_some() {
        return of_model(recipe, params, told);
    }
    let folded = fold(recipe, params)?;
    let g = Graph::new(&recipe.name);
    let embedding = build(&g, recipe, &folded)?.embedding;
    g.output(OUTPUT, embedding);
    let mut model = g.to_model_batched("N")?;
    describe(&mut model, recipe, TowerKind::Float, embedding.dim(1), distance(recipe, params)?)?;
    Provenance { recipe: Some(recipe.clone()), ..told.clone() }.write(&mut model)?;
    Ok(model)
}

/// An ONNX model as it was, with what it has learned.
fn of_model(recipe: &Recipe, params: &Params, told: &Provenance) -> Result<ModelProto> {
    let unread = || Error::invalid(format!("recipe {}", recipe.name), "its model was not read");
    let (how, backbone) = recipe.backbone()?.ok_or_else(unread)?;
    let mut model = backbone.trained(how, params)?;
    describe(&mut model, recipe, TowerKind::Float, backbone.dim(), distance(recipe, params)?)?;
    let source = told.source.clone().or(Provenance::read(&model)?.source);
    Provenance { recipe: Some(recipe.clone()), source, ..told.clone() }.write(&mut model)?;
    Ok(model)
}

/// Builds the tower with folded parameters as its constants.
pub(super) fn build<'g>(g: &'g Graph, recipe: &Recipe, folded: &Params) -> Result<Forward<'g>> {
    let [channels, height, width] = recipe.image();
    let image = g.input(INPUT, DType::U8, &[1, channels, height, width]);
    let values = folded
        .iter()
        .filter(|(name, _)| !name.starts_with("head."))
        .map(|(name, array)| (name.clone(), g.initializer(name, Tensor::F32(array.clone()))));
    model::forward(recipe, image, &values.collect(), Mode::Folded)
}

/// The tower's parameters with batch normalisation folded in.
pub(super) fn fold(recipe: &Recipe, params: &Params) -> Result<Params> {
    let mut folded = model::fold(recipe, params)?;
    for param in folded.values_mut() {
        *param = param.as_standard_layout().into_owned();
    }
    Ok(folded)
}

/// Writes the metadata that every tower has.
pub(super) fn describe(
    model: &mut ModelProto,
    recipe: &Recipe,
    kind: TowerKind,
    dim: usize,
    distance: Distance,
) -> Result<()> {
    let spec = TowerSpec {
        name: recipe.name.clone(),
        kind,
        preprocessing: recipe.preprocessing(),
        dim,
        distance,
        batch: None,
        compatible_with: recipe.compatible.as_ref().and_then(|old| old.sha256.clone()),
        sha256: String::new(),
    };
    spec.write_metadata(model)
}

/// The distance that the recipe's loss shapes the embedding for.
pub(super) fn distance(recipe: &Recipe, params: &Params) -> Result<Distance> {
    Ok(match recipe.distance() {
        DistanceKind::L2 => Distance::L2,
        DistanceKind::Cosine => Distance::Cosine,
        DistanceKind::WeightedL1 => {
            let alpha = params.get("head.alpha").ok_or_else(|| {
                Error::invalid("parameter head.alpha", "is missing; the recipe's distance needs its weights")
            })?;
            Distance::WeightedL1 { alpha: alpha.iter().copied().collect() }
        }
    })
}

/// Whether the tower ends in rows of unit length.
pub(super) fn normalised(parts: &[Part]) -> bool {
    let last = parts.iter().rev().find(|part| !matches!(part.kind, Kind::Dropout(_)));
    last.is_some_and(|part| part.kind == Kind::L2Norm)
}
