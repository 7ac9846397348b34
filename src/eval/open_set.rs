//! What a tower is worth where some queries belong to none of the known classes.
//!
//! Every trial is used twice: as a known query, whose nearest class is as it is, and as an
//! unknown one, whose own class is left out. The score is the distance to the nearest class.

use super::score::Trial;
use serde::Serialize;

/// Shares of known queries that are to be accepted.
const ACCEPTED: [f64; 4] = [0.80, 0.90, 0.95, 0.99];

/// How well distances tell known queries from unknown ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenSet {
    /// The chance that an unknown query lies farther from its nearest class than a known one does
    /// (equal distances count half).
    pub auroc: f64,
    /// Thresholds and what they do.
    pub points: Vec<OpenSetPoint>,
}

/// What a threshold does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenSetPoint {
    /// Queries at most this far from their nearest class are accepted.
    pub threshold: f32,
    /// The share of known queries that is accepted.
    pub known_accepted: f64,
    /// The share of unknown queries that is rejected.
    pub unknown_rejected: f64,
    /// The share of known queries that is accepted with the right class.
    pub known_right: f64,
}

impl OpenSet {
    /// Of trials against at least two classes; none where there is no such trial.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Option<Self> {
        let trials: Vec<&Trial> = trials.into_iter().filter(|t| t.other.is_finite()).collect();
        if trials.is_empty() {
            return None;
        }
        let sorted = |score: fn(&Trial) -> f32| {
            let mut scores: Vec<f32> = trials.iter().map(|t| score(t)).collect();
            scores.sort_unstable_by(f32::total_cmp);
            scores
        };
        let known = sorted(Trial::distance);
        let unknown = sorted(|t| t.other);
        let point = |share: f64| {
            let rank = ((share * known.len() as f64).ceil() as usize).clamp(1, known.len());
            let threshold = known[rank - 1];
            let accepted = |scores: &[f32]| scores.partition_point(|&s| s <= threshold) as f64;
            let right = trials.iter().filter(|t| t.correct() && t.own <= threshold).count() as f64;
            OpenSetPoint {
                threshold,
                known_accepted: accepted(&known) / known.len() as f64,
                unknown_rejected: 1.0 - accepted(&unknown) / unknown.len() as f64,
                known_right: right / trials.len() as f64,
            }
        };
        Some(Self { auroc: auroc(&known, &unknown), points: ACCEPTED.map(point).to_vec() })
    }
}

/// The chance that a draw of `high` is above one of `low`, ties counting half; both sorted.
pub fn auroc(low: &[f32], high: &[f32]) -> f64 {
    let above: f64 = low
        .iter()
        .map(|&l| {
            let less = high.partition_point(|&h| h < l);
            let at_most = high.partition_point(|&h| h <= l);
            (high.len() - at_most) as f64 + 0.5 * (at_most - less) as f64
        })
        .sum();
    above / (low.len().max(1) as f64 * high.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn auroc_counts_pairs() {
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]), 0.5);
        assert_eq!(auroc(&[1.0, 3.0], &[2.0, 3.0]), (1.0 + 1.0 + 0.0 + 0.5) / 4.0);
    }

    #[test]
    fn a_threshold_accepts_what_it_says() {
        let trial = |own: f32, other: f32| Trial { query: 0, truth: 0, nearest: 0, own, other };
        let trials: Vec<Trial> = (0..100).map(|i| trial(i as f32, 94.5 + i as f32)).collect();
        let told = OpenSet::of(&trials).unwrap();
        let at_95 = &told.points[2];
        assert_eq!((at_95.known_accepted, at_95.threshold), (0.95, 94.0));
        assert_eq!((at_95.unknown_rejected, at_95.known_right), (1.0, 0.95));
        assert!(OpenSet::of(&[trial(1.0, f32::INFINITY)]).is_none());
    }
}
