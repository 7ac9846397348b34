//! Kernels for x86-64 with AVX2, with and without VNNI.

use super::function::exponential;
use super::sse::{add_u7x16, add_u8x16, load_u8x16, store_u8x16};
use super::{DepthwiseBytes, DepthwiseKernels, Element, Finish, FinishingHeights, Grid, Kernels, Layout, Level, MicroKernels, Walk, Width};
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

static DEPTHWISE_256: DepthwiseKernels = DepthwiseKernels {
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
pub(super) static DEPTHWISE_BYTES: DepthwiseBytes = DepthwiseBytes { int: DEPTHWISE_INT, wide: DEPTHWISE_WIDE };

static DEPTHWISE_VNNI: &[Width] = &[
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

/// See [`exponential`].
#[target_feature(enable = "avx2,fma")]
fn silu_256(x: &mut [f32]) {
    let (vectors, rest) = x.as_chunks_mut::<8>();
    for x in vectors {
        // SAFETY: eight numbers are inside; they need not be aligned.
        unsafe { _mm256_storeu_ps(x.as_mut_ptr(), silu_f32x8(_mm256_loadu_ps(x.as_ptr()))) };
    }
    if rest.is_empty() {
        return;
    }
    let mut last = [0f32; 8];
    last[..rest.len()].copy_from_slice(rest);
    // SAFETY: as above.
    unsafe { _mm256_storeu_ps(last.as_mut_ptr(), silu_f32x8(_mm256_loadu_ps(last.as_ptr()))) };
    rest.copy_from_slice(&last[..rest.len()]);
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn silu_f32x8(x: __m256) -> __m256 {
    let limits = [_mm256_set1_ps(-exponential::MOST), _mm256_set1_ps(exponential::MOST)];
    let exponent = _mm256_sub_ps(_mm256_setzero_ps(), x);
    let exponent = _mm256_max_ps(_mm256_min_ps(exponent, limits[1]), limits[0]);
    let n = _mm256_round_ps::<0x08>(_mm256_mul_ps(exponent, _mm256_set1_ps(std::f32::consts::LOG2_E)));
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(exponential::LN_2[0]), exponent);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(exponential::LN_2[1]), r);
    let mut sum = _mm256_set1_ps(exponential::TERMS[0]);
    for term in &exponential::TERMS[1..] {
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(*term));
    }
    let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
    let exp = _mm256_mul_ps(sum, _mm256_castsi256_ps(power));
    _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0), exp))
}

/// Sixteen tables of 16 bytes each: of each, the bytes whose upper half is its number are kept.
#[target_feature(enable = "avx2")]
pub(super) fn look_up_256(table: &[u8; 256], x: &[u8], out: &mut [u8]) {
    let part = |i: usize| -> __m256i {
        // SAFETY: 16 bytes are inside; they need not be aligned.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table[16 * i..].as_ptr().cast()) })
    };
    let ((vectors, rest), (outs, last)) = (x.as_chunks::<32>(), out.as_chunks_mut::<32>());
    for (x, out) in vectors.iter().zip(outs) {
        // SAFETY: 32 bytes are inside; they need not be aligned.
        let mut x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        let mut found = _mm256_setzero_si256();
        for i in 0..16 {
            // Of what is not between 0 and 15 the highest bit is set then, for which 0 is looked up.
            let place = _mm256_adds_epu8(x, _mm256_set1_epi8(0x70));
            found = _mm256_or_si256(found, _mm256_shuffle_epi8(part(i), place));
            x = _mm256_sub_epi8(x, _mm256_set1_epi8(16));
        }
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), found) };
    }
    last.iter_mut().zip(rest).for_each(|(to, x)| *to = table[usize::from(*x)]);
}

/// The end of products of float32: another map, and limits.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn limit_and_store<const V: usize>(mut sums: [__m256; V], how: &Finish<f32>, p: usize, out: *mut f32) {
    // SAFETY: the caller keeps the promises of `FinishingKernel`.
    unsafe {
        if !how.residual.is_null() {
            let other = how.residual.add(*how.residual_at.add(p) as usize);
            for v in 0..V {
                sums[v] = _mm256_fmadd_ps(_mm256_loadu_ps(other.add(8 * v)), _mm256_set1_ps(how.factor), sums[v]);
            }
        }
        for v in 0..V {
            let limited = _mm256_max_ps(sums[v], _mm256_set1_ps(how.limits[0]));
            _mm256_storeu_ps(out.add(8 * v), _mm256_min_ps(limited, _mm256_set1_ps(how.limits[1])));
        }
    }
}
