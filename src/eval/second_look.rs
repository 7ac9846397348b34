//! What a second look at the nearest classes makes of a protocol's questions.
//!
//! The questions are those that the tower was asked. Its nearest classes are put in order anew by a [`SecondLook`]; a
//! class beyond them stays behind them. The gain is told with an interval of its own: the same questions are asked
//! twice, so the difference is known better than either share.

use super::bootstrap::{Difference, Unit, difference};
use super::nearest::{between, episode_trials, nearest};
use super::protocol::Course;
use super::score::{Score, Trial};
use crate::Result;
use crate::data::Dataset;
use crate::recognise::prototypes;
use crate::sample::EpisodeSampler;
use crate::second_look::{COPIES, REACH, SecondLook};
use crate::tower::Distance;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView4, Axis};
use rayon::prelude::*;
use serde::Serialize;
use std::time::Instant;

/// What a second look gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecondLookResult {
    /// Copies of each picture that are embedded beside it.
    pub copies: usize,
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

    /// The trial after a second look, which made these means `[N, D]` of the images at `places`.
    fn trial(&self, means: ArrayView2<'_, f32>, places: &[usize], distance: &Distance) -> Trial {
        let row = |image: &usize| places.binary_search(image).unwrap_or_default();
        let groups: Vec<Vec<usize>> =
            self.near.iter().map(|(_, known)| known.iter().map(row).collect()).collect();
        let (known, query) = (prototypes(means, &groups), means.row(row(&self.query)));
        let (own, other) = (f32::INFINITY, f32::INFINITY);
        let mut told = Trial { query: self.query, truth: self.truth, nearest: 0, own, other };
        let mut least = f32::INFINITY;
        for (&(place, _), prototype) in self.near.iter().zip(known.outer_iter()) {
            let d = between(distance, query, prototype);
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

    /// Looks again at questions about images `[N, C, S, S]`; `before` tells of each whether the tower was right, and
    /// what it belongs to.
    fn again(
        &mut self,
        what: &str,
        way: usize,
        images: ArrayView4<'_, u8>,
        questions: &[Question],
        before: &[(bool, Unit)],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let mut places: Vec<usize> = questions.iter().flat_map(Question::images).collect();
        places.sort_unstable();
        places.dedup();
        let means = self.means(images, &places, progress)?;
        let distance = self.second.distance();
        let ask = |question: &Question| question.trial(means.view(), &places, distance);
        let trials: Vec<Trial> = questions.par_iter().map(ask).collect();
        let units = before.iter().map(|(_, unit)| *unit);
        let changes = trials.iter().zip(before).map(|(after, &(right, unit))| (unit, right, after.correct()));
        self.figures.push(SecondFigure {
            what: what.into(),
            gain: difference(changes),
            score: Score::of(trials.iter().zip(units), way),
        });
        Ok(())
    }

    fn means(
        &mut self,
        images: ArrayView4<'_, u8>,
        places: &[usize],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Array2<f32>> {
        let start = Instant::now();
        let images = images.select(Axis(0), places);
        let all = places.len() as u64;
        let means = self.second.means(images.view(), |done| progress(done as u64, all))?;
        self.seconds += start.elapsed().as_secs_f64();
        self.pictures += all;
        Ok(means)
    }

    /// What was found.
    pub(super) fn result(self) -> SecondLookResult {
        let Self { figures, pictures, seconds, .. } = self;
        let us_per_picture = 1e6 * seconds / pictures.max(1) as f64;
        SecondLookResult { copies: COPIES, figures, pictures, seconds, us_per_picture }
    }
}

impl Course<'_, '_> {
    /// The accuracy over episodes `0 .. count` of data with these embeddings `[N, D]`, looked at again where that is
    /// wanted.
    pub(super) fn sampled(
        &mut self,
        what: &str,
        data: &Dataset,
        embeddings: ArrayView2<'_, f32>,
        sampler: &EpisodeSampler,
        count: u64,
    ) -> Result<Score> {
        let (own, units) = (self.embedder.spec().distance.clone(), Unit::of(data));
        let rounds = episode_trials([embeddings; 2], &own, sampler, count);
        let trials: Vec<(&Trial, Unit)> = rounds.iter().flatten().map(|t| (t, units[t.query])).collect();
        let (way, questions) =
            (sampler.spec().way, || Question::of_episodes(embeddings, &own, sampler, count));
        self.look_again(what, way, data.images.view(), questions, &trials)?;
        Ok(Score::of(trials, way))
    }

    /// Looks again at questions that were answered by `trials`, where that is wanted.
    pub(super) fn look_again(
        &mut self,
        what: &str,
        way: usize,
        images: ArrayView4<'_, u8>,
        questions: impl FnOnce() -> Vec<Question>,
        trials: &[(&Trial, Unit)],
    ) -> Result<()> {
        let Some(second) = &mut self.second else { return Ok(()) };
        let before: Vec<(bool, Unit)> = trials.iter().map(|(trial, unit)| (trial.correct(), *unit)).collect();
        second.again(what, way, images, &questions(), &before, &mut *self.progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Seven classes, each known by one image; the query is image 7, whose class is `truth`. The tower has them at
    /// these distances, and the means lie at those.
    fn asked(tower: [f32; 7], means: [f32; 7], truth: usize) -> Trial {
        let rows = |at: &[f32]| Array2::from_shape_fn((at.len(), 1), |(i, _)| at[i]);
        let zero = array![0.0];
        let known = |place| vec![place];
        let question = Question::of(rows(&tower).view(), zero.view(), (7, truth), &Distance::L1, known);
        let all = [&means[..], &[0.0]].concat();
        question.trial(rows(&all).view(), &[0, 1, 2, 3, 4, 5, 6, 7], &Distance::L1)
    }

    #[test]
    fn the_second_look_decides_among_the_nearest_and_no_others() {
        let means = [4.0, 3.0, 3.0, 3.0, 1.0, 0.5, 2.0];
        let told = asked([5.0, 1.0, 2.0, 3.0, 4.0, 8.0, 9.0], means, 4);
        assert!(told.correct() && told.nearest == 4 && told.other == 3.0, "{told:?}");
        // Sixth by the tower: out of reach, however near it is then.
        let told = asked([5.0, 1.0, 2.0, 3.0, 7.0, 4.0, 6.0], means, 4);
        assert!(!told.correct() && told.own == f32::INFINITY && told.nearest == 5, "{told:?}");
    }

    #[test]
    fn a_tie_is_an_error() {
        let told = asked([5.0, 1.0, 2.0, 3.0, 4.0, 8.0, 9.0], [4.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0], 1);
        assert!(told.tie() && !told.correct(), "{told:?}");
    }
}
