//! Is it slower than before, beyond what the measurements themselves vary?
//!
//! Every figure is the median of some rounds. A figure has grown where its ratio to the earlier one is
//! above 1 + the spread of the earlier rounds + the spread of these + [`FLOOR`]: then, even if the one
//! median stood at the edge of its rounds and the other at the opposite edge, it has grown.

use super::results::{Benchmark, Change, Changes, FORMAT, Measurement};
use super::statistics::Spread;
use crate::{Error, Result};
use std::path::Path;

/// What two equal measurements may differ by though neither shows any noise: addresses, alignment, the
/// warmth of caches.
pub const FLOOR: f64 = 0.03;

/// Reads an earlier result.
///
/// # Errors
/// A file that cannot be read, or is none of `siamese bench --json`.
pub fn read(path: &Path) -> Result<Benchmark> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let why = "is no result of `siamese bench --json`; make one with `siamese bench TOWER --json > FILE`";
    let told: Benchmark =
        serde_json::from_slice(&text).map_err(|e| Error::invalid_because(path.display(), why, e))?;
    if told.format != FORMAT {
        let why = format!("is a result of format {}, not {FORMAT}; measure again", told.format);
        return Err(Error::invalid(path.display(), why));
    }
    Ok(told)
}

/// Compares the figures that both results have.
///
/// # Errors
/// Results of different machines, or without a configuration in common.
pub fn compare(then: &Benchmark, now: &Benchmark, file: &Path) -> Result<Changes> {
    let machine = |b: &Benchmark| (b.machine.processor.clone(), b.machine.cores, b.machine.system.clone());
    if machine(then) != machine(now) {
        let why = format!(
            "was measured on another machine ({}, {} cores, {}); times of different machines do not compare",
            then.machine.processor, then.machine.cores, then.machine.system
        );
        return Err(Error::invalid(file.display(), why));
    }
    let mut changes = Vec::new();
    for row in &now.rows {
        if let Some(earlier) = then.rows.iter().find(|r| r.what == row.what) {
            changes.extend(figures(earlier, row));
        }
    }
    if changes.is_empty() {
        return Err(Error::invalid(file.display(), "has no configuration in common with this benchmark"));
    }
    Ok(Changes { file: file.into(), changes, remarks: remarks(then, now) })
}

fn remarks(then: &Benchmark, now: &Benchmark) -> Vec<String> {
    let mut said = Vec::new();
    for tower in &now.towers {
        let earlier = then.towers.iter().find(|t| t.kind == tower.kind);
        if earlier.is_some_and(|t| t.sha256 != tower.sha256) {
            said.push(format!("the {} tower is another file than then", tower.kind.name()));
        }
    }
    let version = |b: &Benchmark| b.onnx_runtime.as_ref().map(|l| l.version.clone());
    if let (Some(a), Some(b)) = (version(then), version(now))
        && a != b
    {
        said.push(format!("ONNX Runtime was {a} and is {b}"));
    }
    said
}

fn figures(then: &Measurement, now: &Measurement) -> Vec<Change> {
    // The fastest calls vary least; the medians tell of what happens to most calls.
    let mut all = vec![
        ("call (µs)", then.call_us, now.call_us),
        ("fastest call (µs)", then.fastest_us, now.fastest_us),
    ];
    // What a process starts with depends on neither its threads nor its batches.
    if now.what.single() {
        all.push(("cold start (ms)", then.cold_start_ms, now.cold_start_ms));
        all.push(("load (ms)", then.load_ms, now.load_ms));
        all.push(("peak memory (MB)", megabytes(then), megabytes(now)));
    }
    let change = |(what, then, now): (&str, Option<Spread>, Option<Spread>)| {
        let mut change = weigh(&then?, &now?);
        change.what = what.into();
        Some(change)
    };
    let label = now.what.label();
    let named = |change: Change| Change { what: format!("{label}: {}", change.what), ..change };
    all.into_iter().filter_map(change).map(named).collect()
}

fn megabytes(row: &Measurement) -> Option<Spread> {
    Some(row.peak_rss_bytes?.times(1e-6))
}

/// Now over then, and whether that is more than noise.
pub fn weigh(then: &Spread, now: &Spread) -> Change {
    let ratio = now.median / then.median;
    let allowed = 1.0 + then.noise() + now.noise() + FLOOR;
    Change { what: String::new(), then: then.median, now: now.median, ratio, allowed, worse: ratio > allowed }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing;
    use super::*;

    fn spread(least: f64, median: f64, greatest: f64) -> Spread {
        Spread { median, least, greatest }
    }

    #[test]
    fn only_what_is_beyond_both_noises_is_worse() {
        let quiet = spread(99.0, 100.0, 101.0);
        // Allowed: 2 % + the other's noise + 3 %.
        for (now, worse) in [
            (spread(99.0, 100.0, 101.0), false),
            (spread(105.0, 106.0, 107.0), false),
            (spread(109.0, 110.0, 111.0), true),
            (spread(90.0, 110.0, 130.0), false),
            (spread(50.0, 51.0, 52.0), false),
        ] {
            assert_eq!(weigh(&quiet, &now).worse, worse, "{now:?}");
        }
        // An earlier result that was noisy itself proves nothing.
        assert!(!weigh(&spread(80.0, 100.0, 120.0), &spread(129.0, 130.0, 131.0)).worse);
    }

    #[test]
    fn a_result_holds_against_itself_and_not_against_one_twice_as_fast() {
        let now = testing::benchmark();
        let file = Path::new("then.json");
        let same = compare(&now, &now, file).unwrap();
        assert!(same.holds() && same.remarks.is_empty());
        assert!(same.changes.iter().any(|c| c.what == "tract float, 1 thread, 1 image: cold start (ms)"));
        let mut then = now.clone();
        let row = then.rows.iter_mut().find(|r| r.what.single()).unwrap();
        row.call_us = row.call_us.map(|s| s.times(0.5));
        let slower = compare(&then, &now, file).unwrap();
        let worse: Vec<_> = slower.changes.iter().filter(|c| c.worse).map(|c| c.what.as_str()).collect();
        assert_eq!(worse, ["ort float, 1 thread, 1 image: call (µs)"]);
        assert!(!slower.holds());
    }

    #[test]
    fn another_machine_or_nothing_in_common_is_an_error() {
        let now = testing::benchmark();
        let mut then = now.clone();
        then.machine.cores += 1;
        assert!(compare(&then, &now, Path::new("f")).unwrap_err().to_string().contains("another machine"));
        let mut then = now.clone();
        then.rows.clear();
        assert!(compare(&then, &now, Path::new("f")).unwrap_err().to_string().contains("in common"));
    }

    #[test]
    fn a_result_comes_back_from_its_file() {
        let told = testing::benchmark();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        std::fs::write(&path, serde_json::to_string(&told).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), told);
        std::fs::write(&path, "{}").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("siamese bench TOWER --json"));
    }
}
