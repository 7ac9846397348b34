//! A zip file of class folders: `<class>/*.png` or `<group>/<class>/*.png`, in any folder of its own.

use super::Dataset;
use super::archive::{Archive, Entry};
use super::makers::Choice;
use super::omniglot::decode_all;
use crate::image::{self, Preprocessing};
use crate::{Error, Result};
use std::path::Path;

/// Whether a path is meant as a zip file.
pub(super) fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("zip")) && !path.is_dir()
}

/// A picture in the archive, named by its place.
pub(super) struct Picture<'a> {
    group: &'a str,
    class: &'a str,
    pub file: &'a str,
    pub entry: &'a Entry,
}

/// Reads a zip file of class folders, sorted by name.
pub(super) fn zipped(path: &Path, how: &Preprocessing, choice: &Choice) -> Result<Dataset> {
    from_archive(&Archive::of_pictures(path)?, how, choice)
}

fn from_archive(archive: &Archive, how: &Preprocessing, choice: &Choice) -> Result<Dataset> {
    how.validate(archive.name())?;
    let mut pictures = pictures(archive)?;
    choice.keep(archive.name(), &mut pictures, |picture| picture.file)?;
    let makers = pictures.iter().map(|p| choice.maker(p.file)).collect::<Result<Vec<_>>>()?;
    let entries: Vec<&Entry> = pictures.iter().map(|p| p.entry).collect();
    let mut set = Dataset::empty(archive.name(), decode_all(archive, &entries, how)?);
    for (picture, maker) in pictures.iter().zip(makers) {
        let class = set.class(picture.group, picture.class);
        set.push(class, maker, picture.entry.path.clone());
    }
    Ok(set)
}

/// The pictures, sorted; an error where there is none, or where they lie at different depths.
pub(super) fn pictures(archive: &Archive) -> Result<Vec<Picture<'_>>> {
    let is_picture = |entry: &&Entry| image::is_picture_name(Path::new(&entry.path));
    let entries: Vec<&Entry> = archive.entries().iter().filter(is_picture).collect();
    let depth = |entry: &Entry| entry.path.split('/').count();
    let Some(first) = entries.first() else {
        return Err(Error::invalid(archive.name(), "holds no pictures (group/class/*.png or class/*.png)"));
    };
    let usual = depth(first);
    if let Some(other) = entries.iter().find(|entry| depth(entry) != usual) {
        let why =
            format!("lies deeper or less deep than {}; put every class into a group, or none", first.path);
        return Err(Error::invalid(archive.label(other), why));
    }
    if usual < 2 {
        return Err(Error::invalid(archive.label(first), "is in no class folder; put it into class/"));
    }
    let whole = Path::new(archive.name()).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let mut pictures: Vec<Picture<'_>> = entries
        .into_iter()
        .map(|entry| {
            let mut parts = entry.path.rsplit('/');
            let (file, class) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            Picture { group: parts.next().unwrap_or(whole), class, file, entry }
        })
        .collect();
    check_folders(archive, &pictures)?;
    pictures.sort_by(|a, b| (a.group, a.class, &a.entry.path).cmp(&(b.group, b.class, &b.entry.path)));
    Ok(pictures)
}

/// Groups and classes are told by the last folders alone: all that lies above must be the same.
fn check_folders(archive: &Archive, pictures: &[Picture<'_>]) -> Result<()> {
    let above = |picture: &Picture<'_>| picture.entry.path.rmatch_indices('/').nth(2).map_or(0, |(at, _)| at);
    let Some(first) = pictures.first() else { return Ok(()) };
    let folder = &first.entry.path[..above(first)];
    match pictures.iter().find(|p| p.entry.path[..above(p)] != *folder) {
        None => Ok(()),
        Some(other) => {
            let why =
                format!("is not in {folder:?} as {} is; groups must lie in one folder", first.entry.path);
            Err(Error::invalid(archive.label(other.entry), why))
        }
    }
}
