//! Every derivative rule against central differences in float64, along random directions; and what the
//! graph does with operands that do not fit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::builder::Composite;
use super::vjp::{Derivative, Differentiable};
use super::*;
use crate::Result;
use crate::onnx::{ModelProto, Operator};
use crate::walk::interpreter::{self, Values};
use ndarray::ArrayD;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

type Build = for<'g> fn(&[Expr<'g>]) -> Expr<'g>;

/// A rule under test: shapes of the inputs that are differentiated, and an expression of them.
struct Case {
    op: Differentiable,
    about: &'static str,
    shapes: &'static [&'static [usize]],
    build: Build,
}

const fn case(op: Operator, about: &'static str, shapes: &'static [&'static [usize]], build: Build) -> Case {
    Case { op: Differentiable::Standard(op), about, shapes, build }
}

const fn composite(
    op: Composite,
    about: &'static str,
    shapes: &'static [&'static [usize]],
    build: Build,
) -> Case {
    Case { op: Differentiable::Composite(op), about, shapes, build }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.op, self.about)
    }
}

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

/// `loss = Σ weight·f(inputs)` and its gradients, as a model.
fn model(case: &Case, how: GradOptions) -> Result<(ModelProto, Vec<usize>)> {
    let g = Graph::new(case.about);
    let inputs: Vec<Expr> =
        case.shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), DType::F32, s)).collect();
    let y = (case.build)(&inputs);
    assert!(g.state.borrow().nodes.iter().any(|node| Differentiable::of(node) == case.op), "{case}");
    let loss = (y * g.input("weight", DType::F32, &y.shape())).total();
    for (i, gradient) in gradients(loss, &inputs, how).into_iter().enumerate() {
        assert_eq!(gradient.shape(), case.shapes[i], "{case}");
        g.output(&format!("g{i}"), gradient);
    }
    g.output("loss", loss);
    Ok((g.to_model()?, y.shape()))
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
    let outputs = interpreter::run(&model, inputs.clone())?;
    let mut worst = 0.0f64;
    for _ in 0..4 {
        let directions: Vec<ArrayD<f64>> = case.shapes.iter().map(|s| random(s, &mut rng)).collect();
        let moved = |by: f64| -> Result<f64> {
            let mut at = inputs.clone();
            for (i, direction) in directions.iter().enumerate() {
                let x = at.get_mut(&format!("x{i}")).unwrap();
                *x = &*x + &(direction * by);
            }
            Ok(interpreter::run(&model, at)?["loss"].sum())
        };
        let difference = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
        let slope: f64 =
            directions.iter().enumerate().map(|(i, d)| (d * &outputs[&format!("g{i}")]).sum()).sum();
        worst = worst.max((slope - difference).abs() / slope.abs().max(difference.abs()).max(1.0));
    }
    Ok(worst)
}

fn positive(x: Expr<'_>) -> Expr<'_> {
    x.squared() + 0.5
}

fn attrs(strides: usize, pads: [usize; 4], dilations: usize, groups: usize) -> ConvAttrs {
    ConvAttrs { strides: [strides; 2], pads, dilations: [dilations; 2], groups }
}

const ELEMENTWISE: &[Case] = &[
    case(Operator::Abs, "", &[&[7]], |x| x[0].abs()),
    case(Operator::Add, "equal shapes", &[&[2, 3], &[2, 3]], |x| x[0] + x[1]),
    case(Operator::Add, "broadcast", &[&[2, 3, 4], &[3, 1]], |x| x[0] + x[1]),
    case(Operator::Cast, "there and back", &[&[4]], |x| x[0].cast(DType::F64).squared().cast(DType::F32)),
    case(Operator::Clip, "", &[&[9]], |x| x[0].clip(-0.7, 0.9)),
    case(Operator::Cos, "", &[&[6]], |x| x[0].cos()),
    case(Operator::Div, "", &[&[2, 3], &[1, 3]], |x| x[0] / x[1]),
    case(Operator::Div, "of a number", &[&[5]], |x| 3.0 / x[0]),
    case(Operator::Elu, "", &[&[9]], |x| x[0].elu(1.0)),
    case(Operator::Elu, "steeper below", &[&[9]], |x| x[0].elu(1.7)),
    case(Operator::Erf, "", &[&[6]], |x| x[0].erf()),
    case(Operator::Exp, "", &[&[6]], |x| x[0].exp()),
    case(Operator::HardSigmoid, "", &[&[2, 9]], |x| x[0].hard_sigmoid(0.6, 0.4)),
    case(Operator::Identity, "", &[&[4]], |x| x[0].identity()),
    case(Operator::LeakyRelu, "", &[&[3, 5]], |x| x[0].leaky_relu(0.3)),
    case(Operator::Log, "", &[&[6]], |x| positive(x[0]).log()),
    case(Operator::Max, "", &[&[3, 5], &[5]], |x| x[0].max(x[1])),
    case(Operator::Min, "", &[&[3, 5], &[3, 1]], |x| x[0].min(x[1])),
    case(Operator::Mul, "", &[&[2, 3], &[2, 1]], |x| x[0] * x[1]),
    case(Operator::Mul, "by itself", &[&[5]], |x| x[0] * x[0]),
    case(Operator::Mul, "by a scalar", &[&[2, 3], &[]], |x| x[0] * x[1]),
    case(Operator::Mul, "a factor of each channel", &[&[2, 3, 2, 4], &[4]], |x| x[0] * x[1]),
    case(Operator::Neg, "", &[&[4]], |x| -x[0]),
    case(Operator::Pow, "", &[&[6]], |x| positive(x[0]).pow(2.5)),
    case(Operator::Pow, "the exponent too", &[&[2, 6], &[6]], |x| positive(x[0]).pow(x[1])),
    case(Operator::PRelu, "", &[&[2, 3, 4, 2], &[3, 1, 1]], |x| x[0].p_relu(x[1])),
    case(Operator::PRelu, "a slope an element", &[&[2, 9], &[2, 9]], |x| x[0].p_relu(x[1])),
    case(Operator::Reciprocal, "", &[&[6]], |x| x[0].reciprocal()),
    case(Operator::Relu, "", &[&[3, 5]], |x| x[0].relu()),
    case(Operator::Sigmoid, "", &[&[6]], |x| x[0].sigmoid()),
    case(Operator::Sigmoid, "of float64", &[&[6]], |x| x[0].cast(DType::F64).sigmoid().cast(DType::F32)),
    case(Operator::Sin, "", &[&[6]], |x| x[0].sin()),
    case(Operator::Softplus, "", &[&[6]], |x| x[0].softplus()),
    case(Operator::Sqrt, "", &[&[6]], |x| positive(x[0]).sqrt()),
    case(Operator::Sub, "", &[&[2, 3], &[3]], |x| x[0] - x[1]),
    case(Operator::Sub, "from a row", &[&[1, 3], &[4, 1]], |x| x[0] - x[1]),
    case(Operator::Tanh, "", &[&[6]], |x| x[0].tanh()),
    case(Operator::Where, "", &[&[3, 4], &[4]], |x| x[0].less(x[1]).where_(x[0], x[1])),
];

const REDUCE: &[Case] = &[
    case(Operator::LogSoftmax, "", &[&[3, 5]], |x| x[0].log_softmax(1)),
    case(Operator::ReduceL2, "", &[&[2, 3, 4]], |x| x[0].length_kept(&[0, 2])),
    case(Operator::ReduceMax, "", &[&[2, 3, 4]], |x| x[0].amax(&[1, 2])),
    case(Operator::ReduceMax, "kept", &[&[2, 3, 4]], |x| x[0].amax_kept(&[1])),
    case(Operator::ReduceMean, "", &[&[2, 3, 4]], |x| x[0].mean(&[1])),
    case(Operator::ReduceMean, "batch statistics", &[&[4, 3, 2, 2]], |x| {
        let centred = x[0] - x[0].mean_kept(&[0, 2, 3]);
        centred / centred.squared().mean_kept(&[0, 2, 3]).sqrt()
    }),
    case(Operator::ReduceSum, "", &[&[2, 3, 4]], |x| x[0].sum(&[0, 2])),
    case(Operator::ReduceSum, "kept", &[&[2, 3, 4]], |x| x[0].sum_kept(&[-1])),
    case(Operator::ReduceSum, "unit length", &[&[3, 5]], |x| x[0] / x[0].squared().sum_kept(&[1]).sqrt()),
    case(Operator::Softmax, "", &[&[3, 5]], |x| x[0].softmax(-1)),
    case(Operator::Softmax, "first axis", &[&[3, 5]], |x| x[0].softmax(0)),
];

const LAYOUT: &[Case] = &[
    case(Operator::Concat, "", &[&[2, 3], &[2, 1], &[2, 2]], |x| x[0].graph().concat(x, 1)),
    case(Operator::Expand, "", &[&[3, 1]], |x| x[0].expand(&[2, 3, 4])),
    case(Operator::Flatten, "", &[&[2, 3, 4]], |x| x[0].flatten(2)),
    case(Operator::Gather, "", &[&[4, 3]], |x| x[0].gather(x[0].graph().ints(&[2, 0, 2]), 0)),
    case(Operator::Gather, "in the middle", &[&[2, 4, 3]], |x| {
        x[0].gather(x[0].graph().ints(&[3, 1, 1, 0, 2]), 1)
    }),
    case(Operator::Pad, "", &[&[2, 3]], |x| x[0].pad(&[1, 0, 0, 2], 0.5)),
    case(Operator::Reshape, "", &[&[2, 6]], |x| x[0].reshape(&[3, 4])),
    case(Operator::Slice, "", &[&[5, 6]], |x| x[0].slice(&[1, 2], &[4, 6], &[0, 1], &[1, 1])),
    case(Operator::Slice, "by steps", &[&[5, 7]], |x| x[0].slice(&[0, 1], &[5, 7], &[0, 1], &[2, 3])),
    case(Operator::Slice, "by a step that ends early", &[&[8]], |x| x[0].slice(&[1], &[6], &[0], &[3])),
    case(Operator::Transpose, "", &[&[2, 3, 4]], |x| x[0].transpose(&[2, 0, 1])),
];

const LINEAR: &[Case] = &[
    case(Operator::Conv, "valid", &[&[2, 3, 6, 5], &[4, 3, 3, 2], &[4]], |x| {
        x[0].conv(x[1], Some(x[2]), ConvAttrs::default())
    }),
    case(Operator::Conv, "same", &[&[2, 2, 5, 6], &[3, 2, 3, 3]], |x| {
        x[0].conv(x[1], None, attrs(1, [1; 4], 1, 1))
    }),
    case(Operator::Conv, "even kernel, same", &[&[1, 2, 5, 5], &[2, 2, 4, 4]], |x| {
        x[0].conv(x[1], None, attrs(1, [1, 1, 2, 2], 1, 1))
    }),
    case(Operator::Conv, "stride 2", &[&[2, 2, 7, 8], &[3, 2, 3, 3]], |x| {
        x[0].conv(x[1], None, attrs(2, [1; 4], 1, 1))
    }),
    case(Operator::Conv, "stride 3, rows unreached", &[&[1, 2, 9, 8], &[2, 2, 2, 2]], |x| {
        x[0].conv(x[1], None, attrs(3, [0; 4], 1, 1))
    }),
    case(Operator::Conv, "dilated", &[&[1, 2, 8, 7], &[2, 2, 3, 3]], |x| {
        x[0].conv(x[1], None, attrs(1, [2; 4], 2, 1))
    }),
    case(Operator::Conv, "dilated and strided", &[&[1, 1, 9, 9], &[2, 1, 3, 3]], |x| {
        x[0].conv(x[1], None, attrs(2, [1; 4], 2, 1))
    }),
    case(Operator::Conv, "grouped", &[&[2, 4, 5, 5], &[6, 2, 3, 3]], |x| {
        x[0].conv(x[1], None, attrs(1, [1; 4], 1, 2))
    }),
    case(Operator::Conv, "a channel a group, stride 2", &[&[1, 3, 6, 6], &[3, 1, 3, 3]], |x| {
        x[0].conv(x[1], None, attrs(2, [1; 4], 1, 3))
    }),
    case(Operator::Conv, "many channels", &[&[2, 32, 4, 5], &[3, 32, 3, 2], &[3]], |x| {
        x[0].conv(x[1], Some(x[2]), attrs(2, [1, 0, 1, 0], 1, 1))
    }),
    case(Operator::Conv, "a channel a group, dilated, uneven", &[&[2, 3, 7, 6], &[3, 1, 2, 3]], |x| {
        x[0].conv(x[1], None, ConvAttrs { strides: [1, 2], pads: [1, 2, 1, 2], dilations: [2, 1], groups: 3 })
    }),
    case(Operator::MatMul, "a channel a group, small maps", &[&[2, 3, 4, 5], &[3, 1, 3, 2], &[3]], |x| {
        x[0].conv_of_small_maps(x[1], Some(x[2]), attrs(2, [1, 0, 2, 1], 1, 3))
    }),
    case(Operator::Conv, "1x1, sums larger than images", &[&[2, 5, 1, 2], &[7, 5, 1, 1]], |x| {
        x[0].conv(x[1], None, attrs(1, [0; 4], 1, 1))
    }),
    case(Operator::Conv, "1x1, images larger than sums", &[&[2, 3, 4, 4], &[2, 3, 1, 1]], |x| {
        x[0].conv(x[1], None, attrs(1, [0; 4], 1, 1))
    }),
    case(Operator::Conv, "1x1", &[&[2, 3, 4, 4], &[2, 3, 1, 1]], |x| {
        x[0].conv(x[1], None, attrs(2, [0; 4], 1, 1))
    }),
    case(Operator::Gemm, "", &[&[3, 4], &[4, 5], &[5]], |x| x[0].gemm(x[1], Some(x[2]), [false, false])),
    case(Operator::Gemm, "first turned", &[&[4, 3], &[4, 5]], |x| x[0].gemm(x[1], None, [true, false])),
    case(Operator::Gemm, "second turned", &[&[3, 4], &[5, 4], &[3, 1]], |x| x[0].linear(x[1], Some(x[2]))),
    case(Operator::Gemm, "both turned", &[&[4, 3], &[5, 4]], |x| x[0].gemm(x[1], None, [true, true])),
    case(Operator::MatMul, "", &[&[3, 4], &[4, 5]], |x| x[0].matmul(x[1])),
    case(Operator::MatMul, "batched", &[&[2, 3, 4], &[2, 4, 5]], |x| x[0].matmul(x[1])),
    case(Operator::MatMul, "broadcast", &[&[3, 4], &[2, 4, 5]], |x| x[0].matmul(x[1])),
    case(Operator::MatMul, "of many by one", &[&[2, 3, 2, 4], &[4, 5]], |x| x[0].matmul(x[1])),
];

const LAST: &[Case] = &[
    composite(Composite::ChannelSums, "", &[&[2, 3, 2, 4]], |x| x[0].channel_sums()),
    composite(Composite::ConvLast, "valid", &[&[2, 6, 5, 3], &[4, 3, 3, 2], &[4]], |x| {
        x[0].conv_last(x[1], Some(x[2]), ConvAttrs::default())
    }),
    composite(Composite::ConvLast, "same", &[&[2, 5, 6, 2], &[3, 2, 3, 3]], |x| {
        x[0].conv_last(x[1], None, attrs(1, [1; 4], 1, 1))
    }),
    composite(Composite::ConvLast, "even kernel, same", &[&[1, 5, 5, 2], &[2, 2, 4, 4]], |x| {
        x[0].conv_last(x[1], None, attrs(1, [1, 1, 2, 2], 1, 1))
    }),
    composite(Composite::ConvLast, "more padding than the kernel", &[&[1, 4, 3, 2], &[2, 2, 2, 2]], |x| {
        x[0].conv_last(x[1], None, attrs(1, [3, 0, 2, 4], 1, 1))
    }),
    composite(Composite::ConvLast, "stride 2", &[&[2, 7, 8, 2], &[3, 2, 3, 3]], |x| {
        x[0].conv_last(x[1], None, attrs(2, [1; 4], 1, 1))
    }),
    composite(Composite::ConvLast, "stride 2, uneven", &[&[1, 8, 8, 2], &[3, 2, 3, 3], &[3]], |x| {
        x[0].conv_last(x[1], Some(x[2]), attrs(2, [0, 0, 1, 1], 1, 1))
    }),
    composite(Composite::ConvLast, "stride 3, rows unreached", &[&[1, 9, 8, 2], &[2, 2, 2, 2]], |x| {
        x[0].conv_last(x[1], None, attrs(3, [0; 4], 1, 1))
    }),
    composite(Composite::ConvLast, "dilated and strided", &[&[1, 9, 9, 1], &[2, 1, 3, 3]], |x| {
        x[0].conv_last(x[1], None, attrs(2, [1; 4], 2, 1))
    }),
    composite(Composite::ConvLast, "1x1", &[&[2, 4, 4, 3], &[2, 3, 1, 1]], |x| {
        x[0].conv_last(x[1], None, attrs(1, [0; 4], 1, 1))
    }),
    composite(Composite::ConvLast, "1x1, stride 2", &[&[2, 5, 4, 3], &[2, 3, 1, 1]], |x| {
        x[0].conv_last(x[1], None, attrs(2, [0; 4], 1, 1))
    }),
];

const NORM: &[Case] = &[
    composite(Composite::BatchNorm, "", &[&[4, 3, 2, 2], &[3, 1, 1], &[3, 1, 1]], |x| {
        x[0].batch_norm(x[1], x[2], 1e-3, Channels::First).y
    }),
    composite(Composite::BatchNorm, "channels last", &[&[4, 2, 2, 3], &[3], &[3]], |x| {
        x[0].batch_norm(x[1], x[2], 1e-3, Channels::Last).y
    }),
    composite(Composite::BatchNorm, "of vectors", &[&[5, 3], &[3], &[3]], |x| {
        x[0].batch_norm(x[1], x[2], 1e-3, Channels::Last).y
    }),
    composite(Composite::LayerNorm, "", &[&[2, 3, 5], &[5], &[5]], |x| x[0].layer_norm(x[1], x[2], 1e-3, 2)),
    composite(Composite::LayerNorm, "over two axes", &[&[2, 3, 4], &[3, 4], &[4]], |x| {
        x[0].layer_norm(x[1], x[2], 1e-3, 1)
    }),
];

const POOL: &[Case] = &[
    case(Operator::AveragePool, "", &[&[2, 2, 4, 6]], |x| x[0].average_pool([2, 2], [2, 2])),
    case(Operator::AveragePool, "odd size", &[&[1, 2, 8, 5]], |x| x[0].average_pool([3, 3], [3, 3])),
    case(Operator::AveragePool, "windows that overlap", &[&[2, 2, 7, 6]], |x| {
        x[0].average_pool([3, 2], [2, 1])
    }),
    case(Operator::AveragePool, "windows with gaps", &[&[1, 2, 8, 9]], |x| x[0].average_pool([2, 1], [3, 4])),
    case(Operator::MaxPool, "", &[&[2, 2, 4, 6]], |x| x[0].max_pool([2, 2], [2, 2])),
    case(Operator::MaxPool, "windows that overlap", &[&[2, 2, 7, 8]], |x| x[0].max_pool([3, 3], [2, 2])),
    case(Operator::MaxPool, "windows side by side", &[&[1, 2, 5, 6]], |x| x[0].max_pool([2, 3], [1, 1])),
    case(Operator::MaxPool, "windows with gaps", &[&[1, 2, 8, 9]], |x| x[0].max_pool([2, 1], [3, 4])),
    case(Operator::Resize, "", &[&[1, 2, 3, 2]], |x| x[0].upsample([2, 3])),
    case(Operator::MaxPool, "odd size", &[&[1, 2, 7, 5]], |x| x[0].max_pool([2, 2], [2, 2])),
    case(Operator::MaxPool, "3x2", &[&[1, 2, 7, 5]], |x| x[0].max_pool([3, 2], [3, 2])),
    composite(Composite::MaxPoolLast, "odd size", &[&[2, 5, 7, 2]], |x| x[0].max_pool_last([2, 3])),
    case(Operator::ReduceMean, "pool, channels last", &[&[2, 4, 6, 2]], |x| x[0].average_pool_last([2, 2])),
    case(Operator::ReduceMean, "pool, channels last, odd size", &[&[1, 8, 5, 2]], |x| {
        x[0].average_pool_last([3, 3])
    }),
];

fn cases() -> impl Iterator<Item = &'static Case> {
    [ELEMENTWISE, REDUCE, LAYOUT, LINEAR, LAST, NORM, POOL].into_iter().flatten()
}

#[test]
fn every_rule_agrees_with_central_differences() {
    for case in cases() {
        for conv_weight in [ConvWeightGrad::Cpu, ConvWeightGrad::Swapped] {
            for seed in 0..3 {
                let worst = worst(case, GradOptions { conv_weight }, seed).unwrap();
                assert!(worst < TOLERANCE, "{case} ({conv_weight:?}, seed {seed}): off by {worst:.2e}");
            }
        }
    }
}

/// And what has none is not in the tables above.
#[test]
fn every_rule_has_a_case() {
    let standard = Operator::ALL.iter().map(|op| Differentiable::Standard(*op));
    for op in standard.chain(Composite::ALL.map(Differentiable::Composite)) {
        let has_rule = !matches!(op.derivative(), Derivative::Nowhere | Derivative::Unwritten);
        assert_eq!(cases().any(|case| case.op == op), has_rule, "{op}");
    }
}

/// Both orders of the axes are the same convolution, the same mean and the same pool.
#[test]
fn channels_last_is_the_same_operator() {
    let strided = attrs(2, [1, 2, 0, 1], 1, 1);
    let g = Graph::new("t");
    let x = g.input("x", DType::F32, &[2, 7, 6, 3]);
    let w = g.input("w", DType::F32, &[4, 3, 3, 2]);
    let y = x.channels_first().conv(w, None, strided).average_pool([2, 2], [2, 2]).channels_last();
    let z = x.conv_last(w, None, strided).average_pool_last([2, 2]);
    assert_eq!(y.shape(), z.shape());
    g.output("first", y);
    g.output("last", z);
    let mut rng = Pcg64Mcg::seed_from_u64(3);
    let inputs = Values::from([
        ("x".to_string(), random(&[2, 7, 6, 3], &mut rng)),
        ("w".to_string(), random(&[4, 3, 3, 2], &mut rng)),
    ]);
    let outputs = interpreter::run(&g.to_model().unwrap(), inputs).unwrap();
    let apart = &outputs["first"] - &outputs["last"];
    assert!(apart.iter().all(|d| d.abs() < 1e-12), "{apart}");
}

/// A convolution as products is the same one.
#[test]
fn small_maps_are_convolved_the_same() {
    let g = Graph::new("t");
    let (x, w) = (g.input("x", DType::F32, &[2, 3, 4, 5]), g.input("w", DType::F32, &[3, 1, 3, 2]));
    for (i, how) in [attrs(1, [1; 4], 1, 3), attrs(2, [0, 1, 2, 1], 1, 3), attrs(1, [2, 1, 2, 1], 2, 3)]
        .iter()
        .enumerate()
    {
        g.output(&format!("apart{i}"), x.conv(w, None, *how) - x.conv_of_small_maps(w, None, *how));
    }
    let mut rng = Pcg64Mcg::seed_from_u64(4);
    let inputs = Values::from([
        ("x".to_string(), random(&[2, 3, 4, 5], &mut rng)),
        ("w".to_string(), random(&[3, 1, 3, 2], &mut rng)),
    ]);
    for (name, apart) in interpreter::run(&g.to_model().unwrap(), inputs).unwrap() {
        assert!(apart.iter().all(|d| d.abs() < 1e-12), "{name}: {apart}");
    }
}

/// A checker that passes everything proves nothing: rules that are wrong on purpose must be found.
#[test]
fn the_checker_finds_wrong_rules() {
    let wrong = [
        case(Operator::Mul, "x·stop(x)", &[&[5]], |x| x[0] * x[0].stop_gradient()),
        case(Operator::Floor, "taken for the identity", &[&[5]], |x| x[0].floor_ste()),
        case(Operator::Add, "one operand forgotten", &[&[2, 3], &[3]], |x| x[0] + x[1].stop_gradient()),
    ];
    for case in &wrong {
        let worst = worst(case, GradOptions::default(), 1).unwrap();
        assert!(worst > 1e-2, "{case} passes with {worst:.2e}");
    }
}

/// The gradient of a sum with respect to its one input `x`.
fn gradient(x: ArrayD<f64>, build: impl FnOnce(Expr<'_>) -> Expr<'_>) -> Vec<f64> {
    let g = Graph::new("t");
    let input = g.input("x", DType::F32, x.shape());
    g.output("g", gradients(build(input).total(), &[input], GradOptions::default())[0]);
    let outputs = interpreter::run(&g.to_model().unwrap(), Values::from([("x".to_string(), x)])).unwrap();
    outputs["g"].iter().copied().collect()
}

#[test]
fn derivatives_pass_a_rounding_straight_through() {
    let x = ndarray::arr1(&[0.6, -1.2, 2.0]).into_dyn();
    assert_eq!(gradient(x, |x| x.round_ste().squared()), [2.0, -2.0, 4.0]);
}

#[test]
fn ties_of_a_max_pool_share() {
    let image = ArrayD::from_shape_vec(vec![1, 1, 2, 2], vec![1.0, 3.0, 3.0, 0.0]).unwrap();
    assert_eq!(gradient(image, |x| x.max_pool([2, 2], [2, 2])), [0.0, 0.5, 0.5, 0.0]);
}

#[test]
fn a_value_that_the_loss_does_not_use_has_gradient_zero() {
    let x = ndarray::arr1(&[1.0, 2.0]).into_dyn();
    assert_eq!(gradient(x.clone(), |x| x.stop_gradient()), [0.0, 0.0]);
    assert_eq!(gradient(x, |x| x.floor()), [0.0, 0.0]);
}

/// What is built of `a: [2, 3]`, `b: [4, 5]` and `labels: int64 [2]`.
type Misfit = for<'g> fn(Expr<'g>, Expr<'g>, Expr<'g>) -> Expr<'g>;

#[test]
fn errors_name_operator_node_and_shapes() {
    let misfits: &[(Misfit, &[&str])] = &[
        (|a, b, _| a + b, &["Add", "layer1/Add_0", "[2, 3]", "[4, 5]"]),
        (|a, b, _| a.relu().matmul(b), &["MatMul", "layer1/MatMul_1", "[2, 3]", "[4, 5]"]),
        (|a, b, _| a.linear(b, None), &["Gemm", "transposed: true"]),
        (|a, _, labels| a + labels, &["F32", "I64"]),
        (|a, _, _| a.reshape(&[5]), &["Reshape", "[5]"]),
        (|a, b, _| a.conv(b, None, ConvAttrs::default()), &["Conv", "4 axes"]),
        (
            |a, _, _| a.reshape(&[1, 1, 2, 3]).conv(a.reshape(&[1, 1, 3, 2]), None, attrs(0, [1; 4], 1, 1)),
            &["is 0"],
        ),
        (|a, b, _| a.conv_last(b, None, attrs(1, [0; 4], 1, 2)), &["ConvLast", "no groups"]),
        (|a, _, _| a.channel_sums(), &["4 axes", "[2, 3]"]),
        (|a, _, _| a.sum_kept(&[2]), &["ReduceSum", "axis 2"]),
        (|a, _, _| a.slice(&[0], &[9], &[0], &[1]), &["Slice", "9"]),
        (|_, _, labels| labels.relu(), &["Relu", "I64"]),
        (|a, _, _| a * (a.dim(7) as f32), &["axis 7", "[2, 3]"]),
        (|a, _, _| a.gather(a, 0), &["Gather", "F32"]),
        (|a, _, _| gradients(a, &[a], GradOptions::default())[0], &["one float", "[2, 3]"]),
    ];
    for (build, parts) in misfits {
        let g = Graph::new("t");
        let a = g.input("a", DType::F32, &[2, 3]);
        let b = g.input("b", DType::F32, &[4, 5]);
        let labels = g.input("labels", DType::I64, &[2]);
        g.output("y", g.within("layer1", || build(a, b, labels)));
        let text = g.to_model().unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text} lacks one of {parts:?}");
    }
}

/// After a fault every operator computes nothing, whatever it is given, and the first fault is the one told.
#[test]
fn the_first_fault_is_kept_and_nothing_follows_it() {
    let g = Graph::new("t");
    let x = g.input("x", DType::F32, &[2, 3]);
    let (w, bad) = (g.input("w", DType::F32, &[3, 3, 3, 3]), x.reshape(&[7]));
    assert_eq!((bad.shape(), bad.dim(9), bad.count(), bad.dtype()), (vec![], 1, 1, DType::F32));
    let nodes = g.state.borrow().nodes.len();
    let y = bad.conv_last(w, None, attrs(2, [0; 4], 1, 1)).batch_norm(x, x, 0.1, Channels::Last).y;
    let z = g.concat(&[y, bad.turned(), !bad.narrow(3, 5..9)], 8).average_pool_last([0, 0]) / 2.0;
    let z = z + bad.columns([0, 0], ConvAttrs::default()) + x.gather(x, 5).upsample([9, 9]);
    let all = gradients(z.total(), &[x, w, bad], GradOptions::default());
    g.output("y", all[0]);
    assert_eq!(g.state.borrow().nodes.len(), nodes);
    for error in [g.check().unwrap_err(), g.to_model().unwrap_err(), g.to_model_batched("N").unwrap_err()] {
        assert!(error.to_string().contains("[2, 3] does not fill [7]"), "{error}");
    }
}

#[test]
fn values_of_two_graphs_do_not_mix() {
    let (g, other) = (Graph::new("t"), Graph::new("other"));
    g.output("y", g.scalar(1.0) + other.scalar(2.0));
    assert!(g.to_model().unwrap_err().to_string().contains("another graph"));
}

#[test]
fn an_operator_without_a_rule_is_an_error_that_names_it() {
    let g = Graph::new("t");
    let x = g.input("x", DType::F32, &[2, 2]);
    gradients(x.unary(Operator::Softsign).total(), &[x], GradOptions::default());
    let text = g.check().unwrap_err().to_string();
    assert!(text.contains("Softsign (Softsign_0): has no derivative rule"), "{text}");
}

#[test]
fn dead_nodes_are_left_out_and_constants_shared() {
    let g = Graph::new("t");
    let x = g.input("x", DType::F32, &[2]);
    assert_eq!(g.scalar(2.0), g.scalar(2.0));
    let _dead = x.exp();
    let y = x * 2.0;
    g.output("y", y);
    g.output("same", y);
    g.output("echo", x);
    let graph = g.to_model().unwrap().graph.unwrap();
    let ops: Vec<&str> = graph.node.iter().filter_map(|n| n.op_type.as_deref()).collect();
    assert_eq!(ops, ["Mul", "Identity", "Identity"]);
    assert_eq!(graph.initializer.len(), 1);
    assert_eq!(graph.output.len(), 3);
}
