//! How strange a query is to a gallery.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The classes after the nearest that say how crowded the place is.
const COHORT: usize = 5;
/// The part of their mean distance that is taken off.
const SHARE: f64 = 0.5;
/// The name of what a cohort is taken off from, before its number.
const NAME: &str = "cohort-";

/// How strange a query is: d₁ − ½·mean(d₂ … d₁₊ₖ), of the distances to its nearest classes.
///
/// Distances alone mean something else in a crowded place than in an empty one: what is near to one class of
/// many that lie together is less sure to be of it than what is as near to a class that lies apart. So the
/// distance is told against the classes that follow, the *cohort* of speaker recognition (Rosenberg et al.
/// 1992; Auckenthaler, Carey, Lloyd-Thomas 2000). Of the scores that were tried on galleries of held-out
/// classes with three examples each (d₁; d₁/d₂; d₁ − d₂; d₁ less or over the mean of 3, 5, 10 and 20 followers, whole
/// or in parts; z-norm over all classes; symmetric norm; with the spread of the class) this one is, at the
/// same false positives, within 0.5 points of the best true positives of drawings where classes are few, and
/// above d₁ alone where they are many: at 1 % of 300 classes of Omniglot by 7 points, among 150 emoji by 4 at
/// 5 % and by 5 at 10 %. Whole cohorts and ratios gain a point more on emoji and lose up to 10 on
/// drawings; the class's spread, of three examples, is too coarse to help. Only differences are taken, so
/// distances that are negative (weighted L1) have it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Strangeness {
    /// k; 0 is the distance to the nearest class alone.
    cohort: usize,
}

impl Strangeness {
    /// That of a gallery of so many classes: after two were left out there must be a cohort still.
    pub fn among(classes: usize) -> Self {
        Self { cohort: COHORT.min(classes.saturating_sub(3)) }
    }

    /// The nearest classes that it takes: 1 + k.
    pub fn reach(self) -> usize {
        1 + self.cohort
    }

    /// Of the distances to the nearest classes, nearest first; those beyond its reach are passed over.
    pub fn of(self, nearest: &[f32]) -> f32 {
        let Some((&first, rest)) = nearest.split_first() else { return f32::INFINITY };
        let cohort = &rest[..self.cohort.min(rest.len())];
        if cohort.is_empty() {
            return first;
        }
        let mean = cohort.iter().map(|&d| f64::from(d)).sum::<f64>() / cohort.len() as f64;
        (f64::from(first) - SHARE * mean) as f32
    }
}

impl fmt::Display for Strangeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cohort {
            0 => f.write_str("distance"),
            k => write!(f, "{NAME}{k}"),
        }
    }
}

impl From<Strangeness> for String {
    fn from(strangeness: Strangeness) -> Self {
        strangeness.to_string()
    }
}

impl TryFrom<String> for Strangeness {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let cohort = match name.strip_prefix(NAME) {
            Some(k) => k.parse().ok().filter(|&k| k > 0),
            None => (name == "distance").then_some(0),
        };
        cohort.map(|cohort| Self { cohort }).ok_or_else(|| format!("{name:?} is no score of this program"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn half_the_mean_of_the_followers_is_taken_off() {
        let three = Strangeness { cohort: 2 };
        assert_eq!(three.of(&[1.0, 2.0, 4.0, 100.0]), 1.0 - 1.5);
        assert_eq!(Strangeness::among(3).of(&[1.0, 2.0]), 1.0);
        assert_eq!((Strangeness::among(100).reach(), Strangeness::among(5).reach()), (6, 3));
        assert_eq!(three.of(&[]), f32::INFINITY);
    }

    #[test]
    fn names_come_back() {
        for (classes, name) in [(3, "\"distance\""), (4, "\"cohort-1\""), (99, "\"cohort-5\"")] {
            let one = Strangeness::among(classes);
            assert_eq!(serde_json::to_string(&one).unwrap(), name);
            assert_eq!(serde_json::from_str::<Strangeness>(name).unwrap(), one);
        }
        for bad in ["\"cohort-0\"", "\"cohort-x\"", "\"ratio\""] {
            assert!(serde_json::from_str::<Strangeness>(bad).is_err(), "{bad}");
        }
    }
}
