//! Convolutions of each channel by itself for x86-64 with AVX2, with and without VNNI.

use super::avx2::{add_f32x8, add_u7x32, add_u8x32};
use super::sse::{add_u7x16, add_u8x16, load_u8x16, store_u8x16};
use super::{DepthwiseBytes, DepthwiseKernels, Grid, Width};
use std::arch::x86_64::*;

pub(super) static DEPTHWISE_256: DepthwiseKernels = DepthwiseKernels {
    lanes: 8,
    grids: depthwise_grids!(depthwise_grid_256: 2 1),
    heights: &[(8, depthwise_256::<8>), (4, depthwise_256::<4>), (1, depthwise_256::<1>)],
};

depthwise_grid_kernel! {
    #[target_feature(enable = "avx2,fma")]
    depthwise_grid_256: lanes 8, load _mm256_loadu_ps, splat _mm256_set1_ps, add add_f32x8,
    max _mm256_max_ps, min _mm256_min_ps, store _mm256_storeu_ps
}

depthwise_kernel! {
    #[target_feature(enable = "avx2,fma")]
    depthwise_256: lanes 8, load _mm256_loadu_ps, splat _mm256_set1_ps, add add_f32x8,
    max _mm256_max_ps, min _mm256_min_ps, store _mm256_storeu_ps
}

/// Of any CPU with AVX2, VNNI or not.
pub(super) static DEPTHWISE_BYTES: DepthwiseBytes =
    DepthwiseBytes { int: DEPTHWISE_INT, wide: DEPTHWISE_WIDE };

pub(super) static DEPTHWISE_VNNI: &[Width] = &[
    Width { lanes: 32, heights: depthwise_bytes_heights!(depthwise_vnni_256: 2 1), shift: shift_of },
    Width { lanes: 16, heights: depthwise_bytes_heights!(depthwise_vnni_128: 2 1), shift: shift_of },
];

static DEPTHWISE_INT: &[Width] = &[
    Width { lanes: 32, heights: depthwise_bytes_heights!(depthwise_int_256: 2 1), shift: shift_of },
    Width { lanes: 16, heights: depthwise_bytes_heights!(depthwise_int_128: 2 1), shift: shift_of },
];

static DEPTHWISE_WIDE: &[Width] = &[
    Width { lanes: 32, heights: depthwise_bytes_heights!(depthwise_wide_256: 2 1), shift: shift_of },
    Width { lanes: 16, heights: depthwise_bytes_heights!(depthwise_wide_128: 2 1), shift: shift_of },
];

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx2,avxvnni")]
    depthwise_vnni_256: bytes 32, load load_u8x32,
    interleave8 [_mm256_unpacklo_epi8, _mm256_unpackhi_epi8],
    interleave16 [_mm256_unpacklo_epi16, _mm256_unpackhi_epi16],
    add _mm256_dpbusd_avx_epi32, shift _mm256_srav_epi32, narrow [_mm256_packs_epi32, _mm256_packus_epi16],
    max _mm256_max_epu8, min _mm256_min_epu8, store store_u8x32
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx2,avxvnni")]
    depthwise_vnni_128: bytes 16, load load_u8x16,
    interleave8 [_mm_unpacklo_epi8, _mm_unpackhi_epi8],
    interleave16 [_mm_unpacklo_epi16, _mm_unpackhi_epi16],
    add _mm_dpbusd_avx_epi32, shift _mm_srav_epi32, narrow [_mm_packs_epi32, _mm_packus_epi16],
    max _mm_max_epu8, min _mm_min_epu8, store store_u8x16
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx2")]
    depthwise_int_256: bytes 32, load load_u8x32,
    interleave8 [_mm256_unpacklo_epi8, _mm256_unpackhi_epi8],
    interleave16 [_mm256_unpacklo_epi16, _mm256_unpackhi_epi16],
    add add_u7x32, shift _mm256_srav_epi32, narrow [_mm256_packs_epi32, _mm256_packus_epi16],
    max _mm256_max_epu8, min _mm256_min_epu8, store store_u8x32
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx2")]
    depthwise_int_128: bytes 16, load load_u8x16,
    interleave8 [_mm_unpacklo_epi8, _mm_unpackhi_epi8],
    interleave16 [_mm_unpacklo_epi16, _mm_unpackhi_epi16],
    add add_u7x16, shift _mm_srav_epi32, narrow [_mm_packs_epi32, _mm_packus_epi16],
    max _mm_max_epu8, min _mm_min_epu8, store store_u8x16
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx2")]
    depthwise_wide_256: bytes 32, load load_u8x32,
    interleave8 [_mm256_unpacklo_epi8, _mm256_unpackhi_epi8],
    interleave16 [_mm256_unpacklo_epi16, _mm256_unpackhi_epi16],
    add add_u8x32, shift _mm256_srav_epi32, narrow [_mm256_packs_epi32, _mm256_packus_epi16],
    max _mm256_max_epu8, min _mm256_min_epu8, store store_u8x32
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx2")]
    depthwise_wide_128: bytes 16, load load_u8x16,
    interleave8 [_mm_unpacklo_epi8, _mm_unpackhi_epi8],
    interleave16 [_mm_unpacklo_epi16, _mm_unpackhi_epi16],
    add add_u8x16, shift _mm_srav_epi32, narrow [_mm_packs_epi32, _mm_packus_epi16],
    max _mm_max_epu8, min _mm_min_epu8, store store_u8x16
}

/// A shift as vectors of shifts have it.
pub(super) fn shift_of(bits: u32) -> [u8; 4] {
    bits.to_ne_bytes()
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_u8x32(x: *const u8) -> __m256i {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm256_loadu_si256(x.cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store_u8x32(out: *mut u8, x: __m256i) {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm256_storeu_si256(out.cast(), x) }
}
