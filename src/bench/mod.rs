//! The in-program benchmark: each runtime in a process of its own, in turn, several rounds.
//!
//! [`run()`] starts the processes and gives a [`Benchmark`]; [`child`] is what each of them does;
//! [`against`] decides whether something has become slower; [`text`] and [`page`] show it. The criterion
//! benches in `benches/` measure parts; [`criterion`] turns their files into a table.

pub mod against;
pub mod breakeven;
pub mod child;
pub mod criterion;
#[cfg(feature = "lowered")]
pub mod judge;
#[cfg(not(feature = "lowered"))]
mod nothing_to_judge;
pub mod page;
mod process;
#[cfg(feature = "lowered")]
pub mod profile;
mod results;
mod run;
mod statistics;
#[cfg(test)]
mod testing;
pub mod text;
#[cfg(feature = "lowered")]
pub mod tiles;
#[cfg(feature = "ort")]
pub mod training;

pub use results::{
    Benchmark, Change, Changes, Configuration, Executed, FORMAT, LibraryFacts, MachineFacts, Measurement,
    Method, PeakRate, TowerFile,
};
pub use run::{Plan, run};
pub use statistics::{Latency, Spread, quantile};

/// The hidden verb of the measuring process.
pub const CHILD: &str = "bench-process";
