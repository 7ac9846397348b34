//! Convolutions of each channel by itself: vectors run along the channels.

use super::{DepthwiseKernels, Kernels, SumTile};

/// Defines `unsafe fn NAME<const P>`, a [`super::DepthwiseKernel`].
///
/// The sums of P pixels by one vector of channels stay in registers; a vector of weights is loaded once
/// for all of them.
macro_rules! depthwise_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: lanes $lanes:expr, sums $zero:expr, load $load:path, add $add:path, store $store:path
    ) => {
        $(#[$attribute])*
        unsafe fn $name<const P: usize>(
            x: *const f32,
            offsets: *const u32,
            taps: &[u32],
            blocks: usize,
            mut w: *const f32,
            out: *mut f32,
        ) {
            // SAFETY: the caller keeps the promises of `DepthwiseKernel`, which bound every address below.
            unsafe {
                let mut pixels = [x; P];
                for p in 0..P {
                    pixels[p] = x.add(*offsets.add(p) as usize);
                }
                for block in 0..blocks {
                    let mut sums = [$zero; P];
                    for tap in taps {
                        let weights = $load(w);
                        w = w.add($lanes);
                        for p in 0..P {
                            let values = $load(pixels[p].add(*tap as usize + block * $lanes));
                            sums[p] = $add(sums[p], values, weights);
                        }
                    }
                    for p in 0..P {
                        $store(out.add((p * blocks + block) * $lanes), sums[p]);
                    }
                }
            }
        }
    };
}

/// The most pixels of a tile.
const MOST: usize = 8;

/// The weights of a convolution of each channel by itself.
pub struct Depthwise {
    kernels: &'static DepthwiseKernels,
    channels: usize,
    taps: usize,
    /// Vectors of channels.
    blocks: usize,
    /// `[blocks, taps, lanes]`.
    weights: Vec<f32>,
}

impl Depthwise {
    /// Elements that are read behind the last channel of a map at the most, and thrown away.
    pub const OVER: usize = 16;

    /// Packs `weight(channel, tap)`.
    pub fn new(
        kernels: &Kernels,
        channels: usize,
        taps: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let kernels = kernels.depthwise;
        let blocks = channels.div_ceil(kernels.lanes);
        let mut weights = Vec::with_capacity(blocks * taps * kernels.lanes);
        for (block, tap) in (0..blocks).flat_map(|block| (0..taps).map(move |tap| (block, tap))) {
            let channel = |lane: usize| block * kernels.lanes + lane;
            weights.extend((0..kernels.lanes).map(|lane| match channel(lane) {
                c if c < channels => weight(c, tap),
                _ => 0.0,
            }));
        }
        Self { kernels, channels, taps, blocks, weights }
    }

    /// Floats that [`Depthwise::run`] needs for sums.
    pub fn space(&self) -> usize {
        MOST * self.blocks * self.kernels.lanes
    }

    /// Sums the products for all pixels, whose windows begin at `pixels` and have these `taps`; `each`
    /// takes them tile by tile.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`, or `sums` is smaller than [`Depthwise::space`].
    pub fn run(
        &self,
        taps: &[u32],
        x: &[f32],
        pixels: &[u32],
        sums: &mut [f32],
        mut each: impl FnMut(SumTile<'_, f32>),
    ) {
        let width = self.blocks * self.kernels.lanes;
        let last = |places: &[u32]| places.iter().copied().max().unwrap_or(0) as usize;
        assert!(last(pixels) + last(taps) + width <= x.len(), "a window reaches over the end of its buffer");
        assert_eq!(taps.len(), self.taps, "another number of taps than the weights have");
        assert!(sums.len() >= self.space(), "too little space for the sums");
        let mut done = 0;
        for &(count, kernel) in self.kernels.heights {
            debug_assert!(count <= MOST);
            while pixels.len() - done >= count {
                let tile = &pixels[done..done + count];
                // SAFETY: the kernels were chosen for this CPU; every window, with the lanes behind its
                // channels, is inside `x`; there are blocks × taps vectors of weights, and `sums` holds
                // count × blocks vectors.
                unsafe {
                    kernel(
                        x.as_ptr(),
                        tile.as_ptr(),
                        taps,
                        self.blocks,
                        self.weights.as_ptr(),
                        sums.as_mut_ptr(),
                    );
                }
                let sums = &sums[..count * width];
                each(SumTile { pixels: done..done + count, channels: 0..self.channels, width, sums });
                done += count;
            }
        }
    }
}
