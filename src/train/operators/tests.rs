//! Graphs whose regions are our operators, on ONNX Runtime, against the same graphs in float64 by standard operators.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::graph::{Channels, ConvAttrs, DOMAIN, DType, Expr, GradOptions, Graph, Kernel, gradients};
use crate::onnx::ModelProto;
use crate::runtime::Lookup;
use crate::runtime::ort::SessionOptions;
use crate::train::tensors::{output, session, tensor};
use crate::walk::interpreter::{self, Values};
use ndarray::ArrayD;
use ort::session::SessionInputValue;
use prost::Message;
use rand::RngExt;
use std::borrow::Cow;
use std::collections::BTreeSet;

type Build = for<'g> fn(&[Expr<'g>]) -> Expr<'g>;

/// An expression of inputs, and the kernels that it and its gradients must become.
struct Case {
    about: &'static str,
    shapes: &'static [&'static [usize]],
    build: Build,
    kernels: &'static [Kernel],
}

fn conv<'g>(x: &[Expr<'g>], attrs: ConvAttrs) -> Expr<'g> {
    x[0].conv_last(x[1], x.get(2).copied(), attrs)
}

const CONV: &[Kernel] = &[Kernel::Conv, Kernel::ConvGradImage, Kernel::ConvGradWeight];

const CASES: &[Case] = &[
    Case {
        about: "3x3 with padding and bias",
        shapes: &[&[3, 6, 5, 4], &[20, 4, 3, 3], &[20]],
        build: |x| conv(x, ConvAttrs { pads: [1; 4], ..ConvAttrs::default() }),
        kernels: CONV,
    },
    Case {
        about: "a stride, uneven padding, and rows that it does not reach",
        shapes: &[&[2, 8, 7, 3], &[5, 3, 3, 2]],
        build: |x| conv(x, ConvAttrs { strides: [2, 3], pads: [1, 0, 1, 0], ..ConvAttrs::default() }),
        kernels: CONV,
    },
    Case {
        about: "a stride that leaves phases without taps",
        shapes: &[&[2, 5, 6, 2], &[17, 2, 1, 1]],
        build: |x| conv(x, ConvAttrs { strides: [2, 2], ..ConvAttrs::default() }),
        kernels: CONV,
    },
    Case {
        about: "dilation, with and without a stride",
        shapes: &[&[2, 9, 9, 3], &[4, 3, 3, 3]],
        build: |x| {
            let dilated = ConvAttrs { dilations: [2, 3], pads: [2; 4], ..ConvAttrs::default() };
            conv(x, dilated).squared().total() + conv(x, ConvAttrs { strides: [3, 2], ..dilated }).total()
        },
        kernels: CONV,
    },
    Case {
        about: "one channel, and more images than parts of a batch",
        shapes: &[&[19, 5, 5, 1], &[16, 1, 3, 3], &[16]],
        build: |x| conv(x, ConvAttrs { pads: [1; 4], ..ConvAttrs::default() }).relu(),
        kernels: &[Kernel::Conv, Kernel::ConvGradImage, Kernel::ConvGradWeight, Kernel::ReluGrad],
    },
    Case {
        about: "normalisation of images and of rows",
        shapes: &[&[3, 4, 2, 5], &[5], &[5]],
        build: |x| {
            let images = x[0].batch_norm(x[1], x[2], 1e-3, Channels::Last);
            let rows = x[0].reshape(&[24, 5]).batch_norm(x[1], x[2], 1e-3, Channels::First);
            let statistics = (images.mean * images.var).stop_gradient();
            images.y.squared() * statistics + rows.y.reshape(&[3, 4, 2, 5])
        },
        kernels: &[Kernel::BatchNorm, Kernel::BatchNormGrad],
    },
    Case {
        about: "a residual block: normalisation, sum and ReLU at once",
        shapes: &[&[2, 4, 4, 16], &[16, 16, 3, 3], &[16], &[16]],
        build: |x| {
            let attrs = ConvAttrs { pads: [1; 4], ..ConvAttrs::default() };
            let inner =
                x[0].conv_last(x[1], None, attrs).batch_norm(x[2], x[3], 1e-3, Channels::Last).y.relu();
            let outer = inner.conv_last(x[1], None, attrs).batch_norm(x[2], x[3], 1e-3, Channels::Last).y;
            let short = x[0].batch_norm(x[3], x[2], 1e-3, Channels::Last).y;
            (outer + short).relu()
        },
        kernels: &[
            Kernel::Conv,
            Kernel::ConvGradImage,
            Kernel::ConvGradWeight,
            Kernel::BatchNorm,
            Kernel::BatchNormGrad,
        ],
    },
    Case {
        about: "ReLU whose result others use too",
        shapes: &[&[2, 3, 3, 4], &[4], &[4]],
        build: |x| {
            let y = x[0].batch_norm(x[1], x[2], 1e-3, Channels::Last).y;
            (y.relu() + x[0]).relu() * y
        },
        kernels: &[Kernel::BatchNorm, Kernel::BatchNormGrad, Kernel::ReluGrad],
    },
    Case {
        about: "pools after ReLU, with a row too much",
        shapes: &[&[3, 5, 4, 18], &[3, 3, 2, 7]],
        build: |x| x[0].relu().max_pool_last([2, 2]).total() + x[1].max_pool_last([3, 1]).squared().total(),
        kernels: &[Kernel::MaxPool, Kernel::MaxPoolGrad],
    },
];

/// The expression's sum by random weights, and its gradients.
fn model(case: &Case, g: &Graph) -> (ModelProto, Vec<String>, Vec<usize>) {
    let inputs: Vec<Expr> =
        case.shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), DType::F32, s)).collect();
    let y = (case.build)(&inputs);
    let loss = (y * g.input("weight", DType::F32, &y.shape())).total();
    let mut names = vec!["y".to_string()];
    g.output("y", y);
    for (i, gradient) in gradients(loss, &inputs, GradOptions::default()).into_iter().enumerate() {
        names.push(format!("g{i}"));
        g.output(&names[i + 1], gradient);
    }
    (g.to_model().expect(case.about), names, y.shape())
}

fn kernels_of(model: &ModelProto) -> BTreeSet<String> {
    let nodes = &model.graph.as_ref().unwrap().node;
    nodes.iter().filter(|node| node.domain() == DOMAIN).map(|node| node.op_type().to_string()).collect()
}

#[test]
fn kernels_compute_what_their_regions_do() {
    let mut rng = crate::model::seeded(3, "kernels");
    for case in CASES {
        let (plain, names, result) = model(case, &Graph::new(case.about));
        let (own, ..) = model(case, &Graph::for_kernels(case.about));
        assert!(kernels_of(&plain).is_empty());
        let expected: BTreeSet<String> =
            case.kernels.iter().map(|kernel| kernel.name().to_string()).collect();
        assert_eq!(kernels_of(&own), expected, "{}", case.about);

        let mut given = Values::<f32>::new();
        for input in &plain.graph.as_ref().unwrap().input {
            let shape = match input.name() {
                "weight" => &result[..],
                name => case.shapes[name[1..].parse::<usize>().unwrap()],
            };
            // Sixteenths: equal ones in a window are not rare.
            let draw = || f32::from(rng.random_range(-24i8..24)) / 16.0;
            given.insert(input.name().into(), ArrayD::from_shape_simple_fn(shape, draw));
        }
        let wide = given.iter().map(|(name, data)| (name.clone(), data.mapv(f64::from)));
        let exact = interpreter::run(&plain, wide.collect()).unwrap();
        let found = run_by(1, &own, &given, &names);
        for (name, found) in names.iter().zip(&found) {
            let largest = exact[name].iter().fold(1.0, |m: f64, x| m.max(x.abs()));
            for (i, (a, b)) in found.iter().zip(&exact[name]).enumerate() {
                let difference = (f64::from(*a) - b).abs();
                assert!(difference <= 1e-5 * largest, "{}: {name}[{i}] is {a}, not {b}", case.about);
            }
        }
        let bits = |all: Vec<Vec<f32>>| all.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(found), bits(run_by(3, &own, &given, &names)), "{} by three threads", case.about);
    }
}

/// What a graph gives on ONNX Runtime.
fn run_by(threads: usize, model: &ModelProto, given: &Values<f32>, names: &[String]) -> Vec<Vec<f32>> {
    let options = SessionOptions { threads, kernels: true, ..SessionOptions::default() };
    let mut session = session(&model.encode_to_vec(), &Lookup::default(), &options).unwrap();
    let value = |(name, data): (&String, &ArrayD<f32>)| {
        let value = tensor(data.shape().to_vec(), data.iter().copied().collect()).unwrap();
        (Cow::Owned(name.clone()), SessionInputValue::from(value))
    };
    let feed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = given.iter().map(value).collect();
    let outputs = session.run(feed).unwrap();
    names.iter().map(|name| output(&outputs, name).unwrap().to_vec()).collect()
}
