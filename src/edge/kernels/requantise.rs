//! Integer sums → bytes by shifts alone, where these are what an epilogue of float32 would give.

use super::SumTile;
use super::epilogue::{Epilogue, piece, pieces};
use crate::exactness::{LIMIT, power_of_two, step_of};
use std::ops::Range;

/// `(sum + begin) >> shift`, limited.
///
/// With a scale 2⁻ᵏ and a shift `b` the epilogue gives `⌊sum·2⁻ᵏ + b⌋`. With n = sum + ⌊b·2ᵏ⌋ and what is cut off below 1
/// that is `⌊(n + f)·2⁻ᵏ⌋ = ⌊n·2⁻ᵏ⌋`, which is what an arithmetic shift gives. What a byte is moved up by is a whole number
/// of `2ᵏ`, and moves n.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantise {
    /// For each channel.
    pub begin: Vec<i32>,
    /// For each channel.
    pub shift: Vec<u32>,
    /// Least byte.
    pub low: u8,
    /// Greatest byte.
    pub high: u8,
}

impl Requantise {
    /// What gives the bytes of an epilogue for sums whose magnitude is bounded by `most` of each channel; none where float32
    /// may round on the way, or where factors are no powers of two.
    pub fn of(how: &Epilogue, most: impl Fn(usize) -> f64) -> Option<Self> {
        let lift = how.lift.first().copied().unwrap_or(0.0);
        if how.lift.iter().any(|other| *other != lift) {
            return None;
        }
        // What is beyond bytes is known not to occur.
        let limits = [(how.low.ceil() + lift).max(0.0), (how.high.floor() + lift).min(255.0)];
        let [low, high] = limits.map(|limit| limit as u8);
        let (mut begin, mut shift) = (Vec::new(), Vec::new());
        for (c, (scale, b)) in how.scale.iter().zip(&how.shift).enumerate() {
            let k = power_of_two(f64::from(*scale)).filter(|exponent| (-24..=0).contains(exponent))?;
            let steps = 2f64.powi(-k);
            let b = f64::from(*b) * steps;
            // Fractions of a sum need bits too.
            let step = if b == 0.0 { 0 } else { step_of(b)?.min(0) };
            let exact = (most(c) + b.abs()) * 2f64.powi(-step) < LIMIT;
            // Of greater ones some kernels could not tell whether they are above the limit.
            let tellable = (f64::from(high) + 1.0) * steps <= LIMIT;
            if !exact || !tellable {
                return None;
            }
            let before = how.before.get(c).copied().unwrap_or(0);
            begin.push(before.wrapping_add((b.floor() + f64::from(lift) * steps) as i32));
            shift.push(-k as u32);
        }
        Some(Self { begin, shift, low, high })
    }
}

passes! {
    /// Makes bytes of sums and stores them; `at` tells where each pixel of `out` begins.
    pub fn requantise[](how: &Requantise, tile: &SumTile<'_, i32>, out: &mut [u8], at: &[u32]) = requantise;
}

#[inline(always)]
fn requantise(how: &Requantise, tile: &SumTile<'_, i32>, out: &mut [u8], at: &[u32]) {
    let Range { start, end } = tile.channels;
    let (begin, shift) = (&how.begin[start..end], &how.shift[start..end]);
    let [low, high] = [i32::from(how.low), i32::from(how.high)];
    pieces!(end - start, |i, N| {
        let (begin, shift) = (piece::<N, i32>(begin, i), piece::<N, u32>(shift, i));
        for (row, pixel) in at[tile.pixels.clone()].iter().enumerate() {
            let sums = piece::<N, i32>(tile.sums, row * tile.width + i);
            let mut bytes = [0u8; N];
            for j in 0..N {
                bytes[j] = (sums[j].wrapping_add(begin[j]) >> (shift[j] & 31)).max(low).min(high) as u8;
            }
            out[*pixel as usize + start + i..][..N].copy_from_slice(&bytes);
        }
    });
}
