//! Omniglot (Lake, Salakhutdinov, Tenenbaum 2015): 1,623 characters of 50 alphabets, each drawn
//! by 20 people, 105×105 pixels, 1 bit, black on white.
//!
//! The archives are read as they are; nothing is unpacked. `images_background/` and
//! `images_evaluation/` as folders are read too.

use super::archive::{Archive, Entry};
use super::{Dataset, folder, gather};
use crate::image::{self, Polarity, Preprocessing, Triage};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The side of the drawings, pixels.
pub const SIDE: usize = 105;
/// Characters of a usual alphabet (964 / 30, rounded), and drawers.
pub(super) const USUAL: (usize, usize) = (32, 20);

/// The two parts of Omniglot; they share no alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 30 alphabets, 964 characters, 19,280 drawings, for training.
    Background,
    /// 20 alphabets, 659 characters, 13,180 drawings, for evaluation.
    Evaluation,
}

impl Part {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Background, Self::Evaluation];

    /// `background` or `evaluation`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Evaluation => "evaluation",
        }
    }

    /// The name of its folder, and with `.zip` of its archive.
    fn stem(self) -> &'static str {
        match self {
            Self::Background => "images_background",
            Self::Evaluation => "images_evaluation",
        }
    }
}

/// Where a part lies.
enum Place {
    Zip(PathBuf),
    Folder(PathBuf),
}

/// Reads a part from `dir/omniglot` or `dir`; images are `[N, C, S, S]`, sorted by alphabet,
/// character and drawer.
pub fn omniglot(dir: impl AsRef<Path>, part: Part, how: &Preprocessing) -> Result<Dataset> {
    let name = format!("omniglot {}", part.name());
    match place(dir.as_ref(), part)? {
        Place::Zip(path) => from_archive(&Archive::open(&path)?, &name, how),
        Place::Folder(path) => folder::nested(&path, &name, &dark(how), &Triage::strict(), drawer_of),
    }
}

/// Whether `dir/omniglot` or `dir` has a part.
pub fn has(dir: &Path, part: Part) -> bool {
    place(dir, part).is_ok()
}

fn place(dir: &Path, part: Part) -> Result<Place> {
    for base in [dir.join("omniglot"), dir.to_path_buf()] {
        let zip = base.join(format!("{}.zip", part.stem()));
        if zip.exists() {
            return Ok(Place::Zip(zip));
        }
        let folder = base.join(part.stem());
        if folder.is_dir() {
            return Ok(Place::Folder(folder));
        }
    }
    Err(super::absent(dir, &format!("omniglot/{}.zip", part.stem()), "omniglot"))
}

/// Reads an archive of `[…/]alphabet/character/file.png` from memory; `name` is for messages.
pub fn from_zip(bytes: Vec<u8>, name: &str, how: &Preprocessing) -> Result<Dataset> {
    from_archive(&Archive::from_bytes(bytes, name)?, name, how)
}

/// Omniglot's ink is dark; nobody needs to guess.
pub(super) fn dark(how: &Preprocessing) -> Preprocessing {
    how.with_tone(Polarity::Dark)
}

/// One drawing, named by its place.
pub(super) struct Drawing<'a> {
    alphabet: &'a str,
    character: &'a str,
    drawer: u16,
    pub entry: &'a Entry,
}

impl Drawing<'_> {
    /// `alphabet/character/file.png`, whatever folder the archive puts it in.
    pub fn path(&self) -> &str {
        let third_slash = self.entry.path.rmatch_indices('/').nth(2);
        third_slash.map_or(&self.entry.path, |(at, _)| &self.entry.path[at + 1..])
    }
}

fn from_archive(archive: &Archive, name: &str, how: &Preprocessing) -> Result<Dataset> {
    let how = dark(how);
    how.validate(name)?;
    let drawings = drawings(archive)?;
    let entries: Vec<&Entry> = drawings.iter().map(|d| d.entry).collect();
    let images = decode_all(archive, &entries, &how)?;
    let mut set = Dataset::empty(name, images);
    for drawing in &drawings {
        let class = set.class(drawing.alphabet, drawing.character);
        set.push(class, drawing.drawer, drawing.entry.path.clone());
    }
    Ok(set)
}

/// The drawings, sorted; an error where there is none.
pub(super) fn drawings(archive: &Archive) -> Result<Vec<Drawing<'_>>> {
    let mut drawings = Vec::with_capacity(archive.entries().len());
    for entry in archive.entries().iter().filter(|e| image::is_picture_name(Path::new(&e.path))) {
        let mut parts = entry.path.rsplit('/');
        let (Some(file), Some(character), Some(alphabet)) = (parts.next(), parts.next(), parts.next()) else {
            let why = "is not in alphabet/character/; this is no Omniglot archive";
            return Err(Error::invalid(archive.label(entry), why));
        };
        drawings.push(Drawing { alphabet, character, drawer: drawer_of(file), entry });
    }
    if drawings.is_empty() {
        return Err(Error::invalid(archive.name(), "holds no drawings (alphabet/character/*.png)"));
    }
    drawings.sort_by(|a, b| {
        (a.alphabet, a.character, &a.entry.path).cmp(&(b.alphabet, b.character, &b.entry.path))
    });
    Ok(drawings)
}

/// The drawer, from 0, in a name such as `0709_20.png`; 0 where the name does not tell.
pub(super) fn drawer_of(file: &str) -> u16 {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let number = stem.rsplit_once('_').and_then(|(_, n)| n.parse::<u16>().ok());
    number.map_or(0, |n| n.saturating_sub(1))
}

/// Decodes entries on all cores: `[N, C, S, S]`.
pub(super) fn decode_all(
    archive: &Archive,
    entries: &[&Entry],
    how: &Preprocessing,
) -> Result<ndarray::Array4<u8>> {
    let first = archive.reader()?;
    gather(
        entries.len(),
        how,
        || (first.split(), Vec::new()),
        |(reader, bytes), i| {
            reader.read(entries[i], bytes)?;
            image::decode(bytes, &archive.label(entries[i]), how)
        },
    )
}
