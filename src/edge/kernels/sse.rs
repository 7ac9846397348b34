//! Kernels for x86-64 with SSE4.1 and no AVX2: Atoms, Celerons, and whatever is older than 2013.

use super::{DepthwiseBytes, DepthwiseKernels, Element, Kernels, Layout, Level, MicroKernels, Walk, Width};
use std::arch::{asm, x86_64::*};

/// What this CPU has.
pub fn available() -> Option<&'static Kernels> {
    is_x86_feature_detected!("sse4.1").then_some(&SSE)
}

static SSE: Kernels = Kernels {
    name: "sse4.1",
    level: Level::Sse,
    float: &FLOAT,
    finishing: None,
    finishing_bytes: None,
    depthwise: &DEPTHWISE,
    shifts: false,
    silu: None,
    look_up: None,
    depthwise_bytes: Some(DepthwiseBytes { int: DEPTHWISE_INT, wide: DEPTHWISE_WIDE }),
    int: &INT,
    wide: &WIDE,
    tiles: Some(&TILES),
};

static DEPTHWISE: DepthwiseKernels = DepthwiseKernels {
    lanes: 4,
    grids: &[],
    heights: &[(8, depthwise::<8>), (4, depthwise::<4>), (1, depthwise::<1>)],
};

depthwise_kernel! {
    #[target_feature(enable = "sse4.1")]
    depthwise: lanes 4, load _mm_loadu_ps, splat _mm_set1_ps, add add_f32x4,
    max _mm_max_ps, min _mm_min_ps, store _mm_storeu_ps
}

static DEPTHWISE_INT: &[Width] =
    &[Width { lanes: 16, heights: depthwise_bytes_heights!(depthwise_int: 2 1), shift: factor_of }];

static DEPTHWISE_WIDE: &[Width] =
    &[Width { lanes: 16, heights: depthwise_bytes_heights!(depthwise_wide: 2 1), shift: factor_of }];

depthwise_bytes_kernel! {
    #[target_feature(enable = "sse4.1")]
    depthwise_int: bytes 16, load load_u8x16,
    interleave8 [_mm_unpacklo_epi8, _mm_unpackhi_epi8],
    interleave16 [_mm_unpacklo_epi16, _mm_unpackhi_epi16],
    add add_u7x16, shift shifted, narrow [_mm_packs_epi32, _mm_packus_epi16],
    max _mm_max_epu8, min _mm_min_epu8, store store_u8x16
}

depthwise_bytes_kernel! {
    #[target_feature(enable = "sse4.1")]
    depthwise_wide: bytes 16, load load_u8x16,
    interleave8 [_mm_unpacklo_epi8, _mm_unpackhi_epi8],
    interleave16 [_mm_unpacklo_epi16, _mm_unpackhi_epi16],
    add add_u8x16, shift shifted, narrow [_mm_packs_epi32, _mm_packus_epi16],
    max _mm_max_epu8, min _mm_min_epu8, store store_u8x16
}

// Instructions overwrite an operand: the sums, a line of weights, a broadcast value and a copy of it share
// the 16 registers.

static FLOAT: MicroKernels<f32> = MicroKernels {
    lanes: 4,
    layout: Layout::EACH,
    widths: &[
        &[(8, float::<1, 8>), (4, float::<1, 4>), (1, float::<1, 1>)],
        &[(6, float::<2, 6>), (4, float::<2, 4>), (1, float::<2, 1>)],
        &[(3, float::<3, 3>), (1, float::<3, 1>)],
    ],
    peak: &FLOAT_PEAK,
};

/// For inputs up to 127.
static INT: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: Layout::GROUPS,
    widths: &[
        &[(8, int::<1, 8>), (4, int::<1, 4>), (1, int::<1, 1>)],
        &[(4, int::<2, 4>), (1, int::<2, 1>)],
        &[(3, int::<3, 3>), (1, int::<3, 1>)],
    ],
    peak: &INT_PEAK,
};

/// For inputs up to 255.
static WIDE: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: Layout::GROUPS,
    widths: &[&[(4, wide::<1, 4>), (1, wide::<1, 1>)], &[(2, wide::<2, 2>), (1, wide::<2, 1>)]],
    peak: &WIDE_PEAK,
};

/// Of tiles of integers.
static TILES: MicroKernels<i16> = MicroKernels {
    lanes: 4,
    layout: Layout::PAIRS,
    widths: &[
        &[(8, tiles::<1, 8>), (4, tiles::<1, 4>), (1, tiles::<1, 1>)],
        &[(4, tiles::<2, 4>), (1, tiles::<2, 1>)],
        &[(3, tiles::<3, 3>), (1, tiles::<3, 1>)],
    ],
    peak: &TILES_PEAK,
};

micro_kernel! {
    #[target_feature(enable = "sse4.1")]
    float: f32, lanes 4, sums _mm_setzero_ps(), lines _mm_setzero_ps(),
    load _mm_loadu_ps, broadcast broadcast_f32x4, add add_f32x4, store _mm_storeu_ps
}

micro_kernel! {
    #[target_feature(enable = "sse4.1")]
    int: u8, lanes 4, sums _mm_setzero_si128(), lines _mm_setzero_si128(),
    load load_i8x16, broadcast broadcast_u8x16, add add_u7x16, store store_i32x4
}

micro_kernel! {
    #[target_feature(enable = "sse4.1")]
    wide: u8, lanes 4, sums _mm_setzero_si128(), lines _mm_setzero_si128(),
    load load_i8x16, broadcast broadcast_u8x16, add add_u8x16, store store_i32x4
}

micro_kernel! {
    #[target_feature(enable = "sse4.1")]
    tiles: i16, lanes 4, sums _mm_setzero_si128(), lines _mm_setzero_si128(),
    load load_i16x8, broadcast broadcast_i16x8, add add_i16x8, store store_i32x4
}

peak! {
    #[target_feature(enable = "sse4.1")]
    FLOAT_PEAK: sums 12 of 4, group 1, begin _mm_setzero_ps(), x _mm_set1_ps(1.0), w _mm_set1_ps(1.0),
    opaque opaque_f32x4, add add_f32x4
}

peak! {
    #[target_feature(enable = "sse4.1")]
    INT_PEAK: sums 12 of 4, group 4, begin _mm_setzero_si128(), x _mm_set1_epi8(1), w _mm_set1_epi8(1),
    opaque opaque_i8x16, add add_u7x16
}

peak! {
    #[target_feature(enable = "sse4.1")]
    WIDE_PEAK: sums 10 of 4, group 4, begin _mm_setzero_si128(), x _mm_set1_epi8(1), w _mm_set1_epi8(1),
    opaque opaque_i8x16, add add_u8x16
}

peak! {
    #[target_feature(enable = "sse4.1")]
    TILES_PEAK: sums 12 of 4, group 2, begin _mm_setzero_si128(), x _mm_set1_epi8(1), w _mm_set1_epi8(1),
    opaque opaque_i8x16, add add_i16x8
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "sse4.1")]
fn opaque_f32x4(mut x: __m128) -> __m128 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(xmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "sse4.1")]
fn opaque_i8x16(mut x: __m128i) -> __m128i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(xmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn broadcast_f32x4(x: *const f32) -> __m128 {
    // SAFETY: one number is inside.
    _mm_set1_ps(unsafe { *x })
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn add_f32x4(sums: __m128, x: __m128, w: __m128) -> __m128 {
    _mm_add_ps(_mm_mul_ps(x, w), sums)
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn load_i8x16(w: *const i8) -> __m128i {
    // SAFETY: a line of weights is inside.
    unsafe { _mm_loadu_si128(w.cast()) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn load_i16x8(w: *const i16) -> __m128i {
    // SAFETY: a line of weights is inside.
    unsafe { _mm_loadu_si128(w.cast()) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn broadcast_u8x16(x: *const u8) -> __m128i {
    // SAFETY: a group of four is inside; it need not be aligned.
    _mm_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn broadcast_i16x8(x: *const i16) -> __m128i {
    // SAFETY: a pair is inside; it need not be aligned.
    _mm_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "sse4.1")]
unsafe fn store_i32x4(out: *mut i32, sums: __m128i) {
    // SAFETY: a vector of sums is inside.
    unsafe { _mm_storeu_si128(out.cast(), sums) }
}

/// For inputs up to 127: pairs of products are added in 16 bits, and 2·127·128 = 32,512 fits there.
#[inline]
#[target_feature(enable = "sse4.1")]
pub(super) fn add_u7x16(sums: __m128i, x: __m128i, w: __m128i) -> __m128i {
    let pairs = _mm_maddubs_epi16(x, w);
    _mm_add_epi32(sums, _mm_madd_epi16(pairs, _mm_set1_epi16(1)))
}

/// For inputs up to 255 = 127 + 128·1: the low seven bits and the highest bit are multiplied apart,
/// since pairs of whole products do not fit 16 bits.
#[inline]
#[target_feature(enable = "sse4.1")]
pub(super) fn add_u8x16(sums: __m128i, x: __m128i, w: __m128i) -> __m128i {
    let low = _mm_and_si128(x, _mm_set1_epi8(0x7f));
    let high = _mm_and_si128(_mm_srli_epi16(x, 7), _mm_set1_epi8(1));
    let high = _mm_madd_epi16(_mm_maddubs_epi16(high, w), _mm_set1_epi16(128));
    add_u7x16(_mm_add_epi32(sums, high), low, w)
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn add_i16x8(sums: __m128i, x: __m128i, w: __m128i) -> __m128i {
    _mm_add_epi32(sums, _mm_madd_epi16(x, w))
}

/// A shift as the factor 2⁻ᵏ: there are no shifts of each lane by its own number.
fn factor_of(bits: u32) -> [u8; 4] {
    2f32.powi(-(bits as i32)).to_ne_bytes()
}

/// What a shift to the right gives, by a factor: of greater sums than float32 holds both ends are beyond the limits of
/// bytes (see [`super::Requantise::of`]).
#[inline]
#[target_feature(enable = "sse4.1")]
fn shifted(sums: __m128i, factors: __m128i) -> __m128i {
    let most = _mm_set1_epi32(1 << 24);
    let sums = _mm_max_epi32(_mm_min_epi32(sums, most), _mm_set1_epi32(-(1 << 24)));
    let scaled = _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_castsi128_ps(factors));
    _mm_cvttps_epi32(_mm_floor_ps(scaled))
}

#[inline]
#[target_feature(enable = "sse4.1")]
pub(super) unsafe fn load_u8x16(x: *const u8) -> __m128i {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm_loadu_si128(x.cast()) }
}

#[inline]
#[target_feature(enable = "sse4.1")]
pub(super) unsafe fn store_u8x16(out: *mut u8, x: __m128i) {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm_storeu_si128(out.cast(), x) }
}
