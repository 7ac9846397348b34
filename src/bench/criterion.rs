//! Criterion's files → a Markdown table.
//!
//! Criterion keeps two files of each bench's last run: `new/benchmark.json` (its names) and
//! `new/estimates.json` (its times, nanoseconds).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

/// One bench.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// What is compared: the group.
    pub group: String,
    /// The bench within its group.
    pub id: String,
    /// Median of an iteration, nanoseconds.
    pub median_ns: f64,
    /// 95 % confidence interval of the median.
    pub interval_95_ns: [f64; 2],
    /// Elements an iteration, where the bench tells.
    pub elements: Option<u64>,
}

#[derive(Deserialize)]
struct Names {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    confidence_interval: Interval,
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Reads all benches below a folder (`target/criterion`), sorted by group and id.
///
/// # Errors
/// A folder that cannot be read or holds no bench; files that are not criterion's.
pub fn read(folder: &Path) -> Result<Vec<Bench>> {
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    if found.is_empty() {
        return Err(Error::invalid(
            folder.display(),
            "holds no result of criterion; run `cargo bench` first",
        ));
    }
    found.sort_by(|a, b| (&a.group, &a.id).cmp(&(&b.group, &b.id)));
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<Bench>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if !path.is_dir() {
            continue;
        }
        let is_last = path.file_name().is_some_and(|name| name == "new");
        if is_last && path.join("estimates.json").is_file() && path.join("benchmark.json").is_file() {
            found.push(bench(&path)?);
        } else {
            walk(&path, found)?;
        }
    }
    Ok(())
}

fn bench(folder: &Path) -> Result<Bench> {
    let names: Names = json(&folder.join("benchmark.json"))?;
    let Estimates { median } = json(&folder.join("estimates.json"))?;
    let parts = [names.function_id, names.value_str];
    let id: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    let elements = names.throughput.and_then(|t| t.get("Elements").and_then(serde_json::Value::as_u64));
    Ok(Bench {
        group: names.group_id,
        id: id.join("/"),
        median_ns: median.point_estimate,
        interval_95_ns: [median.confidence_interval.lower_bound, median.confidence_interval.upper_bound],
        elements,
    })
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::invalid_because(path.display(), "is no file of criterion's", e))
}

/// A table a group.
pub fn markdown(benches: &[Bench]) -> String {
    let mut text = String::new();
    for group in benches.chunk_by(|a, b| a.group == b.group) {
        let _ = writeln!(
            text,
            "### {}\n\n| bench | median | 95 % interval | each second |\n|---|---|---|---|",
            group[0].group
        );
        for b in group {
            let rate = b.elements.map_or(String::new(), |n| format!("{:.0}", n as f64 * 1e9 / b.median_ns));
            let [low, high] = b.interval_95_ns.map(time);
            let _ = writeln!(text, "| {} | {} | {low} – {high} | {rate} |", b.id, time(b.median_ns));
        }
        text.push('\n');
    }
    text
}

/// A time in the unit that fits it.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{value:.prec$} {unit}", prec = if value < 100.0 { 2 } else { 0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn criterions_files_become_a_table() {
        let dir = tempfile::tempdir().unwrap();
        for (place, function, median) in [("g/b/new", "tract", 250_000.0), ("g/a/new", "ort", 1500.0)] {
            let folder = dir.path().join(place);
            std::fs::create_dir_all(&folder).unwrap();
            let names = format!(
                r#"{{"group_id":"embed","function_id":"{function}","value_str":"1","throughput":{{"Elements":2}},
                "full_id":"x","directory_name":"x","title":"x"}}"#
            );
            std::fs::write(folder.join("benchmark.json"), names).unwrap();
            let one = format!(
                r#"{{"confidence_interval":{{"confidence_level":0.95,"lower_bound":{0},"upper_bound":{0}}},
                "point_estimate":{0},"standard_error":1.0}}"#,
                median
            );
            std::fs::write(folder.join("estimates.json"), format!(r#"{{"mean":{one},"median":{one}}}"#))
                .unwrap();
        }
        let benches = read(dir.path()).unwrap();
        assert_eq!(benches.iter().map(|b| b.id.as_str()).collect::<Vec<_>>(), ["ort/1", "tract/1"]);
        let text = markdown(&benches);
        assert!(text.starts_with("### embed\n"), "{text}");
        assert!(text.contains("| tract/1 | 250 µs | 250 µs – 250 µs | 8000 |"), "{text}");
    }

    #[test]
    fn a_folder_without_results_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("cargo bench"));
        assert!(read(&dir.path().join("no")).is_err());
    }
}
