//! Pools over windows; of a window that reaches over the edge, only what is inside.

use super::epilogue::{Number, piece, pieces};

/// What of one pixel's window is inside the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
    /// What a sum is divided by.
    pub divisor: f32,
}

/// The windows of a pool.
#[derive(Clone, Copy)]
pub struct Windows<'a> {
    /// Where the inside of each window begins.
    pub from: &'a [u32],
    /// Of each pixel of an image.
    pub extents: &'a [Extent],
    /// Elements from a row of a window to the next, and from a column to the next.
    pub strides: [usize; 2],
    /// Channels of the map.
    pub channels: usize,
    /// Added to the bytes of each channel first; or nothing.
    pub before: &'a [i32],
}

passes! {
    /// The greatest of each window.
    pub fn max_pool[T: Number](x: &[T], windows: Windows<'_>, out: &mut [T], at: &[u32]) = greatest;

    /// The sum of each window divided by its number.
    pub fn mean_pool[T: Number](x: &[T], windows: Windows<'_>, out: &mut [f32], at: &[u32]) = quotient;
}

#[inline(always)]
fn greatest<T: Number>(x: &[T], windows: Windows<'_>, out: &mut [T], at: &[u32]) {
    let Windows { from, extents, strides: [down, across], channels, .. } = windows;
    for ((from, at), extent) in from.iter().zip(at).zip(extents.iter().cycle()) {
        let out = &mut out[*at as usize..][..channels];
        pieces!(channels, |i, N| {
            let begin = *from as usize + i;
            let mut greatest = piece::<N, T>(x, begin);
            for y in 0..extent.rows as usize {
                for c in 0..extent.columns as usize {
                    let values = piece::<N, T>(x, begin + y * down + c * across);
                    for j in 0..N {
                        greatest[j] = if values[j] > greatest[j] { values[j] } else { greatest[j] };
                    }
                }
            }
            out[i..i + N].copy_from_slice(&greatest);
        });
    }
}

#[inline(always)]
fn quotient<T: Number>(x: &[T], windows: Windows<'_>, out: &mut [f32], at: &[u32]) {
    let Windows { from, extents, strides: [down, across], channels, before } = windows;
    for ((from, at), extent) in from.iter().zip(at).zip(extents.iter().cycle()) {
        let out = &mut out[*at as usize..][..channels];
        pieces!(channels, |i, N| {
            let begin = *from as usize + i;
            let mut sums = [0f32; N];
            let before = if before.is_empty() { [0; N] } else { piece::<N, i32>(before, i) };
            for y in 0..extent.rows as usize {
                for c in 0..extent.columns as usize {
                    let values = piece::<N, T>(x, begin + y * down + c * across);
                    for j in 0..N {
                        sums[j] += values[j].float_after(before[j]);
                    }
                }
            }
            sums.iter_mut().for_each(|sum| *sum /= extent.divisor);
            out[i..i + N].copy_from_slice(&sums);
        });
    }
}
