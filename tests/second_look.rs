//! `--second-look` of `classify` and `eval`, as users give it.
#![cfg(feature = "tract")]

use super::gallery::Bench;
use serde_json::Value;
use siamese::runtime::Runtime;

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

#[test]
fn what_a_second_look_needs_is_told() {
    let bench = Bench::enrolled();
    bench.refused(&["classify", "g", "asked", "--second-look"], "--keep-pictures");
    let angelic = ["eval", "t.onnx", "--protocol", "angelic", "--second-look"];
    bench.refused(&angelic, "lake, episodes, vinyals and digits");
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
