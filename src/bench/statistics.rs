//! The statistics of measurements.

use serde::{Deserialize, Serialize};

/// The q-quantile of sorted numbers, interpolated between neighbours; NaN of none.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * share
}

/// A quantity that was measured once a round, in a process of its own each time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle of the rounds.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// Of the rounds' numbers; none of none.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = rounds.into_iter().filter(|x| x.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: quantile(&sorted, 0.5), least, greatest })
    }

    /// How far the rounds lie apart, as a share of their median: the noise.
    pub fn noise(&self) -> f64 {
        if self.median > 0.0 { (self.greatest - self.least) / self.median } else { 0.0 }
    }

    /// The same in another unit.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, least: self.least * factor, greatest: self.greatest * factor }
    }
}

/// How long one call takes, over the calls of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The fastest call, microseconds.
    pub least_us: f64,
    /// Half of the calls are at most this long, microseconds.
    pub p50_us: f64,
    /// 90 % of them.
    pub p90_us: f64,
    /// 95 % of them.
    pub p95_us: f64,
    /// 99 % of them.
    pub p99_us: f64,
    /// How many were timed.
    pub calls: usize,
}

impl Latency {
    /// Of calls in nanoseconds; none of none.
    pub fn of(mut nanoseconds: Vec<f64>) -> Option<Self> {
        nanoseconds.sort_unstable_by(f64::total_cmp);
        let least = *nanoseconds.first()?;
        let at = |q: f64| quantile(&nanoseconds, q) / 1e3;
        Some(Self {
            least_us: least / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p95_us: at(0.95),
            p99_us: at(0.99),
            calls: nanoseconds.len(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (q, x) in [(0.0, 1.0), (0.5, 3.0), (1.0, 8.0), (1.0 / 3.0, 2.0), (0.9, 6.8), (2.0, 8.0)] {
            assert_relative_eq!(quantile(&sorted, q), x);
        }
        assert!(quantile(&[], 0.5).is_nan());
        assert_relative_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn a_spread_is_that_of_its_rounds() {
        let spread = Spread::of([3.0, 1.0, f64::NAN, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, least: 1.0, greatest: 3.0 });
        assert_relative_eq!(spread.noise(), 1.0);
        assert_relative_eq!(spread.times(10.0).median, 20.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_of_a_thousand_calls() {
        let calls = (0..=1000).rev().map(|i| f64::from(i) * 1e3).collect();
        let latency = Latency::of(calls).unwrap();
        let found = [latency.least_us, latency.p50_us, latency.p90_us, latency.p95_us, latency.p99_us];
        for (found, expected) in found.into_iter().zip([0.0, 500.0, 900.0, 950.0, 990.0]) {
            assert_relative_eq!(found, expected, epsilon = 1e-9);
        }
        assert_eq!(latency.calls, 1001);
    }
}
