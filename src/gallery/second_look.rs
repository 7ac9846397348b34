//! A second look at the nearest classes of a gallery: the picture that is asked about and the nearest example of each
//! class, whose picture the gallery has kept, are compared once more by copies, by one tower or two.

use super::{Answer, Candidate, Gallery, Picture};
use crate::eval::between;
use crate::image;
use crate::second_look::{REACH, SecondLook};
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::{Array1, Array3, Array4, ArrayView1, ArrayView2, ArrayView3, Axis};
use serde::Serialize;
use std::collections::HashMap;

/// What a second look saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Looked {
    /// Whether it put another class first than the tower.
    pub changed: bool,
    /// SHA-256 of the other tower that looked beside the one that answers, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_tower_sha256: Option<String>,
    /// The classes that it looked at, in its order.
    pub candidates: Vec<Compared>,
}

/// A class that was looked at again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema), schema(as = LookedAt))]
pub struct Compared {
    /// Its label.
    pub label: String,
    /// Its distance by the tower.
    pub distance: f32,
    /// The distance of the means over copies, which decides; of two towers the sum of theirs.
    pub again: f32,
    /// Of two towers each one's distance of means, that of the tower that answers first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub again_by: Vec<f32>,
}

/// The kept examples of a gallery, and what was seen of them.
pub(crate) struct Again {
    /// The gallery, as messages call it.
    at: String,
    /// Of each class its examples whose pictures were kept.
    examples: HashMap<String, Vec<Kept>>,
    /// The means of the kept pictures that were needed so far, by their numbers; for each tower one.
    means: HashMap<i64, Vec<Array1<f32>>>,
}

struct Kept {
    embedding: Vec<f32>,
    picture: i64,
}

/// Pictures that are asked about, and what the tower made of them.
pub(crate) struct Asked<'a> {
    /// As each tower sees them, `[N, C, S, S]` for each.
    pub views: &'a [Array4<u8>],
    /// `[N, D]`.
    pub embeddings: ArrayView2<'a, f32>,
    /// The answers, with at least [`REACH`] of the nearest classes, or all.
    pub answers: Vec<Answer>,
}

impl Again {
    /// Of what a gallery has kept; messages call it `at`.
    ///
    /// # Errors
    /// A gallery that has kept no picture, or cannot be read.
    pub fn of(gallery: &Gallery, at: String) -> Result<Self> {
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
            return Err(Error::invalid(at, why));
        }
        Ok(Self { at, examples, means: HashMap::new() })
    }

    /// Puts the nearest classes of pictures in order anew; `kept` reads the gallery's picture of a number. What makes a
    /// picture unknown stays as the tower has it.
    ///
    /// # Errors
    /// A class whose pictures were not kept; a kept picture that cannot be read; those of the runtime.
    pub fn look(
        &mut self,
        second: &mut SecondLook,
        asked: Asked<'_>,
        kept: impl Fn(i64) -> Result<Picture>,
    ) -> Result<Vec<(Answer, Looked)>> {
        let Asked { views, embeddings, answers } = asked;
        let (distances, own) = (second.distances(), second.tower().distance.clone());
        let mut known = Vec::new();
        for (answer, embedding) in answers.iter().zip(embeddings.outer_iter()) {
            let near = answer.nearest.iter().take(REACH);
            let near = near.map(|class| self.nearest(&class.label, embedding, &own));
            known.push(near.collect::<Result<Vec<_>>>()?);
        }
        self.read(second, known.iter().flatten(), kept)?;
        let asked = means(second, views)?;
        let other = second.other().map(|tower| tower.sha256.clone());
        let looked = answers.into_iter().zip(&known).zip(&asked).map(|((answer, known), asked)| {
            let again = known.iter().map(|picture| apart(&distances, asked, &self.means[picture]));
            let (answer, looked) = ordered(answer, again.collect());
            (answer, Looked { other_tower_sha256: other.clone(), ..looked })
        });
        Ok(looked.collect())
    }

    /// The picture of the nearest example of a class that has one.
    fn nearest(&self, label: &str, embedding: ArrayView1<'_, f32>, distance: &Distance) -> Result<i64> {
        let far = |kept: &Kept| between(distance, embedding, ArrayView1::from(&kept.embedding));
        let examples = self.examples.get(label).into_iter().flatten();
        let nearest = examples.min_by(|a, b| far(a).total_cmp(&far(b)));
        nearest.map(|kept| kept.picture).ok_or_else(|| {
            let why = format!(
                "has kept no picture of class {label:?}, which a second look compares; enroll it again with \
                 --keep-pictures"
            );
            Error::invalid(&self.at, why)
        })
    }

    /// Sees to the means of kept pictures.
    fn read<'n>(
        &mut self,
        second: &mut SecondLook,
        numbers: impl Iterator<Item = &'n i64>,
        kept: impl Fn(i64) -> Result<Picture>,
    ) -> Result<()> {
        let mut new: Vec<i64> = numbers.copied().filter(|number| !self.means.contains_key(number)).collect();
        new.sort_unstable();
        new.dedup();
        let files = new.iter().map(|&number| kept(number)).collect::<Result<Vec<_>>>()?;
        let decode = |i: usize, how: &image::Preprocessing| {
            image::decode(&files[i], &format!("the kept picture {}", new[i]), how)
        };
        let how = second.tower().preprocessing.clone();
        let pictures = (0..new.len()).map(|i| decode(i, &how)).collect::<Result<Vec<Array3<u8>>>>()?;
        let pictures: Vec<ArrayView3<'_, u8>> = pictures.iter().map(|picture| picture.view()).collect();
        let views = second.views(&pictures, decode)?;
        let means = means(second, &views)?;
        self.means.extend(new.iter().copied().zip(means));
        Ok(())
    }
}

/// Of each picture its means by each tower.
fn means(second: &mut SecondLook, views: &[Array4<u8>]) -> Result<Vec<Vec<Array1<f32>>>> {
    let mut all = vec![Vec::new(); views.first().map_or(0, |view| view.len_of(Axis(0)))];
    for (look, view) in second.looks().zip(views) {
        let means = look.means(view.view(), |_| ())?;
        all.iter_mut().zip(means.outer_iter()).for_each(|(all, mean)| all.push(mean.to_owned()));
    }
    Ok(all)
}

/// How far apart two pictures are by each tower.
fn apart(distances: &[Distance], a: &[Array1<f32>], b: &[Array1<f32>]) -> Vec<f32> {
    distances.iter().zip(a).zip(b).map(|((how, a), b)| between(how, a.view(), b.view())).collect()
}

/// The answer after a second look, which has its nearest classes at these distances, by each tower; of equal ones the
/// tower's order stays.
fn ordered(mut answer: Answer, again: Vec<Vec<f32>>) -> (Answer, Looked) {
    let near = answer.nearest.drain(..again.len());
    let compared = |(class, by): (Candidate, Vec<f32>)| {
        let again = by.iter().sum();
        let again_by = if by.len() > 1 { by } else { Vec::new() };
        Compared { label: class.label, distance: class.distance, again, again_by }
    };
    let mut candidates: Vec<Compared> = near.zip(again).map(compared).collect();
    candidates.sort_by(|a, b| a.again.total_cmp(&b.again));
    let first = candidates.first().map(|class| class.label.clone());
    let changed = answer.label.is_some() && answer.label != first;
    answer.label = answer.label.and(first);
    let candidate = |class: &Compared| Candidate { label: class.label.clone(), distance: class.distance };
    answer.nearest.splice(0..0, candidates.iter().map(candidate));
    (answer, Looked { changed, other_tower_sha256: None, candidates })
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
        let mut again = Again::of(&gallery, "g".into()).unwrap();
        let views = [picture(3).1.insert_axis(Axis(0))];
        let asked = Asked { views: &views, embeddings: queries.view(), answers: vec![answer.clone()] };
        let kept = |number| gallery.picture(number);
        let (after, looked) = again.look(&mut second, asked, kept).unwrap().remove(0);
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
        let (after, looked) = ordered(answer.clone(), vec![vec![3.0]; 2]);
        assert_eq!((after, looked.changed), (answer, false));
    }

    #[test]
    fn pictures_that_were_not_kept_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = make(&folder.path().join("g"), TowerKind::Float);
        gallery.enroll(&[example("a", "a", [0.0; 4])]).unwrap();
        let mut second = SecondLook::by(Box::new(MockEmbedder::new(8, 4))).unwrap();
        let said = Again::of(&gallery, "g".into()).err().unwrap().to_string();
        assert!(said.contains("--keep-pictures"), "{said}");
        gallery.keep_pictures().unwrap();
        let (kept, ink) = picture(3);
        gallery.enroll_with(&[example("b", "b", [1.0, 0.0, 0.0, 0.0])], &[Some(kept)]).unwrap();
        let (known, distance) = (gallery.load().unwrap(), gallery.facts().distance.clone());
        let classifier = Classifier::new(known, distance, Shots::Best, "g").unwrap();
        let queries = Array2::zeros((1, 4));
        let answers = classifier.classify(queries.view(), 2, None).unwrap();
        let mut again = Again::of(&gallery, "g".into()).unwrap();
        let views = [ink.insert_axis(Axis(0))];
        let asked = Asked { views: &views, embeddings: queries.view(), answers };
        let said = again.look(&mut second, asked, |n| gallery.picture(n)).unwrap_err().to_string();
        assert!(said.contains("class \"a\""), "{said}");
    }
}
