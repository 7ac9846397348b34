//! `siamese bench` as a user runs it; short, so the times mean nothing, but all of them are there.

use crate::towers;
use assert_cmd::Command;
use serde_json::Value;
use siamese::tower::{Distance, TowerKind};
use std::path::Path;

/// A float tower with its exact one beside it.
fn both(dir: &Path) {
    towers::squares(&dir.join("tower.onnx"), 16, 4, TowerKind::Float, Distance::L2);
    towers::squares(&dir.join("tower.exact.onnx"), 16, 4, TowerKind::Exact, Distance::L2);
}

fn bench(dir: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("siamese").unwrap();
    let short = ["--rounds", "2", "--seconds", "0.01", "--warm-up", "0"];
    command.current_dir(dir).arg("bench").args(arguments).args(short).output().unwrap()
}

fn json(output: &std::process::Output) -> Value {
    assert!(output.status.code().is_some_and(|c| c <= 1), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_runtime_and_tower_is_measured_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    both(dir.path());
    let output = bench(dir.path(), &["tower.onnx", "--batch", "1,3", "--json", "--report", "b.html"]);
    let told = json(&output);
    let rows = told["rows"].as_array().unwrap();
    let runtimes = siamese::runtime::Runtime::built_in().count();
    let threads = if std::thread::available_parallelism().unwrap().get() > 1 { 2 } else { 1 };
    assert_eq!(rows.len(), runtimes * 2 * 2 * threads);
    for row in rows {
        for figure in ["cold_start_ms", "load_ms", "first_run_ms"] {
            assert!(row[figure]["median"].as_f64().unwrap() > 0.0, "{figure} of {row}");
        }
        // Longer than load and first run, which it includes: the clocks agree.
        let inside =
            row["load_ms"]["least"].as_f64().unwrap() + row["first_run_ms"]["least"].as_f64().unwrap();
        assert!(row["cold_start_ms"]["greatest"].as_f64().unwrap() > inside, "{row}");
        assert!(row["withheld"].is_string() || row["latency"]["p50_us"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(std::fs::read_to_string(dir.path().join("b.html")).unwrap().contains("Break-even"));
    assert!(String::from_utf8_lossy(&output.stderr).is_empty(), "no noise where there is no terminal");
}

#[test]
fn training_steps_are_timed_with_our_kernels_and_without() {
    let dir = tempfile::tempdir().unwrap();
    let timed = |more: &[&str]| {
        let mut command = Command::cargo_bin("siamese").unwrap();
        let arguments = ["bench", "--training", "glyphs-demo", "--steps", "2", "--threads", "1", "--json"];
        json(&command.current_dir(dir.path()).args(arguments).args(more).output().unwrap())
    };
    for (more, own) in [(&[][..], true), (&["--standard-operators"], false)] {
        let told = timed(more);
        assert_eq!(told["milliseconds"].as_array().unwrap().len(), 2, "{told}");
        assert_eq!(told["by"].as_str().unwrap().contains("our kernels"), own, "{told}");
    }
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/glyphs-demo/recipe.json");
    let mut recipe: Value = serde_json::from_slice(&std::fs::read(shipped).unwrap()).unwrap();
    recipe["micro_batch"] = 4.into();
    std::fs::write(dir.path().join("recipe.json"), recipe.to_string()).unwrap();
    let mut command = Command::cargo_bin("siamese").unwrap();
    let refused =
        command.current_dir(dir.path()).args(["bench", "--training", "recipe.json"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("micro-batches"));
    // What would be ignored is refused.
    for alone in [
        &["--training", "glyphs-demo", "--criterion", "."][..],
        &["--training", "glyphs-demo", "--batch", "3"],
        &["--training", "glyphs-demo", "--seconds", "1"],
        &["tower.onnx", "--steps", "3"],
        &["tower.onnx", "--standard-operators"],
    ] {
        let mut command = Command::cargo_bin("siamese").unwrap();
        let refused = command.current_dir(dir.path()).arg("bench").args(alone).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{alone:?}");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            told.contains("cannot be used with") || told.contains("were not provided"),
            "{alone:?}: {told}"
        );
    }
}

#[cfg(feature = "tract")]
#[test]
fn a_profile_names_each_step() {
    let dir = tempfile::tempdir().unwrap();
    both(dir.path());
    let mut command = Command::cargo_bin("siamese").unwrap();
    let arguments = ["bench", "tower.exact.onnx", "--profile", "--seconds", "0.01", "--json"];
    let told = json(&command.current_dir(dir.path()).args(arguments).output().unwrap());
    let steps = told["steps"].as_array().unwrap();
    assert!(steps.iter().any(|s| s["what"].as_str().unwrap().contains("product")), "{told}");
    assert!(steps.iter().all(|s| s["us"].as_f64().unwrap() > 0.0), "{told}");
    assert!(told["executed"]["peak_share"].as_f64().unwrap() > 0.0, "{told}");
}

#[cfg(feature = "tract")]
#[test]
fn named_kernels_run_the_towers_and_are_judged_by_the_peak() {
    let dir = tempfile::tempdir().unwrap();
    let few = ["--runtime", "tract", "--threads", "1", "--batch", "1", "--kernels", "portable", "--json"];
    let told = json(&bench(dir.path(), &[&["omniglot-edge-exact"], &few[..]].concat()));
    assert_eq!(told["machine"]["kernels"], "portable");
    assert!(
        told["peaks"].as_array().unwrap().iter().all(|peak| peak["gops"].as_f64().unwrap() > 0.0),
        "{told}"
    );
    for row in told["rows"].as_array().unwrap() {
        let executed = row["executed"]["gops"].as_f64();
        assert!(row["withheld"].is_string() || executed.is_some_and(|gops| gops > 0.0), "{row}");
    }
    let mut command = Command::cargo_bin("siamese").unwrap();
    let tiles = ["bench", "--tiles", "--kernels", "portable", "--seconds", "0.001", "--json"];
    let told = json(&command.current_dir(dir.path()).args(tiles).output().unwrap());
    let [set] = &told.as_array().unwrap()[..] else { panic!("one set was named: {told}") };
    assert_eq!(set["kernels"], "portable");
    assert!(
        set["tiles"].as_array().unwrap().iter().all(|tile| tile["peak_share"].as_f64().unwrap() > 0.0),
        "{set}"
    );
}

/// The decision itself is a unit test; here the exit codes are.
#[cfg(feature = "tract")]
#[test]
fn an_earlier_result_is_compared_with() {
    let dir = tempfile::tempdir().unwrap();
    both(dir.path());
    let few = ["tower.exact.onnx", "--runtime", "tract", "--threads", "1", "--batch", "1"];
    let told = json(&bench(dir.path(), &[&few[..], &["--json"]].concat()));
    let scaled = |factor: f64| {
        let mut then = told.clone();
        for row in then["rows"].as_array_mut().unwrap() {
            for figure in ["call_us", "fastest_us", "cold_start_ms", "load_ms", "peak_rss_bytes"] {
                let median = row[figure]["median"].as_f64().unwrap() * factor;
                row[figure] = serde_json::json!({"median": median, "least": median, "greatest": median});
            }
        }
        std::fs::write(dir.path().join("then.json"), then.to_string()).unwrap();
    };
    let against = [&few[..], &["--against", "then.json"]].concat();
    // A thousand times as slow, or as fast, is beyond any noise.
    scaled(1000.0);
    let output = bench(dir.path(), &against);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("none is worse beyond the noise"), "{text}");
    scaled(0.001);
    let output = bench(dir.path(), &against);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("5 worse beyond the noise"), "{text}");
}

#[test]
fn wrong_use_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    both(dir.path());
    std::fs::write(dir.path().join("then.json"), "{}").unwrap();
    for (arguments, words) in [
        (&["no.onnx"][..], "no.onnx"),
        (&["tower.onnx", "--against", "then.json"], "--json > FILE"),
        (&["tower.onnx", "--exact", "tower.onnx"], "float tower"),
        (&["tower.onnx", "--threads", "many"], "--threads"),
        (&["--criterion", "."], "cargo bench"),
        #[cfg(feature = "tract")]
        (&["tower.onnx", "--kernels", "abacus"], "portable"),
        (&[], "TOWER"),
    ] {
        let output = bench(dir.path(), arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}
