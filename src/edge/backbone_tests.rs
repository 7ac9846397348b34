//! What backbones are made of, on random graphs against the float64 interpreter, with every set of kernels.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::tests::{images, lowered, plan, planned, truth};
use super::*;
use crate::onnx::{
    AttributeProto as Attribute, Dimension, DimensionValue, GraphProto, NodeProto, OperatorSetIdProto,
    Tensor, TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, numbers, type_proto,
};
use crate::random::{self, Stream};
use crate::tower::{INPUT, OUTPUT};
use crate::walk::interpreter;
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;

/// 2⁻²⁴.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// A graph that takes one image `[N, C, H, W]`.
#[derive(Clone)]
struct Net {
    graph: GraphProto,
    /// The latest value and its shape.
    last: String,
    shape: Vec<usize>,
    size: [usize; 3],
}

fn float(name: &str, f: f32) -> Attribute {
    Attribute {
        name: Some(name.into()),
        f: Some(f),
        r#type: Some(attribute_type::FLOAT),
        ..Attribute::default()
    }
}

fn value(name: &str, elements: i32, shape: &[usize]) -> ValueInfoProto {
    let dim = |d: &usize| Dimension { value: Some(DimensionValue::Value(*d as i64)), ..Dimension::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(elements), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

impl Net {
    /// An image, and its cast to float32.
    fn new(size: [usize; 3]) -> Self {
        let shape = vec![1, size[0], size[1], size[2]];
        let graph =
            GraphProto { input: vec![value(INPUT, data_type::UINT8, &shape)], ..GraphProto::default() };
        let mut net = Self { graph, last: INPUT.into(), shape, size };
        let to = Attribute::int("to", data_type::FLOAT.into());
        net.then("Cast", &[], vec![to]);
        net
    }

    /// A node; its result's name.
    fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = format!("{op}_{}", self.graph.node.len());
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_string()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(op.into()),
            attribute: attributes,
            ..NodeProto::default()
        });
        name
    }

    /// A node on the latest value, whose result is the latest then.
    fn then(&mut self, op: &str, more: &[&str], attributes: Vec<Attribute>) -> &mut Self {
        let last = self.last.clone();
        let inputs = [&[last.as_str()], more].concat();
        let made = self.node(op, &inputs, attributes);
        self.go_on(made)
    }

    /// Takes a value for the latest.
    fn go_on(&mut self, name: String) -> &mut Self {
        self.last = name;
        self.shape = self.shape_of(&self.last.clone());
        self
    }

    fn shape_of(&self, name: &str) -> Vec<usize> {
        let mut model = self.model();
        let graph = model.graph.as_mut().unwrap();
        graph.node.pop();
        let size = self.size;
        Reader::new(&model, model.graph.as_ref().unwrap(), INPUT, size).shape(name).expect("a known shape")
    }

    fn constant(&mut self, array: ArrayD<f32>) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        self.graph.initializer.push(Tensor::F32(array).to_proto(&name));
        name
    }

    fn random(&mut self, rng: &mut Stream, shape: &[usize], low: f32, high: f32) -> String {
        self.constant(ArrayD::from_shape_fn(IxDyn(shape), |_| random::between(rng, low, high)))
    }

    fn list(&mut self, numbers: &[i64]) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        let list = Tensor::I64(ndarray::arr1(numbers).into_dyn());
        self.graph.initializer.push(list.to_proto(&name));
        name
    }

    /// The model, with the latest value flattened as its output.
    fn model(&self) -> ModelProto {
        let mut graph = self.graph.clone();
        let flatten = NodeProto {
            input: vec![self.last.clone()],
            output: vec![OUTPUT.into()],
            name: Some("flatten".into()),
            op_type: Some("Flatten".into()),
            ..NodeProto::default()
        };
        graph.node.push(flatten);
        let count = self.shape.iter().product();
        graph.output = vec![value(OUTPUT, data_type::FLOAT, &[1, count])];
        ModelProto {
            ir_version: Some(9),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(20) }],
            graph: Some(graph),
            ..ModelProto::default()
        }
    }
}

fn below(rng: &mut Stream, n: usize) -> usize {
    random::below(rng, n)
}

/// A convolution of random form on the latest value; none if its window is too large.
fn convolve(net: &mut Net, rng: &mut Stream, scale: f32) -> Option<()> {
    let &[_, channels, height, width] = net.shape.as_slice() else { return None };
    let divisors: Vec<usize> = (1..=channels).filter(|g| channels.is_multiple_of(*g)).collect();
    let groups = match below(rng, 4) {
        0 | 1 => 1,
        2 => channels,
        _ => divisors[below(rng, divisors.len())],
    };
    let outputs = match below(rng, 5) {
        0 if groups == channels => 2 * groups,
        _ if groups == channels => groups,
        _ => groups * (1 + below(rng, 40).div_ceil(groups)),
    };
    let kernel = [[1, 1], [3, 3], [5, 5], [7, 7], [2, 3], [1, 3]][below(rng, 6)];
    let strides = [[1, 1], [1, 1], [2, 2], [2, 1]][below(rng, 4)];
    let dilations = [[1, 1], [1, 1], [1, 1], [2, 1], [2, 3]][below(rng, 5)];
    let side = [height, width];
    let mut attributes = vec![
        Attribute::int("group", groups as i64),
        Attribute::ints("kernel_shape", kernel.map(|k| k as i64).to_vec()),
        Attribute::ints("strides", strides.map(|s| s as i64).to_vec()),
        Attribute::ints("dilations", dilations.map(|d| d as i64).to_vec()),
    ];
    let mut pads = [0; 4];
    match below(rng, 5) {
        0 if dilations == [1, 1] => {
            attributes.push(Attribute::text("auto_pad", ["SAME_UPPER", "SAME_LOWER"][below(rng, 2)]));
            pads = [9; 4];
        }
        1 => {}
        2 => pads = [0; 4].map(|_| below(rng, 3)),
        _ => pads = [0, 1, 2, 3].map(|i| kernel[i % 2] / 2 * dilations[i % 2]),
    }
    if pads != [9; 4] {
        attributes.push(Attribute::ints("pads", pads.map(|p| p as i64).to_vec()));
    }
    let extent = [0, 1].map(|i| dilations[i] * (kernel[i] - 1) + 1);
    if (0..2).any(|i| side[i] + pads[i] + pads[i + 2] < extent[i]) {
        return None;
    }
    let terms = (channels / groups * kernel[0] * kernel[1]) as f32;
    let most = scale / terms.sqrt();
    let w = net.random(rng, &[outputs, channels / groups, kernel[0], kernel[1]], -most, most);
    let b = net.random(rng, &[outputs], -scale / 4.0, scale / 4.0);
    net.then("Conv", &[&w, &b], attributes);
    Some(())
}

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

/// An activation of the latest value.
fn activate(net: &mut Net, rng: &mut Stream) {
    let x = net.last.clone();
    let channels = net.shape[1];
    let one = |x: f32| ndarray::arr0(x).into_dyn();
    match below(rng, 14) {
        0 => net.then("Relu", &[], vec![]),
        1 => {
            let (low, high) = (net.constant(one(0.0)), net.constant(one(1.5)));
            net.then("Clip", &[&low, &high], vec![])
        }
        2 => net.then("LeakyRelu", &[], vec![float("alpha", 0.1)]),
        3 => {
            let slopes = net.random(rng, &[channels, 1, 1], 0.0, 0.5);
            net.then("PRelu", &[&slopes], vec![])
        }
        4 => net.then("HardSwish", &[], vec![]),
        5 => net.then("HardSigmoid", &[], vec![float("alpha", 1.0 / 6.0)]),
        6 => net.then("Sigmoid", &[], vec![]),
        7 => net.then("Sigmoid", &[], vec![]).then("Mul", &[&x], vec![]),
        8 => net.then("Gelu", &[], vec![]),
        9 => net.then("Gelu", &[], vec![Attribute::text("approximate", "tanh")]),
        10 => {
            let [root, one, half] =
                [2f32.sqrt(), 1.0, 0.5].map(|c| net.constant(ndarray::arr0(c).into_dyn()));
            net.then("Div", &[&root], vec![]).then("Erf", &[], vec![]).then("Add", &[&one], vec![]);
            net.then("Mul", &[&x], vec![]).then("Mul", &[&half], vec![])
        }
        11 => net.then("Elu", &[], vec![float("alpha", 0.7)]),
        12 => net.then("Abs", &[], vec![]),
        _ => {
            let gate = net.node("HardSigmoid", &[&x], vec![float("alpha", 1.0 / 6.0)]);
            net.then("Mul", &[&gate], vec![])
        }
    };
}

/// One number a channel, computed from the map.
fn squeeze(net: &mut Net, rng: &mut Stream) {
    let (x, channels) = (net.last.clone(), net.shape[1]);
    if below(rng, 2) == 0 {
        net.then("GlobalAveragePool", &[], vec![]);
    } else {
        let axes = net.list(&[2, 3]);
        net.then("ReduceMean", &[&axes], vec![]);
    }
    let most = 1.0 / (channels as f32).sqrt();
    let w = net.random(rng, &[3, channels, 1, 1], -most, most);
    let v = net.random(rng, &[channels, 3, 1, 1], -1.0, 1.0);
    net.then("Conv", &[&w], vec![]).then("Relu", &[], vec![]).then("Conv", &[&v], vec![]);
    let gate = ["Sigmoid", "HardSigmoid"][below(rng, 2)];
    net.then(gate, &[], vec![]);
    net.then("Mul", &[&x], vec![]);
}

fn pool(net: &mut Net, rng: &mut Stream) -> Option<()> {
    let op = ["MaxPool", "AveragePool"][below(rng, 2)];
    let kernel = [[2, 2], [3, 3], [3, 2]][below(rng, 3)];
    let strides = [[1, 1], [2, 2]][below(rng, 2)];
    let pads = [[0; 4], [1; 4], [0, 1, 1, 0]][below(rng, 3)];
    let dilations = if op == "MaxPool" && below(rng, 4) == 0 { [2, 1] } else { [1, 1] };
    if (0..2).any(|i| net.shape[i + 2] + pads[i] + pads[i + 2] < dilations[i] * (kernel[i] - 1) + 1) {
        return None;
    }
    let mut attributes = vec![
        Attribute::ints("kernel_shape", kernel.into_iter().map(|k| k as i64).collect()),
        Attribute::ints("strides", strides.to_vec()),
        Attribute::ints("pads", pads.into_iter().map(|p| p as i64).collect()),
        Attribute::flag("ceil_mode", below(rng, 2) == 0),
    ];
    if op == "MaxPool" {
        attributes.push(Attribute::ints("dilations", dilations.into_iter().map(|d| d as i64).collect()));
    } else {
        attributes.push(Attribute::flag("count_include_pad", below(rng, 2) == 0));
    }
    net.then(op, &[], attributes);
    Some(())
}

/// Channels that change places, are cut, put together and turned.
fn movement(net: &mut Net, rng: &mut Stream) {
    let (x, shape) = (net.last.clone(), net.shape.clone());
    let [c, h, w] = [1, 2, 3].map(|i| shape[i] as i64);
    match below(rng, 6) {
        0 if c % 2 == 0 => {
            let [apart, back] = [vec![1, 2, c / 2, h, w], vec![1, c, h, w]].map(|shape| net.list(&shape));
            net.then("Reshape", &[&apart], vec![]);
            net.then("Transpose", &[], vec![Attribute::ints("perm", vec![0, 2, 1, 3, 4])]);
            net.then("Reshape", &[&back], vec![]);
        }
        1 if c > 1 => {
            let first = 1 + below(rng, c as usize - 1) as i64;
            let sizes = net.list(&[first, c - first]);
            let [a, b] = ["a", "b"].map(|half| format!("{half}{}", net.graph.node.len()));
            net.graph.node.push(NodeProto {
                input: vec![x, sizes],
                output: vec![a.clone(), b.clone()],
                op_type: Some("Split".into()),
                attribute: vec![Attribute::int("axis", 1)],
                ..NodeProto::default()
            });
            let changed = net.node("Relu", &[&b], vec![]);
            let made = net.node("Concat", &[&changed, &a], vec![Attribute::int("axis", 1)]);
            net.go_on(made);
        }
        2 if h > 1 => {
            let lists = [vec![1, 0], vec![h, w], vec![2, 3], vec![1, 2]].map(|list| net.list(&list));
            let lists = lists.each_ref().map(String::as_str);
            net.then("Slice", &lists, vec![]);
        }
        3 if h % 2 == 0 && w % 2 == 0 => {
            net.then("SpaceToDepth", &[], vec![Attribute::int("blocksize", 2)]);
        }
        4 if c % 4 == 0 => {
            let mode = ["DCR", "CRD"][below(rng, 2)];
            net.then(
                "DepthToSpace",
                &[],
                vec![Attribute::int("blocksize", 2), Attribute::text("mode", mode)],
            );
        }
        _ => {
            let changed = net.node("Neg", &[&x], vec![]);
            let axis = 1 + below(rng, 3) as i64;
            net.then("Concat", &[&changed], vec![Attribute::int("axis", axis)]);
        }
    }
}

/// Channels last, as ConvNeXt has its blocks.
fn block_of_rows(net: &mut Net, rng: &mut Stream) {
    let (x, c) = (net.last.clone(), net.shape[1]);
    net.then("Transpose", &[], vec![Attribute::ints("perm", vec![0, 2, 3, 1])]);
    let [scale, shift] = [0.5, -0.3].map(|low| net.random(rng, &[c], low, 1.0));
    net.then("LayerNormalization", &[&scale, &shift], vec![float("epsilon", 1e-3)]);
    let (hidden, most) = (2 * c, 1.0 / (c as f32).sqrt());
    let w = net.random(rng, &[c, hidden], -most, most);
    let b = net.random(rng, &[hidden], -0.2, 0.2);
    let v = net.random(rng, &[hidden, c], -most, most);
    let gamma = net.random(rng, &[c], 0.5, 1.0);
    net.then("MatMul", &[&w], vec![]).then("Add", &[&b], vec![]).then("Gelu", &[], vec![]);
    net.then("MatMul", &[&v], vec![]).then("Mul", &[&gamma], vec![]);
    net.then("Transpose", &[], vec![Attribute::ints("perm", vec![0, 3, 1, 2])]).then("Add", &[&x], vec![]);
}

/// Attention of two heads over the pixels.
fn attention(net: &mut Net, rng: &mut Stream) {
    let shape = net.shape.clone();
    let [c, h, w] = [1, 2, 3].map(|i| shape[i] as i64);
    let tokens = h * w + 1;
    let as_rows = net.list(&[1, c, h * w]);
    net.then("Reshape", &[&as_rows], vec![]);
    net.then("Transpose", &[], vec![Attribute::ints("perm", vec![0, 2, 1])]);
    let class = net.random(rng, &[1, 1, c as usize], -1.0, 1.0);
    let rows = net.last.clone();
    let joined = net.node("Concat", &[&class, &rows], vec![Attribute::int("axis", 1)]);
    net.go_on(joined);
    let place = net.random(rng, &[1, tokens as usize, c as usize], -1.0, 1.0);
    net.then("Add", &[&place], vec![]);
    let before = net.last.clone();
    let most = 1.0 / (c as f32).sqrt();
    let wide = net.random(rng, &[c as usize, 3 * c as usize], -most, most);
    net.then("MatMul", &[&wide], vec![]);
    let apart = net.list(&[1, tokens, 3, 2, c / 2]);
    net.then("Reshape", &[&apart], vec![]);
    net.then("Transpose", &[], vec![Attribute::ints("perm", vec![2, 0, 3, 1, 4])]);
    let all = net.last.clone();
    let [q, k, v] = [0, 1, 2].map(|i| {
        let index = Tensor::I64(ndarray::arr0(i).into_dyn());
        let name = format!("c{}", net.graph.initializer.len());
        net.graph.initializer.push(index.to_proto(&name));
        net.node("Gather", &[&all, &name], vec![Attribute::int("axis", 0)])
    });
    let k = net.node("Transpose", &[&k], vec![Attribute::ints("perm", vec![0, 1, 3, 2])]);
    let factor = net.constant(ndarray::arr0(0.6f32).into_dyn());
    let q = if below(rng, 2) == 0 { net.node("Mul", &[&q, &factor], vec![]) } else { q };
    let scores = net.node("MatMul", &[&q, &k], vec![]);
    net.go_on(scores).then("Softmax", &[], vec![Attribute::int("axis", -1)]).then("MatMul", &[&v], vec![]);
    net.then("Transpose", &[], vec![Attribute::ints("perm", vec![0, 2, 1, 3])]);
    let together = net.list(&[1, tokens, c]);
    net.then("Reshape", &[&together], vec![]).then("Add", &[&before], vec![]);
    // Back to an image, without the class.
    let lists = [vec![1], vec![tokens], vec![1]].map(|list| net.list(&list));
    let lists = lists.each_ref().map(String::as_str);
    net.then("Slice", &lists, vec![]);
    net.then("Transpose", &[], vec![Attribute::ints("perm", vec![0, 2, 1])]);
    let image = net.list(&[1, c, h, w]);
    net.then("Reshape", &[&image], vec![]);
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
        match below(&mut rng, 10) {
            0..3 => convolve(&mut net, &mut rng, 2.0).unwrap_or_default(),
            3..5 => activate(&mut net, &mut rng),
            5 => pool(&mut net, &mut rng).unwrap_or_default(),
            6 => squeeze(&mut net, &mut rng),
            7 => movement(&mut net, &mut rng),
            8 if net.shape[1].is_multiple_of(2) && net.shape[2] * net.shape[3] < 80 => {
                attention(&mut net, &mut rng);
            }
            8 => block_of_rows(&mut net, &mut rng),
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
