//! What backbones are made of, on random graphs against the float64 interpreter, with every set of kernels.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod net;
mod parts;

use super::tests::{images, lowered, plan, planned, truth};
use super::*;
use crate::graph::Tensor;
use crate::onnx::{NodeProto, data_type, numbers};
use crate::random;
use crate::tower::{INPUT, OUTPUT};
use crate::walk::interpreter;
use ndarray::{ArrayD, IxDyn};
use net::{Net, below};
use parts::{activate, attention, block_of_rows, convolve, movement, normalise, pool, resize, squeeze};
use std::collections::BTreeMap;

/// 2⁻²⁴.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// The same model with every weight and bias replaced by its magnitude.
fn magnitudes(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        if tensor.data_type() == data_type::FLOAT {
            let array = numbers(tensor).unwrap().mapv(|x| x.abs() as f32);
            *tensor = Tensor::F32(array).to_proto(tensor.name());
        }
    }
    model
}

#[test]
fn convolutions_of_every_form_are_within_the_bound_of_their_sums() {
    let mut ways = std::collections::BTreeSet::new();
    for seed in 0..120 {
        let mut rng = random::stream(seed, "convolutions", 0, 0);
        let channels = [1, 2, 3, 6, 8, 17, 24, 40][below(&mut rng, 8)];
        let size = [channels, 1 + below(&mut rng, 15), 1 + below(&mut rng, 15)];
        let mut net = Net::new(size);
        if convolve(&mut net, &mut rng, 1.0).is_none() {
            continue;
        }
        let model = net.model();
        let images = images(seed, 1, size);
        let (truth, most) = (truth(&model, &images), truth(&magnitudes(&model), &images));
        let weights = &model.graph.as_ref().unwrap().initializer[0].dims;
        let terms = weights[1..].iter().product::<i64>() as f64;
        for kernels in Kernels::all() {
            let program = program(&model, size, kernels).expect("it is lowered whole");
            ways.extend(program.steps.iter().map(|s| s.action.name()));
            let given = lowered(&program, &images);
            for (i, (y, (truth, most))) in given[0].iter().zip(truth[0].iter().zip(&most[0])).enumerate() {
                let bound = (terms + 4.0) * U * most;
                assert!(
                    (y - truth).abs() <= bound,
                    "{} kernels, graph {seed}, element {i}: {y}, not {truth} ± {bound}: {program:?}",
                    kernels.name
                );
            }
        }
    }
    for way in ["float product", "float product of each channel", "float product of groups"] {
        assert!(ways.contains(way), "{ways:?}");
    }
}

/// A random network.
fn network(seed: u64) -> Net {
    let mut rng = random::stream(seed, "networks", 0, 0);
    let size = [[1, 3, 4, 8][below(&mut rng, 4)], 1 + below(&mut rng, 12), 1 + below(&mut rng, 12)];
    let mut net = Net::new(size);
    let scale = net.constant(ndarray::arr0(1.0f32 / 128.0).into_dyn());
    let mean = net.random(&mut rng, &[1, size[0], 1, 1], 0.4, 0.6);
    net.then("Mul", &[&scale], vec![]).then("Sub", &[&mean], vec![]);
    convolve(&mut net, &mut rng, 2.0).unwrap_or_default();
    let mut earlier = vec![(net.last.clone(), net.shape.clone())];
    for _ in 0..8 {
        if net.shape.iter().product::<usize>() > 6000 {
            break;
        }
        match below(&mut rng, 12) {
            0..3 => convolve(&mut net, &mut rng, 2.0).unwrap_or_default(),
            3..5 => activate(&mut net, &mut rng),
            5 => pool(&mut net, &mut rng).unwrap_or_default(),
            6 => squeeze(&mut net, &mut rng),
            7 => movement(&mut net, &mut rng),
            8 if net.shape[1].is_multiple_of(2) && net.shape[2] * net.shape[3] < 80 => {
                attention(&mut net, &mut rng);
            }
            8 => block_of_rows(&mut net, &mut rng),
            9 => resize(&mut net, &mut rng),
            10 => normalise(&mut net, &mut rng),
            _ => {
                let same = earlier.iter().rev().find(|(_, shape)| *shape == net.shape);
                if let Some(name) = same.map(|(name, _)| name.clone()) {
                    let op = ["Add", "Sub", "Mul", "Max", "Min"][below(&mut rng, 5)];
                    net.then(op, &[&name], vec![]);
                }
            }
        }
        earlier.push((net.last.clone(), net.shape.clone()));
    }
    // A product, so that there is a program.
    let channels = net.shape[1];
    let most = 1.0 / (channels as f32).sqrt();
    let w = net.random(&mut rng, &[5, channels, 1, 1], -most, most);
    net.then("Conv", &[&w], vec![]);
    net
}

#[test]
fn random_backbones_agree_with_float64() {
    const TOLERANCE: f64 = 2e-5;
    let mut done = BTreeMap::<&str, usize>::new();
    for seed in 0..150 {
        let net = network(seed);
        let model = net.model();
        let images = images(seed, 2, net.size);
        let truth = truth(&model, &images);
        let most = truth.iter().flatten().fold(1.0, |m: f64, x| m.max(x.abs()));
        for kernels in Kernels::all() {
            let program = program(&model, net.size, kernels).unwrap_or_else(|left| {
                panic!("graph {seed}: {:?}", left.iter().map(ToString::to_string).collect::<Vec<_>>())
            });
            program.steps.iter().for_each(|s| *done.entry(s.action.name()).or_default() += 1);
            let given = lowered(&program, &images);
            let off = given.iter().flatten().zip(truth.iter().flatten()).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, f64::max) / most;
            assert!(
                worst <= TOLERANCE,
                "{} kernels, graph {seed}: off by {worst}: {program:#?}",
                kernels.name
            );
        }
        if seed % 10 == 0 {
            let (plan, has) = plan(&model, net.size, true);
            let best = program(&model, net.size, Kernels::best()).unwrap();
            assert!(has && planned(&plan, &images) == lowered(&best, &images), "graph {seed} inside tract");
        }
    }
    let names = [
        "copy",
        "softmax",
        "layer normalisation",
        "times another",
        "float product of two maps",
        "greatest of windows",
        "mean or sum of windows",
        "float product of each channel",
        "another size",
    ];
    assert!(names.iter().all(|name| done.contains_key(name)), "{done:?}");
}

#[test]
fn functions_are_within_their_bounds_of_float64() {
    use kernels::Function::*;
    let erf = |x: f64| {
        let mut net = Net::new([1, 1, 1]);
        net.graph.node[0] = NodeProto { op_type: Some("Erf".into()), ..net.graph.node[0].clone() };
        let input = BTreeMap::from([(INPUT.to_string(), ArrayD::from_elem(IxDyn(&[1, 1, 1, 1]), x))]);
        interpreter::run(&net.model(), input).unwrap().remove(OUTPUT).unwrap()[[0, 0]]
    };
    // Every power of two from 2⁻³⁰ to 2⁷ and between, and both signs.
    let ends = |i: i32| 2f32.powf(i as f32 / 16.0 - 30.0);
    let mut numbers: Vec<f32> = (0..592).flat_map(|i| [ends(i), -ends(i)]).collect();
    numbers.extend((-3000..3000).map(|i| i as f32 / 250.0));
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let limit = 2f64.powi(-57);
    for kernels in Kernels::all() {
        for function in [Sigmoid, Silu, Tanh, Erf, Gelu] {
            let mut given = numbers.clone();
            kernels.apply(&function, 0..numbers.len(), &[0], &mut given);
            for (x, y) in numbers.iter().map(|x| f64::from(*x)).zip(given) {
                let (truth, bound) = match function {
                    Sigmoid => (sigmoid(x), 6.0 * U * sigmoid(x) + limit),
                    Silu => (x * sigmoid(x), 7.0 * U * (x * sigmoid(x)).abs() + x.abs() * limit),
                    Tanh => (x.tanh(), 8.0 * U),
                    Erf => (erf(x), 12.0 * U),
                    _ => (x / 2.0 * (1.0 + erf(x / 2f64.sqrt())), 8.0 * U * x.abs()),
                };
                let off = (f64::from(y) - truth).abs();
                assert!(
                    off <= bound,
                    "{} kernels, {function:?} of {x}: {y}, not {truth} ± {bound}",
                    kernels.name
                );
            }
        }
    }
}
