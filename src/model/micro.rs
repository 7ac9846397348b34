//! Micro-batches: the parts of a batch whose gradients are computed apart and summed.

use super::recipe::{Likeness, Loss, Recipe, Sampling};
use crate::{Error, Result};

/// How a batch is cut into micro-batches of one size, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroBatches {
    /// Images in each.
    pub size: usize,
    /// How many there are.
    pub count: usize,
    /// Whether the second half of the batch belongs to the first.
    pairs: bool,
}

impl MicroBatches {
    /// The places in the batch of a micro-batch's images. Pairs stay together: the first half are left images, the
    /// second half their right ones, as in the batch.
    pub fn rows(&self, number: usize) -> Vec<usize> {
        if !self.pairs {
            return (number * self.size..(number + 1) * self.size).collect();
        }
        let (own, all) = (self.size / 2, self.size * self.count / 2);
        let left = number * own..(number + 1) * own;
        left.clone().chain(left.map(|row| row + all)).collect()
    }
}

impl Sampling {
    /// Images in a batch.
    pub fn images(&self) -> usize {
        match *self {
            Self::ZippedPairs { batch } | Self::ListedPairs { batch, .. } => 2 * batch,
            Self::Images { batch, .. } => batch,
            Self::Classes { classes, drawings, .. } => classes * drawings,
            Self::Episodes { way, shot, queries, .. } => way * (shot + queries),
        }
    }

    fn is_of_pairs(&self) -> bool {
        matches!(self, Self::ZippedPairs { .. } | Self::ListedPairs { .. })
    }
}

impl Recipe {
    /// How its batches are cut; none where a step takes them whole.
    pub fn micro_batches(&self) -> Option<MicroBatches> {
        let size = self.micro_batch?.max(1);
        Some(MicroBatches { size, count: self.sampling.images() / size, pairs: self.sampling.is_of_pairs() })
    }

    /// Whether the loss compares images that may be in different micro-batches. Its gradient then takes two passes:
    /// all embeddings first, then back from the loss's gradient with respect to them (Gao et al. 2021, "Scaling Deep
    /// Contrastive Learning Batch Size under Memory Limited Setup").
    pub fn loss_spans_batch(&self) -> bool {
        let on_labels = match self.loss.on_labels() {
            Some(Loss::Contrast { .. } | Loss::Prototype) => true,
            // Of a batch of classes every two drawings are a pair.
            Some(Loss::Sigmoid) => !self.sampling.is_of_pairs(),
            _ => false,
        };
        let on_teacher = self.loss.distil().is_some_and(|distil| distil.by == Likeness::Relations);
        on_labels || on_teacher || self.compatible.is_some()
    }

    /// The recipe with the largest micro-batch that is not larger and divides its batch.
    #[must_use]
    pub fn with_fitting_micro_batch(mut self) -> Self {
        let most = self.micro_batch.unwrap_or_default().min(self.sampling.images());
        self.micro_batch =
            self.micro_batch.map(|_| (1..=most).rev().find(|&size| self.fits(size)).unwrap_or(most));
        self
    }

    fn fits(&self, size: usize) -> bool {
        size > 0
            && self.sampling.images().is_multiple_of(size)
            && !(self.sampling.is_of_pairs() && size % 2 == 1)
    }

    pub(super) fn check_micro_batch(&self) -> Result<()> {
        let Some(size) = self.micro_batch.filter(|&size| !self.fits(size)) else { return Ok(()) };
        let images = self.sampling.images();
        let nearest = self.clone().with_fitting_micro_batch().micro_batch.filter(|&size| self.fits(size));
        let hint = nearest.map_or_else(String::new, |size| format!("; {size} would do"));
        let pairs = if self.sampling.is_of_pairs() { ", and be even, for pairs stay together" } else { "" };
        Err(Error::invalid(
            "micro_batch",
            format!("{size} must divide the batch's {images} images{pairs}{hint}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cut(name: &str, size: usize) -> Result<Recipe> {
        let recipe = Recipe { micro_batch: Some(size), ..Recipe::find(name).unwrap() };
        recipe.validate().map(|()| recipe)
    }

    #[test]
    fn every_image_is_in_one_micro_batch_and_pairs_stay_together() {
        // 128 images, and 128 pairs.
        for (name, size, pairs) in [("omniglot-edge-base", 32, None), ("mnist-conv3-embed", 64, Some(128))] {
            let plan = cut(name, size).unwrap().micro_batches().unwrap();
            let mut rows: Vec<usize> = (0..plan.count).flat_map(|number| plan.rows(number)).collect();
            for number in 0..plan.count {
                let rows = plan.rows(number);
                let (left, right) = rows.split_at(size / 2);
                let apart = pairs.unwrap_or(size / 2);
                assert!(left.iter().zip(right).all(|(a, b)| a + apart == *b), "{name}: {rows:?}");
            }
            rows.sort_unstable();
            assert_eq!(rows, (0..plan.size * plan.count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn sizes_that_do_not_divide_the_batch_are_refused_with_one_that_does() {
        for (name, size, told) in [
            ("omniglot-edge-base", 48, "48 must divide the batch's 128 images; 32 would do"),
            ("omniglot-edge-base", 0, "0 must divide"),
            ("omniglot-edge-base", 256, "128 would do"),
            ("mnist-conv3-embed", 1, "be even, for pairs stay together"),
        ] {
            let error = cut(name, size).unwrap_err().to_string();
            assert!(error.starts_with("micro_batch: ") && error.contains(told), "{error}");
        }
    }

    #[test]
    fn losses_over_the_whole_batch_are_known() {
        for (loss, sampling, spans) in [
            (r#"{"contrast": {"scale": 5}}"#, r#"{"classes": {"classes": 4, "drawings": 2}}"#, true),
            (r#""sigmoid""#, r#"{"classes": {"classes": 4, "drawings": 2}}"#, true),
            (r#""sigmoid""#, r#"{"zipped-pairs": {"batch": 8}}"#, false),
            (r#"{"cosine": {"scale": 5, "margin": 0}}"#, r#"{"images": {"batch": 8}}"#, false),
            (r#"{"distil": {"teacher": "t", "dim": 3}}"#, r#"{"images": {"batch": 8}}"#, false),
            (
                r#"{"distil": {"teacher": "t", "dim": 3, "by": "relations"}}"#,
                r#"{"images": {"batch": 8}}"#,
                true,
            ),
        ] {
            let mut recipe = Recipe::find("omniglot-edge-base").unwrap();
            recipe.loss = serde_json::from_str(loss).unwrap();
            recipe.sampling = serde_json::from_str(sampling).unwrap();
            assert_eq!(recipe.loss_spans_batch(), spans, "{loss}");
        }
    }
}
