//! Sums of what the windows of pixels see by weights: the result of a convolution, and the gradient of its image.

use super::super::KERNELS;
use super::super::tensors::{Scratch, in_parallel, with_scratch};
use super::window::{Frame, Window};
use crate::edge::kernels::{Packed, Runs, SumTile};
use crate::edge::winograd::{self, Winograd};
use ort::operator::ComputeContext;

/// The pixels of a product: how many rows and columns, how far apart their windows are in the frame, and where in the
/// result they are: the first, from row to row, and from pixel to pixel.
pub struct Pixels {
    pub count: [usize; 2],
    pub strides: [usize; 2],
    pub result: [usize; 3],
}

impl Pixels {
    /// Whether Winograd's tiles of 2×2 cover them, and pay.
    fn are_tiled(&self, channels: [usize; 2]) -> bool {
        let even = self.count.iter().all(|side| side.is_multiple_of(2));
        even && winograd::pays([3, 3], self.strides, channels, self.count)
    }

    /// Row and column of each, row by row or tile by tile.
    fn all(&self, tiled: bool) -> Box<dyn Iterator<Item = [usize; 2]>> {
        let [rows, columns] = self.count;
        match tiled {
            true => Box::new(winograd::pixels(self.count)),
            false => Box::new((0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))),
        }
    }
}

/// Weights `[F, C, kH, kW]` as a product sees them: elements from output to output and from input to input, and
/// columns of the kernel.
pub struct Weights<'a> {
    pub data: &'a [f32],
    pub of_output: usize,
    pub of_input: usize,
    pub columns: usize,
}

/// Sums of what the windows of some pixels see by weights.
pub struct Product {
    sums: Sums,
    outputs: usize,
    /// Where the windows, or the tiles of 4×4, begin.
    windows: Vec<u32>,
    /// Where the pixels' outputs begin.
    at: Vec<usize>,
}

/// How they are summed.
enum Sums {
    /// No tap sees anything.
    Nothing,
    Windows(Packed<f32>, Runs),
    /// By Winograd's tiles, from rows of so many elements.
    Tiles(Winograd<f32>, usize),
}

impl Product {
    pub fn new(
        window: &Window,
        frame: &Frame,
        pixels: &Pixels,
        outputs: usize,
        weights: &Weights<'_>,
    ) -> ort::Result<Self> {
        let ([_, _, inputs], width) = (frame.image, frame.framed[1]);
        let (starts, run) = window.runs(width, inputs);
        let tiled = window.is_tiled() && pixels.are_tiled([inputs, outputs]);
        let [first, by_row, by_column] = pixels.result;
        let at = pixels.all(tiled).map(|[row, column]| first + row * by_row + column * by_column).collect();
        let Some(&begin) = starts.first().filter(|_| run > 0) else {
            return Ok(Self { sums: Sums::Nothing, outputs, windows: Vec::new(), at });
        };
        let corner = |[row, column]: [usize; 2]| {
            let corner = begin + (row * pixels.strides[0] * width + column * pixels.strides[1]) * inputs;
            u32::try_from(corner).map_err(|_| ort::Error::new("an image has more than 2^32 elements"))
        };
        let of = |((row, column), input): ((usize, usize), usize)| {
            input * weights.of_input + row * weights.columns + column
        };
        let order: Vec<usize> = window.order(inputs).map(of).collect();
        let weight = |output: usize, place: usize| weights.data[output * weights.of_output + order[place]];
        let (windows, sums) = if tiled {
            let tiles = Winograd::new(*KERNELS, [inputs, outputs], pixels.count, weight);
            (
                winograd::tiles(pixels.count).map(corner).collect::<ort::Result<_>>()?,
                Sums::Tiles(tiles, width * inputs),
            )
        } else {
            let places: Vec<usize> = starts.iter().map(|start| start - begin).collect();
            let packed = Packed::new(*KERNELS, u8::MAX, outputs, [places.len(), run], |output, r, place| {
                weight(output, r * run + place)
            });
            (
                pixels.all(false).map(corner).collect::<ort::Result<_>>()?,
                Sums::Windows(packed, Runs::new(&places)),
            )
        };
        Ok(Self { sums, outputs, windows, at })
    }

    /// Fills the pixels of an image's result.
    fn run(
        &self,
        framed: &[f32],
        tiles: &mut winograd::Workspace<f32>,
        result: &mut [f32],
        ending: Ending<'_>,
    ) {
        let store = |tile: SumTile<'_, f32>| {
            let count = tile.channels.len();
            for (sums, &at) in tile.sums.chunks(tile.width).zip(&self.at[tile.pixels.clone()]) {
                let out = &mut result[at + tile.channels.start..][..count];
                out.copy_from_slice(&sums[..count]);
                ending.end(out, tile.channels.start);
            }
        };
        match &self.sums {
            Sums::Nothing => self.at.iter().for_each(|&at| result[at..at + self.outputs].fill(0.0)),
            Sums::Windows(packed, runs) => packed.run(runs, framed, &self.windows, store),
            Sums::Tiles(winograd, row) => {
                tiles.fit(winograd);
                winograd.run(*KERNELS, *row, framed, &self.windows, tiles, store);
            }
        }
    }
}

/// What is done to sums.
#[derive(Clone, Copy)]
pub struct Ending<'a> {
    pub bias: Option<&'a [f32]>,
    pub relu: bool,
}

impl Ending<'_> {
    /// Of one pixel's channels from `first` on.
    #[inline]
    fn end(self, out: &mut [f32], first: usize) {
        if let Some(bias) = self.bias {
            out.iter_mut().zip(&bias[first..]).for_each(|(out, bias)| *out += bias);
        }
        if self.relu {
            // What is no number stays so.
            out.iter_mut().for_each(|out| *out = if *out < 0.0 { 0.0 } else { *out });
        }
    }
}

/// All products of a batch, each image by itself; `result` has so many elements an image.
pub fn products(
    context: &ComputeContext,
    frame: &Frame,
    all: &[Product],
    images: &[f32],
    (result, per_image): (&mut [f32], usize),
    ending: Ending<'_>,
) -> ort::Result<()> {
    let image = frame.image.iter().product::<usize>().max(1);
    let parts = result.chunks_mut(per_image.max(1)).zip(images.chunks(image));
    in_parallel(context, parts, |_, (result, image)| {
        with_scratch(|Scratch { framed, tiles }| {
            framed.clear();
            framed.resize(frame.count(), 0.0);
            frame.fill(image, framed);
            all.iter().for_each(|product| product.run(framed, tiles, result, ending));
        });
    })
}
