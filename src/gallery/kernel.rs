//! Sums of absolute differences, compiled for the vector units that x86 processors may have.

use ndarray::{ArrayView2, ArrayViewMut2};

/// Sums that run side by side; 64 fill four registers of 16 numbers.
const LANES: usize = 64;

/// `out[q, r] = Σⱼ |queries[q, j] − rows[r, j]|`, or `−Σⱼ αⱼ |…|` with weights.
pub(super) fn l1(
    queries: ArrayView2<'_, f32>,
    rows: ArrayView2<'_, f32>,
    alpha: Option<&[f32]>,
    mut out: ArrayViewMut2<'_, f32>,
) {
    let negative: Option<Vec<f32>> = alpha.map(|a| a.iter().map(|w| -w).collect());
    for (query, mut out) in queries.outer_iter().zip(out.outer_iter_mut()) {
        for (row, out) in rows.outer_iter().zip(&mut out) {
            if let (Some(a), Some(b)) = (query.to_slice(), row.to_slice()) {
                *out = sum(a, b, negative.as_deref());
            }
        }
    }
}

/// One sum, by the widest vectors of this machine.
fn sum(a: &[f32], b: &[f32], weights: Option<&[f32]>) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { wide512(a, b, weights) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { wide256(a, b, weights) };
        }
    }
    portable(a, b, weights)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn wide512(a: &[f32], b: &[f32], weights: Option<&[f32]>) -> f32 {
    portable(a, b, weights)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn wide256(a: &[f32], b: &[f32], weights: Option<&[f32]>) -> f32 {
    portable(a, b, weights)
}

/// The same arithmetic in the same order on every machine.
#[inline(always)]
fn portable(a: &[f32], b: &[f32], weights: Option<&[f32]>) -> f32 {
    match weights {
        None => lanes(a, b, |i, x, y| {
            let _ = i;
            (x - y).abs()
        }),
        Some(w) => lanes(a, b, |i, x, y| w[i] * (x - y).abs()),
    }
}

#[inline(always)]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(usize, f32, f32) -> f32) -> f32 {
    let whole = a.len() / LANES * LANES;
    let mut sums = [0.0_f32; LANES];
    for (block, (a, b)) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).enumerate() {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += term(block * LANES + lane, a[lane], b[lane]);
        }
    }
    let rest: f32 = (whole..a.len()).map(|i| term(i, a[i], b[i])).sum();
    rest + sums.iter().sum::<f32>()
}
