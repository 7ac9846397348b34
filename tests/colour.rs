//! Pictures in colour, from class folders and their makers to an exact tower that two runtimes agree on.
#![cfg(all(feature = "ort", feature = "tract"))]

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Two groups of four classes of coloured rings by three makers, `<group>/<class>/<hand>.png`, and
/// `makers.json`: `ann` and `ann-2` are one.
fn rings(dir: &Path) {
    for (group, class) in (0..8).map(|i| (i / 4, i % 4)) {
        let folder = dir.join(format!("rings/group{group}/ring{class}"));
        fs::create_dir_all(&folder).unwrap();
        for (hand, name) in ["ann", "ann-2", "bob", "cem"].into_iter().enumerate() {
            let ring = move |x: u32, y: u32| {
                let (dx, dy) = (f64::from(x) - 11.5, f64::from(y) - 9.5 - hand as f64);
                let away = (dx.hypot(dy) - 4.0 - f64::from(class)).abs();
                let colour = [[200, 30, 30], [20, 60, 190]][group as usize];
                if away < 1.0 + 0.4 * hand as f64 { Rgb(colour) } else { Rgb([240, 250, 230]) }
            };
            RgbImage::from_fn(24, 24, ring).save(folder.join(format!("{name}.png"))).unwrap();
        }
    }
    let makers = json!({"ann": "Ann", "ann-2": "Ann", "bob": "Bob", "cem": "Cem"});
    fs::write(dir.join("makers.json"), makers.to_string()).unwrap();
}

fn recipe() -> Value {
    json!({
        "name": "rings", "about": "for tests", "size": 16, "colour": {"fit": "squeeze"},
        "data": {"folder": {
            "path": "rings", "makers": "makers.json", "hold_out": ["group1"], "leave_out": ["cem"],
        }},
        "tower": [
            {"conv": {"filters": 6, "kernel": 3, "stride": 2, "padding": "half"}}, "batch-norm", "relu",
            {"residual": {"filters": 8, "stride": 2}}, "global-average-pool", {"fc": {"units": 8}}, "l2-norm"
        ],
        "loss": {"contrast": {"scale": 10.0}},
        "sampling": {"classes": {"classes": 4, "drawings": 2, "different_makers": true}},
        "augment": {"rotate": 5.0, "crop": 0.2, "flip": 0.5, "hue": 10.0, "erase": 0.1, "probability": 1.0},
        "optimiser": {"adam": {"lr": 0.01}}, "steps": 12,
        "evaluation": {"protocol": {"one-shot": {"episodes": 20}}, "every": 12},
    })
}

fn siamese(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
    command.current_dir(dir).env_remove("SIAMESE_DATA").args(arguments).output().unwrap()
}

fn succeeds(dir: &Path, arguments: &[&str]) -> (String, String) {
    let output = siamese(dir, arguments);
    let [told, beside] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned());
    assert!(output.status.success(), "{arguments:?}: {beside}");
    (told, beside)
}

#[test]
fn a_colour_tower_is_trained_exported_and_the_same_on_two_runtimes() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    rings(dir);
    fs::write(dir.join("recipe.json"), recipe().to_string()).unwrap();
    let (_, beside) = succeeds(
        dir,
        &["train", "recipe.json", "--out", "run", "--device", "cpu", "--threads", "1", "--data", "nowhere"],
    );
    // 4 classes of 4 pictures, one of each left out; the other group chooses.
    assert!(beside.contains("12 images, 4 classes") && beside.contains("held-out classes"), "{beside}");
    assert!(!beside.contains("grey ink"), "{beside}");
    let (told, _) = succeeds(dir, &["export", "run", "--exact", "--calibrate", "8"]);
    assert!(told.contains("proven exact"), "{told}");
    succeeds(dir, &["export", "run"]);
    let (told, _) = succeeds(dir, &["inspect", "run/tower.exact.onnx", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["inputs"][0]["shape"], "[N, 3, 16, 16]");
    assert_eq!(told["lowering"]["left"], json!([]), "all of it runs as one program");
    let embed = |tower: &str, runtime: &str| {
        let out = format!("{runtime}.npy");
        succeeds(dir, &["embed", tower, "rings", "-o", &out, "--runtime", runtime, "--threads", "1"]);
        fs::read(dir.join(out)).unwrap()
    };
    assert!(
        embed("run/tower.exact.onnx", "ort") == embed("run/tower.exact.onnx", "tract"),
        "not the same bits"
    );
    // By different makers, across groups and within them.
    for more in [&["--across"][..], &["--within"]] {
        let arguments =
            ["eval", "run/tower.onnx", "--protocol", "episodes", "--way", "3", "--episodes", "20"];
        let arguments = [&arguments[..], &["--data", "rings", "--makers", "makers.json"], more].concat();
        let (told, _) = succeeds(dir, &arguments);
        assert!(told.contains("3-way 1-shot") && told.contains("by different makers"), "{told}");
    }
}

#[test]
fn lost_colours_are_told_once_and_wrong_makers_refused() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    rings(dir);
    let tower = dir.join("t.onnx");
    super::towers::squares(&tower, 16, 2, siamese::tower::TowerKind::Exact, siamese::tower::Distance::L2);
    let (_, beside) = succeeds(dir, &["embed", "t.onnx", "rings", "-o", "e.npy", "--runtime", "tract"]);
    assert_eq!(beside.matches("read as grey ink").count(), 1, "{beside}");
    let eval = |more: &[&str]| {
        let output = siamese(dir, &[&["eval", "t.onnx", "--runtime", "tract", "--way", "2"], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = eval(&["--protocol", "lake", "--makers", "makers.json"]);
    assert!(code == Some(2) && told.contains("only the protocol episodes"), "{told}");
    fs::write(dir.join("few.json"), r#"{"ann": "Ann", "bob": "Bob"}"#).unwrap();
    let (code, told) = eval(&["--protocol", "episodes", "--data", "rings", "--makers", "few.json"]);
    assert!(code == Some(2) && told.contains("few.json") && told.contains("\"ann-2\""), "{told}");
    fs::write(dir.join("one.json"), r#"{"ann": "A", "ann-2": "A", "bob": "A", "cem": "A"}"#).unwrap();
    let (code, told) = eval(&["--protocol", "episodes", "--data", "rings", "--makers", "one.json"]);
    assert!(code == Some(2) && told.contains("by different"), "{told}");
}

#[test]
fn without_a_name_the_tower_sees_what_the_pictures_have() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    rings(dir);
    let (_, beside) = succeeds(dir, &["enroll", "g", "rings", "--runtime", "tract"]);
    assert!(beside.contains("emoji-edge-exact") && !beside.contains("read as grey ink"), "{beside}");
    let (told, _) = succeeds(dir, &["list", "g", "--json"]);
    assert!(told.contains("emoji-edge"), "{told}");
    succeeds(dir, &["data", "draw", "drawn", "--characters", "3", "--drawers", "2"]);
    let (_, beside) = succeeds(dir, &["enroll", "h", "drawn", "--runtime", "tract"]);
    assert!(!beside.contains("emoji-edge"), "{beside}");
    for (pictures, tower) in [("rings", "emoji-edge"), ("drawn", "omniglot-edge")] {
        let (told, _) = succeeds(dir, &["learn", pictures, "--out", tower, "--runtime", "tract", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["tower"], json!(tower));
    }
}

#[test]
fn info_and_sheets_show_colours_and_makers() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    rings(dir);
    let (told, _) = succeeds(dir, &["data", "info", "rings", "--makers", "makers.json"]);
    for words in ["32 of 32 pictures are in colour; 24×24 pixels", "by Ann 16, Bob 8, Cem 8"] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    let (told, _) = succeeds(dir, &["data", "info", "rings", "--json"]);
    let part = serde_json::from_str::<Value>(&told).unwrap()["parts"][0].clone();
    assert_eq!((&part["survey"]["coloured"], &part["drawers"]), (&json!(32), &json!(1)));
    succeeds(dir, &["data", "sheet", "s.png", "--data", "rings", "--size", "24", "--makers", "makers.json"]);
    let sheet = image::open(dir.join("s.png")).unwrap().to_rgb8();
    assert_eq!((sheet.dimensions(), sheet.get_pixel(3, 3).0), ((4 * 27 + 3, 8 * 27 + 3), [240, 250, 230]));
    succeeds(
        dir,
        &["data", "sheet", "g.png", "--set", "glyphs", "--colour", "--rows", "2", "--columns", "2"],
    );
    let glyphs = image::open(dir.join("g.png")).unwrap().to_rgb8();
    assert!(glyphs.pixels().any(|p| p.0[0].abs_diff(p.0[2]) > 32));
}
