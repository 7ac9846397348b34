//! ONNX Runtime through the `ort` crate: its one environment, sessions, and the adapter.

mod cuda;
mod embedder;
mod session;

pub use cuda::try_cuda;
pub use embedder::{OrtEmbedder, OrtOptions};
pub use session::{Device, OptLevel, SessionOptions, builder, session, session_from_file};

use super::provision::{self, Library, Request};
use crate::{Error, Result};
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The name of this runtime in errors and reports.
pub const NAME: &str = "ONNX Runtime";

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
/// As [`provision::ensure`]; and when a later request needs another library than the one loaded.
pub fn environment(request: &Request) -> Result<&'static Environment> {
    loaded(request).map(|loaded| &loaded.environment)
}

/// The library that this process uses, loading it first where needed; errors as [`environment`].
pub fn library(request: &Request) -> Result<&'static Library> {
    loaded(request).map(|loaded| &loaded.library)
}

fn loaded(request: &Request) -> Result<&'static Loaded> {
    // Two threads must not both build: the second environment would be refused for ever.
    static BUILDING: Mutex<()> = Mutex::new(());
    // Before hundreds of megabytes are fetched that could not be used.
    if let Some(fault) = request.cuda.then(provision::driver_fault).flatten() {
        let what = format!("CUDA cannot be used: there is no NVIDIA driver on this machine ({fault})");
        return Err(Error::missing(what, "install the driver, or choose the CPU"));
    }
    if let Some(loaded) = LOADED.get() {
        return serves(loaded, request);
    }
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = LOADED.get() {
        return serves(loaded, request);
    }
    let library = provision::ensure(request)?;
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

/// The loaded library, if it is what this request needs too.
fn serves<'a>(loaded: &'a Loaded, request: &Request) -> Result<&'a Loaded> {
    if request.cuda && !loaded.library.has_cuda() {
        let what = format!("CUDA is not in the ONNX Runtime in use, {}", loaded.library.path.display());
        return Err(Error::missing(what, "ask for CUDA at the first use in a process"));
    }
    Ok(loaded)
}
