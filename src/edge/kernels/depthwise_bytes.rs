//! Convolutions of each channel by itself on bytes: vectors run along the channels, and four pixels of a window
//! are multiplied at once.
//!
//! The bytes of four taps are put side by side by interleaving twice: then a lane holds four neighbours of one
//! channel, which is what products of groups of four take. Interleaving works within 128 bits, so of `16·n` channels
//! sum `(j, lane, i)` (of four vectors j, n lanes and four elements i) is channel `16·lane + 4·j + i`; narrowing
//! twice with saturation brings them back into order.

use super::pack::{Line, SumTile};
use super::requantise::Requantise;
use super::{DepthwiseBytes, DepthwiseBytesKernel, Kernels, Product, Width};

/// Defines `unsafe fn NAME<const P, const FINISH>`, a [`DepthwiseBytesKernel`].
#[cfg(target_arch = "x86_64")]
macro_rules! depthwise_bytes_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: bytes $bytes:expr, load $load:path, interleave8 [$low8:path, $high8:path],
        interleave16 [$low16:path, $high16:path], add $add:path, shift $shift:path,
        narrow [$narrow32:path, $narrow16:path], max $max:path, min $min:path, store $store:path
    ) => {
        $(#[$attribute])*
        unsafe fn $name<const P: usize, const FINISH: bool>(
            x: *const u8,
            offsets: *const u32,
            taps: &[[u32; 4]],
            mut w: *const u8,
            out: *mut u8,
            at: *const u32,
        ) {
            const BYTES: usize = $bytes;
            // SAFETY: the caller keeps the promises of `DepthwiseBytesKernel`, which bound every address below.
            unsafe {
                let mut pixels = [x; P];
                for p in 0..P {
                    pixels[p] = x.add(*offsets.add(p) as usize);
                }
                let begin = [$load(w), $load(w.add(BYTES)), $load(w.add(2 * BYTES)), $load(w.add(3 * BYTES))];
                let mut sums = [begin; P];
                for group in taps {
                    w = w.add(4 * BYTES);
                    let weights =
                        [$load(w), $load(w.add(BYTES)), $load(w.add(2 * BYTES)), $load(w.add(3 * BYTES))];
                    for p in 0..P {
                        let a = $load(pixels[p].add(group[0] as usize));
                        let b = $load(pixels[p].add(group[1] as usize));
                        let c = $load(pixels[p].add(group[2] as usize));
                        let d = $load(pixels[p].add(group[3] as usize));
                        let (low, high) = ($low8(a, b), $high8(a, b));
                        let (next_low, next_high) = ($low8(c, d), $high8(c, d));
                        sums[p][0] = $add(sums[p][0], $low16(low, next_low), weights[0]);
                        sums[p][1] = $add(sums[p][1], $high16(low, next_low), weights[1]);
                        sums[p][2] = $add(sums[p][2], $low16(high, next_high), weights[2]);
                        sums[p][3] = $add(sums[p][3], $high16(high, next_high), weights[3]);
                    }
                }
                w = w.add(4 * BYTES);
                for p in 0..P {
                    let to = out.add(*at.add(p) as usize);
                    if FINISH {
                        let mut shifted = sums[p];
                        for i in 0..4 {
                            shifted[i] = $shift(sums[p][i], $load(w.add(i * BYTES)));
                        }
                        let [a, b, c, d] = shifted;
                        let bytes = $narrow16($narrow32(a, b), $narrow32(c, d));
                        let limits = [$load(w.add(4 * BYTES)), $load(w.add(5 * BYTES))];
                        $store(to, $min($max(bytes, limits[0]), limits[1]));
                    } else {
                        for i in 0..4 {
                            $store(to.add(i * BYTES), sums[p][i]);
                        }
                    }
                }
            }
        }
    };
}

/// Rows of the table of a width: so many pixels at once, by kernels that finish and by kernels that give sums.
#[cfg(target_arch = "x86_64")]
macro_rules! depthwise_bytes_heights {
    ($name:ident: $($pixels:literal)*) => {
        &[$(($pixels, $name::<$pixels, true>, $name::<$pixels, false>)),*]
    };
}

/// Neighbours of a window that are multiplied at once.
const GROUP: usize = 4;
/// Pixels of a map that are worked on together, so that their rows stay in a core's first cache.
const CHUNK: usize = 64;
/// The most channels that a kernel takes.
const WIDEST: usize = 64;
/// The most pixels that a kernel takes.
const HIGHEST: usize = 4;

/// Channels that are summed together.
struct Block {
    first: usize,
    /// How many of the kernel's channels there are.
    count: usize,
    width: &'static Width,
    /// The line where its weights begin.
    at: usize,
}

/// The weights of a convolution of each channel by itself, of bytes by int8 in int32.
pub struct ByteDepthwise {
    blocks: Vec<Block>,
    /// Of each block what the sums begin with, the weights of each four taps, and how the sums are finished.
    lines: Vec<Line>,
    taps: Vec<[u32; GROUP]>,
    /// From the beginning of a window to its furthest tap.
    furthest: usize,
    finished: bool,
    /// What is multiplied by what, and how often for a pixel.
    product: Product,
    products: usize,
}

impl ByteDepthwise {
    /// Packs `weight(channel, tap)` for windows with these `taps`; sums begin with `begin`, and become bytes as `finish`
    /// tells, if it does. No input is above `highest`. None where these kernels have no such products.
    pub fn new(
        kernels: &Kernels,
        highest: u8,
        taps: &[u32],
        weight: impl Fn(usize, usize) -> i8,
        begin: &[i32],
        finish: Option<&Requantise>,
    ) -> Option<Self> {
        let DepthwiseBytes { int, wide } = kernels.depthwise_bytes?;
        let widths = if highest > 127 { wide } else { int };
        let channels = begin.len();
        let (mut blocks, mut bytes, mut first) = (Vec::new(), Vec::new(), 0);
        while first < channels {
            let left = channels - first;
            let width = widths.iter().find(|width| width.lanes <= left).or(widths.last())?;
            let count = left.min(width.lanes);
            let block = Block { first, count, width, at: bytes.len() / size_of::<Line>() };
            let own = |lane: usize| (lane < count).then_some(first + lane);
            width.order().for_each(|lane| bytes.extend(own(lane).map_or(0, |c| begin[c]).to_ne_bytes()));
            for group in (0..taps.len()).step_by(GROUP) {
                for lane in width.order() {
                    let of =
                        |tap: usize| own(lane).filter(|_| tap < taps.len()).map_or(0, |c| weight(c, tap));
                    bytes.extend((group..group + GROUP).map(|tap| of(tap) as u8));
                }
            }
            if let Some(finish) = finish {
                let shift = |lane| (width.shift)(own(lane).map_or(0, |c| finish.shift[c]));
                width.order().for_each(|lane| bytes.extend(shift(lane)));
                [finish.low, finish.high].iter().for_each(|limit| bytes.extend(vec![*limit; width.lanes]));
            }
            bytes.resize(bytes.len().next_multiple_of(size_of::<Line>()), 0);
            first += count;
            blocks.push(block);
        }
        let products = taps.len() * channels;
        // What is beyond the last tap is multiplied by nothing.
        let mut all = taps.to_vec();
        all.resize(taps.len().next_multiple_of(GROUP), *taps.first()?);
        let furthest = taps.iter().copied().max().unwrap_or(0) as usize;
        let (taps, _) = all.as_chunks::<GROUP>();
        Some(Self {
            blocks,
            lines: Line::all(&bytes),
            taps: taps.to_vec(),
            furthest,
            finished: finish.is_some(),
            product: if highest > 127 { Product::Int8 } else { Product::Int7 },
            products,
        })
    }

    /// What is multiplied by what.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Products for a pixel, all its channels.
    pub fn products(&self) -> usize {
        self.products
    }

    /// Whether the sums become bytes in the kernels.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Stores the bytes of all pixels, whose windows begin at `pixels`, into `out`, where they begin at `at`.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`, a pixel over the end of `out`, or the sums are not finished.
    pub fn finish(&self, (x, pixels): (&[u8], &[u32]), (out, at): (&mut [u8], &[u32])) {
        assert!(self.finished, "there is nothing that makes bytes of the sums");
        self.check(x, pixels);
        let mut apart = [0u8; HIGHEST * WIDEST];
        for (part, at) in pixels.chunks(CHUNK).zip(at.chunks(CHUNK)) {
            for block in &self.blocks {
                let mut done = 0;
                for &(count, kernel, _) in block.width.heights {
                    while part.len() - done >= count {
                        let (from, to) = (&part[done..done + count], &at[done..done + count]);
                        if block.count == block.width.lanes {
                            self.call(block, kernel, (x, from), (&mut out[block.first..], to), 1);
                        } else {
                            // The last lanes would lie in the next pixel.
                            self.call(block, kernel, (x, from), (&mut apart, &even(WIDEST)[..count]), 1);
                            for (bytes, to) in apart.chunks_exact(WIDEST).zip(to) {
                                let to = &mut out[*to as usize + block.first..][..block.count];
                                to.copy_from_slice(&bytes[..block.count]);
                            }
                        }
                        done += count;
                    }
                }
            }
        }
    }

    /// Sums the products for all pixels; `each` takes them part by part.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`.
    pub fn run(&self, (x, pixels): (&[u8], &[u32]), mut each: impl FnMut(SumTile<'_, i32>)) {
        self.check(x, pixels);
        let mut raw = [0u8; HIGHEST * WIDEST * 4];
        let mut sums = [0i32; HIGHEST * WIDEST];
        for block in &self.blocks {
            let lanes = block.width.lanes;
            let mut done = 0;
            for &(count, _, kernel) in block.width.heights {
                while pixels.len() - done >= count {
                    let from = &pixels[done..done + count];
                    self.call(block, kernel, (x, from), (&mut raw, &even(lanes * 4)[..count]), 4);
                    for (raw, sums) in raw.chunks_exact(lanes * 4).zip(sums.chunks_exact_mut(lanes)) {
                        let (raw, _) = raw.as_chunks::<4>();
                        block.width.order().zip(raw).for_each(|(c, sum)| sums[c] = i32::from_ne_bytes(*sum));
                    }
                    let (pixels, channels) = (done..done + count, block.first..block.first + block.count);
                    each(SumTile { pixels, channels, width: lanes, sums: &sums });
                    done += count;
                }
            }
        }
    }

    fn check(&self, x: &[u8], pixels: &[u32]) {
        let width = self.blocks.iter().map(|block| block.first + block.width.lanes).max().unwrap_or(0);
        let last = pixels.iter().copied().max().unwrap_or(0) as usize;
        assert!(last + self.furthest + width <= x.len(), "a window reaches over the end of its buffer");
    }

    /// Calls a kernel of a block for pixels that `check` found to be inside `x`; it stores vectors of `size` bytes for
    /// each channel.
    fn call(
        &self,
        block: &Block,
        kernel: DepthwiseBytesKernel,
        (x, pixels): (&[u8], &[u32]),
        (out, at): (&mut [u8], &[u32]),
        size: usize,
    ) {
        let furthest = at.iter().copied().max().unwrap_or(0) as usize;
        assert!(
            furthest + block.width.lanes * size <= out.len(),
            "a pixel reaches over the end of its buffer"
        );
        assert_eq!(at.len(), pixels.len(), "another number of places than of pixels");
        let weights = self.lines[block.at..].as_ptr().cast::<u8>();
        let x = x[block.first..].as_ptr();
        // SAFETY: the kernels were chosen for this CPU; every window, with the lanes behind its channels, is inside
        // `x`; `new` packed the block's lines as its width asks; every pixel is inside `out`.
        unsafe { kernel(x, pixels.as_ptr(), &self.taps, weights, out.as_mut_ptr(), at.as_ptr()) };
    }
}

/// Places one after the other.
fn even(apart: usize) -> [u32; HIGHEST] {
    std::array::from_fn(|i| (i * apart) as u32)
}

impl Width {
    /// The channel of each sum.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let lanes = self.lanes / 16;
        (0..4).flat_map(move |j| (0..lanes).flat_map(move |lane| (0..4).map(move |i| 16 * lane + 4 * j + i)))
    }
}
