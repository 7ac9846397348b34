//! Training ONNX models against PyTorch: the same weights and batches must give the same losses.
//!
//! `fixtures/golden_onnx.py` exported the models in `fixtures/golden_onnx` by PyTorch's own exporter, without their
//! weights, and made the losses of `fixtures/golden_onnx.json`; both languages make weights and batches with the
//! generator of `golden`.

use crate::golden::{integers, uniform};
use ndarray::{Array4, ArrayD};
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use siamese::export::with_model;
use siamese::model::Recipe;
use siamese::onnx::{ModelProto, Tensor};
use siamese::runtime::Lookup;
use siamese::runtime::ort::SessionOptions;
use siamese::sample::{Batch, Targets};
use siamese::step::{Target, TrainingClasses, build, initial_state, learning_rate};
use siamese::train::{Inputs, Stepper};
use siamese::walk::placement;
use std::path::{Path, PathBuf};

/// Greatest relative difference of a loss.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    batch: usize,
    pool: u64,
    side: usize,
    classes: usize,
    steps: u64,
    scale: f64,
    margin: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    optimiser: Value,
    batch_norm: String,
    losses: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../fixtures/golden_onnx.json")).unwrap()
}

/// The first value of a weight: golden_onnx.py has the same rule.
fn value(name: &str, shape: &[usize]) -> ArrayD<f32> {
    let last = name.rsplit('.').next().unwrap();
    let value = uniform(name, shape);
    match (last, shape.len()) {
        ("running_var", _) | ("weight", 1) => value * 0.25 + 1.0,
        ("weight", _) => value * (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt() as f32,
        _ => value * 0.125,
    }
}

/// A shipped structure with its weights, in a file.
fn filled(folder: &Path, name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/golden_onnx/{name}.onnx"));
    let mut model = ModelProto::decode(std::fs::read(file).unwrap().as_slice()).unwrap();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let shape: Vec<usize> = tensor.dims.iter().map(|&d| d as usize).collect();
        let count: usize = shape.iter().product();
        if count > 0
            && tensor.raw_data().is_empty()
            && tensor.float_data.is_empty()
            && tensor.int64_data.is_empty()
        {
            *tensor = Tensor::F32(value(tensor.name(), &shape)).to_proto(tensor.name());
        }
    }
    let path = folder.join(format!("{name}.onnx"));
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

fn recipe(golden: &Golden, case: &Case, model: &Path) -> Recipe {
    let recipe = json!({
        "name": case.name, "about": "A golden case.", "data": {"glyphs": {"alphabets": 1, "characters": 6, "drawers": 2}},
        "tower": {"onnx": model, "batch_norm": case.batch_norm},
        "loss": {"cosine": {"scale": golden.scale, "margin": golden.margin}},
        "sampling": {"images": {"batch": golden.batch}}, "optimiser": case.optimiser, "steps": golden.steps,
        "evaluation": {"protocol": {"one-shot": {"episodes": 1}}, "every": golden.steps},
    });
    with_model(Recipe::parse(&recipe.to_string(), "golden").unwrap(), None).unwrap()
}

fn inputs(golden: &Golden, k: u64) -> Inputs {
    let &Golden { batch, side, classes, .. } = golden;
    let labels: Vec<u32> = integers(&format!("labels {k}")).take(batch).map(|i| i % classes as u32).collect();
    let pixels = 3 * side * side;
    let mut noise = integers(&format!("noise {k}")).map(|i| i >> 16);
    let mut levels = Vec::with_capacity(batch * pixels);
    for label in &labels {
        let pattern = integers(&format!("class {label}")).map(|i| i >> 16).take(pixels);
        levels.extend(pattern.map(|p| ((p + 2 * noise.next().unwrap()) / 3) as u8));
    }
    let images = Array4::from_shape_vec((batch, 3, side, side), levels).unwrap();
    let targets = Targets::Labels(labels.into_iter().map(i64::from).collect());
    Inputs { batch: Batch { images, targets, drawn: Vec::new() }, teacher: None, masks: Vec::new() }
}

fn losses(golden: &Golden, recipe: &Recipe, target: Target) -> Vec<f64> {
    let graph = build(recipe, &TrainingClasses::distinct(golden.classes), target).unwrap();
    if target == Target::Cuda {
        placement::is_plain(&graph.model).unwrap();
        assert_eq!(placement::cuda_fallbacks(&graph.model), [], "{}", recipe.name);
    }
    let mut state = initial_state(recipe, &graph).unwrap();
    let proxies = state.get_mut("param.head.weight").unwrap();
    let (shape, dim) = (proxies.shape().to_vec(), proxies.shape()[1]);
    proxies.assign(&(uniform("head.weight", &shape) * (6.0 / dim as f64).sqrt() as f32));
    let kernels = target == Target::Kernels;
    let options = SessionOptions { threads: 1, kernels, ..SessionOptions::default() };
    let mut stepper = Stepper::new(&graph, state, &Lookup::default(), &options).unwrap();
    let step = |step: u64| {
        let lr = learning_rate(recipe, step);
        f64::from(stepper.step(inputs(golden, (step - 1) % golden.pool), lr, step).unwrap().loss)
    };
    (1..=golden.steps).map(step).collect()
}

fn departure(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let each = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs());
    // A loss that is no number is as far as can be.
    each.fold(0.0, |most, d| if d <= most { most } else { d })
}

#[test]
fn losses_of_onnx_models_are_pytorchs() {
    let (golden, folder) = (golden(), tempfile::tempdir().unwrap());
    assert_eq!(golden.cases.len(), 14);
    let mut faults = Vec::new();
    for case in &golden.cases {
        let recipe = recipe(&golden, case, &filled(folder.path(), &case.model));
        // The graph for CUDA is standard ONNX too; that for the CPU is enough for most, with our kernels and without.
        let both = case.name == "mobilenet_v2-sgd-frozen" || case.name == "resnet18-adamw-batch";
        for target in [Target::Cpu, Target::Kernels, Target::Cuda].into_iter().take(2 + usize::from(both)) {
            let found = losses(&golden, &recipe, target);
            // Normalised by few pictures, these two multiply rounding: after 20 steps PyTorch's own float32 is 2 % and
            // 1 % from its float64 (`fixtures/golden_onnx.py --check`).
            let unsteady =
                ["mobilenet_v2-sgd-batch", "efficientnet_lite0-sgd-batch"].contains(&case.name.as_str());
            let steady = if unsteady { 4 } else { found.len() };
            let off = departure(&found[..steady], &case.losses[..steady]);
            eprintln!("{}, graph for {target:?}: {off:.1e}", case.name);
            // A loss that is no number is not near.
            if !off.le(&TOLERANCE) {
                faults.push(format!(
                    "{} ({target:?}): off by {off:.1e}: {found:?}, not {:?}",
                    case.name, case.losses
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// From random weights, 20 steps.
#[test]
fn losses_of_networks_from_random_weights_fall() {
    for case in golden()
        .cases
        .into_iter()
        .filter(|case| case.name.starts_with("resnet18") && case.batch_norm == "batch")
    {
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&case.losses[..4]), mean(&case.losses[16..]));
        assert!(last < 0.9 * first, "{}: {first} to {last}", case.name);
    }
}

/// The comparison would see a wrong step, and the placement of all of them is proven above for some.
#[test]
fn training_graphs_of_onnx_models_run_on_cuda_whole() {
    let (golden, folder) = (golden(), tempfile::tempdir().unwrap());
    for case in golden.cases.iter().filter(|case| case.name.contains("adamw")) {
        let recipe = recipe(&golden, case, &filled(folder.path(), &case.model));
        let graph = build(&recipe, &TrainingClasses::distinct(golden.classes), Target::Cuda).unwrap();
        placement::is_plain(&graph.model).unwrap();
        assert_eq!(placement::cuda_fallbacks(&graph.model), [], "{}", case.name);
    }
}

#[test]
fn a_wrong_step_of_an_onnx_model_is_seen() {
    let (golden, folder) = (golden(), tempfile::tempdir().unwrap());
    let case = golden.cases.iter().find(|case| case.name == "resnet18-sgd-frozen").unwrap();
    let mut wrong = recipe(&golden, case, &filled(folder.path(), &case.model));
    wrong = wrong.changed("optimiser.sgd.lr=0.0105").unwrap();
    wrong = with_model(wrong, None).unwrap();
    assert!(departure(&losses(&golden, &wrong, Target::Cpu), &case.losses) > 2.0 * TOLERANCE);
    wrong = wrong.changed("tower.freeze=[\"layer1.0.conv1\"]").unwrap();
    wrong = with_model(wrong.changed("optimiser.sgd.lr=0.01").unwrap(), None).unwrap();
    assert!(departure(&losses(&golden, &wrong, Target::Cpu), &case.losses) > 2.0 * TOLERANCE);
}
