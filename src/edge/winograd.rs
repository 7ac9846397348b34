//! Convolutions of 3×3 by Winograd's F(2×2, 3×3): four outputs from 16 products an input channel
//! instead of 36 (Lavin, Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1).
//!
//! A tile of 2×2 outputs sees 4×4 inputs `d`. With `V = Bᵀ d B` and `U = G g Gᵀ` the outputs are
//! `Aᵀ (Σ U ⊙ V) A`, so each of the 16 places is a matrix product over the channels. `B` and `A` hold 0,
//! 1 and −1 alone, and `G` halves.
//!
//! **In float32** the result is the convolution in another order of summation, within a few roundings of it.
//! Towers whose bits are proven never come here.
//!
//! **In integers** nothing rounds. With `2G` for `G` the transformed weights are integers, and what comes out is
//! four times the convolution, so that a shift by two leaves no rest. [`fits_integers`] proves for each
//! convolution that `V` and `U` fit 16 bits and four times the sums 32 bits. Sums on the way may be greater:
//! additions and products modulo 2³² give the right number modulo 2³², and there is but one that fits.

use super::kernels::{Kernels, Packed, Runs, SumTile, Tiled};
use crate::exactness::{Integer, Interval, Range};

/// Places of a transformed tile.
const PLACES: usize = 16;

/// A convolution of 3×3, stride 1: of `f32`, or of `i16` for maps of uint8.
pub struct Winograd<T: Tiled> {
    /// One product for each place: `[O, C]`.
    weights: Vec<Packed<T>>,
    /// C, O.
    channels: [usize; 2],
    /// How many rows and columns of each tile's outputs are inside the map.
    inside: Vec<[usize; 2]>,
    /// Tiles that are worked on together.
    chunk: usize,
}

/// Memory for transformed inputs, sums and outputs.
#[derive(Clone, Debug)]
pub struct Workspace<T: Tiled> {
    transformed: Vec<T>,
    sums: Vec<T::Sum>,
    out: Vec<T::Sum>,
}

impl<T: Tiled> Default for Workspace<T> {
    fn default() -> Self {
        Self { transformed: Vec::new(), sums: Vec::new(), out: Vec::new() }
    }
}

impl<T: Tiled> Workspace<T> {
    /// Makes it large enough for this one too.
    pub fn fit(&mut self, winograd: &Winograd<T>) {
        let Winograd { weights, channels: [inputs, outputs], chunk, .. } = winograd;
        let width = weights[0].blocks().map(|(_, width)| width).max().unwrap_or(0);
        grow(&mut self.transformed, *chunk * PLACES * inputs);
        grow(&mut self.sums, PLACES * plane(*chunk * width));
        grow(&mut self.out, *chunk * 4 * outputs);
    }
}

/// Elements more than are needed, so that some of them begin at a multiple of 64 bytes.
const ALIGNMENT: usize = 64;

fn grow<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) {
    buffer.resize(buffer.len().max(length + ALIGNMENT), T::default());
}

/// Elements from the sums of a place to those of the next: were they a power of two apart, those of a tile
/// would all be in one set of the first cache, and push each other out.
fn plane(sums: usize) -> usize {
    sums + ALIGNMENT / size_of::<f32>()
}

/// The first elements that begin at a multiple of 64 bytes: vectors of them do not straddle cache lines.
fn aligned<T>(buffer: &mut [T], length: usize) -> &mut [T] {
    let skip = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    &mut buffer[skip..skip + length]
}

/// Whether it pays: transforms cost as much for few channels as for many, and a product of very few
/// tiles only waits for its weights, which are more.
pub fn pays(
    kernel: [usize; 2],
    strides: [usize; 2],
    [inputs, outputs]: [usize; 2],
    size: [usize; 2],
) -> bool {
    let tiles = size[0].div_ceil(2) * size[1].div_ceil(2);
    kernel == [3, 3] && strides == [1, 1] && inputs >= 16 && outputs >= 16 && tiles >= 4
}

/// Whether integers of 16 bits give the very sums of a convolution of 8-bit integers, given its inputs and the
/// greatest sum of an output's weights, all taken as positive.
pub fn fits_integers(inputs: &Range, weights: f64) -> bool {
    // A row of Bᵀ adds two elements or subtracts one from another; what is padded is 0.
    let inputs_side = |x: Interval| x.plus(x).join(x.plus(x.negated()));
    // A row of 2G doubles, or adds three elements, each with either sign.
    let weights_side = |w: Interval| {
        let w = w.join(w.negated());
        w.plus(w).join(w.plus(w).plus(w))
    };
    let [least, most] = Integer::I8.ends();
    let spread = weights_side(weights_side(Interval::new(least, most, 0)));
    let padded = inputs.map(Interval::or_zero);
    let fourfold = padded.map(|x| Interval::new(4.0 * weights * x.low, 4.0 * weights * x.high, x.step));
    let inputs = padded.map(|x| inputs_side(inputs_side(x)));
    inputs.fits(Integer::I16) && spread.fits(Integer::I16) && fourfold.sums_fit(Integer::I32)
}

impl<T: Tiled> Winograd<T> {
    /// For maps of this size: `weight(output, place)` of `[3, 3, C]`.
    pub fn new(
        kernels: &'static Kernels,
        channels: [usize; 2],
        size: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let [inputs, outputs] = channels;
        let mut places = vec![vec![T::Weight::default(); outputs * inputs]; PLACES];
        for o in 0..outputs {
            for i in 0..inputs {
                let mut window = [[0.0; 3]; 3];
                for (at, w) in window.as_flattened_mut().iter_mut().enumerate() {
                    *w = f64::from(weight(o, at * inputs + i));
                }
                for (place, w) in places.iter_mut().zip(fourfold_weights(&window)) {
                    place[o * inputs + i] = T::weight(w);
                }
            }
        }
        let pack = |place: &Vec<T::Weight>| {
            Packed::new(kernels, 0, outputs, [1, inputs], |o, _, i| place[o * inputs + i])
        };
        let inside = |[y, x]: [usize; 2]| [(size[0] - y).min(2), (size[1] - x).min(2)];
        Self {
            weights: places.iter().map(pack).collect(),
            channels,
            inside: tiles(size).map(inside).collect(),
            chunk: chunk::<T>(channels),
        }
    }

    /// As many maps one behind the other.
    pub fn repeat(&mut self, images: usize) {
        self.inside = self.inside.repeat(images);
    }

    /// Products of a tile.
    pub fn products(&self) -> usize {
        self.weights.iter().map(Packed::products).sum()
    }

    /// Sums the products for all pixels of a map `x` with this `row_stride`, whose tiles' 4×4 inputs begin
    /// at `origins` (in the order of [`tiles`]); `each` takes them chunk by chunk, pixels in the order of
    /// [`pixels`].
    pub fn run(
        &self,
        kernels: &Kernels,
        row_stride: usize,
        x: &[T::Pixel],
        origins: &[u32],
        space: &mut Workspace<T>,
        mut each: impl FnMut(SumTile<'_, T::Sum>),
    ) {
        let [inputs, outputs] = self.channels;
        let at: Vec<u32> = (0..self.chunk).map(|tile| (tile * PLACES * inputs) as u32).collect();
        let runs = Runs::even(1, 0);
        let mut done = 0;
        // Of the images that there may be, perhaps not all are there.
        let inside = &self.inside[..origins.len()];
        for (origins, inside) in origins.chunks(self.chunk).zip(inside.chunks(self.chunk)) {
            let count = origins.len();
            // A group along the sum may reach beyond the last channel.
            let transformed = aligned(&mut space.transformed, count * PLACES * inputs + T::GROUP);
            kernels.transform_inputs(x, row_stride, origins, inputs, transformed);
            let pixels = inside.iter().map(|[rows, columns]| rows * columns).sum::<usize>();
            let out = aligned(&mut space.out, pixels * outputs);
            for (block, (channels, width)) in self.weights[0].blocks().enumerate() {
                let plane = plane(count * width);
                let sums = aligned(&mut space.sums, PLACES * plane);
                let places = self.weights.iter().zip(sums.chunks_exact_mut(plane));
                for (place, (weights, sums)) in places.enumerate() {
                    let (x, sums) = (&transformed[place * inputs..], &mut sums[..count * width]);
                    weights.run_block(block, &runs, x, &at[..count], sums);
                }
                kernels.transform_outputs(sums, [plane, width], inside, channels, out, outputs);
            }
            each(SumTile { pixels: done..done + pixels, channels: 0..outputs, width: outputs, sums: out });
            done += pixels;
        }
    }
}

/// Where the tiles of a map's outputs begin, row by row.
pub fn tiles([height, width]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..height).step_by(2).flat_map(move |y| (0..width).step_by(2).map(move |x| [y, x]))
}

/// The pixels of a map tile by tile, each tile row by row.
pub fn pixels([height, width]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    let tile = move |[y, x]: [usize; 2]| {
        (y..height.min(y + 2)).flat_map(move |y| (x..width.min(x + 2)).map(move |x| [y, x]))
    };
    tiles([height, width]).flat_map(tile)
}

/// As many tiles as 256 KB hold, a multiple of all tile heights of the kernels.
fn chunk<T: Tiled>([inputs, outputs]: [usize; 2]) -> usize {
    const BYTES: usize = 1 << 18;
    const STEP: usize = 24;
    let tile = PLACES * (inputs * size_of::<T>() + outputs * size_of::<T::Sum>());
    (BYTES / tile / STEP).max(1) * STEP
}

/// `2G g (2G)ᵀ`: four times the transformed weights.
fn fourfold_weights(window: &[[f64; 3]; 3]) -> [f64; PLACES] {
    let mut sides = [[0.0; 4]; 3];
    for (side, [a, b, c]) in sides.iter_mut().zip(window) {
        *side = [2.0 * a, a + b + c, a - b + c, 2.0 * c];
    }
    let [a, b, c] = sides;
    let mut all = [0.0; PLACES];
    for x in 0..4 {
        let column = [2.0 * a[x], a[x] + b[x] + c[x], a[x] - b[x] + c[x], 2.0 * c[x]];
        for (y, w) in column.into_iter().enumerate() {
            all[y * 4 + x] = w;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_proven_to_fit_and_refused_where_they_do_not() {
        for (high, products, fits) in [
            (127.0, 9.0 * 96.0, true),
            (255.0, 9.0 * 64.0, true),
            // 4·9·3,700·127·128 is beyond 2³¹.
            (127.0, 9.0 * 3600.0, true),
            (127.0, 9.0 * 3700.0, false),
            // Not of 8 bits: four times the greatest input does not fit 16.
            (8191.0, 1.0, true),
            (8192.0, 1.0, false),
        ] {
            let inputs = Range::uniform(Interval::new(0.0, high, 0));
            assert_eq!(fits_integers(&inputs, products * 128.0), fits, "{products} products up to {high}");
        }
    }

    #[test]
    fn fourfold_weights_are_integers_within_what_is_proven() {
        let greatest = fourfold_weights(&[[-128.0; 3]; 3]);
        assert_eq!((greatest[0], greatest[5]), (-4.0 * 128.0, -9.0 * 128.0));
        assert!(greatest.iter().all(|w| Integer::I16.holds(*w)));
    }
}
