//! Functions of single elements, and rows that are normalised.
//!
//! Like all passes they are plain float32 operations in one order, vectorised by the compiler: the same
//! bits on every CPU. With `u` = 2⁻²⁴, half of float32's distance from 1 to the next number:
//!
//! - **`exp`**, relative error at most 4 u for −80 ≤ x ≤ 88 (outside it is that of the nearer end): with
//!   n = round(x / ln 2) and r = x − n·ln 2 it is 2ⁿ·eʳ, |r| ≤ 0.35. n·(the first 9 bits of ln 2) and its
//!   difference from x are exact; what the rest of ln 2 adds is rounded by at most 0.24 u. Taylor's
//!   polynomial of degree 7 for eʳ leaves out less than 0.35⁸/8!·e^0.35 < 8·10⁻⁹ < 0.14 u. Horner's last
//!   addition rounds by at most u of a result between 1 and 2 and half of that below 1; all before it are
//!   multiplied by |r| and round by less than 0.35·2 u·e^0.35 together. Relative to eʳ ≥ 0.70 the sum is
//!   below 4 u.
//! - **sigmoid** `1 / (1 + e⁻ˣ)`: a relative error δ of e⁻ˣ = y moves it by δ·y / (1 + y) < δ, and the sum and
//!   the division round by u each: at most 6 u. Below −40 it is that of −40, 2⁻⁵⁷·0.62, so that no product with
//!   it is below float32's normal numbers, which are slow. **SiLU** `x · sigmoid(x)`: one product more, 7 u; below
//!   −40 within |x|·2⁻⁵⁷.
//! - **tanh** `1 − 2 / (1 + e²ˣ)`: at most 2 · 6 u / 2 and the difference's u: 8 u absolute.
//! - **erf**: formula 7.1.26 of Abramowitz and Stegun 1964 (Hastings 1955), within 1.5·10⁻⁷ < 2.6 u of it; the
//!   rounding of its polynomial (each of five steps multiplied by t ≤ 1, terms up to 1.46), of the
//!   exponential (4 u, and x² rounded: x²·e^(−x²)·u < 0.4 u) and of the difference from 1 add less than 9 u:
//!   at most 12 u absolute. **GELU** `x/2 · (1 + erf(x/√2))`: at most |x| · 8 u.
//!
//! Sets of kernels that fuse products and sums have a SiLU of their own, `x / (1 + e⁻ˣ)` with the same polynomial: fused steps
//! round less often, and the quotient is rounded once where sigmoid and product are twice.
//!
//! The tests compare each with float64 over its range. NaN is not kept: it becomes what the least number
//! becomes, as in the limits of an epilogue.
// `clamp` keeps NaN, which no integer stands for.
#![allow(clippy::manual_clamp)]

use super::Kernels;
use std::ops::Range;

/// What is done to each element after the rest of an epilogue.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `x / (1 + e⁻ˣ)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// `x/2 · (1 + erf(x/√2))`.
    Gelu,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x · min(1, max(0, x/6 + 1/2))`.
    HardSwish,
    /// x, or below 0 x times a number.
    Leaky(f32),
    /// x, or below 0 x times its channel's number.
    Slopes(Vec<f32>),
    /// x, or below 0 `α (eˣ − 1)`.
    Elu(f32),
    /// `|x|`.
    Abs,
    /// `√x`.
    Sqrt,
}

impl Function {
    /// For reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sigmoid => ", sigmoid",
            Self::Silu => ", SiLU",
            Self::Tanh => ", tanh",
            Self::Erf => ", erf",
            Self::Gelu | Self::GeluTanh => ", GELU",
            Self::HardSwish => ", hard swish",
            Self::Leaky(_) | Self::Slopes(_) => ", leaky ReLU",
            Self::Elu(_) => ", ELU",
            Self::Abs => ", absolute value",
            Self::Sqrt => ", root",
        }
    }

    /// The same over several pixels as if they were one with as many more channels.
    pub fn repeated(&self, times: usize) -> Self {
        match self {
            Self::Slopes(slopes) => Self::Slopes(slopes.repeat(times)),
            other => other.clone(),
        }
    }
}

passes! {
    /// As [`super::Kernels::apply`], by the loop that is the same for all CPUs.
    pub fn apply_by_pass[](function: &Function, channels: Range<usize>, pixels: &[u32], x: &mut [f32]) = apply;

    /// `eˣ / Σ eˣ` of each row of `width` elements.
    pub fn softmax[](x: &[f32], from: &[u32], width: usize, out: &mut [f32], at: &[u32]) = softmax;

    /// `(x − mean) / √(variance + ε) · scale + shift` of each row.
    pub fn layer_norm[](
        x: &[f32],
        from: &[u32],
        how: &LayerNorm,
        out: &mut [f32],
        at: &[u32],
    ) = layer_norm;
}

impl Kernels {
    /// Applies a function to these `channels` of `pixels`, which begin at these elements of `x`.
    pub fn apply(&self, function: &Function, channels: Range<usize>, pixels: &[u32], x: &mut [f32]) {
        let (Function::Silu, Some(silu)) = (function, self.silu) else {
            return self.apply_by_pass(function, channels, pixels, x);
        };
        for pixel in pixels {
            let x = &mut x[*pixel as usize + channels.start..][..channels.len()];
            // SAFETY: the kernels were chosen for this CPU.
            unsafe { silu(x) };
        }
    }
}

/// Normalisation of rows by their mean and variance.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// For each element of a row.
    pub scale: Vec<f32>,
    /// For each element of a row.
    pub shift: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

#[inline(always)]
fn apply(function: &Function, channels: Range<usize>, pixels: &[u32], x: &mut [f32]) {
    let place = (channels, pixels);
    match function {
        Function::Sigmoid => each(x, place, sigmoid),
        Function::Silu => each(x, place, |x| x * sigmoid(x)),
        Function::Tanh => each(x, place, tanh),
        Function::Erf => each(x, place, erf),
        Function::Gelu => each(x, place, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
        Function::GeluTanh => {
            // √(2/π)
            const FACTOR: f32 = 0.797_884_6;
            each(x, place, |x| 0.5 * x * (1.0 + tanh(FACTOR * (x + 0.044_715 * x * x * x))));
        }
        Function::HardSwish => each(x, place, |x| x * (x * (1.0 / 6.0) + 0.5).max(0.0).min(1.0)),
        Function::Leaky(slope) => {
            let slope = *slope;
            each(x, place, |x| if x < 0.0 { x * slope } else { x });
        }
        Function::Slopes(slopes) => {
            let (channels, pixels) = place;
            let slopes = &slopes[channels.clone()];
            for pixel in pixels {
                let x = &mut x[*pixel as usize + channels.start..][..slopes.len()];
                x.iter_mut().zip(slopes).for_each(|(x, slope)| *x = if *x < 0.0 { *x * slope } else { *x });
            }
        }
        Function::Elu(alpha) => {
            let alpha = *alpha;
            each(x, place, |x| if x < 0.0 { alpha * (exp(x) - 1.0) } else { x });
        }
        Function::Abs => each(x, place, f32::abs),
        Function::Sqrt => each(x, place, f32::sqrt),
    }
}

#[inline(always)]
fn each(x: &mut [f32], (channels, pixels): (Range<usize>, &[u32]), function: impl Fn(f32) -> f32) {
    for pixel in pixels {
        let x = &mut x[*pixel as usize + channels.start..][..channels.len()];
        x.iter_mut().for_each(|x| *x = function(*x));
    }
}

/// The numbers of `exp`.
pub(super) mod exponential {
    /// Beyond this, either way, the sigmoid is taken for that of this.
    #[cfg(target_arch = "x86_64")]
    pub const MOST: f32 = 40.0;
    /// ln 2 is the sum; the first has 9 bits.
    pub const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// Of Taylor's polynomial, the highest power first.
    pub const TERMS: [f32; 8] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
}

#[inline(always)]
fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: what is added to it is rounded to an integer.
    const ROUND: f32 = 12_582_912.0;
    let [high, low] = exponential::LN_2;
    let x = x.max(-80.0).min(88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * high) - n * low;
    let [mut sum, ..] = exponential::TERMS;
    for c in &exponential::TERMS[1..] {
        sum = sum * r + c;
    }
    // SAFETY: the limits leave n between −126 and 127, and no NaN.
    let n = unsafe { n.to_int_unchecked::<i32>() };
    sum * f32::from_bits(((n + 127) << 23) as u32)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp((-x).min(40.0)))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let mut sum = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + c;
    }
    (1.0 - sum * t * exp(-x * x)).copysign(x)
}

/// Partial sums of a row, so that they can be added side by side.
const PARTS: usize = 16;

/// The sum of `of(x)` over a row.
#[inline(always)]
fn total(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; PARTS];
    let (chunks, rest) = row.as_chunks::<PARTS>();
    for chunk in chunks {
        for i in 0..PARTS {
            sums[i] += of(chunk[i]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| of(*x)).sum::<f32>()
}

#[inline(always)]
fn greatest(row: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; PARTS];
    let (chunks, rest) = row.as_chunks::<PARTS>();
    for chunk in chunks {
        for i in 0..PARTS {
            most[i] = most[i].max(chunk[i]);
        }
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn softmax(x: &[f32], from: &[u32], width: usize, out: &mut [f32], at: &[u32]) {
    for (from, at) in from.iter().zip(at) {
        let x = &x[*from as usize..][..width];
        let out = &mut out[*at as usize..][..width];
        let most = greatest(x);
        out.iter_mut().zip(x).for_each(|(to, x)| *to = exp(*x - most));
        let factor = 1.0 / total(out, |x| x);
        out.iter_mut().for_each(|x| *x *= factor);
    }
}

#[inline(always)]
fn layer_norm(x: &[f32], from: &[u32], how: &LayerNorm, out: &mut [f32], at: &[u32]) {
    let width = how.scale.len();
    for (from, at) in from.iter().zip(at) {
        let x = &x[*from as usize..][..width];
        let mean = total(x, |x| x) / width as f32;
        let variance = total(x, |x| (x - mean) * (x - mean)) / width as f32;
        let factor = 1.0 / (variance + how.epsilon).sqrt();
        let out = &mut out[*at as usize..][..width];
        let weights = how.scale.iter().zip(&how.shift);
        out.iter_mut().zip(x).zip(weights).for_each(|((to, x), (scale, shift))| {
            *to = (*x - mean) * factor * scale + shift;
        });
    }
}
