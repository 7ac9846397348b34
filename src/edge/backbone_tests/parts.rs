//! Parts of random networks.

use super::net::{Net, below, float};
use crate::graph::Tensor;
use crate::onnx::{AttributeProto as Attribute, NodeProto};
use crate::random::Stream;
use ndarray::{ArrayD, IxDyn};

/// A convolution of random form on the latest value; none if its window is too large.
pub(super) fn convolve(net: &mut Net, rng: &mut Stream, scale: f32) -> Option<()> {
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

/// An activation of the latest value.
pub(super) fn activate(net: &mut Net, rng: &mut Stream) {
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
pub(super) fn squeeze(net: &mut Net, rng: &mut Stream) {
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

pub(super) fn pool(net: &mut Net, rng: &mut Stream) -> Option<()> {
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
pub(super) fn movement(net: &mut Net, rng: &mut Stream) {
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

/// Another size, by every way of sampling.
pub(super) fn resize(net: &mut Net, rng: &mut Stream) {
    let mode = ["nearest", "linear", "cubic"][below(rng, 3)];
    let places = ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"]
        [below(rng, 5)];
    let rounding = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"][below(rng, 4)];
    let told = [("mode", mode), ("coordinate_transformation_mode", places), ("nearest_mode", rounding)];
    let told = told.map(|(name, value)| Attribute::text(name, value)).to_vec();
    let [c, h, w] = [1, 2, 3].map(|i| net.shape[i]);
    if below(rng, 2) == 0 {
        let sizes = [1, c as i64, 1 + below(rng, 2 * h) as i64, 1 + below(rng, 2 * w) as i64];
        let sizes = net.list(&sizes);
        net.then("Resize", &["", "", &sizes], told);
    } else {
        let scales = net.constant(ndarray::arr1(&[1.0, 1.0, 2.0, [1.0, 1.5, 2.0][below(rng, 3)]]).into_dyn());
        net.then("Resize", &["", &scales], told);
    }
}

/// Normalisation of groups of channels, as they are or as PyTorch writes them.
pub(super) fn normalise(net: &mut Net, rng: &mut Stream) {
    let [c, h, w] = [1, 2, 3].map(|i| net.shape[i]);
    let groups = [1, 2, c].into_iter().filter(|g| c % g == 0).nth(below(rng, 2)).unwrap_or(1);
    let [scale, shift] = [0.5, -0.5].map(|low| net.random(rng, &[c], low, low + 1.0));
    let epsilon = float("epsilon", 1e-3);
    match below(rng, 4) {
        3 => {
            let x = net.last.clone();
            let [epsilon, two] = [1e-3, 2.0].map(|number| net.constant(ndarray::arr0(number).into_dyn()));
            let mean = |net: &mut Net, of: &str| {
                let axes = net.list(&[1]);
                net.node("ReduceMean", &[of, &axes], vec![])
            };
            let m = mean(net, &x);
            let d = net.node("Sub", &[&x, &m], vec![]);
            let square = match below(rng, 2) {
                0 => net.node("Mul", &[&d, &d], vec![]),
                _ => net.node("Pow", &[&d, &two], vec![]),
            };
            let variance = mean(net, &square);
            net.go_on(variance).then("Add", &[&epsilon], vec![]).then("Sqrt", &[], vec![]);
            let root = net.last.clone();
            let made = net.node("Div", &[&d, &root], vec![]);
            net.go_on(made);
        }
        0 => {
            net.then("InstanceNormalization", &[&scale, &shift], vec![epsilon]);
        }
        1 => {
            let groups = Attribute::int("num_groups", groups as i64);
            let [scale, shift] = [scale, shift];
            net.then("GroupNormalization", &[&scale, &shift], vec![groups, epsilon]);
        }
        _ => {
            let apart = net.list(&[1, groups as i64, (c / groups * h * w) as i64]);
            let back = net.list(&[1, c as i64, h as i64, w as i64]);
            let [ones, zeros] = [1.0, 0.0].map(|x| net.constant(ArrayD::from_elem(IxDyn(&[groups]), x)));
            let scale = net.random(rng, &[c, 1, 1], 0.5, 1.5);
            net.then("Reshape", &[&apart], vec![]);
            net.then("InstanceNormalization", &[&ones, &zeros], vec![epsilon]);
            net.then("Reshape", &[&back], vec![]).then("Mul", &[&scale], vec![]);
        }
    }
}

/// Channels last, as ConvNeXt has its blocks.
pub(super) fn block_of_rows(net: &mut Net, rng: &mut Stream) {
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
pub(super) fn attention(net: &mut Net, rng: &mut Stream) {
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
