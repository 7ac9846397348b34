//! Convolutions of each channel by itself for x86-64 with AVX-512.

use super::avx2_depthwise::{load_u8x32, shift_of, store_u8x32};
use super::avx512::{add_f32x16, load_u8x64, store_u8x64};
use super::sse::{load_u8x16, store_u8x16};
use super::{DepthwiseKernels, Grid, Width};
use std::arch::x86_64::*;

pub(super) static DEPTHWISE_512: DepthwiseKernels = DepthwiseKernels {
    lanes: 16,
    grids: depthwise_grids!(depthwise_grid_512: 4 2 1),
    heights: &[(8, depthwise_512::<8>), (4, depthwise_512::<4>), (1, depthwise_512::<1>)],
};

depthwise_grid_kernel! {
    #[target_feature(enable = "avx512f")]
    depthwise_grid_512: lanes 16, load _mm512_loadu_ps, splat _mm512_set1_ps, add add_f32x16,
    max _mm512_max_ps, min _mm512_min_ps, store _mm512_storeu_ps
}

depthwise_kernel! {
    #[target_feature(enable = "avx512f")]
    depthwise_512: lanes 16, load _mm512_loadu_ps, splat _mm512_set1_ps, add add_f32x16,
    max _mm512_max_ps, min _mm512_min_ps, store _mm512_storeu_ps
}

pub(super) static DEPTHWISE_VNNI: &[Width] = &[
    Width { lanes: 64, heights: depthwise_bytes_heights!(depthwise_vnni_512: 4 1), shift: shift_of },
    Width { lanes: 32, heights: depthwise_bytes_heights!(depthwise_vnni_256: 4 1), shift: shift_of },
    Width { lanes: 16, heights: depthwise_bytes_heights!(depthwise_vnni_128: 4 1), shift: shift_of },
];

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    depthwise_vnni_512: bytes 64, load load_u8x64,
    interleave8 [_mm512_unpacklo_epi8, _mm512_unpackhi_epi8],
    interleave16 [_mm512_unpacklo_epi16, _mm512_unpackhi_epi16],
    add _mm512_dpbusd_epi32, shift _mm512_srav_epi32, narrow [_mm512_packs_epi32, _mm512_packus_epi16],
    max _mm512_max_epu8, min _mm512_min_epu8, store store_u8x64
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
    depthwise_vnni_256: bytes 32, load load_u8x32,
    interleave8 [_mm256_unpacklo_epi8, _mm256_unpackhi_epi8],
    interleave16 [_mm256_unpacklo_epi16, _mm256_unpackhi_epi16],
    add _mm256_dpbusd_epi32, shift _mm256_srav_epi32, narrow [_mm256_packs_epi32, _mm256_packus_epi16],
    max _mm256_max_epu8, min _mm256_min_epu8, store store_u8x32
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
    depthwise_vnni_128: bytes 16, load load_u8x16,
    interleave8 [_mm_unpacklo_epi8, _mm_unpackhi_epi8],
    interleave16 [_mm_unpacklo_epi16, _mm_unpackhi_epi16],
    add _mm_dpbusd_epi32, shift _mm_srav_epi32, narrow [_mm_packs_epi32, _mm_packus_epi16],
    max _mm_max_epu8, min _mm_min_epu8, store store_u8x16
}
