//! Batches that are not larger than the data: few pictures of one's own train by a recipe that was made for
//! many.

use super::plan::similar_pairs;
use super::pool::Pool;
use crate::data::Dataset;
use crate::model::recipe::Sampling;

/// The sampling with its batches reduced to what the data hold. What no reduction mends is left as it is,
/// for [`sampler`](super::sampler) to refuse by name: one class, or a class of one drawing.
pub fn fitted(sampling: &Sampling, data: &Dataset) -> Sampling {
    let pool = Pool::new(data);
    let images = data.len().max(1);
    let most_classes = pool.classes.len().max(1);
    let most_drawings = pool.classes.iter().map(|&class| pool.members[class].len()).min().unwrap_or(1).max(2);
    let mut fitted = sampling.clone();
    match &mut fitted {
        Sampling::ZippedPairs { batch } | Sampling::Images { batch, .. } => *batch = images.min(*batch),
        Sampling::ListedPairs { batch, n_samples } => {
            *n_samples = similar_pairs(&pool).len().max(1).min(*n_samples);
            *batch = (2 * *n_samples).min(*batch);
        }
        Sampling::Classes { classes, drawings, .. } => {
            *classes = most_classes.min(*classes);
            *drawings = most_drawings.min(*drawings);
        }
        Sampling::Episodes { way, shot, queries, .. } => {
            *way = most_classes.min(*way);
            *shot = (most_drawings - 1).min(*shot);
            *queries = (most_drawings - *shot).min(*queries);
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::glyphs::{self, GlyphSpec};
    use crate::image::Preprocessing;
    use crate::sample::sampler;
    use std::sync::Arc;

    /// Three classes of four drawings.
    fn small() -> Dataset {
        let spec = GlyphSpec { alphabets: 1, characters: 3, drawers: 4, seed: 1 };
        glyphs::framed(&spec, &Preprocessing::ink(8)).unwrap()
    }

    #[test]
    fn what_is_larger_than_the_data_is_reduced_until_it_can_be_drawn() {
        let data = Arc::new(small());
        let too_large = [
            Sampling::ZippedPairs { batch: 64 },
            Sampling::ListedPairs { batch: 640, n_samples: 1000 },
            Sampling::Images { batch: 128, turns: 4, flips: true },
            Sampling::Classes {
                classes: 32,
                drawings: 6,
                turns: 1,
                flips: false,
                within: 0.5,
                different_makers: false,
            },
            Sampling::Episodes { way: 20, shot: 5, queries: 5, turns: 1, within: 0.0 },
        ];
        for sampling in &too_large {
            assert!(sampler(sampling, None, Arc::clone(&data), 0).is_err(), "{sampling:?}");
            let fitted = fitted(sampling, &data);
            sampler(&fitted, None, Arc::clone(&data), 0).unwrap();
        }
        assert_eq!(fitted(&too_large[0], &data), Sampling::ZippedPairs { batch: 12 });
        assert_eq!(fitted(&too_large[1], &data), Sampling::ListedPairs { batch: 36, n_samples: 18 });
    }

    #[test]
    fn what_fits_stays() {
        let sampling = Sampling::Classes {
            classes: 3,
            drawings: 4,
            turns: 1,
            flips: false,
            within: 0.0,
            different_makers: false,
        };
        assert_eq!(fitted(&sampling, &small()), sampling);
    }

    #[test]
    fn a_class_of_one_drawing_is_still_refused_by_name() {
        let spec = GlyphSpec { alphabets: 1, characters: 2, drawers: 1, seed: 1 };
        let data = Arc::new(glyphs::framed(&spec, &Preprocessing::ink(8)).unwrap());
        let sampling = Sampling::Classes {
            classes: 8,
            drawings: 4,
            turns: 1,
            flips: false,
            within: 0.0,
            different_makers: false,
        };
        let error = sampler(&fitted(&sampling, &data), None, data, 0).err().unwrap().to_string();
        assert!(error.contains("1 drawings"), "{error}");
    }
}
