//! Weights in the order in which the kernels read them, and the safe way into a kernel.

use super::{Element, Heights, Kernels, Layout, MAX_SUMS, MicroKernel, MicroKernels, Product, portable};
use std::ops::Range;

/// The way over an image `[H, W, C]` that the window of one output pixel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk<'a> {
    /// Of each run of memory, the elements from its beginning to that of the next.
    pub advances: &'a [usize],
    /// Steps along each run, each over [`Element::GROUP`] elements.
    pub steps: usize,
}

/// Where the runs of a window begin, which are all of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// From each run to the next, and 0 at the last.
    advances: Vec<usize>,
    /// From the first to the last.
    last: usize,
}

impl Runs {
    /// Runs that begin at these places, which ascend from 0.
    pub fn new(places: &[usize]) -> Self {
        let mut advances: Vec<usize> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
        advances.push(0);
        Self { last: places.last().copied().unwrap_or(0), advances }
    }

    /// So many runs, `apart` elements from each other.
    pub fn even(count: usize, apart: usize) -> Self {
        Self::new(&(0..count).map(|i| i * apart).collect::<Vec<_>>())
    }
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
pub(super) struct Line([u8; 64]);

impl Line {
    /// All bytes of whole lines.
    pub(super) fn all(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks().0.iter().map(|chunk| Self(*chunk)).collect()
    }
}

/// Lines as they are written: each byte once, since big towers are packed as fast as memory takes them.
#[derive(Default)]
struct Lines {
    lines: Vec<Line>,
    /// What does not fill a line yet.
    rest: Vec<u8>,
}

impl Lines {
    /// Bytes so far.
    fn end(&self) -> usize {
        self.lines.len() * size_of::<Line>() + self.rest.len()
    }

    fn reserve(&mut self, bytes: usize) {
        self.lines.reserve(bytes.div_ceil(size_of::<Line>()) + 1);
    }

    fn write(&mut self, bytes: impl FnOnce(&mut Vec<u8>)) {
        bytes(&mut self.rest);
        if self.rest.len() >= size_of::<Line>() {
            let (whole, _) = self.rest.as_chunks();
            self.lines.extend(whole.iter().map(|line| Line(*line)));
            let written = size_of_val(whole);
            self.rest.drain(..written);
        }
    }

    /// Fills the last line with zeros.
    fn fill(&mut self) {
        let whole = self.rest.len().next_multiple_of(size_of::<Line>());
        self.write(|bytes| bytes.resize(whole, 0));
    }
}

/// Sums that wait for what is done to them: of several tiles, since each call costs time too.
const WAITING: usize = 2 * MAX_SUMS;

#[repr(C, align(64))]
struct Buffer<S>([S; WAITING]);

/// Consecutive vectors of output channels that are summed together.
pub(super) struct Block<T: Element> {
    heights: Heights<T>,
    pub(super) channels: Range<usize>,
    /// Sums a pixel, with those of the last vector that are no channels.
    pub(super) width: usize,
    /// Byte where the weights begin, a multiple of 64.
    at: usize,
}

/// The weights of a convolution for one kernel.
pub struct Packed<T: Element> {
    pub(super) blocks: Vec<Block<T>>,
    lines: Vec<Line>,
    runs: usize,
    steps: usize,
    /// What is multiplied by what, and how often for a pixel.
    product: Product,
    products: usize,
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

impl<'a, S> SumTile<'a, S> {
    /// The same sums of channels that come so many later.
    pub fn shifted(&self, channels: usize) -> SumTile<'a, S> {
        SumTile {
            pixels: self.pixels.clone(),
            channels: self.channels.start + channels..self.channels.end + channels,
            width: self.width,
            sums: self.sums,
        }
    }
}

/// The kernels of an element type.
pub trait Choice: Element {
    /// `highest`: no input is above it.
    #[doc(hidden)]
    fn micro_kernels(kernels: &'static Kernels, highest: u8) -> Hidden<Self>
    where
        Self: Sized;
    /// What is multiplied by what.
    #[doc(hidden)]
    fn product(highest: u8) -> Product;
    /// Adds the bytes of weights, in the order of this CPU.
    #[doc(hidden)]
    fn write(weights: &[Self::Weight], bytes: &mut Vec<u8>);
    /// The bytes of a sum's beginning, where so much is taken from each input.
    #[doc(hidden)]
    fn beginning(weights: &[Self::Weight], offset: i32) -> impl AsRef<[u8]>;
}

/// Hides the set from the trait's callers.
pub struct Hidden<T: Element>(&'static MicroKernels<T>);

impl Choice for f32 {
    fn micro_kernels(kernels: &'static Kernels, _: u8) -> Hidden<Self> {
        Hidden(kernels.float)
    }
    fn product(_: u8) -> Product {
        Product::Float
    }
    fn write(weights: &[f32], bytes: &mut Vec<u8>) {
        bytes.extend(weights.iter().flat_map(|w| w.to_ne_bytes()));
    }
    fn beginning(weights: &[f32], offset: i32) -> impl AsRef<[u8]> {
        (weights.iter().sum::<f32>() * offset as f32).to_ne_bytes()
    }
}

impl Choice for u8 {
    fn micro_kernels(kernels: &'static Kernels, highest: u8) -> Hidden<Self> {
        Hidden(if highest > 127 { kernels.wide } else { kernels.int })
    }
    fn product(highest: u8) -> Product {
        if highest > 127 { Product::Int8 } else { Product::Int7 }
    }
    fn write(weights: &[i8], bytes: &mut Vec<u8>) {
        bytes.extend(weights.iter().map(|w| w.cast_unsigned()));
    }
    fn beginning(weights: &[i8], offset: i32) -> impl AsRef<[u8]> {
        weights.iter().fold(0i32, |sum, w| sum.wrapping_add(i32::from(*w) * offset)).to_ne_bytes()
    }
}

impl Choice for i16 {
    fn micro_kernels(kernels: &'static Kernels, _: u8) -> Hidden<Self> {
        Hidden(kernels.tiles.unwrap_or(&portable::TILES))
    }
    fn product(_: u8) -> Product {
        Product::Int16
    }
    fn write(weights: &[i16], bytes: &mut Vec<u8>) {
        bytes.extend(weights.iter().flat_map(|w| w.to_ne_bytes()));
    }
    fn beginning(weights: &[i16], offset: i32) -> impl AsRef<[u8]> {
        weights.iter().fold(0i32, |sum, w| sum.wrapping_add(i32::from(*w) * offset)).to_ne_bytes()
    }
}

impl<T: Choice> Packed<T> {
    /// Packs the weights of `channels` outputs, each of `runs` runs of `run` elements:
    /// `weight(channel, run, place in the run)`. No input is above `highest`.
    pub fn new(
        kernels: &'static Kernels,
        highest: u8,
        channels: usize,
        [runs, run]: [usize; 2],
        weight: impl Fn(usize, usize, usize) -> T::Weight,
    ) -> Self {
        let set = T::micro_kernels(kernels, highest).0;
        let Layout { neighbours, offset, .. } = set.layout;
        let (outputs, lines) = (channels, run.div_ceil(neighbours));
        // The weights of a block in the order of its channels; what a line reaches beyond its run or the last channel, it
        // multiplies by nothing.
        let (stride, mut in_order) = (lines * neighbours, Vec::new());
        let order: Vec<usize> =
            set.layout.order(set.lanes).map(|(lane, i)| lane * runs * stride + i).collect();
        let mut vector_of = Vec::with_capacity(order.len());
        let (mut blocks, mut packed) = (Vec::new(), Lines::default());
        for (channels, width, heights) in blocks_of(set, channels) {
            let first = channels.start;
            blocks.push(Block { heights, channels: channels.clone(), width, at: packed.end() });
            in_order.clear();
            in_order.resize(width * runs * stride, T::Weight::default());
            let rows = in_order.chunks_exact_mut(stride).take(channels.len() * runs).enumerate();
            for (row, to) in rows {
                let (channel, row) = (first + row / runs, row % runs);
                to[..run].iter_mut().enumerate().for_each(|(place, to)| *to = weight(channel, row, place));
            }
            if offset != 0 {
                for all in in_order.chunks_exact(runs * stride) {
                    packed.write(|bytes| bytes.extend_from_slice(T::beginning(all, offset).as_ref()));
                }
            }
            packed.reserve(in_order.len() * size_of::<T::Weight>());
            for line in (0..runs * stride).step_by(neighbours) {
                for vector in (0..width).step_by(set.lanes) {
                    let begin = &in_order[vector * runs * stride + line..];
                    vector_of.clear();
                    vector_of.extend(order.iter().map(|place| begin[*place]));
                    packed.write(|bytes| T::write(&vector_of, bytes));
                }
            }
            packed.fill();
        }
        let lines = packed.lines;
        let products = outputs * runs * run;
        Self { blocks, lines, runs, steps: run.div_ceil(T::GROUP), product: T::product(highest), products }
    }

    /// What is multiplied by what.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Products for a pixel, all its channels.
    pub fn products(&self) -> usize {
        self.products
    }

    /// Sums the products for all pixels, by where their windows begin; `each` takes them tile by tile.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`.
    pub fn run(&self, runs: &Runs, x: &[T], pixels: &[u32], mut each: impl FnMut(SumTile<'_, T::Sum>)) {
        let walk = self.walk(runs, x, pixels);
        let many = self.pixels_at_once();
        for (chunk, part) in pixels.chunks(many).enumerate() {
            for block in &self.blocks {
                self.run_part(block, &walk, x, part, |mut tile| {
                    tile.pixels = tile.pixels.start + chunk * many..tile.pixels.end + chunk * many;
                    each(tile);
                });
            }
        }
    }

    /// The sums of one block for some of the pixels, tile by tile.
    pub(super) fn run_part(
        &self,
        block: &Block<T>,
        walk: &Walk<'_>,
        x: &[T],
        pixels: &[u32],
        mut each: impl FnMut(SumTile<'_, T::Sum>),
    ) {
        let mut sums = Buffer([T::Sum::default(); WAITING]);
        for_tiles(block.heights, pixels.len(), WAITING / block.width, |range, height, kernel| {
            let sums = &mut sums.0[..range.len() * block.width];
            self.sum(block, (height, kernel), walk, x, &pixels[range.clone()], sums);
            each(SumTile { pixels: range, channels: block.channels.clone(), width: block.width, sums });
        });
    }

    /// As many pixels as let their windows stay in a core's own cache while the blocks go over them; all,
    /// where the weights are what must stay there.
    pub(super) fn pixels_at_once(&self) -> usize {
        /// Bytes of windows, and of weights beside them.
        const WINDOWS: usize = 1 << 17;
        /// A multiple of all tile heights.
        const STEP: usize = 24;
        let window = self.runs * self.steps * T::GROUP * size_of::<T>();
        if self.lines.len() * 64 > WINDOWS {
            return usize::MAX;
        }
        (WINDOWS / window.max(1) / STEP).max(4) * STEP
    }

    /// The output channels of each block, and the sums that it makes a pixel.
    pub fn blocks(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        self.blocks.iter().map(|block| (block.channels.clone(), block.width))
    }

    /// The sums of one block for all pixels: fills `sums`, `[pixels, width]`.
    ///
    /// # Panics
    /// As [`Packed::run`], and if there are not so many sums.
    pub fn run_block(&self, block: usize, runs: &Runs, x: &[T], pixels: &[u32], sums: &mut [T::Sum]) {
        let walk = self.walk(runs, x, pixels);
        let block = &self.blocks[block];
        for_tiles(block.heights, pixels.len(), pixels.len(), |range, height, kernel| {
            let part = &mut sums[range.start * block.width..range.end * block.width];
            self.sum(block, (height, kernel), &walk, x, &pixels[range], part);
        });
    }

    /// The way of all windows, which are found to be inside `x`.
    pub(super) fn walk<'r>(&self, runs: &'r Runs, x: &[T], pixels: &[u32]) -> Walk<'r> {
        let last = pixels.iter().copied().max().unwrap_or(0) as usize;
        assert_eq!(runs.advances.len(), self.runs, "another number of runs than the weights have");
        assert!(
            last + runs.last + self.steps * T::GROUP <= x.len(),
            "a window reaches over the end of its buffer"
        );
        Walk { advances: &runs.advances, steps: self.steps }
    }

    /// Where the weights of a block begin, at a multiple of 64 bytes.
    pub(super) fn weights(&self, block: &Block<T>) -> *const T::Weight {
        self.lines.as_ptr().cast::<u8>().wrapping_add(block.at).cast()
    }

    /// Calls a micro-kernel of a block for each `height` pixels of `walk`'s.
    fn sum(
        &self,
        block: &Block<T>,
        (height, kernel): (usize, MicroKernel<T>),
        walk: &Walk<'_>,
        x: &[T],
        pixels: &[u32],
        sums: &mut [T::Sum],
    ) {
        assert!(sums.len() == pixels.len() * block.width && pixels.len().is_multiple_of(height));
        let weights = self.weights(block);
        let tiles = pixels.chunks_exact(height).zip(sums.chunks_exact_mut(height * block.width));
        for (pixels, sums) in tiles {
            // SAFETY: the kernels were chosen for this CPU; `walk` bounded the walk of every pixel, and
            // `for_tiles` gives each kernel with its height; `new` packed the block's weights at its aligned
            // place as the set's layout asks; `sums` holds height × width sums.
            unsafe { kernel(x.as_ptr(), pixels.as_ptr(), walk, weights, sums.as_mut_ptr()) };
        }
    }
}

/// The channels of each block that a set of kernels sums together, the sums that it makes a pixel, and its
/// kernels.
pub(super) fn blocks_of<T: Element>(
    set: &'static MicroKernels<T>,
    channels: usize,
) -> impl Iterator<Item = (Range<usize>, usize, Heights<T>)> {
    let mut first = 0;
    shares(channels.div_ceil(set.lanes), set.widths.len()).map(move |vectors| {
        let width = vectors * set.lanes;
        let block = first..channels.min(first + width);
        first += width;
        (block, width, set.widths[vectors - 1])
    })
}

/// Covers `pixels` with tiles of a block, the highest first: up to `most` pixels at once, whose tiles are all of
/// the height that is given.
pub(super) fn for_tiles<T: Element>(
    heights: Heights<T>,
    pixels: usize,
    most: usize,
    mut each: impl FnMut(Range<usize>, usize, MicroKernel<T>),
) {
    let mut done = 0;
    for &(height, kernel) in heights {
        let most = (most / height).max(1) * height;
        while pixels - done >= height {
            let count = ((pixels - done) / height * height).min(most);
            each(done..done + count, height, kernel);
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
