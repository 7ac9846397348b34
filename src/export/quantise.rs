//! Choosing integers: weights, biases and scales of one convolution or product.
//!
//! The real accumulator of output channel c is `Σ wⱼ·unit·Aⱼ + b` for integer inputs A. It is held as
//! `2^s · (Σ Wⱼ·Aⱼ + B)` with 8-bit W; s is the smallest exponent for which W fits and float32 rounds no
//! sum, as [`crate::exactness`] tells it.

use crate::exactness::{Interval, Range};
use crate::{Error, Result};

/// The greatest magnitude of a weight.
const WEIGHT_MAX: f64 = 127.0;
/// Exponents of scales stay in here; anything beyond is no trained tower.
const EXPONENTS: std::ops::RangeInclusive<i32> = -80..=40;
/// Bits below the output's step that the accumulator of a channel without weights has.
const SPARE_BITS: i32 = 8;

/// What goes into a product: multiples of 2^step (0 for integers, below for their means), at most
/// `max` in magnitude; 1 stands for `unit` in real terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub unit: f64,
    pub max: f64,
    pub step: i32,
}

impl Incoming {
    /// The integers, or means of them, that go in.
    fn range(&self) -> Interval {
        Interval::new(-self.max, self.max, self.step)
    }

    /// Where 1 stands for a power of two: these in real terms.
    pub fn real(&self, exponent: i32) -> Interval {
        self.range().scaled(exponent)
    }
}

/// One output channel, as trained.
pub(super) struct Row<'a> {
    pub weights: &'a [f32],
    pub bias: f64,
    /// Half a step of the output, in real terms, where this accumulator carries it.
    pub half: f64,
    /// Mean of each channel that goes in, in real terms, to take the mean error of the rounded weights
    /// out of the bias; empty to leave it.
    pub means: &'a [f64],
}

impl Row<'_> {
    /// The mean error of the sum with rounded weights (each worth `unit` of the accumulator).
    fn error(&self, rounded: &[f64], unit: f64, incoming: f64) -> f64 {
        if self.means.is_empty() {
            return 0.0;
        }
        let group = (self.weights.len() / self.means.len()).max(1);
        let error = |(j, (r, w)): (usize, (&f64, &f32))| {
            (r * unit / incoming - f64::from(*w)) * self.means.get(j / group).copied().unwrap_or(0.0)
        };
        rounded.iter().zip(self.weights).enumerate().map(error).sum()
    }
}

/// One output channel in integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantised {
    pub weights: Vec<i8>,
    /// In units of the accumulator; includes the half step.
    pub bias: f64,
    /// The accumulator's unit is 2^exponent.
    pub exponent: i32,
    /// The accumulator, in real terms.
    pub sums: Interval,
}

/// The finest integers for a channel whose sums are exact.
pub(super) fn finest(row: &Row<'_>, x: Incoming) -> Result<Quantised> {
    let greatest = row.weights.iter().fold(0.0, |m: f64, w| m.max(f64::from(w.abs()) * x.unit));
    let mut exponent = if greatest > 0.0 {
        // 2^s ≥ greatest / 127.5, so that the greatest rounds to 127 at most.
        (greatest / (WEIGHT_MAX + 0.5)).log2().ceil() as i32 - 1
    } else if row.half > 0.0 {
        row.half.log2() as i32 + 1 - SPARE_BITS
    } else {
        -SPARE_BITS
    };
    exponent = exponent.max(*EXPONENTS.start());
    loop {
        let q = at(row, x, exponent)?;
        if let Some(q) = q.filter(|q| q.sums.is_exact()) {
            return Ok(q);
        }
        exponent += 1;
    }
}

/// The integers with accumulators of unit 2^exponent; none if a weight does not fit 8 bits, or the bias
/// float32.
pub(super) fn at(row: &Row<'_>, x: Incoming, exponent: i32) -> Result<Option<Quantised>> {
    if !EXPONENTS.contains(&exponent) {
        let why = format!("needs a scale of 2^{exponent}, which no trained tower does; check its weights");
        return Err(Error::invalid("the quantiser", why));
    }
    let unit = 2f64.powi(exponent);
    let scaled: Vec<f64> = row.weights.iter().map(|w| (f64::from(*w) * x.unit / unit).round()).collect();
    if scaled.iter().any(|w| w.abs() > WEIGHT_MAX) {
        return Ok(None);
    }
    let bias = ((row.bias - row.error(&scaled, unit, x.unit)) / unit).round() + row.half / unit;
    // The accumulator counts in its unit, or in the half step or the step of what goes in, where those are
    // finer; that some channel's weights may be multiples of more is of no use.
    let half = if row.half > 0.0 { (row.half / unit).log2() as i32 } else { 0 };
    let sums = Range::uniform(x.range()).product(&scaled, bias);
    let weights = scaled.iter().map(|w| *w as i8).collect();
    let sums = sums.map(|sums| sums.finer(half.min(x.step).min(0)).scaled(exponent));
    Ok(sums.map(|sums| Quantised { weights, bias, exponent, sums }))
}

/// Two channels whose results are added, the second with the shortcut's input: the finest whose sum is
/// exact.
pub(super) fn finest_pair(a: (&Row<'_>, Incoming), b: (&Row<'_>, Incoming)) -> Result<[Quantised; 2]> {
    let mut pair = [finest(a.0, a.1)?, finest(b.0, b.1)?];
    while !pair[0].sums.plus(pair[1].sums).is_exact() {
        // The finer one sets the step of the sum.
        let i = usize::from(pair[1].sums.step < pair[0].sums.step);
        let (row, x) = [a, b][i];
        pair[i] = coarser(row, x, &pair[i])?;
    }
    Ok(pair)
}

/// A channel whose result is added to these numbers.
pub(super) fn finest_beside(row: &Row<'_>, x: Incoming, other: Interval) -> Result<Quantised> {
    let mut q = finest(row, x)?;
    while !q.sums.plus(other).is_exact() {
        q = coarser(row, x, &q)?;
    }
    Ok(q)
}

fn coarser(row: &Row<'_>, x: Incoming, than: &Quantised) -> Result<Quantised> {
    let q = at(row, x, than.exponent + 1)?;
    q.ok_or_else(|| Error::invalid("the quantiser", "weights that fitted 8 bits do not fit when halved"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exactness::LIMIT;
    use proptest::prelude::*;

    const INK: Incoming = Incoming { unit: 1.0 / 255.0, max: 255.0, step: 0 };

    #[test]
    fn the_smallest_exponent_that_fits_eight_bits_is_taken() {
        let q =
            finest(&Row { weights: &[127.4 * 255.0, -62.0 * 255.0], bias: 3.0, half: 0.0, means: &[] }, INK)
                .unwrap();
        assert_eq!((q.exponent, q.weights.as_slice(), q.bias), (0, &[127i8, -62][..], 3.0));
        let q =
            finest(&Row { weights: &[127.6 * 255.0, -62.0 * 255.0], bias: 3.0, half: 0.0, means: &[] }, INK)
                .unwrap();
        assert_eq!((q.exponent, q.weights.as_slice(), q.bias), (1, &[64i8, -31][..], 2.0));
    }

    #[test]
    fn wide_channels_get_coarser_weights_until_their_sums_are_exact() {
        let weights = vec![1.0f32; 4096];
        let q = finest(
            &Row { weights: &weights, bias: 0.0, half: 0.0, means: &[] },
            Incoming { unit: 1.0, max: 127.0, step: 0 },
        )
        .unwrap();
        assert_eq!((q.exponent, q.weights[0]), (-5, 32));
        const { assert!(4096.0 * 32.0 * 127.0 < LIMIT && 4096.0 * 64.0 * 127.0 > LIMIT) };
    }

    #[test]
    fn a_channel_without_weights_keeps_its_bias() {
        let q = finest(&Row { weights: &[0.0; 3], bias: 5.0, half: 0.25, means: &[] }, INK).unwrap();
        let value = 2f64.powi(q.exponent) * q.bias;
        assert!((value - 5.25).abs() < 0.01, "{value}");
    }

    #[test]
    fn absurd_weights_are_an_error() {
        assert!(finest(&Row { weights: &[1e38], bias: 0.0, half: 0.0, means: &[] }, INK).is_err());
    }

    proptest! {
        #[test]
        fn integers_stand_for_the_weights_to_half_a_step(
            weights in proptest::collection::vec(-3.0f32..3.0, 1..200),
            bias in -5.0f64..5.0,
        ) {
            let q = finest(&Row { weights: &weights, bias, half: 0.0, means: &[] }, INK).unwrap();
            let unit = 2f64.powi(q.exponent);
            for (w, i) in weights.iter().zip(&q.weights) {
                prop_assert!((f64::from(*w) / 255.0 - f64::from(*i) * unit).abs() <= 0.5 * unit * 1.000001);
            }
            prop_assert!((q.bias * unit - bias).abs() <= 0.5 * unit);
            prop_assert!(q.sums.is_exact());
        }
    }
}
