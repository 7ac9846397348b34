//! Whole comparisons on mock runtimes.
#![allow(clippy::unwrap_used)]

use super::engine::mock::Mock;
use super::engine::{Blob, Engine};
use super::run::{Comparison, Request, Tower, compare};
use super::sample::{Asked, Images};
use super::side::Side;
use super::sweep::{Embed, Setting};
use super::values::Tolerance;
use super::{page, text};
use crate::onnx::ModelProto;
use crate::tower::{INPUT, TowerKind};
use crate::{Result, tower};
use ndarray::{Array2, ArrayView4, Axis};
use prost::Message;
use std::path::Path;

/// A side whose embeddings are the mock engine's.
struct MockSide {
    name: &'static str,
    fault: Option<(&'static str, fn(f64) -> f64)>,
}

impl MockSide {
    fn mock(&self) -> Mock {
        Mock { name: self.name, fault: self.fault }
    }
}

impl Side for MockSide {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> String {
        "mock".into()
    }

    fn setting(&self) -> Setting {
        Setting { runtime: self.name.into(), threads: 1, batch: 64, level: None, repeat: 1 }
    }

    fn has_levels(&self) -> bool {
        false
    }

    fn open(&self, file: &Path, _: &Setting) -> Result<Embed> {
        let (_, model) = tower::TowerSpec::read(file)?;
        let mut engine = self.mock();
        Ok(Box::new(move |images: ArrayView4<'_, u8>| {
            let mut rows = Vec::new();
            for image in images.axis_chunks_iter(Axis(0), 1) {
                let input = vec![(INPUT.to_string(), Blob::U8(image.to_owned().into_dyn()))];
                rows.extend(engine.run(&model, &input)?.remove(0).to_f64().mapv(|x| x as f32));
            }
            let width = rows.len() / images.len_of(Axis(0)).max(1);
            Ok(Array2::from_shape_vec((images.len_of(Axis(0)), width), rows).unwrap())
        }))
    }

    fn engine(&self) -> Result<Box<dyn Engine>> {
        Ok(Box::new(self.mock()))
    }
}

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

fn said(tower: &Tower, against: Option<&Tower>, b: &MockSide, reduce: Option<&Path>) -> (Comparison, Images) {
    let a = MockSide { name: "a", fault: None };
    let images = Images::random(40, 1, 4, 1);
    let request = Request {
        tower,
        against,
        sides: [&a, b],
        images: &images,
        asked: Asked { episodes: 200, way: 5, shot: 1, seed: 1 },
        tolerance: Tolerance::default(),
        settings: true,
        layers: 2,
        reduce,
        progress: &|_| {},
    };
    (compare(&request).unwrap(), images)
}

#[test]
fn equal_runtimes_agree_on_an_exact_tower_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &tower::tests::exact_model(), "t.onnx");
    let (result, images) = said(&tower, None, &MockSide { name: "b", fault: None }, None);
    assert!(result.agrees && result.values.bit_equal && result.settings.as_ref().unwrap().sha256.is_some());
    assert_eq!(result.predictions.flipped, 0);
    let text = text::summary(&result);
    assert!(text.contains("AGREE") && text.contains("one SHA-256 under 12 settings"), "{text}");
    assert!(text.contains("|a−b| ≤ atol + rtol·|b|"));
    let html = page::page(&result, &images).unwrap().render();
    assert!(html.contains("The runtimes agree") && html.contains("data:image/png"));
}

#[test]
fn a_runtime_that_flips_predictions_is_a_negative_answer() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let wild: fn(f64) -> f64 = |x| (x * 12.9898).sin() * 40.0;
    let (result, _) = said(&tower, None, &MockSide { name: "b", fault: Some(("Floor", wild)) }, None);
    assert!(!result.agrees && result.predictions.flipped > 0);
    assert!(result.faults.iter().any(|f| f.contains("flipped")), "{:?}", result.faults);
    assert!(result.portability.iter().any(|cell| cell.who == "AB" && cell.as_aa < cell.queries));
    let layers = result.layers.as_ref().unwrap();
    assert_eq!(layers.layers[layers.suspect.unwrap()].op, "Floor");
    let text = text::summary(&result);
    assert!(text.contains("DIFFER") && text.contains("first offender"), "{text}");
}

#[test]
fn nan_is_a_negative_answer_whatever_the_tolerance() {
    let folder = tempfile::tempdir().unwrap();
    let tower = written(folder.path(), &float_model(), "t.onnx");
    let (result, _) =
        said(&tower, None, &MockSide { name: "b", fault: Some(("Flatten", |_| f64::NAN)) }, None);
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
    weight.raw_data.as_mut().unwrap()[0] += 9;
    let (one, two) = (written(folder.path(), &model, "t.onnx"), written(folder.path(), &planted, "p.onnx"));
    let cut = folder.path().join("cut");
    let (result, _) = said(&one, Some(&two), &MockSide { name: "b", fault: None }, Some(&cut));
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
    let a = MockSide { name: "a", fault: None };
    let images = Images::random(9, 1, 5, 1);
    let request = Request {
        tower: &tower,
        against: None,
        sides: [&a, &a],
        images: &images,
        asked: Asked { episodes: 1, way: 2, shot: 1, seed: 1 },
        tolerance: Tolerance::default(),
        settings: false,
        layers: 0,
        reduce: None,
        progress: &|_| {},
    };
    assert!(compare(&request).unwrap_err().to_string().contains("do not fit"));
}
