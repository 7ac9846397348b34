//! The numbers that operators are evaluated in.

use super::dim::Dim;
use num_traits::Float;
use std::fmt::Debug;

/// A number that is moved, whether or not it is known.
pub trait Element: Clone + Debug + 'static {
    /// The nearest of these numbers.
    fn of(x: f64) -> Self;
    /// The number, where it is known.
    fn number(&self) -> Option<f64>;
}

/// float32 or float64: every value of a model is computed in one of them, whatever its type in the file;
/// integers are exact up to 2²⁴ or 2⁵³.
pub trait Real:
    Element + Float + ndarray::LinalgScalar + ndarray::ScalarOperand + std::ops::AddAssign + Send + Sync
{
    /// The nearest integer, ties to even.
    fn round_ties_even(self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Element for $float {
            fn of(x: f64) -> Self {
                x as Self
            }
            fn number(&self) -> Option<f64> {
                Some(f64::from(*self))
            }
        }

        impl Real for $float {
            fn round_ties_even(self) -> Self {
                self.round_ties_even()
            }
        }
    };
}

real!(f32);
real!(f64);

impl Element for Dim {
    fn of(x: f64) -> Self {
        Self::Known(x)
    }
    fn number(&self) -> Option<f64> {
        self.number()
    }
}

/// 1 for what holds, else 0.
pub(super) fn truth<T: Real>(holds: bool) -> T {
    if holds { T::one() } else { T::zero() }
}

/// The error function, by its series or its continued fraction (Abramowitz and Stegun 7.1.5, 7.1.14).
pub(super) fn erf<T: Real>(x: T) -> T {
    T::of(erf64(x.number().unwrap_or(f64::NAN)))
}

fn erf64(x: f64) -> f64 {
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return scale * sum;
    }
    let z = x.abs();
    let fraction = (1..60).rev().fold(z, |f, k| z + f64::from(k) / 2.0 / f);
    x.signum() * (1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn erf_is_right_on_both_branches() {
        for (x, y) in
            [(0.5, 0.520_499_877_813_046_5), (2.4, 0.999_311_486_103_354_9), (3.0, 0.999_977_909_503_001_4)]
        {
            assert!((super::erf64(x) - y).abs() < 1e-12 && (super::erf64(-x) + y).abs() < 1e-12, "{x}");
        }
    }
}
