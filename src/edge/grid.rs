//! Which numbers a value can be: what makes integer arithmetic provably the same as float32.

/// All elements are multiples of 2^step in `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    pub low: f64,
    pub high: f64,
    pub step: i32,
}

/// float32 holds every integer up to here; sums below are exact in any order.
const LIMIT: f64 = 16_777_216.0;

impl Grid {
    /// What `Floor` gives of anything.
    pub const INTEGERS: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY, step: 0 };
    /// The pixels of an image.
    pub const IMAGE: Self = Self { low: 0.0, high: 255.0, step: 0 };

    /// Whether 8 bits without a sign hold it.
    pub fn bytes(&self) -> bool {
        self.step >= 0 && self.low >= 0.0 && self.high <= 255.0
    }

    /// `max(low).min(high)`; a limit that is no integer keeps no grid.
    pub fn clip(self, low: f32, high: f32) -> Option<Self> {
        let whole = |x: f32| !x.is_finite() || x.fract() == 0.0;
        let (low, high) = (f64::from(low), f64::from(high));
        let grid = Self {
            low: self.low.max(low).min(high),
            high: self.high.min(high).max(low),
            step: self.step.min(0),
        };
        (whole(low as f32) && whole(high as f32)).then_some(grid)
    }

    /// Cut off downwards.
    pub fn floor(self) -> Self {
        Self { low: self.low.floor(), high: self.high.floor(), step: self.step.max(0) }
    }

    /// Times powers of two, one a channel.
    pub fn scaled(self, factors: &[f32]) -> Option<Self> {
        let exponents: Option<Vec<i32>> = factors.iter().map(|f| exponent(*f)).collect();
        let exponents = exponents?;
        let (least, most) = (*exponents.iter().min()?, *exponents.iter().max()?);
        let ends = [least, most].map(|e| 2f64.powi(e));
        Some(Self {
            low: if self.low < 0.0 { self.low * ends[1] } else { self.low * ends[0] },
            high: if self.high > 0.0 { self.high * ends[1] } else { self.high * ends[0] },
            step: self.step + least,
        })
    }

    /// The sum of both, if float32 holds it.
    pub fn plus(self, other: Self) -> Option<Self> {
        let sum =
            Self { low: self.low + other.low, high: self.high + other.high, step: self.step.min(other.step) };
        sum.exact(sum.low.abs().max(sum.high.abs())).then_some(sum)
    }

    /// The one number.
    pub fn of(x: f64) -> Option<Self> {
        Some(Self { low: x, high: x, step: if x == 0.0 { 0 } else { step_of(x)? } })
    }

    /// `Σ wⱼ·xⱼ + b`, if float32 holds every partial sum in any order.
    pub fn product<'w>(self, weights: impl Iterator<Item = &'w f64>, bias: f64) -> Option<Self> {
        let most = self.low.abs().max(self.high.abs());
        let (mut total, mut step) = (0.0, i32::MAX);
        for w in weights.filter(|w| **w != 0.0) {
            total += w.abs() * most;
            step = step.min(step_of(*w)? + self.step);
        }
        let magnitude = total + bias.abs();
        if bias != 0.0 {
            step = step.min(step_of(bias)?);
        }
        let grid = Self { low: -magnitude, high: magnitude, step: step.min(127) };
        grid.exact(magnitude).then_some(grid)
    }

    /// The least grid that holds both.
    pub fn join(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            step: self.step.min(other.step),
        }
    }

    fn exact(&self, magnitude: f64) -> bool {
        // Below, steps of very small numbers would be lost; no tower has them.
        self.step > -120 && magnitude * 2f64.powi(-self.step) < LIMIT
    }
}

/// The exponent of a power of two.
pub fn exponent(x: f32) -> Option<i32> {
    let normal = x.is_normal() && x > 0.0 && x.to_bits() & 0x7f_ffff == 0;
    normal.then(|| (x.to_bits() >> 23) as i32 - 127)
}

/// The greatest s for which x is a multiple of 2^s; none for 0 and for what is not finite.
pub fn step_of(x: f64) -> Option<i32> {
    if !x.is_normal() {
        return None;
    }
    let (bits, biased) = (x.to_bits() & ((1 << 52) - 1), (x.to_bits() >> 52 & 0x7ff) as i32);
    Some(biased - 1023 - 52 + ((1u64 << 52) | bits).trailing_zeros() as i32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_exponents() {
        assert_eq!([1.0, 12.0, -0.75, 255.0].map(|x| step_of(x).unwrap()), [0, 2, -2, 0]);
        assert_eq!((step_of(0.0), step_of(f64::NAN)), (None, None));
        assert_eq!([1.0, 0.125, 3.0, -2.0, 0.0].map(exponent), [Some(0), Some(-3), None, None, None]);
    }

    #[test]
    fn a_product_is_exact_up_to_the_limit_and_no_further() {
        let weights = vec![127.0; 1040];
        let grid = Grid { low: 0.0, high: 127.0, step: 0 };
        assert_eq!(1040.0 * 127.0 * 127.0, 16_774_160.0);
        assert!(grid.product(weights.iter(), 3055.0).is_some());
        assert!(grid.product(weights.iter(), 3056.0).is_none());
        assert!(grid.product(weights.iter(), 0.5).is_none(), "half a step needs another bit");
        assert!(grid.product([0.1f64].iter(), 0.0).is_none());
    }
}
