//! The two inner loops of search, compiled for the vector units that x86 processors may have.
//!
//! The arithmetic and its order are the same on every machine; only the width differs.

use ndarray::{ArrayView2, ArrayViewMut2};

/// Sums that run side by side: 64 fill four registers of 16 numbers.
pub(super) const LANES: usize = 64;

/// Defines a function that runs `$body` compiled for the widest vectors of this machine.
macro_rules! widest {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:path) => {
        $(#[$meta])*
        pub(super) fn $name($($arg: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl")]
                fn wide512($($arg: $type),*) -> $out {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn wide256($($arg: $type),*) -> $out {
                    $body($($arg),*)
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                    // SAFETY: the processor has what the function was compiled for.
                    return unsafe { wide512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { wide256($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}

widest! {
    /// `out[l] = Σⱼ |query[j] − columns[j][l]|`, or `−Σⱼ αⱼ |…|` with weights.
    fn strip(query: &[f32], columns: &[[f32; LANES]], alpha: Option<&[f32]>) -> [f32; LANES] = strip_body
}

widest! {
    /// Whether any of the bounds is at most the limit.
    fn any_at_most(bounds: &[f32], limit: f32) -> bool = any_body
}

#[inline(always)]
fn strip_body(query: &[f32], columns: &[[f32; LANES]], alpha: Option<&[f32]>) -> [f32; LANES] {
    let mut sums = [0.0_f32; LANES];
    match alpha {
        None => {
            for (&q, column) in query.iter().zip(columns) {
                for l in 0..LANES {
                    sums[l] += (q - column[l]).abs();
                }
            }
        }
        Some(alpha) => {
            for ((&q, column), &weight) in query.iter().zip(columns).zip(alpha) {
                for l in 0..LANES {
                    sums[l] -= weight * (q - column[l]).abs();
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn any_body(bounds: &[f32], limit: f32) -> bool {
    bounds.iter().fold(0_u32, |any, &b| any | u32::from(b <= limit)) != 0
}

/// `out[q, r] = Σⱼ |queries[q, j] − rows[r, j]|`, or `−Σⱼ αⱼ |…|` with weights; queries are in
/// standard layout.
pub(super) fn l1(
    queries: ArrayView2<'_, f32>,
    rows: ArrayView2<'_, f32>,
    alpha: Option<&[f32]>,
    mut out: ArrayViewMut2<'_, f32>,
) {
    let mut columns = vec![[0.0_f32; LANES]; rows.ncols()];
    for first in (0..rows.nrows()).step_by(LANES) {
        let count = LANES.min(rows.nrows() - first);
        for l in 0..count {
            rows.row(first + l).iter().zip(&mut columns).for_each(|(&x, column)| column[l] = x);
        }
        for (query, mut out) in queries.outer_iter().zip(out.outer_iter_mut()) {
            let Some(query) = query.to_slice() else { continue };
            let sums = strip(query, &columns, alpha);
            out.iter_mut().skip(first).zip(&sums[..count]).for_each(|(out, &sum)| *out = sum);
        }
    }
}
