//! The most fragile triplets, searched for on purpose rather than met by chance.
//!
//! For every query all other images are sorted by A's distance. Two neighbours in that order that
//! are of different classes are the two supports of a 2-way one-shot episode; the narrower the gap
//! between them, the easier a runtime can turn it. So the search looks at the narrowest decisions
//! that the data can pose at all, far narrower than random episodes, and among millions some gaps
//! lie below float32's resolution: a few turned triplets are no surprise, and random episodes, not
//! these, say how often a user would meet one.

use super::certificate::{Fragile, KEPT};
use super::metric::rounding;
use super::pair::Pair;
use rayon::prelude::*;
use serde::Serialize;

/// The most images that are searched; of more, evenly spread ones are taken.
const MOST: usize = 2_000;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hunt {
    /// Images that took part.
    pub images: usize,
    /// Neighbouring supports of different classes that were looked at.
    pub triplets: usize,
    /// Triplets whose order is proved to be the same on both runtimes.
    pub certified: usize,
    /// Triplets that B orders the other way round.
    pub turned: usize,
    /// The narrowest, narrowest first: `best` and `rival` are the two supports.
    pub narrowest: Vec<Fragile>,
}

/// Searches the images, whose classes are `labels`; without labels every image is its own class.
pub fn hunt(pair: &Pair<'_>, labels: Option<&[u32]>) -> Hunt {
    let step = pair.len().div_ceil(MOST).max(1);
    let images: Vec<usize> = (0..pair.len()).step_by(step).collect();
    let moved = pair.moved();
    let hunter = Hunter { pair, labels, images: &images, moved: &moved };
    let found = images.par_iter().map(|&query| hunter.around(query)).reduce(Found::default, Found::merge);
    Hunt {
        images: images.len(),
        triplets: found.triplets,
        certified: found.certified,
        turned: found.turned,
        narrowest: found.narrowest,
    }
}

#[derive(Default)]
struct Found {
    triplets: usize,
    certified: usize,
    turned: usize,
    narrowest: Vec<Fragile>,
}

impl Found {
    fn merge(mut self, other: Self) -> Self {
        self.triplets += other.triplets;
        self.certified += other.certified;
        self.turned += other.turned;
        self.narrowest.extend(other.narrowest);
        self.trim();
        self
    }

    fn trim(&mut self) {
        let key = |f: &Fragile| (f.query, f.best, f.rival);
        self.narrowest.sort_by(|x, y| x.safety().total_cmp(&y.safety()).then(key(x).cmp(&key(y))));
        self.narrowest.truncate(KEPT);
    }
}

struct Hunter<'a> {
    pair: &'a Pair<'a>,
    labels: Option<&'a [u32]>,
    images: &'a [usize],
    moved: &'a [f64],
}

impl Hunter<'_> {
    fn around(&self, query: usize) -> Found {
        let Pair { distance, .. } = *self.pair;
        let (q_a, q_b) = (self.pair.a_row(query), self.pair.b_row(query));
        let mut others: Vec<(f32, usize)> = self
            .images
            .iter()
            .filter(|&&image| image != query)
            .map(|&image| (distance.between(q_a, self.pair.a_row(image)), image))
            .collect();
        others.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        let mut found = Found::default();
        for two in others.windows(2) {
            let ((near, best), (far, rival)) = (two[0], two[1]);
            if self.same_class(best, rival) {
                continue;
            }
            let of_b = |image: usize| distance.between(q_b, self.pair.b_row(image));
            let (b_best, b_rival) = (of_b(best), of_b(rival));
            let error = |image: usize, d_a: f32, d_b: f32| {
                self.moved[query]
                    + self.moved[image]
                    + rounding(distance, q_a, self.pair.a_row(image), f64::from(d_a))
                    + rounding(distance, q_b, self.pair.b_row(image), f64::from(d_b))
            };
            let triplet = Fragile {
                query,
                best,
                rival,
                margin: f64::from(far) - f64::from(near),
                bound: error(best, near, b_best) + error(rival, far, b_rival),
                flipped: b_rival < b_best || (b_rival == b_best) != (near == far),
                tie: false,
            };
            found.triplets += 1;
            found.turned += usize::from(triplet.flipped);
            found.certified += usize::from(triplet.margin > triplet.bound);
            found.narrowest.push(triplet);
            if found.narrowest.len() > 4 * KEPT {
                found.trim();
            }
        }
        found.trim();
        found
    }

    fn same_class(&self, x: usize, y: usize) -> bool {
        self.labels.is_some_and(|labels| labels[x] == labels[y])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tower::Distance;
    use ndarray::Array2;

    #[test]
    fn the_narrowest_gap_is_found_and_a_turned_one_is_seen() {
        // Points on a line; 5 and −5.001 are nearly as far from 0.
        let a = Array2::from_shape_vec((4, 1), vec![0.0f32, 5.0, -5.001, 20.0]).unwrap();
        let sound = hunt(&Pair::new(a.view(), a.view(), &Distance::L1), None);
        let first = &sound.narrowest[0];
        assert_eq!((first.query, first.best, first.rival), (0, 1, 2));
        assert_eq!((sound.turned, sound.certified, sound.triplets), (0, 8, 8));
        let mut b = a.clone();
        b[(2, 0)] = -4.999;
        let turned = hunt(&Pair::new(a.view(), b.view(), &Distance::L1), None);
        assert_eq!(turned.turned, 1);
        assert!(turned.narrowest[0].flipped && turned.certified == 7);
    }

    #[test]
    fn supports_of_one_class_are_no_decision() {
        let a = Array2::from_shape_vec((4, 1), vec![0.0f32, 5.0, -5.001, 20.0]).unwrap();
        let found = hunt(&Pair::new(a.view(), a.view(), &Distance::L1), Some(&[0, 1, 1, 1]));
        // Around 0 all others are of one class; around each other, one neighbour pair is mixed.
        assert!(found.narrowest.iter().all(|f| f.query != 0));
    }
}
