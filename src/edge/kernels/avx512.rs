//! Kernels for x86-64 with AVX-512, with and without VNNI.

use super::avx2::{DEPTHWISE_BYTES, INT_256, WIDE_256, load_u8x32, look_up_256, shift_of, store_u8x32};
use super::function::exponential;
use super::sse::{load_u8x16, store_u8x16};
use super::{DepthwiseBytes, DepthwiseKernels, Element, Finish, FinishingHeights, Grid, Kernels, Layout, Level, MicroKernels, Walk, Width};
use std::arch::{asm, x86_64::*};

/// What this CPU has, the fastest first.
pub fn available() -> Vec<&'static Kernels> {
    let avx512 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    let vbmi = is_x86_feature_detected!("avx512vbmi");
    let vnni = if vbmi { &AVX512_VBMI } else { &AVX512_VNNI };
    let have = [(avx512 && is_x86_feature_detected!("avx512vnni"), vnni), (avx512, &AVX512)];
    have.into_iter().filter_map(|(has, kernels)| has.then_some(kernels)).collect()
}

static AVX512_VBMI: Kernels = Kernels { look_up: Some(look_up_512), ..AVX512_VNNI };
static AVX512_VNNI: Kernels = Kernels {
    name: "avx512-vnni",
    finishing_bytes: Some(FINISH_VNNI),
    depthwise_bytes: Some(DepthwiseBytes { int: DEPTHWISE_VNNI, wide: DEPTHWISE_VNNI }),
    int: &VNNI_512,
    wide: &VNNI_512,
    tiles: None,
    ..AVX512
};
static AVX512: Kernels = Kernels {
    name: "avx512",
    level: Level::Avx512,
    float: &FLOAT_512,
    finishing: Some(FINISH_512),
    finishing_bytes: None,
    depthwise: &DEPTHWISE_512,
    shifts: true,
    silu: Some(silu_512),
    look_up: Some(look_up_256),
    depthwise_bytes: Some(DEPTHWISE_BYTES),
    int: &INT_256,
    wide: &WIDE_256,
    tiles: Some(&TILES_512),
};

static DEPTHWISE_512: DepthwiseKernels = DepthwiseKernels {
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

static DEPTHWISE_VNNI: &[Width] = &[
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
    peak: &FLOAT_PEAK,
};

static FINISH_512: &[FinishingHeights<f32>] = &[
    &[(12, finish_512::<1, 12>), (4, finish_512::<1, 4>), (1, finish_512::<1, 1>)],
    &[(12, finish_512::<2, 12>), (4, finish_512::<2, 4>), (1, finish_512::<2, 1>)],
    &[(8, finish_512::<3, 8>), (4, finish_512::<3, 4>), (1, finish_512::<3, 1>)],
    &[(6, finish_512::<4, 6>), (4, finish_512::<4, 4>), (1, finish_512::<4, 1>)],
];

static VNNI_512: MicroKernels<u8> = MicroKernels {
    lanes: 16,
    layout: Layout::GROUPS,
    widths: &[
        &[(12, vnni_512::<1, 12>), (4, vnni_512::<1, 4>), (1, vnni_512::<1, 1>)],
        &[(12, vnni_512::<2, 12>), (4, vnni_512::<2, 4>), (1, vnni_512::<2, 1>)],
        &[(8, vnni_512::<3, 8>), (4, vnni_512::<3, 4>), (1, vnni_512::<3, 1>)],
        &[(6, vnni_512::<4, 6>), (4, vnni_512::<4, 4>), (1, vnni_512::<4, 1>)],
    ],
    peak: &VNNI_PEAK,
};

static FINISH_VNNI: &[FinishingHeights<u8>] = &[
    &[(12, finish_vnni::<1, 12>), (4, finish_vnni::<1, 4>), (1, finish_vnni::<1, 1>)],
    &[(12, finish_vnni::<2, 12>), (4, finish_vnni::<2, 4>), (1, finish_vnni::<2, 1>)],
    &[(8, finish_vnni::<3, 8>), (4, finish_vnni::<3, 4>), (1, finish_vnni::<3, 1>)],
    &[(6, finish_vnni::<4, 6>), (4, finish_vnni::<4, 4>), (1, finish_vnni::<4, 1>)],
];

/// Of tiles of integers.
static TILES_512: MicroKernels<i16> = MicroKernels {
    lanes: 16,
    layout: Layout::PAIRS,
    widths: &[
        &[(12, tiles_512::<1, 12>), (4, tiles_512::<1, 4>), (1, tiles_512::<1, 1>)],
        &[(12, tiles_512::<2, 12>), (4, tiles_512::<2, 4>), (1, tiles_512::<2, 1>)],
        &[(8, tiles_512::<3, 8>), (4, tiles_512::<3, 4>), (1, tiles_512::<3, 1>)],
    ],
    peak: &TILES_PEAK,
};

micro_kernel! {
    #[target_feature(enable = "avx512f")]
    float_512: f32, lanes 16, sums _mm512_setzero_ps(), lines _mm512_setzero_ps(),
    load _mm512_loadu_ps, broadcast broadcast_f32x16, add add_f32x16, store _mm512_storeu_ps
}

finishing_kernel! {
    #[target_feature(enable = "avx512f")]
    finish_512: f32, lanes 16, sums _mm512_setzero_ps(), begin _mm512_loadu_ps, load _mm512_loadu_ps,
    broadcast broadcast_f32x16, add add_f32x16, finish limit_and_store
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512vnni")]
    vnni_512: u8, lanes 16, sums _mm512_setzero_si512(), lines _mm512_setzero_si512(),
    load load_i8x64, broadcast broadcast_u8x64, add _mm512_dpbusd_epi32, store store_i32x16
}

finishing_kernel! {
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    finish_vnni: u8, lanes 16, sums _mm512_setzero_si512(), begin load_i32x16, load load_i8x64, broadcast broadcast_u8x64,
    add _mm512_dpbusd_epi32, finish shift_and_store
}

micro_kernel! {
    #[target_feature(enable = "avx512f,avx512bw")]
    tiles_512: i16, lanes 16, sums _mm512_setzero_si512(), lines _mm512_setzero_si512(),
    load load_i16x32, broadcast broadcast_i16x32, add add_i16x32, store store_i32x16
}

peak! {
    #[target_feature(enable = "avx512f")]
    FLOAT_PEAK: sums 24 of 16, group 1, begin _mm512_setzero_ps(), x _mm512_set1_ps(1.0), w _mm512_set1_ps(1.0),
    opaque opaque_f32x16, add add_f32x16
}

peak! {
    #[target_feature(enable = "avx512f,avx512vnni")]
    VNNI_PEAK: sums 24 of 16, group 4, begin _mm512_setzero_si512(), x _mm512_set1_epi32(1), w _mm512_set1_epi32(1),
    opaque opaque_i8x64, add _mm512_dpbusd_epi32
}

peak! {
    #[target_feature(enable = "avx512f,avx512bw")]
    TILES_PEAK: sums 24 of 16, group 2, begin _mm512_setzero_si512(), x _mm512_set1_epi32(1), w _mm512_set1_epi32(1),
    opaque opaque_i8x64, add add_i16x32
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "avx512f")]
fn opaque_f32x16(mut x: __m512) -> __m512 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(zmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "avx512f")]
fn opaque_i8x64(mut x: __m512i) -> __m512i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(zmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_i16x32(w: *const i16) -> __m512i {
    // SAFETY: a line of weights is inside.
    unsafe { _mm512_loadu_si512(w.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast_i16x32(x: *const i16) -> __m512i {
    // SAFETY: a pair is inside; it need not be aligned.
    _mm512_set1_epi32(unsafe { x.cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add_i16x32(sums: __m512i, x: __m512i, w: __m512i) -> __m512i {
    _mm512_add_epi32(sums, _mm512_madd_epi16(x, w))
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

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_u8x64(x: *const u8) -> __m512i {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm512_loadu_si512(x.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_u8x64(out: *mut u8, x: __m512i) {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm512_storeu_si512(out.cast(), x) }
}

/// See [`exponential`].
#[target_feature(enable = "avx512f")]
fn silu_512(x: &mut [f32]) {
    let (vectors, rest) = x.as_chunks_mut::<16>();
    for x in vectors {
        // SAFETY: 16 numbers are inside; they need not be aligned.
        unsafe { _mm512_storeu_ps(x.as_mut_ptr(), silu_f32x16(_mm512_loadu_ps(x.as_ptr()))) };
    }
    if rest.is_empty() {
        return;
    }
    let mut last = [0f32; 16];
    last[..rest.len()].copy_from_slice(rest);
    // SAFETY: as above.
    unsafe { _mm512_storeu_ps(last.as_mut_ptr(), silu_f32x16(_mm512_loadu_ps(last.as_ptr()))) };
    rest.copy_from_slice(&last[..rest.len()]);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn silu_f32x16(x: __m512) -> __m512 {
    let limits = [_mm512_set1_ps(-exponential::MOST), _mm512_set1_ps(exponential::MOST)];
    let exponent = _mm512_sub_ps(_mm512_setzero_ps(), x);
    let exponent = _mm512_max_ps(_mm512_min_ps(exponent, limits[1]), limits[0]);
    let n = _mm512_roundscale_ps::<0x08>(_mm512_mul_ps(exponent, _mm512_set1_ps(std::f32::consts::LOG2_E)));
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(exponential::LN_2[0]), exponent);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(exponential::LN_2[1]), r);
    let mut sum = _mm512_set1_ps(exponential::TERMS[0]);
    for term in &exponential::TERMS[1..] {
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(*term));
    }
    _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0), _mm512_scalef_ps(sum, n)))
}

/// Two tables of 128 bytes each, chosen between by the highest bit.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_512(table: &[u8; 256], x: &[u8], out: &mut [u8]) {
    let quarter = |i: usize| -> __m512i {
        // SAFETY: 64 bytes are inside; they need not be aligned.
        unsafe { _mm512_loadu_si512(table[64 * i..].as_ptr().cast()) }
    };
    let quarters = [quarter(0), quarter(1), quarter(2), quarter(3)];
    let found = |x: __m512i| {
        let low = _mm512_permutex2var_epi8(quarters[0], x, quarters[1]);
        let high = _mm512_permutex2var_epi8(quarters[2], x, quarters[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high)
    };
    let ((vectors, rest), (outs, last)) = (x.as_chunks::<64>(), out.as_chunks_mut::<64>());
    for (x, out) in vectors.iter().zip(outs) {
        // SAFETY: 64 bytes are inside both; they need not be aligned.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), found(_mm512_loadu_si512(x.as_ptr().cast()))) };
    }
    last.iter_mut().zip(rest).for_each(|(to, x)| *to = table[usize::from(*x)]);
}

/// The end of products of float32: another map, and limits.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn limit_and_store<const V: usize>(mut sums: [__m512; V], how: &Finish<f32>, p: usize, out: *mut f32) {
    // SAFETY: the caller keeps the promises of `FinishingKernel`.
    unsafe {
        if !how.residual.is_null() {
            let other = how.residual.add(*how.residual_at.add(p) as usize);
            for v in 0..V {
                sums[v] = _mm512_fmadd_ps(_mm512_loadu_ps(other.add(16 * v)), _mm512_set1_ps(how.factor), sums[v]);
            }
        }
        for v in 0..V {
            let limited = _mm512_max_ps(sums[v], _mm512_set1_ps(how.limits[0]));
            _mm512_storeu_ps(out.add(16 * v), _mm512_min_ps(limited, _mm512_set1_ps(how.limits[1])));
        }
    }
}

/// The end of products of integers that become bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn shift_and_store<const V: usize>(mut sums: [__m512i; V], how: &Finish<u8>, _: usize, out: *mut u8) {
    // SAFETY: the caller keeps the promises of `FinishingKernel`.
    unsafe {
        for v in 0..V {
            sums[v] = _mm512_srav_epi32(sums[v], _mm512_loadu_si512(how.shift.add(16 * v).cast()));
        }
        if V == 4 {
            // Narrowing works within 128 bits: of each the next four channels come out.
            let pairs = [_mm512_packs_epi32(sums[0], sums[1]), _mm512_packs_epi32(sums[2 % V], sums[3 % V])];
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(pairs[0], pairs[1]));
            let [low, high] = how.limits.map(|limit| _mm512_set1_epi8(limit as i8));
            return store_u8x64(out, _mm512_min_epu8(_mm512_max_epu8(bytes, low), high));
        }
        let [low, high] = how.limits.map(|limit| _mm512_set1_epi32(i32::from(limit)));
        for v in 0..V {
            let limited = _mm512_min_epi32(_mm512_max_epi32(sums[v], low), high);
            _mm_storeu_si128(out.add(16 * v).cast(), _mm512_cvtepi32_epi8(limited));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_i32x16(x: *const i32) -> __m512i {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm512_loadu_si512(x.cast()) }
}
