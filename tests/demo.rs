//! The demo as a user runs it.

use assert_cmd::Command;
use siamese::runtime::ORT;
#[cfg(feature = "ort")]
use siamese::runtime::Runtime;

fn demo(dir: &std::path::Path, arguments: &[&str]) -> serde_json::Value {
    let mut command = Command::cargo_bin("siamese").unwrap();
    let output = command.current_dir(dir).args(["demo", "--json"]).args(arguments).assert().success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

fn page(dir: &std::path::Path) -> String {
    std::fs::read_to_string(dir.join("siamese-demo.html")).unwrap()
}

/// A few steps of training make a poor tower; the runtimes agree on it all the same.
#[cfg(all(feature = "ort", feature = "tract"))]
#[test]
fn the_whole_way_ends_with_agreement_and_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let told = demo(dir.path(), &["--steps", "4"]);
    assert_eq!(told["origin"]["trained"]["steps"], 4);
    assert_eq!(told["differing_answers"], 0);
    assert_eq!(told["rows"].as_array().unwrap().len(), 2 * Runtime::built_in().count());
    for comparison in told["comparisons"].as_array().unwrap() {
        assert_eq!(comparison["predictions"]["flipped"], 0);
    }
    assert!(page(dir.path()).contains("Agreement of ONNX Runtime and tract"));
}

/// Without ONNX Runtime the shipped tower recognises, far above chance.
#[cfg(feature = "tract")]
#[test]
fn without_onnx_runtime_the_shipped_tower_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let told = demo(dir.path(), &["--ort", "/no/such/library"]);
    assert!(told["origin"]["shipped"]["because"].is_string(), "{told}");
    for row in told["rows"].as_array().unwrap() {
        assert_ne!(row["runtime"], ORT.name);
        assert!(row["right"].as_u64().unwrap() > 228, "60 % of 380: {row}");
    }
    assert!(page(dir.path()).contains("The shipped tower"));
}
