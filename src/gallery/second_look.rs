//! A second look at the nearest classes of a gallery: the picture that is asked about and the nearest example of each
//! class, whose picture the gallery has kept, are compared once more by copies.

use super::{Answer, Candidate, Gallery};
use crate::eval::between;
use crate::image;
use crate::second_look::{REACH, SecondLook};
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::{Array1, ArrayView1, ArrayView2, ArrayView3, Axis, stack};
use serde::Serialize;
use std::collections::HashMap;

/// What a second look saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Looked {
    /// Whether it put another class first than the tower.
    pub changed: bool,
    /// The classes that it looked at, in its order.
    pub candidates: Vec<Compared>,
}

/// A class that was looked at again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Its label.
    pub label: String,
    /// Its distance by the tower.
    pub distance: f32,
    /// The distance of the means over copies, which decides.
    pub again: f32,
}

/// The kept examples of a gallery, and what compares them.
pub(super) struct Again<'a> {
    gallery: &'a Gallery,
    second: &'a mut SecondLook,
    /// Of each class its examples whose pictures were kept.
    examples: HashMap<String, Vec<Kept>>,
    /// The means of the kept pictures that were needed so far, by their numbers.
    means: HashMap<i64, Array1<f32>>,
    distance: Distance,
}

struct Kept {
    embedding: Vec<f32>,
    picture: i64,
}

impl<'a> Again<'a> {
    /// # Errors
    /// A gallery that has kept no picture, or cannot be read.
    pub fn new(gallery: &'a Gallery, second: &'a mut SecondLook) -> Result<Self> {
        let mut examples = HashMap::<String, Vec<Kept>>::new();
        for (example, picture) in gallery.examples()?.into_iter().zip(gallery.kept()?) {
            if let Some(picture) = picture {
                let kept = Kept { embedding: example.embedding, picture };
                examples.entry(example.label).or_default().push(kept);
            }
        }
        if examples.is_empty() {
            let why =
                "has kept no pictures, which a second look compares; enroll them again with --keep-pictures";
            return Err(Error::invalid(gallery.location(), why));
        }
        let distance = gallery.facts().distance.clone();
        Ok(Self { gallery, second, examples, means: HashMap::new(), distance })
    }

    /// Puts the nearest classes of pictures `[C, S, S]`, with these embeddings `[M, D]`, in order anew. What makes a
    /// picture unknown stays as the tower has it.
    ///
    /// # Errors
    /// A class whose pictures were not kept; a kept picture that cannot be read; those of the runtime.
    pub fn look(
        &mut self,
        pictures: &[ArrayView3<'_, u8>],
        embeddings: ArrayView2<'_, f32>,
        answers: Vec<Answer>,
    ) -> Result<Vec<(Answer, Looked)>> {
        let mut known = Vec::new();
        for (answer, embedding) in answers.iter().zip(embeddings.outer_iter()) {
            let near = answer.nearest.iter().take(REACH);
            known.push(near.map(|class| self.nearest(&class.label, embedding)).collect::<Result<Vec<_>>>()?);
        }
        self.read(known.iter().flatten())?;
        let asked = self.means_of(pictures)?;
        let looked = answers.into_iter().zip(&known).zip(&asked).map(|((answer, known), asked)| {
            let again =
                known.iter().map(|picture| between(&self.distance, asked.view(), self.means[picture].view()));
            ordered(answer, &again.collect::<Vec<_>>())
        });
        Ok(looked.collect())
    }

    /// The picture of the nearest example of a class that has one.
    fn nearest(&self, label: &str, embedding: ArrayView1<'_, f32>) -> Result<i64> {
        let far = |kept: &Kept| between(&self.distance, embedding, ArrayView1::from(&kept.embedding));
        let examples = self.examples.get(label).into_iter().flatten();
        let nearest = examples.min_by(|a, b| far(a).total_cmp(&far(b)));
        nearest.map(|kept| kept.picture).ok_or_else(|| {
            let why = format!(
                "has kept no picture of class {label:?}, which a second look compares; enroll it again with \
                 --keep-pictures"
            );
            Error::invalid(self.gallery.location(), why)
        })
    }

    /// Sees to the means of kept pictures.
    fn read<'n>(&mut self, numbers: impl Iterator<Item = &'n i64>) -> Result<()> {
        let mut new: Vec<i64> = numbers.copied().filter(|number| !self.means.contains_key(number)).collect();
        new.sort_unstable();
        new.dedup();
        let how = &self.second.tower().preprocessing;
        let decode = |number: &i64| {
            image::decode(&self.gallery.picture(*number)?, &format!("the kept picture {number}"), how)
        };
        let pictures = new.iter().map(decode).collect::<Result<Vec<_>>>()?;
        let views: Vec<ArrayView3<'_, u8>> = pictures.iter().map(|picture| picture.view()).collect();
        let means = self.means_of(&views)?;
        self.means.extend(new.into_iter().zip(means));
        Ok(())
    }

    fn means_of(&mut self, pictures: &[ArrayView3<'_, u8>]) -> Result<Vec<Array1<f32>>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let pictures = stack(Axis(0), pictures)
            .map_err(|e| Error::invalid_because("the pictures", "cannot be put into one batch", e))?;
        let means = self.second.means(pictures.view(), |_| ())?;
        Ok(means.outer_iter().map(|mean| mean.to_owned()).collect())
    }
}

/// The answer after a second look, which has its nearest classes at these distances; of equal ones the tower's order
/// stays.
fn ordered(mut answer: Answer, again: &[f32]) -> (Answer, Looked) {
    let near = answer.nearest.drain(..again.len());
    let mut near: Vec<(Candidate, f32)> = near.zip(again.iter().copied()).collect();
    near.sort_by(|a, b| a.1.total_cmp(&b.1));
    let compared = |(class, again): &(Candidate, f32)| Compared {
        label: class.label.clone(),
        distance: class.distance,
        again: *again,
    };
    let candidates: Vec<Compared> = near.iter().map(compared).collect();
    let first = candidates.first().map(|class| class.label.clone());
    let changed = answer.label.is_some() && answer.label != first;
    answer.label = answer.label.and(first);
    answer.nearest.splice(0..0, near.into_iter().map(|(class, _)| class));
    (answer, Looked { changed, candidates })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gallery::tests::{example, make, tower};
    use crate::gallery::{Classifier, Picture, Shots};
    use crate::runtime::MockEmbedder;
    use crate::tower::TowerKind;
    use ndarray::{Array2, Array3};
    use std::sync::Arc;

    /// A picture with a bar at some place, as a file and as a tower of 8×8 pixels sees it.
    fn picture(place: usize) -> (Picture, Array3<u8>) {
        let pixels = (0..64).map(|i| if i % 8 == place && i / 8 > 1 { 0 } else { 255 }).collect();
        let picture = ::image::GrayImage::from_raw(8, 8, pixels).unwrap();
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
        let bytes = bytes.into_inner();
        let ink = image::decode(&bytes, "picture", &tower(TowerKind::Float, "ab").preprocessing).unwrap();
        (Arc::from(bytes), ink)
    }

    /// The answer to a picture with a bar in the middle by a gallery of this many classes, which the tower has the
    /// nearer the later they come although their bars are farther away; with and without a second look.
    fn asked(classes: usize, change: impl Fn(&mut Answer)) -> (Answer, Answer, Looked) {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = make(&folder.path().join("g"), TowerKind::Float);
        gallery.keep_pictures().unwrap();
        for class in 0..classes {
            let (label, at) = (format!("class{class}"), (classes - class) as f32);
            let kept = [Some(picture((3 + class) % 8).0)];
            gallery.enroll_with(&[example(&label, &label, [at, 0.0, 0.0, 0.0])], &kept).unwrap();
        }
        let (known, distance) = (gallery.load().unwrap(), gallery.facts().distance.clone());
        let classifier = Classifier::new(known, distance, Shots::Best, "g").unwrap();
        let queries = Array2::zeros((1, 4));
        let mut answer = classifier.classify(queries.view(), REACH + 1, None).unwrap().remove(0);
        change(&mut answer);
        let mut second = SecondLook::by(Box::new(MockEmbedder::new(8, 4))).unwrap();
        let mut again = Again::new(&gallery, &mut second).unwrap();
        let ink = picture(3).1;
        let (after, looked) =
            again.look(&[ink.view()], queries.view(), vec![answer.clone()]).unwrap().remove(0);
        (answer, after, looked)
    }

    #[test]
    fn another_class_may_come_first_among_the_nearest_alone() {
        let (before, after, looked) = asked(3, |_| ());
        assert_eq!((before.label.as_deref(), after.label.as_deref()), (Some("class2"), Some("class0")));
        assert!(looked.changed && looked.candidates.len() == 3, "fewer than it would look at");
        assert_eq!(looked.candidates[0].again, 0.0, "the very picture");
        assert_eq!((after.distance, after.nearest[0].label.as_str()), (before.distance, "class0"));
        // Of seven classes that of the very picture is the seventh.
        let (_, after, looked) = asked(7, |_| ());
        assert!(looked.candidates.len() == REACH && after.label.as_deref() != Some("class0"));
        assert_eq!(after.nearest.len(), REACH + 1, "what is farther stays behind");
    }

    #[test]
    fn what_is_unknown_stays_so() {
        let (_, after, looked) = asked(3, |answer| answer.label = None);
        assert_eq!((after.label, looked.changed), (None, false));
    }

    #[test]
    fn equal_classes_keep_the_towers_order() {
        let candidate = |label: &str| Candidate { label: label.into(), distance: 2.0 };
        let nearest = vec![candidate("b"), candidate("a")];
        let answer =
            Answer { label: Some("b".into()), distance: 2.0, margin: Some(0.0), strangeness: None, nearest };
        let (after, looked) = ordered(answer.clone(), &[3.0, 3.0]);
        assert_eq!((after, looked.changed), (answer, false));
    }

    #[test]
    fn pictures_that_were_not_kept_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = make(&folder.path().join("g"), TowerKind::Float);
        gallery.enroll(&[example("a", "a", [0.0; 4])]).unwrap();
        let mut second = SecondLook::by(Box::new(MockEmbedder::new(8, 4))).unwrap();
        let said = Again::new(&gallery, &mut second).err().unwrap().to_string();
        assert!(said.contains("--keep-pictures"), "{said}");
        gallery.keep_pictures().unwrap();
        let (kept, ink) = picture(3);
        gallery.enroll_with(&[example("b", "b", [1.0, 0.0, 0.0, 0.0])], &[Some(kept)]).unwrap();
        let (known, distance) = (gallery.load().unwrap(), gallery.facts().distance.clone());
        let classifier = Classifier::new(known, distance, Shots::Best, "g").unwrap();
        let queries = Array2::zeros((1, 4));
        let answers = classifier.classify(queries.view(), 2, None).unwrap();
        let mut again = Again::new(&gallery, &mut second).unwrap();
        let said = again.look(&[ink.view()], queries.view(), answers).unwrap_err().to_string();
        assert!(said.contains("class \"a\""), "{said}");
    }
}
