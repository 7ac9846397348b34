//! Functions of single elements for x86-64 with AVX-512.

use super::function::exponential;
use std::arch::x86_64::*;

/// See [`exponential`].
#[target_feature(enable = "avx512f")]
pub(super) fn silu_512(x: &mut [f32]) {
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
pub(super) fn look_up_512(table: &[u8; 256], x: &[u8], out: &mut [u8]) {
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
