//! Weights in the order in which the kernels read them, and the safe way into a kernel.

use super::{Element, Heights, Kernels, MAX_SUMS, MicroKernel, MicroKernels};
use std::ops::Range;

/// The way over an image `[H, W, C]` that the window of one output pixel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Rows of the window.
    pub rows: usize,
    /// Elements from one row of the image to the next.
    pub row_stride: usize,
    /// Steps along each row of the window, each over [`Element::GROUP`] elements.
    pub steps: usize,
}

/// Where the windows, tiles, rows or pixels of a map begin in its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(Vec<u32>);

impl Offsets {
    /// None if there are none, or more than 2³² elements before one.
    pub fn new(offsets: &[usize]) -> Option<Self> {
        if offsets.is_empty() {
            return None;
        }
        offsets.iter().map(|o| u32::try_from(*o).ok()).collect::<Option<_>>().map(Self)
    }

    /// In elements.
    pub fn all(&self) -> &[u32] {
        &self.0
    }
}

/// 64 bytes that begin at a multiple of 64: loads of whole vectors never straddle cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[repr(C, align(64))]
struct Buffer<S>([S; MAX_SUMS]);

/// Consecutive vectors of output channels that are summed together.
struct Block<T: Element> {
    heights: Heights<T>,
    channels: Range<usize>,
    /// Sums a pixel, with those of the last vector that are no channels.
    width: usize,
    /// Byte where the weights begin, a multiple of 64.
    at: usize,
}

/// The weights of a convolution for one kernel.
pub struct Packed<T: Element> {
    blocks: Vec<Block<T>>,
    lines: Vec<Line>,
    rows: usize,
    steps: usize,
}

/// A tile of sums that are ready.
pub struct SumTile<'a, S> {
    /// The pixels, by their place in the map.
    pub pixels: Range<usize>,
    /// The output channels.
    pub channels: Range<usize>,
    /// Sums from one pixel to the next.
    pub width: usize,
    /// `[pixels, width]`.
    pub sums: &'a [S],
}

/// The kernels of an element type.
pub trait Choice: Element {
    /// `highest`: no input is above it.
    #[doc(hidden)]
    fn micro_kernels(kernels: &'static Kernels, highest: u8) -> Hidden<Self>
    where
        Self: Sized;
    /// The bytes of a weight, in the order of this CPU.
    #[doc(hidden)]
    fn bytes(weight: Self::Weight) -> impl AsRef<[u8]>;
}

/// Hides the set from the trait's callers.
pub struct Hidden<T: Element>(&'static MicroKernels<T>);

impl Choice for f32 {
    fn micro_kernels(kernels: &'static Kernels, _: u8) -> Hidden<Self> {
        Hidden(kernels.float)
    }
    fn bytes(weight: f32) -> impl AsRef<[u8]> {
        weight.to_ne_bytes()
    }
}

impl Choice for u8 {
    fn micro_kernels(kernels: &'static Kernels, highest: u8) -> Hidden<Self> {
        Hidden(if highest > 127 { kernels.wide } else { kernels.int })
    }
    fn bytes(weight: i8) -> impl AsRef<[u8]> {
        weight.to_ne_bytes()
    }
}

impl<T: Choice> Packed<T> {
    /// Packs the weights of `channels` outputs, each of `rows` runs of `run` elements:
    /// `weight(channel, row, place in the run)`. No input is above `highest`.
    pub fn new(
        kernels: &'static Kernels,
        highest: u8,
        channels: usize,
        [rows, run]: [usize; 2],
        weight: impl Fn(usize, usize, usize) -> T::Weight,
    ) -> Self {
        let set = T::micro_kernels(kernels, highest).0;
        let steps = run.div_ceil(T::GROUP);
        let (mut blocks, mut bytes) = (Vec::new(), Vec::new());
        let mut first = 0;
        for vectors in shares(channels.div_ceil(set.lanes), set.widths.len()) {
            let width = vectors * set.lanes;
            let channels = first..channels.min(first + width);
            let heights = set.widths[vectors - 1];
            blocks.push(Block { heights, channels: channels.clone(), width, at: bytes.len() });
            for (row, step) in (0..rows).flat_map(|row| (0..steps).map(move |step| (row, step))) {
                // One line a vector: its lanes and the members of their groups.
                for j in 0..width * T::GROUP {
                    let (vector, within) = (j / (set.lanes * T::GROUP), j % (set.lanes * T::GROUP));
                    let (lane, i) = if set.grouped {
                        (within / T::GROUP, within % T::GROUP)
                    } else {
                        (within % set.lanes, within / set.lanes)
                    };
                    let (channel, place) = (first + vector * set.lanes + lane, step * T::GROUP + i);
                    // What a group reads beyond its run, it multiplies by nothing.
                    let inside = channels.contains(&channel) && place < run;
                    let w = if inside { weight(channel, row, place) } else { T::Weight::default() };
                    bytes.extend_from_slice(T::bytes(w).as_ref());
                }
            }
            bytes.resize(bytes.len().next_multiple_of(64), 0);
            first += width;
        }
        let lines = bytes.as_chunks::<64>().0.iter().map(|chunk| Line(*chunk)).collect();
        Self { blocks, lines, rows, steps }
    }

    /// Sums the products for all pixels, by where their windows begin; `each` takes them tile by tile.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`.
    pub fn run(&self, row_stride: usize, x: &[T], pixels: &[u32], mut each: impl FnMut(SumTile<'_, T::Sum>)) {
        let walk = self.walk(row_stride, x, pixels);
        let mut sums = Buffer([T::Sum::default(); MAX_SUMS]);
        for block in &self.blocks {
            for_tiles(block, pixels.len(), |range, kernel| {
                let part = &mut sums.0[..range.len() * block.width];
                self.sum(block, kernel, &walk, x, &pixels[range.clone()], part);
                each(SumTile {
                    pixels: range,
                    channels: block.channels.clone(),
                    width: block.width,
                    sums: part,
                });
            });
        }
    }

    /// The output channels of each block, and the sums that it makes a pixel.
    pub fn blocks(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        self.blocks.iter().map(|block| (block.channels.clone(), block.width))
    }

    /// The sums of one block for all pixels: fills `sums`, `[pixels, width]`.
    ///
    /// # Panics
    /// As [`Packed::run`], and if there are not so many sums.
    pub fn run_block(&self, block: usize, row_stride: usize, x: &[T], pixels: &[u32], sums: &mut [T::Sum]) {
        let walk = self.walk(row_stride, x, pixels);
        let block = &self.blocks[block];
        for_tiles(block, pixels.len(), |range, kernel| {
            let part = &mut sums[range.start * block.width..range.end * block.width];
            self.sum(block, kernel, &walk, x, &pixels[range], part);
        });
    }

    /// The way of all windows, which are found to be inside `x`.
    fn walk(&self, row_stride: usize, x: &[T], pixels: &[u32]) -> Walk {
        let reach = self.rows.saturating_sub(1) * row_stride + self.steps * T::GROUP;
        let last = pixels.iter().copied().max().unwrap_or(0) as usize;
        assert!(last + reach <= x.len(), "a window reaches over the end of its buffer");
        Walk { rows: self.rows, row_stride, steps: self.steps }
    }

    /// Calls a micro-kernel of a block for as many pixels of `walk`'s as it takes.
    fn sum(
        &self,
        block: &Block<T>,
        kernel: MicroKernel<T>,
        walk: &Walk,
        x: &[T],
        pixels: &[u32],
        sums: &mut [T::Sum],
    ) {
        assert_eq!(sums.len(), pixels.len() * block.width);
        let weights = self.lines.as_ptr().cast::<u8>().wrapping_add(block.at).cast::<T::Weight>();
        // SAFETY: the kernels were chosen for this CPU; `walk` bounded the walk of every pixel, and
        // `for_tiles` gives each kernel its pixels; `new` packed rows × steps × width groups of weights at
        // the block's aligned place; `sums` holds pixels × width sums.
        unsafe { kernel(x.as_ptr(), pixels.as_ptr(), walk, weights, sums.as_mut_ptr()) };
    }
}

/// Covers `pixels` with tiles of a block, the highest first.
fn for_tiles<T: Element>(
    block: &Block<T>,
    pixels: usize,
    mut each: impl FnMut(Range<usize>, MicroKernel<T>),
) {
    let mut done = 0;
    for &(count, kernel) in block.heights {
        while pixels - done >= count {
            each(done..done + count, kernel);
            done += count;
        }
    }
}

/// Splits `vectors` into as few shares of at most `most` as there can be, as even as can be.
fn shares(vectors: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = vectors.div_ceil(most);
    (0..count).map(move |i| vectors / count + usize::from(i < vectors % count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_complete() {
        let of = |vectors| shares(vectors, 4).collect::<Vec<_>>();
        assert_eq!((of(1), of(4), of(5)), (vec![1], vec![4], vec![3, 2]));
        assert_eq!((of(6), of(9)), (vec![3, 3], vec![3, 3, 3]));
    }
}
