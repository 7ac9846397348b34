//! `SIAMESE_KERNELS`: every set of kernels by its name, and one SHA-256 of an exact tower by all of them.
#![cfg(feature = "tract")]

use super::gallery::Bench;
use std::process::{Command, Output};

/// Runs the program in the bench's folder with kernels of this name.
fn run(bench: &Bench, kernels: &str, arguments: &[&str]) -> Output {
    let program = assert_cmd::cargo::cargo_bin("siamese");
    let mut command = Command::new(program);
    command.current_dir(bench.at(".")).env("SIAMESE_KERNELS", kernels).args(arguments).output().unwrap()
}

/// What `doctor` says of kernels; it also tells of what is missing, which is no matter here.
fn told(bench: &Bench, kernels: &str) -> serde_json::Value {
    let output = run(bench, kernels, &["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["kernels"].clone()
}

#[test]
fn each_set_that_doctor_lists_embeds_to_the_same_bits() {
    let bench = Bench::new();
    let best = told(&bench, "");
    let names: Vec<&str> =
        best["available"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert_eq!((best["in_use"].as_str(), names.last()), (names.first().copied(), Some(&"portable")));
    let embedded = |name: &&str| {
        assert_eq!(told(&bench, name)["in_use"], **name);
        let out = ["embed", "omniglot-edge-exact", "known", "asked", "--runtime", "tract", "-o", "out.npy"];
        let output = run(&bench, name, &out);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(bench.at("out.npy")).unwrap()
    };
    // Tract's own operators are one way more.
    let names: Vec<&str> = names.into_iter().chain(["none"]).collect();
    let rows: Vec<Vec<u8>> = names.iter().map(embedded).collect();
    for (name, row) in names.iter().zip(&rows) {
        assert!(*row == rows[0], "{name} and {} differ", names[0]);
    }
}

#[test]
fn kernels_that_are_not_there_are_refused_with_those_that_are() {
    let bench = Bench::new();
    let verbs: [&[&str]; 3] = [
        &["doctor"],
        &["embed", "omniglot-edge", "known", "--runtime", "tract", "-o", "-"],
        &["bench", "omniglot-edge", "--profile"],
    ];
    for verb in verbs {
        let output = run(&bench, "abacus", verb);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{verb:?}: {told}");
        for word in ["SIAMESE_KERNELS", "abacus", "portable", "none"] {
            assert!(told.contains(word), "{verb:?}: {told}");
        }
    }
}
