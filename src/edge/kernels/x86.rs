//! Kernels for x86-64: AVX-512 with VNNI, AVX2 with VNNI, AVX2.

use super::{Element, Kernels, Level, Table, Walk};
use std::arch::x86_64::*;

/// What this CPU has, the fastest first.
pub fn available() -> Vec<&'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    let have = [
        (avx512 && is_x86_feature_detected!("avx512vnni"), &AVX512_VNNI),
        (avx512, &AVX512),
        (avx2 && is_x86_feature_detected!("avxvnni"), &AVX2_VNNI),
        (avx2, &AVX2),
    ];
    have.into_iter().filter_map(|(has, kernels)| has.then_some(kernels)).collect()
}

static AVX512_VNNI: Kernels =
    Kernels { name: "avx512-vnni", level: Level::Avx512, float: &FLOAT_512, int: &VNNI_512, wide: &VNNI_512 };
static AVX512: Kernels =
    Kernels { name: "avx512", level: Level::Avx512, float: &FLOAT_512, int: &INT_256, wide: &WIDE_256 };
static AVX2_VNNI: Kernels =
    Kernels { name: "avx2-vnni", level: Level::Avx2, float: &FLOAT_256, int: &VNNI_256, wide: &VNNI_256 };
static AVX2: Kernels =
    Kernels { name: "avx2", level: Level::Avx2, float: &FLOAT_256, int: &INT_256, wide: &WIDE_256 };

// Pixels and vectors are chosen so that the sums, one line of weights and a spread value fill the
// registers: 32 with AVX-512, 16 with AVX2.

static FLOAT_512: Table<f32> = Table {
    lanes: 16,
    grouped: true,
    shapes: &[
        &[(12, float_512::<1, 12>), (4, float_512::<1, 4>), (1, float_512::<1, 1>)],
        &[(12, float_512::<2, 12>), (4, float_512::<2, 4>), (1, float_512::<2, 1>)],
        &[(8, float_512::<3, 8>), (4, float_512::<3, 4>), (1, float_512::<3, 1>)],
        &[(6, float_512::<4, 6>), (4, float_512::<4, 4>), (1, float_512::<4, 1>)],
    ],
};

static VNNI_512: Table<u8> = Table {
    lanes: 16,
    grouped: true,
    shapes: &[
        &[(12, vnni_512::<1, 12>), (4, vnni_512::<1, 4>), (1, vnni_512::<1, 1>)],
        &[(12, vnni_512::<2, 12>), (4, vnni_512::<2, 4>), (1, vnni_512::<2, 1>)],
        &[(8, vnni_512::<3, 8>), (4, vnni_512::<3, 4>), (1, vnni_512::<3, 1>)],
        &[(6, vnni_512::<4, 6>), (4, vnni_512::<4, 4>), (1, vnni_512::<4, 1>)],
    ],
};

static FLOAT_256: Table<f32> = Table {
    lanes: 8,
    grouped: true,
    shapes: &[
        &[(12, float_256::<1, 12>), (4, float_256::<1, 4>), (1, float_256::<1, 1>)],
        &[(6, float_256::<2, 6>), (4, float_256::<2, 4>), (1, float_256::<2, 1>)],
        &[(4, float_256::<3, 4>), (1, float_256::<3, 1>)],
    ],
};

static VNNI_256: Table<u8> = Table {
    lanes: 8,
    grouped: true,
    shapes: &[
        &[(12, vnni_256::<1, 12>), (4, vnni_256::<1, 4>), (1, vnni_256::<1, 1>)],
        &[(6, vnni_256::<2, 6>), (4, vnni_256::<2, 4>), (1, vnni_256::<2, 1>)],
        &[(4, vnni_256::<3, 4>), (1, vnni_256::<3, 1>)],
    ],
};

static INT_256: Table<u8> = Table {
    lanes: 8,
    grouped: true,
    shapes: &[
        &[(8, int_256::<1, 8>), (4, int_256::<1, 4>), (1, int_256::<1, 1>)],
        &[(4, int_256::<2, 4>), (1, int_256::<2, 1>)],
        &[(3, int_256::<3, 3>), (1, int_256::<3, 1>)],
    ],
};

static WIDE_256: Table<u8> = Table {
    lanes: 8,
    grouped: true,
    shapes: &[
        &[(4, wide_256::<1, 4>), (1, wide_256::<1, 1>)],
        &[(2, wide_256::<2, 2>), (1, wide_256::<2, 1>)],
    ],
};

tile! {
    #[target_feature(enable = "avx512f")]
    float_512: f32, lanes 16, sums _mm512_setzero_ps(), lines _mm512_setzero_ps(),
    load _mm512_loadu_ps, spread spread_f32x16, add add_f32x16, store _mm512_storeu_ps
}

tile! {
    #[target_feature(enable = "avx512f,avx512vnni")]
    vnni_512: u8, lanes 16, sums _mm512_setzero_si512(), lines _mm512_setzero_si512(),
    load load_i8x64, spread spread_u8x64, add _mm512_dpbusd_epi32, store store_i32x16
}

tile! {
    #[target_feature(enable = "avx2,fma")]
    float_256: f32, lanes 8, sums _mm256_setzero_ps(), lines _mm256_setzero_ps(),
    load _mm256_loadu_ps, spread spread_f32x8, add add_f32x8, store _mm256_storeu_ps
}

tile! {
    #[target_feature(enable = "avx2,avxvnni")]
    vnni_256: u8, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i8x32, spread spread_u8x32, add _mm256_dpbusd_avx_epi32, store store_i32x8
}

tile! {
    #[target_feature(enable = "avx2")]
    int_256: u8, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i8x32, spread spread_u8x32, add add_u7x32, store store_i32x8
}

tile! {
    #[target_feature(enable = "avx2")]
    wide_256: u8, lanes 8, sums _mm256_setzero_si256(), lines _mm256_setzero_si256(),
    load load_i8x32, spread spread_u8x32, add add_u8x32, store store_i32x8
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn spread_f32x16(x: *const f32) -> __m512 {
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
unsafe fn spread_u8x64(x: *const u8) -> __m512i {
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
#[target_feature(enable = "avx2")]
unsafe fn spread_f32x8(x: *const f32) -> __m256 {
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
unsafe fn spread_u8x32(x: *const u8) -> __m256i {
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
