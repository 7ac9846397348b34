//! What becomes of results that nobody reads, or that cannot be written.
#![cfg(feature = "tract")]

use super::export::run_folder;
use super::gallery::Bench;
use siamese::tower::TowerSpec;
use std::fs;
use std::process::{Command, Stdio};

/// Every verb that prints, in words and as JSON, in an order in which all succeed.
const VERBS: &[&str] = &[
    "list g",
    "list g --json",
    "list g --examples",
    "list g --examples --json",
    "enroll g strange.png",
    "enroll g strange.png --json",
    "classify g asked",
    "classify g asked --json",
    "merge g h",
    "merge g h --json",
    "remove g strange",
    "remove h box --json",
    "calibrate g",
    "calibrate g --json",
    "verify known/box/0.png known/box/1.png --gallery g",
    "verify known/box/0.png known/box/1.png --gallery g --json",
    "serve g --listen 127.0.0.1:0",
    "serve g --listen 127.0.0.1:0 --json",
    "embed t.onnx known -o e.npy",
    "embed t.onnx known -o e.npy --json",
    "embed t.onnx known -o -",
    "eval t.onnx --protocol episodes --data known --way 3 --episodes 5",
    "eval t.onnx --protocol episodes --data known --way 3 --episodes 5 --json",
    "inspect t.onnx",
    "inspect t.onnx --json",
    "import foreign.onnx --scale 1 -o imported.onnx",
    "import foreign.onnx --scale 1 -o imported.onnx --json",
    "export run",
    "export run --json",
    "data info known",
    "data info known --json",
    "data sheet s.png --data known --size 20",
    "data sheet s.png --data known --size 20 --json",
    "bench t.onnx --profile --seconds 0.01",
    "bench t.onnx --profile --seconds 0.01 --json",
    "bench t.onnx --runtime tract --threads 1 --batch 1 --rounds 1 --seconds 0.01 --warm-up 0",
    "bench t.onnx --runtime tract --threads 1 --batch 1 --rounds 1 --seconds 0.01 --warm-up 0 --json",
    "doctor",
    "doctor --json",
    "completions bash",
    "--help",
    "--version",
];

/// Those that need ONNX Runtime.
#[cfg(feature = "ort")]
const WITH_ORT: &[&str] = &[
    "runtime status",
    "runtime status --json",
    "runtime install",
    "compare t.onnx --random 8 --episodes 5 --quick",
    "compare t.onnx --random 8 --episodes 5 --quick --json",
    "train recipe.json --graph-only --out graph",
    "train recipe.json --graph-only --out graph --json",
];
#[cfg(not(feature = "ort"))]
const WITH_ORT: &[&str] = &[];

/// Those that tell on stderr how they go on.
const TALKATIVE: &[&str] = &[
    "demo --ort /no/such/library",
    "demo --ort /no/such/library --json",
    #[cfg(feature = "ort")]
    "train recipe.json --device cpu --steps 1 --out one",
    #[cfg(feature = "ort")]
    "train recipe.json --device cpu --steps 1 --out other --json",
];

/// A folder in which all verbs find what they need.
fn bench() -> Bench {
    let bench = Bench::enrolled();
    bench.json(&["enroll", "h", "known/box", "--label", "box", "--tower", "t.onnx"]);
    let mut model = TowerSpec::read(bench.at("other.onnx")).unwrap().1;
    model.metadata_props.clear();
    fs::write(bench.at("foreign.onnx"), prost::Message::encode_to_vec(&model)).unwrap();
    run_folder(&bench.at(""));
    #[cfg(feature = "ort")]
    fs::write(bench.at("recipe.json"), super::training::recipe().to_string()).unwrap();
    bench
}

/// Exit code and stderr of a command line with this stdout.
fn run(bench: &Bench, line: &str, stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
    let command = command.current_dir(bench.at("")).args(line.split(' ')).stdout(stdout);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let bench = bench();
    let closed = |line: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        run(&bench, line, writer)
    };
    for line in VERBS.iter().chain(WITH_ORT) {
        assert_eq!(closed(line), (Some(0), String::new()), "{line}");
    }
    for line in TALKATIVE {
        let (code, told) = closed(line);
        assert_eq!(code, Some(0), "{line}: {told}");
        assert!(!told.contains("panicked") && !told.contains("siamese: "), "{line}: {told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let bench = bench();
    for line in VERBS.iter().chain(WITH_ORT).chain(TALKATIVE) {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, told) = run(&bench, line, full);
        assert_eq!(code, Some(2), "{line}: {told}");
        let said = told.lines().last().unwrap_or_default();
        assert!(said.starts_with("siamese: cannot write standard output: No space left"), "{line}: {told}");
    }
}

/// Notes on stderr that nobody reads stop nothing.
#[test]
fn a_closed_stderr_stops_nothing() {
    let bench = bench();
    fs::write(bench.at("asked/box/8.png"), "no picture").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
    let output = command.current_dir(bench.at("")).args(["classify", "g", "asked"]).stderr(writer).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5);
}
