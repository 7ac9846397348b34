//! Seeded batches and episodes of a data set.
//!
//! Batch `k` is a pure function of (seed, `k`), whatever the number of threads and whatever was
//! drawn before: a run that is resumed at step `k` sees what it would have seen. A [`Sampler`]
//! gives pixels and targets for training; an [`EpisodeSampler`] gives indices for evaluation.

mod augment;
mod episodes;
mod epochs;
mod fit;
mod plan;
mod pool;
#[cfg(test)]
mod tests;
mod variant;

pub use augment::{Distortion, Drawn};
pub use episodes::{Episode, EpisodeSampler, EpisodeSpec, episodes};
pub use fit::fitted;
pub use variant::{Variants, siblings};

use crate::data::Dataset;
use crate::model::recipe::{Augment, Sampling};
use crate::random::stream;
use crate::{Error, Result};
use ndarray::{Array4, ArrayD, IxDyn};
use plan::{Classes, Episodes, Images, ListedPairs, Pick, Plan, ZippedPairs};
use rand::Rng;
use rayon::prelude::*;
use std::sync::Arc;

/// A training batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Ink levels or colours `[B, C, S, S]`. Pairs: the first half are their left images, the second half
    /// their right ones. Episodes: supports class by class, then queries class by class.
    pub images: Array4<u8>,
    /// What the loss is told.
    pub targets: Targets,
    /// What each is made of, `[B]`: variant v of image i of the data's N is `v·N + i`.
    pub drawn: Vec<usize>,
}

impl Targets {
    /// What the loss is told about the images at these places; of pairs both images must be there, left ones first.
    #[must_use]
    pub fn of(&self, rows: &[usize]) -> Self {
        match self {
            Self::Same(same) => Self::Same(rows[..rows.len() / 2].iter().map(|&row| same[row]).collect()),
            Self::Labels(labels) => Self::Labels(rows.iter().map(|&row| labels[row]).collect()),
            Self::Episode => Self::Episode,
        }
    }
}

/// What the loss is told about a batch of B images.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// For each pair 1 where the classes agree, else 0, `[B / 2]`.
    Same(Vec<f32>),
    /// The class of each image, turns and flips counted, `[B]`.
    Labels(Vec<i64>),
    /// Nothing: the order of the images tells.
    Episode,
}

/// An endless source of batches.
pub trait Sampler: Send + Sync {
    /// Batch `k`, the same whenever and from whatever thread it is asked for.
    fn batch(&self, k: u64) -> Batch {
        self.part(k, &(0..self.batch_images()).collect::<Vec<_>>())
    }
    /// Batch `k` with the images at these places alone, in this order, the same as in the whole; what is known of the
    /// others is there too.
    fn part(&self, k: u64, rows: &[usize]) -> Batch;
    /// B, the images of a batch.
    fn batch_images(&self) -> usize;
    /// The number of classes, turns and flips counted.
    fn classes(&self) -> usize;
}

/// The sampler of a recipe.
///
/// # Errors
/// Where the data cannot fill a batch (too few images, classes, or drawings of a class, which is
/// named), or a setting is out of its range.
pub fn sampler(
    sampling: &Sampling,
    augment: Option<&Augment>,
    data: Arc<Dataset>,
    seed: u64,
) -> Result<Box<dyn Sampler>> {
    let (plan, variants): (Box<dyn Plan>, _) = match *sampling {
        Sampling::ZippedPairs { batch } => (Box::new(ZippedPairs::new(&data, batch, seed)?), Variants::NONE),
        Sampling::ListedPairs { batch, n_samples } => {
            (Box::new(ListedPairs::new(&data, batch, n_samples, seed)?), Variants::NONE)
        }
        Sampling::Images { batch, turns, flips } => {
            let variants = Variants::new(turns, flips)?;
            (Box::new(Images::new(&data, batch, variants, seed)?), variants)
        }
        Sampling::Classes { classes, drawings, turns, flips, within, different_makers } => {
            let variants = Variants::new(turns, flips)?;
            let plan = Classes::new(&data, (classes, drawings), variants, within, seed)?;
            (Box::new(if different_makers { plan.apart(&data)? } else { plan }), variants)
        }
        Sampling::Episodes { way, shot, queries, turns, within } => {
            let variants = Variants::new(turns, false)?;
            if shot == 0 || queries == 0 {
                return Err(Error::invalid("sampling", "an episode needs at least 1 shot and 1 query"));
            }
            let classes = Classes::new(&data, (way, shot + queries), variants, within, seed)?;
            (Box::new(Episodes { classes, shot }), variants)
        }
    };
    let distortion = augment.map(|a| Distortion::new(a, data.images.shape()[1], data.size())).transpose()?;
    Ok(Box::new(Painter { plan, variants, distortion, batch_images: sampling.images(), data, seed }))
}

/// Makes the pixels of a plan.
struct Painter {
    plan: Box<dyn Plan>,
    variants: Variants,
    distortion: Option<Distortion>,
    batch_images: usize,
    data: Arc<Dataset>,
    seed: u64,
}

impl Sampler for Painter {
    fn part(&self, k: u64, rows: &[usize]) -> Batch {
        let (picks, targets) = self.plan.plan(k);
        let (_, channels, side, _) = self.data.images.dim();
        let mut images = Array4::zeros((rows.len(), channels, side, side));
        if let Some(pixels) = images.as_slice_mut() {
            pixels
                .par_chunks_mut((channels * side * side).max(1))
                .zip(rows)
                .for_each(|(to, &row)| self.paint(k, row as u64, picks[row], to));
        }
        let drawn = picks.iter().map(|pick| pick.variant * self.data.len() + pick.image).collect();
        Batch { images, targets, drawn }
    }

    fn batch_images(&self) -> usize {
        self.batch_images
    }

    fn classes(&self) -> usize {
        self.data.classes.len() * self.variants.count()
    }
}

impl Painter {
    /// Writes image `i` of batch `k`, `[C, S, S]`; what moves pixels moves all channels alike.
    fn paint(&self, k: u64, i: u64, pick: Pick, to: &mut [u8]) {
        let side = self.data.size();
        let drawn = self.distortion.as_ref().and_then(|distortion| {
            Some((distortion, distortion.draw(&mut stream(self.seed, "augment", k, i))?))
        });
        let turn = |to: &mut [u8]| {
            let image = self.data.image(pick.image);
            for (from, to) in image.outer_iter().zip(to.chunks_exact_mut(side * side)) {
                // Rows of a subset of a standard array are in order: no copy is made.
                let from = from.as_standard_layout();
                let Some(from) = from.as_slice() else { continue };
                self.variants.copy(pick.variant, side, from, to);
            }
        };
        match drawn {
            None => turn(to),
            Some((distortion, drawn)) => {
                let mut turned = vec![0; to.len()];
                turn(&mut turned);
                distortion.apply(&drawn, &turned, to);
            }
        }
    }
}

/// The dropout mask `index` of step `k`: each element is 0, or 1 / `keep` with probability `keep`.
///
/// A `keep` of 1 or more gives ones.
pub fn mask(seed: u64, k: u64, index: usize, shape: &[usize], keep: f32) -> ArrayD<f32> {
    if keep >= 1.0 {
        return ArrayD::ones(IxDyn(shape));
    }
    let mut rng = stream(seed, "mask", k, index as u64);
    // P(a 32-bit number is below the threshold) = keep, to 2⁻³².
    let threshold = (f64::from(keep) * 4_294_967_296.0) as u64;
    let kept = 1.0 / keep;
    let mut spare = None;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        let bits = spare.take().unwrap_or_else(|| {
            let both = rng.next_u64();
            spare = Some(both >> 32);
            both & 0xffff_ffff
        });
        if bits < threshold { kept } else { 0.0 }
    })
}
