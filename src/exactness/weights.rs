//! Many numbers together: a tower has more weights than anything else, and the proof looks at each of them.

use super::{Integer, step_of};

/// The sums of a channel's weights, and what divides them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sums {
    /// Of those above 0.
    pub plus: f64,
    /// Of those below 0.
    pub minus: f64,
    /// The exponent of the greatest power of two that divides all; none where all are 0.
    pub step: Option<i32>,
}

/// Added to a whole number of less than 2⁵¹, it leaves that number in the low 51 bits of the sum, as two's complement.
const SHIFT: f64 = (3u64 << 51) as f64;
/// The first bit that does not belong to the number then.
const END: u32 = 51;
/// Numbers at once, which makes vectors of the loops below.
const LANES: usize = 8;

impl Sums {
    /// None if a number is not finite, or is one that float32 does not hold as a normal number.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        Self::of_whole(numbers).map_or_else(|| Self::one_by_one(numbers), Some)
    }

    /// Without a branch for a number. None where one is no whole number, or they are too great to be counted.
    fn of_whole(numbers: &[f64]) -> Option<Self> {
        let (mut plus, mut minus) = ([0.0; LANES], [0.0; LANES]);
        let (mut bits, mut broken) = ([0u64; LANES], [false; LANES]);
        each_lane(numbers, |i, x| {
            let shifted = x + SHIFT;
            plus[i] += if x > 0.0 { x } else { 0.0 };
            minus[i] += if x < 0.0 { x } else { 0.0 };
            bits[i] |= shifted.to_bits();
            broken[i] |= shifted - SHIFT != x;
        });
        let (plus, minus): (f64, f64) = (plus.iter().sum(), minus.iter().sum());
        // Below that every sum of them is exact, in any order.
        if broken.contains(&true) || plus - minus >= (1u64 << END) as f64 {
            return None;
        }
        let bits = bits.iter().fold(1 << END, |all, bits| all | bits);
        let step = bits.trailing_zeros();
        Some(Self { plus, minus, step: (step < END).then_some(step as i32) })
    }

    fn one_by_one(numbers: &[f64]) -> Option<Self> {
        let mut sums = Self { plus: 0.0, minus: 0.0, step: None };
        for &x in numbers.iter().filter(|x| **x != 0.0) {
            let step = step_of(x)?;
            sums.step = Some(sums.step.map_or(step, |finest| finest.min(step)));
            if x > 0.0 { sums.plus += x } else { sums.minus += x }
        }
        Some(sums)
    }
}

impl Integer {
    /// Whether it holds all of these numbers.
    pub fn holds_all(self, numbers: &[f64]) -> bool {
        let [low, high] = self.ends();
        let mut broken = [false; LANES];
        each_lane(numbers, |i, x| {
            let whole = (x + SHIFT) - SHIFT == x;
            broken[i] |= !(whole & (x >= low) & (x <= high));
        });
        !broken.contains(&true)
    }
}

/// Calls `f` with a lane and a number for all numbers, and some zeros.
#[inline(always)]
fn each_lane(numbers: &[f64], mut f: impl FnMut(usize, f64)) {
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for chunk in chunks.iter().chain([&last]) {
        for (i, x) in chunk.iter().enumerate() {
            f(i, *x);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::RngExt;

    #[test]
    fn sums_of_whole_numbers_are_those_of_numbers_one_by_one() {
        let mut rng = crate::random::stream(3, "sums", 0, 0);
        for count in 0..40 {
            for scale in [1.0, 12.0, 4096.0, 2f64.powi(38)] {
                let numbers: Vec<f64> =
                    (0..count).map(|_| f64::from(rng.random_range(-128i32..128)) * scale).collect();
                let whole = Sums::of_whole(&numbers);
                assert_eq!(whole, Sums::one_by_one(&numbers), "{numbers:?}");
                assert_eq!(whole, Sums::of(&numbers));
            }
        }
    }

    #[test]
    fn what_is_no_small_whole_number_is_looked_at_by_itself() {
        for x in [0.5, -f64::from(0.1f32), 2f64.powi(51), -(2f64.powi(60)), f64::NAN, f64::INFINITY] {
            let numbers = [3.0, x, 1.0];
            assert_eq!(Sums::of_whole(&numbers), None, "{x}");
        }
        let sums = Sums::of(&[3.0, -0.5, 0.0]).unwrap();
        assert_eq!(sums, Sums { plus: 3.0, minus: -0.5, step: Some(-1) });
        for x in [f64::NAN, f64::NEG_INFINITY, 2f64.powi(-127), 2f64.powi(128)] {
            assert_eq!(Sums::of(&[1.0, x]), None, "{x}");
        }
        assert_eq!(Sums::of(&[0.0, -0.0]).unwrap().step, None);
    }

    #[test]
    fn an_integer_holds_all_or_not() {
        for (last, holds) in [(127.0, true), (-128.0, true), (128.0, false), (0.5, false), (f64::NAN, false)]
        {
            let mut numbers = vec![1.0; 19];
            numbers[18] = last;
            assert_eq!(Integer::I8.holds_all(&numbers), holds, "{last}");
            assert_eq!(Integer::I8.holds(last), holds, "{last}");
        }
        assert!(Integer::U8.holds_all(&[]) && !Integer::U8.holds_all(&[f64::INFINITY]));
    }
}
