//! Which class a drawing is of, or that it is of none, whatever way a gallery is asked.

use super::Remote;
use crate::eval::bootstrap::Share;
use crate::recognise::{Answer, Classes, Loaded, Rule, Shots, answer, wanted};
use crate::tower::Distance;
use crate::{Error, Result};
use ndarray::ArrayView2;

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
    Whole(Classes),
    Indexed(Remote),
}

impl Classifier {
    /// Of what a gallery knows.
    ///
    /// # Errors
    /// Where that is nothing, or a class has fewer examples than [`Shots::First`] asks for.
    pub fn new(known: impl Into<Known>, distance: Distance, shots: Shots, at: &str) -> Result<Self> {
        match known.into() {
            Known::Indexed(remote) if remote.is_empty() => {
                Err(Error::invalid(at, "holds no example; enroll something"))
            }
            Known::Indexed(remote) => Ok(Self(Way::Indexed(remote))),
            Known::Whole(known) => Classes::new(known, distance, shots, at).map(|all| Self(Way::Whole(all))),
        }
    }

    /// How often the nearest example is found, where that is not always.
    pub fn recall(&self) -> Option<Share> {
        match &self.0 {
            Way::Whole(_) => None,
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
        let found = match &self.0 {
            Way::Whole(classes) => return Ok(classes.classify(queries, top, rule)),
            Way::Indexed(remote) => remote.search(queries, wanted(top, rule))?,
        };
        Ok(found.into_iter().map(|nearest| answer(nearest, top, rule)).collect())
    }
}
