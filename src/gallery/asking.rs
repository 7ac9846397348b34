//! Which tower may ask a gallery: its own, or a newer one that was trained to be compatible with it.

use super::{AskedBy, Facts, Gallery, Loading};
use crate::tower::{self, TowerSpec};
use crate::{Error, Result};
use std::path::Path;

/// How a tower stands to a gallery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the gallery's own: it enrols and asks.
    Own,
    /// It was trained to be compatible with the gallery's own: it asks, and enrols nothing.
    Compatible,
}

impl Gallery {
    /// That this is the gallery's own tower.
    ///
    /// # Errors
    /// Where it is another one; both hashes are named.
    pub fn check(&self, tower: &TowerSpec) -> Result<()> {
        match self.standing(tower)? {
            Standing::Own => Ok(()),
            Standing::Compatible => {
                let facts = self.facts();
                let why = format!(
                    "belongs to the tower {} (SHA-256 {}); {} (SHA-256 {}) may ask it, but only embeddings of its own \
                     are enrolled and calibrated: name that tower, or let the gallery go over with `siamese migrate`",
                    facts.tower, facts.tower_sha256, tower.name, tower.sha256
                );
                Err(Error::invalid(self.location(), why))
            }
        }
    }

    /// How a tower stands to this gallery.
    ///
    /// # Errors
    /// A tower that is neither its own nor compatible with that; both hashes are named.
    pub fn standing(&self, tower: &TowerSpec) -> Result<Standing> {
        let facts = self.facts();
        if facts.tower_sha256 == tower.sha256 {
            return Ok(Standing::Own);
        }
        let alike = (tower.dim, &tower.distance) == (facts.dim, &facts.distance);
        if alike && tower.compatible_with.as_ref() == Some(&facts.tower_sha256) {
            return Ok(Standing::Compatible);
        }
        let why = format!(
            "belongs to the tower {} (SHA-256 {}), not to {} (SHA-256 {}); embeddings of different towers \
             cannot be compared, unless the newer one was trained for it (`siamese train --compatible-with`)",
            facts.tower, facts.tower_sha256, tower.name, tower.sha256
        );
        Err(Error::invalid(self.location(), why))
    }

    /// The tower that embeds what is asked about, by `load`: the file given, else the one that was chosen by
    /// [`Gallery::ask_by`], else the gallery's own.
    ///
    /// # Errors
    /// That file is no longer there; a tower that may not ask; those of `load`.
    pub fn asker(&self, given: Option<&Path>, load: impl FnOnce(&Path) -> Loading) -> Loading {
        let chosen = self.facts().asked_by.as_ref();
        let Some(path) = given.or(chosen.map(|newer| newer.tower_path.as_path())) else {
            return self.embedder(None, load);
        };
        if let Some(newer) = chosen.filter(|_| given.is_none() && !tower::exists(path)) {
            let why = format!(
                "is asked by the tower {}, which is no longer there; name it with --tower (SHA-256 {})",
                path.display(),
                newer.tower_sha256
            );
            return Err(Error::invalid(self.location(), why));
        }
        let embedder = load(path)?;
        self.standing(embedder.spec())?;
        Ok(embedder)
    }

    /// Has a newer tower, which lies there, embed what the gallery is asked about from now on; its own one again ends
    /// that.
    ///
    /// # Errors
    /// A tower that may not ask.
    pub fn ask_by(&mut self, tower: &TowerSpec, tower_path: &Path) -> Result<Standing> {
        let standing = self.standing(tower)?;
        let newer = (standing == Standing::Compatible).then(|| AskedBy::of(tower, tower_path));
        self.change_facts(&|facts| facts.asked_by.clone_from(&newer))?;
        Ok(standing)
    }
}

impl Facts {
    /// What to know of answers to a tower that is not the gallery's own, in words; none of its own.
    pub fn by_another(&self, tower: &TowerSpec) -> Option<String> {
        (self.tower_sha256 != tower.sha256).then(|| {
            let threshold = match (&self.identification, &self.threshold) {
                (None, None) => "",
                _ => "; the threshold was chosen by the older tower's embeddings, and may not fit",
            };
            format!(
                "asked by {} (SHA-256 {}), which was trained to be compatible with the gallery's tower {} (SHA-256 \
                 {}){threshold}",
                tower.name, tower.sha256, self.tower, self.tower_sha256
            )
        })
    }
}
