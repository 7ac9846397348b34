//! Kernels for WebAssembly's vectors of 128 bits.

use super::{DepthwiseKernels, Element, Kernels, Layout, Level, MicroKernels, Walk};
use std::arch::wasm32::*;

/// A module with these instructions is refused where they are missing: there is nothing to find out.
pub fn available() -> Option<&'static Kernels> {
    Some(&SIMD128)
}

/// The passes have vectors as they are: the whole module is compiled for them.
static SIMD128: Kernels = Kernels {
    name: "simd128",
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

static DEPTHWISE: DepthwiseKernels = DepthwiseKernels {
    lanes: 4,
    grids: &[],
    heights: &[(8, depthwise::<8>), (4, depthwise::<4>), (1, depthwise::<1>)],
};

depthwise_kernel! {
    #[target_feature(enable = "simd128")]
    depthwise: lanes 4, load load_floats, splat f32x4_splat, add add_floats, max greater, min smaller,
    store store_floats
}

// Pixels and vectors are chosen so that sums, weights and the values of a pixel fill the 16 registers that browsers
// have on x86-64.

static FLOAT: MicroKernels<f32> = MicroKernels {
    lanes: 4,
    layout: Layout::EACH,
    widths: &[
        &[(12, float::<1, 12>), (4, float::<1, 4>), (1, float::<1, 1>)],
        &[(6, float::<2, 6>), (4, float::<2, 4>), (1, float::<2, 1>)],
        &[(4, float::<3, 4>), (1, float::<3, 1>)],
    ],
};

/// Pairs of neighbours lie together, since their products are added to each other. The factors are of 16 bits, which
/// hold inputs up to 255.
static INT: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: Layout { neighbours: 4, beside: 2, offset: 0 },
    widths: &[&[(8, int::<1, 8>), (4, int::<1, 4>), (1, int::<1, 1>)], &[(4, int::<2, 4>), (1, int::<2, 1>)]],
};

micro_kernel! {
    #[target_feature(enable = "simd128")]
    float: f32, lanes 4, sums f32x4_splat(0.0), lines f32x4_splat(0.0),
    load load_floats, broadcast broadcast_float, add add_floats, store store_floats
}

micro_kernel! {
    #[target_feature(enable = "simd128")]
    int: u8, lanes 4, sums i32x4_splat(0), lines [i32x4_splat(0); 2],
    load load_pairs, broadcast broadcast_pairs, add add_pairs, store store_ints
}

#[inline]
#[target_feature(enable = "simd128")]
unsafe fn load_floats(w: *const f32) -> v128 {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { v128_load(w.cast()) }
}

#[inline]
#[target_feature(enable = "simd128")]
unsafe fn broadcast_float(x: *const f32) -> v128 {
    // SAFETY: one number is inside.
    f32x4_splat(unsafe { *x })
}

#[inline]
#[target_feature(enable = "simd128")]
fn add_floats(sums: v128, x: v128, w: v128) -> v128 {
    f32x4_add(sums, f32x4_mul(x, w))
}

/// The limit where `x` is NaN.
#[inline]
#[target_feature(enable = "simd128")]
fn greater(x: v128, limit: v128) -> v128 {
    f32x4_pmax(limit, x)
}

/// The limit where `x` is NaN.
#[inline]
#[target_feature(enable = "simd128")]
fn smaller(x: v128, limit: v128) -> v128 {
    f32x4_pmin(limit, x)
}

#[inline]
#[target_feature(enable = "simd128")]
unsafe fn store_floats(out: *mut f32, sums: v128) {
    // SAFETY: a vector of sums is inside.
    unsafe { v128_store(out.cast(), sums) }
}

/// Both pairs of each lane.
#[inline]
#[target_feature(enable = "simd128")]
unsafe fn load_pairs(w: *const i8) -> [v128; 2] {
    // SAFETY: a line of weights, 16 bytes, is inside.
    unsafe { [i16x8_load_extend_i8x8(w), i16x8_load_extend_i8x8(w.add(8))] }
}

/// Both pairs of a group, each everywhere.
#[inline]
#[target_feature(enable = "simd128")]
unsafe fn broadcast_pairs(x: *const u8) -> [v128; 2] {
    // SAFETY: a group of four is inside; it need not be aligned.
    let pairs = u16x8_extend_low_u8x16(unsafe { v128_load32_splat(x.cast()) });
    [i32x4_shuffle::<0, 0, 0, 0>(pairs, pairs), i32x4_shuffle::<1, 1, 1, 1>(pairs, pairs)]
}

#[inline]
#[target_feature(enable = "simd128")]
fn add_pairs(sums: v128, x: [v128; 2], w: [v128; 2]) -> v128 {
    i32x4_add(i32x4_add(sums, i32x4_dot_i16x8(x[0], w[0])), i32x4_dot_i16x8(x[1], w[1]))
}

#[inline]
#[target_feature(enable = "simd128")]
unsafe fn store_ints(out: *mut i32, sums: v128) {
    // SAFETY: a vector of sums is inside.
    unsafe { v128_store(out.cast(), sums) }
}
