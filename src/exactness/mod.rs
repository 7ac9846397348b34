//! Which numbers a value can be, and when float32 computes with them without rounding: the one theory
//! that the proof of an exact tower, the exporter that chooses its weights and the lowering that puts
//! integers in the place of float32 all ask.
//!
//! A value is followed as an [`Interval`] for each channel (a [`Range`]): all elements are multiples of
//! 2^step between two numbers.
//!
//! **Why sums may be taken in any order.** A float32 has 24 significant bits, so it holds every multiple
//! of 2^s below 2²⁴·2^s in magnitude, from the least normal step 2⁻¹²⁶ up to 2¹²⁸. The terms of a sum are
//! multiples of their finest step, and so is every partial sum of every order; the sum of all their
//! magnitudes bounds each of them. Where that lies below 2²⁴ steps, every partial sum is a float32, no
//! addition rounds (nor does one fused with a multiplication), and all orders give one number. The sign
//! of a zero alone may differ.
//!
//! A rule that turns intervals into intervals is a method here, with the reason why it is sound. Which
//! operator follows which rule stands in [`crate::op::range`].

mod interval;
mod range;
mod weights;

pub use interval::Interval;
pub use range::Range;

/// Sums stay below this many steps: float32 holds every integer up to it.
pub const LIMIT: f64 = (1u64 << 24) as f64;

/// The greatest magnitude of an exact tower's activations and of its embedding: seven bits and a sign.
pub const ACTIVATION_MAX: f64 = 127.0;

/// A type of integers that values or sums may be held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integer {
    /// Inputs of integer kernels.
    U8,
    /// Their weights.
    I8,
    /// Inputs and weights of tiles.
    I16,
    /// Their sums.
    I32,
}

impl Integer {
    /// The least and the greatest.
    pub fn ends(self) -> [f64; 2] {
        match self {
            Self::U8 => [0.0, 255.0],
            Self::I8 => [-128.0, 127.0],
            Self::I16 => [f64::from(i16::MIN), f64::from(i16::MAX)],
            Self::I32 => [f64::from(i32::MIN), f64::from(i32::MAX)],
        }
    }

    /// Whether it holds a number.
    pub fn holds(self, x: f64) -> bool {
        let [low, high] = self.ends();
        // Within these ends the cast cuts off a fraction and nothing else.
        (low..=high).contains(&x) && f64::from(x as i32) == x
    }
}

/// The exponent, if the number is a power of two.
pub fn power_of_two(x: f64) -> Option<i32> {
    step_of(x).filter(|exponent| x == 2f64.powi(*exponent))
}

/// The exponent of the greatest power of two that divides a number; none for 0, and for what float32 does
/// not hold as a normal number: some runtimes take smaller ones for 0.
pub fn step_of(x: f64) -> Option<i32> {
    if !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&x.abs()) {
        return None;
    }
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1075;
    let significand = (x.to_bits() & ((1 << 52) - 1)) | (1 << 52);
    Some(exponent + significand.trailing_zeros() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_greatest_powers_that_divide() {
        for (x, step) in [(1.0, 0), (-12.0, 2), (0.375, -3), (127.0, 0), (2f64.powi(-40), -40)] {
            assert_eq!(step_of(x), Some(step), "{x}");
        }
        for x in [0.0, f64::NAN, f64::NEG_INFINITY, 2f64.powi(-127), 2f64.powi(128)] {
            assert_eq!(step_of(x), None, "{x}");
        }
        assert_eq!((power_of_two(0.25), power_of_two(3.0), power_of_two(-2.0)), (Some(-2), None, None));
    }

    #[test]
    fn integers_hold_what_their_bits_hold() {
        for (integer, inside, outside) in [
            (Integer::U8, [0.0, 255.0], [-1.0, 256.0]),
            (Integer::I8, [-128.0, 127.0], [-129.0, 0.5]),
            (Integer::I32, [-2_147_483_648.0, 2_147_483_647.0], [2_147_483_648.0, f64::NAN]),
        ] {
            assert!(inside.iter().all(|x| integer.holds(*x)), "{integer:?}");
            assert!(!outside.iter().any(|x| integer.holds(*x)), "{integer:?}");
        }
    }
}
