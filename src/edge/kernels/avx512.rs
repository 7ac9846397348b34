//! Kernels for x86-64 with AVX-512, with and without VNNI.

use super::avx2::{INT_256, WIDE_256};
use super::avx2_depthwise::DEPTHWISE_BYTES;
use super::avx2_elements::look_up_256;
use super::avx512_depthwise::{DEPTHWISE_512, DEPTHWISE_VNNI};
use super::avx512_elements::{look_up_512, silu_512};
use super::{DepthwiseBytes, Element, Finish, FinishingHeights, Kernels, Layout, Level, MicroKernels, Walk};
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
pub(super) unsafe fn broadcast_f32x16(x: *const f32) -> __m512 {
    // SAFETY: one number is inside.
    _mm512_set1_ps(unsafe { *x })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_f32x16(sums: __m512, x: __m512, w: __m512) -> __m512 {
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
pub(super) unsafe fn load_u8x64(x: *const u8) -> __m512i {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm512_loadu_si512(x.cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_u8x64(out: *mut u8, x: __m512i) {
    // SAFETY: a vector is inside; it need not be aligned.
    unsafe { _mm512_storeu_si512(out.cast(), x) }
}

/// The end of products of float32: another map, and limits.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn limit_and_store<const V: usize>(mut sums: [__m512; V], how: &Finish<f32>, p: usize, out: *mut f32) {
    // SAFETY: the caller keeps the promises of `FinishingKernel`.
    unsafe {
        if !how.residual.is_null() {
            let other = how.residual.add(*how.residual_at.add(p) as usize);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_fmadd_ps(_mm512_loadu_ps(other.add(16 * v)), _mm512_set1_ps(how.factor), *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            let limited = _mm512_max_ps(*sum, _mm512_set1_ps(how.limits[0]));
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
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = _mm512_srav_epi32(*sum, _mm512_loadu_si512(how.shift.add(16 * v).cast()));
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
        for (v, sum) in sums.iter().enumerate() {
            let limited = _mm512_min_epi32(_mm512_max_epi32(*sum, low), high);
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
