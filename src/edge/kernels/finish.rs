//! Products of float32 that are finished while their sums are in registers: shift, another map, limits.

use super::pack::{Block, SumTile, Walk};
use super::{Epilogue, Finish, FinishingHeights, FinishingKernel, Kernels, Packed, Residual, Runs};
use std::ops::Range;

/// Pixels whose results are still in a core's first cache when the rest is done to them; a multiple of all tile heights.
const TOGETHER: usize = 48;

/// A product of float32 whose epilogue but shifts, adds and limits.
pub struct Finishing {
    heights: &'static [FinishingHeights],
    lanes: usize,
    /// What the sums begin with, up to whole vectors.
    begin: Vec<f32>,
    factor: f32,
    limits: [f32; 2],
}

/// Where results go, and what is added to them.
pub struct Finished<'a> {
    /// The map that is filled, and where each pixel begins.
    pub out: &'a mut [f32],
    /// Where each pixel begins.
    pub at: &'a [u32],
    /// What is added.
    pub residual: Option<Residual<'a, f32>>,
}

impl Finishing {
    /// None where these kernels do not finish, or not this epilogue.
    pub fn new(kernels: &Kernels, how: &Epilogue) -> Option<Self> {
        let heights = kernels.finishing?;
        let plain = !how.floor && how.lift.is_empty() && how.before.is_empty() && how.scale.iter().all(|s| *s == 1.0);
        let lanes = kernels.float.lanes;
        let mut begin = how.shift.clone();
        begin.resize(begin.len().next_multiple_of(lanes), 0.0);
        let (factor, limits) = (how.residual_factor, [how.low, how.high]);
        plain.then_some(Self { heights, lanes, begin, factor, limits })
    }
}

impl Packed<f32> {
    /// As [`Packed::run`], but stores what is finished; `each` is told the pixels and channels that are ready. What is left
    /// of the last vector of channels goes to `rest` as sums.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`, or a pixel over the end of its map.
    pub fn finish(
        &self,
        how: &Finishing,
        (runs, x, pixels): (&Runs, &[f32], &[u32]),
        to: &mut Finished<'_>,
        mut each: impl FnMut(&mut [f32], Range<usize>, Range<usize>),
        mut rest: impl FnMut(&mut [f32], &SumTile<'_, f32>),
    ) {
        let walk = self.walk(runs, x, pixels);
        let many = self.pixels_at_once();
        for (chunk, part) in pixels.chunks(many).enumerate() {
            let first = chunk * many;
            for block in &self.blocks {
                if block.channels.len() < block.width {
                    // The last lanes would lie in the next pixel.
                    self.run_part(block, &walk, x, part, |mut tile| {
                        tile.pixels = tile.pixels.start + first..tile.pixels.end + first;
                        rest(to.out, &tile);
                    });
                    continue;
                }
                let heights = how.heights[block.width / how.lanes - 1];
                for begin in (first..first + part.len()).step_by(TOGETHER) {
                    let end = (begin + TOGETHER).min(first + part.len());
                    let mut done = begin;
                    for &(height, kernel) in heights {
                        while end - done >= height {
                            self.store(block, (how, kernel), (&walk, x, pixels), to, done..done + height);
                            done += height;
                        }
                    }
                    each(to.out, begin..end, block.channels.clone());
                }
            }
        }
    }

    /// Calls a finishing kernel for some of the pixels, whose walks were found to be inside `x`.
    fn store(
        &self,
        block: &Block<f32>,
        (how, kernel): (&Finishing, FinishingKernel),
        (walk, x, pixels): (&Walk<'_>, &[f32], &[u32]),
        to: &mut Finished<'_>,
        range: Range<usize>,
    ) {
        let inside = |at: &[u32], length: usize| {
            let last = at[range.clone()].iter().copied().max().unwrap_or(0) as usize;
            assert!(last + block.channels.end <= length, "a pixel reaches over the end of its buffer");
        };
        inside(to.at, to.out.len());
        let (mut residual, mut residual_at) = (std::ptr::null(), std::ptr::null());
        if let Some(other) = &to.residual {
            inside(other.at, other.data.len());
            residual = other.data[block.channels.start..].as_ptr();
            residual_at = other.at[range.clone()].as_ptr();
        }
        let begin = how.begin[block.channels.clone()].as_ptr();
        let finish = Finish { begin, residual, residual_at, factor: how.factor, limits: how.limits };
        let (offsets, at) = (pixels[range.clone()].as_ptr(), to.at[range.clone()].as_ptr());
        let out = to.out[block.channels.start..].as_mut_ptr();
        // SAFETY: the kernels were chosen for this CPU; `walk` bounded the walk of every pixel; `range` has as many pixels as
        // the kernel takes; the block's weights are packed as its width asks; all of its channels are inside both maps.
        unsafe { kernel(x.as_ptr(), offsets, walk, self.weights(block), &finish, out, at) };
    }
}
