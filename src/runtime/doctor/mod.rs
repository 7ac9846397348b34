//! Checks everything that the work needs, and says what to do about what is missing. Looks only:
//! nothing is fetched or written.

mod machine;
mod tower;

pub use machine::{Cache, Machine};
pub use tower::{Load, TowerReport};

use super::Runtime;
use crate::Result;
use serde::Serialize;
use std::path::Path;

/// The version of the `ort` crate that is built in.
pub const ORT_CRATE: &str = "2.0.0-rc.15";
/// The version of tract that is built in.
pub const TRACT: &str = "0.23.9";

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Where ONNX Runtime is looked for.
    #[cfg(feature = "ort")]
    pub library: super::provision::Request,
    /// A tower to check too.
    pub tower: Option<std::path::PathBuf>,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program's version.
    pub siamese: &'static str,
    /// The machine.
    pub machine: Machine,
    /// tract's version, where it is built in.
    pub tract: Option<&'static str>,
    /// ONNX Runtime, where the bindings are built in.
    #[cfg(feature = "ort")]
    pub onnx_runtime: OnnxRuntime,
    /// The folders that are kept between runs.
    pub caches: Vec<Cache>,
    /// The tower, where one is named.
    pub tower: Option<TowerReport>,
    /// What is missing, each with what to do.
    pub missing: Vec<String>,
}

/// ONNX Runtime on this machine.
#[cfg(feature = "ort")]
#[derive(Clone, Debug, Serialize)]
pub struct OnnxRuntime {
    /// The version of the bindings.
    pub ort_crate: &'static str,
    /// The oldest library that they accept.
    pub oldest: super::provision::Version,
    /// The library that would be used.
    pub library: Option<super::provision::Library>,
    /// CUDA, where a library that is here was built with it.
    pub cuda: Option<Cuda>,
    /// Candidates that cannot be used.
    pub passed_over: Vec<PassedOver>,
}

/// CUDA on this machine.
#[cfg(feature = "ort")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cuda {
    /// The library that training on CUDA would use.
    pub library: std::path::PathBuf,
    /// Whether it was tried. A process loads one library, the one that the report names.
    pub tried: bool,
    /// Why CUDA cannot be used.
    pub fault: Option<String>,
}

/// A library that cannot be used.
#[cfg(feature = "ort")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The file.
    pub path: std::path::PathBuf,
    /// Where it was found.
    pub origin: super::provision::Origin,
    /// Why.
    pub why: String,
}

#[cfg(feature = "ort")]
impl OnnxRuntime {
    /// Looks for the library.
    pub fn find(request: &super::provision::Request) -> Self {
        let search = super::provision::search(request);
        let passed = |one: super::provision::Passed| {
            let why = format!("{:#}", anyhow::Error::from(one.fault));
            PassedOver { path: one.path, origin: one.origin, why }
        };
        Self {
            ort_crate: ORT_CRATE,
            oldest: super::provision::Version::OLDEST,
            cuda: Cuda::find(request, search.library.as_ref()),
            library: search.library,
            passed_over: search.passed.into_iter().map(passed).collect(),
        }
    }
}

#[cfg(feature = "ort")]
impl Cuda {
    /// Tries the library in use, where it was built with CUDA; else says which one is there for it.
    fn find(request: &super::provision::Request, in_use: Option<&super::provision::Library>) -> Option<Self> {
        use super::provision::{driver_fault, locate};
        let request = super::provision::Request { offline: true, cuda: true, ..request.clone() };
        if let Some(library) = in_use.filter(|library| library.has_cuda()) {
            let fault = super::ort::try_cuda(&request).err().map(|e| format!("{:#}", anyhow::Error::from(e)));
            return Some(Self { library: library.path.clone(), tried: true, fault });
        }
        // Looking for another takes a while, and without a driver it is of no use.
        let other = driver_fault().is_none().then(|| locate(&request).ok()).flatten()?;
        Some(Self { library: other.path, tried: false, fault: None })
    }
}

/// Looks at everything.
///
/// # Errors
/// When the named tower cannot be read; what is missing is in the report instead.
pub fn examine(request: &Request) -> Result<Report> {
    let mut missing = Vec::new();
    #[cfg(feature = "ort")]
    let onnx_runtime = OnnxRuntime::find(&request.library);
    #[cfg(feature = "ort")]
    if onnx_runtime.library.is_none() {
        missing.push("ONNX Runtime; run `siamese runtime install`, or name a library with --ort PATH".into());
    }
    let caches = machine::caches();
    let unusable = caches.iter().filter(|cache| !cache.writable);
    missing
        .extend(unusable.map(|cache| format!("a cache that can be written; make {} writable", cache.path)));
    let tower = request.tower.as_deref().map(|path| tower_report(path, request)).transpose()?;
    for load in tower.iter().flat_map(|tower| &tower.loads) {
        if let Some(fault) = &load.fault {
            missing.push(format!("a runtime for this tower: {fault}"));
        }
    }
    Ok(Report {
        siamese: env!("CARGO_PKG_VERSION"),
        machine: Machine::this(),
        tract: cfg!(feature = "tract").then_some(TRACT),
        #[cfg(feature = "ort")]
        onnx_runtime,
        caches,
        tower,
        missing,
    })
}

/// The tower on every runtime that is here; where ONNX Runtime is missing it is told once, above.
fn tower_report(path: &Path, request: &Request) -> Result<TowerReport> {
    #[cfg(feature = "ort")]
    let library = super::provision::Request { offline: true, ..request.library.clone() };
    let _ = request;
    let runtimes: Vec<Option<Runtime>> = vec![
        #[cfg(feature = "ort")]
        super::provision::locate(&library)
            .is_ok()
            .then(|| Runtime::Ort(super::OrtOptions { library, ..Default::default() })),
        #[cfg(feature = "tract")]
        Some(Runtime::Tract(super::TractOptions::default())),
    ];
    let runtimes: Vec<Runtime> = runtimes.into_iter().flatten().collect();
    tower::examine(path, &runtimes)
}

/// The versions of everything that computes, a line each. Quick: looks for no Python package, and
/// installs nothing.
pub fn versions(#[cfg(feature = "ort")] request: &super::provision::Request) -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_string();
    #[cfg(feature = "ort")]
    {
        let found = match super::provision::quick(request) {
            Some(library) => format!("{} ({})", library.version, library.path.display()),
            None => "not found (see `siamese runtime status`)".into(),
        };
        text += &format!("\nort {ORT_CRATE}\nONNX Runtime {found}");
    }
    if cfg!(feature = "tract") {
        text += &format!("\ntract {TRACT}");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_told_are_those_that_are_built() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
        for (name, version) in [("ort", ORT_CRATE), ("tract-onnx", TRACT)] {
            assert!(
                lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")),
                "{name} {version}"
            );
        }
    }

    #[test]
    fn a_report_is_json() {
        let report = examine(&Request::default()).unwrap();
        let told = serde_json::to_value(&report).unwrap();
        assert_eq!(told["siamese"], env!("CARGO_PKG_VERSION"));
        assert!(told["machine"]["cores"].as_u64().unwrap() > 0);
    }
}
