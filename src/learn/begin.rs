//! What learning begins with: a tower and the pictures as it sees them. Where no tower is named, those at hand
//! that fit the pictures (ink or colours) are asked to recognise some of them as they are, and the best begins.

use super::material::Material;
use super::trial::{Shares, folds, gain, measure};
use super::{SEED, Task, Watch};
use crate::Result;
use crate::data::{self, Dataset};
use crate::image::Triage;
use crate::tower::{self, TowerSpec};
use std::path::{Path, PathBuf};

/// Classes, and pictures of each, by which towers are compared before one begins.
const CLASSES: usize = 60;
const PICTURES: usize = 8;

/// A tower and what it makes of the pictures.
pub(super) struct Begun {
    /// The tower's file or name.
    pub tower: PathBuf,
    pub data: Dataset,
    pub material: Material,
}

impl Begun {
    /// With the tower that a task names, or the best at hand.
    ///
    /// # Errors
    /// A tower or pictures that cannot be used.
    pub fn with(task: &Task<'_>, watch: &mut dyn Watch) -> Result<Self> {
        let tower = match task.tower {
            Some(named) => named.to_path_buf(),
            None => best_at_hand(task, watch)?,
        };
        let (spec, _) = TowerSpec::read(&tower)?;
        watch.say(&format!("reading {} as {} sees it", task.pictures.display(), spec.name));
        let data = data::folder(task.pictures, &spec.preprocessing, task.triage)?;
        let material = Material::of(&tower, task.runner, &data)?;
        Ok(Self { tower, data, material })
    }
}

/// The tower that recognises some of the pictures best, of those that fit them.
fn best_at_hand(task: &Task<'_>, watch: &mut dyn Watch) -> Result<PathBuf> {
    let coloured = data::Survey::of_sample(task.pictures)?.is_coloured();
    let towers = tower::at_hand(coloured);
    let mut best: Option<(&PathBuf, Shares)> = None;
    for tower in towers.iter().filter(|_| towers.len() > 1) {
        watch.say(&format!("asking {} as it is about some of the pictures", tower.display()));
        let Some(shares) = shares(task, tower)? else { continue };
        if best.as_ref().is_none_or(|(_, least)| gain(least, &shares).0 > 0.0) {
            best = Some((tower, shares));
        }
    }
    let first = || towers.first().cloned().unwrap_or_else(|| tower::DEFAULT.into());
    Ok(best.map_or_else(first, |(tower, _)| tower.clone()))
}

/// What a tower knows of some of the pictures; none where they are too few to tell.
fn shares(task: &Task<'_>, tower: &Path) -> Result<Option<Shares>> {
    let (spec, _) = TowerSpec::read(tower)?;
    let all = data::folder(task.pictures, &spec.preprocessing, &Triage::lenient(drop))?;
    let some = all.subset(&some(&all.by_class()));
    let material = Material::of(tower, task.runner, &some)?;
    let folds = folds(&some.by_class(), SEED);
    Ok(measure(&folds, &spec.distance, |_| Some(material.embeddings.clone())))
}

/// A few pictures of a few of the classes that can be asked about.
fn some(classes: &[Vec<usize>]) -> Vec<usize> {
    let several: Vec<&Vec<usize>> = classes.iter().filter(|members| members.len() > 1).collect();
    let apart = several.len().div_ceil(CLASSES).max(1);
    several.iter().step_by(apart).flat_map(|members| members.iter().take(PICTURES)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_a_few_of_each_of_a_few_classes() {
        let classes: Vec<Vec<usize>> =
            (0..100).map(|class| (20 * class..20 * class + class % 20).collect()).collect();
        let some = some(&classes);
        let of = |class: usize| some.iter().filter(|picture| *picture / 20 == class).count();
        assert!(
            (0..100).all(|class| [0, PICTURES.min(class % 20)].contains(&of(class))
                && (class % 20 > 1 || of(class) == 0))
        );
        assert!((0..100).filter(|class| of(*class) > 0).count() <= CLASSES && some.len() > 100);
        assert!(super::some(&[vec![0], vec![]]).is_empty());
    }
}
