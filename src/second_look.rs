//! A second look at the classes that a tower found nearest: the pictures are compared once more, each as the mean of the
//! embeddings of itself and of slightly distorted copies, by that tower, and by another one too where one is given.
//!
//! What a tower makes of a picture depends a little on how it is turned, sheared and scaled, although that says nothing
//! about what it shows; over copies this falls out (the mean over transformed copies at the time of testing: Krizhevsky,
//! Sutskever, Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1). The copies of
//! all pictures are distorted alike, by the training's own distortions, which give the same pixels on every machine; so
//! with exact towers the means are the same to the bit as well. Each copy costs an embedding, so it is asked about the
//! [`REACH`] nearest classes alone, which the tower has found among all by one embedding.
//!
//! Another tower errs elsewhere, and may see more: it is given the same pictures its own way, and the two distances are
//! added. That has a sense where both are cosines, which have no unit; other distances have a scale of their own, by
//! which one of the towers would decide alone, so towers that measure by them do not look together.

use crate::embed;
use crate::image::Preprocessing;
use crate::model::recipe::Augment;
use crate::random::stream;
use crate::runtime::Embedder;
use crate::sample::{Distortion, Drawn};
use crate::tower::{Distance, TowerSpec};
use crate::{Error, Result};
use ndarray::{Array2, Array3, Array4, ArrayView3, ArrayView4, Axis, stack};
use rayon::prelude::*;

/// How many of the nearest classes are looked at again.
pub const REACH: usize = 5;

/// Copies of a picture beside itself.
pub const COPIES: usize = 8;

/// How much copies are distorted, and of ink also its strokes: three quarters and a third of what omniglot-edge was
/// trained with, chosen by the gain on background alphabets and on training images of MNIST (`docs/measured.md`).
fn strength(coloured: bool) -> Augment {
    Augment {
        rotate: 11.25,
        scale: 0.09,
        shear: 0.1875,
        shift: 0.045,
        elastic: 0.03,
        thickness: if coloured { 0.0 } else { 0.45 },
        probability: 1.0,
        ..Augment::default()
    }
}

/// The towers that look at pictures again.
pub struct SecondLook {
    /// The tower that found the nearest classes.
    own: Look,
    other: Option<Look>,
}

impl SecondLook {
    /// By the tower that found the nearest classes.
    ///
    /// # Errors
    /// None in practice: distortions that do not fit the tower's pictures.
    pub fn by(embedder: Box<dyn Embedder>) -> Result<Self> {
        Ok(Self { own: Look::by(embedder)?, other: None })
    }

    /// And by another one.
    ///
    /// # Errors
    /// The very same tower; distances that cannot be added.
    pub fn and_by(self, other: Box<dyn Embedder>) -> Result<Self> {
        let (own, spec) = (self.own.tower(), other.spec());
        let fault = |why: String| Err(Error::invalid(format!("the second look's tower {}", spec.name), why));
        if own.sha256 == spec.sha256 {
            let why = "is the one that answers; without a name a second look is by that one alone";
            return fault(why.into());
        }
        if (&own.distance, &spec.distance) != (&Distance::Cosine, &Distance::Cosine) {
            let (name, how, other_how) = (&own.name, own.distance.name(), spec.distance.name());
            return fault(format!(
                "compares by {other_how}, and {name}, beside which it would look, by {how}; only distances by cosine, \
                 which have no scale of their own, are added: take towers that both compare by cosine"
            ));
        }
        Ok(Self { other: Some(Look::by(other)?), ..self })
    }

    /// What each tower does, the one that found the nearest classes first.
    pub fn looks(&mut self) -> impl Iterator<Item = &mut Look> {
        std::iter::once(&mut self.own).chain(&mut self.other)
    }

    /// The tower that found the nearest classes.
    pub fn tower(&self) -> &TowerSpec {
        self.own.tower()
    }

    /// The other tower, where there is one.
    pub fn other(&self) -> Option<&TowerSpec> {
        self.other.as_ref().map(Look::tower)
    }

    /// How each tower compares means.
    pub fn distances(&self) -> Vec<Distance> {
        self.each().map(|look| look.tower().distance.clone()).collect()
    }

    /// Whether a tower sees pictures another way than the first one, so that their files are needed.
    pub fn needs_files(&self) -> bool {
        self.each().any(|look| look.how() != self.own.how())
    }

    /// Pictures as each tower sees them, `[N, C, S, S]` for each: as they are given for the first, and for one that sees
    /// them another way as `decode` gives the picture of a number.
    ///
    /// # Errors
    /// Those of `decode`; pictures that do not have the first tower's shape.
    pub fn views(
        &self,
        pictures: &[ArrayView3<'_, u8>],
        decode: impl Fn(usize, &Preprocessing) -> Result<Array3<u8>> + Sync,
    ) -> Result<Vec<Array4<u8>>> {
        let view = |look: &Look| {
            let how = look.how();
            if how == self.own.how() {
                return batch(pictures, how);
            }
            let decoded = (0..pictures.len()).into_par_iter().map(|i| decode(i, how));
            let decoded = decoded.collect::<Result<Vec<_>>>()?;
            batch(&decoded.iter().map(|picture| picture.view()).collect::<Vec<_>>(), how)
        };
        self.each().map(view).collect()
    }

    fn each(&self) -> impl Iterator<Item = &Look> {
        std::iter::once(&self.own).chain(&self.other)
    }
}

/// Pictures `[C, S, S]` in one piece.
fn batch(pictures: &[ArrayView3<'_, u8>], how: &Preprocessing) -> Result<Array4<u8>> {
    if pictures.is_empty() {
        return Ok(Array4::zeros((0, how.channels(), how.size(), how.size())));
    }
    stack(Axis(0), pictures)
        .map_err(|e| Error::invalid_because("the pictures", "cannot be put into one batch", e))
}

/// A tower that looks at pictures again, by copies.
pub struct Look {
    embedder: Box<dyn Embedder>,
    distortion: Distortion,
    copies: Vec<Drawn>,
}

impl Look {
    fn by(embedder: Box<dyn Embedder>) -> Result<Self> {
        let how = &embedder.spec().preprocessing;
        let distortion = Distortion::new(&strength(how.channels() == 3), how.channels(), how.size())?;
        let draw = |k: usize| distortion.draw(&mut stream(0, "second look", k as u64, 0));
        let copies = (0..COPIES).filter_map(draw).collect();
        Ok(Self { embedder, distortion, copies })
    }

    /// The tower's facts.
    pub fn tower(&self) -> &TowerSpec {
        self.embedder.spec()
    }

    /// How the tower sees pictures.
    pub fn how(&self) -> &Preprocessing {
        &self.tower().preprocessing
    }

    /// The mean embedding of each picture of `[N, C, S, S]` and its copies: `[N, D]`. `done` is told how many pictures
    /// are ready.
    ///
    /// # Errors
    /// Pictures that do not have the tower's shape; those of the runtime.
    pub fn means(
        &mut self,
        pictures: ArrayView4<'_, u8>,
        mut done: impl FnMut(usize),
    ) -> Result<Array2<f32>> {
        let mut means = Array2::zeros((pictures.len_of(Axis(0)), self.embedder.spec().dim));
        let parts = pictures.axis_chunks_iter(Axis(0), embed::BATCH);
        let mut ready = 0;
        for (part, mut mean) in parts.zip(means.axis_chunks_iter_mut(Axis(0), embed::BATCH)) {
            // Integers of an exact tower are summed without rounding.
            mean += &embed::images(part, self.embedder.as_mut(), |_| ())?;
            for drawn in &self.copies {
                let copies = distorted(&self.distortion, drawn, part)?;
                mean += &embed::images(copies.view(), self.embedder.as_mut(), |_| ())?;
            }
            mean /= (self.copies.len() + 1) as f32;
            ready += part.len_of(Axis(0));
            done(ready);
        }
        Ok(means)
    }
}

/// Pictures `[N, C, S, S]`, all distorted alike.
fn distorted(how: &Distortion, drawn: &Drawn, pictures: ArrayView4<'_, u8>) -> Result<Array4<u8>> {
    let pictures = pictures.as_standard_layout();
    let mut copies = Array4::zeros(pictures.raw_dim());
    let [channels, side] = [pictures.len_of(Axis(1)), pictures.len_of(Axis(2))];
    let size = (channels * side * side).max(1);
    let (from, to) = (pictures.as_slice(), copies.as_slice_mut());
    let (from, to) = from.zip(to).ok_or_else(|| Error::invalid("pictures", "do not lie in one piece"))?;
    from.chunks_exact(size).zip(to.chunks_exact_mut(size)).for_each(|(from, to)| how.apply(drawn, from, to));
    Ok(copies)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::MockEmbedder;

    fn pictures(count: usize) -> Array4<u8> {
        Array4::from_shape_fn(
            (count, 1, 12, 12),
            |(n, _, y, x)| if (x + n) % 5 < 2 && y > 3 { 200 } else { 0 },
        )
    }

    #[test]
    fn a_mean_is_of_the_picture_and_its_copies_whatever_stands_beside_it() {
        let mut second = Look::by(Box::new(MockEmbedder::new(12, 3))).unwrap();
        let all = pictures(embed::BATCH + 3);
        let mut told = Vec::new();
        let means = second.means(all.view(), |done| told.push(done)).unwrap();
        assert_eq!((means.dim(), told), ((embed::BATCH + 3, 3), vec![embed::BATCH, embed::BATCH + 3]));
        let last = all.slice(ndarray::s![embed::BATCH + 2.., .., .., ..]);
        assert_eq!(second.means(last, |_| ()).unwrap().row(0), means.row(embed::BATCH + 2));
        let mut tower = MockEmbedder::new(12, 3);
        let mut sum = tower.embed(last).unwrap();
        for drawn in &second.copies {
            sum += &tower.embed(distorted(&second.distortion, drawn, last).unwrap().view()).unwrap();
        }
        assert_eq!(second.copies.len(), COPIES);
        assert_eq!(sum / (COPIES + 1) as f32, second.means(last, |_| ()).unwrap());
    }

    #[test]
    fn copies_differ_a_little_and_always_by_the_same() {
        let second = Look::by(Box::new(MockEmbedder::new(12, 3))).unwrap();
        let again = Look::by(Box::new(MockEmbedder::new(12, 3))).unwrap();
        let picture = pictures(1);
        for (one, other) in second.copies.iter().zip(&again.copies) {
            let copy = distorted(&second.distortion, one, picture.view()).unwrap();
            assert_eq!(copy, distorted(&again.distortion, other, picture.view()).unwrap());
            let apart = copy.iter().zip(&picture).filter(|(a, b)| a.abs_diff(**b) > 100).count();
            assert!(copy != picture && apart < 144 / 4, "{apart}");
        }
    }
}
