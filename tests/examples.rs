//! The examples of the library do what they say.
#![cfg(all(feature = "ort", feature = "tract"))]

#[path = "../examples/classify.rs"]
mod classify;
#[path = "../examples/compare.rs"]
mod compare;
#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/export.rs"]
mod export;
#[path = "../examples/train.rs"]
mod train;

use siamese::compare::run::Verdict;
use siamese::data::draw::draw;
use siamese::data::glyphs::GlyphSpec;
use siamese::runtime::Lookup;
use siamese::tower::TowerKind;
use std::path::Path;

#[test]
fn a_run_becomes_two_towers_that_agree() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let library = Lookup { path: None, offline: true, cuda: false };
    assert_eq!(train::train(&run, 3, library).unwrap().steps, 3);
    let [float, exact] = export::export(&run, dir.path()).unwrap();
    assert_eq!((float.spec.kind, exact.spec.kind), (TowerKind::Float, TowerKind::Exact));
    assert!(exact.bound_log2.unwrap() < 24.0);
    let told = compare::compare(&exact.file, 50).unwrap();
    assert_eq!(told.verdict, Verdict::Agree);
}

#[test]
fn pictures_become_rows_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let draw = |name: &str, seed, drawers| {
        let spec = GlyphSpec { alphabets: 1, characters: 12, drawers, seed };
        draw(&spec, 64, false, &dir.path().join(name)).unwrap();
    };
    draw("known", 0, 5);
    draw("strange", 1, 1);
    let known = dir.path().join("known");
    let pictures = ["character01/01.png", "character02/01.png", "character01/01.png"];
    let pictures = pictures.map(|name| known.join(name));
    let rows = embed::embed(Path::new("omniglot-edge-exact"), &pictures).unwrap();
    assert_eq!(rows.nrows(), 3);
    assert!(rows.row(0) == rows.row(2) && rows.row(0) != rows.row(1));

    let answers = classify::classify(&dir.path().join("gallery"), &known, &known).unwrap();
    assert_eq!(answers.len(), 60);
    // Each picture is enrolled itself, so what is accepted is right.
    assert!(answers.iter().filter_map(|a| Some((a.answer.label.as_ref()?, &a.place))).all(|(a, b)| a == b));
    let at = dir.path().join("another");
    let strange = classify::classify(&at, &known, &dir.path().join("strange")).unwrap();
    let unknown = strange.iter().filter(|a| a.answer.label.is_none()).count();
    assert!(unknown > 6, "{unknown} of 12 characters of another alphabet are unknown");
}
