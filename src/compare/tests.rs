//! Whole comparisons on mock runtimes.
#![allow(clippy::unwrap_used)]

use super::run::{Comparison, Scope, Tower, Verdict, compare};
use super::sample::{Asked, Images};
use super::values::Tolerance;
use super::{page, text};
use crate::data::glyphs::{GlyphSpec, framed};
use crate::onnx::ModelProto;
use crate::runtime::{Interpreted, Options, Runner, Runtime};
use crate::tower::{self, TowerKind};
use prost::Message;
use std::path::Path;

fn written(folder: &Path, model: &ModelProto, name: &str) -> Tower {
    let path = folder.join(name);
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    Tower::read(&path).unwrap()
}

fn float_model() -> ModelProto {
    let mut model = tower::tests::exact_model();
    tower::tests::spec(TowerKind::Float).write_metadata(&mut model).unwrap();
    model.metadata_props.retain(|p| p.key.as_deref() != Some("siamese.bounds"));
    model
}

fn said(
    tower: &Tower,
    against: Option<&Tower>,
    b: Interpreted,
    reduce: Option<&Path>,
) -> (Comparison, Images) {
    both(tower, against, [Interpreted::sound("a"), b], reduce, false)
}

fn both(
    tower: &Tower,
    against: Option<&Tower>,
    [a, b]: [Interpreted; 2],
    reduce: Option<&Path>,
    strict: bool,
) -> (Comparison, Images) {
    let a = a.runner();
    let images = Images::random(40, 1, 4, 1);
    let scope = Scope {
        tower,
        against,
        sides: [&a, &b.runner()],
        images: &images,
        asked: Asked { episodes: 200, way: 5, shot: 1, seed: 1 },
        tolerance: Tolerance::default(),
        strict,
        settings: true,
        layers: 2,
        reduce,
        progress: &|_| {},
    };
    (compare(&scope).unwrap(), images)
}

#[test]
fn equal_runtimes_agree_on_an_exact_tower_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &tower::tests::exact_model(), "t.onnx");
    let (result, images) = said(&tower, None, Interpreted::sound("b"), None);
    assert!(result.agrees && result.values.bit_equal && result.settings.sha256.is_some());
    assert_eq!(result.predictions.flipped, 0);
    let text = text::summary(&result);
    assert!(text.contains("AGREE") && text.contains("one SHA-256 under 12 settings"), "{text}");
    assert!(text.contains("|a−b| ≤ atol + rtol·s"));
    let html = page::page(&result, &images).unwrap().render();
    assert!(html.contains("The runtimes agree") && html.contains("data:image/png"));
}

#[test]
fn a_runtime_that_flips_predictions_is_a_negative_answer() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let wild: fn(f64) -> f64 = |x| (x * 12.9898).sin() * 40.0;
    let (result, _) = said(&tower, None, Interpreted { name: "b", fault: Some(("Floor", wild)) }, None);
    assert!(!result.agrees && result.predictions.flipped > 0);
    assert!(result.faults.iter().any(|f| f.contains("flipped")), "{:?}", result.faults);
    assert!(result.portability.iter().any(|cell| cell.who == "AB" && cell.as_aa < cell.queries));
    let layers = result.layers.as_ref().unwrap();
    assert_eq!(layers.layers[layers.suspect.unwrap()].op, "Floor");
    let text = text::summary(&result);
    assert!(text.contains("DIFFER") && text.contains("first offender"), "{text}");
}

#[test]
fn numbers_that_change_no_answer_are_told_and_count_only_where_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let sides = [Interpreted::sound("a"), Interpreted { name: "b", fault: Some(("Flatten", |x| x * 1.001)) }];
    let (result, images) = both(&tower, None, sides, None, false);
    assert!(
        result.agrees && result.predictions.flipped == 0 && result.values.offenders > 0,
        "{:?}",
        result.faults
    );
    assert!(result.remarks.iter().any(|remark| remark.contains("--strict")), "{:?}", result.remarks);
    assert!(text::summary(&result).contains("AGREE  0 of"));
    assert!(!page::page(&result, &images).unwrap().render().contains("FLIPPED"));
    let (strict, _) = both(&tower, None, sides, None, true);
    assert_eq!(strict.verdict, Verdict::Differ);
    assert!(strict.faults.iter().any(|fault| fault.contains("outside the tolerance")), "{:?}", strict.faults);
}

#[test]
fn where_all_embeddings_are_equal_there_is_nothing_to_agree_on() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let flat = |name| Interpreted { name, fault: Some(("Flatten", |_| 3.0)) };
    let (result, images) = both(&tower, None, [flat("a"), flat("b")], None, false);
    assert!(result.verdict == Verdict::NoAnswers && !result.agrees);
    let text = text::summary(&result);
    assert!(text.contains("NO ANSWERS  A and B: the embeddings of 40 images are all equal"), "{text}");
    assert!(page::page(&result, &images).unwrap().render().contains("no answers to agree on"));
}

#[test]
fn nan_is_a_negative_answer_whatever_the_tolerance() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let (result, _) =
        said(&tower, None, Interpreted { name: "b", fault: Some(("Flatten", |_| f64::NAN)) }, None);
    assert!(!result.agrees && result.values.non_finite > 0);
    assert_eq!(result.predictions.certified, 0);
}

#[test]
fn a_planted_weight_is_located_and_cut_out() {
    let folder = tempfile::tempdir().unwrap();
    let model = float_model();
    let mut planted = model.clone();
    let weight = &mut planted.graph.as_mut().unwrap().initializer;
    let weight = weight.iter_mut().find(|t| t.name.as_deref() == Some("conv1.weight")).unwrap();
    weight.edit_raw(|raw| raw[0] += 9);
    let (one, two) = (written(folder.path(), &model, "t.onnx"), written(folder.path(), &planted, "p.onnx"));
    let cut = folder.path().join("cut");
    let (result, _) = said(&one, Some(&two), Interpreted::sound("b"), Some(&cut));
    let layers = result.layers.as_ref().unwrap();
    assert_eq!(layers.layers[layers.suspect.unwrap()].op, "Conv");
    let reduced = result.reduced.unwrap();
    // The convolution, and the cast of its stored weights.
    assert_eq!(reduced.nodes.len(), 2, "{reduced:?}");
    assert!(cut.join("model.onnx").exists() && cut.join("other.onnx").exists());
    assert!(cut.join("test_data_set_0/input_0.pb").exists());
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let a = Interpreted::sound("a").runner();
    let images = Images::random(9, 1, 5, 1);
    let scope = Scope {
        tower: &tower,
        against: None,
        sides: [&a, &a],
        images: &images,
        asked: Asked { episodes: 1, way: 2, shot: 1, seed: 1 },
        tolerance: Tolerance::default(),
        strict: false,
        settings: false,
        layers: 0,
        reduce: None,
        progress: &|_| {},
    };
    assert!(compare(&scope).unwrap_err().to_string().contains("do not fit"));
}

/// The runtimes of this build, each with each that stands after it.
fn pairs() -> Vec<[Runner; 2]> {
    let with = |runtime: &'static Runtime| runtime.with(Options::default()).unwrap();
    let runners: Vec<Runner> = Runtime::built_in().map(with).collect();
    let after = |place: usize| runners[place + 1..].iter().map(move |b| (place, b));
    let pairs = (0..runners.len()).flat_map(after);
    pairs.map(|(place, b)| [runners[place].clone(), b.clone()]).collect()
}

#[test]
fn runtimes_agree_on_the_shipped_towers() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx");
    let glyphs = GlyphSpec { alphabets: 1, characters: 20, drawers: 4, seed: 5 };
    for file in ["glyphs-demo/tower", "omniglot-edge/tower"] {
        for kind in [TowerKind::Float, TowerKind::Exact] {
            let end = if kind == TowerKind::Exact { "exact.onnx" } else { "onnx" };
            let tower = Tower::read(&shipped.join(file).with_extension(end)).unwrap();
            let images = Images::Labelled(framed(&glyphs, &tower.spec.preprocessing).unwrap());
            for [a, b] in &pairs() {
                let scope = Scope {
                    tower: &tower,
                    against: None,
                    sides: [a, b],
                    images: &images,
                    asked: Asked { episodes: 200, way: 20, shot: 1, seed: 1 },
                    tolerance: Tolerance::default(),
                    strict: true,
                    settings: true,
                    layers: 1,
                    reduce: None,
                    progress: &|_| {},
                };
                let said = compare(&scope).unwrap();
                let names = format!("{file} {kind:?} on {} and {}", a.name(), b.name());
                assert!(said.agrees && said.predictions.flipped == 0, "{names}: {:?}", said.faults);
                let layers = said.layers.unwrap().layers;
                assert!(layers.iter().all(|layer| layer.failed.is_none()), "{names}: {layers:?}");
                if kind == TowerKind::Exact {
                    assert!(said.settings.sha256.is_some(), "{names}");
                    assert!(
                        layers.iter().all(|layer| layer.introduced.between == 0.0),
                        "{names}: {layers:?}"
                    );
                }
            }
        }
    }
}
