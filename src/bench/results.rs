//! What a benchmark finds.

use super::statistics::{Latency, Spread};
use crate::tower::TowerKind;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of the JSON form.
pub const FORMAT: u32 = 1;

/// A benchmark of one tower's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// [`FORMAT`].
    pub format: u32,
    /// This program's version.
    pub siamese: String,
    /// Where it was measured.
    pub machine: MachineFacts,
    /// How it was measured.
    pub method: Method,
    /// This program's file, bytes.
    pub program_bytes: u64,
    /// ONNX Runtime, where it was measured.
    pub onnx_runtime: Option<LibraryFacts>,
    /// The files that were run.
    pub towers: Vec<TowerFile>,
    /// The configurations, each in its own process.
    pub rows: Vec<Measurement>,
    /// What the ratios are to: the label of a row with one thread and one image.
    pub reference: String,
    /// What one core can do at best with the kernels of the lowered towers.
    #[serde(default)]
    pub peaks: Vec<PeakRate>,
    /// The greatest [`Spread::noise`] of a median call among the rows.
    pub noise: f64,
    /// The same of the fastest calls.
    pub fastest_noise: f64,
    /// The comparison with an earlier result, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Changes>,
}

/// The machine, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Processor, as the system names it.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// `linux x86_64`.
    pub system: String,
    /// The instruction sets that the lowered towers use here: `avx512-vnni`.
    pub kernels: String,
}

/// How a benchmark was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Processes started for each configuration.
    pub rounds: usize,
    /// Calls before the timed ones, seconds a process.
    pub warm_up_seconds: f64,
    /// Timed calls, seconds a process.
    pub seconds: f64,
    /// What the random images are drawn by.
    pub seed: u64,
}

/// A library's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryFacts {
    /// Its version.
    pub version: String,
    /// Its file, bytes.
    pub bytes: u64,
}

/// A tower's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TowerFile {
    /// The recipe's name.
    pub name: String,
    /// How its numbers are made.
    pub kind: TowerKind,
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Side of its images, pixels.
    pub size: usize,
    /// Multiplications and additions for one image, counted separately, millions.
    pub mflop: Option<f64>,
}

/// A runtime with a tower and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The runtime's name.
    pub runtime: String,
    /// The tower's kind.
    pub tower: TowerKind,
    /// Threads that it was told to use.
    pub threads: usize,
    /// Images of a call.
    pub batch: usize,
}

impl Configuration {
    /// `tract exact`.
    pub fn who(&self) -> String {
        format!("{} {}", self.runtime, self.tower.name())
    }

    /// `tract exact, 1 thread, 64 images`.
    pub fn label(&self) -> String {
        let s = |n: usize| if n == 1 { "" } else { "s" };
        let (threads, batch) = (self.threads, self.batch);
        format!("{}, {threads} thread{}, {batch} image{}", self.who(), s(threads), s(batch))
    }

    /// Whether it is the one that starts and latencies are told of.
    pub fn single(&self) -> bool {
        self.threads == 1 && self.batch == 1
    }
}

/// What nothing but products of a kind come to on one core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeakRate {
    /// Of what: `float32`, `7 by 8 bits`.
    pub product: String,
    /// Multiplications and additions, counted separately, billions a second.
    pub gops: f64,
}

/// What a lowered tower executes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Executed {
    /// Multiplications and additions of products as they are executed (by tiles there are fewer than a
    /// convolution has), billions a second of the fastest call.
    pub gops: f64,
    /// The time that these take at the peak of as many cores as there are threads, over the fastest call's.
    pub peak_share: f64,
}

/// What was found of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was run.
    #[serde(flatten)]
    pub what: Configuration,
    /// How long a call takes; withheld where the threads were not those that were asked for.
    pub latency: Option<Latency>,
    /// Why figures are withheld.
    pub withheld: Option<String>,
    /// The median call of each round, microseconds.
    pub call_us: Option<Spread>,
    /// The fastest call of each round, microseconds: what other work on the machine disturbs least.
    pub fastest_us: Option<Spread>,
    /// Images a second, of each round.
    pub images_per_second: Option<Spread>,
    /// What is executed, where a lowered tower runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<Executed>,
    /// Its median call over that of the reference with the same threads and batch, round by round.
    pub ratio: Option<Spread>,
    /// The same of the fastest calls.
    pub fastest_ratio: Option<Spread>,
    /// CPU time over wall time while calls were timed.
    pub cores_used: Option<Spread>,
    /// From the start of the process to its first embedding, seen from outside, milliseconds.
    pub cold_start_ms: Option<Spread>,
    /// Reading and preparing the tower, milliseconds.
    pub load_ms: Option<Spread>,
    /// The first call, milliseconds.
    pub first_run_ms: Option<Spread>,
    /// The most memory of the process, bytes.
    pub peak_rss_bytes: Option<Spread>,
}

impl Measurement {
    /// Milliseconds for one image once it runs.
    pub fn image_ms(&self) -> Option<f64> {
        Some(self.call_us?.median / 1e3 / self.what.batch as f64)
    }

    /// Milliseconds until one embedding is there: load and first run.
    pub fn start_ms(&self) -> Option<f64> {
        Some(self.load_ms?.median + self.first_run_ms?.median)
    }
}

impl Benchmark {
    /// The rows with one thread and one image.
    pub fn single(&self) -> impl Iterator<Item = &Measurement> {
        self.rows.iter().filter(|row| row.what.single())
    }
}

/// What has changed since an earlier result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// The earlier result's file.
    pub file: PathBuf,
    /// Every figure that both have.
    pub changes: Vec<Change>,
    /// Things that make the results less comparable, in words.
    pub remarks: Vec<String>,
}

/// A figure then and now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `tract exact, 1 thread, 1 image: call (µs)`.
    pub what: String,
    /// The earlier median.
    pub then: f64,
    /// This one.
    pub now: f64,
    /// Now over then.
    pub ratio: f64,
    /// Ratios up to here are noise.
    pub allowed: f64,
    /// Whether it has grown beyond the noise.
    pub worse: bool,
}

impl Changes {
    /// Whether nothing has grown beyond the noise.
    pub fn holds(&self) -> bool {
        self.changes.iter().all(|c| !c.worse)
    }
}
