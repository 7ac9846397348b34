//! Pools over windows without padding.

use super::epilogue::{Number, piece, pieces};

/// The window of a pool.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    /// Elements from a window's first pixel to each of its pixels.
    pub taps: &'a [u32],
    /// Channels of the map.
    pub channels: usize,
}

passes! {
    /// The greatest of each window: pixel i begins at `from[i]` of `x`.
    pub fn max_pool[T: Number](
        x: &[T],
        from: &[u32],
        window: Window<'_>,
        out: &mut [T],
        at: &[u32],
    ) = greatest;

    /// The sum of each window divided by a number.
    pub fn mean_pool[T: Number](
        x: &[T],
        from: &[u32],
        window: Window<'_>,
        divisor: f32,
        out: &mut [f32],
        at: &[u32],
    ) = quotient;
}

#[inline(always)]
fn greatest<T: Number>(x: &[T], from: &[u32], window: Window<'_>, out: &mut [T], at: &[u32]) {
    for (from, at) in from.iter().zip(at) {
        let out = &mut out[*at as usize..][..window.channels];
        pieces!(window.channels, |i, N| {
            let mut greatest = [T::default(); N];
            for (k, tap) in window.taps.iter().enumerate() {
                let values = piece::<N, T>(x, (*from + *tap) as usize + i);
                for j in 0..N {
                    greatest[j] = if k == 0 || values[j] > greatest[j] { values[j] } else { greatest[j] };
                }
            }
            out[i..i + N].copy_from_slice(&greatest);
        });
    }
}

#[inline(always)]
fn quotient<T: Number>(x: &[T], from: &[u32], window: Window<'_>, divisor: f32, out: &mut [f32], at: &[u32]) {
    for (from, at) in from.iter().zip(at) {
        let out = &mut out[*at as usize..][..window.channels];
        pieces!(window.channels, |i, N| {
            let mut sums = [0f32; N];
            for tap in window.taps {
                let values = piece::<N, T>(x, (*from + *tap) as usize + i);
                for j in 0..N {
                    sums[j] += values[j].float();
                }
            }
            sums.iter_mut().for_each(|sum| *sum /= divisor);
            out[i..i + N].copy_from_slice(&sums);
        });
    }
}
