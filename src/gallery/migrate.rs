//! A gallery goes over to another tower: its pictures are embedded again, and its thresholds chosen again.

use super::{Example, Facts, Former, Gallery, Location};
use crate::embed::{self, PictureFile};
use crate::eval::identification::Identification;
use crate::runtime::Embedder;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use serde::Serialize;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// What a migration came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Migration {
    /// The gallery.
    pub gallery: Location,
    /// The tower of before.
    pub from: Former,
    /// The tower of now.
    pub tower: String,
    /// SHA-256 of its file.
    pub tower_sha256: String,
    /// Examples that it holds now: fewer than before where two had the same picture.
    pub examples: u64,
    /// Pictures that the gallery had kept; the others were files.
    pub kept: u64,
}

/// Embeds the pictures of all examples by another tower, and puts these embeddings in the place of theirs, in one
/// step: afterwards the gallery is as if it had been enrolled with that tower. Labels, sources, times and order stay;
/// thresholds and an index, which belong to the tower of before, do not. `seen` is called after each picture.
///
/// Pictures that the gallery keeps are taken from there; others are looked for where their examples came from, or under the folder `pictures`, in which the longest end of
/// an example's source that is there counts.
///
/// # Errors
/// A gallery of that tower; a picture that is not there, or cannot be used; a gallery that was changed meanwhile.
/// Nothing is changed then.
pub fn migrate(
    gallery: &mut Gallery,
    tower: &Path,
    pictures: Option<&Path>,
    embedder: &mut dyn Embedder,
    mut seen: impl FnMut(),
) -> Result<Migration> {
    let spec = embedder.spec().clone();
    let old = gallery.facts().clone();
    if old.tower_sha256 == spec.sha256 {
        let why = format!("is of the tower {} (SHA-256 {}) already", spec.name, spec.sha256);
        return Err(Error::invalid(gallery.location(), why));
    }
    let before = gallery.state()?;
    let mut examples = gallery.examples()?;
    let places = found(gallery, &examples, pictures)?;
    let kept = places.iter().filter(|place| matches!(place, Place::Kept(_))).count() as u64;
    // Pictures are read on a thread of their own, by a connection of their own.
    let reader = Gallery::open(gallery.location())?;
    let sources: Vec<String> = examples.iter().map(|example| example.source.clone()).collect();
    let read = sources.into_iter().zip(places).map(move |(source, place)| match place {
        Place::Kept(number) => Ok(PictureFile::kept(&source, reader.picture(number)?)),
        Place::File(path) => Ok(PictureFile { path, label: String::new(), bytes: None }),
    });
    let mut next = 0;
    embed::pictures(read, embedder, |_, embedding| {
        examples[next].embedding = embedding?.to_vec();
        next += 1;
        seen();
        Ok(())
    })?;
    let facts = changed(&old, &spec, tower);
    gallery.replace(facts, &examples, before)?;
    Ok(Migration {
        gallery: gallery.location().clone(),
        from: gallery.facts().former.last().cloned().unwrap_or_else(|| former(&old)),
        tower: spec.name,
        tower_sha256: spec.sha256,
        examples: gallery.state()?.examples,
        kept,
    })
}

/// Calibrates a gallery that went over to another tower as it was calibrated before, where it was.
pub fn calibrate_as(gallery: &mut Gallery, before: &Facts) -> Option<Result<Identification>> {
    let asked = before.identification.as_ref().map(|found| found.point.asked)?;
    Some(gallery.calibrate(Some(asked)))
}

fn changed(old: &Facts, spec: &TowerSpec, tower: &Path) -> Facts {
    let mut facts = Facts::of(spec, tower);
    facts.calibrates_itself = old.calibrates_itself;
    facts.keeps_pictures = old.keeps_pictures;
    facts.former = old.former.iter().cloned().chain([former(old)]).collect();
    facts
}

fn former(old: &Facts) -> Former {
    Former { tower: old.tower.clone(), tower_sha256: old.tower_sha256.clone(), until_unix_s: super::now() }
}

/// Where an example's picture is.
enum Place {
    /// In the gallery, by its number.
    Kept(i64),
    File(PathBuf),
}

/// The pictures of examples, in their order.
fn found(gallery: &Gallery, examples: &[Example], pictures: Option<&Path>) -> Result<Vec<Place>> {
    let place = |(example, kept): (&Example, Option<i64>)| match kept {
        Some(number) => Some(Place::Kept(number)),
        None => picture(&example.source, pictures).map(Place::File),
    };
    let kept = gallery.kept()?;
    let places: Vec<Option<Place>> = examples.iter().zip(kept).map(place).collect();
    if let Some(first) = places.iter().position(Option::is_none) {
        let missing = places.iter().filter(|place| place.is_none()).count();
        let place = pictures.map_or("where they came from".into(), |dir| format!("under {}", dir.display()));
        let why = format!(
            "is not changed: the pictures of {missing} of its {} examples are not there {place}; the first is that of \
             {:?}, {:?}",
            examples.len(),
            examples[first].label,
            examples[first].source
        );
        return Err(Error::invalid(gallery.location(), why));
    }
    Ok(places.into_iter().flatten().collect())
}

/// The picture that an example came from. Under a folder its folder must have the same name still: the name of the
/// file alone might be that of another class.
fn picture(source: &str, root: Option<&Path>) -> Option<PathBuf> {
    let Some(root) = root else {
        return Some(PathBuf::from(source)).filter(|path| path.is_file());
    };
    let parts: Vec<&OsStr> = Path::new(source)
        .components()
        .filter_map(|part| if let Component::Normal(part) = part { Some(part) } else { None })
        .collect();
    (0..parts.len()).find_map(|skip| {
        let whole = root.join(parts[skip..].iter().collect::<PathBuf>());
        let folder = whole.parent().and_then(Path::file_name);
        let same = parts.len() < 2 || folder == Some(parts[parts.len() - 2]);
        (same && whole.is_file()).then_some(whole)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pictures_are_found_by_the_longest_end_of_their_source() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/1.png", "b/1.png", "x/a/1.png", "2.png"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let root = dir.path();
        for (source, there) in [
            ("pictures/a/1.png", Some("a/1.png")),
            ("/home/me/x/a/1.png", Some("x/a/1.png")),
            ("c/1.png", None),
            ("elsewhere/2.png", None),
            ("2.png", Some("2.png")),
            ("../a/1.png", Some("a/1.png")),
            ("row 2", None),
        ] {
            assert_eq!(picture(source, Some(root)), there.map(|there| root.join(there)), "{source}");
        }
        let own = root.join("2.png");
        assert_eq!(picture(own.to_str().unwrap(), None), Some(own));
        let named = format!("{}/2.png", root.file_name().unwrap().to_str().unwrap());
        assert_eq!(picture(&named, Some(root)), Some(root.join("2.png")));
    }
}
