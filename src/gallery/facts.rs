//! What a gallery knows about itself.

use super::{Calibrated, Indexed, PairThreshold};
use crate::tower::{self, Distance, TowerKind, TowerSpec};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a gallery knows about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The tower's name.
    pub tower: String,
    /// SHA-256 of the tower's file.
    pub tower_sha256: String,
    /// How the tower's numbers are made.
    pub kind: TowerKind,
    /// Where the tower's file was when the gallery was made.
    pub tower_path: PathBuf,
    /// D, the numbers of an embedding.
    pub dim: usize,
    /// The distance that decides.
    pub distance: Distance,
    /// At which distance two pictures show the same, where that was calibrated by pairs. Galleries of before
    /// there was [`Facts::identification`] tell by it what is unknown.
    pub threshold: Option<PairThreshold>,
    /// From where on a query is unknown to the gallery as it was when it was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identification: Option<Calibrated>,
    /// Whether the gallery is calibrated again whenever it changes.
    #[serde(default)]
    pub calibrates_itself: bool,
    /// The index by which its examples are found; without one all are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexed: Option<Indexed>,
    /// Whether it keeps the pictures of what is enrolled.
    #[serde(default)]
    pub keeps_pictures: bool,
    /// The newer tower that embeds what it is asked about; none where that is the gallery's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<AskedBy>,
    /// The towers that it went over from, the last one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
}

/// A newer tower that a gallery is asked by: one that was trained to be compatible with the gallery's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedBy {
    /// Its name.
    pub tower: String,
    /// SHA-256 of its file.
    pub tower_sha256: String,
    /// Where that file was.
    pub tower_path: PathBuf,
    /// Since when, seconds since 1970.
    pub since_unix_s: i64,
}

impl AskedBy {
    /// From now on.
    pub(super) fn of(tower: &TowerSpec, tower_path: &Path) -> Self {
        Self {
            tower: tower.name.clone(),
            tower_sha256: tower.sha256.clone(),
            tower_path: lasting(tower_path),
            since_unix_s: super::now(),
        }
    }
}

/// A tower that a gallery once had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// Its name.
    pub tower: String,
    /// SHA-256 of its file.
    pub tower_sha256: String,
    /// When the gallery went over to another one, seconds since 1970.
    pub until_unix_s: i64,
}

impl Facts {
    /// Of a new gallery of a tower, which lies there.
    pub(super) fn of(tower: &TowerSpec, tower_path: &Path) -> Self {
        Self {
            tower: tower.name.clone(),
            tower_sha256: tower.sha256.clone(),
            kind: tower.kind,
            tower_path: lasting(tower_path),
            dim: tower.dim,
            distance: tower.distance.clone(),
            threshold: None,
            identification: None,
            calibrates_itself: false,
            indexed: None,
            keeps_pictures: false,
            asked_by: None,
            former: Vec::new(),
        }
    }
}

/// A tower's path or name, so that it means the same in every folder.
fn lasting(tower: &Path) -> PathBuf {
    match tower.canonicalize() {
        Ok(path) if !tower::is_named(tower) => path,
        _ => tower.into(),
    }
}
