//! The program alone, in a folder that holds nothing but pictures: shipped towers by their names.
#![cfg(feature = "tract")]

use super::gallery::Bench;
use siamese::tower::TowerSpec;

#[test]
fn a_new_gallery_gets_the_shipped_tower() {
    let bench = Bench::new();
    bench.json(&["enroll", "mine", "known"]);
    let facts = &bench.json(&["list", "mine"])["facts"];
    assert_eq!(facts["tower_path"], "omniglot-edge-exact");
    for answer in bench.answers(&["mine", "asked"]) {
        assert_eq!(answer["label"], answer["place"], "{answer}");
    }
    bench.json(&["enroll", "mine", "strange.png", "--label", "hatching", "--tower", "omniglot-edge-exact"]);
    bench.json(&["embed", "omniglot-edge-exact", "asked", "-o", "out.npy"]);
}

#[test]
fn a_shipped_tower_is_exported_byte_for_byte() {
    let bench = Bench::new();
    bench.json(&["enroll", "mine", "known"]);
    let told = bench.json(&["export", "omniglot-edge-exact"]);
    let (spec, _) = TowerSpec::read(bench.at("omniglot-edge-exact.onnx")).unwrap();
    assert_eq!(told["sha256"], *spec.sha256);
    // The gallery takes the file for the tower that it was made with.
    bench.answers(&["mine", "asked", "--tower", "omniglot-edge-exact.onnx"]);
}

#[test]
fn a_name_that_is_none_is_told_what_there_is() {
    let bench = Bench::new();
    bench.refused(&["enroll", "mine", "known", "--tower", "omniglot-egde"], "omniglot-edge-exact");
    bench.refused(&["inspect", "folder/none.onnx"], "folder/none.onnx");
}

#[test]
fn what_is_inside_is_listed() {
    let told = Bench::new().json(&["recipes"]);
    let names = |of: &str| -> Vec<String> {
        let all = told[of].as_array().unwrap();
        all.iter().map(|entry| entry["name"].as_str().unwrap().to_string()).collect()
    };
    assert!(names("recipes").contains(&"glyphs-demo".into()));
    assert!(names("towers").contains(&"omniglot-edge-exact".into()));
}

#[test]
fn manual_pages_and_completions_are_written() {
    let bench = Bench::new();
    let pages = bench.json(&["man", "man1"])["pages"].as_array().unwrap().len();
    assert!(pages > 20 && bench.at("man1/siamese-enroll.1").exists(), "{pages}");
    let script = bench.run(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&script.stdout).contains("omniglot-edge-exact"));
}

/// Training needs nothing but the program either: class folders in place of a recipe's data, parameters of
/// the shipped tower to start from, batches as small as the folders, and a run that goes on by itself.
#[cfg(feature = "ort")]
#[test]
fn class_folders_train_from_the_shipped_tower_and_go_on() {
    let bench = Bench::new();
    let base = ["train", "omniglot-edge-base", "--init-from", "omniglot-edge", "--data", "known"];
    let more = ["--steps", "2", "--out", "run", "--device", "cpu"];
    let trained = bench.run(&[&base[..], &more].concat());
    let told = String::from_utf8_lossy(&trained.stderr).into_owned();
    assert!(trained.status.success(), "{told}");
    assert!(told.contains("training on the class folders") && told.contains("too few"), "{told}");

    let again = bench.json(&["train", "--resume", "run", "--device", "cpu"]);
    assert_eq!((again["steps"].as_u64(), again["run"].as_str()), (Some(2), Some("run")));
    bench.refused(&["train", "--resume", "known"], "holds no recipe.json");
    bench.refused(&["train", "--resume"], "which run");
    bench.refused(&["train", "--resume", "run", "--out", "other"], "another run");
}
