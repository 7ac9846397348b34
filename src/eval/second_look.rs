//! What a second look at the nearest classes makes of a protocol's questions.
//!
//! The questions are those that the tower was asked. Its nearest classes are put in order anew by a [`SecondLook`]; a
//! class beyond them stays behind them. The gain is told with an interval of its own: the same questions are asked
//! twice, so the difference is known better than either share. Where another tower looks too, the questions are the same
//! pictures as it sees them, and what it gains over the copies alone is told as well.

use super::bootstrap::{Difference, Unit, difference};
use super::nearest::{between, episode_trials, nearest};
use super::protocol::Course;
use super::score::{Score, Trial};
use crate::data::Dataset;
use crate::image::Preprocessing;
use crate::recognise::prototypes;
use crate::sample::EpisodeSampler;
use crate::second_look::{COPIES, REACH, SecondLook};
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::{Array2, Array4, ArrayView1, ArrayView2, ArrayView4, Axis};
use rayon::prelude::*;
use serde::Serialize;
use std::time::Instant;

/// What a second look gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecondLookResult {
    /// Copies of each picture that are embedded beside it.
    pub copies: usize,
    /// The other tower that looked, by its name, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_tower: Option<String>,
    /// SHA-256 of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_tower_sha256: Option<String>,
    /// Accuracies after it, in the order of those before it.
    pub figures: Vec<SecondFigure>,
    /// Pictures that were looked at again, each once for each figure.
    pub pictures: u64,
    /// Seconds that took.
    pub seconds: f64,
    /// What a picture took, microseconds; what is known needs it once, each question for its own picture.
    pub us_per_picture: f64,
}

/// One accuracy after a second look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecondFigure {
    /// What was asked.
    pub what: String,
    /// The answer.
    pub score: Score,
    /// The accuracy less that of the tower alone.
    pub gain: Difference,
    /// The accuracy less that of a second look by the tower's own copies, where another tower looked too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_of_other: Option<Difference>,
}

/// The pictures of a protocol, for all who look.
pub(super) struct Shown<'a> {
    /// As the tower sees them that was asked: `[N, C, S, S]`.
    pub own: ArrayView4<'a, u8>,
    /// As another one does.
    pub other: &'a dyn Fn(&Preprocessing) -> Result<Array4<u8>>,
}

/// What one tower made of the pictures that were looked at: the means `[N, D]`, and how they are compared.
struct Sight {
    means: Array2<f32>,
    distance: Distance,
}

/// A question that the tower has answered.
pub(super) struct Question {
    /// The image that is asked about.
    query: usize,
    /// The place of its class.
    truth: usize,
    /// The nearest classes, nearest first: the place, and the known images.
    near: Vec<(usize, Vec<usize>)>,
}

impl Question {
    /// A query `[D]` to prototypes `[N, D]`; `known` gives the images of a place.
    pub(super) fn of(
        prototypes: ArrayView2<'_, f32>,
        embedding: ArrayView1<'_, f32>,
        (query, truth): (usize, usize),
        distance: &Distance,
        known: impl Fn(usize) -> Vec<usize>,
    ) -> Self {
        let near = nearest(prototypes, embedding, distance, REACH).into_iter();
        Self { query, truth, near: near.map(|place| (place, known(place))).collect() }
    }

    /// The questions of episodes `0 .. count`, in the order of [`super::episode_trials`].
    pub(super) fn of_episodes(
        embeddings: ArrayView2<'_, f32>,
        distance: &Distance,
        sampler: &EpisodeSampler,
        count: u64,
    ) -> Vec<Self> {
        let of_one = |k: u64| {
            let episode = sampler.episode(k);
            let known = prototypes(embeddings, &episode.supports);
            let ask = |&(image, place): &(usize, usize)| {
                let supports = |place: usize| episode.supports[place].clone();
                Self::of(known.view(), embeddings.row(image), (image, place), distance, supports)
            };
            episode.queries.iter().map(ask).collect::<Vec<_>>()
        };
        (0..count).into_par_iter().flat_map_iter(of_one).collect()
    }

    /// The images that it takes.
    fn images(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.query).chain(self.near.iter().flat_map(|(_, known)| known.iter().copied()))
    }

    /// The trial after a second look by some towers at the images at `places`.
    fn trial(&self, sights: &[Sight], places: &[usize]) -> Trial {
        let (own, other) = (f32::INFINITY, f32::INFINITY);
        let mut told = Trial { query: self.query, truth: self.truth, nearest: 0, own, other };
        let mut least = f32::INFINITY;
        for (&(place, _), d) in self.near.iter().zip(self.distances(sights, places)) {
            if d < least {
                (least, told.nearest) = (d, place);
            }
            if place == self.truth {
                told.own = d;
            } else {
                told.other = told.other.min(d);
            }
        }
        told
    }

    /// The distances of the nearest classes: the sum of what the towers say.
    fn distances(&self, sights: &[Sight], places: &[usize]) -> Vec<f32> {
        let row = |image: &usize| places.binary_search(image).unwrap_or_default();
        let groups: Vec<Vec<usize>> =
            self.near.iter().map(|(_, known)| known.iter().map(row).collect()).collect();
        let mut sums = vec![0.0; groups.len()];
        for Sight { means, distance } in sights {
            let (known, query) = (prototypes(means.view(), &groups), means.row(row(&self.query)));
            let apart = known.outer_iter().map(|prototype| between(distance, query, prototype));
            sums.iter_mut().zip(apart).for_each(|(sum, d)| *sum += d);
        }
        sums
    }
}

/// A second look under way: what it has given, and what it took.
pub(super) struct Looking<'a> {
    second: &'a mut SecondLook,
    figures: Vec<SecondFigure>,
    pictures: u64,
    seconds: f64,
}

impl<'a> Looking<'a> {
    pub(super) fn with(second: &'a mut SecondLook) -> Self {
        Self { second, figures: Vec::new(), pictures: 0, seconds: 0.0 }
    }

    /// Looks again at questions about pictures; `before` tells of each whether the tower was right, and what it belongs
    /// to.
    fn again(
        &mut self,
        what: &str,
        way: usize,
        shown: &Shown<'_>,
        questions: &[Question],
        before: &[(bool, Unit)],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let mut places: Vec<usize> = questions.iter().flat_map(Question::images).collect();
        places.sort_unstable();
        places.dedup();
        let sights = self.sights(shown, &places, progress)?;
        let after = |sights: &[Sight]| -> Vec<Trial> {
            questions.par_iter().map(|question| question.trial(sights, &places)).collect()
        };
        let units = || before.iter().map(|(_, unit)| *unit);
        let gain = |before: Vec<bool>, after: &[Trial]| {
            let changes = units().zip(before).zip(after);
            difference(changes.map(|((unit, right), after)| (unit, right, after.correct())))
        };
        let trials = after(&sights);
        let by_copies = || after(&sights[..1]).iter().map(Trial::correct).collect();
        self.figures.push(SecondFigure {
            what: what.into(),
            gain: gain(before.iter().map(|(right, _)| *right).collect(), &trials),
            gain_of_other: (sights.len() > 1).then(|| gain(by_copies(), &trials)),
            score: Score::of(trials.iter().zip(units()), way),
        });
        Ok(())
    }

    /// What each tower makes of the images at these places.
    fn sights(
        &mut self,
        shown: &Shown<'_>,
        places: &[usize],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Sight>> {
        let own = self.second.tower().preprocessing.clone();
        let mut sights = Vec::new();
        for look in self.second.looks() {
            let how = look.how().clone();
            let images =
                if how == own { shown.own.select(Axis(0), places) } else { seen(shown, &how, places)? };
            let (start, all) = (Instant::now(), places.len() as u64);
            let means = look.means(images.view(), |done| progress(done as u64, all))?;
            self.seconds += start.elapsed().as_secs_f64();
            sights.push(Sight { means, distance: look.tower().distance.clone() });
        }
        self.pictures += places.len() as u64;
        Ok(sights)
    }

    /// What was found.
    pub(super) fn result(self) -> SecondLookResult {
        let Self { second, figures, pictures, seconds } = self;
        let us_per_picture = 1e6 * seconds / pictures.max(1) as f64;
        SecondLookResult {
            copies: COPIES,
            other_tower: second.other().map(|tower| tower.name.clone()),
            other_tower_sha256: second.other().map(|tower| tower.sha256.clone()),
            figures,
            pictures,
            seconds,
            us_per_picture,
        }
    }
}

/// The images at these places, as another tower sees them.
fn seen(shown: &Shown<'_>, how: &Preprocessing, places: &[usize]) -> Result<Array4<u8>> {
    let all = (shown.other)(how)?;
    let [here, there] = [shown.own.len_of(Axis(0)), all.len_of(Axis(0))];
    if here != there {
        let why = format!(
            "are {here} to the tower, but {there} to the one that looks again; they must be the same"
        );
        return Err(Error::invalid("the pictures", why));
    }
    Ok(all.select(Axis(0), places))
}

impl Course<'_, '_> {
    /// The accuracy over episodes `0 .. count` of data with these embeddings `[N, D]`, looked at again where that is
    /// wanted; `read` gives the data as another tower sees them.
    pub(super) fn sampled(
        &mut self,
        what: &str,
        (data, read): (&Dataset, &dyn Fn(&Preprocessing) -> Result<Dataset>),
        embeddings: ArrayView2<'_, f32>,
        sampler: &EpisodeSampler,
        count: u64,
    ) -> Result<Score> {
        let (own, units) = (self.embedder.spec().distance.clone(), Unit::of(data));
        let rounds = episode_trials([embeddings; 2], &own, sampler, count);
        let trials: Vec<(&Trial, Unit)> = rounds.iter().flatten().map(|t| (t, units[t.query])).collect();
        let (way, questions) =
            (sampler.spec().way, || Question::of_episodes(embeddings, &own, sampler, count));
        let other = |how: &Preprocessing| same(data, read(how)?);
        self.look_again(what, way, &Shown { own: data.images.view(), other: &other }, questions, &trials)?;
        Ok(Score::of(trials, way))
    }

    /// Looks again at questions that were answered by `trials`, where that is wanted.
    pub(super) fn look_again(
        &mut self,
        what: &str,
        way: usize,
        shown: &Shown<'_>,
        questions: impl FnOnce() -> Vec<Question>,
        trials: &[(&Trial, Unit)],
    ) -> Result<()> {
        let Some(second) = &mut self.second else { return Ok(()) };
        let before: Vec<(bool, Unit)> = trials.iter().map(|(trial, unit)| (trial.correct(), *unit)).collect();
        second.again(what, way, shown, &questions(), &before, &mut *self.progress)
    }
}

/// The images of the very pictures of a data set, read for another tower.
///
/// # Errors
/// Where a picture came or went, or can be used by one of the towers alone.
pub(super) fn same(data: &Dataset, read: Dataset) -> Result<Array4<u8>> {
    if data.sources == read.sources {
        return Ok(read.images);
    }
    let why = "are not the same pictures to both towers: one of them cannot be used by both, or they have changed \
               meanwhile";
    Err(Error::invalid(&data.name, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Means that lie on a line, as a tower sees them that compares by L1.
    fn sight(at: &[f32]) -> Sight {
        Sight { means: Array2::from_shape_fn((at.len(), 1), |(i, _)| at[i]), distance: Distance::L1 }
    }

    /// Seven classes, each known by one image; the query is image 7, whose class is `truth`. The tower has them at
    /// these distances, and the means lie at those, of each tower that looks.
    fn asked(tower: [f32; 7], means: &[[f32; 7]], truth: usize) -> Trial {
        let zero = array![0.0];
        let known = |place| vec![place];
        let question =
            Question::of(sight(&tower).means.view(), zero.view(), (7, truth), &Distance::L1, known);
        let sights: Vec<Sight> = means.iter().map(|at| sight(&[&at[..], &[0.0]].concat())).collect();
        question.trial(&sights, &[0, 1, 2, 3, 4, 5, 6, 7])
    }

    #[test]
    fn the_second_look_decides_among_the_nearest_and_no_others() {
        let means = [4.0, 3.0, 3.0, 3.0, 1.0, 0.5, 2.0];
        let told = asked([5.0, 1.0, 2.0, 3.0, 4.0, 8.0, 9.0], &[means], 4);
        assert!(told.correct() && told.nearest == 4 && told.other == 3.0, "{told:?}");
        // Sixth by the tower: out of reach, however near it is then.
        let told = asked([5.0, 1.0, 2.0, 3.0, 7.0, 4.0, 6.0], &[means], 4);
        assert!(!told.correct() && told.own == f32::INFINITY && told.nearest == 5, "{told:?}");
    }

    #[test]
    fn two_towers_decide_by_their_sum() {
        let tower = [5.0, 1.0, 2.0, 3.0, 4.0, 8.0, 9.0];
        let (one, other) = ([4.0, 3.0, 3.5, 3.0, 2.0, 0.5, 2.0], [4.0, 3.0, 1.0, 3.0, 3.0, 0.5, 2.0]);
        assert!(asked(tower, &[one], 4).correct() && asked(tower, &[other], 2).correct());
        let told = asked(tower, &[one, other], 2);
        assert!(told.correct() && (told.own, told.other) == (4.5, 5.0), "{told:?}");
    }

    #[test]
    fn a_tie_is_an_error() {
        let told = asked([5.0, 1.0, 2.0, 3.0, 4.0, 8.0, 9.0], &[[4.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0]], 1);
        assert!(told.tie() && !told.correct(), "{told:?}");
    }
}
