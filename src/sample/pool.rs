//! What samplers ask of a data set: drawings by class, classes by alphabet, and errors that name
//! the class where there are too few.

use crate::data::Dataset;
use crate::random::{Stream, below, draw};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Drawings by class, and the classes that have any by alphabet.
pub(super) struct Pool {
    /// The images of each class.
    pub members: Vec<Vec<usize>>,
    /// The classes that have images.
    pub classes: Vec<usize>,
    /// The same by alphabet; alphabets without any are left out.
    pub alphabets: Vec<Vec<usize>>,
}

impl Pool {
    pub(super) fn new(data: &Dataset) -> Self {
        let members = data.by_class();
        let classes = (0..members.len()).filter(|&c| !members[c].is_empty()).collect();
        let mut alphabets: Vec<Vec<usize>> = data
            .by_alphabet()
            .into_iter()
            .map(|all| all.into_iter().map(|c| c as usize).filter(|&c| !members[c].is_empty()).collect())
            .collect();
        alphabets.retain(|a| !a.is_empty());
        Self { members, classes, alphabets }
    }

    /// An error unless every class with images has at least `count`.
    pub(super) fn need_drawings(&self, data: &Dataset, count: usize, what: &str) -> Result<()> {
        match self.classes.iter().find(|&&c| self.members[c].len() < count) {
            None => Ok(()),
            Some(&c) => {
                let has = self.members[c].len();
                let why = format!("{what}, but class {} has {has} drawings", class_name(data, c));
                Err(Error::invalid(&data.name, why))
            }
        }
    }

    /// An error unless there are at least `count` classes with images.
    pub(super) fn need_classes(&self, data: &Dataset, count: usize, what: &str) -> Result<()> {
        if self.classes.len() >= count {
            return Ok(());
        }
        let why = format!("{what}, but there are {} classes with drawings", self.classes.len());
        Err(Error::invalid(&data.name, why))
    }

    /// Draws `count` classes out of all.
    pub(super) fn any_classes(&self, rng: &mut Stream, count: usize) -> Vec<usize> {
        draw(rng, &mut self.classes.clone(), count).to_vec()
    }

    /// Draws two different classes.
    pub(super) fn two_classes(&self, rng: &mut Stream) -> (usize, usize) {
        let a = below(rng, self.classes.len());
        let b = below(rng, self.classes.len() - 1);
        (self.classes[a], self.classes[if b >= a { b + 1 } else { b }])
    }

    /// Draws `count` classes alphabet by alphabet: whole alphabets in random order, until there
    /// are enough, and of the last one only some. Each comes with its alphabet's place in the draw.
    pub(super) fn neighbours(&self, rng: &mut Stream, count: usize) -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..self.alphabets.len()).collect();
        let mut drawn = Vec::with_capacity(count);
        for place in 0..order.len() {
            if drawn.len() == count {
                break;
            }
            let alphabet = draw(rng, &mut order[place..], 1)[0];
            let mut classes = self.alphabets[alphabet].clone();
            let some = classes.len().min(count - drawn.len());
            drawn.extend(draw(rng, &mut classes, some).iter().map(|&class| (class, place)));
        }
        drawn
    }

    /// Draws `count` different drawings of a class.
    pub(super) fn drawings(&self, rng: &mut Stream, class: usize, count: usize) -> Vec<usize> {
        draw(rng, &mut self.members[class].clone(), count).to_vec()
    }

    /// Draws `count` drawings of a class by different people: people as the dice fall, of each the drawing
    /// that falls first.
    pub(super) fn drawings_apart(
        &self,
        rng: &mut Stream,
        class: usize,
        count: usize,
        drawers: &[u16],
    ) -> Vec<usize> {
        let mut drawn = Vec::with_capacity(count);
        for image in self.drawings(rng, class, self.members[class].len()) {
            let new = drawn.iter().all(|&other: &usize| drawers[other] != drawers[image]);
            if new && drawn.len() < count {
                drawn.push(image);
            }
        }
        drawn
    }

    /// An error unless at least `count` people drew every class with images.
    pub(super) fn need_drawers(&self, data: &Dataset, count: usize, what: &str) -> Result<()> {
        let people = |&class: &usize| {
            self.members[class].iter().map(|&image| data.drawers[image]).collect::<BTreeSet<_>>().len()
        };
        match self.classes.iter().find(|class| people(class) < count) {
            None => Ok(()),
            Some(class) => {
                let why = format!(
                    "{what}, but class {} is by {}; a file of makers (--makers, `makers` of the recipe's data) tells them apart",
                    class_name(data, *class),
                    people(class)
                );
                Err(Error::invalid(&data.name, why))
            }
        }
    }

    /// Draws one drawing of a class.
    pub(super) fn drawing(&self, rng: &mut Stream, class: usize) -> usize {
        self.members[class][below(rng, self.members[class].len())]
    }
}

/// `alphabet/character` for messages.
pub(super) fn class_name(data: &Dataset, class: usize) -> String {
    let c = &data.classes[class];
    match data.alphabets.get(c.alphabet as usize) {
        Some(alphabet) if data.alphabets.len() > 1 => format!("{alphabet}/{}", c.name),
        _ => c.name.clone(),
    }
}
