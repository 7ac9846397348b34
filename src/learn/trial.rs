//! How well embeddings recognise, on classes and examples that nothing was learned from.
//!
//! Three questions, cross-validated. Of classes held out: which of them is a picture, given one example of each
//! (every example in turn)? Of pictures held out from classes that were learned: which class is it, given one
//! other such picture of each? And given all pictures that were learned from? Classes are the units: pictures of
//! one class depend on each other.

use crate::random::{below, draw, stream};
use crate::search::{Hit, Index};
use crate::tower::Distance;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Parts into which classes are divided.
const CLASS_FOLDS: usize = 4;
/// Parts into which the examples of each class are divided.
const EXAMPLE_FOLDS: usize = 3;
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

/// Right answers of each class, as shares `(class, share)`; of the same folds they can be compared in pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shares {
    /// On held-out classes, from one example.
    pub new_classes: Vec<(usize, f64)>,
    /// On held-out pictures of known classes, from one example.
    pub new_pictures: Vec<(usize, f64)>,
    /// On held-out pictures of known classes, from all others.
    pub from_all: Vec<(usize, f64)>,
}

impl Shares {
    pub fn questions(&self) -> [&[(usize, f64)]; 3] {
        [&self.new_classes, &self.new_pictures, &self.from_all]
    }

    pub fn mean(shares: &[(usize, f64)]) -> Option<f64> {
        (!shares.is_empty()).then(|| shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len() as f64)
    }

    fn append(&mut self, other: Self) {
        self.new_classes.extend(other.new_classes);
        self.new_pictures.extend(other.new_pictures);
        self.from_all.extend(other.from_all);
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
        for (_, &class) in order.iter().enumerate().filter(|(place, _)| held(*place)) {
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

/// The shares of all folds, of embeddings that `make` gives for what may be learned from in the fold of a place.
pub(super) fn measure(
    folds: &[Fold],
    distance: &Distance,
    make: impl Fn(usize) -> Option<Array2<f32>> + Sync,
) -> Option<Shares> {
    let each =
        folds.par_iter().enumerate().map(|(place, fold)| Some(fold.ask(make(place)?.view(), distance)));
    let mut shares = Shares::default();
    each.collect::<Option<Vec<_>>>()?.into_iter().for_each(|part| shares.append(part));
    Some(shares)
}

impl Fold {
    /// The pictures that are asked.
    #[cfg(any(feature = "ort", test))]
    pub fn held(&self) -> Vec<usize> {
        match &self.question {
            Question::Classes(asked) => asked.iter().flat_map(|(_, pictures)| pictures).copied().collect(),
            Question::Examples(asked) => asked.iter().flatten().copied().collect(),
        }
    }

    fn ask(&self, embeddings: ArrayView2<'_, f32>, distance: &Distance) -> Shares {
        match &self.question {
            Question::Classes(asked) => {
                Shares { new_classes: one_shot(asked, embeddings, distance), ..Shares::default() }
            }
            Question::Examples(asked) => {
                let known = places(&self.learn);
                let queries = places(asked);
                let mut right = vec![0_usize; asked.len()];
                for (found, &(_, class)) in
                    nearest(embeddings, &queries, &known, distance).iter().zip(&queries)
                {
                    right[class as usize] += usize::from(*found == Some(class));
                }
                let share = |((class, queries), right): ((usize, &Vec<usize>), usize)| {
                    (!queries.is_empty()).then(|| (class, right as f64 / queries.len() as f64))
                };
                let from_all = asked.iter().enumerate().zip(right).filter_map(share).collect();
                let several = asked.iter().enumerate().filter(|(_, pictures)| pictures.len() > 1);
                let several: Vec<_> = several.map(|(class, pictures)| (class, pictures.clone())).collect();
                let new_pictures = one_shot(&several, embeddings, distance);
                Shares { new_pictures, from_all, ..Shares::default() }
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
        let at_turn = |(_, members): &(usize, Vec<usize>)| vec![members[round % members.len()]];
        let known = places(&asked.iter().map(at_turn).collect::<Vec<_>>());
        let others = |(place, (_, members)): (usize, &(usize, Vec<usize>))| {
            let known = known[place].0;
            members
                .iter()
                .filter(|&&query| query != known)
                .map(|&query| (query, place as u32))
                .collect::<Vec<_>>()
        };
        let queries: Vec<(usize, u32)> = asked.iter().enumerate().flat_map(others).collect();
        for (found, &(_, place)) in nearest(embeddings, &queries, &known, distance).iter().zip(&queries) {
            let (hits, all) = &mut right[place as usize];
            *all += 1;
            *hits += usize::from(*found == Some(place));
        }
    }
    let share = |((class, _), (right, all)): (&(usize, Vec<usize>), (usize, usize))| {
        (*class, right as f64 / all.max(1) as f64)
    };
    asked.iter().zip(right).map(share).collect()
}

/// Each picture with the place of the group that it is in.
fn places(groups: &[Vec<usize>]) -> Vec<(usize, u32)> {
    let with_place = |(place, pictures): (usize, &Vec<usize>)| {
        pictures.iter().map(|&picture| (picture, place as u32)).collect::<Vec<_>>()
    };
    groups.iter().enumerate().flat_map(with_place).collect()
}

/// The group of the nearest known picture, for each query; none where two groups are equally near.
fn nearest(
    embeddings: ArrayView2<'_, f32>,
    queries: &[(usize, u32)],
    known: &[(usize, u32)],
    distance: &Distance,
) -> Vec<Option<u32>> {
    let rows = |of: &[(usize, u32)]| {
        embeddings.select(Axis(0), &of.iter().map(|(picture, _)| *picture).collect::<Vec<_>>())
    };
    let index = Index::new(rows(known), known.iter().map(|(_, group)| *group).collect(), distance.clone());
    let one = |hits: Vec<Hit>| match hits.as_slice() {
        [first, second, ..] if first.distance == second.distance => None,
        [first, ..] => Some(first.group),
        [] => None,
    };
    index.search(rows(queries).view(), 2).into_iter().map(one).collect()
}

/// Resamples of classes for an interval.
const RESAMPLES: u64 = 2000;

/// How much better `new` is than `old` on the same classes: the mean difference of shares, all questions
/// together, and its 95 % interval by a bootstrap over classes (Efron 1979, percentiles).
pub(super) fn gain(old: &Shares, new: &Shares) -> (f64, [f64; 2]) {
    let pairs = old.questions().into_iter().zip(new.questions());
    difference(pairs.flat_map(|(old, new)| old.iter().zip(new)))
}

/// Whether `new` is surely worse than `old` at one of the questions.
pub(super) fn surely_worse(old: &Shares, new: &Shares) -> bool {
    let mut pairs = old.questions().into_iter().zip(new.questions());
    pairs.any(|(old, new)| difference(old.iter().zip(new)).1[1] < 0.0)
}

fn difference<'a>(pairs: impl Iterator<Item = (&'a (usize, f64), &'a (usize, f64))>) -> (f64, [f64; 2]) {
    let mut by_class: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for ((class, old), (_, new)) in pairs {
        let entry = by_class.entry(*class).or_default();
        *entry = (entry.0 + new - old, entry.1 + 1);
    }
    let gains: Vec<f64> = by_class.values().map(|(sum, count)| sum / *count as f64).collect();
    if gains.is_empty() {
        return (0.0, [0.0; 2]);
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / gains.len() as f64;
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|resample| {
            let mut rng = stream(0, "bootstrap over classes", resample, 0);
            mean(&mut (0..gains.len()).map(|_| gains[below(&mut rng, gains.len())]))
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
    (mean(&mut gains.iter().copied()), [at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12 classes of 6 pictures.
    fn members() -> Vec<Vec<usize>> {
        (0..12).map(|class| (6 * class..6 * class + 6).collect()).collect()
    }

    #[test]
    fn every_class_and_every_picture_is_held_out_once_and_learned_from_never() {
        let folds = folds(&members(), 0);
        let (mut classes, mut pictures) = (Vec::new(), Vec::new());
        for fold in &folds {
            let learned: Vec<usize> = fold.learn.iter().flatten().copied().collect();
            let held = fold.held();
            match &fold.question {
                Question::Classes(asked) => classes.extend(asked.iter().map(|(class, _)| *class)),
                Question::Examples(_) => pictures.extend(&held),
            }
            assert!(held.iter().all(|picture| !learned.contains(picture)));
        }
        classes.sort_unstable();
        pictures.sort_unstable();
        assert_eq!((classes, pictures), ((0..12).collect(), (0..72).collect()));
    }

    #[test]
    fn the_gain_is_by_class_and_its_interval_holds_it() {
        let shares = |by: f64| Shares {
            new_classes: (0..20).map(|class| (class, 0.5 + by * (class % 2) as f64)).collect(),
            ..Shares::default()
        };
        let (mean, [low, high]) = gain(&shares(0.0), &shares(0.2));
        assert!((mean - 0.1).abs() < 1e-12 && low > 0.04 && high < 0.16, "{mean} {low} {high}");
        assert!(!surely_worse(&shares(0.0), &shares(0.2)) && surely_worse(&shares(0.2), &shares(0.0)));
    }

    #[test]
    fn nothing_is_asked_of_one_class() {
        let (mean, interval) = gain(&Shares::default(), &Shares::default());
        assert_eq!((mean, interval), (0.0, [0.0; 2]));
        assert!(folds(&[vec![0, 1]], 0).iter().all(|fold| matches!(fold.question, Question::Examples(_))));
    }
}
