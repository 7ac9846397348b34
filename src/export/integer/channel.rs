//! Choosing integers for one output channel: weights of 8 bits, a bias, and factors for what is added as it is.
//!
//! All numbers are in units of the result, of which 1 is a step. The accumulator of a product is held as
//! `2^s·(Σ Wⱼ·Aⱼ + B)`; s is the smallest exponent for which W fits 8 bits and no sum is rounded in float32: all
//! partial sums of everything that is added stay below 2²⁴ times the finest step among them.

use crate::exactness::{LIMIT, power_of_two};
use crate::{Error, Result};

/// The greatest magnitude of a weight.
const WEIGHT_MAX: f64 = 127.0;
/// The exponent of a single weight below which nothing is gained: 127·2⁻¹³ is a sixtieth of a step.
const FINEST: i32 = -12;
/// No trained tower's exponent is greater.
const COARSEST: i32 = 40;
/// The exponent of a channel without weights.
const WITHOUT_WEIGHTS: i32 = -8;
/// Bits of a factor that is no power of two, at best and at least.
const FACTOR_BITS: i32 = 11;
const LEAST_FACTOR_BITS: i32 = 5;

/// The weights of a product, in steps of the result for each step of what goes in.
pub(super) struct Row {
    pub weights: Vec<f64>,
    /// The greatest magnitude of the integers that each weight multiplies.
    pub reach: Vec<f64>,
    /// Their means, to take the mean error of rounded weights out of the bias (Nagel et al. 2019, section 4.2).
    pub means: Vec<f64>,
}

/// What is added as it is: its factor, and its greatest magnitude.
#[derive(Clone, Copy)]
pub(super) struct Addend {
    pub factor: f64,
    pub reach: f64,
}

/// One output channel in integers.
pub(super) struct Channel {
    /// Of each product: weights, bias (in units of its accumulator, half a step included) and exponent.
    pub products: Vec<(Vec<i8>, f64, i32)>,
    /// Of each addend.
    pub factors: Vec<f64>,
    /// What is added where no product carries it.
    pub bias: f64,
    /// Bits that weights lost to the bound of 2²⁴.
    pub lost: i32,
}

/// A factor as an integer of so many bits times a power of two.
#[derive(Clone, Copy)]
struct Factor {
    value: f64,
    step: i32,
    bits: i32,
}

impl Factor {
    fn of(x: f64, bits: i32) -> Self {
        if let Some(exponent) = power_of_two(x.abs()) {
            return Self { value: x, step: exponent, bits: 1 };
        }
        let step = x.abs().max(2f64.powi(-40)).log2().floor() as i32 + 1 - bits;
        let unit = 2f64.powi(step);
        Self { value: (x / unit).round() * unit, step, bits }
    }
}

/// The finest integers for a channel whose sums are exact; `bias` without half a step.
pub(super) fn channel(rows: &[Row], addends: &[Addend], bias: f64) -> Result<Channel> {
    let mut exponents = rows.iter().map(finest).collect::<Result<Vec<_>>>()?;
    let best = exponents.clone();
    let mut factors: Vec<Factor> = addends.iter().map(|a| Factor::of(a.factor, FACTOR_BITS)).collect();
    loop {
        let found = at(rows, &exponents, &factors, bias);
        if exact(rows, &found, &exponents, &factors, addends) {
            let lost = exponents.iter().zip(&best).map(|(s, best)| s - best).max().unwrap_or(0);
            return Ok(Channel { lost, ..found });
        }
        coarser(&mut exponents, &mut factors, addends)?;
    }
}

/// The smallest exponent for which all weights fit 8 bits.
fn finest(row: &Row) -> Result<i32> {
    let most = row.weights.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    if most == 0.0 {
        return Ok(WITHOUT_WEIGHTS);
    }
    let exponent = (most / (WEIGHT_MAX + 0.5)).log2().ceil();
    // Rounded to this, all weights together are about a hundredth of a step off: finer ones would be of no use.
    let useful = FINEST - (0.5 * (row.weights.len() as f64).log2()).ceil() as i32;
    match most.is_finite() && exponent <= f64::from(COARSEST) {
        true => Ok((exponent as i32).max(useful)),
        false => Err(absurd(exponent)),
    }
}

fn absurd(exponent: f64) -> Error {
    let why = format!("needs a scale of 2^{exponent}, which no trained tower does; check its weights");
    Error::invalid("the quantiser", why)
}

fn at(rows: &[Row], exponents: &[i32], factors: &[Factor], bias: f64) -> Channel {
    let mut products = Vec::with_capacity(rows.len());
    let mut bias = bias;
    for (row, &exponent) in rows.iter().zip(exponents) {
        let unit = 2f64.powi(exponent);
        let whole: Vec<f64> =
            row.weights.iter().map(|w| (w / unit).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)).collect();
        let error = |((w, whole), mean): ((&f64, &f64), &f64)| (whole * unit - w) * mean;
        bias -= row.weights.iter().zip(&whole).zip(&row.means).map(error).sum::<f64>();
        products.push((whole.iter().map(|w| *w as i8).collect(), 0.0, exponent));
    }
    let factors: Vec<f64> = factors.iter().map(|f| f.value).collect();
    match products.first_mut() {
        Some((_, first, exponent)) => {
            let unit = 2f64.powi(*exponent);
            *first = (bias / unit).round() + 0.5 / unit;
            Channel { products, factors, bias: 0.0, lost: 0 }
        }
        None => {
            let step = 2f64.powi(-6);
            Channel { products, factors, bias: (bias / step).round() * step + 0.5, lost: 0 }
        }
    }
}

/// Whether float32 rounds no partial sum, in any order.
fn exact(rows: &[Row], found: &Channel, exponents: &[i32], factors: &[Factor], addends: &[Addend]) -> bool {
    let (mut sum, mut finest) = (0.0, -1);
    for ((row, (weights, bias, _)), &exponent) in rows.iter().zip(&found.products).zip(exponents) {
        let terms = weights.iter().zip(&row.reach).map(|(w, reach)| f64::from(*w).abs() * reach);
        sum += (terms.sum::<f64>() + bias.abs()) * 2f64.powi(exponent);
        finest = finest.min(exponent);
    }
    for (factor, addend) in factors.iter().zip(addends) {
        sum += factor.value.abs() * addend.reach;
        finest = finest.min(factor.step);
    }
    if rows.is_empty() {
        finest = finest.min(-6);
        sum += found.bias.abs();
    }
    sum < LIMIT * 2f64.powi(finest)
}

/// Makes the finest of all steps coarser.
fn coarser(exponents: &mut [i32], factors: &mut [Factor], addends: &[Addend]) -> Result<()> {
    let product = exponents.iter().enumerate().min_by_key(|(_, s)| **s).map(|(i, s)| (*s, i));
    let can = |f: &&(usize, &Factor)| f.1.bits > LEAST_FACTOR_BITS;
    let factor =
        factors.iter().enumerate().filter(|f| can(&f)).min_by_key(|(_, f)| f.step).map(|(i, f)| (f.step, i));
    match (product, factor) {
        (Some((s, _)), Some((step, i))) if step <= s => {
            factors[i] = Factor::of(addends[i].factor, factors[i].bits - 1);
        }
        (Some((s, i)), _) if s < COARSEST => exponents[i] += 1,
        (None, Some((_, i))) => factors[i] = Factor::of(addends[i].factor, factors[i].bits - 1),
        _ => return Err(absurd(f64::from(COARSEST))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(weights: &[f64]) -> Row {
        Row { weights: weights.to_vec(), reach: vec![127.0; weights.len()], means: vec![0.0; weights.len()] }
    }

    #[test]
    fn a_wide_channel_at_full_range_loses_bits_until_its_sums_are_exact() {
        // 3·3·512 weights of full range: 4608·127·127 is above 2²⁴.
        let found = channel(&[row(&vec![0.5; 4608])], &[], 3.0).unwrap();
        let (weights, _, exponent) = &found.products[0];
        assert_eq!((found.lost, weights[0], *exponent), (2, 16, -5));
        let narrow = channel(&[row(&[0.5; 8])], &[], 3.0).unwrap();
        assert_eq!((narrow.lost, narrow.products[0].0[0], narrow.products[0].2), (0, 64, -7));
    }

    #[test]
    fn numbers_stand_for_what_was_asked() {
        let found =
            channel(&[row(&[0.3, -0.021]), row(&[1.7])], &[Addend { factor: 0.77, reach: 127.0 }], 5.2)
                .unwrap();
        for ((weights, _, exponent), real) in found.products.iter().zip([&[0.3, -0.021][..], &[1.7]]) {
            for (w, r) in weights.iter().zip(real) {
                assert!(
                    (f64::from(*w) * 2f64.powi(*exponent) - r).abs() <= 2f64.powi(exponent - 1),
                    "{w} {r}"
                );
            }
        }
        let (_, bias, exponent) = &found.products[0];
        assert!((bias * 2f64.powi(*exponent) - 5.7).abs() < 0.01);
        assert!((found.factors[0] - 0.77).abs() < 0.77 / 1024.0);
    }

    #[test]
    fn what_only_scales_is_exact_too() {
        // Sums of 49 pixels.
        let found = channel(&[], &[Addend { factor: 0.0123, reach: 49.0 * 127.0 }], 0.0).unwrap();
        assert!((found.factors[0] / 0.0123 - 1.0).abs() < 2e-3 && found.bias == 0.5, "{}", found.factors[0]);
        assert_eq!(channel(&[], &[Addend { factor: 0.25, reach: 127.0 }], 0.0).unwrap().factors, [0.25]);
    }

    #[test]
    fn the_mean_error_of_rounded_weights_goes_into_the_bias() {
        let exactly = Row { weights: vec![100.4, 127.0], reach: vec![127.0; 2], means: vec![10.0, 0.0] };
        let found = channel(&[exactly], &[], 0.0).unwrap();
        let (weights, bias, exponent) = &found.products[0];
        assert_eq!((weights.as_slice(), *exponent), (&[100i8, 127][..], 0));
        assert_eq!(*bias, 4.5);
    }

    #[test]
    fn absurd_weights_are_an_error() {
        assert!(channel(&[row(&[1e38])], &[], 0.0).is_err());
        assert!(channel(&[row(&[f64::NAN])], &[], 0.0).is_err());
    }
}
