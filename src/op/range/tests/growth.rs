//! Random graphs of operators that have a range rule, grown node by node: what the rule refuses is left
//! out, so float32 rounds nothing in what remains, if the rules are sound.

use crate::Result;
use crate::onnx::{
    AttributeProto as Attribute, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, Operator,
    OperatorSetIdProto, Tensor, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_type,
    data_type, type_proto,
};
use crate::op::range::{Facts, Known, accumulates};
use crate::op::{self, Call};
use crate::random::{self, Stream};
use crate::tower::{INPUT, OUTPUT};
use crate::walk::Values;
use ndarray::{Array4, ArrayD, IxDyn};

/// What tells of a node's result: [`crate::op::range::range`], or something else in its place.
pub(crate) type Rule<'r> = &'r dyn Fn(&NodeProto, &Facts<'_>) -> Result<Known>;

/// A graph that grows.
pub(crate) struct Growth<'r> {
    rule: Rule<'r>,
    rng: Stream,
    pub nodes: Vec<NodeProto>,
    pub facts: Facts<'static>,
    /// All values for a batch of images: none, full, and random ones.
    pub values: Values,
    /// The float32 values that are not constant, by name.
    names: Vec<String>,
    /// Whether values are multiplied by other numbers than powers of two, and by each other.
    pub multiplies: bool,
}

impl<'r> Growth<'r> {
    /// An image of a few pixels, and its cast to float32.
    pub fn new(seed: u64, side: usize, rule: Rule<'r>) -> Self {
        let mut rng = random::stream(seed, "growth", 0, 0);
        let channels = [1, 3][random::below(&mut rng, 2)];
        let size = [side, side + random::below(&mut rng, 3)];
        let images = Array4::from_shape_fn((5, channels, size[0], size[1]), |(n, ..)| match n {
            0 => 0.0,
            1 => 255.0,
            2 => random::below(&mut rng, 256) as f64,
            _ => 255.0 * random::below(&mut rng, 2) as f64,
        });
        let mut growth = Self {
            rule,
            rng,
            nodes: Vec::new(),
            facts: Facts::of(Box::leak(Box::default())),
            values: Values::from([(INPUT.to_string(), images.into_dyn())]),
            names: Vec::new(),
            multiplies: false,
        };
        growth.facts.enter(INPUT, Known::image(4)).unwrap();
        assert!(growth.add("Cast", &[INPUT.into()], vec![Attribute::int("to", data_type::FLOAT.into())]));
        growth
    }

    /// The graph as a model whose output is the latest value, flattened.
    pub fn into_model(mut self) -> ModelProto {
        let last = self.names[self.names.len() - 1].clone();
        let shape = self.values[INPUT].shape()[1..].to_vec();
        self.nodes.push(node("Flatten", &[last], OUTPUT.into(), vec![]));
        let images = [&[None][..], &shape.iter().map(|d| Some(*d)).collect::<Vec<_>>()].concat();
        let graph = GraphProto {
            node: self.nodes,
            input: vec![value(INPUT, data_type::UINT8, &images)],
            output: vec![value(OUTPUT, data_type::FLOAT, &[None, None])],
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
            graph: Some(graph),
            ..ModelProto::default()
        }
    }

    /// Tries to add a node of this operator to the latest value, sometimes to an earlier one; false if the
    /// rule refuses it, or no value has a shape for it.
    pub fn grow(&mut self, operator: Operator) -> bool {
        let back = if self.below(4) == 0 { self.below(self.names.len()) } else { 0 };
        let x = self.names[self.names.len() - 1 - back].clone();
        let shape = self.values[&x].shape().to_vec();
        if self.values[&x].len() > 40_000 {
            return false;
        }
        match (operator, shape.len()) {
            (Operator::Conv, 4) => self.conv(x, &shape),
            (Operator::Gemm, 2) => self.gemm(x, &shape),
            (Operator::MatMul, 2) => {
                let w = self.weights(&x, &[shape[1], 4]);
                self.add("MatMul", &[x, w], vec![])
            }
            (Operator::Add | Operator::Sub | Operator::Max | Operator::Min, _) => {
                let other = self.other(&x, &shape);
                let inputs = if self.below(2) == 0 { [x, other] } else { [other, x] };
                self.add(operator.name(), &inputs, vec![])
            }
            (Operator::Sum, _) => {
                let inputs = [x.clone(), self.other(&x, &shape), self.other(&x, &shape)];
                let count = 1 + self.below(3);
                self.add("Sum", &inputs[..count], vec![])
            }
            (Operator::Mul, _) if self.multiplies && self.below(2) == 0 => {
                let factor = match self.below(2) {
                    0 => self.alike(&shape),
                    _ => self.per_channel(&shape, |rng| [3.0, -5.0, 0.375, 0.0, 77.0][random::below(rng, 5)]),
                };
                let inputs = if self.below(2) == 0 { [x, factor] } else { [factor, x] };
                self.add("Mul", &inputs, vec![])
            }
            (Operator::ReduceSum, 4) => {
                let axes = [&[2, 3][..], &[3], &[-2]][self.below(3)];
                let axes = self.ints(axes);
                let kept = Attribute::flag("keepdims", self.below(2) == 0);
                self.add("ReduceSum", &[x, axes], vec![kept])
            }
            (Operator::Gather, _) => self.look_up(x),
            (Operator::Mul | Operator::Div, _) => {
                let factor = self.per_channel(&shape, |rng| 2f32.powi(random::below(rng, 9) as i32 - 6));
                self.add(operator.name(), &[x, factor], vec![])
            }
            (Operator::Clip, _) => {
                let [low, high] = [[0.0, 0.0, -0.5, -127.0], [127.0, 127.0, 99.5, 5.0]].map(|edges| {
                    let edge = edges[self.below(4)];
                    self.constant(ndarray::arr0(edge).into_dyn())
                });
                let inputs = [[x.clone(), low.clone(), high.clone()], [x, String::new(), high]];
                let i = self.below(2);
                self.add("Clip", &inputs[i], vec![])
            }
            (Operator::AveragePool | Operator::MaxPool, 4) => self.pool(operator, x),
            (Operator::Pad, 4) => {
                let pads: Vec<i64> =
                    (0..8).map(|i| if i % 4 > 1 { self.below(3) as i64 } else { 0 }).collect();
                let pads = if self.below(4) == 0 { vec![0, 1, 0, 1, 0, 0, 1, 0] } else { pads };
                let pads = self.ints(&pads);
                let fill = [0.0, 0.0, 0.0, -2.5][self.below(4)];
                let fill = self.constant(ndarray::arr0(fill).into_dyn());
                self.add("Pad", &[x, pads, fill], vec![])
            }
            (Operator::Concat, 4) => {
                let other = self.alike(&shape);
                let axis = 1 + self.below(2) as i64;
                self.add("Concat", &[x, other], vec![Attribute::int("axis", axis)])
            }
            (Operator::Cast, _) => {
                self.add("Cast", &[x], vec![Attribute::int("to", data_type::FLOAT.into())])
            }
            (Operator::Flatten, 4) => self.add("Flatten", &[x], vec![]),
            (Operator::Reshape, 4) => {
                let shape = self.ints(&[0, -1]);
                self.add("Reshape", &[x, shape], vec![])
            }
            (Operator::Transpose, 4) => {
                self.add("Transpose", &[x], vec![Attribute::ints("perm", vec![0, 2, 3, 1])])
            }
            (Operator::Slice, 4) => {
                let [from, to, axes] = [[0, 1], [2, 9], [1, 3]].map(|xs| self.ints(&xs));
                self.add("Slice", &[x, from, to, axes], vec![])
            }
            (Operator::Unsqueeze, rank @ 2..=4) => {
                let axes = self.ints(&[rank as i64]);
                self.add("Unsqueeze", &[x, axes], vec![])
            }
            (Operator::Squeeze, rank @ 2..=4) => {
                let axes = self.ints(&[rank as i64]);
                self.add("Unsqueeze", &[x, axes.clone()], vec![])
                    && self.add("Squeeze", &[self.names[self.names.len() - 1].clone(), axes], vec![])
            }
            (
                Operator::Neg
                | Operator::Abs
                | Operator::Relu
                | Operator::Floor
                | Operator::Ceil
                | Operator::Identity
                | Operator::Dropout,
                _,
            ) => self.add(operator.name(), &[x], vec![]),
            _ => false,
        }
    }

    /// Numbers of a list at places that are computed.
    fn look_up(&mut self, x: String) -> bool {
        let length = 2 + self.below(9);
        let [low, high] =
            [0.0, (length - 1) as f32].map(|edge| self.constant(ndarray::arr0(edge).into_dyn()));
        let int64 = vec![Attribute::int("to", data_type::INT64.into())];
        let last = |growth: &Self| growth.names[growth.names.len() - 1].clone();
        let mut made = self.add("Floor", &[x], vec![]);
        made = made && self.add("Clip", &[last(self), low, high], vec![]);
        made = made && self.add("Cast", &[last(self)], int64);
        if !made {
            return false;
        }
        // Places are no numbers that other operators take.
        let places = self.names.pop().unwrap();
        let list = ArrayD::from_shape_fn(vec![length], |_| random::below(&mut self.rng, 255) as f32 - 127.0);
        let list = self.constant(list);
        self.add("Gather", &[list, places], vec![Attribute::int("axis", 0)])
    }

    fn conv(&mut self, x: String, shape: &[usize]) -> bool {
        let (k, stride) = ([1, 1, 2, 3][self.below(4)], 1 + self.below(2));
        let groups = if self.below(5) == 0 { shape[1] } else { 1 };
        let filters = if groups > 1 { shape[1] } else { 1 + self.below(20) };
        let w = self.weights(&x, &[filters, shape[1] / groups, k, k]);
        let pads = [0; 4].map(|_| self.below(k) as i64);
        let attributes = vec![
            Attribute::ints("strides", vec![stride as i64; 2]),
            Attribute::ints("pads", pads.to_vec()),
            Attribute::int("group", groups as i64),
        ];
        let inputs = self.with_bias(x, w, &[filters]);
        self.add("Conv", &inputs, attributes)
    }

    fn gemm(&mut self, x: String, shape: &[usize]) -> bool {
        let (outputs, rows) = (1 + self.below(20), self.below(2));
        let w = self.weights(&x, &if rows == 1 { [outputs, shape[1]] } else { [shape[1], outputs] });
        let inputs = self.with_bias(x, w, &[1, outputs]);
        self.add("Gemm", &inputs, vec![Attribute::int("transB", rows as i64)])
    }

    /// Integers, mostly as great as the sums allow, of one sign or both.
    fn weights(&mut self, x: &str, shape: &[usize]) -> String {
        let range = &self.facts.get(x).unwrap().range;
        let most = range.channels().iter().fold(1.0, |m: f64, c| m.max(c.low.abs()).max(c.high.abs()));
        let step = range.channels().iter().map(|c| c.step).min().unwrap();
        let taps = shape.iter().product::<usize>() as f64 / shape[0] as f64;
        let room = 8e6 * 2f64.powi(step) / (taps * most);
        let greatest =
            (room * [1.0, 1.0, 1.0, 3.0][self.below(4)]).min([3.0, 127.0, 127.0, 300.0][self.below(4)]);
        let low = [-greatest, -greatest, 0.0][self.below(3)];
        let high = if low < 0.0 && self.below(3) == 0 { 0.0 } else { greatest };
        let numbers = ArrayD::from_shape_fn(IxDyn(shape), |_| {
            random::between(&mut self.rng, low as f32, high as f32).round()
        });
        if numbers.iter().any(|w| w.abs() > 127.0) || self.below(2) == 0 {
            return self.constant(numbers);
        }
        let bytes = self.tensor(Tensor::I8(numbers.mapv(|w| w as i8)));
        let cast =
            node("Cast", &[bytes], self.fresh("Cast"), vec![Attribute::int("to", data_type::FLOAT.into())]);
        self.follow(cast)
    }

    fn with_bias(&mut self, x: String, w: String, shape: &[usize]) -> Vec<String> {
        if self.below(4) == 0 {
            return vec![x, w];
        }
        let half = [0.0, 0.5][self.below(2)];
        let bias =
            ArrayD::from_shape_fn(IxDyn(shape), |_| random::below(&mut self.rng, 400) as f32 - 200.0 + half);
        let bias = self.constant(bias);
        vec![x, w, bias]
    }

    fn pool(&mut self, operator: Operator, x: String) -> bool {
        let kernel = [[1, 1], [2, 2], [1, 2], [4, 2], [3, 2]][self.below(5)];
        let mut attributes = vec![
            Attribute::ints("kernel_shape", kernel.to_vec()),
            Attribute::ints("strides", vec![1 + self.below(2) as i64, 2]),
        ];
        if operator == Operator::MaxPool && self.below(2) == 0 {
            let pads = (0..4).map(|_| self.below(kernel[1] as usize) as i64 * (kernel[0] / 2).min(1));
            attributes.push(Attribute::ints("pads", pads.collect()));
        }
        self.add(operator.name(), &[x], attributes)
    }

    /// Another value to compute with: one of the same shape, one number, or one a channel.
    fn other(&mut self, x: &str, shape: &[usize]) -> String {
        match self.below(3) {
            0 => self.per_channel(shape, |rng| [0.5, -2.0, 7.0, 0.0, 64.0][random::below(rng, 5)]),
            1 if self.below(2) == 0 => x.into(),
            _ => self.alike(shape),
        }
    }

    fn alike(&mut self, shape: &[usize]) -> String {
        let alike: Vec<String> =
            self.names.iter().filter(|n| self.values[*n].shape() == shape).cloned().collect();
        alike[self.below(alike.len())].clone()
    }

    fn per_channel(&mut self, shape: &[usize], mut number: impl FnMut(&mut Stream) -> f32) -> String {
        let spread = match self.below(2) {
            0 => vec![],
            _ if shape.len() == 2 => vec![shape[1]],
            _ => vec![shape[1], 1, 1],
        };
        let numbers = ArrayD::from_shape_fn(spread, |_| number(&mut self.rng));
        self.constant(numbers)
    }

    fn constant(&mut self, numbers: ArrayD<f32>) -> String {
        self.tensor(Tensor::F32(numbers))
    }

    fn ints(&mut self, numbers: &[i64]) -> String {
        self.tensor(Tensor::I64(ndarray::arr1(numbers).into_dyn()))
    }

    fn tensor(&mut self, tensor: Tensor) -> String {
        let name = self.fresh("constant");
        let value = Attribute {
            name: Some("value".into()),
            t: Some(TensorProto { name: None, ..tensor.to_proto("") }),
            r#type: Some(attribute_type::TENSOR),
            ..Attribute::default()
        };
        self.follow(node("Constant", &[], name, vec![value]))
    }

    /// Adds a node that makes a constant.
    fn follow(&mut self, node: NodeProto) -> String {
        let made = evaluated(&node, &self.values).unwrap();
        let name = node.output[0].clone();
        assert!(self.facts.constants.follow(Box::leak(Box::new(node.clone()))));
        self.values.insert(name.clone(), made);
        self.nodes.push(node);
        name
    }

    fn add(&mut self, op: &str, inputs: &[String], attributes: Vec<Attribute>) -> bool {
        let node = node(op, inputs, self.fresh(op), attributes);
        let Ok(known) = (self.rule)(&node, &self.facts) else { return false };
        let Ok(made) = evaluated(&node, &self.values) else { return false };
        let name = node.output[0].clone();
        self.facts.enter(&name, known).unwrap();
        self.facts.tell_sizes(&name, [&[1], &made.shape()[1..]].concat());
        self.values.insert(name.clone(), made);
        self.names.push(name);
        self.nodes.push(node);
        true
    }

    fn fresh(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.nodes.len())
    }

    fn below(&mut self, n: usize) -> usize {
        random::below(&mut self.rng, n)
    }

    /// What the latest node's rule says of its values that is not so.
    pub fn lie(&mut self) -> Option<String> {
        let node = self.nodes[self.nodes.len() - 1].clone();
        let (known, made) = (self.facts.get(&node.output[0])?, &self.values[&node.output[0]]);
        let channels = known.range.channels();
        if known.rank != made.ndim() || ![1, *made.shape().get(1).unwrap_or(&1)].contains(&channels.len()) {
            return Some(format!("{known:?} of {:?}", made.shape()));
        }
        for (at, x) in made.indexed_iter() {
            let channel = channels[if channels.len() == 1 { 0 } else { at[1] }];
            if !channel.contains(*x) || f64::from(*x as f32) != *x {
                return Some(format!("{x} at {at:?} is not of {channel:?}"));
            }
        }
        if accumulates(&node) {
            let shuffled = shuffled(&node, &self.values, &mut self.rng);
            let differs = shuffled.indexed_iter().find(|(at, x)| f64::from(**x) != made[at]);
            return differs
                .map(|(at, x)| format!("a sum in another order is {x}, not {}, at {at:?}", made[&at]));
        }
        None
    }
}

/// The first result of a node in float64.
fn evaluated(node: &NodeProto, values: &Values) -> Result<ArrayD<f64>> {
    let inputs: Vec<_> = node.input.iter().map(|name| values.get(name)).collect();
    let call = Call { node, opset: 17, integers: false, inputs: &inputs };
    op::evaluate(node.operator().unwrap(), &call).map(|mut results| results.remove(0))
}

/// The result of a node in float32, every sum in an order and a nesting of its own.
fn shuffled(node: &NodeProto, values: &Values, rng: &mut Stream) -> ArrayD<f32> {
    let input = |i: usize| node.input_name(i).map(|name| values[name].mapv(|x| x as f32));
    let x = input(0).unwrap();
    match node.operator().unwrap() {
        Operator::Conv => windows(node, &x, input(1), input(2), rng),
        Operator::AveragePool => windows(node, &x, None, None, rng),
        Operator::ReduceSum => {
            // Its result keeps the axes that are not summed, in their order.
            let made = &values[&node.output[0]];
            let axes: Vec<usize> = input(1).unwrap().iter().map(|a| a.rem_euclid(4.0) as usize).collect();
            let kept: Vec<usize> = (0..4).filter(|a| !axes.contains(a)).collect();
            let spread = node.flag("keepdims");
            ArrayD::from_shape_fn(made.shape(), |at| {
                let place = |axis: usize| kept.iter().position(|k| *k == axis);
                let here = |axis: usize| place(axis).map(|place| at[if spread { axis } else { place }]);
                let own =
                    x.indexed_iter().filter(|(from, _)| (0..4).all(|a| here(a).is_none_or(|p| from[a] == p)));
                total(own.map(|(_, x)| *x).collect(), rng)
            })
        }
        Operator::Gemm | Operator::MatMul => {
            let w = if node.flag("transB") { input(1).unwrap().reversed_axes() } else { input(1).unwrap() };
            ArrayD::from_shape_fn(vec![x.shape()[0], w.shape()[1]], |at| {
                let terms = (0..x.shape()[1]).map(|k| x[[at[0], k]] * w[[k, at[1]]]);
                let bias = input(2).map(|b| b[IxDyn(&[0, at[1]][2 - b.ndim()..])]);
                total(terms.chain(bias).collect(), rng)
            })
        }
        _ => {
            let made = &values[&node.output[0]];
            let all: Vec<ArrayD<f32>> = (0..node.input.len()).filter_map(input).collect();
            let wide: Vec<_> = all.iter().map(|x| x.broadcast(made.shape()).unwrap()).collect();
            let sign = if node.op_type() == "Sub" { -1.0 } else { 1.0 };
            ArrayD::from_shape_fn(made.shape(), |at| {
                let terms = wide.iter().enumerate().map(|(i, x)| if i == 0 { x[&at] } else { sign * x[&at] });
                total(terms.collect(), rng)
            })
        }
    }
}

/// Sums over windows, of products with weights or of the elements themselves.
fn windows(
    node: &NodeProto,
    x: &ArrayD<f32>,
    weights: Option<ArrayD<f32>>,
    bias: Option<ArrayD<f32>>,
    rng: &mut Stream,
) -> ArrayD<f32> {
    let pair = |name: &str| node.ints(name).map(|xs| [xs[0] as usize, xs[1] as usize]);
    let kernel =
        weights.as_ref().map_or_else(|| pair("kernel_shape").unwrap(), |w| [w.shape()[2], w.shape()[3]]);
    let (strides, pads) = (pair("strides").unwrap_or([1; 2]), node.ints("pads").unwrap_or(&[0; 4]));
    let groups = node.int_or("group", 1) as usize;
    let own = weights.as_ref().map_or(1, |w| w.shape()[1]);
    let filters = weights.as_ref().map_or(x.shape()[1], |w| w.shape()[0]);
    let side = |axis: usize| {
        (x.shape()[2 + axis] + (pads[axis] + pads[axis + 2]) as usize - kernel[axis]) / strides[axis] + 1
    };
    ArrayD::from_shape_fn(vec![x.shape()[0], filters, side(0), side(1)], |at| {
        let mut terms: Vec<f32> = bias.iter().map(|b| b[[at[1]]]).collect();
        for (c, i, j) in
            (0..own).flat_map(|c| (0..kernel[0]).flat_map(move |i| (0..kernel[1]).map(move |j| (c, i, j))))
        {
            let place = |axis: usize, tap: usize| {
                let from = (at[2 + axis] * strides[axis] + tap).checked_sub(pads[axis] as usize);
                from.filter(|place| *place < x.shape()[2 + axis])
            };
            let channel = if weights.is_some() { at[1] / (filters / groups) * own + c } else { at[1] };
            if let (Some(p), Some(q)) = (place(0, i), place(1, j)) {
                terms.push(x[[at[0], channel, p, q]] * weights.as_ref().map_or(1.0, |w| w[[at[1], c, i, j]]));
            }
        }
        let count = if weights.is_some() { 1.0 } else { (kernel[0] * kernel[1]) as f32 };
        total(terms, rng) / count
    })
}

/// A sum that takes any two until one is left.
fn total(mut terms: Vec<f32>, rng: &mut Stream) -> f32 {
    while terms.len() > 1 {
        let a = terms.swap_remove(random::below(rng, terms.len()));
        let i = random::below(rng, terms.len());
        terms[i] += a;
    }
    terms.first().copied().unwrap_or(0.0)
}

fn node(op: &str, inputs: &[String], output: String, attribute: Vec<Attribute>) -> NodeProto {
    NodeProto {
        input: inputs.to_vec(),
        name: Some(format!("node of {output}")),
        output: vec![output],
        op_type: Some(op.into()),
        attribute,
        ..NodeProto::default()
    }
}

fn value(name: &str, elem_type: i32, shape: &[Option<usize>]) -> ValueInfoProto {
    let dim = |d: &Option<usize>| Dimension {
        value: Some(d.map_or(DimensionValue::Param("N".into()), |d| DimensionValue::Value(d as i64))),
        denotation: None,
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}
