//! Kernels in plain Rust, for any CPU; the compiler vectorises them as far as the target allows.

use super::{DepthwiseKernels, Element, Kernels, Layout, Level, MicroKernels, Walk};

pub(super) const LANES: usize = 8;

#[inline(always)]
pub(super) unsafe fn load_float(w: *const f32) -> [f32; LANES] {
    // SAFETY: a line of weights is inside.
    unsafe { *w.cast() }
}

#[inline(always)]
pub(super) unsafe fn broadcast_float(x: *const f32) -> f32 {
    // SAFETY: one number is inside.
    unsafe { *x }
}

#[inline(always)]
pub(super) fn add_float(sums: [f32; LANES], x: f32, w: [f32; LANES]) -> [f32; LANES] {
    add_each(sums, [x; LANES], w)
}

#[inline(always)]
fn splat(x: f32) -> [f32; LANES] {
    [x; LANES]
}

#[inline(always)]
fn greater(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| a[i].max(b[i]))
}

#[inline(always)]
fn smaller(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| a[i].min(b[i]))
}

#[inline(always)]
fn add_each(mut sums: [f32; LANES], x: [f32; LANES], w: [f32; LANES]) -> [f32; LANES] {
    for i in 0..LANES {
        // Fused only where the target has it for certain: elsewhere it is a library call.
        let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
        sums[i] = if fused { x[i].mul_add(w[i], sums[i]) } else { x[i] * w[i] + sums[i] };
    }
    sums
}

#[inline(always)]
pub(super) unsafe fn store_float(out: *mut f32, sums: [f32; LANES]) {
    // SAFETY: a vector of sums is inside.
    unsafe { *out.cast() = sums }
}

#[inline(always)]
unsafe fn load_int(w: *const i8) -> [[i8; LANES]; 4] {
    // SAFETY: a line of weights is inside.
    unsafe { *w.cast() }
}

#[inline(always)]
unsafe fn broadcast_int(x: *const u8) -> [u8; 4] {
    // SAFETY: a group of neighbours is inside.
    unsafe { *x.cast() }
}

#[inline(always)]
fn add_int(mut sums: [i32; LANES], x: [u8; 4], w: [[i8; LANES]; 4]) -> [i32; LANES] {
    for j in 0..4 {
        for i in 0..LANES {
            // 16 bits hold the factors; many targets multiply them fastest.
            sums[i] += i32::from(i16::from(x[j])) * i32::from(i16::from(w[j][i]));
        }
    }
    sums
}

#[inline(always)]
unsafe fn load_pairs(w: *const i16) -> [[i16; 2]; LANES] {
    // SAFETY: a line of weights is inside.
    unsafe { w.cast::<[[i16; 2]; LANES]>().read_unaligned() }
}

#[inline(always)]
unsafe fn broadcast_pair(x: *const i16) -> [i16; 2] {
    // SAFETY: a pair is inside.
    unsafe { x.cast::<[i16; 2]>().read_unaligned() }
}

#[inline(always)]
fn add_pairs(mut sums: [i32; LANES], x: [i16; 2], w: [[i16; 2]; LANES]) -> [i32; LANES] {
    for i in 0..LANES {
        let [a, b] = [0, 1].map(|j| i32::from(x[j]) * i32::from(w[i][j]));
        sums[i] = sums[i].wrapping_add(a.wrapping_add(b));
    }
    sums
}

#[inline(always)]
unsafe fn store_int(out: *mut i32, sums: [i32; LANES]) {
    // SAFETY: a vector of sums is inside.
    unsafe { *out.cast() = sums }
}

micro_kernel! {
    float: f32, lanes LANES, sums [0f32; LANES], lines [0f32; LANES],
    load load_float, broadcast broadcast_float, add add_float, store store_float
}

micro_kernel! {
    int: u8, lanes LANES, sums [0i32; LANES], lines [[0i8; LANES]; 4],
    load load_int, broadcast broadcast_int, add add_int, store store_int
}

micro_kernel! {
    tiles: i16, lanes LANES, sums [0i32; LANES], lines [[0i16; 2]; LANES],
    load load_pairs, broadcast broadcast_pair, add add_pairs, store store_int
}

#[cfg(not(target_family = "wasm"))]
#[path = "portable_peaks.rs"]
mod peaks;
#[cfg(not(target_family = "wasm"))]
use peaks::{FLOAT_PEAK, INT_PEAK, TILES_PEAK};

depthwise_kernel! {
    depthwise: lanes LANES, load load_float, splat splat, add add_each, max greater, min smaller,
    store store_float
}

static DEPTHWISE: DepthwiseKernels =
    DepthwiseKernels { lanes: LANES, grids: &[], heights: &[(4, depthwise::<4>), (1, depthwise::<1>)] };

static FLOAT: MicroKernels<f32> = MicroKernels {
    lanes: LANES,
    layout: Layout::EACH,
    widths: &[&[(4, float::<1, 4>), (1, float::<1, 1>)]],
    #[cfg(not(target_family = "wasm"))]
    peak: &FLOAT_PEAK,
};

static INT: MicroKernels<u8> = MicroKernels {
    lanes: LANES,
    layout: Layout::ACROSS,
    widths: &[&[(4, int::<1, 4>), (1, int::<1, 1>)]],
    #[cfg(not(target_family = "wasm"))]
    peak: &INT_PEAK,
};

/// What those of other sets are held to. They are no faster than the plain sums.
pub(super) static TILES: MicroKernels<i16> = MicroKernels {
    lanes: LANES,
    layout: Layout::PAIRS,
    widths: &[&[(4, tiles::<1, 4>), (1, tiles::<1, 1>)]],
    #[cfg(not(target_family = "wasm"))]
    peak: &TILES_PEAK,
};

/// They are there on every CPU.
pub static KERNELS: Kernels = Kernels {
    name: "portable",
    level: Level::Portable,
    float: &FLOAT,
    finishing: None,
    finishing_bytes: None,
    depthwise: &DEPTHWISE,
    shifts: false,
    silu: None,
    look_up: None,
    depthwise_bytes: None,
    int: &INT,
    wide: &INT,
    tiles: None,
};
