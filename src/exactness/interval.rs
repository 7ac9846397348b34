//! The elements of one channel.

use super::weights::Sums;
use super::{Integer, LIMIT, step_of};

/// Multiples of 2^step in `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// No element is below.
    pub low: f64,
    /// No element is above.
    pub high: f64,
    /// Every element is a multiple of 2^step.
    pub step: i32,
    /// No partial sum of the accumulation that led here is greater, whatever its order.
    magnitude: f64,
}

impl Interval {
    /// The ink of an image's pixels.
    pub const PIXELS: Self = Self { low: 0.0, high: 255.0, step: 0, magnitude: 255.0 };
    /// Every integer that float32 holds: what the floor of anything finite is one of.
    pub const INTEGERS: Self =
        Self { low: -(f32::MAX as f64), high: f32::MAX as f64, step: 0, magnitude: f32::MAX as f64 };
    /// 0 alone; that it is a multiple of every step is known to [`Interval::common_step`].
    const ZERO: Self = Self { low: 0.0, high: 0.0, step: 0, magnitude: 0.0 };

    /// Multiples of 2^step in `[low, high]` that are stored: no sum is under way.
    pub fn new(low: f64, high: f64, step: i32) -> Self {
        Self { low, high, step, magnitude: low.abs().max(high.abs()) }
    }

    /// One number; none if it is not finite.
    pub fn of(x: f64) -> Option<Self> {
        if x == 0.0 { Some(Self::ZERO) } else { Some(Self::new(x, x, step_of(x)?)) }
    }

    /// Whether a number is one of these.
    pub fn contains(&self, x: f64) -> bool {
        (self.low..=self.high).contains(&x) && (x * 2f64.powi(-self.step)).fract() == 0.0
    }

    /// The bound of every partial sum, in steps.
    pub fn steps(&self) -> f64 {
        self.magnitude * 2f64.powi(-self.step)
    }

    /// Whether float32 has exponents for all of these: a step that is no less than its least normal
    /// number 2⁻¹²⁶, since some runtimes take what is below for 0, and nothing as great as 2¹²⁸.
    pub fn in_float32(&self) -> bool {
        self.step >= -126 && self.magnitude < 2f64.powi(128)
    }

    /// Whether float32 holds every partial sum, so that no order of summation rounds (see the room's
    /// description).
    pub fn is_exact(&self) -> bool {
        self.in_float32() && self.steps() < LIMIT
    }

    /// Whether a type of integers holds all elements.
    pub fn fits(&self, integer: Integer) -> bool {
        let [low, high] = integer.ends();
        self.step >= 0 && self.low >= low && self.high <= high
    }

    /// Whether a type of integers holds every partial sum of integers that led here.
    pub fn sums_fit(&self, integer: Integer) -> bool {
        let [low, high] = integer.ends();
        self.magnitude <= high.min(-low)
    }

    /// The same as multiples of a finer step, if this one is not finer already.
    pub fn finer(self, step: i32) -> Self {
        Self { step: self.step.min(step), ..self }
    }

    /// `a + b`. The step of both divides both, and hence the sum; a runtime may add into the
    /// accumulator of either, so the magnitudes add as well.
    pub fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            high: self.high + other.high,
            step: self.common_step(other),
            magnitude: self.magnitude + other.magnitude,
        }
    }

    /// `−x`.
    pub fn negated(self) -> Self {
        // A difference, since 0 has no sign here.
        Self { low: 0.0 - self.high, high: 0.0 - self.low, ..self }
    }

    /// `w·x`: 2^(a + b) divides the product of multiples of 2^a and 2^b. None if w is not finite.
    pub fn times(self, w: f64) -> Option<Self> {
        let ends = [w * self.low, w * self.high];
        let step = if w == 0.0 { 0 } else { step_of(w)? + self.step };
        Some(Self::new(ends[0].min(ends[1]), ends[0].max(ends[1]), step))
    }

    /// `self + Σ wⱼ·xⱼ`, each xⱼ one of `x` or 0: what [`Interval::times`], [`Interval::or_zero`] and
    /// [`Interval::plus`] give one after the other. None if a weight is not finite.
    pub fn plus_products(self, x: Self, weights: &[f64]) -> Option<Self> {
        let Sums { plus, minus, step } = Sums::of(weights)?;
        let [low, high] = [x.low.min(0.0), x.high.max(0.0)];
        let greatest = high.max(-low);
        let Some(step) = step.filter(|_| greatest != 0.0) else { return Some(self) };
        let step = step.saturating_add(x.step);
        // Of 0 alone every step divides all elements.
        let nothing = self.low == 0.0 && self.high == 0.0;
        Some(Self {
            low: self.low + plus * low + minus * high,
            high: self.high + plus * high + minus * low,
            step: if nothing { step } else { self.step.min(step) },
            magnitude: self.magnitude + (plus - minus) * greatest,
        })
    }

    /// `a·b` of two values: 2^(a + b) divides it, and its ends are among the products of the ends.
    pub fn product(self, other: Self) -> Self {
        let ends = [self.low, self.high].map(|a| [a * other.low, a * other.high]);
        let all = ends.iter().flatten().copied();
        let (low, high) = (all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max));
        Self::new(low, high, self.step.saturating_add(other.step))
    }

    /// `x·2^exponent`: every partial sum is scaled alike, and no bit of a significand changes.
    pub fn scaled(self, exponent: i32) -> Self {
        let factor = 2f64.powi(exponent);
        Self {
            low: self.low * factor,
            high: self.high * factor,
            step: self.step + exponent,
            magnitude: self.magnitude * factor,
        }
    }

    /// The sum of `n` of these, each any of them.
    pub fn total(self, n: usize) -> Self {
        Self::new(self.low * n as f64, self.high * n as f64, self.step)
    }

    /// The mean of `n` of these: their sum times 2⁻ᵏ. None if n is no power of two.
    pub fn mean(self, n: usize) -> Option<Self> {
        n.is_power_of_two().then(|| self.total(n).scaled(-(n.trailing_zeros() as i32)))
    }

    /// What a monotone function to the integers that leaves integers alone gives: floor, ceiling.
    /// Its ends come from the ends; a whole step means that nothing changes.
    pub fn rounded(self, function: fn(f64) -> f64) -> Self {
        Self::new(function(self.low), function(self.high), self.step.max(0))
    }

    /// `max(a, b)`: one of both, and no less than either `low`. Where one is never below the other it is
    /// that one, whose step alone counts.
    pub fn max(self, other: Self) -> Self {
        let Self { low, high, step, .. } = match self {
            _ if other.high <= self.low => self,
            _ if self.high <= other.low => other,
            _ => Self { low: self.low.max(other.low), high: self.high.max(other.high), ..self.join(other) },
        };
        Self::new(low, high, step)
    }

    /// `min(a, b) = −max(−a, −b)`.
    pub fn min(self, other: Self) -> Self {
        self.negated().max(other.negated()).negated()
    }

    /// `max(x, 0)`.
    pub fn relu(self) -> Self {
        self.max(Self::ZERO)
    }

    /// `|x| = max(x, −x)`, and no less than 0.
    pub fn abs(self) -> Self {
        self.max(self.negated()).relu()
    }

    /// `min(max(x, low), high)`, where an infinite edge limits nothing; none if there is no such number.
    /// An edge brings its own step along only if some element can be beyond it.
    pub fn clip(self, low: f64, high: f64) -> Option<Self> {
        let x = if low == f64::NEG_INFINITY { self } else { self.max(Self::of(low)?) };
        let x = if high == f64::INFINITY { x } else { x.min(Self::of(high)?) };
        (low <= high).then(|| Self::new(x.low, x.high, x.step))
    }

    /// The elements of either.
    pub fn join(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high), self.common_step(other))
    }

    /// These or 0, as of what is padded.
    pub fn or_zero(self) -> Self {
        self.join(Self::ZERO)
    }

    /// The greatest step that divides both kinds of elements, as far as is known; 0 is a multiple of all.
    fn common_step(self, other: Self) -> i32 {
        let zero = |x: Self| x.low == 0.0 && x.high == 0.0;
        match (zero(self), zero(other)) {
            (true, _) => other.step,
            (_, true) => self.step,
            _ => self.step.min(other.step),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EVEN: Interval = Interval { low: -6.0, high: 10.0, step: 1, magnitude: 10.0 };

    #[test]
    fn an_edge_brings_its_step_only_where_it_limits() {
        let clip = |low, high| EVEN.clip(low, high).map(|x| (x.low, x.high, x.step));
        assert_eq!(clip(-9.0, 11.0), Some((-6.0, 10.0, 1)), "it limits nothing");
        assert_eq!(clip(0.0, 11.0), Some((0.0, 10.0, 1)), "0 is even");
        assert_eq!(clip(-9.0, 7.0), Some((-6.0, 7.0, 0)), "7 is odd");
        assert_eq!(clip(-1.5, 8.0), Some((-1.5, 8.0, -1)), "a fraction");
        assert_eq!(clip(12.0, f64::INFINITY), Some((12.0, 12.0, 2)), "nothing is left but the edge");
        assert_eq!(clip(f64::NEG_INFINITY, f64::INFINITY), Some((-6.0, 10.0, 1)));
        for (low, high) in [(3.0, 2.0), (f64::NAN, 2.0), (f64::INFINITY, f64::INFINITY), (0.0, f64::NAN)] {
            assert_eq!(clip(low, high), None, "[{low}, {high}] is no interval");
        }
    }

    #[test]
    fn what_float32_holds_ends_at_24_bits_and_at_its_exponents() {
        let exact = |high, step| Interval::new(0.0, high, step).is_exact();
        assert!(exact(16_777_215.0, 0) && !exact(16_777_216.0, 0));
        assert!(exact(2f64.powi(25), 2) && !exact(1.0, -24));
        assert!(exact(2f64.powi(-126), -126) && !exact(2f64.powi(-127), -127));
        assert!(exact(2f64.powi(127), 110) && !exact(2f64.powi(128), 110));
    }

    #[test]
    fn a_sum_is_bounded_by_all_magnitudes_and_what_is_made_of_it_anew() {
        let sum = EVEN.plus(EVEN.negated());
        assert_eq!((sum.low, sum.high, sum.step, sum.steps()), (-16.0, 16.0, 1, 10.0));
        let stored = sum.relu();
        assert_eq!((stored.low, stored.high, stored.steps()), (0.0, 16.0, 8.0));
    }

    #[test]
    fn sums_of_products_are_what_the_rules_give_one_by_one() {
        let inputs = [
            EVEN,
            Interval::ZERO,
            Interval::new(-2.5, 3.5, -1),
            Interval::PIXELS,
            Interval::of(3.0).unwrap(),
        ];
        let weights = [3.0, -0.5, 0.0, 12.0, -127.0, 0.1f32.into()];
        for (x, start) in
            inputs.iter().flat_map(|x| [0.0, 0.75, -8.0].map(|b| (*x, Interval::of(b).unwrap())))
        {
            for count in 0..=weights.len() {
                let one = |sum: Interval, w: &f64| sum.plus(x.times(*w).unwrap().or_zero());
                let expected = weights[..count].iter().fold(start, one);
                assert_eq!(start.plus_products(x, &weights[..count]), Some(expected), "{x:?} from {start:?}");
            }
            assert_eq!(start.plus_products(x, &[1.0, f64::NAN]), None);
        }
    }

    #[test]
    fn rules_of_single_elements() {
        let of = |x: Interval| (x.low, x.high, x.step);
        let halves = Interval::new(-2.5, 3.5, -1);
        assert_eq!(of(halves.rounded(f64::floor)), (-3.0, 3.0, 0));
        assert_eq!(of(EVEN.rounded(f64::ceil)), (-6.0, 10.0, 1));
        assert_eq!(of(EVEN.abs()), (0.0, 10.0, 1));
        assert_eq!(of(EVEN.min(halves)), (-6.0, 3.5, -1));
        assert_eq!(EVEN.times(-1.5).map(of), Some((-15.0, 9.0, 0)));
        assert_eq!(EVEN.times(f64::NAN), None);
        assert_eq!(EVEN.mean(4).map(of), Some((-6.0, 10.0, -1)));
        assert_eq!(EVEN.mean(3), None);
        assert_eq!(of(Interval::new(4.0, 8.0, 2).or_zero()), (0.0, 8.0, 2));
        assert!(EVEN.contains(-4.0) && !EVEN.contains(3.0) && !EVEN.contains(12.0));
    }
}
