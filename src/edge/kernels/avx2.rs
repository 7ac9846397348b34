//! Kernels for x86-64 with AVX2, with and without VNNI.

use super::avx2_depthwise::{DEPTHWISE_256, DEPTHWISE_BYTES, DEPTHWISE_VNNI};
use super::avx2_elements::{look_up_256, silu_256};
use super::{DepthwiseBytes, Element, Finish, FinishingHeights, Kernels, Layout, Level, MicroKernels, Walk};
use std::arch::{asm, x86_64::*};

/// What this CPU has, the fastest first.
pub fn available() -> Vec<&'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let have = [(avx2 && is_x86_feature_detected!("avxvnni"), &AVX2_VNNI), (avx2, &AVX2)];
    have.into_iter().filter_map(|(has, kernels)| has.then_some(kernels)).collect()
}

static AVX2_VNNI: Kernels = Kernels {
    name: "avx2-vnni",
    depthwise_bytes: Some(DepthwiseBytes { int: DEPTHWISE_VNNI, wide: DEPTHWISE_VNNI }),
    int: &VNNI_256,
    wide: &VNNI_256,
    tiles: None,
    ..AVX2
};
static AVX2: Kernels = Kernels {
    name: "avx2",
    level: Level::Avx2,
    float: &FLOAT_256,
    finishing: Some(FINISH_256),
    finishing_bytes: None,
    depthwise: &DEPTHWISE_256,
    shifts: true,
    silu: Some(silu_256),
    look_up: Some(look_up_256),
    depthwise_bytes: Some(DEPTHWISE_BYTES),
    int: &INT_256,
    wide: &WIDE_256,
    tiles: Some(&TILES_256),
};

// Pixels and vectors are chosen so that the sums, one line of weights and a broadcast value fill the 16
// registers, with one to spare: four pixels by three vectors take all of them, and the compiler then moves sums
// about.

static FLOAT_256: MicroKernels<f32> = MicroKernels {
    lanes: 8,
    layout: Layout::EACH,
    widths: &[
        &[(12, float_256::<1, 12>), (4, float_256::<1, 4>), (1, float_256::<1, 1>)],
        &[(6, float_256::<2, 6>), (4, float_256::<2, 4>), (1, float_256::<2, 1>)],
    ],
    peak: &FLOAT_PEAK,
};

static FINISH_256: &[FinishingHeights<f32>] = &[
    &[(12, finish_256::<1, 12>), (4, finish_256::<1, 4>), (1, finish_256::<1, 1>)],
    &[(6, finish_256::<2, 6>), (4, finish_256::<2, 4>), (1, finish_256::<2, 1>)],
];

static VNNI_256: MicroKernels<u8> = MicroKernels {
    lanes: 8,
    layout: Layout::GROUPS,
    widths: &[
        &[(12, vnni_256::<1, 12>), (4, vnni_256::<1, 4>), (1, vnni_256::<1, 1>)],
        &[(6, vnni_256::<2, 6>), (4, vnni_256::<2, 4>), (1, vnni_256::<2, 1>)],
    ],
    peak: &VNNI_PEAK,
};

/// Of any CPU with AVX2, VNNI or not; for inputs up to 127.
pub(super) static INT_256: MicroKernels<u8> = MicroKernels {
    lanes: 8,
    layout: Layout::GROUPS,
    widths: &[
        &[(8, int_256::<1, 8>), (4, int_256::<1, 4>), (1, int_256::<1, 1>)],
        &[(4, int_256::<2, 4>), (1, int_256::<2, 1>)],
        &[(3, int_256::<3, 3>), (1, int_256::<3, 1>)],
    ],
    peak: &INT_PEAK,
};

/// For inputs up to 255.
pub(super) static WIDE_256: MicroKernels<u8> = MicroKernels {
    lanes: 8,
    layout: Layout::GROUPS,
    widths: &[
        &[(4, wide_256::<1, 4>), (1, wide_256::<1, 1>)],
        &[(2, wide_256::<2, 2>), (1, wide_256::<2, 1>)],
    ],
    peak: &WIDE_PEAK,
};

/// Of tiles of integers. A sum waits one cycle for the one before, so few are enough.
static TILES_256: MicroKernels<i16> = MicroKernels {
    lanes: 8,
    layout: Layout::PAIRS,
    widths: &[
        &[(12, tiles_256::<1, 12>), (4, tiles_256::<1, 4>), (1, tiles_256::<1, 1>)],
        &[(6, tiles_256::<2, 6>), (4, tiles_256::<2, 4>), (1, tiles_256::<2, 1>)],
    ],
    peak: &TILES_PEAK,
};

micro_kernel! {
    #[target_feature(enable = "avx2,fma")]
    float_256: f32, lanes 8, sums _mm256_setzero_ps(), lines _mm256_setzero_ps(),
    load _mm256_loadu_ps, broadcast broadcast_f32x8, add add_f32x8, store _mm256_storeu_ps
}

finishing_kernel! {
    #[target_feature(enable = "avx2,fma")]
    finish_256: f32, lanes 8, sums _mm256_setzero_ps(), begin _mm256_loadu_ps, load _mm256_loadu_ps,
    broadcast broadcast_f32x8, add add_f32x8, finish limit_and_store
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

micro_kernel! {
    #[target_feature(enable = "avx2")]
    tiles_256: i16, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i16x16, broadcast broadcast_i16x16, add add_i16x16, store store_i32x8
}

peak! {
    #[target_feature(enable = "avx2,fma")]
    FLOAT_PEAK: sums 12 of 8, group 1, begin _mm256_setzero_ps(), x _mm256_set1_ps(1.0), w _mm256_set1_ps(1.0),
    opaque opaque_f32x8, add add_f32x8
}

peak! {
    #[target_feature(enable = "avx2,avxvnni")]
    VNNI_PEAK: sums 12 of 8, group 4, begin _mm256_setzero_si256(), x _mm256_set1_epi8(1), w _mm256_set1_epi8(1),
    opaque opaque_i8x32, add _mm256_dpbusd_avx_epi32
}

peak! {
    #[target_feature(enable = "avx2")]
    INT_PEAK: sums 12 of 8, group 4, begin _mm256_setzero_si256(), x _mm256_set1_epi8(1), w _mm256_set1_epi8(1),
    opaque opaque_i8x32, add add_u7x32
}

peak! {
    #[target_feature(enable = "avx2")]
    WIDE_PEAK: sums 10 of 8, group 4, begin _mm256_setzero_si256(), x _mm256_set1_epi8(1), w _mm256_set1_epi8(1),
    opaque opaque_i8x32, add add_u8x32
}

peak! {
    #[target_feature(enable = "avx2")]
    TILES_PEAK: sums 12 of 8, group 2, begin _mm256_setzero_si256(), x _mm256_set1_epi8(1), w _mm256_set1_epi8(1),
    opaque opaque_i8x32, add add_i16x16
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque_f32x8(mut x: __m256) -> __m256 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(ymm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque_i8x32(mut x: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(ymm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn broadcast_f32x8(x: *const f32) -> __m256 {
    // SAFETY: one number is inside.
    _mm256_set1_ps(unsafe { *x })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_f32x8(sums: __m256, x: __m256, w: __m256) -> __m256 {
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
unsafe fn load_i16x16(w: *const i16) -> __m256i {
    // SAFETY: a line of weights is inside.
    unsafe { _mm256_loadu_si256(w.cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast_i16x16(x: *const i16) -> __m256i {
    // SAFETY: a pair is inside; it need not be aligned.
    _mm256_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_i16x16(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
    _mm256_add_epi32(sums, _mm256_madd_epi16(x, w))
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
pub(super) fn add_u7x32(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(x, w);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// For inputs up to 255 = 127 + 128·1: the low seven bits and the highest bit are multiplied apart,
/// since pairs of whole products do not fit 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_u8x32(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
    let low = _mm256_and_si256(x, _mm256_set1_epi8(0x7f));
    let high = _mm256_and_si256(_mm256_srli_epi16(x, 7), _mm256_set1_epi8(1));
    let high = _mm256_madd_epi16(_mm256_maddubs_epi16(high, w), _mm256_set1_epi16(128));
    add_u7x32(_mm256_add_epi32(sums, high), low, w)
}

/// The end of products of float32: another map, and limits.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn limit_and_store<const V: usize>(mut sums: [__m256; V], how: &Finish<f32>, p: usize, out: *mut f32) {
    // SAFETY: the caller keeps the promises of `FinishingKernel`.
    unsafe {
        if !how.residual.is_null() {
            let other = how.residual.add(*how.residual_at.add(p) as usize);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_fmadd_ps(_mm256_loadu_ps(other.add(8 * v)), _mm256_set1_ps(how.factor), *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            let limited = _mm256_max_ps(*sum, _mm256_set1_ps(how.limits[0]));
            _mm256_storeu_ps(out.add(8 * v), _mm256_min_ps(limited, _mm256_set1_ps(how.limits[1])));
        }
    }
}
