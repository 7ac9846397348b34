//! An exported gallery, ready to answer.

use crate::recognise::{Answer, Classes, Exported, Rule};
use crate::tower::TowerSpec;
use crate::{Error, Result};
use ndarray::ArrayView2;
use serde::Serialize;

const AT: &str = "the gallery";

/// A gallery of a tower, in memory.
pub struct Gallery {
    about: About,
    classes: Classes,
    dim: usize,
}

/// What a gallery tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct About {
    /// What it is called.
    gallery: String,
    /// Its tower's name.
    tower: String,
    /// Why its threshold may not fit.
    doubts: Option<String>,
    /// When a picture is unknown.
    #[serde(flatten)]
    rule: Option<Rule>,
    /// Its classes, in the order of their first enrolment.
    classes: Vec<Class>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Class {
    label: String,
    examples: u32,
}

impl Gallery {
    /// Of an exported gallery's bytes, which must be this tower's.
    ///
    /// # Errors
    /// As [`Exported::read`] and [`Exported::check`]; a gallery without examples.
    pub fn open(bytes: &[u8], tower: &TowerSpec) -> Result<Self> {
        let exported = Exported::read(bytes, AT)?;
        exported.check(tower, AT)?;
        let Exported { facts, known } = exported;
        let classes = known.labels.iter().map(|label| Class { label: label.clone(), examples: 0 });
        let mut classes: Vec<Class> = classes.collect();
        known.classes.iter().for_each(|&place| classes[place as usize].examples += 1);
        let (gallery, tower_name, doubts, rule) = (facts.gallery, facts.tower, facts.doubts, facts.rule);
        let about = About { gallery, tower: tower_name, doubts, rule, classes };
        let classes = Classes::new(known, tower.distance.clone(), facts.shots, AT)?;
        Ok(Self { about, classes, dim: tower.dim })
    }

    /// What it tells of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The answer to an embedding `[D]`, with the `top` nearest classes.
    ///
    /// # Errors
    /// An embedding of another length.
    pub fn answer(&self, embedding: &[f32], top: usize) -> Result<Answer> {
        let query = ArrayView2::from_shape((1, self.dim), embedding).map_err(|_| {
            let why = format!("has {} numbers, and the gallery's have {}", embedding.len(), self.dim);
            Error::invalid("the embedding", why)
        })?;
        Ok(self.classes.classify(query, top, self.about.rule.as_ref()).swap_remove(0))
    }
}
