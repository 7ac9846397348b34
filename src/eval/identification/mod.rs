//! Open-set identification: a query meets every class of a gallery, and may be of none of them.
//!
//! What counts is told by two rates (ISO/IEC 19795-1; NIST's FRVT part 2). The **false positive
//! identification rate** (FPIR) is the share of pictures of unknown classes that are taken for a known one; it
//! grows with the gallery, so it cannot be told by pairs. The **true positive identification rate** (TPIR) is
//! the share of pictures of known classes that are accepted with the right class; FNIR = 1 − TPIR.
//!
//! # The threshold
//! Each class is left out in turn and its examples are asked of the rest: C classes give C strange things.
//! Examples of one class are alike, so classes are the units: every class has one vote, which its examples
//! share (hierarchical conformal prediction; Dunn, Wasserman, Ramdas 2022; Lee, Barber, Willett 2023). A rule
//! accepts what is less strange than all but votes of mass m of those left out. Where the classes are
//! exchangeable with what will be asked, an unknown class comes to stand among C + 1 alike places, and is
//! accepted with probability at most (m + 1) / (C + 1), for any distribution and any number of classes (Vovk,
//! Gammerman, Shafer 2005; Angelopoulos, Bates 2023). That is [`Point::bound`].
//!
//! It is pessimistic, as an unknown class of which one picture is asked is counted as if all its pictures were
//! as near as that one; and optimistic, as two classes that are each other's nearest stop being strange when
//! both are known: each was measured without the other. Both are measured by leaving out twice: with class c
//! away, all others are left out in turn of what remains, and it is counted whether the rule of the same mass
//! would accept c. For a given m that share is an unbiased estimate for a gallery of C − 1 classes, by
//! exchangeability alone. The greatest m whose share is within the wish is taken, if the wish is not below
//! 1 / (C + 1), which no C classes can tell. One class more makes the rate at most C / (C − 1) times as large: of C
//! classes that hold one near enough, C − 1 still do after one was taken away at random in (C − 1) / C of the
//! cases. All are order statistics: nothing is drawn. What is promised is a mean over galleries and unknown
//! classes; one gallery of few classes may be off by some points, which the interval tells.
//!
//! # How strange a query is
//! See [`Strangeness`].

mod galleries;
mod left_out;
mod ranks;

pub use crate::recognise::Strangeness;
pub use galleries::{Galleries, GallerySpec, RatePoint, galleries};
pub use left_out::{LeftOut, Sample, left_out};

use super::bootstrap::{Share, Unit, share};
use crate::{Error, Result};
use ranks::Ranks;
use serde::{Deserialize, Serialize};

/// The false positive identification rate that is asked for where nothing else is.
pub const USUAL: f64 = 0.05;
/// Rates that are told beside the one that was asked for.
const RATES: [f64; 6] = [0.2, 0.1, 0.05, 0.02, 0.01, 0.001];
/// Points of a curve.
const CURVE: usize = 200;

/// A threshold, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The false positive identification rate that was asked for.
    pub asked: f64,
    /// The one that was taken: what was asked for, or the smallest that so few classes can tell.
    pub carried: f64,
    /// What is at most this strange is accepted.
    pub threshold: f32,
    /// False positives among classes left out, over classes.
    pub false_positives: Share,
    /// What conformal prediction guarantees.
    pub bound: f64,
    /// True positives among examples left out; none where no class has two examples.
    pub true_positives: Option<Share>,
}

/// What leaving out tells of a gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identification {
    /// Classes of the gallery.
    pub classes: usize,
    /// Its examples.
    pub examples: usize,
    /// Examples that were left out and asked: all, or of large galleries a sample.
    pub asked_examples: usize,
    /// Their classes.
    pub asked_classes: usize,
    /// How strange a query is.
    pub strangeness: Strangeness,
    /// The point that was asked for.
    pub point: Point,
    /// Other points.
    pub points: Vec<Point>,
    /// The share of left-out examples whose nearest class is theirs, without any threshold.
    pub rank_one: Option<Share>,
    /// (FPIR, FNIR) as the threshold rises; empty where no class has two examples.
    pub curve: Vec<[f64; 2]>,
}

impl Point {
    /// Whether fewer false positives were asked for than the gallery can tell.
    pub fn is_short(&self) -> bool {
        self.carried > self.asked
    }
}

/// Chooses the threshold of a gallery, called `at` in errors, from what [`left_out`] found in it.
///
/// # Errors
/// Fewer than three classes; a threshold that would reject everything.
pub fn identify(asked: &[LeftOut], sample: Sample, rate: f64, at: &str) -> Result<Identification> {
    let found = measure(asked, sample, rate, at)?;
    if found.point.true_positives.is_some_and(|t| t.share == 0.0) {
        let why = format!(
            "keeps no threshold: the one for {:.2} % of false positives would reject every known picture too; ask \
             for more with --false-positives, enroll more examples of each class, or take another tower",
            100.0 * found.point.carried
        );
        return Err(Error::invalid(at, why));
    }
    Ok(found)
}

/// As [`identify`], also where the threshold rejects everything.
fn measure(asked: &[LeftOut], sample: Sample, rate: f64, at: &str) -> Result<Identification> {
    if sample.classes < 3 {
        let why = format!(
            "has {} classes; whether something is unknown can be told where three or more are known: enroll more",
            sample.classes
        );
        return Err(Error::invalid(at, why));
    }
    let strangeness = sample.strangeness;
    let ranks = Ranks::of(asked, &sample);
    let trials = known(asked, strangeness);
    let point = |rate| point(&ranks, &trials, rate);
    let chosen = point(rate);
    let others = RATES.iter().filter(|&&r| r != rate).map(|&r| point(r)).filter(|p| !p.is_short());
    Ok(Identification {
        classes: sample.classes,
        examples: sample.examples,
        asked_examples: asked.len(),
        asked_classes: ranks.classes(),
        strangeness,
        points: others.collect(),
        rank_one: share_of(&trials, |t| t.right),
        curve: curve(&ranks, &trials),
        point: chosen,
    })
}

/// How strange examples are to a gallery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Those whose class it knows by other examples.
    pub known: Vec<f64>,
    /// Those whose class was left out.
    pub strange: Vec<f64>,
}

impl Scores {
    /// Of what [`left_out`] found.
    pub fn of(asked: &[LeftOut], sample: &Sample) -> Self {
        let strange = |one: &LeftOut| {
            let nearest: Vec<f32> = one.others.iter().map(|o| o.1).collect();
            f64::from(sample.strangeness.of(&nearest))
        };
        let known = known(asked, sample.strangeness).iter().map(|k| f64::from(k.strange)).collect();
        Self { known, strange: asked.iter().map(strange).collect() }
    }
}

/// An example that was asked of a gallery that knows its class by others.
struct Known {
    class: u32,
    strange: f32,
    right: bool,
    weight: f64,
}

fn known(asked: &[LeftOut], strangeness: Strangeness) -> Vec<Known> {
    let mut trials: Vec<Known> = asked
        .iter()
        .filter_map(|one| {
            let (own, right) = (one.own?, one.others.first().is_none_or(|&(_, d)| one.own < Some(d)));
            let mut nearest: Vec<f32> = one.others.iter().map(|o| o.1).chain([own]).collect();
            nearest.sort_unstable_by(f32::total_cmp);
            Some(Known { class: one.class, strange: strangeness.of(&nearest), right, weight: 1.0 })
        })
        .collect();
    let mut counts = std::collections::HashMap::<u32, f64>::new();
    trials.iter().for_each(|t| *counts.entry(t.class).or_default() += 1.0);
    trials.iter_mut().for_each(|t| t.weight = 1.0 / counts[&t.class]);
    trials
}

fn share_of(trials: &[Known], success: impl Fn(&Known) -> bool) -> Option<Share> {
    let told = trials.iter().map(|t| (Unit::class(t.class), success(t), t.weight));
    (!trials.is_empty()).then(|| share(told))
}

fn point(ranks: &Ranks, trials: &[Known], asked: f64) -> Point {
    let cut = ranks.cut(asked);
    Point {
        asked,
        carried: asked.max(cut.least),
        threshold: cut.threshold,
        false_positives: share(ranks.accepted(cut.mass)),
        bound: cut.bound,
        true_positives: share_of(trials, |t| t.right && t.strange <= cut.threshold),
    }
}

/// The detection error trade-off of what was left out.
fn curve(ranks: &Ranks, trials: &[Known]) -> Vec<[f64; 2]> {
    if trials.is_empty() {
        return Vec::new();
    }
    let whole: f64 = trials.iter().map(|t| t.weight).sum();
    let mut right: Vec<(f32, f64)> =
        trials.iter().filter(|t| t.right).map(|t| (t.strange, t.weight / whole)).collect();
    right.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut taken, mut accepted) = (0, 0.0);
    let mut all = Vec::new();
    for (threshold, false_positives) in ranks.steps() {
        while let Some((_, weight)) = right.get(taken).filter(|r| r.0 <= threshold) {
            accepted += weight;
            taken += 1;
        }
        all.push([false_positives, (1.0_f64 - accepted).max(0.0)]);
    }
    let each = all.len().div_ceil(CURVE).max(1);
    // Dense where false positives are rare.
    all.iter().enumerate().filter(|(i, _)| *i < CURVE / 2 || i % each == 0).map(|(_, p)| *p).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::{bell, stream};
    use crate::tower::Distance;
    use ndarray::Array2;

    /// Classes around random centres, `each` examples of each class `[classes · each, 8]`.
    fn world(classes: usize, each: usize, seed: u64) -> (Array2<f32>, Vec<u32>) {
        let mut rng = stream(seed, "identification", 0, 0);
        let mut rows = Array2::zeros((classes * each, 8));
        for class in 0..classes {
            let centre: Vec<f32> = (0..8).map(|_| bell(&mut rng)).collect();
            for i in 0..each {
                let mut row = rows.row_mut(class * each + i);
                row.iter_mut().zip(&centre).for_each(|(x, c)| *x = c + 0.3 * bell(&mut rng));
            }
        }
        (rows, (0..classes * each).map(|i| (i / each) as u32).collect())
    }

    fn told(classes: usize, each: usize, rate: f64, seed: u64) -> Result<Identification> {
        let (rows, labels) = world(classes, each, seed);
        let (asked, sample) = left_out(rows.view(), &labels, &Distance::L2);
        identify(&asked, sample, rate, "g")
    }

    #[test]
    fn a_wish_that_few_classes_cannot_carry_gets_the_smallest_they_can() {
        let found = told(20, 3, 0.01, 1).unwrap();
        assert!(found.point.is_short() && found.point.carried >= 1.0 / 21.0, "{:?}", found.point);
        assert!(found.point.carried < 0.15 && found.point.true_positives.unwrap().share > 0.3);
        let found = told(60, 3, 0.1, 1).unwrap();
        assert!(!found.point.is_short() && found.point.false_positives.share <= 0.1);
        assert!(found.points.windows(2).all(|p| p[0].threshold >= p[1].threshold));
    }

    #[test]
    fn where_no_class_has_two_examples_only_false_positives_are_told() {
        let found = told(40, 1, 0.1, 2).unwrap();
        assert!(found.point.true_positives.is_none() && found.rank_one.is_none() && found.curve.is_empty());
        assert!(found.point.false_positives.share > 0.0);
    }

    #[test]
    fn too_few_classes_and_thresholds_that_reject_everything_are_refused() {
        let why = told(2, 3, 0.1, 1).unwrap_err().to_string();
        assert!(why.contains("has 2 classes"), "{why}");
        let rows = Array2::<f32>::ones((30, 4));
        let labels: Vec<u32> = (0..30).map(|i| i / 3).collect();
        let (asked, sample) = left_out(rows.view(), &labels, &Distance::L2);
        let why = identify(&asked, sample, 0.2, "g").unwrap_err().to_string();
        assert!(why.contains("reject every known picture"), "{why}");
    }

    /// Over many galleries, unknown classes are accepted as often as was asked.
    #[test]
    fn unknown_classes_are_accepted_as_often_as_was_asked() {
        for (classes, rate) in [(20, 0.1), (60, 0.05)] {
            let (mut accepted, mut all) = (0, 0);
            for seed in 0..40 {
                let (rows, labels) = world(classes + 40, 3, 100 + seed);
                let known = classes * 3;
                let (gallery, unknown) = rows.view().split_at(ndarray::Axis(0), known);
                let (asked, sample) = left_out(gallery, &labels[..known], &Distance::L2);
                let strangeness = sample.strangeness;
                let found = identify(&asked, sample, rate, "g").unwrap();
                let index =
                    crate::search::Index::new(gallery.to_owned(), labels[..known].to_vec(), Distance::L2);
                for hits in index.search(unknown, strangeness.reach()) {
                    let nearest: Vec<f32> = hits.iter().map(|h| h.distance).collect();
                    accepted += u32::from(strangeness.of(&nearest) <= found.point.threshold);
                    all += 1;
                }
            }
            let measured = f64::from(accepted) / f64::from(all);
            assert!((0.5 * rate..rate + 0.02).contains(&measured), "{classes}: {measured}");
        }
    }
    /// Classes that come in families, two of three known: those that are each other's nearest are strange only
    /// while one of them is away, which leaving out twice takes into account.
    #[test]
    fn families_of_classes_are_no_exception() {
        let (rate, each, classes, known) = (0.1, 3, 120, 80);
        let (mut accepted, mut all) = (0, 0);
        for seed in 0..40 {
            let mut rng = stream(seed, "families", 0, 0);
            let mut rows = Array2::zeros((classes * each, 8));
            for family in 0..classes / 3 {
                let centre: Vec<f32> = (0..8).map(|_| bell(&mut rng)).collect();
                for class in 3 * family..3 * family + 3 {
                    let own: Vec<f32> = centre.iter().map(|c| c + 0.5 * bell(&mut rng)).collect();
                    for i in 0..each {
                        let mut row = rows.row_mut(class * each + i);
                        row.iter_mut().zip(&own).for_each(|(x, c)| *x = c + 0.2 * bell(&mut rng));
                    }
                }
            }
            let mut order: Vec<usize> = (0..classes).collect();
            let order = crate::random::draw(&mut rng, &mut order, classes).to_vec();
            let pictures = |some: &[usize]| -> Vec<usize> {
                some.iter().flat_map(|class| class * each..(class + 1) * each).collect()
            };
            let gallery = rows.select(ndarray::Axis(0), &pictures(&order[..known]));
            let unknown = rows.select(ndarray::Axis(0), &pictures(&order[known..]));
            let labels: Vec<u32> = (0..known * each).map(|i| (i / each) as u32).collect();
            let (asked, sample) = left_out(gallery.view(), &labels, &Distance::L2);
            let found = identify(&asked, sample, rate, "g").unwrap();
            let index = crate::search::Index::new(gallery, labels, Distance::L2);
            for hits in index.search(unknown.view(), sample.strangeness.reach()) {
                let nearest: Vec<f32> = hits.iter().map(|h| h.distance).collect();
                accepted += u32::from(sample.strangeness.of(&nearest) <= found.point.threshold);
                all += 1;
            }
        }
        let measured = f64::from(accepted) / f64::from(all);
        assert!((0.08..rate + 0.015).contains(&measured), "{measured}");
    }
}
