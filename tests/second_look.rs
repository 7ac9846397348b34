//! `--second-look` of `classify` and `eval`, as users give it.
#![cfg(feature = "tract")]

use super::gallery::Bench;
#[cfg(feature = "serve")]
use super::serve::{Served, picture};
use super::towers;
use serde_json::Value;
use siamese::runtime::Runtime;
use siamese::tower::{Distance, TowerKind, TowerSpec};
use std::fs;

fn kept() -> Bench {
    let bench = Bench::new();
    bench.json(&["enroll", "g", "known", "--tower", "t.onnx", "--keep-pictures"]);
    bench
}

#[test]
fn a_second_look_tells_what_it_saw_the_same_on_every_runtime() {
    let bench = kept();
    let alone = bench.answers(&["g", "asked"]);
    assert!(alone.iter().all(|answer| answer.get("second_look").is_none()));
    let mut first: Option<Vec<Value>> = None;
    for runtime in Runtime::built_in().filter(|runtime| !runtime.library) {
        let told = bench.answers(&["g", "asked", "--second-look", "--runtime", runtime.name]);
        for (answer, alone) in told.iter().zip(&alone) {
            let looked = answer["second_look"]["candidates"].as_array().unwrap();
            assert_eq!(looked.len(), 3, "as many as there are");
            assert_eq!(answer["label"], looked[0]["label"]);
            assert_eq!(answer["second_look"]["changed"], Value::Bool(answer["label"] != alone["label"]));
            let again: Vec<f64> = looked.iter().map(|class| class["again"].as_f64().unwrap()).collect();
            assert!(again[0] <= again[1] && again[1] <= again[2], "{answer}");
            // The distance stays the tower's.
            assert_eq!(answer["distance"], alone["distance"]);
            assert!(
                again[0] < again[1] && looked.iter().any(|class| class["again"] != class["distance"]),
                "{answer}"
            );
        }
        // The tower is exact, so every bit is the same.
        assert_eq!(first.get_or_insert_with(|| told.clone()), &told, "{}", runtime.name);
    }
    let text = String::from_utf8(bench.run(&["classify", "g", "asked", "--second-look"]).stdout).unwrap();
    assert!(text.contains("a second look changed 0 answers"), "{text}");
    let few = bench.answers(&["g", "asked", "--second-look", "--top", "1"]);
    assert!(few.iter().all(|answer| answer["nearest"].as_array().unwrap().len() == 1));
}

/// Two exact towers of different size that compare by cosine, and a gallery of each with one picture a class.
fn two_towers() -> Bench {
    let bench = Bench::new();
    for class in ["bar", "box", "dot"] {
        fs::create_dir_all(bench.at(&format!("one/{class}"))).unwrap();
        fs::copy(bench.at(&format!("known/{class}/0.png")), bench.at(&format!("one/{class}/0.png"))).unwrap();
    }
    for (tower, size, gallery) in [("own.onnx", 16, "g"), ("wide.onnx", 24, "wide")] {
        towers::squares(&bench.at(tower), size, 4, TowerKind::Exact, Distance::Cosine);
        bench.json(&["enroll", gallery, "one", "--tower", tower, "--keep-pictures"]);
    }
    bench
}

/// Of each answer the labels that were looked at, with one of their numbers.
fn looked(answers: &[Value], number: impl Fn(&Value) -> f32) -> Vec<Vec<(String, f32)>> {
    let of = |answer: &Value| {
        let candidates = answer["second_look"]["candidates"].as_array().unwrap().iter();
        let mut told: Vec<_> = candidates.map(|c| (c["label"].to_string(), number(c))).collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        told
    };
    answers.iter().map(of).collect()
}

fn single(number: &Value) -> f32 {
    number.as_f64().unwrap() as f32
}

#[test]
fn two_towers_look_and_the_sum_of_their_distances_decides() {
    let bench = two_towers();
    let mut first: Option<Vec<Value>> = None;
    for runtime in Runtime::built_in().filter(|runtime| !runtime.library) {
        let told = bench.answers(&["g", "asked", "--second-look=wide.onnx", "--runtime", runtime.name]);
        // Both towers are exact, so every bit is the same.
        assert_eq!(first.get_or_insert_with(|| told.clone()), &told, "{}", runtime.name);
    }
    let told = first.unwrap();
    let wide = TowerSpec::read(bench.at("wide.onnx")).unwrap().0.sha256;
    for answer in &told {
        assert_eq!(answer["second_look"]["other_tower_sha256"], wide.as_str());
        assert_eq!(answer["label"], answer["second_look"]["candidates"][0]["label"]);
        assert_eq!(answer["label"], answer["place"]);
    }
    // Each tower's part is what it says of a gallery of its own.
    let again = |c: &Value| single(&c["again"]);
    let parts = ["g", "wide"].map(|g| looked(&bench.answers(&[g, "asked", "--second-look"]), again));
    for (tower, part) in parts.iter().enumerate() {
        assert_eq!(&looked(&told, |c| single(&c["again_by"][tower])), part);
    }
    let sum = |c: &Value| single(&c["again_by"][0]) + single(&c["again_by"][1]);
    assert_eq!(looked(&told, again), looked(&told, sum));
    assert_ne!(parts[0], parts[1]);
    let output = bench.run(&["classify", "g", "asked", "--second-look=wide.onnx", "--json"]);
    let summary: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(summary["other_tower_sha256"], wide.as_str());
}

#[test]
fn a_shipped_tower_that_sees_colours_looks_at_ink_too() {
    let bench = Bench::new();
    bench.json(&["enroll", "ink", "known", "--tower", "omniglot-edge-exact", "--keep-pictures"]);
    let told = bench.answers(&["ink", "asked", "--second-look=emoji-edge-exact", "--runtime", "tract"]);
    for answer in &told {
        assert_eq!(answer["label"], answer["place"]);
        assert_eq!(answer["second_look"]["candidates"][0]["again_by"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn what_another_tower_must_be_is_told() {
    let bench = two_towers();
    let refused = |tower: &str, words| {
        bench.refused(&["classify", "g", "asked", &format!("--second-look={tower}")], words)
    };
    refused("own.onnx", "is the one that answers");
    refused("other.onnx", "compares by l2, and squares, beside which it would look, by cosine");
    refused("asked/bar/9.png", "asked/bar/9.png");
    refused("omniglot-loko", "omniglot-edge");
    // A tower that compares by L1 looks again alone.
    bench.json(&["enroll", "l1", "known", "--tower", "t.onnx", "--keep-pictures"]);
    bench.refused(&["classify", "l1", "asked", "--second-look=own.onnx"], "by l1; only distances by cosine");
}

#[test]
fn what_a_second_look_needs_is_told() {
    let bench = Bench::enrolled();
    bench.refused(&["classify", "g", "asked", "--second-look"], "--keep-pictures");
    let galleries = ["eval", "t.onnx", "--protocol", "identification", "--second-look"];
    bench.refused(&galleries, "all but identification and accuracy");
    bench.refused(
        &["eval", "t.onnx", "--protocol", "episodes", "--known-by", "t.onnx", "--second-look"],
        "--second-look",
    );
}

#[test]
fn eval_tells_what_a_second_look_gains_and_costs() {
    let bench = Bench::new();
    let asked =
        ["eval", "t.onnx", "--protocol", "episodes", "--way", "3", "--episodes", "20", "--data", "known"];
    let alone = bench.json(&asked);
    assert!(alone["evaluation"].get("second_look").is_none());
    let told = bench.json(&[&asked[..], &["--second-look"]].concat());
    assert_eq!(told["evaluation"]["figures"], alone["evaluation"]["figures"]);
    let second = &told["evaluation"]["second_look"];
    let figure = &second["figures"][0];
    let accuracy = |figure: &Value| figure["score"]["accuracy"].as_f64().unwrap();
    let change = accuracy(figure) - accuracy(&told["evaluation"]["figures"][0]);
    assert!((change - figure["gain"]["difference"].as_f64().unwrap()).abs() < 1e-12, "{told}");
    assert_eq!((second["pictures"].as_u64(), second["copies"].as_u64() > Some(1)), (Some(9), true));
    let text = String::from_utf8(bench.run(&[&asked[..], &["--second-look"]].concat()).stdout).unwrap();
    assert!(text.contains("after a second look") && text.contains("9 pictures in "), "{text}");
}

#[test]
fn eval_tells_what_another_tower_gains_beside_the_copies() {
    let bench = two_towers();
    let asked =
        ["eval", "own.onnx", "--protocol", "episodes", "--way", "3", "--episodes", "20", "--data", "known"];
    let copies = bench.json(&[&asked[..], &["--second-look"]].concat());
    let both = bench.json(&[&asked[..], &["--second-look=wide.onnx"]].concat());
    assert_eq!(both["evaluation"]["figures"], copies["evaluation"]["figures"]);
    let [copies, both] = [copies, both].map(|told| told["evaluation"]["second_look"].clone());
    assert!(copies.get("other_tower").is_none() && copies["figures"][0].get("gain_of_other").is_none());
    assert_eq!(both["other_tower_sha256"], TowerSpec::read(bench.at("wide.onnx")).unwrap().0.sha256);
    let accuracy = |told: &Value| told["figures"][0]["score"]["accuracy"].as_f64().unwrap();
    let more = &both["figures"][0]["gain_of_other"];
    let difference = more["difference"].as_f64().unwrap();
    assert!((accuracy(&both) - accuracy(&copies) - difference).abs() < 1e-12, "{copies} {both}");
    let [low, high] = [0, 1].map(|end| more["interval_95"][end].as_f64().unwrap());
    assert!(low <= difference && difference <= high, "{more}");
    let text =
        String::from_utf8(bench.run(&[&asked[..], &["--second-look=wide.onnx"]].concat()).stdout).unwrap();
    assert!(text.contains("by squares too") && text.contains("of that by the other tower"), "{text}");
}

#[test]
fn a_picture_that_cannot_be_used_is_told_of_once_however_many_towers_look() {
    let bench = two_towers();
    fs::write(bench.at("known/bar/broken.png"), b"no picture").unwrap();
    let asked =
        ["eval", "own.onnx", "--protocol", "episodes", "--way", "3", "--episodes", "5", "--data", "known"];
    let output = bench.run(&[&asked[..], &["--second-look=wide.onnx"]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.matches("broken.png").count()), (Some(2), 1), "{said}");
    assert!(said.contains("1 of 10 pictures"), "{said}");
}

#[cfg(feature = "serve")]
#[test]
fn the_server_looks_again_as_classify_does() {
    let bench = two_towers();
    let served = Served::new(&bench, &["--second-look=wide.onnx", "--edit"]);
    let told = served.json("GET", "/api/gallery", b"");
    assert_eq!((&told["second_look"], &told["other_tower"]), (&true.into(), &"squares".into()));
    let name = "asked/box/9.png";
    let expected = &bench.answers(&["g", name, "--second-look=wide.onnx", "--top", "2"])[0];
    let asked = picture(&bench, name);
    let found = served.json("POST", "/api/classify?top=2", &asked);
    let batch = [
        b"{\"pictures\": [{\"data\": \"",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &asked).as_bytes(),
        b"\"}]}",
    ]
    .concat();
    let (status, _, batch) =
        served.ask("POST", "/api/classify/batch?top=2", &[("content-type", "application/json")], &batch);
    assert_eq!(status, 200, "{batch}");
    for key in ["label", "distance", "margin", "nearest", "second_look"] {
        assert_eq!((&found[key], &batch["answers"][0][key]), (&expected[key], &expected[key]), "{key}");
    }
    let plain = served.json("POST", "/api/classify?second_look=false", &asked);
    assert!(plain.get("second_look").is_none() && plain["label"] == "box", "{plain}");
    // What is enrolled is looked at from the next request on.
    served.json("POST", "/api/examples?label=hatching", &picture(&bench, "strange.png"));
    let found = served.json("POST", "/api/classify", &picture(&bench, "strange.png"));
    assert_eq!((&found["label"], single_again(&found)), (&"hatching".into(), Some(0.0)));
    let other = Served::of("wide", "127.0.0.1:0", &bench, &[]);
    other.refused(409, "start it with --second-look", "POST", "/api/classify?second_look=true", &asked);
    let fine = other.json("POST", "/api/classify?second_look=false", &asked);
    assert_eq!(fine["label"], "box");
}

#[cfg(feature = "serve")]
/// The distance of the first class after a second look.
fn single_again(found: &Value) -> Option<f64> {
    found["second_look"]["candidates"][0]["again"].as_f64()
}
