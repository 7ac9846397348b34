//! What is compared on: images, with classes or without, and the episodes drawn from them.

use crate::data::Dataset;
use crate::random::{below, draw, stream};
use crate::sample::{Episode, EpisodeSampler, EpisodeSpec, episodes};
use crate::{Error, Result};
use ndarray::{Array4, ArrayView3};
use rand::Rng;

/// Images to compare on.
#[derive(Clone, Debug)]
pub enum Images {
    /// With classes.
    Labelled(Dataset),
    /// Without: every image stands for itself, so episodes tell flips but no accuracy.
    Plain {
        /// What they are.
        name: String,
        /// `[N, C, S, S]`.
        images: Array4<u8>,
    },
}

impl Images {
    /// `count` images of random strokes `[count, C, S, S]`; a pure function of the seed.
    pub fn random(count: usize, channels: usize, side: usize, seed: u64) -> Self {
        let mut images = Array4::zeros((count, channels, side, side));
        for (n, mut image) in images.outer_iter_mut().enumerate() {
            let mut rng = stream(seed, "compare", n as u64, 0);
            let strokes = 2 + below(&mut rng, 4);
            for _ in 0..strokes {
                let ends: [usize; 4] = std::array::from_fn(|_| below(&mut rng, side));
                let ink = 128 + (rng.next_u32() % 128) as u8;
                for step in 0..=2 * side {
                    let at = |from: usize, to: usize| (from * (2 * side - step) + to * step) / (2 * side);
                    let (y, x) = (at(ends[0], ends[1]), at(ends[2], ends[3]));
                    image.slice_mut(ndarray::s![.., y, x]).fill(ink);
                }
            }
        }
        Self::Plain { name: format!("random strokes, seed {seed}"), images }
    }

    /// `[N, C, S, S]`.
    pub fn all(&self) -> &Array4<u8> {
        match self {
            Self::Labelled(data) => &data.images,
            Self::Plain { images, .. } => images,
        }
    }

    /// N.
    pub fn len(&self) -> usize {
        self.all().shape()[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One image `[C, S, S]`.
    pub fn image(&self, i: usize) -> ArrayView3<'_, u8> {
        self.all().index_axis(ndarray::Axis(0), i)
    }

    /// What they are.
    pub fn name(&self) -> &str {
        match self {
            Self::Labelled(data) => &data.name,
            Self::Plain { name, .. } => name,
        }
    }

    /// The class of each image.
    pub fn labels(&self) -> Option<&[u32]> {
        match self {
            Self::Labelled(data) => Some(&data.labels),
            Self::Plain { .. } => None,
        }
    }

    /// The name of an image's class.
    pub fn class(&self, i: usize) -> Option<String> {
        let Self::Labelled(data) = self else { return None };
        data.labels.get(i).map(|&label| data.title(label))
    }

    /// Evenly spread `most` of the images, or all where there are fewer. Of many classes some are left
    /// out, so that the others keep drawings enough for an episode.
    pub fn limited(self, most: usize) -> Self {
        let count = self.len();
        if most == 0 || count <= most {
            return self;
        }
        let places = match &self {
            Self::Labelled(data) => thinned_classes(data, most),
            Self::Plain { .. } => spread(count, most),
        };
        let thinned = |name: &str| format!("{name}, {} of {count}", places.len());
        match self {
            Self::Labelled(data) => {
                let name = thinned(&data.name);
                Self::Labelled(Dataset { name, ..data.subset(&places) })
            }
            Self::Plain { name, images } => {
                let images = images.select(ndarray::Axis(0), &places);
                Self::Plain { name: thinned(&name), images }
            }
        }
    }
}

/// `most` of `count` places, evenly spread.
fn spread(count: usize, most: usize) -> Vec<usize> {
    (0..most).map(|i| i * count / most).collect()
}

/// At most `most` places: evenly spread over all images if that leaves each class two drawings, which an
/// episode takes, else a few drawings of each of evenly spread classes.
fn thinned_classes(data: &Dataset, most: usize) -> Vec<usize> {
    const DRAWINGS: usize = 4;
    let places = spread(data.len(), most);
    let mut left = vec![0; data.classes.len()];
    places.iter().for_each(|&place| left[data.labels[place] as usize] += 1);
    let classes: Vec<_> = data.by_class().into_iter().filter(|members| !members.is_empty()).collect();
    if left.iter().filter(|&&drawings| drawings > 1).count() == classes.len() {
        return places;
    }
    let kept = spread(classes.len(), (most / DRAWINGS).clamp(1, classes.len()));
    let share = most / kept.len();
    let mut places: Vec<usize> = kept
        .into_iter()
        .map(|class| &classes[class])
        .flat_map(|members| spread(members.len(), share.min(members.len())).into_iter().map(|i| members[i]))
        .collect();
    places.sort_unstable();
    places
}

/// The kind of episodes asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How many.
    pub episodes: u64,
    /// Classes of each.
    pub way: usize,
    /// Known drawings of each class.
    pub shot: usize,
    /// What they are drawn by.
    pub seed: u64,
}

/// A source of episodes over [`Images`].
pub enum Draw {
    /// From classes.
    Classes(EpisodeSampler),
    /// Of any images.
    Any {
        /// N.
        count: usize,
        /// Supports.
        way: usize,
        /// Seed.
        seed: u64,
    },
}

impl Draw {
    /// Episodes of the images; with classes one query of each class is asked.
    ///
    /// # Errors
    /// Images or classes too few for one episode; the message says how many are needed.
    pub fn new(images: &Images, asked: &Asked) -> Result<Self> {
        match images {
            Images::Labelled(data) => {
                let spec = EpisodeSpec {
                    way: asked.way,
                    shot: asked.shot,
                    queries: 1,
                    within: false,
                    different_drawers: false,
                };
                Ok(Self::Classes(episodes(data, &spec, asked.seed)?))
            }
            Images::Plain { name, .. } => {
                let count = images.len();
                if asked.way < 2 || count <= asked.way {
                    let why = format!(
                        "a {0}-way episode takes more than {0} images, there are {count}; name more, or lower --way",
                        asked.way
                    );
                    return Err(Error::invalid(name, why));
                }
                Ok(Self::Any { count, way: asked.way, seed: asked.seed })
            }
        }
    }

    /// Whether the truth of an episode means anything.
    pub fn labelled(&self) -> bool {
        matches!(self, Self::Classes(_))
    }

    /// Episode `k`.
    pub fn episode(&self, k: u64) -> Episode {
        match self {
            Self::Classes(sampler) => sampler.episode(k),
            Self::Any { count, way, seed } => {
                let mut all: Vec<usize> = (0..*count).collect();
                let taken = (2 * way).min(*count);
                let drawn = draw(&mut stream(*seed, "compare-episode", k, 0), &mut all, taken);
                let supports = drawn[..*way].iter().map(|&image| vec![image]).collect();
                Episode { supports, queries: drawn[*way..].iter().map(|&image| (image, 0)).collect() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Class;

    #[test]
    fn random_images_are_strokes_and_repeat() {
        let (one, two) = (Images::random(5, 1, 28, 3), Images::random(5, 1, 28, 3));
        assert_eq!(one.all(), two.all());
        assert_ne!(one.all(), Images::random(5, 1, 28, 4).all());
        assert!(one.all().outer_iter().all(|i| (1..700).contains(&i.iter().filter(|&&p| p > 0).count())));
    }

    #[test]
    fn many_classes_are_thinned_to_some_that_still_make_episodes() {
        let named = |name: String| Class { name, alphabet: 0 };
        let data = |classes: u32, drawings: usize| Dataset {
            name: "many".into(),
            images: Array4::zeros((classes as usize * drawings, 1, 2, 2)),
            labels: (0..classes).flat_map(|class| std::iter::repeat_n(class, drawings)).collect(),
            classes: (0..classes).map(|class| named(class.to_string())).collect(),
            alphabets: vec!["only".into()],
            drawers: vec![0; classes as usize * drawings],
            sources: vec![String::new(); classes as usize * drawings],
        };
        let asked = Asked { episodes: 1, way: 5, shot: 1, seed: 9 };
        for (classes, drawings, most, left) in [(100, 20, 60, 60), (10, 20, 60, 60), (100, 2, 60, 30)] {
            let images = Images::Labelled(data(classes, drawings)).limited(most);
            assert_eq!(images.len(), left, "{classes} × {drawings}");
            let episode = Draw::new(&images, &asked).unwrap().episode(1);
            assert_eq!((episode.supports.len(), episode.queries.len()), (5, 5));
            assert!(images.name().contains(&format!("{left} of ")), "{}", images.name());
        }
    }

    #[test]
    fn plain_images_make_episodes_of_different_images() {
        let images = Images::random(7, 1, 8, 0).limited(6);
        let asked = Asked { episodes: 1, way: 4, shot: 1, seed: 9 };
        let episode = Draw::new(&images, &asked).unwrap().episode(5);
        let mut all: Vec<usize> = episode.supports.iter().map(|s| s[0]).collect();
        all.extend(episode.queries.iter().map(|q| q.0));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        assert!(Draw::new(&images, &Asked { way: 6, ..asked }).is_err());
    }
}
