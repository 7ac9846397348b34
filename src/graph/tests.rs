//! Every derivative rule against central differences in float64, along random directions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::reference::{self, Values};
use super::*;
use crate::Result;
use crate::onnx::ModelProto;
use ndarray::ArrayD;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

type Build = fn(&mut Graph, &[Value]) -> Result<Value>;

/// A rule under test: shapes of the inputs that are differentiated, and the operators over them.
struct Case {
    name: &'static str,
    shapes: &'static [&'static [usize]],
    build: Build,
}

const fn case(name: &'static str, shapes: &'static [&'static [usize]], build: Build) -> Case {
    Case { name, shapes, build }
}

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

/// `loss = Σ weight·f(inputs)` and its gradients, as a model.
fn model(case: &Case, how: GradOptions) -> Result<(ModelProto, Vec<usize>)> {
    let mut g = Graph::new(case.name);
    let inputs: Vec<Value> =
        case.shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), DType::F32, s)).collect();
    let y = (case.build)(&mut g, &inputs)?;
    let shape = g.shape(y).to_vec();
    let weight = g.input("weight", DType::F32, &shape);
    let weighted = g.mul(y, weight)?;
    let axes: Vec<i64> = (0..shape.len() as i64).collect();
    let loss = if axes.is_empty() { weighted } else { g.reduce_sum(weighted, &axes, false)? };
    for (i, gradient) in gradients(&mut g, loss, &inputs, how)?.into_iter().enumerate() {
        assert_eq!(g.shape(gradient), case.shapes[i], "{}", case.name);
        g.output(&format!("g{i}"), gradient);
    }
    g.output("loss", loss);
    Ok((g.to_model(), shape))
}

fn random(shape: &[usize], rng: &mut Pcg64Mcg) -> ArrayD<f64> {
    ArrayD::from_shape_simple_fn(shape, || {
        let x: f64 = rng.random_range(0.2..1.5);
        if rng.random_bool(0.5) { x } else { -x }
    })
}

/// The largest relative difference of slope and central difference over a few directions.
fn worst(case: &Case, how: GradOptions, seed: u64) -> Result<f64> {
    let (model, shape) = model(case, how)?;
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut inputs = Values::new();
    for (i, shape) in case.shapes.iter().enumerate() {
        inputs.insert(format!("x{i}"), random(shape, &mut rng));
    }
    inputs.insert("weight".into(), random(&shape, &mut rng));
    let outputs = reference::run(&model, inputs.clone())?;
    let mut worst = 0.0f64;
    for _ in 0..4 {
        let directions: Vec<ArrayD<f64>> = case.shapes.iter().map(|s| random(s, &mut rng)).collect();
        let moved = |by: f64| -> Result<f64> {
            let mut at = inputs.clone();
            for (i, direction) in directions.iter().enumerate() {
                let x = at.get_mut(&format!("x{i}")).unwrap();
                *x = &*x + &(direction * by);
            }
            Ok(reference::run(&model, at)?["loss"].sum())
        };
        let difference = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
        let slope: f64 =
            directions.iter().enumerate().map(|(i, d)| (d * &outputs[&format!("g{i}")]).sum()).sum();
        worst = worst.max((slope - difference).abs() / slope.abs().max(difference.abs()).max(1.0));
    }
    Ok(worst)
}

fn positive(g: &mut Graph, x: Value) -> Result<Value> {
    let squared = g.mul(x, x)?;
    let small = g.scalar(0.5);
    g.add(squared, small)
}

fn attrs(strides: usize, pads: [usize; 4], dilations: usize, groups: usize) -> ConvAttrs {
    ConvAttrs { strides: [strides; 2], pads, dilations: [dilations; 2], groups }
}

const ELEMENTWISE: &[Case] = &[
    case("add", &[&[2, 3], &[2, 3]], |g, x| g.add(x[0], x[1])),
    case("add, broadcast", &[&[2, 3, 4], &[3, 1]], |g, x| g.add(x[0], x[1])),
    case("sub", &[&[2, 3], &[3]], |g, x| g.sub(x[0], x[1])),
    case("sub, from a row", &[&[1, 3], &[4, 1]], |g, x| g.sub(x[0], x[1])),
    case("mul", &[&[2, 3], &[2, 1]], |g, x| g.mul(x[0], x[1])),
    case("mul by itself", &[&[5]], |g, x| g.mul(x[0], x[0])),
    case("mul by a scalar", &[&[2, 3], &[]], |g, x| g.mul(x[0], x[1])),
    case("div", &[&[2, 3], &[1, 3]], |g, x| g.div(x[0], x[1])),
    case("neg", &[&[4]], |g, x| g.neg(x[0])),
    case("abs", &[&[7]], |g, x| g.abs(x[0])),
    case("sqrt", &[&[6]], |g, x| positive(g, x[0]).and_then(|p| g.sqrt(p))),
    case("exp", &[&[6]], |g, x| g.exp(x[0])),
    case("log", &[&[6]], |g, x| positive(g, x[0]).and_then(|p| g.log(p))),
    case("sigmoid", &[&[6]], |g, x| g.sigmoid(x[0])),
    case("relu", &[&[3, 5]], |g, x| g.relu(x[0])),
    case("max", &[&[3, 5], &[5]], |g, x| g.max(x[0], x[1])),
    case("min", &[&[3, 5], &[3, 1]], |g, x| g.min(x[0], x[1])),
    case("clip", &[&[9]], |g, x| g.clip(x[0], -0.7, 0.9)),
    case("pow", &[&[6]], |g, x| {
        let (p, three) = (positive(g, x[0])?, g.scalar(2.5));
        g.pow(p, three)
    }),
    case("where", &[&[3, 4], &[4]], |g, x| {
        let first = g.less(x[0], x[1])?;
        g.where_(first, x[0], x[1])
    }),
    case("identity and cast", &[&[4]], |g, x| {
        let same = g.identity(x[0])?;
        let wide = g.cast(same, DType::F64)?;
        let wide = g.mul(wide, wide)?;
        g.cast(wide, DType::F32)
    }),
];

const REDUCE: &[Case] = &[
    case("reduce_sum", &[&[2, 3, 4]], |g, x| g.reduce_sum(x[0], &[0, 2], false)),
    case("reduce_sum, kept", &[&[2, 3, 4]], |g, x| g.reduce_sum(x[0], &[-1], true)),
    case("reduce_mean", &[&[2, 3, 4]], |g, x| g.reduce_mean(x[0], &[1], false)),
    case("reduce_max", &[&[2, 3, 4]], |g, x| g.reduce_max(x[0], &[1, 2], false)),
    case("softmax", &[&[3, 5]], |g, x| g.softmax(x[0], -1)),
    case("softmax, first axis", &[&[3, 5]], |g, x| g.softmax(x[0], 0)),
    case("log_softmax", &[&[3, 5]], |g, x| g.log_softmax(x[0], 1)),
    case("batch statistics", &[&[4, 3, 2, 2]], |g, x| {
        let mean = g.reduce_mean(x[0], &[0, 2, 3], true)?;
        let centred = g.sub(x[0], mean)?;
        let squares = g.mul(centred, centred)?;
        let variance = g.reduce_mean(squares, &[0, 2, 3], true)?;
        let deviation = g.sqrt(variance)?;
        g.div(centred, deviation)
    }),
    case("unit length", &[&[3, 5]], |g, x| {
        let squares = g.mul(x[0], x[0])?;
        let sum = g.reduce_sum(squares, &[1], true)?;
        let norm = g.sqrt(sum)?;
        g.div(x[0], norm)
    }),
];

const LAYOUT: &[Case] = &[
    case("reshape", &[&[2, 6]], |g, x| g.reshape(x[0], &[3, 4])),
    case("flatten", &[&[2, 3, 4]], |g, x| g.flatten(x[0], 2)),
    case("transpose", &[&[2, 3, 4]], |g, x| g.transpose(x[0], &[2, 0, 1])),
    case("slice", &[&[5, 6]], |g, x| g.slice(x[0], &[1, 2], &[4, 6], &[0, 1], &[1, 1])),
    case("slice by steps", &[&[5, 7]], |g, x| g.slice(x[0], &[0, 1], &[5, 7], &[0, 1], &[2, 3])),
    case("slice by a step that ends early", &[&[8]], |g, x| g.slice(x[0], &[1], &[6], &[0], &[3])),
    case("concat", &[&[2, 3], &[2, 1], &[2, 2]], |g, x| g.concat(x, 1)),
    case("pad", &[&[2, 3]], |g, x| g.pad(x[0], &[1, 0, 0, 2], 0.5)),
    case("expand", &[&[3, 1]], |g, x| g.expand(x[0], &[2, 3, 4])),
    case("gather", &[&[4, 3]], |g, x| {
        let rows = g.ints(&[2, 0, 2]);
        g.gather(x[0], rows, 0)
    }),
    case("gather in the middle", &[&[2, 4, 3]], |g, x| {
        let rows = g.ints(&[3, 1, 1, 0, 2]);
        g.gather(x[0], rows, 1)
    }),
];

const LINEAR: &[Case] = &[
    case("matmul", &[&[3, 4], &[4, 5]], |g, x| g.matmul(x[0], x[1])),
    case("matmul, batched", &[&[2, 3, 4], &[2, 4, 5]], |g, x| g.matmul(x[0], x[1])),
    case("matmul, broadcast", &[&[3, 4], &[2, 4, 5]], |g, x| g.matmul(x[0], x[1])),
    case("gemm", &[&[3, 4], &[4, 5], &[5]], |g, x| g.gemm(x[0], x[1], Some(x[2]), false, false)),
    case("gemm, first turned", &[&[4, 3], &[4, 5]], |g, x| g.gemm(x[0], x[1], None, true, false)),
    case("gemm, second turned", &[&[3, 4], &[5, 4], &[3, 1]], |g, x| {
        g.gemm(x[0], x[1], Some(x[2]), false, true)
    }),
    case("gemm, both turned", &[&[4, 3], &[5, 4]], |g, x| g.gemm(x[0], x[1], None, true, true)),
    case("conv, valid", &[&[2, 3, 6, 5], &[4, 3, 3, 2], &[4]], |g, x| {
        g.conv(x[0], x[1], Some(x[2]), ConvAttrs::default())
    }),
    case("conv, same", &[&[2, 2, 5, 6], &[3, 2, 3, 3]], |g, x| {
        g.conv(x[0], x[1], None, attrs(1, [1; 4], 1, 1))
    }),
    case("conv, even kernel, same", &[&[1, 2, 5, 5], &[2, 2, 4, 4]], |g, x| {
        g.conv(x[0], x[1], None, attrs(1, [1, 1, 2, 2], 1, 1))
    }),
    case("conv, stride 2", &[&[2, 2, 7, 8], &[3, 2, 3, 3]], |g, x| {
        g.conv(x[0], x[1], None, attrs(2, [1; 4], 1, 1))
    }),
    case("conv, stride 3, rows unreached", &[&[1, 2, 9, 8], &[2, 2, 2, 2]], |g, x| {
        g.conv(x[0], x[1], None, attrs(3, [0; 4], 1, 1))
    }),
    case("conv, dilated", &[&[1, 2, 8, 7], &[2, 2, 3, 3]], |g, x| {
        g.conv(x[0], x[1], None, attrs(1, [2; 4], 2, 1))
    }),
    case("conv, dilated and strided", &[&[1, 1, 9, 9], &[2, 1, 3, 3]], |g, x| {
        g.conv(x[0], x[1], None, attrs(2, [1; 4], 2, 1))
    }),
    case("conv, grouped", &[&[2, 4, 5, 5], &[6, 2, 3, 3]], |g, x| {
        g.conv(x[0], x[1], None, attrs(1, [1; 4], 1, 2))
    }),
    case("conv, a channel a group, stride 2", &[&[1, 3, 6, 6], &[3, 1, 3, 3]], |g, x| {
        g.conv(x[0], x[1], None, attrs(2, [1; 4], 1, 3))
    }),
    case("conv, many channels", &[&[2, 32, 4, 5], &[3, 32, 3, 2], &[3]], |g, x| {
        g.conv(x[0], x[1], Some(x[2]), attrs(2, [1, 0, 1, 0], 1, 1))
    }),
    case("conv, 1x1", &[&[2, 3, 4, 4], &[2, 3, 1, 1]], |g, x| {
        g.conv(x[0], x[1], None, attrs(2, [0; 4], 1, 1))
    }),
];

const LAST: &[Case] = &[
    case("conv_last, valid", &[&[2, 6, 5, 3], &[4, 3, 3, 2], &[4]], |g, x| {
        g.conv_last(x[0], x[1], Some(x[2]), ConvAttrs::default())
    }),
    case("conv_last, same", &[&[2, 5, 6, 2], &[3, 2, 3, 3]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(1, [1; 4], 1, 1))
    }),
    case("conv_last, even kernel, same", &[&[1, 5, 5, 2], &[2, 2, 4, 4]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(1, [1, 1, 2, 2], 1, 1))
    }),
    case("conv_last, more padding than the kernel", &[&[1, 4, 3, 2], &[2, 2, 2, 2]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(1, [3, 0, 2, 4], 1, 1))
    }),
    case("conv_last, stride 2", &[&[2, 7, 8, 2], &[3, 2, 3, 3]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(2, [1; 4], 1, 1))
    }),
    case("conv_last, stride 2, uneven", &[&[1, 8, 8, 2], &[3, 2, 3, 3], &[3]], |g, x| {
        g.conv_last(x[0], x[1], Some(x[2]), attrs(2, [0, 0, 1, 1], 1, 1))
    }),
    case("conv_last, stride 3, rows unreached", &[&[1, 9, 8, 2], &[2, 2, 2, 2]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(3, [0; 4], 1, 1))
    }),
    case("conv_last, dilated and strided", &[&[1, 9, 9, 1], &[2, 1, 3, 3]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(2, [1; 4], 2, 1))
    }),
    case("conv_last, 1x1", &[&[2, 4, 4, 3], &[2, 3, 1, 1]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(1, [0; 4], 1, 1))
    }),
    case("conv_last, 1x1, stride 2", &[&[2, 5, 4, 3], &[2, 3, 1, 1]], |g, x| {
        g.conv_last(x[0], x[1], None, attrs(2, [0; 4], 1, 1))
    }),
    case("channel_sums", &[&[2, 3, 2, 4]], |g, x| g.channel_sums(x[0])),
    case("a factor of each channel", &[&[2, 3, 2, 4], &[4]], |g, x| g.mul(x[0], x[1])),
    case("average_pool_last", &[&[2, 4, 6, 2]], |g, x| g.average_pool_last(x[0], [2, 2])),
    case("average_pool_last, odd size", &[&[1, 8, 5, 2]], |g, x| g.average_pool_last(x[0], [3, 3])),
];

const NORM: &[Case] = &[
    case("batch_norm", &[&[4, 3, 2, 2], &[3, 1, 1], &[3, 1, 1]], |g, x| {
        Ok(g.batch_norm(x[0], x[1], x[2], 1e-3, Channels::First)?.y)
    }),
    case("batch_norm, channels last", &[&[4, 2, 2, 3], &[3], &[3]], |g, x| {
        Ok(g.batch_norm(x[0], x[1], x[2], 1e-3, Channels::Last)?.y)
    }),
    case("batch_norm of vectors", &[&[5, 3], &[3], &[3]], |g, x| {
        Ok(g.batch_norm(x[0], x[1], x[2], 1e-3, Channels::Last)?.y)
    }),
];

const POOL: &[Case] = &[
    case("max_pool", &[&[2, 2, 4, 6]], |g, x| g.max_pool(x[0], [2, 2], [2, 2])),
    case("max_pool, odd size", &[&[1, 2, 7, 5]], |g, x| g.max_pool(x[0], [2, 2], [2, 2])),
    case("max_pool, 3x2", &[&[1, 2, 7, 5]], |g, x| g.max_pool(x[0], [3, 2], [3, 2])),
    case("average_pool", &[&[2, 2, 4, 6]], |g, x| g.average_pool(x[0], [2, 2], [2, 2])),
    case("average_pool, odd size", &[&[1, 2, 8, 5]], |g, x| g.average_pool(x[0], [3, 3], [3, 3])),
];

#[test]
fn every_rule_agrees_with_central_differences() {
    for case in [ELEMENTWISE, REDUCE, LAYOUT, LINEAR, LAST, NORM, POOL].concat_cases() {
        for conv_weight in [ConvWeightGrad::Cpu, ConvWeightGrad::Swapped] {
            for seed in 0..3 {
                let worst = worst(case, GradOptions { conv_weight }, seed).unwrap();
                assert!(
                    worst < TOLERANCE,
                    "{} ({conv_weight:?}, seed {seed}): off by {worst:.2e}",
                    case.name
                );
            }
        }
    }
}

trait Tables {
    fn concat_cases(&self) -> impl Iterator<Item = &'static Case>;
}

impl<const N: usize> Tables for [&'static [Case]; N] {
    fn concat_cases(&self) -> impl Iterator<Item = &'static Case> {
        self.iter().flat_map(|table| table.iter())
    }
}

/// Both orders of the axes are the same convolution, the same mean and the same pool.
#[test]
fn channels_last_is_the_same_operator() {
    let strided = attrs(2, [1, 2, 0, 1], 1, 1);
    let mut g = Graph::new("t");
    let x = g.input("x", DType::F32, &[2, 7, 6, 3]);
    let w = g.input("w", DType::F32, &[4, 3, 3, 2]);
    let first = g.channels_first(x).unwrap();
    let y = g.conv(first, w, None, strided).unwrap();
    let y = g.average_pool(y, [2, 2], [2, 2]).unwrap();
    let y = g.channels_last(y).unwrap();
    let z = g.conv_last(x, w, None, strided).unwrap();
    let z = g.average_pool_last(z, [2, 2]).unwrap();
    assert_eq!(g.shape(y), g.shape(z));
    g.output("first", y);
    g.output("last", z);
    let mut rng = Pcg64Mcg::seed_from_u64(3);
    let inputs = Values::from([
        ("x".to_string(), random(&[2, 7, 6, 3], &mut rng)),
        ("w".to_string(), random(&[4, 3, 3, 2], &mut rng)),
    ]);
    let outputs = reference::run(&g.to_model(), inputs).unwrap();
    let apart = &outputs["first"] - &outputs["last"];
    assert!(apart.iter().all(|d| d.abs() < 1e-12), "{apart}");
}

/// A checker that passes everything proves nothing: rules that are wrong on purpose must be found.
#[test]
fn the_checker_finds_wrong_rules() {
    let wrong = [
        case("x·stop(x)", &[&[5]], |g, x| {
            let kept = g.stop_gradient(x[0])?;
            g.mul(x[0], kept)
        }),
        case("a floor taken for the identity", &[&[5]], |g, x| g.floor_ste(x[0])),
        case("one operand forgotten", &[&[2, 3], &[3]], |g, x| {
            let kept = g.stop_gradient(x[1])?;
            g.add(x[0], kept)
        }),
    ];
    for case in &wrong {
        let worst = worst(case, GradOptions::default(), 1).unwrap();
        assert!(worst > 1e-2, "{} passes with {worst:.2e}", case.name);
    }
}

#[test]
fn straight_through_and_stopped_values() {
    let mut g = Graph::new("t");
    let x = g.input("x", DType::F32, &[3]);
    let rounded = g.round_ste(x).unwrap();
    let squared = g.mul(rounded, rounded).unwrap();
    let loss = g.reduce_sum(squared, &[0], false).unwrap();
    let gradient = gradients(&mut g, loss, &[x], GradOptions::default()).unwrap()[0];
    g.output("g", gradient);
    let inputs = Values::from([("x".to_string(), ndarray::arr1(&[0.6, -1.2, 2.0]).into_dyn())]);
    let outputs = reference::run(&g.to_model(), inputs).unwrap();
    assert_eq!(outputs["g"], ndarray::arr1(&[2.0, -2.0, 4.0]).into_dyn());
}

#[test]
fn ties_of_a_max_pool_share() {
    let mut g = Graph::new("t");
    let x = g.input("x", DType::F32, &[1, 1, 2, 2]);
    let y = g.max_pool(x, [2, 2], [2, 2]).unwrap();
    let loss = g.reduce_sum(y, &[0, 1, 2, 3], false).unwrap();
    let gradient = gradients(&mut g, loss, &[x], GradOptions::default()).unwrap()[0];
    g.output("g", gradient);
    let image = ArrayD::from_shape_vec(vec![1, 1, 2, 2], vec![1.0, 3.0, 3.0, 0.0]).unwrap();
    let outputs = reference::run(&g.to_model(), Values::from([("x".to_string(), image)])).unwrap();
    assert_eq!(outputs["g"].iter().copied().collect::<Vec<_>>(), [0.0, 0.5, 0.5, 0.0]);
}

#[test]
fn a_value_that_the_loss_does_not_use_has_gradient_zero() {
    let mut g = Graph::new("t");
    let (x, unused) = (g.input("x", DType::F32, &[2]), g.input("u", DType::F32, &[3]));
    let loss = g.reduce_sum(x, &[0], false).unwrap();
    let gradient = gradients(&mut g, loss, &[unused], GradOptions::default()).unwrap()[0];
    assert_eq!(g.shape(gradient), [3]);
    g.output("g", gradient);
    let inputs = Values::from([
        ("x".to_string(), ndarray::arr1(&[1.0, 2.0]).into_dyn()),
        ("u".to_string(), ndarray::arr1(&[0.0; 3]).into_dyn()),
    ]);
    assert_eq!(reference::run(&g.to_model(), inputs).unwrap()["g"], ndarray::arr1(&[0.0; 3]).into_dyn());
}

#[test]
fn errors_name_operator_node_and_shapes() {
    let mut g = Graph::new("t");
    let a = g.input("a", DType::F32, &[2, 3]);
    let b = g.input("b", DType::F32, &[4, 5]);
    let labels = g.input("labels", DType::I64, &[2]);
    g.scope("layer1");
    let told: Vec<(crate::Error, &[&str])> = vec![
        (g.add(a, b).unwrap_err(), &["Add", "layer1", "[2, 3]", "[4, 5]"]),
        (g.matmul(a, b).unwrap_err(), &["MatMul", "[2, 3]", "[4, 5]"]),
        (g.gemm(a, b, None, false, true).unwrap_err(), &["Gemm", "transposed: true"]),
        (g.add(a, labels).unwrap_err(), &["F32", "I64"]),
        (g.reshape(a, &[5]).unwrap_err(), &["Reshape", "[5]"]),
        (g.conv(a, b, None, ConvAttrs::default()).unwrap_err(), &["Conv", "4 axes"]),
        (g.conv_last(a, b, None, attrs(1, [0; 4], 1, 2)).unwrap_err(), &["ConvLast", "no groups"]),
        (g.channel_sums(a).unwrap_err(), &["4 axes", "[2, 3]"]),
        (g.reduce_sum(a, &[2], true).unwrap_err(), &["ReduceSum", "axis 2"]),
        (g.slice(a, &[0], &[9], &[0], &[1]).unwrap_err(), &["Slice", "9"]),
        (g.relu(labels).unwrap_err(), &["Relu", "I64"]),
        (gradients(&mut g, a, &[a], GradOptions::default()).unwrap_err(), &["one float", "[2, 3]"]),
    ];
    for (error, parts) in told {
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text} lacks one of {parts:?}");
    }
}

#[test]
fn an_operator_without_a_rule_is_an_error_that_names_it() {
    let mut g = Graph::new("t");
    let x = g.input("x", DType::F32, &[1, 1, 5, 5]);
    let y = g.max_pool(x, [3, 3], [2, 2]).unwrap();
    let up = g.upsample(x, [2, 2]).unwrap();
    for (y, op) in [(y, "MaxPool"), (up, "Resize")] {
        let loss = g.reduce_sum(y, &[0, 1, 2, 3], false).unwrap();
        let text = gradients(&mut g, loss, &[x], GradOptions::default()).unwrap_err().to_string();
        assert!(text.contains(op), "{text}");
    }
}

#[test]
fn dead_nodes_are_left_out_and_constants_shared() {
    let mut g = Graph::new("t");
    let x = g.input("x", DType::F32, &[2]);
    let (two, again) = (g.scalar(2.0), g.scalar(2.0));
    assert_eq!(two, again);
    let _dead = g.exp(x).unwrap();
    let y = g.mul(x, two).unwrap();
    g.output("y", y);
    g.output("same", y);
    g.output("echo", x);
    let graph = g.to_model().graph.unwrap();
    let ops: Vec<&str> = graph.node.iter().filter_map(|n| n.op_type.as_deref()).collect();
    assert_eq!(ops, ["Mul", "Identity", "Identity"]);
    assert_eq!(graph.initializer.len(), 1);
    assert_eq!(graph.output.len(), 3);
}
