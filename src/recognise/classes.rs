//! Classes in memory, and what stands for each.

use super::answer::{answer, wanted};
use super::{Answer, Candidate, Rule};
use crate::search::{Hit, Index};
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use std::fmt;
use std::str::FromStr;

/// All embeddings of a gallery, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The labels, in the order of their first enrolment.
    pub labels: Vec<String>,
    /// `[N, D]`.
    pub embeddings: Array2<f32>,
    /// For each embedding its label's place.
    pub classes: Vec<u32>,
}

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

impl fmt::Display for Shots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Mean => f.write_str("mean"),
            Self::First(k) => write!(f, "{k}"),
        }
    }
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

/// Classes, ready to be searched; answers are exact.
pub struct Classes {
    labels: Vec<String>,
    index: Index,
}

impl Classes {
    /// Of what is known; `at` is what messages call it.
    ///
    /// # Errors
    /// Where that is nothing, or a class has fewer examples than [`Shots::First`] asks for.
    pub fn new(known: Loaded, distance: Distance, shots: Shots, at: &str) -> Result<Self> {
        let Loaded { labels, embeddings, classes } = known;
        if classes.is_empty() {
            return Err(Error::invalid(at, "holds no example; enroll something"));
        }
        if shots == Shots::Best {
            return Ok(Self { labels, index: Index::new(embeddings, classes, distance) });
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
        let means = prototypes(embeddings.view(), &groups);
        let places = (0..labels.len() as u32).collect();
        Ok(Self { labels, index: Index::new(means, places, distance) })
    }

    /// The `top` nearest classes of each query `[M, D]`, nearest first; of equal distances the one enrolled first.
    pub fn nearest(&self, queries: ArrayView2<'_, f32>, top: usize) -> Vec<Vec<Candidate>> {
        let candidate =
            |hit: &Hit| Candidate { label: self.labels[hit.group as usize].clone(), distance: hit.distance };
        let found = self.index.search(queries, top);
        found.iter().map(|hits| hits.iter().map(candidate).collect()).collect()
    }

    /// Answers for queries `[M, D]`, with the `top` nearest classes each; without a rule nothing is unknown.
    pub fn classify(&self, queries: ArrayView2<'_, f32>, top: usize, rule: Option<&Rule>) -> Vec<Answer> {
        let found = self.nearest(queries, wanted(top, rule)).into_iter();
        found.map(|nearest| answer(nearest, top, rule)).collect()
    }
}

/// The mean of each group of rows: `[groups, D]`, summed in order in f64.
pub fn prototypes(embeddings: ArrayView2<'_, f32>, groups: &[Vec<usize>]) -> Array2<f32> {
    let mut means = Array2::<f32>::zeros((groups.len(), embeddings.ncols()));
    for (mut mean, group) in means.outer_iter_mut().zip(groups) {
        for (j, value) in mean.iter_mut().enumerate() {
            let sum: f64 = group.iter().map(|&i| f64::from(embeddings[(i, j)])).sum();
            *value = (sum / group.len().max(1) as f64) as f32;
        }
    }
    means
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::array;

    fn known() -> Loaded {
        Loaded {
            labels: ["a", "b", "c"].map(String::from).into(),
            embeddings: array![[0.0], [10.0], [4.0], [20.0], [6.0]],
            classes: vec![0, 1, 0, 2, 0],
        }
    }

    fn ask(shots: Shots, query: f32, threshold: Option<f32>) -> Answer {
        let classes = Classes::new(known(), Distance::L1, shots, "g").unwrap();
        classes.classify(array![[query]].view(), 2, threshold.map(Rule::distance).as_ref()).remove(0)
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
        let refused = |shots| Classes::new(known(), Distance::L1, shots, "g").err().unwrap().to_string();
        assert!(refused(Shots::First(2)).contains("class \"b\" has 1 of the 2"));
        assert!(refused(Shots::First(0)).contains("at least one"));
        let empty = Loaded { labels: vec![], embeddings: Array2::zeros((0, 1)), classes: vec![] };
        assert!(Classes::new(empty, Distance::L1, Shots::Best, "g").is_err());
    }

    #[test]
    fn prototypes_are_means() {
        let known = array![[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]];
        assert_eq!(prototypes(known.view(), &[vec![0, 1], vec![2]]), array![[2.0, 4.0], [5.0, 5.0]]);
    }
}
