//! The training step run by the float64 reference interpreter.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod graphs;
mod losses;
mod micro;
mod optimisers;

use super::*;
use crate::model::Params;
use crate::walk::interpreter;
use ndarray::{ArrayD, IxDyn};
use rand::RngExt;
use serde_json::{Value as Json, json};

type Tensors = BTreeMap<String, ArrayD<f64>>;

/// A recipe of a small tower, with some of its fields replaced.
fn recipe(changes: Json) -> Recipe {
    let mut all = json!({
        "name": "small", "about": "for tests", "data": "mnist", "size": 4,
        "tower": ["flatten", {"fc": {"units": 3}}],
        "loss": {"spring": {"margin": 5.0}}, "sampling": {"zipped-pairs": {"batch": 4}},
        "optimiser": {"sgd": {"lr": 0.1}}, "steps": 100,
        "evaluation": {"protocol": {"one-shot": {"episodes": 10}}, "every": 10},
    });
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    Recipe::parse(&all.to_string(), "test").unwrap()
}

/// A step and everything that it takes, drawn at random.
struct Setup {
    graph: StepGraph,
    inputs: Tensors,
}

impl Setup {
    fn new(recipe: &Recipe, classes: &TrainingClasses) -> Self {
        let graph = build(recipe, classes, Target::Cuda).unwrap();
        let state = initial_state(recipe, &graph).unwrap();
        let mut inputs = wide(&state);
        let mut rng = crate::model::seeded(5, "batch");
        for spec in &graph.batch {
            let most = match spec.name.as_str() {
                "batch.images" => 256,
                "batch.same" => 2,
                // Embeddings, here whole numbers, none of them all 0.
                "batch.teacher" => 7,
                _ => classes.count as u32,
            };
            let least = u32::from(spec.name == "batch.teacher");
            let draw = || f64::from(rng.random_range(least..most));
            inputs.insert(spec.name.clone(), ArrayD::from_shape_simple_fn(IxDyn(&spec.shape), draw));
        }
        for mask in &graph.masks {
            let draw =
                || if rng.random_bool(f64::from(mask.keep)) { 1.0 / f64::from(mask.keep) } else { 0.0 };
            inputs.insert(mask.name.clone(), ArrayD::from_shape_simple_fn(IxDyn(&mask.shape), draw));
        }
        let mut setup = Self { graph, inputs };
        setup.set("lr", 0.1);
        setup.set("step", 1.0);
        setup
    }

    fn set(&mut self, name: &str, value: f64) {
        self.inputs.insert(name.into(), ArrayD::from_elem(IxDyn(&[]), value));
    }

    fn run(&self) -> Tensors {
        interpreter::run(&self.graph.model, self.inputs.clone()).unwrap()
    }

    /// Feeds the outputs of a run back as the next step's state.
    fn advance(&mut self, outputs: &Tensors) {
        for s in &self.graph.state {
            self.inputs.insert(s.input.clone(), outputs[&s.output].clone());
        }
    }

    /// The gradient of a parameter, of a recipe with plain gradient descent.
    fn gradient(&self, outputs: &Tensors, name: &str) -> ArrayD<f64> {
        let lr = self.inputs["lr"].sum();
        (&self.inputs[name] - &outputs[&format!("next.{name}")]) / lr
    }
}

fn wide(params: &Params) -> Tensors {
    params.iter().map(|(k, v)| (k.clone(), v.mapv(f64::from))).collect()
}

#[track_caller]
fn close(got: f64, expected: f64) {
    let error = (got - expected).abs() / expected.abs().max(1e-3);
    assert!(error < 2e-6, "{got}, not {expected}");
}

/// Equal to a share of the greatest value: sums may cancel.
#[track_caller]
fn all_close(got: &ArrayD<f64>, expected: &ArrayD<f64>) {
    assert_eq!(got.shape(), expected.shape());
    let greatest = expected.iter().fold(0.0_f64, |most, e| most.max(e.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= 1e-6 * greatest, "{g}, not {e}");
    }
}
