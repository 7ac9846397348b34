//! Kernels for x86-64 with AVX2, with and without VNNI.

use super::{DepthwiseKernels, Element, Kernels, Layout, Level, MicroKernels, Walk};
use std::arch::x86_64::*;

/// What this CPU has, the fastest first.
pub fn available() -> Vec<&'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let have = [(avx2 && is_x86_feature_detected!("avxvnni"), &AVX2_VNNI), (avx2, &AVX2)];
    have.into_iter().filter_map(|(has, kernels)| has.then_some(kernels)).collect()
}

static AVX2_VNNI: Kernels = Kernels { name: "avx2-vnni", int: &VNNI_256, wide: &VNNI_256, ..AVX2 };
static AVX2: Kernels = Kernels {
    name: "avx2",
    level: Level::Avx2,
    float: &FLOAT_256,
    depthwise: &DEPTHWISE_256,
    int: &INT_256,
    wide: &WIDE_256,
};

static DEPTHWISE_256: DepthwiseKernels = DepthwiseKernels {
    lanes: 8,
    heights: &[(8, depthwise_256::<8>), (4, depthwise_256::<4>), (1, depthwise_256::<1>)],
};

depthwise_kernel! {
    #[target_feature(enable = "avx2,fma")]
    depthwise_256: lanes 8, load _mm256_loadu_ps, splat _mm256_set1_ps, add add_f32x8,
    max _mm256_max_ps, min _mm256_min_ps, store _mm256_storeu_ps
}

// Pixels and vectors are chosen so that the sums, one line of weights and a broadcast value fill the 16
// registers.

static FLOAT_256: MicroKernels<f32> = MicroKernels {
    lanes: 8,
    layout: Layout::EACH,
    widths: &[
        &[(12, float_256::<1, 12>), (4, float_256::<1, 4>), (1, float_256::<1, 1>)],
        &[(6, float_256::<2, 6>), (4, float_256::<2, 4>), (1, float_256::<2, 1>)],
        &[(4, float_256::<3, 4>), (1, float_256::<3, 1>)],
    ],
};

static VNNI_256: MicroKernels<u8> = MicroKernels {
    lanes: 8,
    layout: Layout::GROUPS,
    widths: &[
        &[(12, vnni_256::<1, 12>), (4, vnni_256::<1, 4>), (1, vnni_256::<1, 1>)],
        &[(6, vnni_256::<2, 6>), (4, vnni_256::<2, 4>), (1, vnni_256::<2, 1>)],
        &[(4, vnni_256::<3, 4>), (1, vnni_256::<3, 1>)],
    ],
};

/// Of any CPU with AVX2, VNNI or not; for inputs up to 127.
pub static INT_256: MicroKernels<u8> = MicroKernels {
    lanes: 8,
    layout: Layout::GROUPS,
    widths: &[
        &[(8, int_256::<1, 8>), (4, int_256::<1, 4>), (1, int_256::<1, 1>)],
        &[(4, int_256::<2, 4>), (1, int_256::<2, 1>)],
        &[(3, int_256::<3, 3>), (1, int_256::<3, 1>)],
    ],
};

/// For inputs up to 255.
pub static WIDE_256: MicroKernels<u8> = MicroKernels {
    lanes: 8,
    layout: Layout::GROUPS,
    widths: &[
        &[(4, wide_256::<1, 4>), (1, wide_256::<1, 1>)],
        &[(2, wide_256::<2, 2>), (1, wide_256::<2, 1>)],
    ],
};

micro_kernel! {
    #[target_feature(enable = "avx2,fma")]
    float_256: f32, lanes 8, sums _mm256_setzero_ps(), lines _mm256_setzero_ps(),
    load _mm256_loadu_ps, broadcast broadcast_f32x8, add add_f32x8, store _mm256_storeu_ps
}

micro_kernel! {
    #[target_feature(enable = "avx2,avxvnni")]
    vnni_256: u8, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i8x32, broadcast broadcast_u8x32, add _mm256_dpbusd_avx_epi32, store store_i32x8
}

micro_kernel! {
    #[target_feature(enable = "avx2")]
    int_256: u8, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i8x32, broadcast broadcast_u8x32, add add_u7x32, store store_i32x8
}

micro_kernel! {
    #[target_feature(enable = "avx2")]
    wide_256: u8, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i8x32, broadcast broadcast_u8x32, add add_u8x32, store store_i32x8
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast_f32x8(x: *const f32) -> __m256 {
    // SAFETY: one number is inside.
    _mm256_set1_ps(unsafe { *x })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_f32x8(sums: __m256, x: __m256, w: __m256) -> __m256 {
    _mm256_fmadd_ps(x, w, sums)
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_i8x32(w: *const i8) -> __m256i {
    // SAFETY: a line of weights is inside.
    unsafe { _mm256_loadu_si256(w.cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast_u8x32(x: *const u8) -> __m256i {
    // SAFETY: a group of four is inside; it need not be aligned.
    _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_i32x8(out: *mut i32, sums: __m256i) {
    // SAFETY: a vector of sums is inside.
    unsafe { _mm256_storeu_si256(out.cast(), sums) }
}

/// For inputs up to 127: pairs of products are added in 16 bits, and 2·127·128 = 32,512 fits there.
#[inline]
#[target_feature(enable = "avx2")]
fn add_u7x32(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(x, w);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// For inputs up to 255 = 127 + 128·1: the low seven bits and the highest bit are multiplied apart,
/// since pairs of whole products do not fit 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_u8x32(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
    let low = _mm256_and_si256(x, _mm256_set1_epi8(0x7f));
    let high = _mm256_and_si256(_mm256_srli_epi16(x, 7), _mm256_set1_epi8(1));
    let high = _mm256_madd_epi16(_mm256_maddubs_epi16(high, w), _mm256_set1_epi16(128));
    add_u7x32(_mm256_add_epi32(sums, high), low, w)
}
