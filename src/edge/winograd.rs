//! Convolutions of 3×3 by Winograd's F(2×2, 3×3): four outputs from 16 products an input channel
//! instead of 36 (Lavin, Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1).
//!
//! A tile of 2×2 outputs sees 4×4 inputs `d`. With `V = Bᵀ d B` and `U = G g Gᵀ` the outputs are
//! `Aᵀ (Σ U ⊙ V) A`, so each of the 16 places is a matrix product over the channels. `B` and `A` hold 0,
//! 1 and −1 alone, and `G` halves: the result is the convolution in another order of summation, within a
//! few roundings of it. Towers whose bits are proven never come here.

use super::kernels::{Kernels, Packed, Runs, SumTile};

/// Places of a transformed tile.
pub const PLACES: usize = 16;

/// A convolution of 3×3, stride 1.
pub struct Winograd {
    /// One product for each place: `[O, C]`.
    weights: Vec<Packed<f32>>,
    /// C, O.
    channels: [usize; 2],
    /// How many rows and columns of each tile's outputs are inside the map.
    inside: Vec<[usize; 2]>,
    /// Tiles that are worked on together.
    chunk: usize,
}

/// Memory for transformed inputs, sums and outputs.
#[derive(Clone, Debug, Default)]
pub struct Workspace([Vec<f32>; 3]);

impl Workspace {
    /// Memory that all of these can use by turns.
    pub fn of<'a>(all: impl Iterator<Item = &'a Winograd> + Clone) -> Self {
        let most = |of: fn(&Winograd) -> usize| vec![0.0; all.clone().map(of).max().unwrap_or(0)];
        Self([
            most(|w| w.chunk * PLACES * w.channels[0]),
            most(|w| w.chunk * PLACES * w.weights[0].blocks().map(|(_, width)| width).max().unwrap_or(0)),
            most(|w| w.chunk * 4 * w.channels[1]),
        ])
    }
}

impl Winograd {
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

    /// For maps of this size: `weight(output, y, x, input)`.
    pub fn new(
        kernels: &'static Kernels,
        channels: [usize; 2],
        size: [usize; 2],
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let [inputs, outputs] = channels;
        let mut places = vec![vec![0f32; outputs * inputs]; PLACES];
        for (o, i) in (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))) {
            let spread = transformed_weights(|y, x| f64::from(weight(o, y, x, i)));
            places.iter_mut().zip(spread).for_each(|(place, w)| place[o * inputs + i] = w as f32);
        }
        let pack =
            |place: &Vec<f32>| Packed::new(kernels, 0, outputs, [1, inputs], |o, _, i| place[o * inputs + i]);
        let inside = |[y, x]: [usize; 2]| [(size[0] - y).min(2), (size[1] - x).min(2)];
        Self {
            weights: places.iter().map(pack).collect(),
            channels,
            inside: tiles(size).map(inside).collect(),
            chunk: chunk(channels),
        }
    }

    /// As many maps one behind the other.
    pub fn repeat(&mut self, images: usize) {
        self.inside = self.inside.repeat(images);
    }

    /// Sums the products for all pixels of a map `x` with this `row_stride`, whose tiles' 4×4 inputs begin
    /// at `origins` (in the order of [`tiles`]); `each` takes them chunk by chunk, pixels in the order of
    /// [`pixels`].
    pub fn run(
        &self,
        kernels: &Kernels,
        row_stride: usize,
        x: &[f32],
        origins: &[u32],
        space: &mut Workspace,
        mut each: impl FnMut(SumTile<'_, f32>),
    ) {
        let [inputs, outputs] = self.channels;
        let [transformed, sums, out] = &mut space.0;
        let at: Vec<u32> = (0..self.chunk).map(|tile| (tile * inputs) as u32).collect();
        let runs = Runs::even(1, 0);
        let mut done = 0;
        // Of the images that there may be, perhaps not all are there.
        let inside = &self.inside[..origins.len()];
        for (origins, inside) in origins.chunks(self.chunk).zip(inside.chunks(self.chunk)) {
            let count = origins.len();
            let transformed = &mut transformed[..PLACES * count * inputs];
            kernels.transform_inputs(x, row_stride, origins, inputs, transformed);
            let pixels = inside.iter().map(|[rows, columns]| rows * columns).sum::<usize>();
            let out = &mut out[..pixels * outputs];
            for (block, (channels, width)) in self.weights[0].blocks().enumerate() {
                let sums = &mut sums[..PLACES * count * width];
                let planes =
                    transformed.chunks_exact(count * inputs).zip(sums.chunks_exact_mut(count * width));
                for (weights, (x, sums)) in self.weights.iter().zip(planes) {
                    weights.run_block(block, &runs, x, &at[..count], sums);
                }
                kernels.transform_outputs(sums, width, inside, channels, out, outputs);
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
fn chunk([inputs, outputs]: [usize; 2]) -> usize {
    const FLOATS: usize = 65_536;
    const STEP: usize = 24;
    (FLOATS / (PLACES * (inputs + outputs)) / STEP).max(1) * STEP
}

/// `G g Gᵀ`.
fn transformed_weights(g: impl Fn(usize, usize) -> f64) -> [f64; PLACES] {
    let spread = |[a, b, c]: [f64; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let columns = [0, 1, 2].map(|x| spread([0, 1, 2].map(|y| g(y, x))));
    let mut all = [0.0; PLACES];
    for y in 0..4 {
        all[y * 4..][..4].copy_from_slice(&spread([0, 1, 2].map(|x| columns[x][y])));
    }
    all
}
