//! Quarter turns and mirror images as extra classes.
//!
//! Class `c` of the data becomes the classes `c·V … c·V + V − 1`, V = turns × (2 where flipped).
//! Variant `v` is the drawing mirrored left to right where `v ≥ turns`, then turned by
//! `v mod turns` quarters against the clock.

use crate::model::recipe::Sampling;
use crate::{Error, Result};
use ndarray::{Array4, ArrayView4};

/// The variants of every drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variants {
    turns: usize,
    flips: bool,
}

impl Variants {
    /// The drawing as it is.
    pub const NONE: Self = Self { turns: 1, flips: false };

    /// `turns` is 1 (none), 2 (half a turn) or 4.
    pub fn new(turns: usize, flips: bool) -> Result<Self> {
        if !matches!(turns, 1 | 2 | 4) {
            let why = format!("{turns} is not a number of turns: 1 (none), 2 or 4");
            return Err(Error::invalid("sampling.turns", why));
        }
        Ok(Self { turns, flips })
    }

    /// Those that a sampling makes.
    ///
    /// # Errors
    /// As [`Variants::new`].
    pub fn of_sampling(sampling: &Sampling) -> Result<Self> {
        match *sampling {
            Sampling::Images { turns, flips, .. } | Sampling::Classes { turns, flips, .. } => {
                Self::new(turns, flips)
            }
            Sampling::Episodes { turns, .. } => Self::new(turns, false),
            Sampling::ZippedPairs { .. } | Sampling::ListedPairs { .. } => Ok(Self::NONE),
        }
    }

    /// V, how many variants a drawing has.
    pub fn count(self) -> usize {
        self.turns * if self.flips { 2 } else { 1 }
    }

    /// The number of the class that variant `variant` of class `class` makes.
    pub fn class(self, class: usize, variant: usize) -> usize {
        class * self.count() + variant
    }

    /// Variant `variant` of images `[N, C, S, S]`.
    pub fn of(self, variant: usize, images: ArrayView4<'_, u8>) -> Array4<u8> {
        let mut made = Array4::zeros(images.raw_dim());
        let side = images.shape()[3];
        for (from, mut to) in images.outer_iter().zip(made.outer_iter_mut()) {
            for (from, mut to) in from.outer_iter().zip(to.outer_iter_mut()) {
                let from = from.as_standard_layout();
                if let (Some(from), Some(to)) = (from.as_slice(), to.as_slice_mut()) {
                    self.copy(variant, side, from, to);
                }
            }
        }
        made
    }

    /// Writes variant `variant` of a square plane of `side` × `side` pixels.
    pub(super) fn copy(self, variant: usize, side: usize, from: &[u8], to: &mut [u8]) {
        let (quarters, flipped) = (variant % self.turns * (4 / self.turns), variant >= self.turns);
        if (quarters, flipped) == (0, false) {
            return to.copy_from_slice(from);
        }
        let last = side - 1;
        for y in 0..side {
            for x in 0..side {
                // Where the pixel comes from: undo the turn, then the mirror.
                let (sy, sx) = match quarters {
                    0 => (y, x),
                    1 => (x, last - y),
                    2 => (last - y, last - x),
                    _ => (last - x, y),
                };
                to[y * side + x] = from[sy * side + if flipped { last - sx } else { sx }];
            }
        }
    }
}

/// Pairs of classes whose drawings may look the same, since they are variants of one class (an O
/// and its quarter turns): every variant with the first of its class. `classes` counts the
/// data's own classes.
pub fn siblings(classes: usize, turns: usize, flips: bool) -> Result<Vec<(usize, usize)>> {
    let variants = Variants::new(turns, flips)?;
    let of_class =
        |class| (1..variants.count()).map(move |v| (variants.class(class, v), variants.class(class, 0)));
    Ok((0..classes).flat_map(of_class).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn made(variants: Variants, variant: usize) -> Vec<u8> {
        let mut to = vec![0; 9];
        variants.copy(variant, 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &mut to);
        to
    }

    #[test]
    fn turns_go_against_the_clock_and_flips_mirror() {
        let all = Variants::new(4, true).unwrap();
        assert_eq!(made(all, 0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(made(all, 1), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(made(all, 2), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(made(all, 3), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
        assert_eq!(made(all, 4), [3, 2, 1, 6, 5, 4, 9, 8, 7]);
        assert_eq!(made(Variants::new(2, false).unwrap(), 1), made(all, 2));
        let distinct: std::collections::BTreeSet<_> = (0..8).map(|v| made(all, v)).collect();
        assert_eq!(distinct.len(), 8, "the eight symmetries of the square differ");
    }

    #[test]
    fn siblings_are_the_variants_of_one_class() {
        assert_eq!(siblings(2, 2, false).unwrap(), [(1, 0), (3, 2)]);
        assert!(siblings(5, 1, false).unwrap().is_empty());
        assert!(siblings(964, 4, true).unwrap().iter().all(|&(a, b)| a / 8 == b / 8 && b % 8 == 0 && a != b));
        assert!(siblings(2, 3, false).unwrap_err().to_string().contains("3 is not a number of turns"));
    }
}
