//! Trials → scores with intervals. A tie is an error: a tower that maps everything to one point
//! must not look perfect.

use super::bootstrap::{Unit, share};
use serde::Serialize;

/// The quantile of the normal distribution for two-sided 95 % intervals.
const Z_95: f64 = 1.959_963_984_540_054;

/// One query against N classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The query's index, as the protocol numbers its images.
    pub query: usize,
    /// The place of its class among the N.
    pub truth: usize,
    /// The place of the nearest class; of equally near ones the lowest.
    pub nearest: usize,
    /// Distance to its own class.
    pub own: f32,
    /// Distance to the nearest other class; infinite where there is none.
    pub other: f32,
}

impl Trial {
    /// Whether its own class is nearer than every other.
    pub fn correct(&self) -> bool {
        self.own < self.other
    }

    /// Whether another class is exactly as near as its own.
    pub fn tie(&self) -> bool {
        self.own == self.other
    }

    /// Distance to the nearest class of all.
    pub fn distance(&self) -> f32 {
        self.own.min(self.other)
    }
}

/// How many trials were right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Trials whose own class was the single nearest.
    pub correct: u64,
    /// All trials.
    pub trials: u64,
    /// Trials in which another class was exactly as near; they count as errors.
    pub ties: u64,
    /// `correct / trials`.
    pub accuracy: f64,
    /// 95 % interval of the accuracy over classes and drawers (see [`super::bootstrap`]).
    pub interval_95: [f64; 2],
    /// What guessing scores: 1 / N.
    pub chance: f64,
    /// Whether the tower maps everything to nearly one point (see [`crate::tower::collapsed`]): the
    /// accuracy then says nothing.
    pub collapsed: bool,
}

impl Score {
    /// Of trials over `way` classes, each with what it belongs to.
    pub fn of<'a>(trials: impl IntoIterator<Item = (&'a Trial, Unit)>, way: usize) -> Self {
        let told = trials.into_iter().map(|(trial, unit)| (unit, trial.correct(), trial.tie()));
        Self::counted(told, way)
    }

    /// Of answers `(what it belongs to, right, a tie)`.
    pub(super) fn counted(answers: impl IntoIterator<Item = (Unit, bool, bool)>, way: usize) -> Self {
        let (mut correct, mut count, mut ties) = (0_u64, 0_u64, 0_u64);
        let interval_95 = share(answers.into_iter().map(|(unit, right, tie)| {
            count += 1;
            correct += u64::from(right);
            ties += u64::from(tie);
            (unit, right, 1.0)
        }))
        .interval_95;
        Self {
            correct,
            trials: count,
            ties,
            accuracy: ratio(correct, count),
            interval_95,
            chance: 1.0 / way.max(1) as f64,
            collapsed: false,
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Wilson's 95 % score interval of a proportion (Wilson 1927): right at 0 and 1 too.
pub fn wilson(successes: u64, trials: u64) -> [f64; 2] {
    if trials == 0 {
        return [0.0, 1.0];
    }
    let (n, p, z) = (trials as f64, ratio(successes, trials), Z_95);
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    fn trial(own: f32, other: f32) -> Trial {
        Trial { query: 0, truth: 0, nearest: usize::from(other < own), own, other }
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29.
        for (r, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let [l, h] = wilson(r, n);
            assert_abs_diff_eq!(l, low, epsilon = 5e-5);
            assert_abs_diff_eq!(h, high, epsilon = 5e-5);
        }
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn a_tie_is_an_error_and_is_counted() {
        let trials = [trial(1.0, 2.0), trial(1.0, 1.0), trial(2.0, 1.0)];
        let score = Score::of(trials.iter().zip((0..).map(Unit::class)), 2);
        assert_eq!((score.correct, score.trials, score.ties), (1, 3, 1));
        assert_eq!(score.chance, 0.5);
        let [low, high] = score.interval_95;
        assert!(low < 1.0 / 3.0 && high > 1.0 / 3.0, "{low} {high}");
    }
}
