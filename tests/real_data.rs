//! What verbs tell of Omniglot and MNIST, which are not part of the repository: these tests are ignored
//! unless they are asked for, with the folder of the data sets in `SIAMESE_DATA`:
//!
//! `SIAMESE_DATA=DIR cargo test --release -- --ignored real_data`
#![cfg(feature = "tract")]

use super::data::{data, stderr, stdout};
use super::towers;
use assert_cmd::Command;
use serde_json::Value;
use siamese::data::vinyals;
use siamese::image::Preprocessing;
use siamese::runtime::Runtime;
use siamese::tower::{Distance, TowerKind};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The folder with `omniglot/` and `mnist/`.
fn folder() -> PathBuf {
    let dir =
        std::env::var_os("SIAMESE_DATA").expect("SIAMESE_DATA names the folder with omniglot and mnist");
    std::path::absolute(dir).unwrap()
}

fn run(dir: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::cargo_bin("siamese").unwrap();
    let output = command.current_dir(dir).args(arguments).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {shown}");
    output.stdout
}

fn json(dir: &Path, arguments: &[&str]) -> Value {
    serde_json::from_slice(&run(dir, &[arguments, &["--json"]].concat())).unwrap()
}

#[test]
#[ignore = "needs SIAMESE_DATA"]
fn lake_equals_a_count_by_hand_from_embeddings() {
    let data = folder();
    let data = data.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    towers::squares(&dir.path().join("t.onnx"), 28, 4, TowerKind::Float, Distance::L1);
    let told = json(dir.path(), &["eval", "t.onnx", "--protocol", "lake", "--episodes", "0", "--data", data]);
    run(dir.path(), &["embed", "t.onnx", "--data", data, "--set", "lake", "--out", "e.jsonl"]);
    let text = std::fs::read_to_string(dir.path().join("e.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers = |row: &Value| -> Vec<f64> {
        row["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let (mut right, mut trials) = (0, 0);
    for run in 1..=20 {
        let name = format!("run{run:02}");
        let of = |part: &str| -> Vec<&Value> {
            let begin = format!("{name}/{part}/");
            rows.iter().filter(|r| r["source"].as_str().unwrap().starts_with(&begin)).collect()
        };
        let (known, asked) = (of("training"), of("test"));
        for query in asked {
            let q = numbers(query);
            let far = |k: &&Value| -> f64 { numbers(k).iter().zip(&q).map(|(a, b)| (a - b).abs()).sum() };
            let mut order: Vec<(f64, &str)> =
                known.iter().map(|k| (far(k), k["label"].as_str().unwrap())).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0));
            right += u64::from(order[0].1 == query["label"] && order[0].0 < order[1].0);
            trials += 1;
        }
    }
    let score = &told["evaluation"]["figures"][0]["score"];
    assert_eq!((score["correct"].as_u64(), score["trials"].as_u64()), (Some(right), Some(trials)));
    assert_eq!(trials, 400);
    assert!(right > 40, "{right}");
}

#[test]
#[ignore = "needs SIAMESE_DATA"]
fn angelic_equals_enrolling_the_first_drawings_and_classifying_the_rest() {
    let data = folder();
    let dir = tempfile::tempdir().unwrap();
    let how = Preprocessing::ink(105);
    let all = siamese::data::omniglot(&data, siamese::data::omniglot::Part::Evaluation, &how).unwrap();
    let (_, angelic) = all.split_alphabets(&["Angelic".into()]).unwrap();
    for (class, members) in angelic.by_class().into_iter().enumerate() {
        for (place, image) in members.into_iter().enumerate() {
            let folder = dir.path().join(if place == 0 { "first" } else { "rest" });
            let folder = folder.join(&angelic.classes[class].name);
            std::fs::create_dir_all(&folder).unwrap();
            let ink = angelic.image(image);
            let picture = image::GrayImage::from_fn(105, 105, |x, y| {
                image::Luma([255 - ink[(0, y as usize, x as usize)]])
            });
            picture.save(folder.join(format!("{place:02}.png"))).unwrap();
        }
    }
    towers::squares(&dir.path().join("t.onnx"), 105, 7, TowerKind::Exact, Distance::L2);
    run(dir.path(), &["enroll", "g", "first", "--tower", "t.onnx"]);
    let told = run(dir.path(), &["classify", "g", "rest", "--top", "2", "--json"]);
    let told = String::from_utf8(told).unwrap();
    let answers: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let right =
        answers.iter().filter(|a| a["label"] == a["place"] && a["margin"].as_f64() > Some(0.0)).count();
    let data = data.to_str().unwrap();
    let told = json(dir.path(), &["eval", "t.onnx", "--protocol", "angelic", "--data", data]);
    let figures = told["evaluation"]["figures"].as_array().unwrap();
    let score = &figures[0]["score"];
    assert_eq!((score["correct"].as_u64(), score["trials"].as_u64()), (Some(right as u64), Some(380)));
    assert_eq!(answers.len(), 380);
    // The README's way asks the supports too, which are always right.
    let way =
        figures.iter().find(|f| f["what"].as_str().unwrap().contains("README") && f["distance"] == "l2");
    let score = &way.unwrap()["score"];
    assert_eq!((score["correct"].as_u64(), score["trials"].as_u64()), (Some(right as u64 + 20), Some(400)));
}

/// The counts of the exact tower are the same on every machine; those of the float tower may differ by
/// a tie that rounding breaks.
#[test]
#[ignore = "needs SIAMESE_DATA"]
fn the_shipped_towers_recognise_what_their_card_says() {
    let data = folder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let right = |tower: &str, protocol: &[&str]| {
        let tower = format!("onnx/omniglot-edge/{tower}");
        let how = ["--data", data.to_str().unwrap(), "--protocol"];
        let told = json(root, &[&["eval", &tower], &how[..], protocol].concat());
        told["evaluation"]["figures"][0]["score"]["correct"].as_i64().unwrap()
    };
    let cases: [(&[&str], i64, i64); 3] = [
        (&["lake", "--episodes", "0"], 397, 396),
        (&["angelic"], 353, 351),
        (&["episodes", "--episodes", "1000"], 19_534, 19_538),
    ];
    for (protocol, float, exact) in cases {
        let found = right("tower.onnx", protocol);
        assert!((found - float).abs() <= 2, "{protocol:?}: {found}, not {float}");
        assert_eq!(right("tower.exact.onnx", protocol), exact, "{protocol:?}");
    }
}

/// Exact towers' copies have the same pixels, and so the same counts, on every machine.
#[test]
#[ignore = "needs SIAMESE_DATA"]
fn a_second_look_gains_what_the_card_says() {
    let data = folder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (copies, other) = ("--second-look", "--second-look=omniglot-look-exact");
    for (how, protocol, counts) in [
        (copies, "lake", &[396, 18_566][..]),
        (copies, "episodes", &[19_612]),
        (copies, "digits", &[8_756]),
        (other, "lake", &[397, 18_694]),
        (other, "episodes", &[19_660]),
        (other, "digits", &[8_757]),
    ] {
        let asked = ["eval", "onnx/omniglot-edge/tower.exact.onnx", how, "--protocol", protocol];
        let told = json(root, &[&asked[..], &["--data", data.to_str().unwrap()]].concat());
        let figures = told["evaluation"]["second_look"]["figures"].as_array().unwrap();
        let right: Vec<i64> = figures.iter().map(|f| f["score"]["correct"].as_i64().unwrap()).collect();
        assert_eq!(right, counts, "{how}, {protocol}");
    }
}

/// The published lists hold these characters, and a recipe of the split trains on none that is asked.
#[test]
#[ignore = "needs SIAMESE_DATA"]
fn the_split_of_few_shot_papers_parts_all_characters() {
    let (dir, how) = (folder(), Preprocessing::ink(8));
    let training = vinyals::training(&dir, &how).unwrap();
    let tests = vinyals::tests(&dir, &how).unwrap();
    assert_eq!((training.classes.len(), training.len(), tests.len()), (1200, 24_000, 4 * 8460));
    assert!(training.by_class().iter().all(|drawings| drawings.len() == 20));
    let both: HashSet<&String> = training.sources.iter().chain(&tests.sources).collect();
    assert_eq!(both.len(), 24_000 + 8460, "a drawing is both for training and for tests");
}

/// Galleries choose their own thresholds, and what they never saw is accepted as often as was asked.
#[test]
#[ignore = "needs SIAMESE_DATA"]
fn unknown_characters_are_accepted_as_often_as_was_asked() {
    let data = folder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tower = "onnx/omniglot-edge/tower.onnx";
    for (known, rates) in [("20", "10%"), ("100", "10%,5%"), ("300", "10%,5%,1%")] {
        let how = ["--protocol", "identification", "--way", known, "--shot", "3", "--episodes", "40"];
        let more = ["--false-positives", rates, "--data", data.to_str().unwrap()];
        let told = json(root, &[&["eval", tower], &how[..], &more].concat());
        let rows = told["evaluation"]["identification"]["rates"].as_array().unwrap();
        assert_eq!(rows.len(), rates.split(',').count());
        for row in rows {
            let share = |of: &Value| of["share"].as_f64().unwrap();
            let asked = row["asked"].as_f64().unwrap();
            let measured = share(&row["false_positives"]);
            // Of 40 galleries the mean is known to about a tenth of itself, of few classes to a fifth.
            assert!((0.6 * asked..1.25 * asked + 0.005).contains(&measured), "{known} classes: {row}");
            let lost = row["in_hindsight"].as_f64().unwrap() - share(&row["true_positives"]);
            assert!((-0.05..0.06).contains(&lost), "{known} classes: {row}");
        }
    }
}

#[test]
#[ignore = "needs SIAMESE_DATA"]
fn mnist_is_evaluated_by_its_first_images() {
    let data = folder();
    let data = data.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    towers::squares(&dir.path().join("t.onnx"), 28, 2, TowerKind::Exact, Distance::L2);
    let told = json(dir.path(), &["eval", "t.onnx", "--protocol", "nearest-truth", "--data", data]);
    let figures = told["evaluation"]["figures"].as_array().unwrap();
    let names: Vec<&str> = figures.iter().map(|f| f["distance"].as_str().unwrap()).collect();
    assert_eq!(names, ["l2", "l1"]);
    for figure in figures {
        let accuracy = figure["score"]["accuracy"].as_f64().unwrap();
        assert_eq!(figure["score"]["trials"].as_u64(), Some(10_000));
        assert!((0.2..0.7).contains(&accuracy), "{figure}");
    }
    // Pixels know a little about unseen digits.
    let told = json(dir.path(), &["eval", "t.onnx", "--protocol", "digits", "--data", data]);
    let accuracy = told["evaluation"]["figures"][0]["score"]["accuracy"].as_f64().unwrap();
    assert!((0.25..0.7).contains(&accuracy), "{accuracy}");
}

#[test]
#[ignore = "needs SIAMESE_DATA"]
fn episodes_are_the_same_for_a_seed_and_refused_where_they_cannot_be() {
    let data = folder();
    let data = data.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    towers::squares(&dir.path().join("t.onnx"), 21, 3, TowerKind::Exact, Distance::L1);
    let ask = |more: &[&str]| {
        let arguments = ["eval", "t.onnx", "--protocol", "episodes", "--data", data, "--episodes", "50"];
        json(dir.path(), &[&arguments, more].concat())["evaluation"]["figures"].clone()
    };
    let (one, again, other) = (ask(&["--seed", "1"]), ask(&["--seed", "1"]), ask(&["--seed", "2"]));
    assert_eq!(one, again);
    assert_ne!(one, other);
    let within = ask(&["--within", "--shot", "5"]);
    assert_eq!(within[0]["score"]["trials"].as_u64(), Some(1000));
    for (more, words) in
        [(["--way", "1"], "--way"), (["--way", "700"], "700"), (["--shot", "20"], "drawings")]
    {
        let mut command = Command::cargo_bin("siamese").unwrap();
        let arguments = ["eval", "t.onnx", "--protocol", "episodes", "--data", data];
        let output = command.current_dir(dir.path()).args(arguments).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{more:?}");
    }
}

/// The runtimes decide alike, to the last distance, with an exact tower.
#[test]
#[ignore = "needs SIAMESE_DATA"]
fn runtimes_decide_alike() {
    let data = folder();
    let data = data.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    towers::squares(&dir.path().join("t.onnx"), 105, 7, TowerKind::Exact, Distance::L2);
    let ask = |runtime: &Runtime| {
        let name = runtime.name;
        let arguments =
            ["eval", "t.onnx", "--protocol", "angelic", "--data", data, "--offline", "--runtime", name];
        let told = json(dir.path(), &arguments);
        assert_eq!(told["runtime"], name);
        (told["evaluation"]["figures"].clone(), told["evaluation"]["open_set"].clone())
    };
    let decided: Vec<_> = Runtime::built_in().map(ask).collect();
    assert!(decided.iter().all(|one| *one == decided[0]), "{decided:?}");
}

#[test]
#[ignore = "needs SIAMESE_DATA"]
fn info_tells_the_published_figures() {
    let dir = folder();
    let cache = tempfile::tempdir().unwrap();
    let output = data(cache.path(), &["info", dir.to_str().unwrap()]);
    let text = stdout(&output);
    let row = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line[name.len().min(line.len())..].split_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(row("omniglot background")[..4], ["30", "964", "19280", "20"], "{text}");
    assert_eq!(row("omniglot evaluation")[..4], ["20", "659", "13180", "20"], "{text}");
    let train = row("mnist train");
    assert_eq!(
        (train[2].as_str(), &train[train.len() - 2..]),
        ("60000", &["0.1307".into(), "0.3081".into()][..])
    );
    assert_eq!(row("mnist test")[2], "10000");
    assert!(text.contains("32460 images") && text.contains("20 runs, 400 trials"), "{text}");
}

#[test]
#[ignore = "needs SIAMESE_DATA"]
fn get_copies_verifies_and_stays() {
    let from = folder();
    let cache = tempfile::tempdir().unwrap();
    let arguments = ["get", "mnist", "--offline", "--from", from.to_str().unwrap()];
    for word in ["copied", "present"] {
        let output = data(cache.path(), &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output).matches(word).count(), 4, "{}", stdout(&output));
    }
    let output = data(cache.path(), &["info"]);
    assert!(stdout(&output).contains("mnist train"), "the cache is the default: {}", stderr(&output));
}

/// MNIST's recipes learn from their first steps; Omniglot's take seconds a step.
#[cfg(feature = "ort")]
#[test]
#[ignore = "needs SIAMESE_DATA"]
fn recipes_of_mnist_train_on_the_real_images_with_a_falling_loss() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["mnist-fc2", "mnist-transfer-classifier"] {
        let mut command = Command::cargo_bin("siamese").unwrap();
        command.current_dir(dir.path()).env("SIAMESE_DATA", folder());
        let output =
            command.args(["train", name, "--device", "cpu", "--steps", "20", "--log-every", "5"]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let lines = siamese::train::Folder::new(dir.path().join("runs").join(name)).lines().unwrap();
        assert_eq!(lines.len(), 4);
        assert!(lines[3].loss < 0.9 * lines[0].loss, "{name}: {} → {}", lines[0].loss, lines[3].loss);
    }
}
