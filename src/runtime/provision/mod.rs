//! Finds ONNX Runtime's library, or installs it.
//!
//! Looked at in this order: the path given by `--ort` or `ORT_DYLIB_PATH`, our cache folder, an
//! installed Python package `onnxruntime`, the system's library folders. Every candidate is asked
//! its version before anything else uses it; what is absent, foreign or too old is an error that
//! says so, or is passed over in favour of the next place where nobody named it.

mod fetch;
mod install;
mod package;
mod places;
mod probe;
#[cfg(test)]
mod tests;
mod wheel;

pub use fetch::{Fetched, Nowhere, Source, Tool};
pub use install::{Installed, install, is_installed};
pub use package::{Package, room};
pub use places::{cache_dir, file_name};
pub use probe::{Fault, driver_fault, probe};
pub use wheel::Wheel;

use super::Lookup;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

/// A library that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: Version,
    /// Where it was found.
    pub origin: Origin,
    /// The execution providers that it was built with, most preferred first.
    pub providers: Vec<String>,
}

impl Library {
    /// Whether it was built with CUDA.
    pub fn has_cuda(&self) -> bool {
        self.providers.iter().any(|name| name == "CUDAExecutionProvider")
    }
}

/// Where a library was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `--ort` or `ORT_DYLIB_PATH`.
    Given,
    /// Our cache folder.
    Cache,
    /// An installed Python package.
    Python,
    /// The system's library folders.
    System,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "--ort or ORT_DYLIB_PATH",
            Self::Cache => "the cache",
            Self::Python => "the Python package",
            Self::System => "the system",
        })
    }
}

/// A version of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Version(u32, u32, u32);

impl Version {
    /// The oldest that the bindings accept (their interface version, `api-22`).
    pub const OLDEST: Self = Self(1, ort::sys::ORT_API_VERSION, 0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl std::str::FromStr for Version {
    type Err = ();

    /// `1.32.0`, also with something after the numbers (`1.32.0-dev`).
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().map_err(|_| ())
        });
        let mut next = || parts.next().unwrap_or(Err(()));
        Ok(Self(next()?, next()?, next()?))
    }
}

/// A candidate that could not be used.
#[derive(Debug)]
pub struct Passed {
    /// Where it was found.
    pub origin: Origin,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What the search found.
#[derive(Debug)]
pub struct Search {
    /// The first library that can be used.
    pub library: Option<Library>,
    /// The candidates before it that cannot.
    pub passed: Vec<Passed>,
}

/// Looks in every place in turn, until a library can be used.
pub fn search(lookup: &Lookup) -> Search {
    let mut passed = Vec::new();
    for (origin, path) in places::candidates(lookup) {
        let found = probe(&path, origin).and_then(|library| {
            let found = library.version.to_string();
            if lookup.cuda && !library.has_cuda() { Err(Fault::NoCuda { found }) } else { Ok(library) }
        });
        match found {
            Ok(library) => return Search { library: Some(library), passed },
            Err(fault) => passed.push(Passed { origin, path, fault }),
        }
    }
    Search { library: None, passed }
}

/// The library named or in the cache; asks no Python and fetches nothing.
pub fn quick(lookup: &Lookup) -> Option<Library> {
    let near = |origin: &Origin| matches!(origin, Origin::Given | Origin::Cache);
    let mut candidates = places::candidates(lookup).take_while(|(origin, _)| near(origin));
    candidates.find_map(|(origin, path)| probe(&path, origin).ok())
}

/// The library to use; fetches nothing.
///
/// # Errors
/// [`Error::Missing`] (exit 3) when none can be used: it names the places and what is wrong there.
pub fn locate(lookup: &Lookup) -> Result<Library> {
    let mut search = search(lookup);
    search.library.take().ok_or_else(|| none(lookup, search.passed))
}

/// The error of a search without success.
fn none(lookup: &Lookup, mut passed: Vec<Passed>) -> Error {
    let kind = if lookup.cuda { "ONNX Runtime with CUDA" } else { "ONNX Runtime" };
    let install = if lookup.cuda { "siamese runtime install --cuda" } else { "siamese runtime install" };
    if let Some(given) = &lookup.path {
        let what = format!("{} cannot be used as {kind}", given.display());
        let fix =
            format!("name its library with --ort or ORT_DYLIB_PATH, or leave both out and run `{install}`");
        let source = passed.pop().map(|one| one.fault.into());
        return Error::Missing { what, fix, source };
    }
    let mut what = format!("{kind} is not installed");
    for one in &passed {
        what += &format!("; {} cannot be used ({})", one.path.display(), one.fault);
    }
    Error::missing(what, format!("run `{install}`, or name a library with --ort PATH"))
}

/// The library to use; installs one where there is none, after saying so on stderr.
///
/// # Errors
/// As [`locate`] where it may not fetch, and as [`install()`] when that fails.
pub fn ensure(lookup: &Lookup) -> Result<Library> {
    ensure_with(lookup, &|message| drop(writeln!(std::io::stderr(), "siamese: {message}")))
}

/// As [`ensure`], saying it through `say`.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_with(lookup: &Lookup, say: &dyn Fn(&str)) -> Result<Library> {
    match locate(lookup) {
        Err(Error::Missing { what, fix, source }) if lookup.offline && lookup.path.is_none() => {
            Err(Error::Missing { what, fix: format!("{fix} (--offline forbids fetching it now)"), source })
        }
        Err(Error::Missing { .. }) if lookup.path.is_none() => {
            let wheel = Wheel::here(None, lookup.cuda)?;
            let tool = wheel.tool()?;
            let folder = install_dir()?;
            let (package, by) = (wheel.requirement(), tool.name());
            say(&format!(
                "ONNX Runtime is not installed yet: fetching {package} with {by} into {}",
                folder.display()
            ));
            install(&wheel, &tool, &folder).map(|installed| installed.library)
        }
        other => other,
    }
}

/// The cache folder, or an error where the user has none.
///
/// # Errors
/// When there is neither `SIAMESE_CACHE` nor a home folder.
pub fn install_dir() -> Result<PathBuf> {
    cache_dir()
        .ok_or_else(|| Error::missing("there is no cache folder", "set SIAMESE_CACHE or HOME to a folder"))
}
