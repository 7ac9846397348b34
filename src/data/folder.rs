//! Class folders: `DIR/<class>/*.png` or `DIR/<alphabet>/<class>/*.png`, any picture format.

use super::makers::Choice;
use super::{Dataset, gather, zipped};
use crate::image::{self, Preprocessing};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The most pictures of a folder.
const MAX_PICTURES: usize = 5_000_000;

/// Reads class folders, or a zip file of such, sorted by name. Pictures directly in `DIR`'s folders make them
/// classes; folders in them make them alphabets. Other files and hidden ones are passed over.
pub fn folder(dir: impl AsRef<Path>, how: &Preprocessing) -> Result<Dataset> {
    class_folders(dir, how, &Choice::default())
}

/// As [`folder`], of chosen pictures, with their makers as drawers.
pub fn class_folders(dir: impl AsRef<Path>, how: &Preprocessing, choice: &Choice) -> Result<Dataset> {
    let dir = dir.as_ref();
    if zipped::is_zip(dir) {
        return zipped::zipped(dir, how, choice);
    }
    let name = dir.display().to_string();
    let mut pictures = pictures(dir)?;
    choice.keep(&name, &mut pictures, |picture| &picture.file)?;
    from_pictures(dir, &name, how, pictures, |file| choice.maker(file))
}

/// As [`folder`], with the data set's name, and the drawer told by the file's name.
pub(super) fn nested(
    dir: &Path,
    name: &str,
    how: &Preprocessing,
    drawer_of: impl Fn(&str) -> u16,
) -> Result<Dataset> {
    from_pictures(dir, name, how, pictures(dir)?, |file| Ok(drawer_of(file)))
}

fn from_pictures(
    dir: &Path,
    name: &str,
    how: &Preprocessing,
    pictures: Vec<Picture>,
    drawer_of: impl Fn(&str) -> Result<u16>,
) -> Result<Dataset> {
    how.validate(&dir.display().to_string())?;
    let drawers = pictures.iter().map(|picture| drawer_of(&picture.file)).collect::<Result<Vec<_>>>()?;
    let images = gather(pictures.len(), how, || (), |(), i| image::load(&pictures[i].path, how))?;
    let mut set = Dataset::empty(name, images);
    for (picture, drawer) in pictures.into_iter().zip(drawers) {
        let class = set.class(&picture.alphabet, &picture.class);
        let inside = picture.path.strip_prefix(dir).unwrap_or(&picture.path);
        set.push(class, drawer, inside.display().to_string());
    }
    Ok(set)
}

/// A picture, named by its place.
pub(super) struct Picture {
    alphabet: String,
    class: String,
    file: String,
    pub path: PathBuf,
}

/// The pictures of class folders, sorted by name.
pub(super) fn pictures(dir: &Path) -> Result<Vec<Picture>> {
    let top = list(dir)?;
    if top.folders.is_empty() {
        let why = "has no class folders (and no Omniglot or MNIST files); put pictures into DIR/<class>/ or DIR/<alphabet>/<class>/";
        return Err(Error::invalid(dir.display(), why));
    }
    let whole = file_name(dir);
    let mut pictures = Vec::new();
    let mut nested = None;
    for folder in &top.folders {
        let inner = list(folder)?;
        let is_alphabet = !inner.folders.is_empty();
        if is_alphabet && !inner.pictures.is_empty() {
            let why = "has pictures and folders side by side; a class has pictures, an alphabet has classes";
            return Err(Error::invalid(folder.display(), why));
        }
        if *nested.get_or_insert(is_alphabet) != is_alphabet {
            let why = "has classes beside alphabets; put every class into an alphabet, or none";
            return Err(Error::invalid(dir.display(), why));
        }
        if is_alphabet {
            for class in &inner.folders {
                class_pictures(class, list(class)?, &file_name(folder), &mut pictures)?;
            }
        } else {
            class_pictures(folder, inner, &whole, &mut pictures)?;
        }
    }
    Ok(pictures)
}

fn class_pictures(class: &Path, listing: Listing, alphabet: &str, into: &mut Vec<Picture>) -> Result<()> {
    if listing.pictures.is_empty() {
        let why =
            "is an empty class: no picture (png, jpg, gif, bmp, webp, tiff) in it; add some or remove it";
        return Err(Error::invalid(class.display(), why));
    }
    if into.len() + listing.pictures.len() > MAX_PICTURES {
        return Err(Error::invalid(class.display(), format!("more than {MAX_PICTURES} pictures so far")));
    }
    let name = file_name(class);
    into.extend(listing.pictures.into_iter().map(|path| Picture {
        alphabet: alphabet.to_string(),
        class: name.clone(),
        file: file_name(&path),
        path,
    }));
    Ok(())
}

/// What is in a folder, sorted by name.
struct Listing {
    folders: Vec<PathBuf>,
    pictures: Vec<PathBuf>,
}

fn list(dir: &Path) -> Result<Listing> {
    let mut listing = Listing { folders: Vec::new(), pictures: Vec::new() };
    for entry in std::fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let path = entry.map_err(Error::io("read the folder", dir))?.path();
        if file_name(&path).starts_with('.') {
            continue;
        }
        if path.is_dir() {
            listing.folders.push(path);
        } else if image::is_picture_name(&path) {
            listing.pictures.push(path);
        }
    }
    listing.folders.sort();
    listing.pictures.sort();
    Ok(listing)
}

fn file_name(path: &Path) -> String {
    let named = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    named(path).or_else(|| named(&path.canonicalize().ok()?)).unwrap_or_default()
}
