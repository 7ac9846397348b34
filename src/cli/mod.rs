//! The command line: one file a verb; arguments → typed configuration → one library call →
//! rendering. Results go to stdout, progress and logs to stderr.

mod compare;
mod data;

use crate::Result;
use clap::{Parser, Subcommand};
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
    /// Compare a tower on two runtimes: numbers, predictions with a proof, bits, layers.
    Compare(compare::Compare),
}

impl Cli {
    /// Runs the verb.
    pub fn run(self) -> Result<Outcome> {
        match &self.verb {
            Verb::Data(command) => data::run(&self.context, command),
            Verb::Compare(arguments) => compare::run(&self.context, arguments),
        }
    }
}
