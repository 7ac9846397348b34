//! The inputs `batch.*`: what one step is trained on.

use super::TensorSpec;
use crate::Result;
use crate::graph::{DType, Expr, Graph};
use crate::model::Recipe;
use crate::model::recipe::Sampling;

/// What is known about the images of a batch.
pub(super) struct Known<'g> {
    /// For the loss.
    pub targets: Targets<'g>,
    /// What the teacher, or the older tower, makes of them, `float32 [B, T]`; none where the loss has none.
    pub teacher: Option<Expr<'g>>,
}

/// What the loss is told about the images of a batch.
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

/// Declares the inputs that a recipe's sampling fills, for `count` images.
pub(super) struct Inputs<'g, 'r> {
    graph: &'g Graph,
    recipe: &'r Recipe,
    count: usize,
    /// Those declared so far.
    pub specs: Vec<TensorSpec>,
}

impl<'g, 'r> Inputs<'g, 'r> {
    pub(super) fn new(graph: &'g Graph, recipe: &'r Recipe, count: usize) -> Self {
        Self { graph, recipe, count, specs: Vec::new() }
    }

    /// `uint8 [B, C, S, S]`.
    pub(super) fn images(&mut self) -> Expr<'g> {
        let [channels, height, width] = self.recipe.image();
        self.declare("batch.images", DType::U8, &[self.count, channels, height, width])
    }

    /// # Errors
    /// As [`Recipe::teacher`].
    pub(super) fn known(&mut self) -> Result<Known<'g>> {
        let count = self.count;
        let targets = match self.recipe.sampling {
            Sampling::ZippedPairs { .. } | Sampling::ListedPairs { .. } => {
                Targets::Same(self.declare("batch.same", DType::F32, &[count / 2]))
            }
            Sampling::Images { .. } | Sampling::Classes { .. } => {
                Targets::Labels(self.declare("batch.labels", DType::I64, &[count]))
            }
            Sampling::Episodes { way, shot, queries, .. } => Targets::Episode { way, shot, queries },
        };
        let teacher = self.recipe.teacher()?;
        let teacher = teacher.map(|told| self.declare("batch.teacher", DType::F32, &[count, told.dim]));
        Ok(Known { targets, teacher })
    }

    fn declare(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Expr<'g> {
        self.specs.push(TensorSpec { name: name.into(), dtype, shape: shape.to_vec() });
        self.graph.input(name, dtype, shape)
    }
}
