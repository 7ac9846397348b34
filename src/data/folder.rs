//! Class folders: `DIR/<class>/*.png` or `DIR/<alphabet>/<class>/*.png`, any picture format.

use super::makers::Choice;
use super::{Dataset, gather_usable, zipped};
use crate::image::folder::{Folder, Listing, Tree};
use crate::image::{self, Preprocessing, Triage};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The most pictures of a folder.
const MAX_PICTURES: usize = 5_000_000;

/// Reads class folders, or a zip file of such, sorted by name. Pictures directly in `DIR`'s folders make them
/// classes; folders in them make them alphabets. Other files and hidden ones are passed over, and so are pictures
/// that cannot be used, as the triage says; a class of which none is left is none.
pub fn folder(dir: impl AsRef<Path>, how: &Preprocessing, triage: &Triage<'_>) -> Result<Dataset> {
    class_folders(dir, how, &Choice::default(), triage)
}

/// As [`folder`], of chosen pictures, with their makers as drawers.
pub fn class_folders(
    dir: impl AsRef<Path>,
    how: &Preprocessing,
    choice: &Choice,
    triage: &Triage<'_>,
) -> Result<Dataset> {
    let dir = dir.as_ref();
    super::there(dir)?;
    if zipped::is_zip(dir) {
        return zipped::zipped(dir, how, choice);
    }
    let name = dir.display().to_string();
    let mut pictures = pictures(dir)?;
    choice.keep(&name, &mut pictures, |picture| &picture.file)?;
    from_pictures(dir, &name, how, pictures, triage, |file| choice.maker(file))
}

/// As [`folder`], with the data set's name, and the drawer told by the file's name.
pub(super) fn nested(
    dir: &Path,
    name: &str,
    how: &Preprocessing,
    triage: &Triage<'_>,
    drawer_of: impl Fn(&str) -> u16,
) -> Result<Dataset> {
    from_pictures(dir, name, how, pictures(dir)?, triage, |file| Ok(drawer_of(file)))
}

fn from_pictures(
    dir: &Path,
    name: &str,
    how: &Preprocessing,
    pictures: Vec<Picture>,
    triage: &Triage<'_>,
    drawer_of: impl Fn(&str) -> Result<u16>,
) -> Result<Dataset> {
    let at = dir.display().to_string();
    how.validate(&at)?;
    let drawers = pictures.iter().map(|picture| drawer_of(&picture.file)).collect::<Result<Vec<_>>>()?;
    let (images, used) = gather_usable(pictures.len(), how, triage, |i| image::load(&pictures[i].path, how))?;
    if used.is_empty() {
        return Err(Error::invalid(at, "holds no picture that can be used"));
    }
    let mut set = Dataset::empty(name, images);
    for (picture, drawer) in used.into_iter().map(|i| (&pictures[i], drawers[i])) {
        let class = set.class(&picture.alphabet, &picture.class);
        let inside = picture.path.strip_prefix(dir).unwrap_or(&picture.path);
        set.push(class, drawer, inside.display().to_string());
    }
    Ok(set)
}

/// Whether these are class folders with pictures, or a zip file that may hold such.
pub fn is_class_folders(dir: &Path) -> bool {
    zipped::is_zip(dir) || pictures(dir).is_ok_and(|found| !found.is_empty())
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
    let (mut tree, root) = Tree::new(dir)?;
    let top = tree.list(&root)?;
    if top.folders.is_empty() {
        let why = "has no class folders (and no Omniglot or MNIST files); put pictures into DIR/<class>/ or DIR/<alphabet>/<class>/";
        return Err(Error::invalid(dir.display(), why));
    }
    let whole = file_name(dir);
    let mut pictures = Vec::new();
    let mut nested = None;
    for folder in &top.folders {
        let inner = tree.list(folder)?;
        let is_alphabet = !inner.folders.is_empty();
        if is_alphabet && !inner.pictures.is_empty() {
            let why = "has pictures and folders side by side; a class has pictures, an alphabet has classes";
            return Err(Error::invalid(folder.path.display(), why));
        }
        if *nested.get_or_insert(is_alphabet) != is_alphabet {
            let why = "has classes beside alphabets; put every class into an alphabet, or none";
            return Err(Error::invalid(dir.display(), why));
        }
        if is_alphabet {
            for class in &inner.folders {
                let listing = tree.list(class)?;
                class_pictures(class, listing, &file_name(&folder.path), &mut pictures)?;
            }
        } else {
            class_pictures(folder, inner, &whole, &mut pictures)?;
        }
    }
    Ok(pictures)
}

fn class_pictures(class: &Folder, listing: Listing, alphabet: &str, into: &mut Vec<Picture>) -> Result<()> {
    if listing.pictures.is_empty() {
        let why =
            "is an empty class: no picture (png, jpg, gif, bmp, webp, tiff) in it; add some or remove it";
        return Err(Error::invalid(class.path.display(), why));
    }
    if into.len() + listing.pictures.len() > MAX_PICTURES {
        return Err(Error::invalid(
            class.path.display(),
            format!("more than {MAX_PICTURES} pictures so far"),
        ));
    }
    let name = file_name(&class.path);
    into.extend(listing.pictures.into_iter().map(|path| Picture {
        alphabet: alphabet.to_string(),
        class: name.clone(),
        file: file_name(&path),
        path,
    }));
    Ok(())
}

fn file_name(path: &Path) -> String {
    let named = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    named(path).or_else(|| named(&path.canonicalize().ok()?)).unwrap_or_default()
}
