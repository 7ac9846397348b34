//! Streams of random numbers, and the few functions of analysis that random shapes need.
//!
//! A stream is a pure function of a seed and of what it is for, so that work can be parted over
//! any number of threads without changing a bit of it. The functions use only additions,
//! multiplications and roots, which IEEE 754 defines to the last bit: the system's mathematics
//! library, which differs from machine to machine, is never asked.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// A source of random numbers.
pub type Stream = Pcg64Mcg;

/// The stream of a seed, a purpose and two counters (a batch and an image in it, say).
///
/// Different purposes keep apart streams whose counters agree.
pub fn stream(seed: u64, purpose: &str, major: u64, minor: u64) -> Stream {
    let mut state = mix(seed ^ 0x5349_414d_4553_4531);
    for &byte in purpose.as_bytes() {
        state = mix(state ^ u64::from(byte));
    }
    state = mix(state ^ major);
    state = mix(state ^ minor);
    Pcg64Mcg::new(u128::from(mix(state)) << 64 | u128::from(mix(state ^ u64::MAX)))
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A whole number below `n`, every one as likely.
///
/// # Panics
/// Where `n` is 0.
pub fn below(rng: &mut Stream, n: usize) -> usize {
    rng.random_range(0..n as u64) as usize
}

/// A number in [0, 1).
pub fn unit(rng: &mut Stream) -> f32 {
    rng.random()
}

/// A number in [−1, 1).
pub fn either(rng: &mut Stream) -> f32 {
    2.0 * rng.random::<f32>() - 1.0
}

/// A number in [`low`, `high`).
pub fn between(rng: &mut Stream, low: f32, high: f32) -> f32 {
    low + (high - low) * unit(rng)
}

/// A number of mean 0 and standard deviation 1 within ±3.5: the sum of twelve uniform ones is
/// nearly normal (Irwin–Hall), and needs no logarithm.
pub fn bell(rng: &mut Stream) -> f32 {
    let sum: f32 = (0..12).map(|_| unit(rng)).sum();
    (sum - 6.0).clamp(-3.5, 3.5)
}

/// Whether an event of this probability happens.
pub fn happens(rng: &mut Stream, probability: f32) -> bool {
    unit(rng) < probability
}

/// Puts `count` items, drawn without replacement, at the head of the slice in random order
/// (Fisher–Yates).
///
/// # Panics
/// Where there are fewer items than `count`.
pub fn draw<'a, T>(rng: &mut Stream, items: &'a mut [T], count: usize) -> &'a mut [T] {
    assert!(count <= items.len(), "{count} of {} items cannot be drawn", items.len());
    for i in 0..count {
        let j = i + below(rng, items.len() - i);
        items.swap(i, j);
    }
    &mut items[..count]
}

/// Sine and cosine of an angle in degrees.
pub fn turn(degrees: f64) -> (f64, f64) {
    let quarter = (degrees / 90.0).round();
    let x = (degrees - 90.0 * quarter) * (std::f64::consts::PI / 180.0);
    let (mut sine, mut cosine, mut term) = (0.0, 1.0, 1.0);
    for n in 1..=16 {
        term *= x / f64::from(n);
        match n % 4 {
            0 => cosine += term,
            1 => sine += term,
            2 => cosine -= term,
            _ => sine -= term,
        }
    }
    match quarter.rem_euclid(4.0) as u8 {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

/// eˣ for |x| up to a few units.
pub fn exp(x: f64) -> f64 {
    let x = x / 64.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..=10 {
        term *= x / f64::from(n);
        sum += term;
    }
    (0..6).fold(sum, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_every_part_of_their_name() {
        let first = |seed, purpose, a, b| stream(seed, purpose, a, b).random::<u64>();
        let base = first(1, "x", 2, 3);
        assert_eq!(base, first(1, "x", 2, 3));
        for other in [first(2, "x", 2, 3), first(1, "y", 2, 3), first(1, "x", 3, 3), first(1, "x", 2, 4)] {
            assert_ne!(base, other);
        }
    }

    /// A change of this number changes every batch and every glyph: it belongs in the changelog.
    #[test]
    fn streams_are_the_same_on_every_machine() {
        assert_eq!(stream(0, "golden", 1, 2).random::<u64>(), 6_934_811_662_952_648_784);
    }

    #[test]
    fn turns_and_powers_are_right() {
        for i in -72..=72 {
            let degrees = 7.5 * f64::from(i);
            let (sine, cosine) = turn(degrees);
            let (s, c) = degrees.to_radians().sin_cos();
            assert!((sine - s).abs() < 1e-14 && (cosine - c).abs() < 1e-14, "{degrees}");
        }
        for i in -40..=40 {
            let x = f64::from(i) / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "{x}");
        }
    }

    #[test]
    fn draws_are_without_replacement_and_bells_are_normal_enough() {
        let mut rng = stream(3, "test", 0, 0);
        let mut items: Vec<usize> = (0..50).collect();
        let mut drawn = draw(&mut rng, &mut items, 20).to_vec();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
        let bells: Vec<f64> = (0..20_000).map(|_| f64::from(bell(&mut rng))).collect();
        let mean = bells.iter().sum::<f64>() / 20_000.0;
        let variance = bells.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
