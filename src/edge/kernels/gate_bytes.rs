//! Maps of bytes times a gate of integers, into bytes: what [`super::gate`] does in float32, without it.

use super::epilogue::{Epilogue, piece, pieces};
use super::gate::{Gate, Gating, Ramp};
use crate::exactness::{LIMIT, power_of_two, step_of};

/// `(((x + before) · gate + half >> cut) · multiplier + begin) >> shift`, limited.
///
/// With factors that are whole numbers of 2⁻ᵏ, and all that is added too, float32's `⌊p · a + b⌋` is this where it rounds
/// nothing; see [`super::Requantise`].
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerGate {
    /// For each channel.
    before: Vec<i16>,
    /// What is added to a product before it is cut off.
    half: i32,
    /// Bits that are cut off then.
    cut: u32,
    /// For each channel.
    multiplier: Vec<i32>,
    /// For each channel.
    begin: Vec<i32>,
    /// For each channel.
    shift: Vec<u32>,
    /// Least and greatest byte.
    limits: [i32; 2],
}

impl IntegerGate {
    /// What gives the bytes of an epilogue for products of integers whose magnitude is at most `most`, as is that of all
    /// gates; none where these, or what a ramp limits, would not fit 16 bits, or float32 may round on the way.
    pub fn of(how: &Epilogue, by: Gating, narrowed: Option<[f32; 2]>, most: f64) -> Option<Self> {
        let lift = how.lift.first().copied().unwrap_or(0.0);
        let same = how.lift.iter().all(|other| *other == lift);
        // What is beyond bytes is known not to occur.
        let limits = [(how.low.ceil() + lift).max(0.0), (how.high.floor() + lift).min(255.0)];
        let whole = how.floor || how.scale.iter().chain(&how.shift).all(|x| x.fract() == 0.0);
        let shift = if let Gating::Itself(ramp) = by { ramp.shift.abs() } else { 0.0 };
        let fits = most.max(f64::from(shift) + 255.0) <= f64::from(i16::MAX);
        if !same || !whole || !fits {
            return None;
        }
        let (half, cut, most) = cut_off(narrowed, most)?;
        let channels = how.scale.len();
        let (mut multiplier, mut begin, mut shift) = (Vec::new(), Vec::new(), Vec::new());
        for (scale, b) in how.scale.iter().zip(&how.shift).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            let step = |x: f64| if x == 0.0 { Some(0) } else { step_of(x).map(|step| step.min(0)) };
            let steps = 2f64.powi(-step(scale)?.min(step(b)?));
            let (b, scale, up) = (b * steps, scale * steps, f64::from(lift) * steps);
            // The greatest byte is far from where 32 bits end.
            if most * scale.abs() + b.abs() >= LIMIT || 256.0 * steps >= LIMIT {
                return None;
            }
            multiplier.push(scale as i32);
            begin.push((b + up) as i32);
            shift.push(steps.log2() as u32);
        }
        let before = if how.before.is_empty() { vec![0; channels] } else { how.before.clone() };
        let before = before.into_iter().map(|x| i16::try_from(x).ok()).collect::<Option<_>>()?;
        Some(Self { before, half, cut, multiplier, begin, shift, limits: limits.map(|limit| limit as i32) })
    }
}

/// What is added to products and how many bits are cut off, where that is all; and how great the results are.
fn cut_off(narrowed: Option<[f32; 2]>, most: f64) -> Option<(i32, u32, f64)> {
    let Some([factor, half]) = narrowed else { return Some((0, 0, most)) };
    let cut = power_of_two(f64::from(factor)).filter(|exponent| (-15..=0).contains(exponent))?;
    let half = f64::from(half) * 2f64.powi(-cut);
    let fits = half.fract() == 0.0 && most + half.abs() < LIMIT;
    fits.then(|| (half as i32, -cut as u32, ((most + half.abs()) * 2f64.powi(cut)).ceil()))
}

passes! {
    /// As [`super::Kernels::store_gated`]. All numbers of the gate are integers.
    pub fn store_gated_bytes[](
        how: &IntegerGate,
        x: &[u8],
        from: &[u32],
        gate: Gate<'_>,
        out: &mut [u8],
        at: &[u32],
    ) = gated;
}

#[inline(always)]
fn gated(how: &IntegerGate, x: &[u8], from: &[u32], gate: Gate<'_>, out: &mut [u8], at: &[u32]) {
    let none = Ramp { shift: 0.0, low: 0.0, high: 0.0 };
    match (gate, how.cut) {
        (Gate::Channels(gate), 0) => each::<false, false>(how, (x, from), (gate, none), (out, at)),
        (Gate::Channels(gate), _) => each::<false, true>(how, (x, from), (gate, none), (out, at)),
        (Gate::Itself(ramp), 0) => each::<true, false>(how, (x, from), (&[], ramp), (out, at)),
        (Gate::Itself(ramp), _) => each::<true, true>(how, (x, from), (&[], ramp), (out, at)),
    }
}

#[inline(always)]
fn each<const ITSELF: bool, const CUT: bool>(
    how: &IntegerGate,
    (x, from): (&[u8], &[u32]),
    (gate, ramp): (&[f32], Ramp),
    (out, at): (&mut [u8], &[u32]),
) {
    /// Pixels whose lines stay in a core's first cache while the pieces of channels go over them.
    const TOGETHER: usize = 32;
    let [up, least, most] = [ramp.shift, ramp.low, ramp.high].map(|x| x as i16);
    let [low, high] = how.limits;
    for (from, at) in from.chunks(TOGETHER).zip(at.chunks(TOGETHER)) {
        pieces!(how.before.len(), |i, N| {
            let (before, shift) = (piece::<N, i16>(&how.before, i), piece::<N, u32>(&how.shift, i));
            let (multiplier, begin) = (piece::<N, i32>(&how.multiplier, i), piece::<N, i32>(&how.begin, i));
            let gate = if ITSELF { [0; N] } else { piece::<N, f32>(gate, i).map(|x| x as i16) };
            for (from, to) in from.iter().zip(at) {
                let bytes = piece::<N, u8>(x, *from as usize + i);
                let mut products = [0i16; N];
                for j in 0..N {
                    let number = i16::from(bytes[j]).wrapping_add(before[j]);
                    let by = if ITSELF { number.wrapping_add(up).max(least).min(most) } else { gate[j] };
                    products[j] = number.wrapping_mul(by);
                }
                let mut done = [0u8; N];
                for j in 0..N {
                    let mut sum = i32::from(products[j]);
                    if CUT {
                        sum = (sum + how.half) >> how.cut;
                    }
                    let sum = sum.wrapping_mul(multiplier[j]).wrapping_add(begin[j]) >> (shift[j] & 31);
                    done[j] = sum.max(low).min(high) as u8;
                }
                out[*to as usize + i..][..N].copy_from_slice(&done);
            }
        });
    }
}
