//! `siamese enroll`, `classify`, `verify`, `calibrate` and their relatives: what the user sees.
#![cfg(feature = "tract")]

use super::towers;
use assert_cmd::Command;
use serde_json::Value;
use siamese::gallery::Gallery;
use siamese::tower::{Distance, TowerKind, TowerSpec};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// A folder with a tower `t.onnx` and pictures.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// The JSON of a verb that did a part of its work, and told why not all; of several lines a list.
    pub fn part(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| lines(&output).into())
    }

    pub fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        towers::squares(&bench.at("t.onnx"), 16, 4, TowerKind::Exact, Distance::L1);
        towers::squares(&bench.at("other.onnx"), 16, 4, TowerKind::Float, Distance::L2);
        for (class, shape) in [("bar", 0), ("box", 1), ("dot", 2)] {
            for drawer in 0..3 {
                bench.picture(&format!("known/{class}/{drawer}.png"), shape, drawer);
            }
            bench.picture(&format!("asked/{class}/9.png"), shape, 1);
        }
        // Nothing like any of them.
        bench.picture("strange.png", 3, 0);
        bench
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A bar, a box, a dot or hatching, with a speck of its drawer.
    fn picture(&self, name: &str, shape: u32, drawer: u32) {
        let picture = image::GrayImage::from_fn(32, 32, |x, y| {
            let ink = match shape {
                _ if (x, y) == (2 + 4 * drawer, 2) => true,
                0 => (13..18).contains(&x) && (4..28).contains(&y),
                1 => {
                    (6..26).contains(&x)
                        && (6..26).contains(&y)
                        && !((9..23).contains(&x) && (9..23).contains(&y))
                }
                2 => (12..20).contains(&x) && (12..20).contains(&y),
                _ => (x + y) % 4 < 3 && (2..30).contains(&x) && (2..30).contains(&y),
            };
            image::Luma([if ink { 0 } else { 255 }])
        });
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        picture.save(self.at(name)).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("siamese").unwrap();
        command.current_dir(self.dir.path()).args(arguments);
        command
    }

    /// The JSON of a verb that answers yes.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The answers of `classify` that are all known: a line each.
    pub fn answers(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["classify"], arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        lines(&output)
    }

    /// Expects exit code 2 and these words on stderr.
    pub fn refused(&self, arguments: &[&str], words: &str) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }

    pub fn enrolled() -> Self {
        let bench = Self::new();
        let done = bench.json(&["enroll", "g", "known", "--tower", "t.onnx"]);
        assert_eq!((done["added"].as_u64(), done["classes"].as_u64()), (Some(9), Some(3)));
        bench
    }
}

/// Lines of JSON.
fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_was_enrolled_is_recognised() {
    let bench = Bench::enrolled();
    let answers = bench.answers(&["g", "asked", "--top", "2"]);
    assert_eq!(answers.len(), 3);
    for answer in &answers {
        assert_eq!(answer["label"], answer["place"], "{answer}");
        assert_eq!(
            (answer["distance"].as_f64(), answer["nearest"].as_array().unwrap().len()),
            (Some(0.0), 2)
        );
        assert!(answer["margin"].as_f64().unwrap() > 0.0);
    }
    // The same from a list on stdin, as text.
    let output =
        bench.command(&["classify", "g", "-"]).write_stdin("asked/box/9.png\nasked/dot/9.png\n").output();
    let output = output.unwrap();
    let lines: Vec<String> = text(&output.stdout).lines().map(String::from).collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[3].starts_with("2 pictures: 2 known, 0 unknown"));
    assert!(lines[0].starts_with("picture\tlabel\tdistance\t"));
    assert!(
        lines[1].starts_with("asked/box/9.png\tbox\t0\t")
            && lines[2].starts_with("asked/dot/9.png\tdot\t0\t")
    );
    // Of class folders it is told how many were right.
    let told = text(&bench.run(&["classify", "g", "asked", "strange.png"]).stdout);
    assert!(
        told.contains("3 of 3 in folders of known classes are right (100.00 %), 0 of 1 others"),
        "{told}"
    );
    let output = bench.run(&["classify", "g", "asked", "--json"]);
    let summary: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&summary["pictures"], &summary["right"], &summary["rule"]),
        (&3.into(), &3.into(), &Value::Null)
    );
}

#[test]
fn one_picture_a_class_is_named_after_its_file() {
    let bench = Bench::new();
    bench.json(&["enroll", "g", "known/box/0.png", "strange.png", "--tower", "t.onnx"]);
    bench.json(&["enroll", "g", "known/dot/0.png", "--label", "round dot"]);
    let labels: Vec<Value> = bench.json(&["list", "g"])["classes"].as_array().unwrap().clone();
    let labels: Vec<&str> = labels.iter().map(|c| c["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["0", "strange", "round dot"]);
}

#[test]
fn a_calibrated_threshold_tells_the_unknown() {
    let bench = Bench::enrolled();
    bench.refused(&["classify", "g", "asked", "--threshold", "auto"], "no calibrated threshold");
    // For one question alone, without keeping anything.
    let output = bench.run(&["classify", "g", "strange.png", "--false-positives", "30%"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(bench.json(&["list", "g"])["facts"]["identification"].is_null());
    let told = bench.json(&["calibrate", "g", "--false-positives", "30%"]);
    let pairs = &told["calibration"];
    assert_eq!((pairs["same_pairs"].as_u64(), pairs["different_pairs"].as_u64()), (Some(9), Some(27)));
    assert_eq!(pairs["equal_error_rate"].as_f64(), Some(0.0));
    let output = bench.run(&["classify", "g", "strange.png", "asked/bar/9.png", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&output);
    assert_eq!((&answers[0]["label"], &answers[1]["label"]), (&Value::Null, &"bar".into()));
    assert!(bench.run(&["classify", "g", "strange.png", "--threshold", "none"]).status.success());
    let means = bench.run(&["classify", "g", "asked", "--shots", "mean"]);
    assert!(text(&means.stderr).contains("chosen for --shots best"));
    let summary: Value = serde_json::from_slice(&output.stderr).unwrap();
    let kept = &bench.json(&["list", "g"])["facts"]["identification"];
    assert_eq!(kept["threshold"], summary["rule"]["threshold"]);
    assert_eq!(kept["strangeness"], "distance");
}

/// Three classes cannot tell 1 %: they get what they can, and it is said.
#[test]
fn a_wish_that_cannot_be_carried_gets_the_smallest_rate_and_is_said() {
    let bench = Bench::enrolled();
    let output = bench.run(&["calibrate", "g", "--false-positives", "1%"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("so few classes cannot tell 1.00 %"), "{}", text(&output.stdout));
    let point = bench.json(&["calibrate", "g"])["identification"]["point"].clone();
    // The wish is kept.
    assert_eq!((point["asked"].as_f64(), point["carried"].as_f64() >= Some(0.25)), (Some(0.01), true));
    assert_eq!(point["true_positives"]["share"].as_f64(), Some(1.0));
    bench.refused(&["calibrate", "g", "--false-positives", "0"], "1% or 0.01");
    bench.json(&["remove", "g", "box"]);
    bench.refused(&["calibrate", "g"], "has 2 classes");
    assert!(!bench.json(&["list", "g"])["facts"]["identification"].is_null());
}

#[test]
fn a_gallery_that_changed_says_so_until_it_is_calibrated_again() {
    let bench = Bench::enrolled();
    bench.json(&["calibrate", "g"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], false);
    // What was there already changes nothing.
    bench.json(&["enroll", "g", "known/box/0.png", "--label", "box"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], false);
    bench.json(&["enroll", "g", "strange.png"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], true);
    assert!(text(&bench.run(&["list", "g"]).stdout).contains("STALE"));
    let output = bench.run(&["classify", "g", "strange.png"]);
    assert!(text(&output.stderr).contains("has changed since it was calibrated"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\tstrange\t0\t"));
    bench.json(&["enroll", "g", "asked/box", "--label", "box", "--calibrate"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], false);
    bench.json(&["remove", "g", "strange"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], true);
    bench.json(&["calibrate", "g", "--by-itself", "on"]);
    bench.json(&["enroll", "g", "strange.png"]);
    bench.json(&["remove", "g", "box", "--source", "asked/box/9.png"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], false);
    bench.json(&["calibrate", "g", "--by-itself", "off"]);
    bench.json(&["remove", "g", "strange"]);
    assert_eq!(bench.json(&["list", "g"])["stale"], true);
}

/// The folder of one class, named by itself.
#[test]
fn loose_pictures_of_a_folder_are_told_of() {
    let bench = Bench::new();
    let told = |arguments: &[&str]| text(&bench.run(&[&["enroll"], arguments].concat()).stderr);
    let one = told(&["one", "known/box", "--tower", "t.onnx"]);
    assert!(
        one.contains("the 3 pictures that lie in known/box itself are a class each")
            && one.contains("--label box")
    );
    for arguments in [
        &["two", "known", "--tower", "t.onnx"][..],
        &["three", "known/box", "--label", "box", "--tower", "t.onnx"],
        &["four", "strange.png", "--tower", "t.onnx"],
    ] {
        assert_eq!(told(arguments), "", "{arguments:?}");
    }
}

#[test]
fn verify_says_same_or_different() {
    let bench = Bench::enrolled();
    let (a, b, c) = ("known/box/0.png", "known/box/1.png", "known/dot/0.png");
    bench.refused(&["verify", a, b, "--tower", "t.onnx"], "no threshold");
    bench.json(&["calibrate", "g"]);
    let same = bench.run(&["verify", a, b, "--gallery", "g"]);
    assert!(same.status.success() && text(&same.stdout).contains("\tsame\t"));
    let both = bench.run(&["verify", a, b, c, "--gallery", "g", "--json"]);
    assert_eq!(both.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&both.stdout).unwrap();
    assert_eq!((&told["pairs"][0]["same"], &told["pairs"][1]["same"]), (&true.into(), &false.into()));
    assert!(bench.run(&["verify", a, b, c, "--tower", "t.onnx", "--threshold", "1e9"]).status.success());
}

#[test]
fn classes_go_and_galleries_merge() {
    let bench = Bench::enrolled();
    bench.refused(&["remove", "g", "box", "cat"], "no class \"cat\"");
    assert_eq!(bench.json(&["remove", "g", "box"])["removed"].as_u64(), Some(3));
    bench.json(&["enroll", "h", "known/box", "--label", "box", "--tower", "t.onnx"]);
    assert_eq!(bench.json(&["merge", "g", "h"])["added"].as_u64(), Some(3));
    assert_eq!(bench.json(&["list", "g"])["classes"].as_array().unwrap().len(), 3);
    bench.json(&["enroll", "i", "strange.png", "--tower", "other.onnx"]);
    bench.refused(&["merge", "g", "i"], "belongs to the tower squares (SHA-256");
}

#[test]
fn a_gallery_goes_over_to_another_tower() {
    migrates("g", "anew");
}

/// A gallery that goes over to another tower is as one that was enrolled with it; what cannot go over is left alone.
pub fn migrates(at: &str, anew: &str) {
    let bench = Bench::new();
    bench.json(&["enroll", at, "known", "--tower", "t.onnx"]);
    bench.json(&["enroll", anew, "known", "--tower", "other.onnx"]);
    bench.json(&["calibrate", at, "--false-positives", "30%"]);
    let before = bench.json(&["list", at, "--examples"]);
    bench.refused(&["migrate", at, "--tower", "t.onnx"], "already");
    fs::rename(bench.at("known"), bench.at("moved")).unwrap();
    bench.refused(
        &["migrate", at, "--tower", "other.onnx"],
        "9 of its 9 examples are not there where they came from",
    );
    bench.refused(&["migrate", at, "--tower", "other.onnx", "--pictures", "asked"], "not there under asked");
    fs::create_dir(bench.at("a")).unwrap();
    fs::rename(bench.at("moved"), bench.at("a/known")).unwrap();
    fs::rename(bench.at("a/known/box/1.png"), bench.at("a/box.png")).unwrap();
    fs::write(bench.at("a/known/box/1.png"), "no picture").unwrap();
    bench.refused(&["migrate", at, "--tower", "other.onnx", "--pictures", "a"], "box/1.png");
    assert_eq!(bench.json(&["list", at, "--examples"]), before);
    fs::rename(bench.at("a/box.png"), bench.at("a/known/box/1.png")).unwrap();
    let done = bench.json(&["migrate", at, "--tower", "other.onnx", "--pictures", "a/known"]);
    assert_eq!((&done["examples"], &done["tower"]), (&9.into(), &"squares".into()), "{done}");
    let (after, expected) =
        (bench.json(&["list", at, "--examples"]), bench.json(&["list", anew, "--examples"]));
    for key in ["tower", "tower_sha256", "kind", "dim", "distance"] {
        assert_eq!(after["facts"][key], expected["facts"][key], "{key}");
    }
    let former = &after["facts"]["former"][0];
    assert_eq!(former["tower_sha256"], before["facts"]["tower_sha256"]);
    assert_eq!(after["facts"]["identification"]["asked"], before["facts"]["identification"]["asked"]);
    let labels = |list: &Value| -> Vec<Value> {
        list["examples"].as_array().unwrap().iter().map(|e| e["label"].clone()).collect()
    };
    assert_eq!(labels(&after), labels(&expected));
    assert_eq!(after["examples"], before["examples"]);
    let answers = |gallery: &str| bench.answers(&[gallery, "asked", "strange.png", "--threshold", "none"]);
    assert_eq!(answers(at), answers(anew));
    // And back again.
    bench.json(&["migrate", at, "--tower", "t.onnx", "--pictures", "a/known"]);
    let back = bench.json(&["list", at, "--examples"]);
    assert_eq!(back["facts"]["former"].as_array().unwrap().len(), 2);
    assert_eq!(back["examples"], before["examples"]);
}

#[test]
fn a_gallery_with_its_pictures_goes_over_by_itself() {
    keeps("g", "anew");
}

/// A gallery that kept its pictures needs nothing else to be as one that was enrolled with another tower: embeddings,
/// labels, order, and what is there already.
pub fn keeps(at: &str, anew: &str) {
    let bench = Bench::new();
    let gallery = |at: &str| {
        let at = if at.contains("://") { at.into() } else { bench.at(at) };
        Gallery::open(&at.as_path().into()).unwrap()
    };
    // A speck that the float tower sees, and the exact one does not: by that the second example is there already.
    let (name, first) = ("known/bar/0.png", fs::read(bench.at("known/bar/0.png")).unwrap());
    let mut specked = image::load_from_memory(&first).unwrap().to_luma8();
    specked.put_pixel(29, 29, image::Luma([235]));
    for (at, tower) in [(at, "other.onnx"), (anew, "t.onnx")] {
        bench.json(&["enroll", at, "known/box", "--label", "box", "--tower", tower, "--keep-pictures"]);
        bench.json(&["enroll", at, "known"]);
        assert_eq!(bench.json(&["enroll", at, "known/dot", "--label", "dot"])["present"], 3);
        specked.save(bench.at(name)).unwrap();
        bench.json(&["enroll", at, name, "--label", "bar"]);
        fs::write(bench.at(name), &first).unwrap();
    }
    let listed = bench.json(&["list", at]);
    assert_eq!((&listed["kept_pictures"], &listed["facts"]["keeps_pictures"]), (&10.into(), &true.into()));
    fs::rename(bench.at("known"), bench.at("moved")).unwrap();
    let done = bench.json(&["migrate", at, "--tower", "t.onnx"]);
    assert_eq!((&done["kept"], &done["examples"]), (&10.into(), &9.into()), "{done}");
    let (over, expected) = (gallery(at), gallery(anew));
    assert_eq!(over.load().unwrap(), expected.load().unwrap());
    let examples = |at: &str| -> Vec<[Value; 2]> {
        let listed = bench.json(&["list", at, "--examples"]);
        let examples = listed["examples"].as_array().unwrap();
        examples.iter().map(|e| [e["label"].clone(), e["source"].clone()]).collect()
    };
    assert_eq!(examples(at), examples(anew));
    let shown = |gallery: &Gallery| gallery.shown("bar", 9).unwrap().into_iter().map(|s| s.picture);
    assert!(shown(&over).eq(shown(&expected)) && shown(&over).all(|picture| picture.is_some()));
    assert_eq!(shown(&over).next().unwrap().unwrap()[..], first[..]);
    // There and back.
    bench.json(&["migrate", at, "--tower", "other.onnx"]);
    bench.json(&["migrate", at, "--tower", "t.onnx"]);
    assert_eq!(gallery(at).load().unwrap(), expected.load().unwrap());
    // What goes takes its picture along; what another gallery kept comes with it, where pictures are kept.
    bench.json(&["remove", at, "bar"]);
    assert_eq!(bench.json(&["list", at])["kept_pictures"], 6);
    assert_eq!(bench.json(&["merge", at, anew])["added"], 3);
    assert_eq!(bench.json(&["list", at])["kept_pictures"], 9);
    // Examples that are there without a picture get one.
    bench.json(&["enroll", "plain", "moved", "--tower", "t.onnx"]);
    assert_eq!(bench.json(&["list", "plain"])["kept_pictures"], Value::Null);
    let done = bench.json(&["enroll", "plain", "moved", "--keep-pictures"]);
    assert_eq!((&done["added"], &bench.json(&["list", "plain"])["kept_pictures"]), (&0.into(), &9.into()));
}

#[test]
fn a_gallery_without_pictures_is_asked_by_a_compatible_tower() {
    let bench = Bench::enrolled();
    towers::squares(&bench.at("float.onnx"), 16, 4, TowerKind::Float, Distance::L1);
    towers::compatible(&bench.at("new.onnx"), &bench.at("t.onnx"), &bench.at("t.onnx"));
    towers::compatible(&bench.at("l2.onnx"), &bench.at("other.onnx"), &bench.at("t.onnx"));
    for tower in ["float.onnx", "l2.onnx"] {
        bench.refused(&["classify", "g", "asked", "--tower", tower], "cannot be compared");
    }
    let [old, new] = ["t.onnx", "new.onnx"].map(|tower| TowerSpec::read(bench.at(tower)).unwrap().0.sha256);
    let summary = |arguments: &[&str]| {
        let output = bench.run(&[&["classify", "g", "asked"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let told = summary(&["--tower", "new.onnx"]);
    assert!(told.contains(&old) && told.contains(&new) && told.contains("compatible"), "{told}");
    assert!(!summary(&[]).contains("compatible"));
    for verb in [
        &["enroll", "g", "strange.png"][..],
        &["verify", "strange.png", "strange.png", "--gallery", "g", "--threshold", "1"],
    ] {
        bench.refused(&[verb, &["--tower", "new.onnx"]].concat(), "may ask it, but");
    }
    bench.refused(&["migrate", "g", "--tower", "float.onnx", "--queries-only"], "cannot be compared");
    // From now on it asks without being named.
    bench.json(&["migrate", "g", "--tower", "new.onnx", "--queries-only"]);
    let facts = bench.json(&["list", "g"])["facts"].clone();
    assert_eq!(
        (&facts["tower_sha256"], &facts["asked_by"]["tower_sha256"]),
        (&old.as_str().into(), &new.as_str().into())
    );
    assert!(summary(&[]).contains(&new));
    let found = bench.json(&["compare", "new.onnx", "--gallery", "g", "asked"]);
    assert_eq!(
        (&found["queries"], &found["same"], &found["right"]["newer"]),
        (&3.into(), &3.into(), &3.into()),
        "{found}"
    );
    assert!(found["certified"].as_u64().unwrap() <= 3, "{found}");
    bench.refused(&["compare", "t.onnx", "--gallery", "g", "asked"], "own tower");
    bench.json(&["enroll", "g", "strange.png"]);
    bench.json(&["migrate", "g", "--tower", "t.onnx", "--queries-only"]);
    assert!(bench.json(&["list", "g"])["facts"].get("asked_by").is_none() && !summary(&[]).contains(&new));
}

#[test]
fn bad_input_is_refused_and_nothing_is_enrolled() {
    let bench = Bench::enrolled();
    fs::create_dir(bench.at("hollow")).unwrap();
    fs::create_dir(bench.at("mixed")).unwrap();
    fs::copy(bench.at("strange.png"), bench.at("mixed/a.png")).unwrap();
    fs::write(bench.at("mixed/b.png"), "no picture").unwrap();
    fs::write(bench.at("text"), "no gallery at all, but some text of more than a few bytes").unwrap();
    let whole = fs::read(bench.at("g")).unwrap();
    fs::write(bench.at("half"), &whole[..whole.len() / 2]).unwrap();
    let long = "x".repeat(10 << 10);
    for (arguments, words) in [
        (vec!["enroll", "g", "hollow"], "empty folder"),
        (vec!["enroll", "g", "mixed", "--strict"], "mixed/b.png"),
        (vec!["enroll", "g", "absent.png"], "absent.png"),
        (vec!["enroll", "g", "strange.png", "--label", "two\nlines"], "one line"),
        (vec!["enroll", "g", "strange.png", "--label", &long], "10240 bytes"),
        (vec!["enroll", "g", "strange.png", "--label", ""], "empty"),
        (vec!["enroll", "g", "strange.png", "--tower", "other.onnx"], "belongs to the tower"),
        (vec!["enroll", "new", "strange.png", "--tower", "absent"], "shipped are omniglot-edge-exact"),
        (vec!["classify", "g", "strange.png", "--tower", "other.onnx"], "belongs to the tower"),
        (vec!["classify", "g", "strange.png", "--top", "0"], "--top"),
        (vec!["classify", "g", "strange.png", "--shots", "0"], "at least 1"),
        (vec!["classify", "g", "strange.png", "--shots", "4"], "has 3 of the 4 examples"),
        (vec!["classify", "g", "strange.png", "--threshold", "NaN"], "--threshold"),
        (vec!["classify", "g", "mixed"], "1 of 2 pictures"),
        (vec!["classify", "text", "strange.png"], "not a gallery"),
        (vec!["classify", "half", "strange.png"], "half"),
        (vec!["classify", "absent", "strange.png"], "absent"),
        (vec!["calibrate", "g", "--at", "2"], "--at"),
        (vec!["embed", "t.onnx", "mixed", "--out", "e.csv"], "e.csv"),
        (vec!["embed", "t.onnx", "mixed", "--out", "e.npy", "--strict"], "mixed/b.png"),
        (vec!["embed", "t.onnx", "mixed/b.png", "--out", "e.npy"], "no embedding"),
    ] {
        bench.refused(&arguments, words);
    }
    assert!(!bench.at("new").exists() && !bench.at("e.npy").exists());
    assert_eq!(fs::read(bench.at("g")).unwrap(), whole);
    let lone = bench.json(&["enroll", "lone", "known/box/0.png", "known/dot/0.png", "--tower", "t.onnx"]);
    // Both are named `0`: one class.
    assert_eq!(lone["classes"].as_u64(), Some(1));
    bench.refused(&["calibrate", "lone"], "has 1 classes");
}

#[test]
fn two_processes_enroll_at_once_and_both_land() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for class in ["bar", "box", "dot"] {
            let bench = &bench;
            scope.spawn(move || {
                let folder = format!("known/{class}");
                bench.json(&["enroll", "g", &folder, "--label", class, "--tower", "t.onnx"]);
            });
        }
    });
    assert_eq!(bench.json(&["list", "g"])["classes"].as_array().unwrap().len(), 3);
}

#[test]
fn a_killed_enrolment_leaves_the_gallery_as_it_was_or_whole() {
    use std::process::{Command as Process, Stdio};
    let bench = Bench::enrolled();
    let program = assert_cmd::cargo::cargo_bin("siamese");
    let kills = std::env::var("SIAMESE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut held = 9;
    for kill in 0..kills {
        let label = format!("kill {kill}");
        let mut child = Process::new(&program)
            .args(["enroll", "g", "known/box", "--label", &label])
            .current_dir(bench.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // From at once to long after the end.
        let turns = 40_000_u64 * kill * kill;
        for _ in 0..turns {
            std::hint::spin_loop();
        }
        let _ = child.kill();
        let finished = child.wait().unwrap().success();
        let told = bench.json(&["list", "g", "--examples"]);
        let examples = told["examples"].as_array().unwrap().len();
        assert!(examples == held + 3 || (examples == held && !finished), "kill {kill}: {held} → {examples}");
        held = examples;
    }
}

#[test]
fn embeddings_are_written_and_broken_pictures_counted() {
    let bench = Bench::new();
    fs::write(bench.at("known/box/1.png"), "no picture").unwrap();
    for file in ["e.npy", "e.safetensors", "e.parquet", "e.jsonl"] {
        let told = bench.part(&["embed", "t.onnx", "known", "--out", file, "--names", "names.tsv"]);
        assert_eq!((told["embedded"].as_u64(), told["broken"].as_u64()), (Some(8), Some(1)), "{file}");
        assert!(bench.at(file).exists());
    }
    let names = fs::read_to_string(bench.at("names.tsv")).unwrap();
    assert_eq!(names.lines().nth(3), Some("known/box/0.png\tbox"));
    let output = bench.run(&["embed", "t.onnx", "known/dot", "--out", "-"]);
    let first: Value = serde_json::from_str(text(&output.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first["embedding"].as_array().unwrap().len(), 16);
}

#[cfg(unix)]
#[test]
fn an_interrupted_embedding_leaves_no_file() {
    let bench = Bench::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_siamese"));
    command.current_dir(bench.at("")).args(["embed", "t.onnx", "-", "--out", "e.npy"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More pictures may be named: it waits for them once it has told of a batch of these.
    let mut list = child.stdin.take().unwrap();
    list.write_all("absent.png\n".repeat(siamese::embed::BATCH).as_bytes()).unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(told.next().unwrap().unwrap().contains("absent.png"));
    let partial = |name: &str| name.ends_with(siamese::files::PARTIAL);
    let names = || fs::read_dir(bench.at("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!names().any(|name| partial(&name) || name == "e.npy"));
}

#[test]
fn reports_are_pages_that_need_nothing_else() {
    let bench = Bench::enrolled();
    bench.json(&["calibrate", "g", "--report", "c.html"]);
    bench.answers(&["g", "asked", "--report", "a.html"]);
    bench.json(&[
        "eval",
        "t.onnx",
        "--protocol",
        "episodes",
        "--data",
        "known",
        "--way",
        "3",
        "--report",
        "e.html",
    ]);
    for (page, words) in [("c.html", "AUROC"), ("a.html", "Confusions"), ("e.html", "Worst errors")] {
        let html = fs::read_to_string(bench.at(page)).unwrap();
        assert!(html.contains(words) && !html.contains("<script") && !html.contains("src=\"http"), "{page}");
    }
}

/// The picture folder of a class must not decide where there is none.
#[test]
fn nothing_is_written_outside_the_named_files() {
    let bench = Bench::enrolled();
    bench.answers(&["g", "asked"]);
    let mut names: Vec<String> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["asked", "g", "known", "other.onnx", "strange.png", "t.onnx"]);
    assert!(Path::new(&bench.at("g")).is_file());
}
