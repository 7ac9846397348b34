//! The decision of every protocol: which of N prototypes is nearest.

use super::bootstrap::Unit;
use super::score::{Score, Trial};
use crate::recognise::prototypes;
use crate::sample::EpisodeSampler;
use crate::tower::{Distance, collapsed};
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

/// Distances of each query `[M, D]` to N prototypes `[N, D]`, told against the right place
/// (`truths[i]` below N) of each query.
pub fn trials(
    prototypes: ArrayView2<'_, f32>,
    queries: ArrayView2<'_, f32>,
    truths: &[usize],
    distance: &Distance,
) -> Vec<Trial> {
    (0..queries.nrows())
        .into_par_iter()
        .map(|query| trial(prototypes, queries.row(query), query, truths[query], distance))
        .collect()
}

/// One query `[D]` against prototypes `[N, D]`.
fn trial(
    prototypes: ArrayView2<'_, f32>,
    embedding: ArrayView1<'_, f32>,
    query: usize,
    truth: usize,
    distance: &Distance,
) -> Trial {
    let mut told = Trial { query, truth, nearest: 0, own: f32::INFINITY, other: f32::INFINITY };
    let mut least = f32::INFINITY;
    for (place, prototype) in prototypes.outer_iter().enumerate() {
        let d = between(distance, embedding, prototype);
        if d < least {
            (least, told.nearest) = (d, place);
        }
        if place == truth {
            told.own = d;
        } else {
            told.other = told.other.min(d);
        }
    }
    told
}

/// The places of the `most` nearest of prototypes `[N, D]`, nearest first; of equally near ones the lowest.
pub(super) fn nearest(
    prototypes: ArrayView2<'_, f32>,
    embedding: ArrayView1<'_, f32>,
    distance: &Distance,
    most: usize,
) -> Vec<usize> {
    let distances = prototypes.outer_iter().map(|prototype| between(distance, embedding, prototype));
    let mut all: Vec<(usize, f32)> = distances.enumerate().collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all.into_iter().take(most).map(|(place, _)| place).collect()
}

/// [`Distance::between`] of two rows, copied only where they are not contiguous.
pub(crate) fn between(distance: &Distance, a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f32 {
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => distance.between(a, b),
        _ => distance.between(&a.to_vec(), &b.to_vec()),
    }
}

/// The trials of episodes `0 .. count`, episode by episode; [`Trial::query`] is the image's index
/// in the data set that the sampler draws from. Its embeddings `[N, D]` are `known` where an image is known, and
/// `asked` where it is asked about: the same, unless by two towers.
pub fn episode_trials(
    [known, asked]: [ArrayView2<'_, f32>; 2],
    distance: &Distance,
    sampler: &EpisodeSampler,
    count: u64,
) -> Vec<Vec<Trial>> {
    (0..count)
        .into_par_iter()
        .map(|k| {
            let episode = sampler.episode(k);
            let known = prototypes(known, &episode.supports);
            let ask = |&(image, place): &(usize, usize)| {
                trial(known.view(), asked.row(image), image, place, distance)
            };
            episode.queries.iter().map(ask).collect()
        })
        .collect()
}

/// N-way K-shot accuracy over `episodes` episodes of a data set with these embeddings `[N, D]`, each of
/// what it belongs to; K supports are one prototype, their mean.
pub fn one_shot(
    embeddings: ArrayView2<'_, f32>,
    units: &[Unit],
    distance: &Distance,
    sampler: &EpisodeSampler,
    episodes: u64,
) -> Score {
    let trials = episode_trials([embeddings; 2], distance, sampler, episodes);
    let score = Score::of(trials.iter().flatten().map(|t| (t, units[t.query])), sampler.spec().way);
    Score { collapsed: collapsed(embeddings), ..score }
}

/// Accuracy of taking the class of the nearest ground truth `[N, D]` for queries `[M, D]`.
pub fn nearest_truth(
    truths: ArrayView2<'_, f32>,
    queries: ArrayView2<'_, f32>,
    answers: &[usize],
    distance: &Distance,
) -> Score {
    let trials = trials(truths, queries, answers, distance);
    let score = Score::of(trials.iter().map(|t| (t, Unit::class(t.truth as u32))), truths.nrows());
    Score { collapsed: collapsed(queries), ..score }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Dataset;
    use crate::sample::{EpisodeSpec, episodes};
    use ndarray::{Array2, array};

    const SPEC: EpisodeSpec =
        EpisodeSpec { way: 5, shot: 1, queries: 2, within: false, different_drawers: false };

    #[test]
    fn the_nearest_and_its_rivals_are_told() {
        let truths = array![[0.0, 0.0], [4.0, 0.0], [0.0, 8.0]];
        let queries = array![[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]];
        let told = trials(truths.view(), queries.view(), &[0, 0, 0], &Distance::L1);
        let seen: Vec<_> = told.iter().map(|t| (t.nearest, t.own, t.other, t.correct(), t.tie())).collect();
        assert_eq!(seen[0], (0, 1.0, 3.0, true, false));
        assert_eq!(seen[1], (0, 2.0, 2.0, false, true));
        assert_eq!(seen[2], (1, 3.0, 1.0, false, false));
    }

    #[test]
    fn a_perfect_embedding_is_always_right_and_a_collapsed_one_never_looks_so() {
        let data = Dataset::blank(8, 4);
        let perfect = Array2::from_shape_fn((32, 8), |(i, j)| f32::from(u8::from(i / 4 == j)));
        let sampler = episodes(&data, &SPEC, 1).unwrap();
        let score = one_shot(perfect.view(), &Unit::of(&data), &Distance::L2, &sampler, 100);
        assert_eq!((score.correct, score.trials, score.collapsed), (1000, 1000, false));
        let point = Array2::<f32>::ones((32, 8));
        let score = one_shot(point.view(), &Unit::of(&data), &Distance::L2, &sampler, 100);
        assert_eq!((score.correct, score.ties, score.collapsed), (0, 1000, true));
    }

    #[test]
    fn noise_around_one_point_scores_as_guessing_does_and_is_called_collapsed() {
        let data = Dataset::blank(10, 20);
        let mut rng = crate::random::stream(1, "noise", 0, 0);
        let noise = Array2::from_shape_fn((200, 16), |_| 1.0 + 1e-5 * crate::random::either(&mut rng));
        let sampler = episodes(&data, &SPEC, 2).unwrap();
        let score = one_shot(noise.view(), &Unit::of(&data), &Distance::L2, &sampler, 2000);
        assert!(score.collapsed);
        assert!((score.accuracy - score.chance).abs() < 0.03, "{score:?}");
    }
}
