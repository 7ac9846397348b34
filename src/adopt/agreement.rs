//! How an exact tower recognises beside the float one that it was made of.

use crate::Result;
use crate::data::Dataset;
use crate::eval::bootstrap::{Share, Unit, share};
use crate::eval::{between, one_shot};
use crate::sample::{EpisodeSpec, episodes};
use crate::tower::Distance;
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;

/// Episodes of each tower.
const EPISODES: u64 = 1000;
/// The most classes of an episode.
const WAY: usize = 20;

/// Both towers on pictures that no scale was chosen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Those pictures.
    pub pictures: usize,
    /// Their classes with two or more of them.
    pub classes: usize,
    /// How often a picture's nearest other one is the same for both; its 95 % interval is over classes.
    pub nearest: Share,
    /// One-shot accuracy of both on the same episodes; none where there are too few classes.
    pub one_shot: Option<OneShot>,
}

/// One-shot accuracy of both towers on the same episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OneShot {
    /// Classes of an episode.
    pub way: usize,
    /// Episodes.
    pub episodes: u64,
    /// The float tower's.
    pub float: Share,
    /// The exact tower's.
    pub exact: Share,
}

impl Agreement {
    /// Of embeddings `[N, D]` of the same pictures, the float tower's first.
    ///
    /// # Errors
    /// None in practice: episodes that cannot be drawn.
    pub fn of(data: &Dataset, rows: [ArrayView2<'_, f32>; 2], distances: &[Distance; 2]) -> Result<Self> {
        let units = Unit::of(data);
        let alike: Vec<bool> = (0..data.len())
            .into_par_iter()
            .map(|i| {
                let [a, b] = [0, 1].map(|k| nearest(rows[k], i, &distances[k]));
                a == b
            })
            .collect();
        let nearest = share(units.iter().zip(alike).map(|(unit, alike)| (*unit, alike, 1.0)));
        let several = data.by_class().into_iter().filter(|members| members.len() > 1);
        let places: Vec<usize> = several.clone().flatten().collect();
        let classes = several.count();
        let one_shot = if classes > 1 { Some(shots(data, &places, classes, rows, distances)?) } else { None };
        Ok(Self { pictures: data.len(), classes, nearest, one_shot })
    }
}

/// One-shot accuracy on classes of two pictures and more.
fn shots(
    data: &Dataset,
    places: &[usize],
    classes: usize,
    rows: [ArrayView2<'_, f32>; 2],
    distances: &[Distance; 2],
) -> Result<OneShot> {
    let data = numbered(data, places);
    let way = classes.min(WAY);
    let spec = EpisodeSpec { way, shot: 1, queries: 1, within: false, different_drawers: false };
    let sampler = episodes(&data, &spec, 0)?;
    let units = Unit::of(&data);
    let [float, exact] = [0, 1].map(|k| {
        let rows = rows[k].select(ndarray::Axis(0), places);
        let score = one_shot(rows.view(), &units, &distances[k], &sampler, EPISODES);
        Share { share: score.accuracy, interval_95: score.interval_95 }
    });
    Ok(OneShot { way, episodes: EPISODES, float, exact })
}

/// These pictures, with no class that has none of them.
fn numbered(data: &Dataset, places: &[usize]) -> Dataset {
    let mut part = data.subset(places);
    let mut kept: Vec<u32> = part.labels.clone();
    kept.sort_unstable();
    kept.dedup();
    part.classes = kept.iter().map(|&label| data.classes[label as usize].clone()).collect();
    let place = |label: &u32| kept.partition_point(|other| other < label) as u32;
    part.labels = part.labels.iter().map(place).collect();
    part
}

/// The nearest other row; of equally near ones the first.
fn nearest(rows: ArrayView2<'_, f32>, query: usize, distance: &Distance) -> Option<usize> {
    let mut best = (f32::INFINITY, None);
    for (i, row) in rows.outer_iter().enumerate().filter(|(i, _)| *i != query) {
        let apart = between(distance, rows.row(query), row);
        if apart < best.0 {
            best = (apart, Some(i));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Class;
    use ndarray::{Array2, Array4};

    fn data() -> Dataset {
        Dataset {
            name: "test".into(),
            images: Array4::zeros((13, 1, 1, 1)),
            labels: (0..13).map(|i| i / 3).collect(),
            classes: (0..5).map(|c| Class { name: c.to_string(), alphabet: 0 }).collect(),
            alphabets: vec!["a".into()],
            drawers: vec![0; 13],
            sources: vec![String::new(); 13],
        }
    }

    #[test]
    fn equal_towers_agree_and_others_less() {
        let rows = Array2::from_shape_fn((13, 5), |(i, j)| {
            f32::from(u8::from(i / 3 == j)) + 0.01 * ((i * 7 + j) % 5) as f32
        });
        let l2 = [Distance::L2, Distance::L2];
        let same = Agreement::of(&data(), [rows.view(), rows.view()], &l2).unwrap();
        assert_eq!((same.pictures, same.classes, same.nearest.share), (13, 4, 1.0));
        let shot = same.one_shot.unwrap();
        assert_eq!((shot.way, shot.float.share, shot.exact.share), (4, 1.0, 1.0));
        let other = Array2::from_shape_fn((13, 5), |(i, j)| ((i * 5 + j * 3) % 7) as f32);
        let apart = Agreement::of(&data(), [rows.view(), other.view()], &l2).unwrap();
        assert!(apart.nearest.share < 0.5 && apart.one_shot.unwrap().exact.share < 0.8);
    }
}
