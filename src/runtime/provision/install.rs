//! Puts the libraries of a wheel into the cache: whole, or not at all.
//!
//! Everything is fetched and unpacked in a folder of its own beside the final one ([`package`]), which a rename
//! then makes the installed one. So a reader never sees half an installation.

use super::fetch::Source;
use super::wheel::Wheel;
use super::{Library, Origin, package, places, probe};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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
    source.ready(&wheel.as_package(&wanted))?;
    let room = package::room(cache)?;
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
    let verified = wheel.as_package(&wanted).fill(source, room)?;
    if places::libraries(&room.join("ready")).is_empty() {
        let why = format!("it holds no {}; try another --version", places::file_name());
        return Err(Error::invalid(wheel.requirement(), why));
    }
    Ok(verified)
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
