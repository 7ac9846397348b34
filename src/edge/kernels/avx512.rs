//! Kernels for x86-64 with AVX-512, with and without VNNI.

use super::avx2::{INT_256, WIDE_256};
use super::{DepthwiseKernels, Element, Kernels, Layout, Level, MicroKernels, Walk};
use std::arch::x86_64::*;

/// What this CPU has, the fastest first.
pub fn available() -> Vec<&'static Kernels> {
    let avx512 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    let have = [(avx512 && is_x86_feature_detected!("avx512vnni"), &AVX512_VNNI), (avx512, &AVX512)];
    have.into_iter().filter_map(|(has, kernels)| has.then_some(kernels)).collect()
}

static AVX512_VNNI: Kernels = Kernels { name: "avx512-vnni", int: &VNNI_512, wide: &VNNI_512, ..AVX512 };
static AVX512: Kernels = Kernels {
    name: "avx512",
    level: Level::Avx512,
    float: &FLOAT_512,
    depthwise: &DEPTHWISE_512,
    int: &INT_256,
    wide: &WIDE_256,
};

static DEPTHWISE_512: DepthwiseKernels = DepthwiseKernels {
    lanes: 16,
    heights: &[(8, depthwise_512::<8>), (4, depthwise_512::<4>), (1, depthwise_512::<1>)],
};

depthwise_kernel! {
    #[target_feature(enable = "avx512f")]
    depthwise_512: lanes 16, load _mm512_loadu_ps, splat _mm512_set1_ps, add add_f32x16,
    max _mm512_max_ps, min _mm512_min_ps, store _mm512_storeu_ps
}

// Pixels and vectors are chosen so that the sums, one line of weights and a broadcast value fill the 32
// registers.

static FLOAT_512: MicroKernels<f32> = MicroKernels {
    lanes: 16,
    layout: Layout::EACH,
    widths: &[
        &[(12, float_512::<1, 12>), (4, float_512::<1, 4>), (1, float_512::<1, 1>)],
        &[(12, float_512::<2, 12>), (4, float_512::<2, 4>), (1, float_512::<2, 1>)],
        &[(8, float_512::<3, 8>), (4, float_512::<3, 4>), (1, float_512::<3, 1>)],
        &[(6, float_512::<4, 6>), (4, float_512::<4, 4>), (1, float_512::<4, 1>)],
    ],
};

static VNNI_512: MicroKernels<u8> = MicroKernels {
    lanes: 16,
    layout: Layout::GROUPS,
    widths: &[
        &[(12, vnni_512::<1, 12>), (4, vnni_512::<1, 4>), (1, vnni_512::<1, 1>)],
        &[(12, vnni_512::<2, 12>), (4, vnni_512::<2, 4>), (1, vnni_512::<2, 1>)],
        &[(8, vnni_512::<3, 8>), (4, vnni_512::<3, 4>), (1, vnni_512::<3, 1>)],
        &[(6, vnni_512::<4, 6>), (4, vnni_512::<4, 4>), (1, vnni_512::<4, 1>)],
    ],
};

micro_kernel! {
    #[target_feature(enable = "avx512f")]
    float_512: f32, lanes 16, sums _mm512_setzero_ps(), lines _mm512_setzero_ps(),
    load _mm512_loadu_ps, broadcast broadcast_f32x16, add add_f32x16, store _mm512_storeu_ps
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vnni")]
    vnni_512: u8, lanes 16, sums _mm512_setzero_si512(), lines _mm512_setzero_si512(),
    load load_i8x64, broadcast broadcast_u8x64, add _mm512_dpbusd_epi32, store store_i32x16
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast_f32x16(x: *const f32) -> __m512 {
    // SAFETY: one number is inside.
    _mm512_set1_ps(unsafe { *x })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_f32x16(sums: __m512, x: __m512, w: __m512) -> __m512 {
    _mm512_fmadd_ps(x, w, sums)
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_i8x64(w: *const i8) -> __m512i {
    // SAFETY: a line of weights is inside.
    unsafe { _mm512_loadu_si512(w.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast_u8x64(x: *const u8) -> __m512i {
    // SAFETY: a group of four is inside; it need not be aligned.
    _mm512_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_i32x16(out: *mut i32, sums: __m512i) {
    // SAFETY: a vector of sums is inside.
    unsafe { _mm512_storeu_si512(out.cast(), sums) }
}
