//! The command line: one file a verb; arguments → typed configuration → one library call →
//! rendering. Results go to stdout, progress and logs to stderr.

mod completions;
mod data;
mod doctor;
#[cfg(feature = "ort")]
mod runtime;

use crate::{Error, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;

/// Trains one-shot image recognisers on ONNX Runtime, runs them with tract on any CPU, and proves
/// that both agree.
#[derive(Debug, Parser)]
#[command(name = "siamese", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Context {
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Never fetch anything.
    #[arg(long, global = true)]
    pub offline: bool,
    /// The ONNX Runtime library to use (a file, or its folder).
    #[arg(long, global = true, value_name = "PATH", env = "ORT_DYLIB_PATH")]
    pub ort: Option<PathBuf>,
}

/// What a verb answers; its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success, agreement, a match: 0.
    Yes,
    /// A negative answer (mismatch, unknown): 1.
    No,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fetch Omniglot or MNIST, describe data, draw contact sheets.
    #[command(subcommand)]
    Data(data::Command),
    /// ONNX Runtime on this machine: find it, install it.
    #[cfg(feature = "ort")]
    #[command(subcommand)]
    Runtime(runtime::Command),
    /// Check everything: libraries, processor, caches, and a tower if one is named.
    Doctor(doctor::Arguments),
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
}

#[cfg(feature = "ort")]
impl Context {
    /// What to look for when ONNX Runtime is needed.
    pub fn library(&self, cuda: bool) -> crate::runtime::provision::Request {
        crate::runtime::provision::Request { path: self.ort.clone(), offline: self.offline, cuda }
    }
}

impl Cli {
    /// From the process's arguments; exits on bad usage, and after `--help` and `--version`.
    pub fn from_args() -> Self {
        let mut command = Self::command();
        // The long version looks for libraries, which takes longer than parsing: only when asked.
        if std::env::args_os().any(|argument| argument == "--version") {
            command = command.long_version(&*versions().leak());
        }
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
    }

    /// Runs the verb.
    pub fn run(self) -> Result<Outcome> {
        match &self.verb {
            Verb::Data(command) => data::run(&self.context, command),
            #[cfg(feature = "ort")]
            Verb::Runtime(command) => runtime::run(&self.context, command),
            Verb::Doctor(arguments) => doctor::run(&self.context, arguments),
            Verb::Completions(arguments) => completions::run(arguments),
        }
    }
}

/// The long version: of everything that computes.
fn versions() -> String {
    #[cfg(feature = "ort")]
    {
        let path = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
        let request = crate::runtime::provision::Request { path, offline: true, cuda: false };
        crate::runtime::doctor::versions(&request)
    }
    #[cfg(not(feature = "ort"))]
    crate::runtime::doctor::versions()
}

/// Prints a result as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::invalid_because("the result", "cannot be written as JSON", e))?;
    println!("{text}");
    Ok(())
}
