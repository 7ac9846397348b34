//! Many random galleries: whether a threshold that a gallery chose by leaving out holds on classes that it
//! never saw.

use super::{Strangeness, left_out, measure};
use crate::data::Dataset;
use crate::eval::bootstrap::{Share, Unit, share};
use crate::eval::nearest::between;
use crate::eval::score::{Score, Trial};
use crate::random::{draw, stream};
use crate::search::Index;
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::{ArrayView2, Axis};
use serde::Serialize;
use std::collections::HashSet;

/// False positive identification rates of a curve, from 10⁻³ to 1.
const CURVE: i32 = 48;

/// Which galleries.
#[derive(Clone, Debug, PartialEq)]
pub struct GallerySpec {
    /// Known classes of each.
    pub known: usize,
    /// Examples of each known class.
    pub shot: usize,
    /// Galleries.
    pub galleries: u64,
    /// Their seed.
    pub seed: u64,
    /// False positive identification rates that are asked for.
    pub rates: Vec<f64>,
}

/// What galleries did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Galleries {
    /// Known classes of each.
    pub known_classes: usize,
    /// Examples of each known class.
    pub examples: usize,
    /// Galleries.
    pub galleries: u64,
    /// How strange a query is.
    pub strangeness: Strangeness,
    /// A row for each rate that was asked for.
    pub rates: Vec<RatePoint>,
    /// (FPIR, FNIR): means over galleries, each with its best threshold in hindsight.
    pub curve: Vec<[f64; 2]>,
}

/// What came of a rate that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RatePoint {
    /// The false positive identification rate that was asked for.
    pub asked: f64,
    /// The mean of those that the galleries took: what was asked for, or the smallest that they can carry.
    pub carried: f64,
    /// Measured on classes that no gallery saw, each with one vote: mean over galleries, interval over classes and
    /// drawers.
    pub false_positives: Share,
    /// True positives with the galleries' own thresholds.
    pub true_positives: Share,
    /// True positives that the galleries themselves expected; none where they could not.
    pub expected_true_positives: Option<f64>,
    /// True positives with the best threshold in hindsight for what was asked.
    pub in_hindsight: f64,
}

/// A query of one gallery.
struct Asked {
    unit: Unit,
    strange: f32,
    /// Whether its class is known, and if so whether it is the single nearest.
    known: Option<bool>,
}

/// One gallery: its images by class, all others by what they are.
struct Draw {
    supports: Vec<Vec<usize>>,
    /// (image, the place of its class where that is known).
    queries: Vec<(usize, Option<usize>)>,
}

/// Runs them on a data set with these embeddings `[N, D]`; the accuracy of all known queries without a threshold
/// comes with the trials of the first gallery and the (first) images of its classes.
///
/// # Errors
/// Too few classes with enough images. A gallery whose threshold would reject everything, which `calibrate` does not
/// keep, is counted as one that does.
pub fn galleries(
    data: &Dataset,
    embeddings: ArrayView2<'_, f32>,
    distance: &Distance,
    spec: &GallerySpec,
) -> Result<(Galleries, Score, Vec<Trial>, Vec<usize>)> {
    let (members, able) = able(data, spec)?;
    let units = Unit::of(data);
    let mut course = Course::new(spec);
    let mut first = None;
    for number in 0..spec.galleries {
        let drawn = drawn(&members, &able, spec, number);
        let rows: Vec<usize> = drawn.supports.iter().flatten().copied().collect();
        let places: Vec<u32> = (0..rows.len()).map(|i| (i / spec.shot) as u32).collect();
        let known = embeddings.select(Axis(0), &rows);
        let (left, sample) = left_out(known.view(), &places, distance);
        let strangeness = sample.strangeness;
        let index = Index::new(known, places, distance.clone());
        let images: Vec<usize> = drawn.queries.iter().map(|q| q.0).collect();
        let found = index.search(embeddings.select(Axis(0), &images).view(), strangeness.reach().max(2));
        let asked: Vec<Asked> = drawn
            .queries
            .iter()
            .zip(&found)
            .map(|(&(image, truth), hits)| {
                let nearest: Vec<f32> = hits.iter().map(|h| h.distance).collect();
                let alone = nearest.get(1).is_none_or(|&second| nearest[0] < second);
                let known = truth.map(|t| alone && hits[0].group as usize == t);
                Asked { unit: units[image], strange: strangeness.of(&nearest), known }
            })
            .collect();
        course.take(&asked, strangeness, |rate| measure(&left, sample, rate, &data.name))?;
        first.get_or_insert(drawn);
    }
    let drawn = first.unwrap_or(Draw { supports: Vec::new(), queries: Vec::new() });
    let trials = drawn
        .queries
        .iter()
        .filter_map(|&(image, truth)| Some(trial(embeddings, distance, &drawn.supports, image, truth?)));
    let trials = trials.collect();
    let heads = drawn.supports.iter().map(|s| s[0]).collect();
    let score =
        Score::counted(course.answers.drain(..).map(|(unit, right)| (unit, right, false)), spec.known);
    Ok((course.finish(), score, trials, heads))
}

/// The images of each class, and the classes that can be known.
fn able(data: &Dataset, spec: &GallerySpec) -> Result<(Vec<Vec<usize>>, Vec<usize>)> {
    let members = data.by_class();
    let able: Vec<usize> = (0..members.len()).filter(|&c| members[c].len() > spec.shot).collect();
    let all = members.iter().filter(|m| !m.is_empty()).count();
    if able.len() < spec.known || all == spec.known {
        let why = format!(
            "has {all} classes, {} of them with more than {} images; galleries of {} classes and other classes that \
             they do not know are asked for (--way, --shot)",
            able.len(),
            spec.shot,
            spec.known
        );
        return Err(Error::invalid(&data.name, why));
    }
    Ok((members, able))
}

fn drawn(members: &[Vec<usize>], able: &[usize], spec: &GallerySpec, number: u64) -> Draw {
    let mut rng = stream(spec.seed, "gallery", number, 0);
    let known = draw(&mut rng, &mut able.to_vec(), spec.known).to_vec();
    let mut places = vec![None; members.len()];
    let mut supports = Vec::with_capacity(known.len());
    for (place, &class) in known.iter().enumerate() {
        places[class] = Some(place);
        supports.push(draw(&mut rng, &mut members[class].clone(), spec.shot).to_vec());
    }
    let held: HashSet<usize> = supports.iter().flatten().copied().collect();
    let images =
        members.iter().zip(&places).flat_map(|(images, &place)| images.iter().map(move |&i| (i, place)));
    let queries = images.filter(|(image, _)| !held.contains(image)).collect();
    Draw { supports, queries }
}

/// A known query against the nearest examples of all classes.
fn trial(
    embeddings: ArrayView2<'_, f32>,
    distance: &Distance,
    supports: &[Vec<usize>],
    query: usize,
    truth: usize,
) -> Trial {
    let mut told = Trial { query, truth, nearest: 0, own: f32::INFINITY, other: f32::INFINITY };
    let mut least = f32::INFINITY;
    for (place, images) in supports.iter().enumerate() {
        let near = images.iter().map(|&i| between(distance, embeddings.row(query), embeddings.row(i)));
        let near = near.fold(f32::INFINITY, f32::min);
        if near < least {
            (least, told.nearest) = (near, place);
        }
        if place == truth {
            told.own = near;
        } else {
            told.other = told.other.min(near);
        }
    }
    told
}

/// What was counted so far.
struct Course<'a> {
    spec: &'a GallerySpec,
    strangeness: Strangeness,
    rates: Vec<Counted>,
    fpirs: Vec<f64>,
    /// Sums over galleries of FNIR at each of these.
    fnirs: Vec<f64>,
    answers: Vec<(Unit, bool)>,
}

#[derive(Default)]
struct Counted {
    carried: f64,
    unknown: Vec<(Unit, bool, f64)>,
    known: Vec<(Unit, bool, f64)>,
    expected: Option<f64>,
    in_hindsight: f64,
}

impl<'a> Course<'a> {
    fn new(spec: &'a GallerySpec) -> Self {
        let fpirs: Vec<f64> =
            (0..=CURVE).map(|i| 10f64.powf(-3.0 + 3.0 * f64::from(i) / f64::from(CURVE))).collect();
        Self {
            spec,
            strangeness: Strangeness::among(spec.known),
            rates: spec.rates.iter().map(|_| Counted::default()).collect(),
            fnirs: vec![0.0; fpirs.len()],
            fpirs,
            answers: Vec::new(),
        }
    }

    /// Counts a gallery's queries.
    fn take(
        &mut self,
        asked: &[Asked],
        strangeness: Strangeness,
        mut identified: impl FnMut(f64) -> Result<super::Identification>,
    ) -> Result<()> {
        self.strangeness = strangeness;
        // Every unknown class has one vote, as every class that is left out has.
        let mut images = std::collections::HashMap::<u32, f64>::new();
        let strangers = || asked.iter().filter(|a| a.known.is_none());
        strangers().for_each(|a| *images.entry(a.unit.class).or_default() += 1.0);
        let vote = |unit: Unit| 1.0 / (images[&unit.class] * images.len() as f64);
        let mut unknown: Vec<(f32, f64)> = strangers().map(|a| (a.strange, vote(a.unit))).collect();
        let mut right: Vec<f32> = asked.iter().filter(|a| a.known == Some(true)).map(|a| a.strange).collect();
        unknown.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let sums = unknown.iter().scan(0.0, |sum, u| {
            *sum += u.1;
            Some(*sum)
        });
        let sums: Vec<f64> = sums.collect();
        right.sort_unstable_by(f32::total_cmp);
        let known = (asked.len() - unknown.len()) as f64;
        // With the laxest threshold at which no more unknown ones than that are accepted.
        let best = |rate: f64| {
            let allowed = sums.partition_point(|&sum| sum <= rate + 1e-9);
            let accepted = unknown.get(allowed).map_or(right.len(), |t| right.partition_point(|&r| r < t.0));
            accepted as f64 / known.max(1.0)
        };
        self.fpirs.iter().zip(&mut self.fnirs).for_each(|(&fpir, sum)| *sum += 1.0 - best(fpir));
        self.answers.extend(asked.iter().filter_map(|a| Some((a.unit, a.known?))));
        for (&rate, counted) in self.spec.rates.iter().zip(&mut self.rates) {
            let point = identified(rate)?.point;
            counted.carried += point.carried;
            counted.in_hindsight += best(rate);
            if let Some(expected) = point.true_positives {
                *counted.expected.get_or_insert(0.0) += expected.share;
            }
            for one in asked {
                let accepted = one.strange <= point.threshold;
                match one.known {
                    None => counted.unknown.push((one.unit, accepted, vote(one.unit))),
                    Some(right) => counted.known.push((one.unit, accepted && right, 1.0 / known)),
                }
            }
            counted.unknown = merged(&counted.unknown);
            counted.known = merged(&counted.known);
        }
        Ok(())
    }

    fn finish(self) -> Galleries {
        let count = self.spec.galleries.max(1) as f64;
        let row = |(&asked, counted): (&f64, Counted)| RatePoint {
            asked,
            carried: counted.carried / count,
            false_positives: share(counted.unknown),
            true_positives: share(counted.known),
            expected_true_positives: counted.expected.map(|e| e / count),
            in_hindsight: counted.in_hindsight / count,
        };
        Galleries {
            known_classes: self.spec.known,
            examples: self.spec.shot,
            galleries: self.spec.galleries,
            strangeness: self.strangeness,
            rates: self.spec.rates.iter().zip(self.rates).map(row).collect(),
            curve: self.fpirs.iter().zip(&self.fnirs).map(|(&fpir, &sum)| [fpir, sum / count]).collect(),
        }
    }
}

/// One entry for all trials of a unit that ended alike.
fn merged(trials: &[(Unit, bool, f64)]) -> Vec<(Unit, bool, f64)> {
    let mut sums = std::collections::BTreeMap::<(Unit, bool), f64>::new();
    trials.iter().for_each(|&(unit, success, weight)| *sums.entry((unit, success)).or_default() += weight);
    sums.into_iter().map(|((unit, success), weight)| (unit, success, weight)).collect()
}
