//! Training against PyTorch: the same weights and batches must give the same losses.
//!
//! `fixtures/golden.py` made the losses of `fixtures/golden.json`; both languages make weights,
//! batches and masks with the same small generator.

use ndarray::{Array4, ArrayD, IxDyn};
use serde::Deserialize;
use siamese::model::recipe::Sampling;
use siamese::model::{ParamSpec, Params, Recipe, Role};
use siamese::runtime::Lookup;
use siamese::runtime::ort::SessionOptions;
use siamese::sample::{Batch, Targets};
use siamese::step::{MaskSpec, StepGraph, Target, TrainingClasses, build, initial_state, learning_rate};
use siamese::train::{Inputs, Stepper};
use std::collections::BTreeMap;

/// Greatest relative difference of the first [`FIRST`] losses.
const FIRST_TOLERANCE: f64 = 1e-4;
const FIRST: usize = 10;
/// Greatest relative difference of all losses: rounding grows as training goes.
const TOLERANCE: f64 = 1e-3;
/// Greatest difference of the state after the last step, relative to a tensor's largest value.
const STATE_TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Golden {
    batch_pool: u64,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Case {
    recipe: Recipe,
    classes: usize,
    siblings: Vec<(usize, usize)>,
    losses: Vec<f64>,
    after: BTreeMap<String, Vec<f64>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../fixtures/golden.json")).unwrap()
}

// The generator of golden.py, and what is made with it.

/// Integers of 24 bits: SplitMix64 from the FNV-1a hash of `name`.
pub fn integers(name: &str) -> impl Iterator<Item = u32> + use<> {
    let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (1_u64..).map(move |i| {
        let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as u32
    })
}

/// From −1 to 1.
pub fn uniform(name: &str, shape: &[usize]) -> ArrayD<f32> {
    let mut values = integers(name).map(|i| (f64::from(i) / f64::from(1 << 23) - 1.0) as f32);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || values.next().unwrap())
}

fn first_value(spec: &ParamSpec) -> ArrayD<f32> {
    let value = uniform(&spec.name, &spec.shape);
    match spec.role {
        Role::Weight => value * (6.0 / spec.fan_in as f64).sqrt() as f32,
        Role::Scale => value * 0.25 + 1.0,
        _ => value * 0.125,
    }
}

fn first_state(recipe: &Recipe, graph: &StepGraph) -> Params {
    let mut state = initial_state(recipe, graph).unwrap();
    for spec in graph.params.iter().filter(|s| !s.role.is_statistic()) {
        for prefix in ["param", "ema"] {
            state.entry(format!("{prefix}.{}", spec.name)).and_modify(|v| v.assign(&first_value(spec)));
        }
    }
    state
}

/// The class of each image of batch `k`.
fn labels(case: &Case, k: u64) -> Vec<usize> {
    let classes = case.classes;
    let drawn = |count| integers(&format!("labels {k}")).map(|i| i as usize).take(count);
    let in_turn = |c: usize| (k as usize + c) % classes;
    match case.recipe.sampling {
        Sampling::Images { batch, .. } => drawn(batch).map(|i| i % classes).collect(),
        Sampling::Classes { classes: count, drawings, .. } => {
            (0..count).flat_map(|c| std::iter::repeat_n(in_turn(c), drawings)).collect()
        }
        Sampling::Episodes { way, shot: 1, queries, .. } => {
            let queried = (0..way).flat_map(|c| std::iter::repeat_n(in_turn(c), queries));
            (0..way).map(in_turn).chain(queried).collect()
        }
        Sampling::ZippedPairs { batch } => {
            let drawn: Vec<usize> = drawn(2 * batch).collect();
            let left = drawn[..batch].iter().map(|i| i % classes);
            let right = left.clone().zip(&drawn[batch..]).enumerate().map(|(i, (left, other))| match i % 2 {
                0 => left,
                _ => (left + 1 + other % (classes - 1)) % classes,
            });
            left.chain(right).collect()
        }
        ref other => panic!("golden.py has no {other:?}"),
    }
}

fn images(labels: &[usize], side: usize, k: u64) -> Array4<u8> {
    let mut noise = integers(&format!("noise {k}")).map(|i| i >> 16);
    let patterns = labels
        .iter()
        .flat_map(|class| integers(&format!("class {class}")).map(|i| 255 * (i >> 23)).take(side * side));
    let pixels = patterns.map(|p| ((p + 2 * noise.next().unwrap()) / 3) as u8).collect();
    Array4::from_shape_vec((labels.len(), 1, side, side), pixels).unwrap()
}

fn mask(spec: &MaskSpec, k: u64) -> ArrayD<f32> {
    uniform(&format!("{} {k}", spec.name), &spec.shape)
        .mapv(|x| if x < 2.0 * spec.keep - 1.0 { 1.0 / spec.keep } else { 0.0 })
}

fn inputs(case: &Case, graph: &StepGraph, k: u64) -> Inputs {
    let labels = labels(case, k);
    let images = images(&labels, case.recipe.size, k);
    let targets = match case.recipe.sampling {
        Sampling::Images { .. } | Sampling::Classes { .. } => {
            Targets::Labels(labels.iter().map(|l| *l as i64).collect())
        }
        Sampling::Episodes { .. } => Targets::Episode,
        _ => {
            let (left, right) = labels.split_at(labels.len() / 2);
            Targets::Same(left.iter().zip(right).map(|(a, b)| f32::from(u8::from(a == b))).collect())
        }
    };
    let teacher = case.recipe.loss.distil().map(|distil| {
        let rows = uniform(&format!("teacher {k}"), &[labels.len(), distil.dim]);
        rows.into_dimensionality().unwrap()
    });
    let batch = Batch { images, targets, drawn: Vec::new() };
    Inputs { batch, teacher, masks: graph.masks.iter().map(|m| mask(m, k)).collect() }
}

/// The losses of all steps, and the state after them.
fn train(case: &Case, pool: u64, target: Target) -> (Vec<f64>, Params) {
    let classes = TrainingClasses::with_siblings(case.classes, &case.siblings);
    let graph = build(&case.recipe, &classes, target).unwrap();
    let kernels = target == Target::Kernels;
    let options = SessionOptions { threads: 1, kernels, ..SessionOptions::default() };
    let mut stepper =
        Stepper::new(&graph, first_state(&case.recipe, &graph), &Lookup::default(), &options).unwrap();
    let losses = (1..=case.recipe.steps).map(|step| {
        let lr = learning_rate(&case.recipe, step);
        let measured = stepper.step(inputs(case, &graph, (step - 1) % pool), lr, step).unwrap();
        f64::from(measured.loss)
    });
    let losses = losses.collect();
    (losses, stepper.state().unwrap())
}

/// The first loss that is too far from PyTorch's, in words.
fn fault(found: &[f64], expected: &[f64]) -> Result<(), String> {
    assert_eq!(found.len(), expected.len());
    let far = found.iter().zip(expected).enumerate().filter(|(i, (a, b))| {
        let tolerance = if *i < FIRST { FIRST_TOLERANCE } else { TOLERANCE };
        // A loss that is no number is far as well.
        let near = (*a - *b).abs() <= tolerance * b.abs();
        !near
    });
    let far: Vec<_> = far.collect();
    match far.first() {
        None => Ok(()),
        Some((i, (a, b))) => Err(format!(
            "loss {} is {a}, PyTorch's {b}; {} of {} are as far",
            i + 1,
            far.len(),
            expected.len()
        )),
    }
}

fn greatest_departure(found: &[f64], expected: &[f64]) -> f64 {
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max)
}

#[test]
fn losses_are_pytorchs() {
    let golden = golden();
    assert_eq!(golden.cases.len(), 13);
    for case in &golden.cases {
        let name = &case.recipe.name;
        case.recipe.validate().unwrap();
        // A drawing of three positives cannot have less than ln 3.
        assert!(case.losses[49] < 0.4 * case.losses[0], "{name} hardly moves");
        // The graph for CUDA is standard ONNX as the one for the CPU, and computes the same there.
        for target in [Target::Cpu, Target::Kernels, Target::Cuda] {
            let (losses, state) = train(case, golden.batch_pool, target);
            let [first, all] =
                [FIRST, losses.len()].map(|n| greatest_departure(&losses[..n], &case.losses[..n]));
            eprintln!(
                "{name}, graph for {target:?}: {first:.1e} in the first {FIRST} losses, {all:.1e} in all"
            );
            fault(&losses, &case.losses).unwrap_or_else(|e| panic!("{name}, graph for {target:?}: {e}"));
            for (tensor, expected) in &case.after {
                let largest = expected.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
                for (i, (a, b)) in state[tensor].iter().zip(expected).enumerate() {
                    let difference = (f64::from(*a) - b).abs();
                    assert!(difference <= STATE_TOLERANCE * largest, "{name}: {tensor}[{i}] is {a}, not {b}");
                }
                assert_eq!(state[tensor].len(), expected.len());
            }
        }
    }
}

/// The comparison would see a wrong step: each of these changes departs.
#[test]
fn the_comparison_can_fail() {
    let golden = golden();
    let case = |name: &str| golden.cases.iter().find(|c| c.recipe.name == name).unwrap().clone();
    let changed = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let case = case(name);
        let mut recipe = serde_json::to_value(&case.recipe).unwrap();
        change(&mut recipe);
        Case { recipe: serde_json::from_value(recipe).unwrap(), ..case }
    };
    for (what, case, pool) in [
        (
            "one percent on the learning rate",
            changed("softmax-sgd", &|r| r["optimiser"]["sgd"]["lr"] = 0.0101.into()),
            5,
        ),
        ("another momentum", changed("spring-sgd", &|r| r["optimiser"]["sgd"]["momentum"] = 0.89.into()), 5),
        ("another share of dropout", changed("sigmoid-adam", &|r| r["tower"][10]["dropout"] = 0.2.into()), 5),
        ("no clipping", changed("cosine-adamw", &|r| r["clip_norm"] = serde_json::Value::Null), 5),
        ("no siblings", Case { siblings: vec![], ..case("cosine-adamw") }, 5),
        ("no siblings of drawings", Case { siblings: vec![], ..case("contrast-adamw") }, 5),
        ("no penalty", changed("prototype-nesterov", &|r| r["l2"] = serde_json::json!([])), 5),
        ("another order of batches", case("spring-adam"), 4),
    ] {
        let (losses, _) = train(&case, pool, Target::Cpu);
        let error = fault(&losses, &case.losses).expect_err(what);
        assert!(error.contains("PyTorch's"), "{error}");
    }
}
