//! Starts the measuring processes in turn and puts together what they saw.

use super::child::{First, Steady};
#[cfg(feature = "lowered")]
use super::judge::Judge;
#[cfg(not(feature = "lowered"))]
use super::nothing_to_judge::Judge;
use super::results::{
    Benchmark, Configuration, FORMAT, LibraryFacts, MachineFacts, Measurement, Method, TowerFile,
};
use super::statistics::{Latency, Spread, quantile};
use crate::export;
use crate::runtime::doctor::Machine;
use crate::runtime::{LibraryFile, Runner};
use crate::tower::{self, TowerSpec};
use crate::{Error, Result};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// More than this share above the threads that were asked for, and a figure is withheld.
const CORES_TOLERANCE: f64 = 1.1;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The towers' files, of one recipe; the first is the reference's.
    pub towers: Vec<PathBuf>,
    /// The runtimes; the first is the reference's.
    pub runtimes: Vec<Runner>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Images of a call.
    pub batches: Vec<usize>,
    /// How.
    pub method: Method,
    /// The kernels that tract's towers run on, unless it is those that they run on anyway.
    pub kernels: Option<String>,
    /// The program that measures; its hidden verb is [`super::CHILD`].
    pub program: PathBuf,
}

/// What one kind of process measures.
struct Subject {
    what: Configuration,
    tower: PathBuf,
    /// The runtime's library.
    library: Option<PathBuf>,
}

/// What a round saw of a configuration.
struct Seen {
    cold_start_ms: f64,
    first: First,
    steady: Steady,
}

/// Measures; `progress` is told what is being measured and how many of all are done.
///
/// # Errors
/// A tower that cannot be read; a runtime whose library is missing; a process that fails.
pub fn run(plan: &Plan, mut progress: impl FnMut(&str, usize, usize)) -> Result<Benchmark> {
    let towers = plan.towers.iter().map(|file| tower(file)).collect::<Result<Vec<_>>>()?;
    let libraries = plan.runtimes.iter().map(Runner::library).collect::<Result<Vec<_>>>()?;
    let subjects = subjects(plan, &towers, &libraries);
    let mut judge = Judge::of(plan.kernels.as_deref(), &towers)?;
    let rounds = plan.method.rounds.max(1);
    let mut seen: Vec<Vec<Seen>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        judge.again();
        // Whatever drifts (heat, other work) meets the first and the last alike.
        let order: Vec<usize> =
            if round % 2 == 0 { (0..subjects.len()).collect() } else { (0..subjects.len()).rev().collect() };
        for (done, i) in order.into_iter().enumerate() {
            progress(&subjects[i].what.label(), round * subjects.len() + done, rounds * subjects.len());
            seen[i].push(measure(plan, &subjects[i])?);
        }
    }
    let mut rows: Vec<Measurement> =
        subjects.iter().zip(&seen).map(|(subject, seen)| row(&subject.what, seen)).collect();
    ratios(&mut rows, &seen);
    for row in &mut rows {
        row.executed = row.fastest_us.and_then(|us| judge.executed(&row.what, us.least));
    }
    let reference = rows.iter().find(|r| r.what.single()).or(rows.first());
    let facts = |library: &LibraryFile| -> Result<LibraryFacts> {
        Ok(LibraryFacts { version: library.version.clone(), bytes: length(&library.path)? })
    };
    Ok(Benchmark {
        format: FORMAT,
        siamese: env!("CARGO_PKG_VERSION").into(),
        machine: machine(&judge),
        method: Method { rounds, ..plan.method },
        program_bytes: length(&plan.program)?,
        onnx_runtime: libraries.iter().flatten().next().map(facts).transpose()?,
        reference: reference.map(|r| r.what.who()).unwrap_or_default(),
        peaks: judge.peaks(),
        noise: greatest(rows.iter().filter_map(|r| r.call_us)),
        fastest_noise: greatest(rows.iter().filter_map(|r| r.fastest_us)),
        towers,
        rows,
        against: None,
    })
}

/// The greatest noise.
fn greatest(spreads: impl Iterator<Item = Spread>) -> f64 {
    spreads.map(|s| s.noise()).fold(0.0, f64::max)
}

/// Every configuration: the towers of a runtime side by side.
fn subjects(plan: &Plan, towers: &[TowerFile], libraries: &[Option<LibraryFile>]) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for &threads in &plan.threads {
        for &batch in &plan.batches {
            for tower in towers {
                for (runner, library) in plan.runtimes.iter().zip(libraries) {
                    subjects.push(Subject {
                        what: Configuration { runtime: runner.name(), tower: tower.kind, threads, batch },
                        tower: tower.file.clone(),
                        library: library.as_ref().map(|library| library.path.clone()),
                    });
                }
            }
        }
    }
    subjects
}

fn tower(file: &Path) -> Result<TowerFile> {
    let (spec, _) = TowerSpec::read(file)?;
    let told = export::inspect(file, false)?;
    Ok(TowerFile {
        name: spec.name,
        kind: spec.kind,
        file: file.into(),
        bytes: tower::read_bytes(file)?.len() as u64,
        sha256: spec.sha256,
        size: spec.preprocessing.size(),
        mflop: told.mflop,
    })
}

/// A file's length, bytes.
fn length(file: &Path) -> Result<u64> {
    std::fs::metadata(file).map(|m| m.len()).map_err(Error::io("read", file))
}

fn machine(judge: &Judge) -> MachineFacts {
    let found = Machine::this();
    MachineFacts {
        processor: found.processor.unwrap_or_else(|| "unknown processor".into()),
        cores: found.cores,
        system: format!("{} {}", found.system, found.architecture),
        kernels: judge.kernels().into(),
    }
}

/// One process, from its start to its end.
fn measure(plan: &Plan, subject: &Subject) -> Result<Seen> {
    let what = &subject.what;
    let failed = |why: &str| Error::invalid(format!("measuring {}", what.label()), why);
    let mut command = Command::new(&plan.program);
    command.arg(super::CHILD).arg(&subject.tower).args(["--runtime", &what.runtime]);
    let settings = [
        ("--threads", what.threads.to_string()),
        ("--batch", what.batch.to_string()),
        ("--warm-up", plan.method.warm_up_seconds.to_string()),
        ("--seconds", plan.method.seconds.to_string()),
        ("--seed", plan.method.seed.to_string()),
    ];
    for (name, value) in &settings {
        command.args([*name, value]);
    }
    if let Some(library) = &subject.library {
        command.arg("--offline").arg("--ort").arg(library);
    }
    // What other libraries' threads are told through, so that none starts more than it was asked for.
    for name in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
        command.env(name, what.threads.to_string());
    }
    #[cfg(feature = "lowered")]
    if let Some(kernels) = &plan.kernels {
        command.env(crate::edge::VARIABLE, kernels);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().map_err(Error::io("start", &plan.program))?;
    let pipe = child.stdout.take().ok_or_else(|| failed("its output cannot be read"))?;
    let mut lines = BufReader::new(pipe).lines();
    let first = lines.next();
    let cold_start_ms = began.elapsed().as_secs_f64() * 1e3;
    let rest = lines.next();
    let status = child.wait().map_err(Error::io("wait for", &plan.program))?;
    match status.code() {
        Some(0) => {}
        Some(3) => {
            return Err(Error::missing(
                format!("{} cannot be measured (see above)", what.label()),
                "name the runtimes that are there with --runtime",
            ));
        }
        _ => return Err(failed(&format!("its process ended with {status} (see above)"))),
    }
    let read =
        |line: Option<std::io::Result<String>>| line.and_then(std::result::Result::ok).unwrap_or_default();
    let parsed = |e| Error::invalid_because(what.label(), "its process told something else than times", e);
    let first = serde_json::from_str(&read(first)).map_err(parsed)?;
    let steady = serde_json::from_str(&read(rest)).map_err(parsed)?;
    Ok(Seen { cold_start_ms, first, steady })
}

/// The median call of a round, microseconds.
fn median_us(seen: &Seen) -> f64 {
    let mut calls: Vec<f64> = seen.steady.calls_ns.iter().map(|ns| *ns as f64 / 1e3).collect();
    calls.sort_unstable_by(f64::total_cmp);
    quantile(&calls, 0.5)
}

/// The fastest call of a round, microseconds.
fn fastest_us(seen: &Seen) -> f64 {
    seen.steady.calls_ns.iter().min().map_or(f64::NAN, |ns| *ns as f64 / 1e3)
}

fn row(what: &Configuration, seen: &[Seen]) -> Measurement {
    let each = |f: &dyn Fn(&Seen) -> Option<f64>| Spread::of(seen.iter().filter_map(f));
    let cores_used = each(&|s| s.steady.cores_used);
    let withheld = too_many_cores(what.threads, cores_used.as_ref());
    let calls = || seen.iter().flat_map(|s| s.steady.calls_ns.iter().map(|ns| *ns as f64)).collect();
    let shown = withheld.is_none();
    let rate = |s: &Seen| {
        let total: f64 = s.steady.calls_ns.iter().map(|ns| *ns as f64 / 1e9).sum();
        Some((s.steady.calls_ns.len() * what.batch) as f64 / total)
    };
    Measurement {
        latency: Latency::of(calls()).filter(|_| shown),
        call_us: each(&|s| Some(median_us(s))).filter(|_| shown),
        fastest_us: each(&|s| Some(fastest_us(s))).filter(|_| shown),
        images_per_second: each(&rate).filter(|_| shown),
        executed: None,
        ratio: None,
        fastest_ratio: None,
        cores_used,
        withheld,
        cold_start_ms: each(&|s| Some(s.cold_start_ms)),
        load_ms: each(&|s| Some(s.first.load_ms)),
        first_run_ms: each(&|s| Some(s.first.first_run_ms)),
        peak_rss_bytes: each(&|s| s.steady.peak_rss_bytes.map(|b| b as f64)),
        what: what.clone(),
    }
}

/// Why a figure of so many threads is withheld, if it is.
pub(super) fn too_many_cores(threads: usize, used: Option<&Spread>) -> Option<String> {
    let greatest = used?.greatest;
    (greatest > threads as f64 * CORES_TOLERANCE).then(|| {
        let plural = if threads == 1 { "" } else { "s" };
        format!("told to use {threads} thread{plural}, it used {greatest:.2} cores")
    })
}

/// Each row over the first runtime's and tower's of the same threads and batch, round by round: what
/// slows a whole round down is in both.
fn ratios(rows: &mut [Measurement], seen: &[Vec<Seen>]) {
    for i in 0..rows.len() {
        let what = &rows[i].what;
        let like = |r: &Measurement| r.what.threads == what.threads && r.what.batch == what.batch;
        let Some(j) = rows.iter().position(like) else { continue };
        if rows[i].withheld.is_none() && rows[j].withheld.is_none() {
            let over = |figure: fn(&Seen) -> f64| {
                Spread::of(seen[i].iter().zip(&seen[j]).map(|(a, b)| figure(a) / figure(b)))
            };
            let (medians, fastest) = (over(median_us), over(fastest_us));
            (rows[i].ratio, rows[i].fastest_ratio) = (medians, fastest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_more_cores_than_asked_for_are_withheld() {
        let used = |greatest| Spread { median: 1.0, least: 1.0, greatest };
        assert_eq!(too_many_cores(1, Some(&used(1.05))), None);
        assert_eq!(
            too_many_cores(1, Some(&used(1.2))).as_deref(),
            Some("told to use 1 thread, it used 1.20 cores")
        );
        assert_eq!(too_many_cores(2, Some(&used(2.1))), None);
        assert!(too_many_cores(2, Some(&used(2.3))).is_some());
        assert_eq!(too_many_cores(1, None), None);
    }
}
