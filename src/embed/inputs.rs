//! The pictures that a user names: files, folders, a list.

use crate::image::folder::{Folder, Listing, Tree};
use crate::image::{self, Preprocessing};
use crate::{Error, Result};
use ndarray::Array3;
use std::collections::VecDeque;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A picture to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFile {
    /// Its file.
    pub path: PathBuf,
    /// Its class, as its place tells: the folders between the one that was named and the file,
    /// `class` or `alphabet/class`; else the file's name without its end.
    pub label: String,
    /// The file's bytes, where they have been read already.
    pub bytes: Option<Arc<[u8]>>,
}

impl PictureFile {
    fn new(path: PathBuf, root: Option<&Path>) -> Self {
        let inside = root.and_then(|root| path.parent()?.strip_prefix(root).ok());
        let folders = inside.map(|p| p.to_string_lossy().replace('\\', "/")).filter(|p| !p.is_empty());
        let stem = || path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Self { label: folders.unwrap_or_else(stem), path, bytes: None }
    }

    /// A picture whose file was kept; `source` is where it came from.
    pub fn kept(source: &str, bytes: Arc<[u8]>) -> Self {
        Self { path: source.into(), label: String::new(), bytes: Some(bytes) }
    }

    /// With the file's bytes, where they are here or can be read; where not, whoever decodes it will say why.
    #[must_use]
    pub fn with_bytes(self) -> Self {
        let bytes = self.bytes.or_else(|| image::read(&self.path).ok().map(Arc::from));
        Self { bytes, ..self }
    }

    /// The picture: `uint8 [C, S, S]`.
    ///
    /// # Errors
    /// As [`image::load`].
    pub fn decode(&self, how: &Preprocessing) -> Result<Array3<u8>> {
        match &self.bytes {
            Some(bytes) => image::decode(bytes, &self.source(), how),
            None => image::load(&self.path, how),
        }
    }

    /// Its path, as messages and files show it.
    pub fn source(&self) -> String {
        self.path.display().to_string()
    }
}

/// The pictures of files and folders, in order; folders are read when their turn comes, sorted by
/// name, and only pictures in them count.
pub struct PictureFiles {
    waiting: VecDeque<Waiting>,
    /// The named folder that is read, and what was found in it.
    within: Option<(PathBuf, Tree)>,
}

enum Waiting {
    /// A path that was named.
    Named(PathBuf),
    Picture(PictureFile),
    /// A folder in the folder that is read.
    Folder(Folder),
}

impl PictureFiles {
    /// Of these paths.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { waiting: paths.into_iter().map(Waiting::Named).collect(), within: None }
    }

    fn named(&mut self, path: PathBuf) -> Option<Result<PictureFile>> {
        if !path.is_dir() {
            return Some(Ok(PictureFile::new(path, None)));
        }
        let entered = Tree::new(&path).and_then(|(tree, folder)| {
            self.within = Some((path, tree));
            self.enter(&folder)
        });
        entered.err().map(Err)
    }

    /// Puts what is in a folder before all that waits.
    fn enter(&mut self, folder: &Folder) -> Result<()> {
        let Some((root, tree)) = &mut self.within else { return Ok(()) };
        let Listing { folders, pictures, links } = tree.list(folder)?;
        if folders.is_empty() && pictures.is_empty() && links == 0 {
            let why = "is an empty folder: no picture (png, jpg, gif, bmp, webp, tiff) in it";
            return Err(Error::invalid(folder.path.display(), why));
        }
        let pictures = pictures.into_iter().map(|path| PictureFile::new(path, Some(root)));
        let mut inside: Vec<Waiting> = pictures.map(Waiting::Picture).collect();
        inside.extend(folders.into_iter().map(Waiting::Folder));
        inside.sort_by(|a, b| a.path().cmp(b.path()));
        inside.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
        Ok(())
    }
}

impl Waiting {
    fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Picture(picture) => &picture.path,
            Self::Folder(folder) => &folder.path,
        }
    }
}

impl Iterator for PictureFiles {
    type Item = Result<PictureFile>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.waiting.pop_front()? {
                Waiting::Picture(picture) => Some(Ok(picture)),
                Waiting::Named(path) => self.named(path),
                Waiting::Folder(folder) => self.enter(&folder).err().map(Err),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

/// The pictures of a list with a path on each line, read as it comes; empty lines are passed over.
pub struct Listed<B> {
    lines: std::io::Lines<B>,
    name: &'static str,
    /// Whether no picture was named yet.
    empty: bool,
}

impl<B: BufRead> Listed<B> {
    /// Of a list, which is called `name` in errors.
    pub fn new(list: B, name: &'static str) -> Self {
        Self { lines: list.lines(), name, empty: true }
    }
}

impl<B: BufRead> Iterator for Listed<B> {
    type Item = Result<PictureFile>;

    fn next(&mut self) -> Option<Self::Item> {
        let named = self.lines.find(|line| !line.as_ref().is_ok_and(|l| l.trim().is_empty()));
        let nothing = std::mem::replace(&mut self.empty, false) && named.is_none();
        if nothing {
            return Some(Err(Error::invalid(self.name, "names no picture")));
        }
        Some(
            named?
                .map(|line| PictureFile::new(line.trim_end_matches('\r').into(), None))
                .map_err(|e| Error::invalid_because(self.name, "cannot be read as a list of paths", e)),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folders_give_labels_and_files_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/x/2.png", "a/x/1.png", "a/y.z/1.png", "a/.hidden/1.png", "a/x/note.txt", "b.c.png"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let inputs = PictureFiles::new([dir.path().join("a"), dir.path().join("b.c.png"), dir.path().into()]);
        let found: Vec<PictureFile> = inputs.map(Result::unwrap).collect();
        let labels: Vec<&str> = found.iter().map(|i| i.label.as_str()).collect();
        assert_eq!(labels, ["x", "x", "y.z", "b.c", "a/x", "a/x", "a/y.z", "b.c"]);
        assert!(found[0].path.ends_with("a/x/1.png"));
    }

    #[test]
    fn an_empty_folder_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("hollow")).unwrap();
        let error = PictureFiles::new([dir.path().into()]).next().unwrap().unwrap_err();
        assert!(error.to_string().contains("hollow"));
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let found: Vec<PictureFile> =
            Listed::new(&b"one.png\r\n\n dir/two.png\n"[..], "list").map(Result::unwrap).collect();
        assert_eq!(found.iter().map(PictureFile::source).collect::<Vec<_>>(), ["one.png", " dir/two.png"]);
        for (list, words) in
            [(&b"\xff\xfe"[..], "cannot be read"), (b"\n \n", "names no picture"), (b"", "names no")]
        {
            let mut listed = Listed::new(list, "the list");
            let said = listed.next().unwrap().unwrap_err().to_string();
            assert!(said.contains(words) && said.starts_with("the list"), "{said}");
            assert!(listed.next().is_none());
        }
    }
}
