//! Which class a drawing is of, or that it is of none.

use super::{Loaded, Remote, Rule};
use crate::eval::bootstrap::Share;
use crate::search::{Hit, Index};
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::ArrayView2;
use serde::Serialize;
use std::str::FromStr;

/// What stands for a class of several examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shots {
    /// Every example: a class is as near as its nearest one.
    Best,
    /// The mean of its examples.
    Mean,
    /// The mean of its first K examples.
    First(usize),
}

impl FromStr for Shots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "mean" => Ok(Self::Mean),
            _ => match text.parse() {
                Ok(k) if k > 0 => Ok(Self::First(k)),
                _ => Err("give best, mean, or a number of examples, at least 1".into()),
            },
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Answer {
    /// The class; none where the rule calls the picture unknown.
    pub label: Option<String>,
    /// Distance to the nearest class.
    pub distance: f32,
    /// How much farther the second nearest class is; none where there is but one.
    pub margin: Option<f32>,
    /// How strange it is to the gallery, where that decides what is known; see [`Rule`].
    pub strangeness: Option<f32>,
    /// The nearest classes, nearest first; of equal distances the one enrolled first.
    pub nearest: Vec<Candidate>,
}

/// A class that may be the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// Its label.
    pub label: String,
    /// Its distance.
    pub distance: f32,
}

/// What is known, to be asked.
pub enum Known {
    /// All of it, in memory: answers are exact.
    Whole(Loaded),
    /// An index of it, elsewhere.
    Indexed(Remote),
}

impl From<Loaded> for Known {
    fn from(known: Loaded) -> Self {
        Self::Whole(known)
    }
}

/// A gallery, ready to answer.
pub struct Classifier(Way);

enum Way {
    Whole { labels: Vec<String>, index: Index },
    Indexed(Remote),
}

impl Classifier {
    /// Of what a gallery knows.
    ///
    /// # Errors
    /// Where that is nothing, or a class has fewer examples than [`Shots::First`] asks for.
    pub fn new(known: impl Into<Known>, distance: Distance, shots: Shots, at: &str) -> Result<Self> {
        let empty = || Error::invalid(at, "holds no example; enroll something");
        let known = match known.into() {
            Known::Indexed(remote) if remote.is_empty() => return Err(empty()),
            Known::Indexed(remote) => return Ok(Self(Way::Indexed(remote))),
            Known::Whole(known) if known.classes.is_empty() => return Err(empty()),
            Known::Whole(known) => known,
        };
        let Loaded { labels, embeddings, classes } = known;
        if shots == Shots::Best {
            return Ok(Self(Way::Whole { labels, index: Index::new(embeddings, classes, distance) }));
        }
        let mut groups = vec![Vec::new(); labels.len()];
        classes.iter().enumerate().for_each(|(i, &class)| groups[class as usize].push(i));
        if let Shots::First(k) = shots {
            if k == 0 {
                return Err(Error::invalid("--shots", "at least one example of a class is needed"));
            }
            if let Some((class, group)) = groups.iter().enumerate().find(|(_, g)| g.len() < k) {
                let (label, has) = (&labels[class], group.len());
                let why = format!("class {label:?} has {has} of the {k} examples that --shots asks for");
                return Err(Error::invalid(at, why));
            }
            groups.iter_mut().for_each(|g| g.truncate(k));
        }
        let means = crate::eval::prototypes(embeddings.view(), &groups);
        let places = (0..labels.len() as u32).collect();
        Ok(Self(Way::Whole { labels, index: Index::new(means, places, distance) }))
    }

    /// How often the nearest example is found, where that is not always.
    pub fn recall(&self) -> Option<Share> {
        match &self.0 {
            Way::Whole { .. } => None,
            Way::Indexed(remote) => Some(remote.recall()),
        }
    }

    /// Answers for queries `[M, D]`, with the `top` nearest classes each; without a rule nothing is unknown.
    ///
    /// # Errors
    /// Where the gallery is asked by its index: what its store fails in.
    pub fn classify(
        &self,
        queries: ArrayView2<'_, f32>,
        top: usize,
        rule: Option<&Rule>,
    ) -> Result<Vec<Answer>> {
        let reach = rule.map_or(0, |rule| rule.strangeness.reach());
        let wanted = top.max(reach).max(2);
        let found = match &self.0 {
            Way::Indexed(remote) => remote.search(queries, wanted)?,
            Way::Whole { labels, index } => {
                let candidate = |hit: &Hit| Candidate {
                    label: labels[hit.group as usize].clone(),
                    distance: hit.distance,
                };
                let found = index.search(queries, wanted);
                found.iter().map(|hits| hits.iter().map(candidate).collect()).collect()
            }
        };
        Ok(found.into_iter().map(|nearest| answer(nearest, top, rule)).collect())
    }
}

/// What the nearest classes mean.
fn answer(mut nearest: Vec<Candidate>, top: usize, rule: Option<&Rule>) -> Answer {
    let distances: Vec<f32> = nearest.iter().map(|candidate| candidate.distance).collect();
    let strangeness = rule.map(|rule| rule.strangeness.of(&distances));
    let known = rule.zip(strangeness).is_none_or(|(rule, strange)| strange <= rule.threshold);
    let distance = distances.first().copied().unwrap_or(f32::INFINITY);
    let label = nearest.first().filter(|_| known).map(|candidate| candidate.label.clone());
    nearest.truncate(top);
    Answer { label, distance, margin: distances.get(1).map(|second| second - distance), strangeness, nearest }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::{Array2, array};

    fn known() -> Loaded {
        Loaded {
            labels: ["a", "b", "c"].map(String::from).into(),
            embeddings: array![[0.0], [10.0], [4.0], [20.0], [6.0]],
            classes: vec![0, 1, 0, 2, 0],
        }
    }

    fn ask(shots: Shots, query: f32, threshold: Option<f32>) -> Answer {
        let classifier = Classifier::new(known(), Distance::L1, shots, "g").unwrap();
        classifier
            .classify(array![[query]].view(), 2, threshold.map(Rule::distance).as_ref())
            .unwrap()
            .remove(0)
    }

    #[test]
    fn the_nearest_example_or_the_mean_decides() {
        let best = ask(Shots::Best, 7.0, None);
        assert_eq!((best.label.as_deref(), best.distance, best.margin), (Some("a"), 1.0, Some(2.0)));
        // The mean of a is 10/3, of its first two 2.
        let mean = ask(Shots::Mean, 7.0, None);
        assert_eq!((mean.label.as_deref(), mean.distance), (Some("b"), 3.0));
        assert_eq!(ask(Shots::First(1), 6.0, None).nearest[1].distance, 6.0);
    }

    #[test]
    fn of_equal_distances_the_first_class_wins() {
        assert_eq!(ask(Shots::Best, 8.0, None).label.as_deref(), Some("a"));
        assert_eq!(ask(Shots::Best, 15.0, None).label.as_deref(), Some("b"));
        assert_eq!(ask(Shots::Best, 15.0, None).margin, Some(0.0));
    }

    #[test]
    fn beyond_the_threshold_it_is_unknown() {
        assert_eq!(ask(Shots::Best, 7.0, Some(1.0)).label.as_deref(), Some("a"));
        let unknown = ask(Shots::Best, 7.0, Some(0.99));
        assert_eq!((unknown.label, unknown.nearest.len()), (None, 2));
    }

    #[test]
    fn too_few_examples_are_an_error_that_names_the_class() {
        let refused = |shots| Classifier::new(known(), Distance::L1, shots, "g").err().unwrap().to_string();
        assert!(refused(Shots::First(2)).contains("class \"b\" has 1 of the 2"));
        assert!(refused(Shots::First(0)).contains("at least one"));
        let empty = Loaded { labels: vec![], embeddings: Array2::zeros((0, 1)), classes: vec![] };
        assert!(Classifier::new(empty, Distance::L1, Shots::Best, "g").is_err());
    }
}
