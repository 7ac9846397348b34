//! Folders of pictures as people have them: with what systems and programs leave in them, and with links.
//!
//! Each real folder is read once, however many links lead to it, so that a link to a folder above is no loop and no
//! picture counts twice. A link to a folder elsewhere is followed.

use super::is_picture_name;
use crate::{Error, Result};
use std::collections::HashSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

/// Names that systems and programs give to folders of their own, beside those that begin with a dot.
const FOREIGN: [&str; 10] = [
    "__MACOSX",
    "__pycache__",
    "$RECYCLE.BIN",
    "System Volume Information",
    "@eaDir",
    "#recycle",
    "#snapshot",
    "lost+found",
    "Network Trash Folder",
    "Temporary Items",
];

/// Whether a file or folder of this name belongs to a system or a program, and counts for nothing.
pub fn is_foreign(name: &str) -> bool {
    name.starts_with('.') || FOREIGN.iter().any(|foreign| name.eq_ignore_ascii_case(foreign))
}

/// The folders below a folder.
pub struct Tree {
    /// Where the folder really is.
    root: PathBuf,
    /// Where those really are that were found so far.
    found: HashSet<PathBuf>,
}

/// A folder of a [`Tree`].
#[derive(Clone, Debug)]
pub struct Folder {
    /// As it was reached.
    pub path: PathBuf,
    /// Where it really is.
    real: PathBuf,
}

/// What is in a folder, sorted by name.
#[derive(Debug, Default)]
pub struct Listing {
    /// Its folders, links to others included.
    pub folders: Vec<Folder>,
    /// Its pictures.
    pub pictures: Vec<PathBuf>,
    /// How many links were passed over: what they lead to is read in its own place.
    pub links: usize,
}

impl Tree {
    /// Of a folder.
    ///
    /// # Errors
    /// A folder that is not there.
    pub fn new(root: &Path) -> Result<(Self, Folder)> {
        let real = root.canonicalize().map_err(Error::io("read the folder", root))?;
        let folder = Folder { path: root.into(), real: real.clone() };
        Ok((Self { root: real.clone(), found: HashSet::from([real]) }, folder))
    }

    /// What is in a folder; what is foreign or no picture is passed over.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn list(&mut self, folder: &Folder) -> Result<Listing> {
        let mut listing = Listing::default();
        for entry in std::fs::read_dir(&folder.path).map_err(Error::io("read the folder", &folder.path))? {
            let entry = entry.map_err(Error::io("read the folder", &folder.path))?;
            if is_foreign(&entry.file_name().to_string_lossy()) {
                continue;
            }
            match self.enter(folder, &entry)? {
                Entry::Folder(inner) => listing.folders.push(inner),
                Entry::File(path) if is_picture_name(&path) => listing.pictures.push(path),
                Entry::File(_) | Entry::Other => {}
                Entry::Known => listing.links += 1,
            }
        }
        listing.folders.sort_by(|a, b| a.path.cmp(&b.path));
        listing.pictures.sort();
        Ok(listing)
    }

    fn enter(&mut self, folder: &Folder, entry: &DirEntry) -> Result<Entry> {
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("read", &path))?;
        // What a link leads to; one that leads nowhere is a file that cannot be read.
        let behind = kind.is_symlink().then(|| path.metadata().map_or(kind, |found| found.file_type()));
        let real = if kind.is_dir() {
            folder.real.join(entry.file_name())
        } else if behind.is_some_and(|behind| behind.is_dir()) {
            let real = path.canonicalize().map_err(Error::io("read the folder", &path))?;
            // It is read where it is, or holds all that is read.
            if real.starts_with(&self.root) || self.root.starts_with(&real) {
                return Ok(Entry::Known);
            }
            real
        } else if behind.unwrap_or(kind).is_file() || behind.is_some_and(|behind| behind.is_symlink()) {
            return Ok(Entry::File(path));
        } else {
            // A pipe, say, which would be waited for.
            return Ok(Entry::Other);
        };
        let first = self.found.insert(real.clone());
        Ok(if first { Entry::Folder(Folder { path, real }) } else { Entry::Known })
    }
}

/// What an entry of a folder is.
enum Entry {
    Folder(Folder),
    File(PathBuf),
    /// A folder that is read elsewhere.
    Known,
    /// Neither a folder nor a file.
    Other,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every picture below a folder, as it is reached.
    fn pictures(root: &Path) -> Vec<String> {
        let (mut tree, folder) = Tree::new(root).unwrap();
        let (mut waiting, mut found) = (vec![folder], Vec::new());
        while let Some(folder) = waiting.pop() {
            let Listing { folders, pictures, .. } = tree.list(&folder).unwrap();
            waiting.extend(folders);
            let inside = |p: PathBuf| p.strip_prefix(root).unwrap().display().to_string();
            found.extend(pictures.into_iter().map(inside));
        }
        found.sort();
        found
    }

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
    }

    #[test]
    fn what_systems_leave_behind_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        make(
            dir.path(),
            &[
                "owl/1.png",
                "owl/__MACOSX/1.png",
                "__macosx/owl/._1.png",
                "owl/@eaDir/1.png/t.jpg",
                ".x/1.png",
            ],
        );
        make(dir.path(), &["$RECYCLE.BIN/S-1/1.png", "owl/._1.png", "owl/Thumbs.db", "lost+found/1.gif"]);
        assert_eq!(pictures(dir.path()), ["owl/1.png"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_make_no_loop_and_no_picture_twice() {
        use std::os::unix::fs::symlink;
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(dir.path(), &["a/1.png", "b/2.png", "b/c/3.png"]);
        make(elsewhere.path(), &["deep/4.png"]);
        for (link, target) in [("a/up", ".."), ("b/up", ".."), ("b/c/here", "."), ("a/beside", "../b")] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        symlink(elsewhere.path(), dir.path().join("a/far")).unwrap();
        symlink(elsewhere.path(), dir.path().join("b/far")).unwrap();
        symlink(dir.path(), elsewhere.path().join("deep/back")).unwrap();
        symlink(elsewhere.path(), elsewhere.path().join("deep/again")).unwrap();
        symlink("absent", dir.path().join("a/nowhere")).unwrap();
        let found = pictures(dir.path());
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], "a/1.png");
        assert!(found.iter().any(|path| path.ends_with("far/deep/4.png")), "{found:?}");
    }
}
