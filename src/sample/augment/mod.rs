//! Random distortion of images: of drawings and of pictures.
//!
//! Only additions, multiplications and comparisons of IEEE 754 numbers and of integers are used, in a fixed
//! order, so the pixels are the same to the bit on every machine.

mod soften;
mod tint;
mod warp;

use crate::Result;
use crate::model::recipe::Augment;
use crate::random::{Stream, happens};
use soften::{Blur, Patch};
use tint::Tint;
use warp::Shape;

/// The distortions of a recipe for images of one size.
#[derive(Clone, Debug)]
pub struct Distortion {
    how: Augment,
    channels: usize,
    side: usize,
}

/// One distortion, drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    shape: Shape,
    blur: Option<Blur>,
    tint: Option<Tint>,
    patch: Option<Patch>,
}

impl Distortion {
    /// For images `[C, S, S]` of `channels` and `side`: ink, or colours.
    ///
    /// # Errors
    /// As [`Augment::validate`].
    pub fn new(how: &Augment, channels: usize, side: usize) -> Result<Self> {
        how.validate(channels == 3)?;
        Ok(Self { how: how.clone(), channels, side })
    }

    /// Draws a distortion; `None` where this image is left as it is.
    pub fn draw(&self, rng: &mut Stream) -> Option<Drawn> {
        let Self { how, side, .. } = self;
        if !happens(rng, how.probability) {
            return None;
        }
        let shape = Shape::draw(how, *side, rng);
        let blur = (how.blur > 0.0).then(|| Blur::draw(how.blur, rng)).flatten();
        let tint = Tint::draw(how, rng);
        let patch = (how.erase > 0.0).then(|| Patch::draw(how.erase, *side, rng)).flatten();
        Some(Drawn { shape, blur, tint, patch })
    }

    /// Distorts an image `[C, S, S]` as drawn.
    ///
    /// # Panics
    /// Where a slice is not of C × S × S pixels.
    pub fn apply(&self, drawn: &Drawn, from: &[u8], to: &mut [u8]) {
        let (side, area) = (self.side, self.side * self.side);
        let count = self.channels * area;
        assert!(from.len() == count && to.len() == count, "images of {} × {side} × {side}", self.channels);
        if self.channels == 3 {
            drawn.shape.colours(from, to);
        } else {
            let planes = from.chunks_exact(area).zip(to.chunks_exact_mut(area));
            planes.for_each(|(from, to)| drawn.shape.ink(from, to));
        }
        if let Some(blur) = &drawn.blur {
            to.chunks_exact_mut(area).for_each(|plane| blur.apply(plane, side));
        }
        if let Some(tint) = &drawn.tint {
            tint.apply(to);
        }
        if let Some(patch) = &drawn.patch {
            patch.apply(to, side);
        }
    }
}

#[cfg(test)]
mod tests;
