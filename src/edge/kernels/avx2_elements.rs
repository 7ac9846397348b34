//! Functions of single elements for x86-64 with AVX2.

use super::function::exponential;
use std::arch::x86_64::*;

/// See [`exponential`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn silu_256(x: &mut [f32]) {
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
