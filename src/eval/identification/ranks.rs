//! Where left-out classes stand among each other, and the threshold that follows from it.

use super::left_out::{LeftOut, Sample};
use crate::eval::bootstrap::Unit;
use std::collections::BTreeMap;

/// Sums of shares differ by no more than that for rounding.
const ROUNDING: f64 = 1e-9;

/// An example whose class was left out.
struct Strange {
    class: u32,
    strange: f32,
    /// Its share of the vote of its class.
    weight: f64,
    /// Votes of the other classes that are at most as strange when this class is not known to them.
    rank: f64,
}

/// All of them, least strange first.
pub(super) struct Ranks {
    all: Vec<Strange>,
    /// Classes that vote.
    classes: usize,
}

/// A threshold.
pub(super) struct Cut {
    pub threshold: f32,
    /// Votes below it.
    pub mass: f64,
    /// The least rate that can be carried.
    pub least: f64,
    /// What is guaranteed.
    pub bound: f64,
}

/// What changes for an example when a class near to it is taken away too.
struct Without {
    before: f32,
    after: f32,
    weight: f64,
}

impl Ranks {
    pub fn of(asked: &[LeftOut], sample: &Sample) -> Self {
        let mut counts = BTreeMap::<u32, f64>::new();
        asked.iter().for_each(|one| *counts.entry(one.class).or_default() += 1.0);
        let mut without = BTreeMap::<u32, Vec<Without>>::new();
        let mut all = Vec::with_capacity(asked.len());
        for one in asked {
            let nearest: Vec<f32> = one.others.iter().map(|o| o.1).collect();
            let (strange, weight) = (sample.strangeness.of(&nearest), 1.0 / counts[&one.class]);
            for (place, &(class, _)) in one.others.iter().enumerate().take(sample.strangeness.reach()) {
                let mut rest = nearest.clone();
                rest.remove(place);
                let after = sample.strangeness.of(&rest);
                without.entry(class).or_default().push(Without { before: strange, after, weight });
            }
            all.push(Strange { class: one.class, strange, weight, rank: 0.0 });
        }
        all.sort_by(|a, b| a.strange.total_cmp(&b.strange));
        let mut ranks = Self { all, classes: counts.len() };
        ranks.rank(&without);
        ranks
    }

    /// Ranks each example among the other classes, as they are when its own is not there.
    fn rank(&mut self, without: &BTreeMap<u32, Vec<Without>>) {
        let mut own = BTreeMap::<u32, Vec<(f32, f64)>>::new();
        self.all.iter().for_each(|s| own.entry(s.class).or_default().push((s.strange, s.weight)));
        let strange: Vec<f32> = self.all.iter().map(|s| s.strange).collect();
        let below = self.masses();
        for one in &mut self.all {
            let at = one.strange;
            let mut rank = below[strange.partition_point(|&s| s <= at)];
            rank -= own[&one.class].iter().filter(|o| o.0 <= at).map(|o| o.1).sum::<f64>();
            for w in without.get(&one.class).into_iter().flatten() {
                rank += w.weight * (f64::from(u8::from(w.after <= at)) - f64::from(u8::from(w.before <= at)));
            }
            one.rank = rank;
        }
    }

    /// Votes of the first 0, 1, 2, … examples.
    fn masses(&self) -> Vec<f64> {
        let sums = self.all.iter().scan(0.0, |sum, s| {
            *sum += s.weight;
            Some(*sum)
        });
        std::iter::once(0.0).chain(sums).collect()
    }

    /// Classes that vote.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Which examples the rule of this mass accepts when their class is left out: (unit, accepted, weight).
    pub fn accepted(&self, mass: f64) -> impl Iterator<Item = (Unit, bool, f64)> + '_ {
        self.all.iter().map(move |s| (Unit::class(s.class), s.rank <= mass + ROUNDING, s.weight))
    }

    /// The laxest threshold with at most this rate of false positives, or the strictest of all.
    pub fn cut(&self, rate: f64) -> Cut {
        let classes = self.classes as f64;
        let floor = 1.0 / (classes + 1.0);
        let mut ranks: Vec<(f64, f64)> = self.all.iter().map(|s| (s.rank, s.weight)).collect();
        ranks.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (masses, mut taken, mut accepted) = (self.masses(), 0, 0.0);
        let mut carried = |mass: f64| {
            while let Some((_, weight)) = ranks.get(taken).filter(|r| r.0 <= mass + ROUNDING) {
                accepted += weight;
                taken += 1;
            }
            (accepted / classes).max(floor)
        };
        let (mut place, mut least) = (0, 1.0);
        for (i, &mass) in masses[..self.all.len()].iter().enumerate() {
            let here = carried(mass);
            if i == 0 {
                least = here.min(1.0);
            }
            if here > rate + ROUNDING {
                break;
            }
            place = i;
        }
        // What is left out at this place, and its equals, must not be accepted.
        let threshold = self.all.get(place).map_or(f32::NEG_INFINITY, |s| s.strange.next_down());
        Cut {
            threshold,
            mass: masses[place],
            least,
            bound: ((masses[place] + 1.0) / (classes + 1.0)).min(1.0),
        }
    }

    /// Thresholds from strict to lax, with the share of left-out examples that each accepts.
    pub fn steps(&self) -> impl Iterator<Item = (f32, f64)> + '_ {
        let (masses, classes) = (self.masses(), self.classes as f64);
        self.all.iter().enumerate().map(move |(i, s)| (s.strange, masses[i + 1] / classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::identification::{Strangeness, left_out};
    use crate::random::{bell, stream};
    use crate::tower::Distance;
    use ndarray::{Array2, Axis};

    /// Ranks by leaving out twice in earnest: the gallery is made anew without the class.
    #[test]
    fn ranks_are_what_leaving_out_twice_gives() {
        let mut rng = stream(4, "ranks", 0, 0);
        let labels: Vec<u32> = (0..33).map(|i| i / 3).collect();
        let rows =
            Array2::from_shape_fn((33, 3), |(i, j)| ((i / 3 * (j + 2)) % 7) as f32 + 0.4 * bell(&mut rng));
        let (asked, sample) = left_out(rows.view(), &labels, &Distance::L2);
        let ranks = Ranks::of(&asked, &sample);
        for one in &ranks.all {
            let rest: Vec<usize> = (0..33).filter(|&i| labels[i] != one.class).collect();
            let others: Vec<u32> = rest.iter().map(|&i| labels[i]).collect();
            let (again, _) = left_out(rows.select(Axis(0), &rest).view(), &others, &Distance::L2);
            let votes = again.iter().filter(|o| {
                let nearest: Vec<f32> = o.others.iter().map(|o| o.1).collect();
                sample.strangeness.of(&nearest) <= one.strange
            });
            assert!((votes.count() as f64 / 3.0 - one.rank).abs() < 1e-6);
        }
    }

    /// Of single examples whose neighbours are nobody's neighbours it is the order statistic that
    /// conformal prediction names.
    #[test]
    fn of_single_examples_it_is_the_conformal_order_statistic() {
        let one = |class: u32| LeftOut { class, others: vec![(1000, class as f32), (1001, 1e6)], own: None };
        let asked: Vec<LeftOut> = (1..=99).map(one).collect();
        let sample = Sample { classes: 99, examples: 99, strangeness: Strangeness::among(3) };
        let cut = Ranks::of(&asked, &sample).cut(0.1);
        // (8 + 1) / 99 is within 10 %, (9 + 1) / 99 is not.
        assert_eq!((cut.threshold, cut.mass), (9.0_f32.next_down(), 8.0));
        assert!((cut.bound - 0.09).abs() < 1e-12);
        let cut = Ranks::of(&asked, &sample).cut(0.001);
        assert!(cut.threshold < 1.0 && cut.mass == 0.0 && cut.least >= 0.01);
    }
}
