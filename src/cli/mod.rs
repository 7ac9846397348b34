//! The command line: one file a verb; arguments → typed configuration → one library call →
//! rendering. Results go to stdout, progress and logs to stderr.

mod calibrate;
mod classify;
mod data;
mod embed;
mod enroll;
mod eval;
mod gallery;
mod shared;
mod verify;

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
    /// Measure a tower's accuracy by a protocol of the field.
    Eval(eval::Command),
    /// Turn pictures or a data set into embeddings: .npy, .safetensors, .parquet, JSON lines.
    Embed(embed::Command),
    /// Make pictures known to a gallery.
    Enroll(enroll::Command),
    /// Tell what a gallery holds.
    List(gallery::List),
    /// Remove classes from a gallery.
    Remove(gallery::Remove),
    /// Add galleries of the same tower to a gallery.
    Merge(gallery::Merge),
    /// Recognise pictures by a gallery.
    Classify(classify::Command),
    /// Tell whether pictures show the same thing.
    Verify(verify::Command),
    /// Choose a gallery's threshold by measuring same and different pairs.
    Calibrate(calibrate::Command),
}

impl Cli {
    /// Runs the verb.
    pub fn run(self) -> Result<Outcome> {
        match &self.verb {
            Verb::Data(command) => data::run(&self.context, command),
            Verb::Eval(command) => eval::run(&self.context, command),
            Verb::Embed(command) => embed::run(&self.context, command),
            Verb::Enroll(command) => enroll::run(&self.context, command),
            Verb::List(command) => gallery::list(&self.context, command),
            Verb::Remove(command) => gallery::remove(&self.context, command),
            Verb::Merge(command) => gallery::merge(&self.context, command),
            Verb::Classify(command) => classify::run(&self.context, command),
            Verb::Verify(command) => verify::run(&self.context, command),
            Verb::Calibrate(command) => calibrate::run(&self.context, command),
        }
    }
}
