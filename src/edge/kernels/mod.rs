//! The inner loops, one set for each kind of CPU, chosen when the program runs.
//!
//! A set is a file and a row of `sets!`: its micro-kernels (the products of a tile of outputs that stay
//! in registers) and the CPU features for which the element-wise passes are compiled once more.
//!
//! This is the only place with `unsafe` code of the room. A [`Kernels`] can only be had from
//! [`Kernels::all`] or [`Kernels::best`], which ask the CPU first; the slices that go into a micro-kernel
//! are checked by [`Packed::run`] before it starts.
//!
//! Integer kernels give the same integers everywhere: products of 8-bit numbers (of 16-bit ones in tiles)
//! summed in 32 bits, in whatever order. Float kernels differ in the last bits, as any two do.
#![allow(unsafe_code)]

#[macro_use]
mod dispatch;
#[macro_use]
mod unroll;
#[macro_use]
mod micro_kernel;
#[cfg(not(target_family = "wasm"))]
#[macro_use]
mod peak;
mod combine;
#[macro_use]
mod depthwise;
#[macro_use]
mod depthwise_bytes;
#[macro_use]
mod depthwise_grid;
mod dynamic;
mod epilogue;
mod finish;
#[cfg(test)]
mod finish_tests;
mod function;
mod gate;
mod gate_bytes;
mod pack;
mod pool;
mod portable;
mod product;
mod requantise;
mod resample;
mod table;
#[cfg(test)]
mod tests;
#[cfg(feature = "ort")]
mod training;
mod winograd;

pub use combine::{Binary, Operand};
pub use depthwise::Depthwise;
pub use depthwise_bytes::ByteDepthwise;
use depthwise_grid::Lattice;
pub use dynamic::Matrix;
pub use epilogue::{Epilogue, Number, Output, Residual};
pub use finish::{Finished, Finishing};
pub use function::{Function, LayerNorm};
pub use gate::{Gate, Gating, Ramp};
pub use gate_bytes::IntegerGate;
pub use pack::{Choice, Offsets, Packed, Runs, SumTile, Walk};
#[cfg(not(target_family = "wasm"))]
pub use peak::{Loop, Peak};
pub use pool::{Extent, Windows};
pub use product::Product;
pub use requantise::Requantise;
pub use resample::{Line, Sampling};
pub use table::Table;
#[cfg(feature = "ort")]
pub use training::{AdamStep, AdamTensors, Batch, Correlation, Cotangent, Normalising, Pooled};
pub use winograd::Tiled;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_depthwise;
#[cfg(target_arch = "x86_64")]
mod avx2_elements;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_depthwise;
#[cfg(target_arch = "x86_64")]
mod avx512_elements;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod i8mm;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

/// The sets of kernels beside the portable one, the fastest first: module, where it is compiled, level,
/// and the CPU features that the level's passes are compiled for; no level where the target has all that
/// passes can use.
macro_rules! sets {
    ($then:ident $($arguments:tt)*) => {
        $then! {
            [$($arguments)*]
            { avx512 (target_arch = "x86_64") Avx512 "avx512f,avx512bw,avx512vl,avx2,fma" }
            { avx2 (target_arch = "x86_64") Avx2 "avx2,fma" }
            { sse (target_arch = "x86_64") Sse "sse4.1" }
            { i8mm (all(target_arch = "aarch64", target_endian = "little")) }
            { neon (all(target_arch = "aarch64", target_endian = "little")) }
            { wasm (all(target_arch = "wasm32", target_feature = "simd128")) }
        }
    };
}
use sets;

/// What a product is computed on: `f32` by `f32` in `f32`, `u8` by `i8` in `i32`, or `i16` by `i16` in `i32`.
pub trait Element: Number {
    /// Type of the weights.
    type Weight: Copy + Default + Send + Sync + 'static;
    /// Type of the sums.
    type Sum: Number + Default;
    /// Neighbours along the sum that one step takes together.
    const GROUP: usize;
}

impl Element for f32 {
    type Weight = f32;
    type Sum = f32;
    const GROUP: usize = 1;
}

impl Element for u8 {
    type Weight = i8;
    type Sum = i32;
    const GROUP: usize = 4;
}

/// The numbers of transformed tiles. Sums wrap.
impl Element for i16 {
    type Weight = i16;
    type Sum = i32;
    const GROUP: usize = 2;
}

/// Computes the sums of P pixels by V vectors of output channels.
///
/// # Safety
/// The CPU has the kernel's features. Of `x`, each of the P `offsets` plus all of the walk is inside;
/// `w`, aligned to 64 bytes, holds what the set's [`Layout`] says for V vectors; `out` takes P × V vectors.
type MicroKernel<T> = unsafe fn(
    x: *const T,
    offsets: *const u32,
    walk: &Walk<'_>,
    w: *const <T as Element>::Weight,
    out: *mut <T as Element>::Sum,
);

/// What is done to sums while they are in registers.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other kernels finish"))]
struct Finish<T: Element> {
    /// What the sums of a block's channels begin with.
    begin: *const T::Sum,
    /// Of integers: how far each is shifted to the right.
    shift: *const u32,
    /// Of float32: added at the end, times a factor; or null.
    residual: *const f32,
    /// Where each pixel of it begins.
    residual_at: *const u32,
    factor: f32,
    limits: [T; 2],
}

/// As a [`MicroKernel`]; but the sums of P pixels are finished and stored, as what the inputs are, where these begin.
///
/// # Safety
/// As for [`MicroKernel`]. `begin`, and `shift` of integers, hold V vectors; of `residual`, if it is not null, and of `out`,
/// each of the P places plus V vectors is inside.
type FinishingKernel<T> = unsafe fn(
    x: *const T,
    offsets: *const u32,
    walk: &Walk<'_>,
    w: *const <T as Element>::Weight,
    how: &Finish<T>,
    out: *mut T,
    at: *const u32,
);

/// Finishing kernels of one number of vectors: pixels at once, the most first, 1 last.
type FinishingHeights<T> = &'static [(usize, FinishingKernel<T>)];

/// The micro-kernels of one number of vectors: pixels at once, the most first, 1 last.
type Heights<T> = &'static [(usize, MicroKernel<T>)];

/// In which order a set's kernels read the weights of a vector of channels.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Neighbours along the sum whose weights are one line: a multiple of [`Element::GROUP`].
    neighbours: usize,
    /// So many of them lie together: a line is `[neighbours / beside, lanes, beside]`.
    beside: usize,
    /// What the kernels take from each input. So many times the sum of its weights is what each channel's
    /// sum begins with; a vector of these lies before the weights. 0: sums begin with nothing.
    offset: i32,
}

impl Layout {
    /// Each weight by itself.
    const EACH: Self = Self { neighbours: 1, beside: 1, offset: 0 };
    /// Pairs: `[lanes, 2]`.
    const PAIRS: Self = Self { neighbours: 2, beside: 2, offset: 0 };
    /// Groups of four: `[lanes, 4]`.
    #[cfg_attr(target_family = "wasm", allow(dead_code, reason = "there are no products of four"))]
    const GROUPS: Self = Self { neighbours: 4, beside: 4, offset: 0 };
    /// Groups of four: `[4, lanes]`.
    const ACROSS: Self = Self { neighbours: 4, beside: 1, offset: 0 };

    /// The lane and the neighbour of each weight of a line, in their order.
    fn order(self, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
        let parts = (0..self.neighbours).step_by(self.beside);
        let lanes = parts.flat_map(move |part| (0..lanes).map(move |lane| (part, lane)));
        lanes.flat_map(move |(part, lane)| (part..part + self.beside).map(move |i| (lane, i)))
    }
}

/// The micro-kernels of a kind of product on one kind of CPU.
struct MicroKernels<T: Element> {
    lanes: usize,
    layout: Layout,
    /// `widths[i]` computes i + 1 vectors of output channels.
    widths: &'static [Heights<T>],
    /// The same products at their fastest, to judge the kernels by; nothing is judged in a browser.
    #[cfg(not(target_family = "wasm"))]
    peak: &'static Peak,
}

/// Computes one vector of channels of P pixels of a convolution of each channel by itself, within limits.
///
/// # Safety
/// The CPU has the kernel's features. Of `x`, each of the P `offsets` plus every tap plus a vector is inside;
/// `w` holds what the sums begin with and a vector for each tap; of `out`, each of the P places `at` plus a
/// vector is inside.
type DepthwiseKernel = unsafe fn(
    x: *const f32,
    offsets: *const u32,
    taps: &[u32],
    w: *const f32,
    limits: [f32; 2],
    out: *mut f32,
    at: *const u32,
);

/// Computes one vector of channels of Q neighbouring pixels of two rows of a convolution of each channel by itself, within
/// limits; `strides` are the elements from a row of a window to the next and from a column to the next, `apart` those from
/// a pixel of the result to the next.
///
/// # Safety
/// The CPU has the kernel's features. Of `x`, all that the windows of these pixels see is inside, plus a vector; `w` holds
/// what the sums begin with and a vector for each tap; of both rows of `out`, Q pixels `apart` plus a vector are inside.
type GridKernel = unsafe fn(
    x: *const f32,
    strides: [usize; 2],
    w: *const f32,
    limits: [f32; 2],
    out: [*mut f32; 2],
    apart: usize,
);

/// Kernels for square windows.
struct Grid {
    /// Rows or columns of a window.
    window: usize,
    stride: usize,
    /// Pixels of a row at once, the most first, 1 last.
    widths: &'static [(usize, GridKernel)],
}

/// The kernels for convolutions of each channel by itself.
struct DepthwiseKernels {
    lanes: usize,
    /// For the usual windows; others are done pixel by pixel.
    grids: &'static [Grid],
    /// Pixels at once, the most first, 1 last.
    heights: &'static [(usize, DepthwiseKernel)],
}

/// Computes the channels of a [`Width`] of P pixels of a convolution of each channel by itself, of bytes.
///
/// # Safety
/// The CPU has the kernel's features. Of `x`, each of the P `offsets` plus every tap plus the width is inside; `w` holds
/// in the width's order what sums begin with, the weights of each group of taps, and, for kernels that finish, the
/// shifts and the vectors of least and greatest bytes; of `out`, each of the P places `at` plus the width is inside, in
/// bytes, or in sums for kernels that do not finish.
type DepthwiseBytesKernel = unsafe fn(
    x: *const u8,
    offsets: *const u32,
    taps: &[[u32; 4]],
    w: *const u8,
    out: *mut u8,
    at: *const u32,
);

/// The kernels for so many channels of a convolution of each channel by itself, of bytes.
struct Width {
    /// Channels.
    lanes: usize,
    /// Pixels at once, the most first, 1 last; kernels that finish, and kernels that give sums.
    heights: &'static [(usize, DepthwiseBytesKernel, DepthwiseBytesKernel)],
    /// What a kernel takes for a shift by so many bits.
    shift: fn(u32) -> [u8; 4],
}

/// The kernels for convolutions of each channel by itself, of bytes: the widest first, 16 channels last.
#[derive(Clone, Copy)]
struct DepthwiseBytes {
    /// For inputs up to 127.
    int: &'static [Width],
    /// For inputs up to 255.
    wide: &'static [Width],
}

/// Replaces each of some numbers by `x / (1 + e⁻ˣ)`.
///
/// # Safety
/// The CPU has the features of the set.
type Silu = unsafe fn(x: &mut [f32]);

/// Looks up each byte.
///
/// # Safety
/// The CPU has the features of the set.
type LookUp = unsafe fn(table: &[u8; 256], x: &[u8], out: &mut [u8]);

/// Greatest number of sums of any tile.
const MAX_SUMS: usize = 512;

/// A set of loops for one kind of CPU.
pub struct Kernels {
    /// For reports: `avx512-vnni`.
    pub name: &'static str,
    level: Level,
    float: &'static MicroKernels<f32>,
    /// For as many widths as `float` has; none where there are none.
    finishing: Option<&'static [FinishingHeights<f32>]>,
    /// For as many widths as `int` and `wide` have, which are the same then; none where there are none.
    finishing_bytes: Option<&'static [FinishingHeights<u8>]>,
    depthwise: &'static DepthwiseKernels,
    /// Whether each lane can be shifted by its own number.
    shifts: bool,
    /// None where no vectors of instructions do better than the pass for all CPUs.
    silu: Option<Silu>,
    /// None where bytes are looked up one by one.
    look_up: Option<LookUp>,
    /// None where they are done in float32.
    depthwise_bytes: Option<DepthwiseBytes>,
    /// For inputs up to 127.
    int: &'static MicroKernels<u8>,
    /// For inputs up to 255.
    wide: &'static MicroKernels<u8>,
    /// For tiles of integers; none where they are not faster than the plain sums.
    tiles: Option<&'static MicroKernels<i16>>,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

sets!(levels);

impl Kernels {
    /// The fastest for this CPU.
    pub fn best() -> &'static Self {
        Self::all().first().copied().unwrap_or(&portable::KERNELS)
    }

    /// Whether convolutions of each channel by itself have kernels for bytes.
    pub fn has_depthwise_bytes(&self) -> bool {
        self.depthwise_bytes.is_some()
    }

    /// Whether sums of integers become bytes faster by shifts than by float32.
    pub fn shifts(&self) -> bool {
        self.shifts
    }

    /// Whether convolutions of 3×3 in integers are faster by Winograd's tiles.
    pub fn tiles_integers(&self) -> bool {
        self.tiles.is_some()
    }
}
