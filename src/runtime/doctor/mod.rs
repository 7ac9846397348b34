//! Checks everything that the work needs, and says what to do about what is missing. Looks only:
//! nothing is fetched or written.

mod machine;
mod tower;

pub use machine::{Cache, Machine};
pub use tower::{Load, TowerReport};

#[cfg(feature = "ort")]
use super::provision::{self, Library, Origin, Version};
use super::{Lookup, RUNTIMES, Runtime};
use crate::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program's version.
    pub siamese: &'static str,
    /// The machine.
    pub machine: Machine,
    /// The inner loops of tract's towers.
    #[cfg(feature = "lowered")]
    pub kernels: Kernels,
    /// The version of each runtime, by its name; none where it is not built in.
    #[serde(flatten)]
    pub runtimes: BTreeMap<&'static str, Option<&'static str>>,
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

/// The inner loops of tract's towers, a set for each kind of processor.
#[cfg(feature = "lowered")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernels {
    /// The set in use; `none` where the environment leaves all to tract's own operators.
    pub in_use: &'static str,
    /// What this processor can run, the fastest first.
    pub available: Vec<&'static str>,
}

#[cfg(feature = "lowered")]
impl Kernels {
    /// Of this processor, as the environment chooses.
    ///
    /// # Errors
    /// When it names a set that the processor does not have.
    pub fn find() -> Result<Self> {
        let available =
            crate::edge::kernels::Kernels::all().into_iter().map(|kernels| kernels.name).collect();
        let in_use = crate::edge::kernels()?.map_or(crate::edge::NONE, |kernels| kernels.name);
        Ok(Self { in_use, available })
    }
}

/// ONNX Runtime on this machine.
#[cfg(feature = "ort")]
#[derive(Clone, Debug, Serialize)]
pub struct OnnxRuntime {
    /// The version of the bindings.
    pub ort_crate: &'static str,
    /// The oldest library that they accept.
    pub oldest: Version,
    /// The library that would be used.
    pub library: Option<Library>,
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
    pub origin: Origin,
    /// Why.
    pub why: String,
}

#[cfg(feature = "ort")]
impl OnnxRuntime {
    /// Looks for the library.
    pub fn find(lookup: &Lookup) -> Self {
        let search = provision::search(lookup);
        let passed = |one: provision::Passed| {
            let why = format!("{:#}", anyhow::Error::from(one.fault));
            PassedOver { path: one.path, origin: one.origin, why }
        };
        Self {
            ort_crate: super::ort::VERSION,
            oldest: Version::OLDEST,
            cuda: Cuda::find(lookup, search.library.as_ref()),
            library: search.library,
            passed_over: search.passed.into_iter().map(passed).collect(),
        }
    }
}

#[cfg(feature = "ort")]
impl Cuda {
    /// Tries the library in use, where it was built with CUDA; else says which one is there for it.
    fn find(lookup: &Lookup, in_use: Option<&Library>) -> Option<Self> {
        let lookup = Lookup { offline: true, cuda: true, ..lookup.clone() };
        if let Some(library) = in_use.filter(|library| library.has_cuda()) {
            let fault = super::ort::try_cuda(&lookup).err().map(|e| format!("{:#}", anyhow::Error::from(e)));
            return Some(Self { library: library.path.clone(), tried: true, fault });
        }
        // Looking for another takes a while, and without a driver it is of no use.
        let other = provision::driver_fault().is_none().then(|| provision::locate(&lookup).ok()).flatten()?;
        Some(Self { library: other.path, tried: false, fault: None })
    }
}

/// Looks at everything, and at a tower if one is named.
///
/// # Errors
/// When the tower cannot be read, or `SIAMESE_KERNELS` names what this processor lacks; what is missing is in the report instead.
pub fn examine(lookup: &Lookup, tower: Option<&Path>) -> Result<Report> {
    let lookup = &Lookup { offline: true, ..lookup.clone() };
    let mut missing = Vec::new();
    #[cfg(feature = "ort")]
    let onnx_runtime = OnnxRuntime::find(lookup);
    #[cfg(feature = "ort")]
    if onnx_runtime.library.is_none() {
        missing.push("ONNX Runtime; run `siamese runtime install`, or name a library with --ort PATH".into());
    }
    let caches = machine::caches();
    let unusable = caches.iter().filter(|cache| !cache.writable);
    missing
        .extend(unusable.map(|cache| format!("a cache that can be written; make {} writable", cache.path)));
    let tower = tower.map(|path| tower::examine(path, lookup)).transpose()?;
    for load in tower.iter().flat_map(|tower| &tower.loads) {
        if let Some(fault) = &load.fault {
            missing.push(format!("a runtime for this tower: {fault}"));
        }
    }
    Ok(Report {
        siamese: env!("CARGO_PKG_VERSION"),
        machine: Machine::this(),
        #[cfg(feature = "lowered")]
        kernels: Kernels::find()?,
        runtimes: RUNTIMES.into_iter().map(|runtime| (runtime.name, runtime.version())).collect(),
        #[cfg(feature = "ort")]
        onnx_runtime,
        caches,
        tower,
        missing,
    })
}

/// The versions of everything that computes, a line each. Quick: looks for no Python package, and
/// installs nothing.
pub fn versions(#[cfg_attr(not(feature = "ort"), expect(unused_variables))] lookup: &Lookup) -> String {
    let mut text = env!("CARGO_PKG_VERSION").to_string();
    for runtime in Runtime::built_in() {
        text += &format!("\n{runtime} {}", runtime.version().unwrap_or_default());
        #[cfg(feature = "ort")]
        if *runtime == super::ORT {
            let found = match provision::quick(lookup) {
                Some(library) => format!("{} ({})", library.version, library.path.display()),
                None => "not found (see `siamese runtime status`)".into(),
            };
            text += &format!("\n{} {found}", runtime.title);
        }
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
        let packages: Vec<&str> = lock.split("[[package]]").collect();
        for runtime in Runtime::built_in() {
            let version = format!("\nversion = \"{}\"\n", runtime.version().unwrap());
            // `tract-onnx` is tract's package.
            let name = format!("\nname = \"{runtime}");
            let built = |package: &&str| package.starts_with(&name) && package.contains(&version);
            assert!(packages.iter().any(built), "{runtime}{version}");
        }
    }

    #[test]
    fn a_report_is_json() {
        let report = examine(&Lookup::default(), None).unwrap();
        let told = serde_json::to_value(&report).unwrap();
        assert_eq!(told["siamese"], env!("CARGO_PKG_VERSION"));
        assert!(told["machine"]["cores"].as_u64().unwrap() > 0);
        for runtime in RUNTIMES {
            assert_eq!(told[runtime.name].as_str(), runtime.version());
        }
    }
}
