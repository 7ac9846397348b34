//! Zip files read with distrust: names stay inside, sizes are limited before and while inflating.

use crate::image::folder::is_foreign;
use crate::{Error, Result, files, image};
use std::io::{Cursor, Read};
use std::path::{Component, Path, PathBuf};
use zip::ZipArchive;

/// The most entries of an archive.
const MAX_ENTRIES: usize = 200_000;
/// The longest entry once inflated, bytes: a drawing or a list of names.
pub(super) const MAX_ENTRY_BYTES: u64 = 4 << 20;
/// The longest zip file of pictures, which is held in memory, bytes.
const MAX_PICTURES_BYTES: u64 = 8 << 30;

/// A zip file in memory. Reading is by index and needs no exclusive access, so that threads can
/// share it.
pub(super) struct Archive {
    name: String,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The longest entry that is inflated, bytes.
    longest: u64,
}

/// A file inside an [`Archive`].
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its place in the archive.
    pub index: usize,
    /// Its path, parts joined by `/`; never absolute, never upwards.
    pub path: String,
}

/// One thread's reader.
pub(super) struct Reader<'a> {
    archive: &'a Archive,
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl Archive {
    /// Reads a zip file; refuses one that is broken or whose names lead outside.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = files::read(path, super::MAX_FILE_BYTES, "a file of a data set")?;
        Self::from_bytes(bytes, &path.display().to_string())
    }

    /// As [`Archive::open`], of pictures of any size.
    pub fn of_pictures(path: &Path) -> Result<Self> {
        let bytes = files::read(path, MAX_PICTURES_BYTES, "a zip file of pictures")?;
        let archive = Self::from_bytes(bytes, &path.display().to_string())?;
        Ok(Self { longest: image::MAX_FILE_BYTES, ..archive })
    }

    /// As [`Archive::open`], from memory; `name` is for messages.
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::invalid(name, "is empty (0 bytes), not a zip file"));
        }
        let zip = open(&bytes, name)?;
        let entries = list(&zip, name)?;
        drop(zip);
        Ok(Self { name: name.to_string(), bytes, entries, longest: MAX_ENTRY_BYTES })
    }

    /// The files, folders left out, in the archive's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A reader for one thread; the list of entries is read anew.
    pub fn reader(&self) -> Result<Reader<'_>> {
        Ok(Reader { archive: self, zip: open(&self.bytes, &self.name)? })
    }

    /// What messages call the archive.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What messages call an entry.
    pub fn label(&self, entry: &Entry) -> String {
        format!("{}: {}", self.name, entry.path)
    }
}

impl Reader<'_> {
    /// A second reader of the same archive for another thread, without reading the list again.
    pub fn split(&self) -> Self {
        Self { archive: self.archive, zip: self.zip.clone() }
    }

    /// Inflates an entry into `into` (cleared first) and checks its length and CRC.
    pub fn read(&mut self, entry: &Entry, into: &mut Vec<u8>) -> Result<()> {
        let at = || self.archive.label(entry);
        into.clear();
        let file = self.zip.by_index(entry.index).map_err(|e| {
            Error::invalid_because(at(), "cannot be read from the zip file; fetch it again", e)
        })?;
        let longest = self.archive.longest;
        let too_long = || {
            let why = format!("inflates to more than {} MiB; this is no archive of pictures", longest >> 20);
            Err(Error::invalid(at(), why))
        };
        if file.size() > longest {
            return too_long();
        }
        file.take(longest + 1)
            .read_to_end(into)
            .map_err(|e| Error::invalid_because(at(), "is damaged in the zip file; fetch it again", e))?;
        if into.len() as u64 > longest { too_long() } else { Ok(()) }
    }
}

fn open<'a>(bytes: &'a [u8], name: &str) -> Result<ZipArchive<Cursor<&'a [u8]>>> {
    ZipArchive::new(Cursor::new(bytes)).map_err(|e| {
        Error::invalid_because(name, "is not a whole zip file (cut short or damaged); fetch it again", e)
    })
}

/// The files in the archive; folders and what systems add are left out.
fn list(zip: &ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<Entry>> {
    if zip.len() > MAX_ENTRIES {
        return Err(Error::invalid(
            name,
            format!("holds {} entries; at most {MAX_ENTRIES} are read", zip.len()),
        ));
    }
    let mut entries = Vec::with_capacity(zip.len());
    for index in 0..zip.len() {
        let raw = match zip.name_for_index(index) {
            Some(Ok(raw)) => raw,
            Some(Err(e)) => return Err(Error::invalid_because(name, "holds a name that cannot be read", e)),
            None => continue,
        };
        let Some(path) = inside(&raw) else {
            let why = format!("holds an entry named {raw:?}, which leads outside; do not trust this file");
            return Err(Error::invalid(name, why));
        };
        let is_folder = raw.ends_with('/');
        if !is_folder && !path.split('/').any(is_foreign) {
            entries.push(Entry { index, path });
        }
    }
    Ok(entries)
}

/// The path with parts joined by `/`, or none where it is absolute, has `..` or is empty.
fn inside(raw: &str) -> Option<String> {
    if raw.contains(['\\', '\0', ':']) {
        return None;
    }
    let mut parts = Vec::new();
    for component in PathBuf::from(raw).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?.to_string()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
