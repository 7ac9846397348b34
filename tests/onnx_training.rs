//! `siamese train --model` and `"tower": {"onnx": …}` as a user runs them.

use serde_json::{Value, json};
use siamese::tower::{Provenance, TowerKind, TowerSpec};
use siamese::train::Folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Place(tempfile::TempDir);

impl Place {
    fn new(recipe: &Value) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("recipe.json"), recipe.to_string()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn siamese(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siamese"));
        command.current_dir(self.0.path()).env_remove("SIAMESE_DATA").args(arguments).output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.siamese(arguments);
        let (told, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}");
        told + &said
    }

    /// What a refusal says; it must exit with 2.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.siamese(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        said
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        Folder::new(self.path(run)).lines().unwrap().iter().map(|line| line.loss).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Class folders of small drawings.
fn pictures(place: &Place) {
    for class in 0..4u8 {
        let folder = place.path(&format!("pictures/class{class}"));
        fs::create_dir_all(&folder).unwrap();
        for k in 0..6u8 {
            let mut picture = image::GrayImage::from_pixel(24, 24, image::Luma([255]));
            for i in 3..21 {
                picture.put_pixel(i, u32::from(4 + 4 * class + k % 3), image::Luma([k * 9]));
                picture.put_pixel(u32::from(5 + 2 * k), i, image::Luma([0]));
            }
            picture.save(folder.join(format!("{k}.png"))).unwrap();
        }
    }
}

/// The shipped tower learns built-in characters.
fn recipe() -> Value {
    json!({
        "name": "tuned", "about": "for tests",
        "data": {"glyphs": {"alphabets": 2, "characters": 6, "drawers": 6}},
        "tower": {"onnx": "omniglot-edge"},
        "loss": {"cosine": {"scale": 10.0, "margin": 0.1}}, "sampling": {"images": {"batch": 12}},
        "optimiser": {"adam-w": {"lr": 0.002, "weight_decay": 0.01}}, "ema": 0.9, "steps": 12,
        "lr_factors": [{"layers": "head", "value": 10.0}],
        "evaluation": {"protocol": {"one-shot": {"episodes": 20}}, "every": 12},
    })
}

const TRAIN: &[&str] =
    &["train", "recipe.json", "--device", "cpu", "--threads", "1", "--log-every", "1", "--out"];

#[test]
fn a_trained_tower_learns_goes_on_and_is_exported_as_any() {
    let place = Place::new(&recipe());
    let whole = place.succeeds(&[TRAIN, &["whole"]].concat());
    assert!(whole.contains("siamese export whole"), "{whole}");
    let losses = place.losses("whole");
    assert_eq!(losses.len(), 12);
    assert!(losses[9..].iter().sum::<f64>() < 0.8 * losses[..3].iter().sum::<f64>(), "{losses:?}");

    // A run keeps its model: it goes on and is exported without the file.
    let model = siamese::tower::read_bytes(Path::new("omniglot-edge")).unwrap();
    assert_eq!(fs::read(place.path("whole/model.onnx")).unwrap(), model);
    let kept: Value = serde_json::from_slice(&fs::read(place.path("whole/recipe.json")).unwrap()).unwrap();
    assert_eq!(kept["tower"]["sha256"], siamese::tower::sha256(&model));
    place.succeeds(&["train", "--resume", "whole", "--device", "cpu"]);

    place.succeeds(&["export", "whole"]);
    let (before, _) = TowerSpec::from_bytes(&model, "before").unwrap();
    let (after, trained) = TowerSpec::read(place.path("whole/tower.onnx")).unwrap();
    assert_eq!(
        (after.kind, &after.preprocessing, after.dim),
        (TowerKind::Float, &before.preprocessing, before.dim)
    );
    assert_eq!((after.name.as_str(), after.distance.name()), ("tuned", "cosine"));
    let told = Provenance::read(&trained).unwrap();
    assert_eq!(told.recipe.unwrap().name, "tuned");
    assert!(told.data.unwrap().contains("72 images"));
    let weights = |model: &siamese::onnx::ModelProto| model.graph.as_ref().unwrap().initializer.clone();
    assert_ne!(weights(&trained), weights(&siamese::tower::decode(&model, "before").unwrap()));

    pictures(&place);
    let agreed = place.succeeds(&[
        "compare",
        "whole/tower.onnx",
        "--data",
        "pictures",
        "--quick",
        "--episodes",
        "200",
    ]);
    assert!(agreed.contains("AGREE"), "{agreed}");
    let eval = ["eval", "whole/tower.onnx", "--protocol", "episodes", "--way", "3", "--episodes", "20"];
    place.succeeds(&[&eval[..], &["--data", "pictures"]].concat());
    assert!(place.refused(&["export", "whole", "--exact"]).contains("--calibrate DIR"));
}

#[test]
fn a_run_that_is_stopped_ends_with_the_bits_of_an_undisturbed_one() {
    let place = Place::new(&recipe());
    place.succeeds(&[TRAIN, &["whole", "--train-last", "2"]].concat());
    let short = [TRAIN, &["parts", "--train-last", "2", "--steps", "5"]].concat();
    place.succeeds(&short);
    fs::remove_file(place.path("parts/params.safetensors")).unwrap();
    let on = [TRAIN, &["parts", "--train-last", "2", "--resume"]].concat();
    place.succeeds(&on);
    let bits = |run: &str| fs::read(place.path(&format!("{run}/params.safetensors"))).unwrap();
    assert!(bits("whole") == bits("parts"));
}

#[test]
fn a_model_alone_learns_the_classes_of_a_folder() {
    let place = Place::new(&recipe());
    pictures(&place);
    let told = place.succeeds(&[
        "train",
        "--model",
        "omniglot-edge",
        "--data",
        "pictures",
        "--steps",
        "3",
        "--device",
        "cpu",
        "--freeze",
        "conv",
        "--log-every",
        "1",
    ]);
    assert!(told.contains("omniglot-edge-tuned: 24 images, 4 classes"), "{told}");
    let (params, _) =
        siamese::model::read_params(&place.path("runs/omniglot-edge-tuned/params.safetensors")).unwrap();
    assert!(params.keys().all(|name| !name.starts_with("conv")) && params.len() > 2, "{:?}", params.keys());
    place.succeeds(&["export", "runs/omniglot-edge-tuned"]);
    place.succeeds(&["enroll", "gallery", "pictures", "--tower", "runs/omniglot-edge-tuned/tower.onnx"]);
}

#[test]
fn what_cannot_be_trained_is_refused_with_what_to_do() {
    let place = Place::new(&recipe());
    let refused = |more: &[&str]| place.refused(&[TRAIN, &["run"], more].concat());
    assert!(
        refused(&["--set", "colour={}"])
            .contains("colour: the recipe is one of colours, and the model takes ink")
    );
    assert!(refused(&["--set", "size=31"]).contains("size: is 31, but the model takes"));
    assert!(
        refused(&["--set", "tower.sha256=00"]).contains("is not the model that recipe tuned was made for")
    );
    assert!(refused(&["--set", "augment.hue=10"]).contains("changes colours, and this recipe takes ink"));
    assert!(refused(&["--set", "wccn=0.1"]).contains("wccn"));
    assert!(
        refused(&["--set", "lr_factors=[{\"layers\": \"stage9\", \"value\": 2}]"])
            .contains("no layer's name begins")
    );
    assert!(refused(&["--freeze", "stem"]).contains("tower.freeze: no weight"));
    assert!(refused(&["--batch-norm", "batch"]).contains("has no batch normalisation"));
    assert!(refused(&["--model", "omniglot-edge-exact"]).contains("is an exact tower"));
    assert!(refused(&["--model", "nowhere.onnx"]).contains("nowhere.onnx"));
    let layers = place.refused(&["train", "omniglot-edge-base", "--freeze", "conv1"]);
    assert!(layers.contains("name a model with --model"), "{layers}");
    // The reverse: a recipe of ink, whose strokes become thicker, for a model of colours.
    let colours = place.path("colours.onnx");
    fs::write(&colours, of_colours()).unwrap();
    let ink = refused(&["--model", "colours.onnx", "--set", "augment.thickness=1"]);
    assert!(ink.contains("is of strokes of ink, and this recipe takes colours"), "{ink}");
    let framed = place.refused(&[
        "train",
        "recipe.json",
        "--out",
        "run",
        "--set",
        "frame=ink",
        "--set",
        "tower.onnx=colours.onnx",
    ]);
    assert!(
        framed.contains("the recipe lays the square around the ink, and the model takes colours"),
        "{framed}"
    );
    assert!(!place.path("run/model.onnx").exists());
}

/// A foreign model `[N, 3, 8, 8]` → `[N, 5]`, which `import` takes without options.
fn of_colours() -> Vec<u8> {
    use prost::Message;
    use siamese::graph::{ConvAttrs, DType, Graph, Tensor};
    let g = Graph::new("colours");
    let x = g.input("pixels", DType::F32, &[1, 3, 8, 8]);
    let w = g.initializer("conv.weight", Tensor::F32(ndarray::ArrayD::from_elem(vec![5, 3, 3, 3], 0.1)));
    g.output("features", x.conv(w, None, ConvAttrs::default()).relu().mean(&[2, 3]));
    g.to_model_batched("N").unwrap().encode_to_vec()
}
