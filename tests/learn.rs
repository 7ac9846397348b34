//! `siamese learn`: from class folders to a recogniser, as a user runs it.
#![cfg(feature = "tract")]

use super::gallery::Bench;

#[test]
fn class_folders_become_towers_a_gallery_and_a_report() {
    let bench = Bench::new();
    let told = bench.json(&["learn", "known", "-o", "out"]);
    assert_eq!((told["survey"]["classes"].as_u64(), told["survey"]["pictures"].as_u64()), (Some(3), Some(9)));
    let candidates = told["candidates"].as_array().unwrap();
    assert!(candidates.len() > 4 && candidates[0]["gain"] == 0.0, "{told}");
    // Three pictures of a class are too few to tell when tuning should stop.
    assert!(!tuned(&told), "{told}");
    let kept = told["kept"].as_u64().unwrap() as usize;
    // Nothing worse than the tower as it was is ever kept.
    assert!(candidates[kept]["gain"].as_f64().unwrap() >= 0.0);
    assert_eq!(told["gallery"]["examples"].as_u64(), Some(9));
    assert!(bench.at("out/report.html").exists() && bench.at("out/tower.exact.onnx").exists());
    let answers = bench.run(&["classify", "out/gallery", "asked", "--threshold", "none"]);
    assert!(answers.status.success(), "{}", String::from_utf8_lossy(&answers.stderr));
}

/// Whether the tower's layers were tuned, for better or worse.
fn tuned(told: &serde_json::Value) -> bool {
    let names = told["candidates"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap());
    names.into_iter().any(|name| name.starts_with("layers tuned"))
}

#[test]
fn layers_are_tuned_where_there_is_a_runtime_that_trains() {
    let bench = Bench::new();
    bench.json(&["data", "draw", "drawn", "--characters", "6", "--drawers", "3"]);
    let told = bench.json(&["learn", "drawn", "-o", "out"]);
    assert_eq!(tuned(&told), cfg!(feature = "ort"), "{told}");
    assert!(bench.at("out/tower.onnx").exists() && bench.at("out/tower.exact.onnx").exists());
}

#[test]
fn what_cannot_teach_is_told_and_leaves_the_tower_as_it_was() {
    let bench = Bench::new();
    for class in ["a", "b"] {
        std::fs::create_dir_all(bench.at(&format!("single/{class}"))).unwrap();
        let from = bench.at(if class == "a" { "known/bar/0.png" } else { "known/box/0.png" });
        std::fs::copy(from, bench.at(&format!("single/{class}/1.png"))).unwrap();
    }
    let told = bench.json(&["learn", "single", "-o", "out"]);
    assert_eq!(told["survey"]["single"].as_array().unwrap().len(), 2);
    assert_eq!(told["kept"].as_u64(), Some(0));
    bench.refused(&["learn", "nowhere"], "nowhere");
}
