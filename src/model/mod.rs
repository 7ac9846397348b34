//! Towers as lists of layers from a recipe, and their parameters.
//!
//! A layer is described once, in `layer`, as the parts that it is made of (products, normalisations,
//! activations, sums). [`plan`] lays the parts of a recipe's tower, named, wired and with their shapes; all else
//! walks over them: [`param_specs`] lists what they learn, [`forward`] builds them into a graph for training,
//! inference or export, [`fold()`] and [`cost()`] take what concerns them.
//!
//! A tower may be an ONNX model instead ([`Backbone`]): it has no parts, but parameters and a graph as well.

mod augment;
mod backbone;
mod change;
mod compatible;
mod cost;
mod distil;
mod fold;
mod forward;
mod init;
mod layer;
mod layers;
mod load;
mod micro;
mod params;
mod plan;
pub mod recipe;
mod shipped;
mod specs;
mod structure;
mod validate;

pub use backbone::{Backbone, BatchNorm, Facts, OnnxTower};
pub use compatible::Teacher;
pub use cost::{Cost, cost};
pub use fold::fold;
pub(crate) use forward::unit_length;
pub use forward::{Forward, MaskSpec, Mode, Statistic, forward, forward_with};
pub use init::{initialise, seeded};
pub use micro::MicroBatches;
pub use params::{Params, parse_params, read_params, read_tower, shaped, write_params};
pub use plan::{Kind, Part, Product, plan};
pub use recipe::Recipe;
pub use shipped::{SHIPPED, shipped_params};
pub use specs::{ParamSpec, Role, embedding_dim, param_specs};

use crate::image::Preprocessing;

/// Added to the variance in batch normalisation.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Share of the batch's own statistics in the running ones after each step.
pub const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// The parameter that holds the matrix `[D, D]` of [`Recipe::wccn`].
pub const WCCN: &str = "wccn.weight";

/// The distance that a loss shapes the embedding for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistanceKind {
    /// `√Σ (aⱼ − bⱼ)²`.
    L2,
    /// `1 − a·b / (‖a‖‖b‖)`.
    Cosine,
    /// `−Σ αⱼ|aⱼ − bⱼ|` with the learned parameter `head.alpha`.
    WeightedL1,
}

impl Recipe {
    /// The same recipe over another number of steps; a warm-up keeps its share of them.
    #[must_use]
    pub fn over(mut self, steps: u64) -> Self {
        if let recipe::Schedule::Cosine { warm_up } = &mut self.schedule {
            *warm_up = (u128::from(*warm_up) * u128::from(steps) / u128::from(self.steps.max(1))) as u64;
        }
        self.steps = steps;
        self
    }

    /// How pictures become its tower's input.
    pub fn preprocessing(&self) -> Preprocessing {
        if let Ok(Some((_, backbone))) = self.backbone() {
            return backbone.preprocessing().clone();
        }
        match self.colour {
            Some(colour) => Preprocessing::ink(self.size).in_colour(colour),
            None => Preprocessing::framed(self.size, self.frame),
        }
    }

    /// The shape of one image, `[C, S, S]`.
    pub fn image(&self) -> [usize; 3] {
        [self.preprocessing().channels(), self.size, self.size]
    }

    /// The distance that the loss shapes the embedding for.
    pub fn distance(&self) -> DistanceKind {
        let loss = match &self.loss {
            // Beside a loss on labels it is that which shapes the embedding.
            recipe::Loss::Distil(distil) => match (&distil.beside, distil.by) {
                (Some(loss), _) => loss,
                (None, recipe::Likeness::Square) => return DistanceKind::L2,
                (None, recipe::Likeness::Cosine | recipe::Likeness::Relations) => {
                    return DistanceKind::Cosine;
                }
            },
            loss => loss,
        };
        match loss {
            recipe::Loss::Spring { .. } | recipe::Loss::SpringLinear { .. } | recipe::Loss::Prototype => {
                DistanceKind::L2
            }
            recipe::Loss::Softmax
            | recipe::Loss::Cosine { .. }
            | recipe::Loss::Contrast { .. }
            | recipe::Loss::Distil(_) => DistanceKind::Cosine,
            recipe::Loss::Sigmoid => DistanceKind::WeightedL1,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
