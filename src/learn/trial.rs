//! How well embeddings recognise, on classes and examples that nothing was learned from.
//!
//! Two questions, each cross-validated: of classes held out, which of them is a picture, given one example of
//! each (every example in turn)? And of classes that were learned, which is a picture held out, given the
//! others? Classes are the units: pictures of one class depend on each other.

use super::Material;
use crate::eval::between;
use crate::random::{draw, stream};
use crate::tower::Distance;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Parts into which classes are divided.
const CLASS_FOLDS: usize = 4;
/// Parts into which the examples of each class are divided.
const EXAMPLE_FOLDS: usize = 2;
/// Fewer classes in a part are no test.
const FEWEST_CLASSES: usize = 3;

/// Where something is learned, and where it is tried.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    /// Pictures to learn from, by class.
    pub learn: Vec<Vec<usize>>,
    question: Question,
}

#[derive(Clone, Debug)]
enum Question {
    /// Pictures of held-out classes, with the places of the classes.
    Classes(Vec<(usize, Vec<usize>)>),
    /// Held-out pictures of each class; the known ones are those that were learned from.
    Examples(Vec<Vec<usize>>),
}

/// Right answers of each class and question, as shares; of the same folds they can be compared in pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shares {
    /// On held-out classes, from one example: `(class, share)`.
    pub classes: Vec<(usize, f64)>,
    /// On held-out examples of known classes.
    pub examples: Vec<(usize, f64)>,
}

impl Shares {
    pub fn mean(shares: &[(usize, f64)]) -> Option<f64> {
        (!shares.is_empty()).then(|| shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len() as f64)
    }

    fn append(&mut self, other: Self) {
        self.classes.extend(other.classes);
        self.examples.extend(other.examples);
    }
}

/// The folds of these pictures; the same for a seed.
pub(super) fn folds(members: &[Vec<usize>], seed: u64) -> Vec<Fold> {
    let mut usable: Vec<usize> = (0..members.len()).filter(|&class| members[class].len() > 1).collect();
    let count = usable.len();
    let order = draw(&mut stream(seed, "folds of classes", 0, 0), &mut usable, count).to_vec();
    let parts = (count / FEWEST_CLASSES).min(CLASS_FOLDS);
    let of_classes = (0..if parts < 2 { 0 } else { parts }).map(|part| {
        let held = |place: usize| place % parts == part;
        let mut learn = members.to_vec();
        let mut asked = Vec::new();
        for (place, &class) in order.iter().enumerate().filter(|(place, _)| held(*place)) {
            let _ = place;
            asked.push((class, std::mem::take(&mut learn[class])));
        }
        Fold { learn, question: Question::Classes(asked) }
    });
    let of_examples = (0..EXAMPLE_FOLDS).map(|part| {
        let split = |class: usize| {
            let mut all = members[class].clone();
            let count = all.len();
            let mixed =
                draw(&mut stream(seed, "folds of examples", class as u64, 0), &mut all, count).to_vec();
            let held = |place: usize| count > 1 && place % EXAMPLE_FOLDS == part;
            let pick = |wanted: bool| {
                let chosen = mixed.iter().enumerate().filter(move |(place, _)| held(*place) == wanted);
                chosen.map(|(_, &image)| image).collect::<Vec<_>>()
            };
            (pick(false), pick(true))
        };
        let (learn, asked) = (0..members.len()).map(split).unzip();
        Fold { learn, question: Question::Examples(asked) }
    });
    of_classes.chain(of_examples).collect()
}

/// The shares of all folds, of embeddings that `make` gives for what may be learned from in each.
pub(super) fn measure(
    material: &Material,
    folds: &[Fold],
    distance: &Distance,
    make: impl Fn(&Fold) -> Option<Array2<f32>> + Sync,
) -> Option<Shares> {
    let each = folds.par_iter().map(|fold| Some(fold.ask(make(fold)?.view(), &material.labels, distance)));
    let mut shares = Shares::default();
    each.collect::<Option<Vec<_>>>()?.into_iter().for_each(|part| shares.append(part));
    Some(shares)
}

impl Fold {
    fn ask(&self, embeddings: ArrayView2<'_, f32>, labels: &[u32], distance: &Distance) -> Shares {
        match &self.question {
            Question::Classes(asked) => {
                Shares { classes: one_shot(asked, embeddings, distance), ..Shares::default() }
            }
            Question::Examples(asked) => {
                let known: Vec<usize> = self.learn.iter().flatten().copied().collect();
                let share = |(class, queries): (usize, &Vec<usize>)| {
                    let right = |&&query: &&usize| {
                        nearest(embeddings, query, &known, distance)
                            .is_some_and(|i| labels[i] as usize == class)
                    };
                    let count = queries.iter().filter(right).count();
                    (!queries.is_empty()).then(|| (class, count as f64 / queries.len() as f64))
                };
                let examples = asked.iter().enumerate().filter_map(share).collect();
                Shares { examples, ..Shares::default() }
            }
        }
    }
}

/// Every example in turn is the known one of its class, beside the examples at the same place of the others.
fn one_shot(
    asked: &[(usize, Vec<usize>)],
    embeddings: ArrayView2<'_, f32>,
    distance: &Distance,
) -> Vec<(usize, f64)> {
    let rounds = asked.iter().map(|(_, members)| members.len()).max().unwrap_or(0);
    let mut right = vec![(0_usize, 0_usize); asked.len()];
    for round in 0..rounds {
        let known: Vec<usize> = asked.iter().map(|(_, members)| members[round % members.len()]).collect();
        for (place, (_, members)) in asked.iter().enumerate() {
            for &query in members.iter().filter(|&&query| query != known[place]) {
                right[place].1 += 1;
                right[place].0 +=
                    usize::from(nearest(embeddings, query, &known, distance) == Some(known[place]));
            }
        }
    }
    let share = |((class, _), (right, all)): (&(usize, Vec<usize>), (usize, usize))| {
        (*class, right as f64 / all.max(1) as f64)
    };
    asked.iter().zip(right).map(share).collect()
}

/// The nearest of `known`; none where two are equally near.
fn nearest(
    embeddings: ArrayView2<'_, f32>,
    query: usize,
    known: &[usize],
    distance: &Distance,
) -> Option<usize> {
    let row = embeddings.index_axis(Axis(0), query);
    let mut best: (f32, Option<usize>) = (f32::INFINITY, None);
    for &candidate in known {
        let apart = between(distance, row, embeddings.index_axis(Axis(0), candidate));
        if apart < best.0 {
            best = (apart, Some(candidate));
        } else if apart == best.0 && best.1.is_some_and(|other| other != candidate) {
            best.1 = None;
        }
    }
    best.1
}

/// Resamples of classes for an interval.
const RESAMPLES: u64 = 2000;

/// How much better `new` is than `old` on the same classes: the mean difference of shares, both questions
/// together, and its 95 % interval by a bootstrap over classes (Efron 1979, percentiles).
pub(super) fn gain(old: &Shares, new: &Shares) -> (f64, [f64; 2]) {
    let mut by_class: std::collections::BTreeMap<usize, (f64, usize)> = std::collections::BTreeMap::new();
    let pairs = old.classes.iter().zip(&new.classes).chain(old.examples.iter().zip(&new.examples));
    for ((class, old), (_, new)) in pairs {
        let entry = by_class.entry(*class).or_default();
        *entry = (entry.0 + new - old, entry.1 + 1);
    }
    let gains: Vec<f64> = by_class.values().map(|(sum, count)| sum / *count as f64).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), x| (sum + x, count + 1));
        sum / count.max(1) as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|resample| {
            let mut rng = stream(0, "bootstrap over classes", resample, 0);
            mean(&mut (0..gains.len()).map(|_| gains[crate::random::below(&mut rng, gains.len())]))
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
    (mean(&mut gains.iter().copied()), [at(0.025), at(0.975)])
}
