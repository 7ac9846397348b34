//! From where on a picture is unknown: what a gallery was calibrated to, whether that still fits, and how it
//! is calibrated again.

use super::{Facts, Gallery};
use crate::eval::identification::{self, Identification, Point, identify, left_out};
use crate::recognise::{Rule, Strangeness};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A threshold by pairs of pictures and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairThreshold {
    /// Embeddings at most this far apart are of the same class.
    pub distance: f32,
    /// How it was chosen: `equal error rate`, `FAR 0.001`.
    pub chosen_at: String,
    /// The data it was chosen on.
    pub data: String,
    /// Pairs of the same class.
    pub same_pairs: u64,
    /// Pairs of different classes.
    pub different_pairs: u64,
    /// The share of same pairs that it accepts.
    pub true_accept_rate: f64,
    /// The share of different pairs that it accepts.
    pub false_accept_rate: f64,
    /// Seconds since 1970.
    pub calibrated_unix_s: i64,
}

/// A fingerprint of the examples of a gallery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Their number.
    pub examples: u64,
    /// Sums over them, as the store has them.
    pub sums: [u64; 4],
}

/// A threshold for identification, and the gallery that it was chosen for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// How strange a query is.
    pub strangeness: Strangeness,
    /// The threshold and what it does.
    #[serde(flatten)]
    pub point: Point,
    /// Classes at that time.
    pub classes: usize,
    /// Examples at that time.
    pub examples: usize,
    /// Examples that were left out and asked.
    pub asked_examples: usize,
    /// Seconds since 1970.
    pub calibrated_unix_s: i64,
    /// The examples at that time.
    pub state: State,
}

impl From<&Identification> for Rule {
    fn from(found: &Identification) -> Self {
        Self { strangeness: found.strangeness, threshold: found.point.threshold }
    }
}

/// Beyond which distance a picture is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The threshold that the gallery was calibrated to; nothing is unknown before.
    Calibrated,
    /// None: nothing is unknown.
    None,
    /// This distance to the nearest class.
    At(f32),
}

impl Limit {
    /// The rule in a gallery with these facts.
    pub fn rule(self, facts: &Facts) -> Option<Rule> {
        match (self, &facts.identification) {
            (Self::None, _) => None,
            (Self::At(distance), _) => Some(Rule::distance(distance)),
            (Self::Calibrated, Some(Calibrated { strangeness, point, .. })) => {
                Some(Rule { strangeness: *strangeness, threshold: point.threshold })
            }
            (Self::Calibrated, None) => facts.threshold.as_ref().map(|t| Rule::distance(t.distance)),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Calibrated),
            "none" => Ok(Self::None),
            _ => match text.parse::<f32>() {
                Ok(x) if x.is_finite() => Ok(Self::At(x)),
                _ => Err("give auto, none, or a distance".into()),
            },
        }
    }
}

impl Gallery {
    /// Keeps a threshold by pairs.
    pub fn set_threshold(&mut self, threshold: PairThreshold) -> Result<()> {
        self.change_facts(&|facts| facts.threshold = Some(threshold.clone()))
    }

    /// Has the gallery calibrated again whenever it changes, or no longer.
    pub fn set_calibrates_itself(&mut self, does: bool) -> Result<()> {
        self.change_facts(&|facts| facts.calibrates_itself = does)
    }

    /// Leaves classes and examples out, and chooses the threshold for this rate of false positives: else the one
    /// that was asked for before, else [`identification::USUAL`].
    ///
    /// # Errors
    /// Where it cannot be told, or would reject everything.
    pub fn identify(&self, rate: Option<f64>) -> Result<Identification> {
        let before = self.facts().identification.as_ref().map(|i| i.point.asked);
        let rate = rate.or(before).unwrap_or(identification::USUAL);
        let known = self.load()?;
        let (asked, sample) = left_out(known.embeddings.view(), &known.classes, &self.facts().distance);
        identify(&asked, sample, rate, &self.location().to_string())
    }

    /// [`Gallery::identify`], kept.
    ///
    /// # Errors
    /// As there: the gallery then keeps what it had.
    pub fn calibrate(&mut self, rate: Option<f64>) -> Result<Identification> {
        // Before the examples are read: what comes in between makes the threshold stale.
        let state = self.state()?;
        let found = self.identify(rate)?;
        let calibrated = Calibrated {
            strangeness: found.strangeness,
            point: found.point.clone(),
            classes: found.classes,
            examples: found.examples,
            asked_examples: found.asked_examples,
            calibrated_unix_s: super::now(),
            state,
        };
        self.change_facts(&|facts| facts.identification = Some(calibrated.clone()))?;
        Ok(found)
    }

    /// Whether examples came or went since the threshold was chosen.
    pub fn is_stale(&self) -> Result<bool> {
        match &self.facts().identification {
            Some(calibrated) => Ok(self.state()? != calibrated.state),
            None => Ok(false),
        }
    }

    /// Why the threshold for the unknown may not fit, in words; none where it does, or there is none.
    pub fn doubts(&self) -> Result<Option<&'static str>> {
        let facts = self.facts();
        let by_pairs = facts.identification.is_none() && facts.threshold.is_some();
        Ok(if by_pairs {
            Some(
                "the threshold was chosen by pairs, and a picture meets every class: much that is unknown will be \
                 accepted; `siamese calibrate` chooses one for this gallery",
            )
        } else if self.is_stale()? {
            Some(
                "the gallery has changed since it was calibrated; its threshold still serves, and `siamese calibrate` \
                 chooses another",
            )
        } else {
            None
        })
    }
}

/// Calibrates a gallery again after a change, where it does so by itself or that is asked for. What was
/// changed stays as it is where it cannot be calibrated: then it is told why.
pub fn recalibrate(gallery: &mut Gallery, asked: bool) -> Option<Result<Identification, Error>> {
    (asked || gallery.facts().calibrates_itself).then(|| gallery.calibrate(None))
}
