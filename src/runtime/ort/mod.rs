//! ONNX Runtime through the `ort` crate: its one environment, sessions, and the backend.

mod cuda;
mod embedder;
mod engine;
mod session;

pub use cuda::try_cuda;
pub use session::{SessionOptions, builder, session, session_from_file};

use super::provision::{self, Library};
use super::{Backend, Embedder, Engine, LibraryFile, Lookup, ORT, Options, ReadTower};
use crate::{Error, Result};
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What messages call it.
pub const NAME: &str = ORT.title;
/// The version of the `ort` crate that is built in.
pub const VERSION: &str = "2.0.0-rc.15";

/// ONNX Runtime.
#[derive(Debug)]
pub struct Ort;

impl Backend for Ort {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn library(&self, lookup: &Lookup) -> Result<Option<LibraryFile>> {
        let found = library(lookup)?;
        Ok(Some(LibraryFile { path: found.path.clone(), version: found.version.to_string() }))
    }

    fn open(&self, options: &Options, tower: ReadTower<'_>) -> Result<Box<dyn Embedder>> {
        Ok(Box::new(embedder::OrtEmbedder::open(options, tower)?))
    }

    fn engine(&self, options: &Options) -> Result<Box<dyn Engine>> {
        Ok(Box::new(engine::OrtEngine { library: options.library.clone(), options: options.into() }))
    }
}

/// The environment, with the library that it came from: one for each process, ever.
struct Loaded {
    environment: Environment,
    library: Library,
}

static LOADED: OnceLock<Loaded> = OnceLock::new();

/// The environment of this process. The first call finds the library (and installs it where
/// there is none); later calls give the same environment.
///
/// # Errors
/// As [`provision::ensure`]; and when a later lookup needs another library than the one loaded.
pub fn environment(lookup: &Lookup) -> Result<&'static Environment> {
    loaded(lookup).map(|loaded| &loaded.environment)
}

/// The library that this process uses, loading it first where needed; errors as [`environment`].
pub fn library(lookup: &Lookup) -> Result<&'static Library> {
    loaded(lookup).map(|loaded| &loaded.library)
}

fn loaded(lookup: &Lookup) -> Result<&'static Loaded> {
    // Two threads must not both build: the second environment would be refused for ever.
    static BUILDING: Mutex<()> = Mutex::new(());
    // Before hundreds of megabytes are fetched that could not be used.
    if let Some(fault) = lookup.cuda.then(provision::driver_fault).flatten() {
        let what = format!("CUDA cannot be used: there is no NVIDIA driver on this machine ({fault})");
        return Err(Error::missing(what, "install the driver, or choose the CPU"));
    }
    if let Some(loaded) = LOADED.get() {
        return serves(loaded, lookup);
    }
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = LOADED.get() {
        return serves(loaded, lookup);
    }
    let library = provision::ensure(lookup)?;
    let fault = |source: Box<dyn std::error::Error + Send + Sync>| Error::Runtime {
        runtime: NAME,
        action: format!("start from {}", library.path.display()),
        source,
    };
    let builder = ort::init_from(&library.path).map_err(|e| fault(Box::new(e)))?;
    let environment =
        builder.with_name("siamese").with_telemetry(false).build().map_err(|e| fault(Box::new(e)))?;
    // Its errors reach the caller as errors; printing them too is for who asks with ORT_LOG.
    if std::env::var_os("ORT_LOG").is_none() {
        environment.set_log_level(LogLevel::Fatal);
    }
    Ok(LOADED.get_or_init(|| Loaded { environment, library }))
}

/// The loaded library, if it is what this lookup needs too.
fn serves<'a>(loaded: &'a Loaded, lookup: &Lookup) -> Result<&'a Loaded> {
    if lookup.cuda && !loaded.library.has_cuda() {
        let what = format!("CUDA is not in the ONNX Runtime in use, {}", loaded.library.path.display());
        return Err(Error::missing(what, "ask for CUDA at the first use in a process"));
    }
    Ok(loaded)
}
