//! The inputs `batch.*`: what one step is trained on.

use super::TensorSpec;
use crate::graph::{DType, Expr, Graph};
use crate::model::Recipe;
use crate::model::recipe::Sampling;

/// The batch as graph values.
pub(super) struct Batch<'g> {
    /// `uint8 [B, C, S, S]`.
    pub images: Expr<'g>,
    /// What is known about them.
    pub targets: Targets<'g>,
    /// What the teacher makes of them, `float32 [B, T]`; none where the loss has no teacher.
    pub teacher: Option<Expr<'g>>,
    /// The same inputs, described.
    pub specs: Vec<TensorSpec>,
}

/// What is known about the images of a batch.
#[derive(Clone, Copy)]
pub(super) enum Targets<'g> {
    /// `float32 [B/2]`: 1 where image i and image i + B/2 are of one class, else 0.
    Same(Expr<'g>),
    /// `int64 [B]`: the class of each image.
    Labels(Expr<'g>),
    /// The order of the images tells: supports class by class, then queries class by class.
    Episode {
        /// Classes.
        way: usize,
        /// Supports of each class.
        shot: usize,
        /// Queries of each class.
        queries: usize,
    },
}

/// Declares the inputs that the recipe's sampling fills.
pub(super) fn inputs<'g>(g: &'g Graph, recipe: &Recipe) -> Batch<'g> {
    let mut specs = Vec::new();
    let images = image_count(&recipe.sampling);
    let mut declare = |name: &str, dtype: DType, shape: &[usize]| {
        specs.push(TensorSpec { name: name.into(), dtype, shape: shape.to_vec() });
        g.input(name, dtype, shape)
    };
    let [channels, height, width] = recipe.image();
    let shape = [images, channels, height, width];
    let images = declare("batch.images", DType::U8, &shape);
    let targets = match recipe.sampling {
        Sampling::ZippedPairs { batch } | Sampling::ListedPairs { batch, .. } => {
            Targets::Same(declare("batch.same", DType::F32, &[batch]))
        }
        Sampling::Images { .. } | Sampling::Classes { .. } => {
            Targets::Labels(declare("batch.labels", DType::I64, &shape[..1]))
        }
        Sampling::Episodes { way, shot, queries, .. } => Targets::Episode { way, shot, queries },
    };
    let teacher =
        recipe.loss.distil().map(|distil| declare("batch.teacher", DType::F32, &[shape[0], distil.dim]));
    Batch { images, targets, teacher, specs }
}

/// Images in one batch.
fn image_count(sampling: &Sampling) -> usize {
    match *sampling {
        Sampling::ZippedPairs { batch } | Sampling::ListedPairs { batch, .. } => 2 * batch,
        Sampling::Images { batch, .. } => batch,
        Sampling::Classes { classes, drawings, .. } => classes * drawings,
        Sampling::Episodes { way, shot, queries, .. } => way * (shot + queries),
    }
}
