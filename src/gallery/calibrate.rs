//! From which distance on two pictures show different things: score distributions of pairs, error rates with
//! intervals, and a threshold. What is unknown to a gallery is another question; see
//! [`crate::eval::identification`].

use super::{Gallery, Loaded, PairThreshold};
use crate::data::Dataset;
use crate::embed;
use crate::eval::bootstrap::{Unit, share};
use crate::eval::identification::{Identification, Scores as Strange, identify, left_out};
use crate::random::{below, stream};
use crate::runtime::Embedder;
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;
use std::str::FromStr;

/// False accept rates at which the true accept rate is told.
const RATES: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];
/// Of more pairs of a kind, this many are drawn (with seed 0).
const MOST_PAIRS: usize = 2_000_000;

/// Where the threshold is put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OperatingPoint {
    /// Where as many same pairs are rejected as different pairs are accepted.
    EqualErrorRate,
    /// At this false accept rate.
    FalseAcceptRate(f64),
}

impl FromStr for OperatingPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "eer" {
            return Ok(Self::EqualErrorRate);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate > 0.0 && rate < 1.0 => Ok(Self::FalseAcceptRate(rate)),
            _ => Err("give eer, or a false accept rate between 0 and 1".into()),
        }
    }
}

/// Labelled embeddings to be measured.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationSet {
    /// The embeddings.
    pub known: Loaded,
    /// Their tower's distance.
    pub distance: Distance,
    /// What they are of.
    pub data: String,
}

impl CalibrationSet {
    /// A gallery's own examples.
    ///
    /// # Errors
    /// As [`Gallery::load`].
    pub fn gallery(gallery: &Gallery) -> Result<Self> {
        let data = format!("the examples of {}", gallery.location());
        Ok(Self { known: gallery.load()?, distance: gallery.facts().distance.clone(), data })
    }

    /// A data set by a tower; `done` is told how many images are embedded.
    ///
    /// # Errors
    /// As [`embed::images`].
    pub fn set(set: Dataset, embedder: &mut dyn Embedder, done: impl FnMut(usize)) -> Result<Self> {
        let embeddings = embed::images(set.images.view(), embedder, done)?;
        let labels = set.classes.into_iter().map(|c| c.name).collect();
        let known = Loaded { labels, embeddings, classes: set.labels };
        Ok(Self { known, distance: embedder.spec().distance.clone(), data: set.name })
    }

    /// What it would tell of the unknown, were it a gallery.
    ///
    /// # Errors
    /// As [`identify`].
    pub fn identify(&self, rate: f64) -> Result<Identification> {
        let (asked, sample) = left_out(self.known.embeddings.view(), &self.known.classes, &self.distance);
        identify(&asked, sample, rate, &self.data)
    }

    /// How strange its examples would be to it, were it a gallery.
    pub fn strange(&self) -> Strange {
        let (asked, sample) = left_out(self.known.embeddings.view(), &self.known.classes, &self.distance);
        Strange::of(&asked, &sample)
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorRates {
    /// Classes with embeddings.
    pub classes: usize,
    /// Embeddings.
    pub embeddings: usize,
    /// Pairs of the same class that were measured.
    pub same_pairs: u64,
    /// Pairs of different classes that were measured.
    pub different_pairs: u64,
    /// The chance that a different pair lies farther apart than a same pair.
    pub auroc: f64,
    /// The equal error rate.
    pub equal_error_rate: f64,
    /// True accept rates at false accept rates.
    pub rates: Vec<Rate>,
    /// The threshold that was chosen.
    pub threshold: PairThreshold,
}

/// An operating point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// The false accept rate asked for.
    pub false_accept_rate: f64,
    /// Pairs at most this far apart are accepted.
    pub threshold: f32,
    /// The share of same pairs that is accepted.
    pub true_accept_rate: f64,
    /// Its 95 % interval; the pairs of a class depend on each other, so classes are the units.
    pub interval_95: [f64; 2],
}

/// The distances behind a [`ErrorRates`], each kind sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Of pairs of the same class, with the class.
    pub same: Vec<(f32, u32)>,
    /// Of pairs of different classes.
    pub different: Vec<f32>,
}

/// Measures pairs and chooses a threshold.
///
/// # Errors
/// Where there is no pair of one kind, or too few for the point.
pub fn calibrate(set: &CalibrationSet, point: OperatingPoint) -> Result<(ErrorRates, Scores)> {
    let CalibrationSet { known, distance, data } = set;
    let scores = Scores::of(known.embeddings.view(), &known.classes, distance);
    let (same, different) = (scores.same.len(), scores.different.len());
    if same == 0 || different == 0 {
        let why = format!(
            "gives {same} pairs of the same class and {different} of different ones; at least two classes, one \
             with two examples, are needed: enroll more, or name other drawings with --data"
        );
        return Err(Error::invalid(data, why));
    }
    let (eer, at_eer) = scores.equal_error_rate();
    let chosen = match point {
        OperatingPoint::EqualErrorRate => at_eer,
        OperatingPoint::FalseAcceptRate(rate) => scores.threshold_at(rate).ok_or_else(|| {
            let why = format!("has {different} different pairs, too few for a false accept rate of {rate}");
            Error::invalid(data, why)
        })?,
    };
    let rate = |&false_accept_rate: &f64| {
        let threshold = scores.threshold_at(false_accept_rate)?;
        let (true_accept_rate, interval_95) = scores.true_accept_rate(threshold);
        Some(Rate { false_accept_rate, threshold, true_accept_rate, interval_95 })
    };
    let threshold = PairThreshold {
        distance: chosen,
        chosen_at: match point {
            OperatingPoint::EqualErrorRate => "equal error rate".into(),
            OperatingPoint::FalseAcceptRate(rate) => format!("false accept rate {rate}"),
        },
        data: data.clone(),
        same_pairs: same as u64,
        different_pairs: different as u64,
        true_accept_rate: scores.true_accept_rate(chosen).0,
        false_accept_rate: scores.false_accept_rate(chosen),
        calibrated_unix_s: super::now(),
    };
    let only: Vec<f32> = scores.same.iter().map(|s| s.0).collect();
    let mut classes = known.classes.clone();
    classes.sort_unstable();
    classes.dedup();
    let rates = ErrorRates {
        classes: classes.len(),
        embeddings: known.embeddings.nrows(),
        same_pairs: same as u64,
        different_pairs: different as u64,
        auroc: crate::eval::auroc(&only, &scores.different),
        equal_error_rate: eer,
        rates: RATES.iter().filter_map(rate).collect(),
        threshold,
    };
    Ok((rates, scores))
}

impl Scores {
    /// All pairs of embeddings `[N, D]`, or, of more than two million of a kind, random ones.
    pub fn of(embeddings: ArrayView2<'_, f32>, classes: &[u32], distance: &Distance) -> Self {
        let (same, different) = pairs(classes);
        let measure = |&(a, b): &(u32, u32)| {
            crate::eval::between(distance, embeddings.row(a as usize), embeddings.row(b as usize))
        };
        let mut same: Vec<(f32, u32)> =
            same.par_iter().map(|p| (measure(p), classes[p.0 as usize])).collect();
        let mut different: Vec<f32> = different.par_iter().map(measure).collect();
        same.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        different.par_sort_unstable_by(f32::total_cmp);
        Self { same, different }
    }

    /// The share of different pairs that a threshold accepts.
    pub fn false_accept_rate(&self, threshold: f32) -> f64 {
        self.different.partition_point(|&d| d <= threshold) as f64 / self.different.len() as f64
    }

    /// The greatest threshold with at most this false accept rate; none where there are too few
    /// pairs to tell.
    pub fn threshold_at(&self, rate: f64) -> Option<f32> {
        let allowed = (rate * self.different.len() as f64 + 1e-9).floor() as usize;
        if allowed == 0 {
            return None;
        }
        // The first pair that must not be accepted, and its equals, are above the threshold.
        let Some(&next) = self.different.get(allowed) else { return self.different.last().copied() };
        Some(next.next_down())
    }

    /// The share of same pairs that a threshold accepts, with its 95 % interval over classes.
    pub fn true_accept_rate(&self, threshold: f32) -> (f64, [f64; 2]) {
        let told = share(self.same.iter().map(|&(d, class)| (Unit::class(class), d <= threshold, 1.0)));
        (told.share, told.interval_95)
    }

    /// The equal error rate and its threshold: where the share of accepted different pairs first
    /// reaches that of rejected same pairs.
    pub fn equal_error_rate(&self) -> (f64, f32) {
        let rates = |threshold: f32| {
            let accepted = self.same.partition_point(|s| s.0 <= threshold) as f64 / self.same.len() as f64;
            (self.false_accept_rate(threshold), 1.0 - accepted)
        };
        let mut places: Vec<f32> =
            self.same.iter().map(|s| s.0).chain(self.different.iter().copied()).collect();
        places.sort_unstable_by(f32::total_cmp);
        places.dedup();
        let first = places.partition_point(|&t| {
            let (accepted, rejected) = rates(t);
            accepted < rejected
        });
        let mean = |t: f32| {
            let (accepted, rejected) = rates(t);
            ((accepted - rejected).abs(), (accepted + rejected) / 2.0, t)
        };
        // Of the two neighbours the one where both rates are closer.
        let near = [first.saturating_sub(1), first.min(places.len() - 1)].map(|i| mean(places[i]));
        let best = if near[0].0 <= near[1].0 { near[0] } else { near[1] };
        (best.1, best.2)
    }
}

type Pair = (u32, u32);

/// Pairs of places: (same class, different classes).
fn pairs(classes: &[u32]) -> (Vec<Pair>, Vec<Pair>) {
    let n = classes.len();
    let mut members = HashMap::<u32, Vec<u32>>::new();
    for (i, &class) in classes.iter().enumerate() {
        members.entry(class).or_default().push(i as u32);
    }
    let mut groups: Vec<Vec<u32>> = members.into_values().collect();
    groups.sort_unstable();
    let mut rng = stream(0, "calibration pairs", n as u64, 0);
    let all_same: usize = groups.iter().map(|g| g.len() * (g.len() - 1) / 2).sum();
    let all_different = n * n.saturating_sub(1) / 2 - all_same;
    let mut same = Vec::new();
    for group in &groups {
        let here = group.len() * (group.len() - 1) / 2;
        let wanted = (here as u128 * MOST_PAIRS as u128).div_ceil(all_same.max(1) as u128) as usize;
        if all_same <= MOST_PAIRS || wanted >= here {
            same.extend((0..group.len()).flat_map(|i| (0..i).map(move |j| (group[j], group[i]))));
        } else {
            same.extend((0..wanted).map(|_| {
                let (a, b) = (below(&mut rng, group.len()), below(&mut rng, group.len() - 1));
                (group[a], group[if b >= a { b + 1 } else { b }])
            }));
        }
    }
    let apart = |&(a, b): &Pair| classes[a as usize] != classes[b as usize];
    let different = if all_different <= MOST_PAIRS {
        (0..n as u32).flat_map(|i| (0..i).map(move |j| (j, i))).filter(apart).collect()
    } else {
        let draw = std::iter::repeat_with(|| (below(&mut rng, n) as u32, below(&mut rng, n) as u32));
        draw.filter(apart).take(MOST_PAIRS).collect()
    };
    (same, different)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::Array2;

    fn known(values: &[f32], classes: &[u32]) -> Loaded {
        Loaded {
            labels: (0..=classes.iter().copied().max().unwrap_or(0)).map(|c| c.to_string()).collect(),
            embeddings: Array2::from_shape_vec((values.len(), 1), values.to_vec()).unwrap(),
            classes: classes.to_vec(),
        }
    }

    #[test]
    fn all_pairs_are_measured_and_sorted() {
        let scores = Scores::of(
            known(&[0.0, 1.0, 10.0, 12.0], &[0, 0, 1, 1]).embeddings.view(),
            &[0, 0, 1, 1],
            &Distance::L1,
        );
        assert_eq!(scores.same, [(1.0, 0), (2.0, 1)]);
        assert_eq!(scores.different, [9.0, 10.0, 11.0, 12.0]);
        assert_eq!(scores.equal_error_rate().0, 0.0);
        assert!(scores.true_accept_rate(scores.equal_error_rate().1).0 == 1.0);
    }

    #[test]
    fn rates_are_what_a_count_by_hand_gives() {
        let scores = Scores {
            same: vec![(1.0, 0), (2.0, 0), (3.0, 1), (6.0, 1)],
            different: (0..10).map(|i| 2.5 + i as f32).collect(),
        };
        // At 10 % one of ten is accepted: thresholds below 3.5.
        let t = scores.threshold_at(0.1).unwrap();
        assert!((2.5..3.5).contains(&t));
        assert_eq!((scores.false_accept_rate(t), scores.true_accept_rate(t).0), (0.1, 0.75));
        assert_eq!(scores.threshold_at(0.01), None);
        let (eer, at) = scores.equal_error_rate();
        assert_eq!((eer, at), ((0.2 + 0.25) / 2.0, 3.5));
        let [low, high] = scores.true_accept_rate(t).1;
        assert!(low <= 0.5 && high == 1.0, "{low} {high}");
    }

    #[test]
    fn equal_distances_are_on_one_side_of_a_threshold() {
        let scores = Scores { same: vec![(0.5, 0)], different: vec![1.0; 100] };
        let t = scores.threshold_at(0.1).unwrap();
        assert!(t < 1.0 && scores.false_accept_rate(t) == 0.0 && scores.true_accept_rate(t).0 == 1.0);
    }

    #[test]
    fn one_example_a_class_cannot_be_calibrated() {
        let refused = |values: &[f32], classes: &[u32], point| {
            let (known, distance) = (known(values, classes), Distance::L1);
            let set = CalibrationSet { known, distance, data: "g".into() };
            calibrate(&set, point).unwrap_err().to_string()
        };
        let error = refused(&[0.0, 1.0], &[0, 1], OperatingPoint::EqualErrorRate);
        assert!(error.contains("0 pairs of the same class"), "{error}");
        let error = refused(&[0.0, 1.0, 5.0], &[0, 0, 1], OperatingPoint::FalseAcceptRate(1e-4));
        assert!(error.contains("too few"), "{error}");
    }

    #[test]
    fn of_many_pairs_some_are_drawn() {
        let classes: Vec<u32> = (0..6000).map(|i| i / 2000).collect();
        let (same, different) = pairs(&classes);
        assert!((MOST_PAIRS..MOST_PAIRS + 3).contains(&same.len()) && different.len() == MOST_PAIRS);
        assert!(same.iter().all(|&(a, b)| a != b && classes[a as usize] == classes[b as usize]));
        assert!(different.iter().all(|&(a, b)| classes[a as usize] != classes[b as usize]));
    }
}
