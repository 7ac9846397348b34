//! Sessions with every choice spelt out, so that none is left to a version's defaults.

use super::cuda::cannot;
use super::{NAME, environment};
use crate::edge::kernels::Kernels;
use crate::runtime::{Device, Lookup, OptLevel, Options};
use crate::{Error, Result};
use ort::ep;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use std::path::Path;

/// How a session is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where it runs.
    pub device: Device,
    /// Which of the machine's devices, from 0.
    pub ordinal: i32,
    /// On CUDA, whether products and convolutions may round their operands to TF32, which has 10 bits of
    /// mantissa: some times faster, equal to about three digits.
    pub tf32: bool,
    /// On the CPU, whether a training step takes our own kernels for what ONNX Runtime does slowly.
    pub kernels: bool,
    /// Threads within a node; 0 for one a core.
    pub threads: usize,
    /// How far the graph may be rewritten.
    pub level: OptLevel,
    /// Whether idle threads may spin: lower latency for back-to-back runs, a busy core between.
    pub spinning: bool,
}

impl From<&Options> for SessionOptions {
    /// For towers and sub-models, between whose runs the cores belong to others.
    fn from(options: &Options) -> Self {
        Self {
            device: options.device,
            ordinal: 0,
            tf32: false,
            kernels: false,
            threads: options.threads,
            level: options.level.unwrap_or_default(),
            spinning: false,
        }
    }
}

impl SessionOptions {
    /// Where it runs and how exactly, in words.
    pub fn place(&self) -> String {
        let rounding = if self.device == Device::Cuda && self.tf32 { " with TF32" } else { "" };
        let kernels = match (self.device, self.kernels) {
            (Device::Cpu, true) => format!(" with our kernels for {}", Kernels::best().name),
            _ => String::new(),
        };
        format!("{:?}{rounding}{kernels}", self.device)
    }
}

/// A session of the model `bytes`; `name` is what errors call it.
///
/// # Errors
/// [`Error::Missing`] where the library or the device is not there; [`Error::Runtime`] in ONNX
/// Runtime's own words when it refuses the model.
pub fn session(lookup: &Lookup, options: &SessionOptions, bytes: &[u8], name: &str) -> Result<Session> {
    let mut builder = builder(lookup, options)?;
    builder.commit_from_memory(bytes).map_err(|source| refused(name, source))
}

/// As [`session`], from a file: for models with data beside them.
///
/// # Errors
/// As [`session`].
pub fn session_from_file(lookup: &Lookup, options: &SessionOptions, path: &Path) -> Result<Session> {
    let mut builder = builder(lookup, options)?;
    builder.commit_from_file(path).map_err(|source| refused(&path.display().to_string(), source))
}

fn refused(name: &str, source: ort::Error) -> Error {
    Error::Runtime { runtime: NAME, action: format!("load {name}"), source: Box::new(source) }
}

/// A configured builder, for callers that need more (outputs kept on the device, profiles).
///
/// # Errors
/// As [`session`].
pub fn builder(lookup: &Lookup, options: &SessionOptions) -> Result<SessionBuilder> {
    let lookup = &Lookup { cuda: lookup.cuda || options.device == Device::Cuda, ..lookup.clone() };
    let environment = environment(lookup)?;
    let configured = configure(environment, options).map_err(|source| Error::Runtime {
        runtime: NAME,
        action: "configure a session".into(),
        source: Box::new(source),
    })?;
    match options.device {
        Device::Cpu => Ok(configured),
        Device::Cuda => with_cuda(configured, options),
    }
}

fn configure(
    environment: &ort::environment::Environment,
    options: &SessionOptions,
) -> ort::Result<SessionBuilder> {
    let level = match options.level {
        OptLevel::Off => GraphOptimizationLevel::Disable,
        OptLevel::Basic => GraphOptimizationLevel::Level1,
        OptLevel::Extended => GraphOptimizationLevel::Level2,
        OptLevel::All => GraphOptimizationLevel::All,
    };
    // Without a policy the builder would pick a provider by its own idea of efficiency.
    let mut builder = Session::builder(environment)?
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        .with_optimization_level(level)?
        .with_intra_op_spinning(options.spinning)?
        .with_inter_threads(1)?;
    if options.threads > 0 {
        builder = builder.with_intra_threads(options.threads)?;
    }
    Ok(builder)
}

/// CUDA or an error: without `error_on_failure` the session would run on the CPU in silence.
fn with_cuda(builder: SessionBuilder, options: &SessionOptions) -> Result<SessionBuilder> {
    let cuda = ep::CUDA::default().with_device_id(options.ordinal).with_tf32(options.tf32);
    let cuda = cuda.build().error_on_failure();
    builder.with_execution_providers([cuda]).map_err(|source| cannot(ort::Error::<()>::from(source)))
}
