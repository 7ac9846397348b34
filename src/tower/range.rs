//! What is known of a value's elements: multiples of a power of two between two numbers, for each
//! channel or for all.

/// The elements of one channel: multiples of 2^step in `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Channel {
    pub low: f64,
    pub high: f64,
    pub step: i32,
    /// Bounds the magnitude of every partial sum that led here.
    pub magnitude: f64,
}

impl Channel {
    pub fn new(low: f64, high: f64, step: i32) -> Self {
        Self { low, high, step, magnitude: low.abs().max(high.abs()) }
    }

    /// `Σ wⱼ·xⱼ + b`; none if a number is not finite, or the weights do not fit the channels.
    pub fn product(weights: &[f64], x: &Inputs<'_>, bias: f64) -> Option<Self> {
        if !weights.len().is_multiple_of(x.0.len().max(1)) {
            return None;
        }
        let (mut low, mut high, mut magnitude) = (bias, bias, bias.abs());
        let mut step = if bias == 0.0 { None } else { Some(step_of(bias)?) };
        let group = weights.len() / x.0.len().max(1);
        for (j, &w) in weights.iter().enumerate() {
            if w == 0.0 {
                continue;
            }
            let c = x.of(j, group);
            let ends = [w * c.low, w * c.high];
            low += ends[0].min(ends[1]).min(0.0);
            high += ends[0].max(ends[1]).max(0.0);
            magnitude += w.abs() * c.low.abs().max(c.high.abs());
            let fine = step_of(w)? + c.step;
            step = Some(step.map_or(fine, |s| s.min(fine)));
        }
        magnitude.is_finite().then_some(Self { low, high, step: step.unwrap_or(0), magnitude })
    }

    /// The magnitude in steps.
    pub fn steps(&self) -> f64 {
        self.magnitude * 2f64.powi(-self.step)
    }

    pub fn floor(self) -> Self {
        Self::new(self.low.floor(), self.high.floor(), self.step.max(0))
    }

    pub fn clip(self, low: f64, high: f64) -> Self {
        // Integer edges: below one unit the step is that of the value, above it the edges count.
        let step = if self.low < low || self.high > high { self.step.min(0) } else { self.step };
        Self::new(self.low.clamp(low, high), self.high.clamp(low, high), step)
    }

    pub fn with_zero(self) -> Self {
        Self::new(self.low.min(0.0), self.high.max(0.0), self.step)
    }

    /// The sum of `n` of them.
    pub fn times(self, n: f64) -> Self {
        Self::new(self.low * n, self.high * n, self.step)
    }

    /// Times 2^exponent.
    pub fn scaled(self, exponent: i32) -> Self {
        let factor = 2f64.powi(exponent);
        Self {
            low: self.low * factor,
            high: self.high * factor,
            step: self.step + exponent,
            magnitude: self.magnitude * factor,
        }
    }

    fn join(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high), self.step.min(other.step))
    }

    fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            high: self.high + other.high,
            step: self.step.min(other.step),
            magnitude: self.magnitude + other.magnitude,
        }
    }
}

/// The channels that a product's weights meet.
pub(super) struct Inputs<'a>(&'a [Channel]);

impl Inputs<'_> {
    /// The channel that weight `j` meets, `group` weights a channel.
    fn of(&self, j: usize, group: usize) -> Channel {
        self.0[if self.0.len() == 1 { 0 } else { j / group }]
    }
}

/// The elements of a value of `rank` axes: of each channel (axis 1), or one for all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Range {
    channels: Vec<Channel>,
    pub rank: usize,
}

impl Range {
    pub fn uniform(low: f64, high: f64, step: i32, rank: usize) -> Self {
        Self { channels: vec![Channel::new(low, high, step)], rank }
    }

    pub fn of(channels: Vec<Channel>, rank: usize) -> Self {
        Self { channels, rank }
    }

    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// For a product: one range for all channels unless they differ.
    pub fn inputs(&self) -> Inputs<'_> {
        let same = self.channels.windows(2).all(|w| w[0] == w[1]);
        Inputs(if same { &self.channels[..self.channels.len().min(1)] } else { &self.channels })
    }

    pub fn map(&self, f: impl Fn(Channel) -> Channel) -> Self {
        Self::of(self.channels.iter().map(|c| f(*c)).collect(), self.rank)
    }

    /// One range that holds them all, for a value of `rank` axes.
    pub fn collapse(&self, rank: usize) -> Self {
        Self::of(self.channels.iter().copied().reduce(Channel::join).into_iter().collect(), rank)
    }

    /// Times powers of two, one for all or one a channel.
    pub fn scaled(&self, exponents: &[i32]) -> Option<Self> {
        let channels = common(self.channels.len(), exponents.len())?;
        let each = (0..channels).map(|c| pick(&self.channels, c).scaled(pick(exponents, c)));
        Some(Self::of(each.collect(), self.rank))
    }

    pub fn sum(&self, other: &Self) -> Option<Self> {
        let channels = common(self.channels.len(), other.channels.len())?;
        let each = (0..channels).map(|c| pick(&self.channels, c).plus(pick(&other.channels, c)));
        (self.rank == other.rank).then(|| Self::of(each.collect(), self.rank))
    }
}

/// Channels after broadcasting.
fn common(a: usize, b: usize) -> Option<usize> {
    (a == b || a == 1 || b == 1).then(|| a.max(b))
}

fn pick<T: Copy>(of: &[T], channel: usize) -> T {
    of[if of.len() == 1 { 0 } else { channel }]
}

/// The exponent, if the number is a power of two.
pub(super) fn power_of_two(x: f64) -> Option<i32> {
    let exponent = step_of(x)?;
    (x == 2f64.powi(exponent)).then_some(exponent)
}

/// The exponent of the greatest power of two that divides a number; none for 0 and what is not finite.
pub(super) fn step_of(x: f64) -> Option<i32> {
    if x == 0.0 || !x.is_normal() {
        return None;
    }
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1075;
    let mantissa = (x.to_bits() & ((1 << 52) - 1)) | (1 << 52);
    Some(exponent + mantissa.trailing_zeros() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_greatest_powers_that_divide() {
        for (x, step) in [(1.0, 0), (-12.0, 2), (0.375, -3), (127.0, 0), (2f64.powi(-40), -40)] {
            assert_eq!(step_of(x), Some(step), "{x}");
        }
        assert_eq!((step_of(0.0), step_of(f64::NAN), step_of(f64::INFINITY)), (None, None, None));
        assert_eq!((power_of_two(0.25), power_of_two(3.0), power_of_two(-2.0)), (Some(-2), None, None));
    }

    #[test]
    fn a_product_is_bounded_by_the_sum_of_magnitudes() {
        let x = Range::uniform(0.0, 127.0, 0, 2);
        let c = Channel::product(&[2.0, -3.0, 0.0], &x.inputs(), 10.0);
        let c = c.unwrap_or_else(|| Channel::new(0.0, 0.0, 0));
        assert_eq!((c.low, c.high, c.step, c.magnitude), (10.0 - 381.0, 10.0 + 254.0, 0, 10.0 + 5.0 * 127.0));
        assert_eq!(Channel::product(&[f64::NAN], &x.inputs(), 0.0), None);
    }
}
