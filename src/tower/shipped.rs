//! The towers that have names: those inside the program, and those that `siamese model get` made of published networks
//! and keeps in the cache. Where a file is asked for, their name is enough, in any folder.

use super::MAX_BYTES;
use crate::pretrained::{PUBLISHED, Published};
use crate::{Error, Result, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A tower inside the program.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whether it sees colours, not ink alone.
    pub coloured: bool,
    /// Its file.
    #[serde(skip)]
    pub bytes: &'static [u8],
}

/// How the name of an exact tower ends.
const EXACT: &str = "-exact";

/// The tower of a new gallery of drawings for which none is named.
pub const DEFAULT: &str = "omniglot-edge-exact";

/// The tower of a new gallery of pictures in colour for which none is named.
pub const DEFAULT_IN_COLOUR: &str = "emoji-edge-exact";

/// All of them. The edge build holds exact ones alone, which answer by themselves.
pub const SHIPPED: &[Shipped] = &[
    Shipped {
        name: DEFAULT,
        about: "drawn characters and signs, any size and place; exact: the same bits on every machine",
        coloured: false,
        bytes: include_bytes!("../../onnx/omniglot-edge/tower.exact.onnx"),
    },
    #[cfg(feature = "ort")]
    Shipped {
        name: "omniglot-edge",
        about: "the same in floating point, as it was trained",
        coloured: false,
        bytes: include_bytes!("../../onnx/omniglot-edge/tower.onnx"),
    },
    Shipped {
        name: DEFAULT_IN_COLOUR,
        about: "small pictures in colour, 48×48: signs, icons, emoji; exact",
        coloured: true,
        bytes: include_bytes!("../../onnx/emoji-edge/tower.exact.onnx"),
    },
    #[cfg(feature = "ort")]
    Shipped {
        name: "emoji-edge",
        about: "the same in floating point, as it was trained",
        coloured: true,
        bytes: include_bytes!("../../onnx/emoji-edge/tower.onnx"),
    },
    #[cfg(feature = "ort")]
    Shipped {
        name: "omniglot-look-exact",
        about: "looks again at drawn characters beside omniglot-edge-exact (`--second-look=omniglot-look-exact`); exact",
        coloured: false,
        bytes: include_bytes!("../../onnx/omniglot-look/tower.exact.onnx"),
    },
    #[cfg(feature = "ort")]
    Shipped {
        name: "omniglot-look",
        about: "the same in floating point, as it was trained",
        coloured: false,
        bytes: include_bytes!("../../onnx/omniglot-look/tower.onnx"),
    },
];

impl Shipped {
    /// The tower that a path means: a shipped one's name, where there is no file of that name.
    pub fn find(path: &Path) -> Option<&'static Self> {
        let shipped = SHIPPED.iter().find(|tower| path == Path::new(tower.name))?;
        (!path.is_file()).then_some(shipped)
    }
}

/// The names of the towers at hand for pictures in colour, or of ink: the shipped one, in floating point where this
/// program has it, and those that were fetched.
pub fn at_hand(coloured: bool) -> Vec<PathBuf> {
    let shipped = SHIPPED.iter().filter(|tower| tower.coloured == coloured).map(|tower| tower.name);
    let float = shipped.clone().find(|name| !name.ends_with(EXACT));
    let fetched = PUBLISHED
        .iter()
        .map(|network| network.name)
        .filter(|name| coloured && fetched(Path::new(name)).is_some());
    float.or_else(|| shipped.clone().next()).into_iter().chain(fetched).map(PathBuf::from).collect()
}

/// The exact tower that is shipped beside a float one.
pub fn exact_sibling(tower: &Path) -> Option<PathBuf> {
    Shipped::find(tower)?;
    let exact = PathBuf::from(format!("{}{EXACT}", tower.display()));
    Shipped::find(&exact).map(|_| exact)
}

/// Where the tower of a published network is kept; none where this user has no cache.
pub fn kept(published: &Published) -> Option<PathBuf> {
    Some(files::cache_dir()?.join("models").join(format!("{}.onnx", published.name)))
}

/// The published network whose name a path is, where there is no file of that name.
fn published(path: &Path) -> Option<&'static Published> {
    let published = PUBLISHED.iter().find(|published| path == Path::new(published.name))?;
    (!path.is_file()).then_some(published)
}

/// The kept tower that a path means.
fn fetched(path: &Path) -> Option<PathBuf> {
    published(path).and_then(kept).filter(|file| file.is_file())
}

/// Whether a path is the name of a tower, and no file.
pub fn is_named(path: &Path) -> bool {
    Shipped::find(path).is_some() || published(path).is_some()
}

/// Whether [`read_bytes`] would find something.
pub fn exists(path: &Path) -> bool {
    path.exists() || Shipped::find(path).is_some() || fetched(path).is_some()
}

/// The bytes of a model file, or of the tower of that name.
///
/// # Errors
/// A file that cannot be read, or is longer than the format allows; of what could be a name, those that there are
/// are told, and how one that was not fetched yet can be had.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    if let Some(tower) = Shipped::find(path) {
        return Ok(tower.bytes.to_vec());
    }
    if let Some(file) = fetched(path) {
        return files::read(&file, MAX_BYTES, "an ONNX file");
    }
    if let Some(Published { name, .. }) = published(path) {
        return Err(Error::invalid(name, format!("was not fetched yet; run `siamese model get {name}`")));
    }
    if !path.exists() && is_name(path) {
        let names: Vec<&str> = SHIPPED.iter().map(|tower| tower.name).collect();
        let why = format!(
            "is neither a file nor the name of a tower; shipped are {}, and `siamese model list` tells what can be \
             fetched",
            names.join(", ")
        );
        return Err(Error::invalid(path.display(), why));
    }
    files::read(path, MAX_BYTES, "an ONNX file")
}

/// Whether it could be meant as a name: in no folder, without an extension.
fn is_name(path: &Path) -> bool {
    path.extension().is_none() && path.components().count() == 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tower::{TowerKind, TowerSpec};

    #[test]
    fn shipped_towers_are_whole_and_as_their_names_say() {
        for tower in SHIPPED {
            let (spec, _) = TowerSpec::read(tower.name).unwrap();
            let exact = tower.name.ends_with(EXACT);
            assert_eq!(spec.kind == TowerKind::Exact, exact, "{}", tower.name);
            assert_eq!(spec.preprocessing.channels() == 3, tower.coloured, "{}", tower.name);
            assert!(exists(Path::new(tower.name)));
        }
        for (coloured, default) in [(false, DEFAULT), (true, DEFAULT_IN_COLOUR)] {
            assert!(SHIPPED.iter().any(|tower| tower.name == default && tower.coloured == coloured));
            let at_hand = &at_hand(coloured)[0];
            assert!(
                at_hand == Path::new(default)
                    || exact_sibling(at_hand).as_deref() == Some(Path::new(default))
            );
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names() {
        let said = TowerSpec::read("omniglot-egde").unwrap_err().to_string();
        assert!(said.contains(DEFAULT), "{said}");
        let said = TowerSpec::read("nowhere/tower.onnx").unwrap_err().to_string();
        assert!(!said.contains(DEFAULT), "{said}");
    }
}
