//! Products that are finished while their sums are in registers: of float32 by a shift, another map and limits, of integers by
//! what [`Requantise`] tells.

use super::pack::{Block, Choice, SumTile, Walk};
use super::{
    Element, Epilogue, Finish, FinishingHeights, FinishingKernel, Kernels, Packed, Requantise, Residual, Runs,
};
use std::ops::Range;

/// Pixels whose results are still in a core's first cache when the rest is done to them; a multiple of all tile heights.
const TOGETHER: usize = 48;

/// How products are finished.
pub struct Finishing<T: Element> {
    heights: &'static [FinishingHeights<T>],
    lanes: usize,
    /// What the sums begin with, up to whole vectors.
    begin: Vec<T::Sum>,
    /// How far integers are shifted, up to whole vectors.
    shift: Vec<u32>,
    factor: f32,
    limits: [T; 2],
}

/// Where results go, and what is added to them.
pub struct Finished<'a, T> {
    /// The map that is filled.
    pub out: &'a mut [T],
    /// Where each pixel begins.
    pub at: &'a [u32],
    /// What is added.
    pub residual: Option<Residual<'a, f32>>,
}

impl Finishing<f32> {
    /// None where these kernels do not finish, or not this epilogue.
    pub fn new(kernels: &Kernels, how: &Epilogue) -> Option<Self> {
        let (heights, lanes) = (kernels.finishing?, kernels.float.lanes);
        let bare = !how.floor && how.lift.is_empty() && how.before.is_empty();
        let mut begin = how.shift.clone();
        begin.resize(begin.len().next_multiple_of(lanes), 0.0);
        let (factor, limits) = (how.residual_factor, [how.low, how.high]);
        let plain = bare && how.scale.iter().all(|s| *s == 1.0);
        plain.then_some(Self { heights, lanes, begin, shift: Vec::new(), factor, limits })
    }
}

impl Finishing<u8> {
    /// None where these kernels do not finish.
    pub fn of_integers(kernels: &Kernels, how: &Requantise) -> Option<Self> {
        let (heights, lanes) = (kernels.finishing_bytes?, kernels.int.lanes);
        let (mut begin, mut shift) = (how.begin.clone(), how.shift.clone());
        begin.resize(begin.len().next_multiple_of(lanes), 0);
        shift.resize(begin.len(), 0);
        Some(Self { heights, lanes, begin, shift, factor: 1.0, limits: [how.low, how.high] })
    }
}

impl<T: Choice> Packed<T> {
    /// As [`Packed::run`], but stores what is finished; `each` is told the pixels and channels that are ready. What does not
    /// fill its vectors of channels goes to `rest` as sums.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`, or a pixel over the end of its map.
    pub fn finish(
        &self,
        how: &Finishing<T>,
        (runs, x, pixels): (&Runs, &[T], &[u32]),
        to: &mut Finished<'_, T>,
        mut each: impl FnMut(&mut [T], Range<usize>, Range<usize>),
        mut rest: impl FnMut(&mut [T], &SumTile<'_, T::Sum>),
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
        block: &Block<T>,
        (how, kernel): (&Finishing<T>, FinishingKernel<T>),
        (walk, x, pixels): (&Walk<'_>, &[T], &[u32]),
        to: &mut Finished<'_, T>,
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
        let shift = how.shift.get(block.channels.clone()).map_or(std::ptr::null(), <[u32]>::as_ptr);
        let finish = Finish { begin, shift, residual, residual_at, factor: how.factor, limits: how.limits };
        let (offsets, at) = (pixels[range.clone()].as_ptr(), to.at[range.clone()].as_ptr());
        let out = to.out[block.channels.start..].as_mut_ptr();
        // SAFETY: the kernels were chosen for this CPU; `walk` bounded the walk of every pixel; `range` has as many pixels as
        // the kernel takes; the block's weights are packed as its width asks; all of its channels are inside both maps, and
        // integers have a shift each.
        unsafe { kernel(x.as_ptr(), offsets, walk, self.weights(block), &finish, out, at) };
    }
}
