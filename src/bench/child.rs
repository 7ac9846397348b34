//! The measuring process: loads one tower on one runtime, runs it, tells what it saw.
//!
//! It writes two lines of JSON to stdout: [`First`] as soon as there is an embedding, so that whoever
//! started it can take the time, and [`Steady`] at the end.

use super::process::{cpu_time, peak_rss_bytes};
use crate::compare::sample::Images;
use crate::runtime::Runner;
use crate::{Error, Result};
use ndarray::Axis;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The least calls that are timed, however long they take.
const LEAST_CALLS: usize = 3;
/// The most calls that are timed in a process: their times are kept.
const MOST_CALLS: usize = 200_000;

/// What a process is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Images of a call.
    pub batch: usize,
    /// Calls before the timed ones.
    pub warm_up: Duration,
    /// Timed calls.
    pub time: Duration,
    /// What the images are drawn by.
    pub seed: u64,
}

/// Told with the first embedding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct First {
    /// Reading and preparing the tower.
    pub load_ms: f64,
    /// The first call, of one image.
    pub first_run_ms: f64,
}

/// Told at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// Every timed call, nanoseconds.
    pub calls_ns: Vec<u64>,
    /// CPU time over wall time of the timed calls.
    pub cores_used: Option<f64>,
    /// The most memory held.
    pub peak_rss_bytes: Option<u64>,
}

/// Does the job and writes what was seen to `out`.
///
/// # Errors
/// A tower that the runtime cannot run; a pipe that nobody reads.
pub fn run(runner: &Runner, tower: &Path, job: &Job, out: &mut impl Write) -> Result<()> {
    let began = Instant::now();
    let mut embedder = runner.load(tower)?;
    let load_ms = milliseconds(began);
    let how = &embedder.spec().preprocessing;
    let images = Images::random(job.batch.max(1), how.channels(), how.size(), job.seed);
    let images = images.all().view();
    let began = Instant::now();
    embedder.embed(images.slice_axis(Axis(0), ndarray::Slice::from(..1)))?;
    tell(out, &First { load_ms, first_run_ms: milliseconds(began) })?;

    let began = Instant::now();
    while began.elapsed() < job.warm_up {
        embedder.embed(images)?;
    }
    // The list of times is no part of what a tower needs.
    let peak_rss_bytes = peak_rss_bytes();
    let mut calls_ns = Vec::with_capacity(4096);
    let (began, cpu) = (Instant::now(), cpu_time());
    let mut call = began;
    while calls_ns.len() < LEAST_CALLS || (began.elapsed() < job.time && calls_ns.len() < MOST_CALLS) {
        embedder.embed(images)?;
        let now = Instant::now();
        calls_ns.push(u64::try_from((now - call).as_nanos()).unwrap_or(u64::MAX));
        call = now;
    }
    let wall = began.elapsed().as_secs_f64();
    let cpu = cpu.zip(cpu_time()).map(|(before, after)| after.saturating_sub(before).as_secs_f64());
    let cores_used = cpu.map(|cpu| cpu / wall);
    tell(out, &Steady { calls_ns, cores_used, peak_rss_bytes })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn tell(out: &mut impl Write, what: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(what)
        .map_err(|e| Error::invalid_because("the measurement", "cannot be written as JSON", e))?;
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::io("write to", "stdout"))
}
