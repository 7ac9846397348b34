//! `siamese eval`: what it refuses. Its figures are checked on the real data sets (`real_data.rs`).
#![cfg(feature = "tract")]

use super::towers;
use assert_cmd::Command;
use siamese::tower::{Distance, TowerKind};

#[test]
fn the_accuracy_of_a_classifier_needs_its_run() {
    let dir = tempfile::tempdir().unwrap();
    towers::squares(&dir.path().join("t.onnx"), 28, 2, TowerKind::Exact, Distance::L2);
    for (protocol, more, says) in [
        ("accuracy", &[][..], "--run"),
        ("accuracy", &["--run", "nowhere"], "is not the folder of a training run"),
        ("lake", &["--run", "nowhere"], "only the protocol accuracy asks"),
    ] {
        let arguments = [&["eval", "t.onnx", "--protocol", protocol], more].concat();
        let output =
            Command::cargo_bin("siamese").unwrap().current_dir(dir.path()).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(says), "{told}");
    }
}
