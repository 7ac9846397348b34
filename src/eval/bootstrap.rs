//! 95 % intervals of shares whose trials depend on each other: the bootstrap over classes and drawers.
//!
//! Drawings of one character are alike, and so are those of one hand; a thousand more trials of the same
//! characters tell nothing about other characters. So what is drawn again (with replacement) is not the
//! trial but the class, and, where the data tells several, the drawer: a cell counts as often as its class
//! was drawn, times as often as its drawer was (the pigeonhole bootstrap; Owen 2007, Ann. Appl. Stat. 1(2)).
//! Percentiles of a few units are too narrow; they are taken further out, as Student's quantile is beyond the
//! normal one (expanded percentiles; Hesterberg 2015, Am. Stat. 69(4), §4.5). All of it is a function of the
//! trials alone: the seed is fixed.

use super::score::wilson;
use crate::data::Dataset;
use crate::random::{below, stream};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Draws of classes and drawers.
const REPLICATES: u64 = 1000;
/// The quantile of the normal distribution for two-sided 95 % intervals.
const Z_95: f64 = 1.959_963_984_540_054;

/// What a trial belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    /// The class that was asked.
    pub class: u32,
    /// Who drew it; the same for all where that is not known.
    pub drawer: u32,
}

impl Unit {
    /// Of a class, by nobody known.
    pub fn class(class: u32) -> Self {
        Self { class, drawer: 0 }
    }

    /// Of each image of a data set.
    pub fn of(data: &Dataset) -> Vec<Self> {
        let drawers = data.drawers.iter().map(|&drawer| u32::from(drawer));
        data.labels.iter().zip(drawers).map(|(&class, drawer)| Self { class, drawer }).collect()
    }
}

/// A share of trials, and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Share {
    /// The share.
    pub share: f64,
    /// Its interval over classes and drawers.
    pub interval_95: [f64; 2],
}

/// A difference of two shares of the same trials, and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The second share less the first.
    pub difference: f64,
    /// Its interval over classes and drawers.
    pub interval_95: [f64; 2],
}

/// What stands in a cell: the sum of what was counted, and of the weights.
type Cells = BTreeMap<Unit, [f64; 2]>;

/// The share of trials that succeeded, each `(unit, success, weight)`, and its interval; where all trials
/// are alike, Wilson's over the units, which is never a point.
pub fn share(trials: impl IntoIterator<Item = (Unit, bool, f64)>) -> Share {
    let counted =
        trials.into_iter().map(|(unit, success, weight)| (unit, if success { weight } else { 0.0 }, weight));
    let cells = cells(counted);
    let whole = whole(&cells);
    let share = ratio(whole).clamp(0.0, 1.0);
    let interval_95 = match interval(&cells) {
        Ok([low, high]) => [low.min(share), high.max(share)],
        Err(units) => {
            let units = if cells.is_empty() { 0 } else { units };
            wilson((share * units as f64).round() as u64, units as u64)
        }
    };
    Share { share, interval_95 }
}

/// By how much the share of right answers differs, each trial `(unit, right before, right after)`: the trials are the
/// same, so what both have in common falls out. Where no trial tells it another difference than the whole, it is known
/// to the point.
pub fn difference(trials: impl IntoIterator<Item = (Unit, bool, bool)>) -> Difference {
    let counted = trials.into_iter();
    let cells =
        cells(counted.map(|(unit, a, b)| (unit, f64::from(u8::from(b)) - f64::from(u8::from(a)), 1.0)));
    let difference = ratio(whole(&cells));
    let [low, high] = interval(&cells).unwrap_or([difference; 2]);
    Difference { difference, interval_95: [low.min(difference), high.max(difference)] }
}

fn cells(counted: impl Iterator<Item = (Unit, f64, f64)>) -> Cells {
    let mut cells = Cells::new();
    for (unit, value, weight) in counted {
        let cell = cells.entry(unit).or_default();
        cell[0] += value;
        cell[1] += weight;
    }
    cells
}

fn whole(cells: &Cells) -> [f64; 2] {
    cells.values().fold([0.0; 2], |sum, cell| [sum[0] + cell[0], sum[1] + cell[1]])
}

fn ratio([value, weight]: [f64; 2]) -> f64 {
    if weight > 0.0 { value / weight } else { 0.0 }
}

/// The interval of what the cells come to; the number of units where all are alike, or there are too few of them.
fn interval(cells: &Cells) -> Result<[f64; 2], usize> {
    let whole = whole(cells);
    let (classes, drawers) = (places(cells, |u| u.class), places(cells, |u| u.drawer));
    let units = [classes.len(), drawers.len()].into_iter().filter(|&n| n > 1).min().unwrap_or(1);
    let same = cells.values().all(|cell| cell[0] * whole[1] == whole[0] * cell[1]);
    if cells.is_empty() || units < 2 || same {
        return Err(units);
    }
    let cells: Vec<(usize, usize, [f64; 2])> =
        cells.iter().map(|(u, cell)| (classes[&u.class], drawers[&u.drawer], *cell)).collect();
    let mut drawn: Vec<f64> = (0..REPLICATES)
        .into_par_iter()
        .filter_map(|replicate| redrawn(&cells, [classes.len(), drawers.len()], replicate))
        .collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let tail = normal_below(-(units as f64 / (units as f64 - 1.0)).sqrt() * student_95(units - 1));
    let at = |p: f64| drawn.get(((p * drawn.len() as f64) as usize).min(drawn.len().max(1) - 1));
    Ok([tail, 1.0 - tail].map(|p| at(p).copied().unwrap_or_else(|| ratio(whole))))
}

/// The values of a part of the units, numbered.
fn places(cells: &Cells, part: fn(&Unit) -> u32) -> BTreeMap<u32, usize> {
    let values: std::collections::BTreeSet<u32> = cells.keys().map(part).collect();
    values.into_iter().zip(0..).collect()
}

/// What the cells come to after one draw of classes and drawers; none where no trial was drawn.
fn redrawn(cells: &[(usize, usize, [f64; 2])], counts: [usize; 2], replicate: u64) -> Option<f64> {
    let [classes, drawers] = [0, 1].map(|part| {
        let mut times = vec![0.0; counts[part]];
        let mut rng = stream(0, "bootstrap", replicate, part as u64);
        (0..counts[part]).for_each(|_| times[below(&mut rng, counts[part])] += 1.0);
        times
    });
    let (mut right, mut all) = (0.0, 0.0);
    for &(class, drawer, [success, weight]) in cells {
        let times = classes[class] * drawers[drawer];
        right += times * success;
        all += times * weight;
    }
    (all > 0.0).then(|| right / all)
}

/// The quantile of Student's distribution for two-sided 95 % intervals (Cornish and Fisher's expansion;
/// Abramowitz and Stegun 26.7.5).
fn student_95(freedom: usize) -> f64 {
    let (z, n) = (Z_95, freedom as f64);
    match freedom {
        0 | 1 => 12.706_204_736,
        2 => 4.302_652_730,
        _ => {
            z + (z.powi(3) + z) / (4.0 * n)
                + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
                + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * n.powi(3))
        }
    }
}

/// The share of a normal distribution below `x ≤ 0` (Abramowitz and Stegun 26.2.17: to 7.5·10⁻⁸).
fn normal_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let factors = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = factors.iter().rev().fold(0.0, |sum, factor| t * (factor + sum));
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt() * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn quantiles_agree_with_tables() {
        for (freedom, t) in [(1, 12.706), (2, 4.303), (9, 2.262), (19, 2.093), (1000, 1.962)] {
            assert_abs_diff_eq!(student_95(freedom), t, epsilon = 1e-3);
        }
        for (x, p) in [(0.0, 0.5), (-1.0, 0.158_655_3), (-Z_95, 0.025)] {
            assert_abs_diff_eq!(normal_below(x), p, epsilon = 1e-6);
        }
    }

    #[test]
    fn alike_trials_of_a_class_count_as_one() {
        // 40 classes, half of them always right: 400 trials tell no more than 40.
        let trials = |each: usize| {
            share((0..40 * each).map(|i| (Unit::class((i / each) as u32), (i / each).is_multiple_of(2), 1.0)))
        };
        let (few, many) = (trials(1), trials(10));
        assert_eq!(few, many);
        let half = 2.02 * (0.25_f64 / 39.0).sqrt();
        let [low, high] = many.interval_95;
        assert_abs_diff_eq!(low, 0.5 - half, epsilon = 0.04);
        assert_abs_diff_eq!(high, 0.5 + half, epsilon = 0.04);
    }

    #[test]
    fn what_hangs_on_drawers_is_seen() {
        // Ten hands; three of them are never read right, whatever they draw.
        let trials = (0..2000_u32).map(|i| (Unit { class: i / 10, drawer: i % 10 }, i % 10 > 2, 1.0));
        let [low, high] = share(trials).interval_95;
        assert!(low < 0.5 && high > 0.85, "{low} {high}");
    }

    #[test]
    fn where_all_are_alike_the_interval_is_no_point() {
        let all = share((0..50).map(|i| (Unit::class(i / 5), true, 1.0)));
        assert_eq!((all.share, all.interval_95), (1.0, wilson(10, 10)));
        assert_eq!(share([]).interval_95, [0.0, 1.0]);
    }

    #[test]
    fn a_difference_is_known_better_than_either_share() {
        // Every class is right or wrong by chance; a tenth of its trials are gained, whatever it is.
        let trials = (0..2000_u32).map(|i| {
            let (class, before) = (i / 20, (i / 20) % 3 > 0 && i % 10 > 0);
            (Unit::class(class), before, before || i % 10 == 0)
        });
        let told = difference(trials.clone());
        assert_abs_diff_eq!(told.difference, 0.1, epsilon = 1e-12);
        let [low, high] = told.interval_95;
        let [lowest, highest] = share(trials.map(|(unit, before, _)| (unit, before, 1.0))).interval_95;
        assert!(low <= 0.1 && high >= 0.1 && high - low < (highest - lowest) / 4.0, "{low} {high}");
        assert_eq!(
            difference([(Unit::class(0), true, true), (Unit::class(1), false, false)]).interval_95,
            [0.0; 2]
        );
    }

    /// Over many data sets of the same kind, nearly 95 % of the intervals hold the truth.
    #[test]
    fn intervals_hold_what_they_promise() {
        let (mut held, rounds) = (0, 300);
        for round in 0..rounds {
            let mut rng = stream(5, "coverage", round, 0);
            let trials: Vec<(Unit, bool, f64)> = (0..15_u32)
                .flat_map(|class| {
                    let chance = crate::random::between(&mut rng, 0.5, 1.0);
                    let hits: Vec<bool> = (0..20).map(|_| crate::random::happens(&mut rng, chance)).collect();
                    hits.into_iter().map(move |hit| (Unit::class(class), hit, 1.0))
                })
                .collect();
            let [low, high] = share(trials).interval_95;
            held += u32::from((low..=high).contains(&0.75));
        }
        assert!((276..=298).contains(&held), "{held} of {rounds}");
    }
}
