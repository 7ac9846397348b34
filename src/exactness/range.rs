//! The elements of a whole value, channel by channel.

use super::{Integer, Interval};

/// The elements of each channel, or one interval for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Range(Vec<Interval>);

impl Range {
    /// The same for all channels, however many.
    pub fn uniform(interval: Interval) -> Self {
        Self(vec![interval])
    }

    /// One interval a channel; none without a channel.
    pub fn of(channels: Vec<Interval>) -> Option<Self> {
        (!channels.is_empty()).then_some(Self(channels))
    }

    /// One number a channel; none if one is not finite.
    pub fn of_numbers(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        Self::of(numbers.into_iter().map(Interval::of).collect::<Option<_>>()?)
    }

    /// The intervals; one that is alone may stand for any number of channels.
    pub fn channels(&self) -> &[Interval] {
        &self.0
    }

    /// The greatest `Σ|w|·a_max + |b|` of all channels in steps, and the channel that has it.
    pub fn bound(&self) -> (f64, usize) {
        let steps = self.0.iter().map(Interval::steps).enumerate();
        steps.fold((0.0, 0), |most, (c, steps)| if steps > most.0 { (steps, c) } else { most })
    }

    /// No element is above.
    pub fn high(&self) -> f64 {
        self.0.iter().fold(f64::NEG_INFINITY, |most, c| most.max(c.high))
    }

    /// No element is below.
    pub fn low(&self) -> f64 {
        self.0.iter().fold(f64::INFINITY, |least, c| least.min(c.low))
    }

    /// Whether float32 has exponents for all of these.
    pub fn in_float32(&self) -> bool {
        self.0.iter().all(Interval::in_float32)
    }

    /// Whether float32 holds every partial sum that led here.
    pub fn is_exact(&self) -> bool {
        self.0.iter().all(Interval::is_exact)
    }

    /// Whether a type of integers holds all elements.
    pub fn fits(&self, integer: Integer) -> bool {
        self.0.iter().all(|c| c.fits(integer))
    }

    /// Whether a type of integers holds every partial sum of integers that led here.
    pub fn sums_fit(&self, integer: Integer) -> bool {
        self.0.iter().all(|c| c.sums_fit(integer))
    }

    /// A rule for each channel.
    pub fn map(&self, rule: impl Fn(Interval) -> Interval) -> Self {
        Self(self.0.iter().map(|c| rule(*c)).collect())
    }

    /// A rule that may have no answer.
    pub fn try_map(&self, rule: impl Fn(Interval) -> Option<Interval>) -> Option<Self> {
        self.0.iter().map(|c| rule(*c)).collect::<Option<_>>().map(Self)
    }

    /// A rule for each channel of two values that broadcast; none where their channels do not.
    pub fn zip(&self, other: &Self, rule: impl Fn(Interval, Interval) -> Interval) -> Option<Self> {
        let (a, b) = (self.0.len(), other.0.len());
        let of = |range: &Self, c: usize| range.0[if range.0.len() == 1 { 0 } else { c }];
        let each = (0..a.max(b)).map(|c| rule(of(self, c), of(other, c)));
        (a == b || a == 1 || b == 1).then(|| Self(each.collect()))
    }

    /// Times powers of two, one for all or one a channel.
    pub fn scaled(&self, exponents: &[i32]) -> Option<Self> {
        match exponents {
            [exponent] => Some(self.map(|c| c.scaled(*exponent))),
            _ if self.0.len() == 1 => Some(Self(exponents.iter().map(|e| self.0[0].scaled(*e)).collect())),
            _ if self.0.len() != exponents.len() => None,
            _ => Some(Self(self.0.iter().zip(exponents).map(|(c, e)| c.scaled(*e)).collect())),
        }
    }

    /// Times numbers, one for all or one a channel.
    pub fn times(&self, factors: &[f64]) -> Option<Self> {
        let (a, b) = (self.0.len(), factors.len());
        let each = (0..a.max(b))
            .map(|c| self.0[if a == 1 { 0 } else { c }].times(factors[if b == 1 { 0 } else { c }]));
        if a == b || a == 1 || b == 1 { Self::of(each.collect::<Option<_>>()?) } else { None }
    }

    /// One interval that holds all channels: of what mixes or moves them.
    pub fn collapse(&self) -> Self {
        Self(self.0.iter().copied().reduce(Interval::join).into_iter().collect())
    }

    /// `Σ wⱼ·xⱼ + b` for weights `[C, …]` over windows that may reach into padding: each term is `wⱼ·xⱼ`
    /// or 0. None if a number is not finite, or the weights do not fit the channels.
    pub fn product(&self, weights: &[f64], bias: f64) -> Option<Interval> {
        let same = self.0.iter().all(|c| *c == self.0[0]);
        let inputs = if same { &self.0[..1] } else { &self.0 };
        if !weights.len().is_multiple_of(inputs.len()) {
            return None;
        }
        let (each, mut rest) = (weights.len() / inputs.len(), weights);
        // Many weights at once are summed faster.
        inputs.chunk_by(|a, b| a == b).try_fold(Interval::of(bias)?, |sum, alike| {
            let (part, others) = rest.split_at(alike.len() * each);
            rest = others;
            sum.plus_products(alike[0], part)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_product_is_bounded_by_the_sum_of_magnitudes() {
        let x = Range::uniform(Interval::new(0.0, 127.0, 0));
        let sum = x.product(&[2.0, -3.0, 0.0], 10.0).unwrap();
        assert_eq!((sum.low, sum.high, sum.step), (10.0 - 381.0, 10.0 + 254.0, 0));
        assert_eq!(sum.steps(), 10.0 + 5.0 * 127.0);
        assert_eq!(x.product(&[f64::NAN], 0.0), None);
        let two = Range::of(vec![Interval::new(0.0, 1.0, 0), Interval::new(2.0, 4.0, 1)]).unwrap();
        let sum = two.product(&[6.0, -1.0], 0.0).unwrap();
        assert_eq!((sum.low, sum.high, sum.step), (-4.0, 6.0, 1), "padding may stand for either");
        assert_eq!(two.product(&[1.0; 3], 0.0), None);
    }

    #[test]
    fn a_product_is_exact_up_to_the_limit_and_no_further() {
        let weights = vec![127.0; 1040];
        let x = Range::uniform(Interval::new(0.0, 127.0, 0));
        let exact = |bias: f64| x.product(&weights, bias).unwrap().is_exact();
        assert_eq!(1040.0 * 127.0 * 127.0, 16_774_160.0);
        assert!(exact(3055.0) && !exact(3056.0));
        assert!(!exact(0.5), "half a step needs another bit");
        assert!(!x.product(&[0.1f64], 0.0).unwrap().is_exact());
    }

    #[test]
    fn channels_broadcast_or_do_not_fit() {
        let one = Range::uniform(Interval::PIXELS);
        let two = Range::of_numbers([1.0, 0.5]).unwrap();
        let three = Range::of_numbers([1.0, 2.0, 3.0]).unwrap();
        assert_eq!(one.zip(&two, Interval::plus).unwrap().channels().len(), 2);
        assert_eq!(two.zip(&three, Interval::plus), None);
        assert_eq!(one.scaled(&[1, 2]).unwrap().channels()[1].high, 1020.0);
        assert_eq!(two.scaled(&[1, 2, 3]), None);
        assert_eq!(two.collapse(), Range::uniform(Interval::new(0.5, 1.0, -1)));
        assert_eq!(Range::of_numbers([f64::INFINITY]), None);
        assert_eq!(Range::of_numbers([]), None);
    }

    #[test]
    fn the_bound_names_the_channel() {
        let sums = Range::of_numbers([0.5, -3.0, 2.0]).unwrap();
        assert_eq!(sums.bound(), (3.0, 1));
    }
}
