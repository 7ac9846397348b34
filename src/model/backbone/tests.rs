//! Every operator as exporters write it: what it becomes gives the numbers that the node gives, and derivatives
//! that agree with central differences in float64.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::lower::{Rule, lower, rule};
use super::*;
use crate::graph::{Channels, GradOptions, Graph, gradients};
use crate::model::seeded;
use crate::onnx::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use crate::walk::interpreter::{self, Values};
use ndarray::{IxDyn, arr0, arr1};
use rand::RngExt;

/// A node: `x0` is the picture, `x1`, `x2`, … are weights, `c0`, `c1`, … constants, and `-` is left out.
struct Case {
    op: Operator,
    opset: i64,
    reads: &'static str,
    attributes: Vec<AttributeProto>,
    shapes: Vec<Vec<usize>>,
    constants: Vec<Tensor>,
    results: usize,
    positive: bool,
}

impl Case {
    fn set(mut self, attributes: Vec<AttributeProto>) -> Self {
        self.attributes = attributes;
        self
    }

    fn with(mut self, constants: Vec<Tensor>) -> Self {
        self.constants = constants;
        self
    }

    fn at(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    fn positive(self) -> Self {
        Self { positive: true, ..self }
    }

    fn results(self, results: usize) -> Self {
        Self { results, ..self }
    }

    fn name(&self) -> String {
        let told: Vec<&str> = self.attributes.iter().map(AttributeProto::name).collect();
        format!("{} at opset {} of {:?} ({}), {told:?}", self.op, self.opset, self.shapes, self.reads)
    }

    fn model(&self) -> ModelProto {
        let reads = self.reads.split_whitespace().map(|name| if name == "-" { "" } else { name }.into());
        let results = (0..self.results).map(|i| format!("y{i}")).collect();
        let op = node(self.op.name(), &[], "", self.attributes.clone());
        let node = NodeProto { input: reads.collect(), output: results, ..op };
        let mut stored: Vec<TensorProto> =
            self.constants.iter().enumerate().map(|(i, c)| c.to_proto(&format!("c{i}"))).collect();
        for (i, shape) in self.shapes.iter().enumerate().skip(1) {
            stored.push(Tensor::F32(ArrayD::zeros(IxDyn(shape))).to_proto(&format!("x{i}")));
        }
        let outputs: Vec<String> = (0..self.results).map(|i| format!("y{i}")).collect();
        model(vec![node], stored, &outputs.iter().map(String::as_str).collect::<Vec<_>>(), self.opset)
    }
}

fn case(op: Operator, reads: &'static str, shapes: &[&[usize]]) -> Case {
    let shapes = shapes.iter().map(|s| s.to_vec()).collect();
    let (attributes, constants) = (Vec::new(), Vec::new());
    Case { op, opset: 17, reads, attributes, shapes, constants, results: 1, positive: false }
}

pub(super) fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|s| (*s).to_string()).collect(),
        output: vec![output.into()],
        name: Some(format!("the {op}")),
        op_type: Some(op.into()),
        attribute,
        ..NodeProto::default()
    }
}

pub(super) fn model(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    outputs: &[&str],
    opset: i64,
) -> ModelProto {
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() };
    let (input, output) = (vec![value("x0")], outputs.iter().map(|name| value(name)).collect());
    let graph = GraphProto { node, initializer, input, output, ..GraphProto::default() };
    let opset = OperatorSetIdProto { domain: None, version: Some(opset) };
    ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }
}

pub(super) fn ints(list: &[i64]) -> Tensor {
    Tensor::I64(arr1(list).into_dyn())
}

fn floats(list: &[f32]) -> Tensor {
    Tensor::F32(arr1(list).into_dyn())
}

pub(super) fn scalar(x: f32) -> Tensor {
    Tensor::F32(arr0(x).into_dyn())
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto::int(name, i)
}

pub(super) fn list(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto::ints(name, ints.to_vec())
}

fn elementwise() -> Vec<Case> {
    use Operator::*;
    let unary = |op| case(op, "x0", &[&[2, 5]]);
    let binary = |op| case(op, "x0 x1", &[&[2, 3, 4], &[3, 1]]);
    let mut cases: Vec<Case> =
        [Abs, Cos, Elu, Erf, Exp, HardSigmoid, HardSwish, Identity, LeakyRelu, Mish, Neg, Reciprocal, Relu]
            .map(unary)
            .into();
    cases.extend([Ceil, Floor, Round, Sign, Selu, Sigmoid, Sin, Softplus, Softsign, Tanh].map(unary));
    cases.extend([Add, Div, Max, Min, Mul, Sub].map(binary));
    cases.extend([Log, Sqrt].map(|op| unary(op).positive()));
    cases.extend([Max, Mean, Min, Sum].map(|op| case(op, "x0 x1 x2", &[&[2, 3], &[3], &[2, 1]])));
    cases.extend([
        unary(Elu).set(vec![AttributeProto::float("alpha", 0.5)]),
        unary(HardSigmoid).set(vec![AttributeProto::float("alpha", 0.7), AttributeProto::float("beta", 0.2)]),
        unary(LeakyRelu).set(vec![AttributeProto::float("alpha", 0.4)]),
        unary(Gelu).at(20),
        unary(Gelu).at(20).set(vec![AttributeProto::text("approximate", "tanh")]),
        unary(HardSwish).at(14),
        unary(Mish).at(18),
        unary(Cast).set(vec![int("to", 11)]),
        unary(Clip).at(6).set(vec![AttributeProto::float("min", -0.5), AttributeProto::float("max", 0.9)]),
        case(Clip, "x0 c0 c1", &[&[3, 4]]).with(vec![scalar(-0.4), scalar(0.8)]),
        case(Clip, "x0 c0", &[&[3, 4]]).with(vec![scalar(0.0)]),
        case(Clip, "x0 - c0", &[&[3, 4]]).with(vec![scalar(0.6)]),
        case(PRelu, "x0 x1", &[&[2, 3, 4], &[3, 1]]),
        case(Pow, "x0 c0", &[&[2, 3]]).with(vec![scalar(2.0)]),
        case(Pow, "x0 c0", &[&[2, 3]]).with(vec![scalar(3.0)]),
        case(Pow, "x0 c0", &[&[2, 3]]).with(vec![scalar(0.5)]).positive(),
        case(Pow, "x0 c0", &[&[2, 3]]).with(vec![scalar(-1.5)]).positive(),
        case(Pow, "x0 x1", &[&[2, 3], &[3]]).positive(),
        case(Dropout, "x0", &[&[2, 3]]).results(1),
        case(Where, "c0 x0 x1", &[&[2, 3], &[1, 3]])
            .with(vec![Tensor::Bool(arr1(&[true, false, true]).into_dyn())]),
    ]);
    cases
}

fn moves() -> Vec<Case> {
    use Operator::*;
    let x = || case(Identity, "x0", &[&[2, 3, 4]]);
    let of = |op, reads| Case { op, reads, ..x() };
    let image = |op, reads| case(op, reads, &[&[1, 2, 4, 6]]);
    vec![
        case(Concat, "x0 x1", &[&[2, 3], &[2, 2]]).set(vec![int("axis", -1)]),
        image(DepthToSpace, "x0").set(vec![int("blocksize", 1)]),
        case(DepthToSpace, "x0", &[&[1, 8, 2, 3]]).set(vec![int("blocksize", 2)]),
        case(DepthToSpace, "x0", &[&[1, 8, 2, 3]])
            .set(vec![int("blocksize", 2), AttributeProto::text("mode", "CRD")]),
        image(SpaceToDepth, "x0").set(vec![int("blocksize", 2)]),
        case(Expand, "x0 c0", &[&[3, 1]]).with(vec![ints(&[2, 1, 4])]),
        of(Flatten, "x0").set(vec![int("axis", 2)]),
        of(Gather, "x0 c0").with(vec![ints(&[2, -3, 2])]).set(vec![int("axis", 1)]),
        of(Gather, "x0 c0").with(vec![Tensor::I64(arr0(0).into_dyn())]).set(vec![int("axis", 1)]),
        of(Gather, "x0 c0").with(vec![ints(&[1, 2])]).set(vec![int("axis", -1)]),
        case(Gather, "x1 c0", &[&[1], &[4, 2]]).with(vec![ints(&[3, 0])]),
        of(Pad, "x0 c0 c1").with(vec![ints(&[0, 1, 2, 0, 0, 1]), scalar(0.7)]),
        of(Pad, "x0")
            .at(2)
            .set(vec![list("pads", &[0, 1, -1, 0, 2, 1]), AttributeProto::float("value", 0.3)]),
        of(Pad, "x0 c0")
            .with(vec![ints(&[0, 2, 1, 0, 1, 3])])
            .set(vec![AttributeProto::text("mode", "reflect")]),
        of(Pad, "x0 c0")
            .with(vec![ints(&[0, 2, 1, 1, 1, 3])])
            .set(vec![AttributeProto::text("mode", "edge")]),
        of(Reshape, "x0 c0").with(vec![ints(&[0, -1, 2])]),
        of(Squeeze, "x0 c0").with(vec![ints(&[1])]),
        case(Squeeze, "x0", &[&[2, 1, 3, 1]]).at(11).set(vec![list("axes", &[1, 3])]),
        case(Squeeze, "x0", &[&[2, 1, 3, 1]]),
        of(Unsqueeze, "x0 c0").with(vec![ints(&[0, -1])]),
        of(Unsqueeze, "x0").at(11).set(vec![list("axes", &[1])]),
        of(Slice, "x0 c0 c1 c2 c3").with(vec![ints(&[1, -4]), ints(&[99, -1]), ints(&[1, 2]), ints(&[1, 2])]),
        of(Slice, "x0 c0 c1 c2 c3").with(vec![ints(&[-1]), ints(&[i64::MIN]), ints(&[2]), ints(&[-1])]),
        of(Slice, "x0 c0 c1 c2 c3").with(vec![ints(&[3]), ints(&[0]), ints(&[2]), ints(&[-2])]),
        of(Slice, "x0").at(9).set(vec![list("starts", &[0, 1]), list("ends", &[1, 3])]),
        of(Split, "x0").at(2).set(vec![int("axis", 1), list("split", &[1, 2])]).results(2),
        of(Split, "x0 c0").with(vec![ints(&[3, 1])]).set(vec![int("axis", 2)]).results(2),
        of(Split, "x0").set(vec![int("axis", 0)]).results(2),
        of(Split, "x0").at(18).set(vec![int("axis", 2), int("num_outputs", 2)]).results(2),
        of(Tile, "x0 c0").with(vec![ints(&[1, 2, 3])]),
        of(Transpose, "x0"),
        of(Transpose, "x0").set(vec![list("perm", &[1, 2, 0])]),
    ]
    .into_iter()
    .map(|case| {
        if case.op == Squeeze && case.reads == "x0 c0" {
            Case { shapes: vec![vec![2, 1, 4]], ..case }
        } else {
            case
        }
    })
    .collect()
}

fn resizes() -> Vec<Case> {
    let text = AttributeProto::text;
    let image = |reads| case(Operator::Resize, reads, &[&[1, 2, 3, 4]]);
    let by = |down: f32, across: f32| floats(&[1.0, 1.0, down, across]);
    vec![
        image("x0 c0").at(10).with(vec![by(2.0, 3.0)]),
        image("x0 - c0").with(vec![by(2.0, 2.0)]).set(vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ]),
        image("x0 - c0").with(vec![by(2.0, 1.5)]).set(vec![text("mode", "linear")]),
        image("x0 - c0")
            .with(vec![by(1.0, 0.5)])
            .set(vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")]),
        image("x0 - - c0").with(vec![ints(&[1, 2, 7, 5])]).set(vec![text("mode", "linear")]),
        image("x0 - - c0").with(vec![ints(&[1, 2, 5, 2])]).set(vec![text("mode", "cubic")]),
    ]
}

fn reductions() -> Vec<Case> {
    use Operator::*;
    let of = |op| case(op, "x0", &[&[2, 3, 4]]);
    let mut cases = Vec::new();
    for op in [ReduceL1, ReduceL2, ReduceMax, ReduceMean, ReduceMin, ReduceSumSquare, ReduceLogSumExp] {
        cases.push(of(op).set(vec![list("axes", &[-1, 0]), int("keepdims", 0)]));
        cases.push(of(op));
        cases.push(case(op, "x0 c0", &[&[2, 3, 4]]).at(18).with(vec![ints(&[1])]));
    }
    cases.push(case(ReduceSum, "x0 c0", &[&[2, 3, 4]]).with(vec![ints(&[1])]));
    cases.push(of(ReduceSum).at(11).set(vec![list("axes", &[2])]));
    cases.push(of(ReduceSum).set(vec![int("noop_with_empty_axes", 1)]));
    for op in [Softmax, LogSoftmax] {
        cases.push(of(op));
        cases.push(of(op).set(vec![int("axis", 1)]));
        cases.push(of(op).at(11));
        cases.push(of(op).at(11).set(vec![int("axis", 2)]));
    }
    cases.push(of(LpNormalization).set(vec![int("axis", 1)]));
    cases.push(of(LpNormalization).set(vec![int("p", 1)]));
    cases
}

fn normalisations() -> Vec<Case> {
    use Operator::*;
    let image: &[usize] = &[2, 4, 3, 2];
    let numbers = |count: usize| floats(&(0..count).map(|i| 0.5 + 0.3 * i as f32).collect::<Vec<_>>());
    vec![
        case(BatchNormalization, "x0 x1 x2 c0 c1", &[image, &[4], &[4]]).with(vec![numbers(4), numbers(4)]),
        case(InstanceNormalization, "x0 x1 x2", &[image, &[4], &[4]]),
        case(GroupNormalization, "x0 x1 x2", &[image, &[2], &[2]]).at(18).set(vec![int("num_groups", 2)]),
        case(GroupNormalization, "x0 x1 x2", &[image, &[4], &[4]]).at(21).set(vec![int("num_groups", 2)]),
        case(LayerNormalization, "x0 x1 x2", &[&[2, 3, 4], &[4], &[4]]),
        case(LayerNormalization, "x0 x1", &[&[2, 3, 4], &[3, 4]])
            .set(vec![int("axis", 1), AttributeProto::float("epsilon", 0.1)]),
    ]
}

fn products() -> Vec<Case> {
    use Operator::*;
    let text = AttributeProto::text;
    let conv = |image: &[usize], kernel: &[usize]| case(Conv, "x0 x1 x2", &[image, kernel, &[kernel[0]]]);
    let einsum = |equation: &str, a: &[usize], b: &[usize]| {
        case(Einsum, "x0 x1", &[a, b]).set(vec![text("equation", equation)])
    };
    vec![
        conv(&[2, 3, 5, 6], &[4, 3, 3, 2]),
        conv(&[2, 4, 5, 6], &[6, 2, 3, 3]).set(vec![int("group", 2), list("pads", &[1, 0, 2, 1])]),
        conv(&[2, 3, 6, 6], &[3, 1, 3, 3]).set(vec![
            int("group", 3),
            list("pads", &[1, 1, 1, 1]),
            list("strides", &[2, 1]),
        ]),
        conv(&[2, 2, 14, 13], &[2, 1, 3, 3]).set(vec![int("group", 2), list("dilations", &[2, 1])]),
        conv(&[1, 2, 7, 6], &[3, 2, 3, 3])
            .set(vec![text("auto_pad", "SAME_UPPER"), list("strides", &[2, 2])]),
        conv(&[1, 2, 7, 6], &[3, 2, 2, 2])
            .set(vec![text("auto_pad", "SAME_LOWER"), list("strides", &[2, 1])]),
        conv(&[1, 2, 7, 6], &[3, 2, 2, 2]).set(vec![text("auto_pad", "VALID")]),
        case(Conv, "x0 x1", &[&[2, 3, 4, 4], &[2, 3, 1, 1]]),
        case(Gemm, "x0 x1 x2", &[&[2, 3], &[3, 4], &[4]]),
        case(Gemm, "x0 x1", &[&[3, 2], &[4, 3]]).set(vec![int("transA", 1), int("transB", 1)]),
        case(Gemm, "x0 x1 x2", &[&[2, 3], &[4, 3], &[2, 1]]).set(vec![
            int("transB", 1),
            AttributeProto::float("alpha", 0.5),
            AttributeProto::float("beta", 2.0),
        ]),
        case(MatMul, "x0 x1", &[&[2, 3, 4], &[4, 5]]),
        case(MatMul, "x0 x0", &[&[2, 3, 3]]),
        case(MatMul, "x0 x1", &[&[2, 3, 4], &[2, 4, 5]]),
        case(MatMul, "x0 x1", &[&[2, 3, 4], &[4]]),
        case(MatMul, "x0 x1", &[&[4], &[2, 4, 3]]),
        einsum("bij,bjk->bik", &[2, 3, 4], &[2, 4, 5]),
        einsum("bhwc,hkc->bhwk", &[2, 3, 2, 4], &[3, 5, 4]),
        einsum("nc,kc->kn", &[2, 3], &[4, 3]),
    ]
}

fn pools() -> Vec<Case> {
    use Operator::*;
    let image = |op| case(op, "x0", &[&[1, 2, 7, 6]]);
    let mut cases =
        vec![image(GlobalAveragePool), image(GlobalMaxPool), case(GlobalAveragePool, "x0", &[&[2, 3, 5]])];
    for op in [AveragePool, MaxPool] {
        let of =
            |more: Vec<AttributeProto>| image(op).set([vec![list("kernel_shape", &[3, 2])], more].concat());
        cases.push(of(vec![]));
        cases.push(of(vec![list("strides", &[2, 2]), list("pads", &[1, 0, 1, 1])]));
        cases.push(of(vec![
            list("strides", &[2, 2]),
            list("pads", &[1, 1, 1, 0]),
            int("count_include_pad", 1),
        ]));
        cases.push(of(vec![list("strides", &[3, 4]), int("ceil_mode", 1)]));
        cases.push(of(vec![
            list("strides", &[2, 3]),
            list("pads", &[1, 1, 1, 1]),
            int("ceil_mode", 1),
            int("count_include_pad", 1),
        ]));
        cases.push(of(vec![AttributeProto::text("auto_pad", "SAME_UPPER"), list("strides", &[2, 2])]));
    }
    cases.push(image(AveragePool).set(vec![list("kernel_shape", &[2, 2]), list("strides", &[2, 2])]));
    // `count_include_pad` is of averages alone.
    cases.retain(|c| c.op != MaxPool || c.attributes.iter().all(|a| a.name() != "count_include_pad"));
    cases
}

fn logic() -> Vec<Case> {
    use Operator::*;
    [Equal, Greater, GreaterOrEqual, Less, LessOrEqual].map(|op| case(op, "x0 x1", &[&[2, 3], &[3]])).into()
}

fn cases() -> Vec<Case> {
    [elementwise(), moves(), resizes(), reductions(), normalisations(), products(), pools()]
        .into_iter()
        .flatten()
        .collect()
}

pub(super) fn random(name: &str, shape: &[usize], positive: bool) -> ArrayD<f64> {
    let mut rng = seeded(7, name);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        let x: f64 = rng.random_range(0.2..1.5);
        if positive || rng.random_bool(0.5) { x } else { -x }
    })
}

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

/// The lowered node with its results, and the loss `Σ weight·y` with its gradients.
fn lowered(case: &Case, given: &ModelProto, channels: Channels) -> Result<ModelProto> {
    let g = Graph::new("case");
    let input = |(i, shape): (usize, &Vec<usize>)| {
        let name = format!("x{i}");
        let x = g.input(&name, DType::F32, shape);
        (name, x)
    };
    let inputs: Vec<(String, Expr)> = case.shapes.iter().enumerate().map(input).collect();
    let learned = |name: &str| inputs[1..].iter().find(|(n, _)| n == name).map(|(n, x)| (n.as_str(), *x));
    let mut loss = g.scalar(0.0);
    let outputs = &given.graph.as_ref().unwrap().output;
    let of_one = |output: &ValueInfoProto| {
        let mut one = given.clone();
        one.graph.as_mut().unwrap().output = vec![output.clone()];
        one
    };
    let each: Vec<ModelProto> = outputs.iter().map(of_one).collect();
    for (i, one) in each.iter().enumerate() {
        let y = lower(one, inputs[0].1, &learned, Mode::Infer, channels)?.embedding.cast(DType::F32);
        g.output(&format!("y{i}"), y);
        loss = loss + (y * g.input(&format!("weight{i}"), DType::F32, &y.shape())).total();
    }
    g.output("loss", loss);
    let wrt: Vec<Expr> = inputs.iter().map(|(_, x)| *x).collect();
    for ((name, _), gradient) in inputs.iter().zip(gradients(loss, &wrt, GradOptions::default())) {
        g.output(&format!("d{name}"), gradient);
    }
    g.to_model()
}

/// How far a case's results are off, and how far its derivatives.
fn off(case: &Case, channels: Channels) -> Result<[f64; 2]> {
    let given = case.model();
    let lowered = lowered(case, &given, channels)?;
    let point = |(i, shape): (usize, &Vec<usize>)| {
        let name = format!("x{i}");
        let x = random(&name, shape, case.positive);
        (name, x)
    };
    let mut at: Values = case.shapes.iter().enumerate().map(point).collect();
    // The node itself, its weights as inputs.
    let mut own = given.clone();
    let graph = own.graph.as_mut().unwrap();
    graph.initializer.retain(|t| t.name().starts_with('c'));
    let value = |name: &String| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() };
    graph.input = at.keys().map(value).collect();
    let truth = interpreter::run(&own, at.clone())?;
    for (name, y) in &truth {
        at.insert(name.replace('y', "weight"), random(name, y.shape(), false));
    }
    let outputs = interpreter::run(&lowered, at.clone())?;
    let mut worst = [0.0_f64; 2];
    for (name, y) in &truth {
        if outputs[name].shape() != y.shape() {
            return Err(Error::invalid(name, format!("{:?}, not {:?}", outputs[name].shape(), y.shape())));
        }
        worst[0] = (&outputs[name] - y).iter().fold(worst[0], |most, d| most.max(d.abs()));
    }
    let loss = |moved: &Values| -> f64 {
        let inputs = moved.iter().filter(|(k, _)| k.starts_with('x')).map(|(k, v)| (k.clone(), v.clone()));
        let outputs = interpreter::run(&own, inputs.collect()).unwrap();
        outputs.iter().map(|(name, y)| (y * &at[&name.replace('y', "weight")]).sum()).sum()
    };
    for direction in 0..2 {
        let along = |(i, shape): (usize, &Vec<usize>)| {
            (format!("x{i}"), random(&format!("along {direction} {i}"), shape, false))
        };
        let along: Values = case.shapes.iter().enumerate().map(along).collect();
        let moved = |by: f64| {
            let mut moved = at.clone();
            along.iter().for_each(|(name, d)| *moved.get_mut(name).unwrap() += &(d * by));
            moved
        };
        let difference = (loss(&moved(STEP)) - loss(&moved(-STEP))) / (2.0 * STEP);
        let slope: f64 = along.iter().map(|(name, d)| (d * &outputs[&format!("d{name}")]).sum()).sum();
        worst[1] = worst[1].max((slope - difference).abs() / slope.abs().max(difference.abs()).max(1.0));
    }
    Ok(worst)
}

#[test]
fn every_operator_becomes_what_it_is_with_its_derivative() {
    let mut faults = Vec::new();
    for case in cases() {
        for channels in [Channels::First, Channels::Last] {
            match off(&case, channels) {
                Ok(worst) if worst.iter().all(|off| *off < TOLERANCE) => {}
                Ok(worst) => faults.push(format!("{}: off by {worst:?}", case.name())),
                Err(error) => faults.push(format!("{}: {error}", case.name())),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Along one axis an operator is what it is along two with a single row: numbers and derivatives.
#[test]
fn one_axis_is_an_image_of_a_single_row() {
    use Operator::{AveragePool, Conv, MaxPool};
    let window = |short: bool| {
        let both =
            |name: &str, one: i64, row: i64| if short { list(name, &[one]) } else { list(name, &[row, one]) };
        let pads = if short { list("pads", &[1, 2]) } else { list("pads", &[0, 1, 0, 2]) };
        vec![both("kernel_shape", 3, 1), both("strides", 2, 1), pads]
    };
    let more = |short: bool| if short { list("dilations", &[2]) } else { list("dilations", &[1, 2]) };
    for op in [Conv, MaxPool, AveragePool] {
        let [short, long] = [true, false].map(|short| {
            let (image, kernel): (&[usize], &[usize]) =
                if short { (&[2, 4, 9], &[4, 2, 3]) } else { (&[2, 4, 1, 9], &[4, 2, 1, 3]) };
            if op == Conv {
                let attributes = [window(short), vec![more(short), int("group", 2)]].concat();
                case(op, "x0 x1 x2", &[image, kernel, &[4]]).set(attributes)
            } else {
                case(op, "x0", &[image]).set(window(short))
            }
        });
        let outputs = |case: &Case| {
            let mut at = Values::new();
            for (i, shape) in case.shapes.iter().enumerate() {
                let flat = random(&format!("x{i}"), &[shape.iter().product()], false);
                at.insert(format!("x{i}"), flat.into_shape_with_order(IxDyn(shape)).unwrap());
            }
            let model = lowered(case, &case.model(), Channels::First).unwrap();
            let places = crate::walk::Types::of(&model).unwrap().get("y0").unwrap().sizes().unwrap();
            let flat = random("weight", &[places.iter().product()], false);
            at.insert("weight0".into(), flat.into_shape_with_order(IxDyn(&places)).unwrap());
            interpreter::run(&model, at).unwrap()
        };
        let (of_short, of_long) = (outputs(&short), outputs(&long));
        for (name, value) in of_short {
            assert!(
                value.iter().zip(of_long[&name].iter()).all(|(a, b)| (a - b).abs() < 1e-12),
                "{op}: {name}"
            );
        }
    }
}

/// And what has none is not in the tables above.
#[test]
fn every_rule_has_a_case() {
    use Operator::{And, Not, Or};
    let cases: Vec<Case> = cases().into_iter().chain(logic()).collect();
    for op in Operator::ALL.iter().filter(|op| ![And, Not, Or].contains(*op)) {
        let has_rule = !matches!(rule(*op), Rule::Without);
        assert_eq!(cases.iter().any(|case| case.op == *op), has_rule, "{op}");
    }
}
