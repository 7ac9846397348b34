//! The command line: one file a verb; arguments → typed configuration → one library call →
//! rendering. Results go to stdout, progress and logs to stderr.

mod bench;
mod calibrate;
mod classify;
#[cfg(feature = "prove")]
mod compare;
mod completions;
mod data;
#[cfg(feature = "prove")]
mod demo;
mod doctor;
mod embed;
mod enroll;
mod eval;
mod examples;
#[cfg(feature = "prove")]
mod export;
mod gallery;
#[cfg(feature = "prove")]
mod import;
mod index;
mod inspect;
mod interrupt;
mod learn;
mod man;
mod migrate;
#[cfg(feature = "ort")]
mod model;
mod output;
#[cfg(any(feature = "prove", feature = "serve"))]
mod page;
#[cfg(feature = "ort")]
mod processes;
mod progress;
mod recipes;
#[cfg(feature = "ort")]
mod runtime;
#[cfg(feature = "serve")]
mod serve;
mod shared;
#[cfg(feature = "prove")]
mod stays;
#[cfg(feature = "ort")]
mod train;
mod verify;

pub use output::warn;

use crate::runtime::Lookup;
use crate::{Error, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;

/// What stands at the end of `--help`.
const ENVIRONMENT: &str = "\
Environment:
  SIAMESE_DATA     The folder of data sets
  SIAMESE_CACHE    The folder of what is fetched once and kept
  SIAMESE_KERNELS  The kernels that tract's towers run on instead of this processor's fastest (`doctor` lists them);
                   `none` leaves all to tract's own operators";

/// Trains one-shot image recognisers on ONNX Runtime, runs them with tract on any CPU, and proves
/// that both agree.
#[derive(Debug, Parser)]
#[command(name = "siamese", version, propagate_version = true, after_help = ENVIRONMENT)]
struct Cli {
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
    /// The whole way in about two minutes, on built-in data; writes a report.
    #[cfg(feature = "prove")]
    Demo(demo::Arguments),
    /// Fetch Omniglot or MNIST, describe data, draw contact sheets.
    #[command(subcommand)]
    Data(data::Command),
    /// Train a recipe on ONNX Runtime.
    #[cfg(feature = "ort")]
    Train(train::Arguments),
    /// Make a tower (ONNX) of a training run, in floating point or exact.
    #[cfg(feature = "prove")]
    Export(export::Arguments),
    /// Make a tower of a foreign ONNX model.
    #[cfg(feature = "prove")]
    Import(Box<import::Arguments>),
    /// Networks that others trained on photographs: which there are, and make one a tower.
    #[cfg(feature = "ort")]
    #[command(subcommand)]
    Model(model::Command),
    /// Tell what is in an ONNX file; prove an exact tower again.
    Inspect(inspect::Arguments),
    /// ONNX Runtime on this machine: find it, install it.
    #[cfg(feature = "ort")]
    #[command(subcommand)]
    Runtime(runtime::Command),
    /// Check everything: libraries, processor, caches, and a tower if one is named.
    Doctor(doctor::Arguments),
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
    /// Write manual pages.
    Man(man::Arguments),
    /// Tell the recipes and towers inside the program.
    Recipes(recipes::Arguments),
    /// Measure a tower's accuracy by a protocol of the field.
    Eval(eval::Arguments),
    /// Turn pictures or a data set into embeddings: .npy, .safetensors, .parquet, JSON lines.
    Embed(embed::Arguments),
    /// Make a recogniser of class folders: towers, a gallery, a report.
    Learn(learn::Arguments),
    /// Make pictures known to a gallery.
    Enroll(enroll::Arguments),
    /// Tell what a gallery holds.
    List(gallery::List),
    /// Remove classes from a gallery.
    Remove(gallery::Remove),
    /// Add galleries of the same tower to a gallery.
    Merge(gallery::Merge),
    /// Have a gallery go over to another tower, by the pictures of its examples.
    Migrate(migrate::Arguments),
    /// Have a large gallery in a database searched by an index, and measure what it finds.
    Index(index::Arguments),
    /// Recognise pictures by a gallery.
    Classify(classify::Arguments),
    /// Recognise pictures by a gallery over HTTP, and on a page to draw on.
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    /// Write a page that recognises by a gallery in the browser: a folder for any web server.
    #[cfg(any(feature = "prove", feature = "serve"))]
    Page(page::Arguments),
    /// Tell whether pictures show the same thing.
    Verify(verify::Arguments),
    /// Choose from where on a picture is unknown to a gallery, by leaving its classes out.
    Calibrate(calibrate::Arguments),
    /// Compare a tower on two runtimes: numbers, predictions with a proof, bits, layers.
    #[cfg(feature = "prove")]
    Compare(compare::Compare),
    /// Measure a tower: latency, throughput, cold start, memory, break-even.
    Bench(bench::Arguments),
    /// The measuring process of `bench`.
    #[command(name = crate::bench::CHILD, hide = true)]
    BenchProcess(bench::Process),
}

impl Context {
    /// What to look for when ONNX Runtime is needed.
    pub fn library(&self, cuda: bool) -> Lookup {
        Lookup { path: self.ort.clone(), offline: self.offline, cuda }
    }
}

/// All verbs, their options and examples.
fn command() -> clap::Command {
    examples::add(Cli::command())
}

/// Runs the verb that the process's arguments name; exits where they cannot be used.
///
/// # Errors
/// Those of the verb, and where what it tells cannot be written.
pub fn run() -> Result<Outcome> {
    let mut command = command();
    // The long version looks for libraries, which takes longer than parsing: only when asked.
    if std::env::args_os().any(|argument| argument == "--version") {
        command = command.long_version(&*versions().leak());
    }
    match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            let outcome = cli.run();
            tell_of_lost_colours();
            outcome
        }
        Err(usage) if usage.use_stderr() => usage.exit(),
        // Help, or the version.
        Err(told) => told.print().map(|()| Outcome::Yes).map_err(Error::io("write", output::STDOUT)),
    }
}

impl Cli {
    fn run(self) -> Result<Outcome> {
        match &self.verb {
            #[cfg(feature = "prove")]
            Verb::Demo(arguments) => demo::run(&self.context, arguments),
            Verb::Data(command) => data::run(&self.context, command),
            #[cfg(feature = "prove")]
            Verb::Export(arguments) => export::run(&self.context, arguments),
            #[cfg(feature = "prove")]
            Verb::Import(arguments) => import::run(&self.context, arguments),
            #[cfg(feature = "ort")]
            Verb::Model(command) => model::run(&self.context, command),
            Verb::Inspect(arguments) => inspect::run(&self.context, arguments),
            #[cfg(feature = "ort")]
            Verb::Train(arguments) => train::run(&self.context, arguments),
            #[cfg(feature = "ort")]
            Verb::Runtime(command) => runtime::run(&self.context, command),
            Verb::Doctor(arguments) => doctor::run(&self.context, arguments),
            Verb::Completions(arguments) => completions::run(arguments),
            Verb::Man(arguments) => man::run(&self.context, arguments),
            Verb::Recipes(arguments) => recipes::run(&self.context, arguments),
            Verb::Eval(arguments) => eval::run(&self.context, arguments),
            Verb::Embed(arguments) => embed::run(&self.context, arguments),
            Verb::Learn(arguments) => learn::run(&self.context, arguments),
            Verb::Enroll(arguments) => enroll::run(&self.context, arguments),
            Verb::List(arguments) => gallery::list(&self.context, arguments),
            Verb::Remove(arguments) => gallery::remove(&self.context, arguments),
            Verb::Merge(arguments) => gallery::merge(&self.context, arguments),
            Verb::Migrate(arguments) => migrate::run(&self.context, arguments),
            Verb::Index(arguments) => index::run(&self.context, arguments),
            Verb::Classify(arguments) => classify::run(&self.context, arguments),
            #[cfg(feature = "serve")]
            Verb::Serve(arguments) => serve::run(&self.context, arguments),
            #[cfg(any(feature = "prove", feature = "serve"))]
            Verb::Page(arguments) => page::run(&self.context, arguments),
            Verb::Verify(arguments) => verify::run(&self.context, arguments),
            Verb::Calibrate(arguments) => calibrate::run(&self.context, arguments),
            #[cfg(feature = "prove")]
            Verb::Compare(arguments) => compare::run(&self.context, arguments),
            Verb::Bench(arguments) => bench::run(&self.context, arguments),
            Verb::BenchProcess(arguments) => bench::process(&self.context, arguments),
        }
    }
}

/// Once, however many pictures there were.
fn tell_of_lost_colours() {
    if crate::image::colours_lost() {
        output::note(
            "note: pictures in colour were read as grey ink, as the tower or recipe asks; --tower emoji-edge-exact sees \
             colours, and so do the network for photographs that `siamese model get efficientnet-lite0` fetches, a \
             recipe with \"colour\": {} and imported models",
        );
    }
}

/// The long version: of everything that computes.
fn versions() -> String {
    let path = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    crate::runtime::doctor::versions(&Lookup { path, offline: true, cuda: false })
}
