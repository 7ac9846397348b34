//! Each fault of tract shown by one node, beside what is right. Where a later tract has mended one, its line here
//! fails: then its row in the table goes.
#![allow(clippy::unwrap_used)]

use super::engine::run_as_is;
use super::{faults, mend};
use crate::onnx::{
    AttributeProto, DType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, Tensor, ValueInfoProto,
    attribute_type,
};
use crate::walk::interpreter;
use ndarray::ArrayD;

/// A node, what it is given, and what is right.
struct Case {
    model: ModelProto,
    input: (String, Tensor),
    right: Vec<f64>,
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: Some(format!("/{op}/{output}")),
        op_type: Some(op.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: output.split(' ').map(|name| name.replace('-', "")).collect(),
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn array(shape: &[usize], values: &[f64]) -> ArrayD<f64> {
    ArrayD::from_shape_vec(shape, values.to_vec()).unwrap()
}

fn counting(shape: &[usize]) -> ArrayD<f64> {
    array(shape, &(0..shape.iter().product()).map(|i| ((i * 7) % 11) as f64).collect::<Vec<_>>())
}

fn floats(array: ArrayD<f64>) -> Tensor {
    Tensor::from_f64(&array, DType::F32)
}

fn model(
    opset: i64,
    nodes: Vec<NodeProto>,
    x: &ArrayD<f64>,
    weights: &[(&str, Tensor)],
) -> (ModelProto, (String, Tensor)) {
    let input = floats(x.clone());
    let graph = GraphProto {
        name: Some("one".into()),
        input: vec![input.value_info("x")],
        initializer: weights.iter().map(|(name, value)| value.to_proto(name)).collect(),
        node: nodes,
        output: vec![ValueInfoProto { name: Some("y".into()), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        graph: Some(graph),
        ..ModelProto::default()
    };
    (model, ("x".into(), input))
}

/// Right is what is written.
fn told(
    opset: i64,
    nodes: Vec<NodeProto>,
    x: ArrayD<f64>,
    weights: &[(&str, Tensor)],
    right: &[f64],
) -> Case {
    let (model, input) = model(opset, nodes, &x, weights);
    Case { model, input, right: right.to_vec() }
}

/// Right is what the interpreter says.
fn interpreted(opset: i64, nodes: Vec<NodeProto>, x: ArrayD<f64>, weights: &[(&str, Tensor)]) -> Case {
    let (model, input) = model(opset, nodes, &x, weights);
    let right = interpreter::run(&model, interpreter::Values::from_iter([("x".to_string(), x)]))
        .unwrap()
        .remove("y")
        .unwrap();
    Case { model, input, right: right.iter().copied().collect() }
}

impl Case {
    fn off(&self, model: &ModelProto) -> f64 {
        let said = run_as_is(model, std::slice::from_ref(&self.input)).unwrap();
        let said = said[0].to_f64();
        if said.len() != self.right.len() {
            return f64::INFINITY;
        }
        said.iter().zip(&self.right).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
    }
}

fn texts(name: &str, values: &[&str]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_type::STRINGS),
        strings: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        ..AttributeProto::default()
    }
}

fn number(name: &str, value: f32) -> AttributeProto {
    let kind = Some(attribute_type::FLOAT);
    AttributeProto { name: Some(name.into()), r#type: kind, f: Some(value), ..AttributeProto::default() }
}

/// A cell of one unit whose gates see `x` times `w`, over two steps; `R` is `r` at every gate.
fn cell(op: &str, w: &[f64], r: f64, steps: [f64; 2], attributes: Vec<AttributeProto>, right: f64) -> Case {
    let attributes = [attributes, vec![AttributeProto::int("hidden_size", 1)]].concat();
    let gates = w.len();
    let weights =
        [("W", floats(array(&[1, gates, 1], w))), ("R", floats(array(&[1, gates, 1], &vec![r; gates])))];
    told(
        14,
        vec![node(op, &["x", "W", "R"], "- y", attributes)],
        array(&[2, 1, 1], &steps),
        &weights,
        &[right],
    )
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Every fault of the table, shown.
fn shown() -> Vec<(&'static str, Case)> {
    let hard = |x: f64| (0.2 * x + 0.5).clamp(0.0, 1.0);
    let pool = |op: &str| {
        let attributes = vec![
            AttributeProto::ints("kernel_shape", vec![3, 3]),
            AttributeProto::ints("strides", vec![2, 2]),
            AttributeProto::int("ceil_mode", 1),
            AttributeProto::text("auto_pad", "VALID"),
        ];
        let x = array(&[1, 1, 4, 4], &[1.0; 16]);
        // Two windows along each axis, the second over the edge.
        told(12, vec![node(op, &["x"], "y", attributes)], x, &[], &[1.0; 4])
    };
    // The first gate of GRU is z, of LSTM i, o, f, c; a GRU's h is (1 − z) n + z h.
    let gru = |z: fn(f64) -> f64, x: f64| (1.0 - z(x)) * x.tanh();
    let lstm_step = |c: f64, i: f64, f: f64, g: f64| f * c + i * g;
    let i = sigmoid(1.0);
    let forgotten = lstm_step(lstm_step(0.0, i, 1.0 - i, 1f64.tanh()), i, 1.0 - i, 1f64.tanh());
    let scale = |values: [f64; 4]| ("scales", floats(array(&[4], &values)));
    let no_roi = ("roi", floats(array(&[0], &[])));
    vec![
        ("RNN", cell("RNN", &[1.0], 0.0, [0.0, 2.0], vec![texts("activations", &["Relu"])], 2.0)),
        (
            "RNN",
            cell(
                "RNN",
                &[1.0],
                1.0,
                [1.0, 0.0],
                vec![AttributeProto::text("direction", "reverse")],
                1f64.tanh(),
            ),
        ),
        ("RNN", cell("RNN", &[1.0], 0.0, [0.0, 2.0], vec![number("clip", 0.5)], 0.5f64.tanh())),
        ("GRU", cell("GRU", &[1.0; 3], 0.0, [0.0, 3.0], vec![number("clip", 0.5)], gru(sigmoid, 0.5))),
        (
            "GRU",
            cell(
                "GRU",
                &[1.0; 3],
                0.0,
                [0.0, 1.0],
                vec![texts("activations", &["HardSigmoid", "Tanh"])],
                gru(hard, 1.0),
            ),
        ),
        (
            "LSTM",
            cell(
                "LSTM",
                &[1.0; 4],
                0.0,
                [1.0, 1.0],
                vec![AttributeProto::int("input_forget", 1)],
                i * forgotten.tanh(),
            ),
        ),
        (
            "Celu",
            told(
                12,
                vec![node("Celu", &["x"], "y", vec![number("alpha", 0.5)])],
                array(&[1], &[-1.0]),
                &[],
                &[0.5 * ((-2f64).exp() - 1.0)],
            ),
        ),
        (
            "Swish",
            told(
                24,
                vec![node("Swish", &["x"], "y", vec![number("alpha", 2.0)])],
                array(&[1], &[1.0]),
                &[],
                &[sigmoid(2.0)],
            ),
        ),
        (
            "GlobalLpPool",
            told(
                12,
                vec![node("GlobalLpPool", &["x"], "y", vec![AttributeProto::int("p", 1)])],
                array(&[1, 1, 1, 2], &[1.0, 2.0]),
                &[],
                &[3.0],
            ),
        ),
        (
            "ConvTranspose",
            told(
                12,
                vec![node(
                    "ConvTranspose",
                    &["x", "w"],
                    "y",
                    vec![
                        AttributeProto::ints("strides", vec![2, 2]),
                        AttributeProto::ints("output_padding", vec![1, 1]),
                        AttributeProto::text("auto_pad", "SAME_UPPER"),
                    ],
                )],
                array(&[1, 1, 1, 1], &[1.0]),
                &[("w", floats(array(&[1, 1, 3, 3], &[1.0; 9])))],
                // Twice as large as what it is given.
                &[1.0; 4],
            ),
        ),
        ("AveragePool", pool("AveragePool")),
        ("MaxPool", pool("MaxPool")),
        (
            "Resize",
            interpreted(
                11,
                vec![node(
                    "Resize",
                    &["x", "roi", "scales"],
                    "y",
                    vec![
                        AttributeProto::text("coordinate_transformation_mode", "align_corners"),
                        AttributeProto::text("mode", "linear"),
                    ],
                )],
                counting(&[1, 1, 5, 5]),
                &[no_roi, scale([1.0, 1.0, 0.5, 0.5])],
            ),
        ),
        (
            "GridSample",
            told(
                16,
                vec![node(
                    "GridSample",
                    &["x", "grid"],
                    "y",
                    vec![
                        AttributeProto::text("mode", "bicubic"),
                        AttributeProto::text("padding_mode", "border"),
                    ],
                )],
                array(&[1, 1, 4, 4], &(0..16).map(|i| f64::from(i * i) / 16.0).collect::<Vec<_>>()),
                &[("grid", floats(array(&[1, 1, 2, 2], &[-1.4, -1.2, 1.3, 0.2])))],
                // As PyTorch and ONNX Runtime have it, outside the picture too.
                &[-0.006_750_1, 6.815_5],
            ),
        ),
        (
            "Mod",
            told(
                13,
                vec![
                    node("Cast", &["x"], "whole", vec![AttributeProto::int("to", 7)]),
                    node("Mod", &["whole", "by"], "rest", Vec::new()),
                    node("Cast", &["rest"], "y", vec![AttributeProto::int("to", 1)]),
                ],
                array(&[4], &[7.0, 8.0, -7.0, -4.0]),
                &[("by", Tensor::from_f64(&array(&[1], &[3.0]), DType::I64))],
                &[1.0, 2.0, 2.0, 2.0],
            ),
        ),
    ]
}

#[test]
fn tract_gets_every_row_of_the_table_wrong_and_the_check_refuses_it() {
    for (op, case) in shown() {
        let off = case.off(&case.model);
        assert!(off > 1e-3, "{op}: this tract is right ({off} off): take the row out of the table");
        let said = faults::check(&case.model, "some.onnx").unwrap_err().to_string();
        assert!(said.contains(op) && said.contains("--runtime ort") && said.contains("some.onnx"), "{said}");
    }
}

#[test]
fn usual_nodes_of_the_same_operators_are_not_refused_and_right() {
    let usual = texts("activations", &["Sigmoid", "tanh"]);
    let gru = (1.0 - sigmoid(1.0)) * 1f64.tanh();
    let cases = [
        cell(
            "GRU",
            &[1.0; 3],
            0.0,
            [0.0, 1.0],
            vec![usual, AttributeProto::text("direction", "forward")],
            gru,
        ),
        told(
            12,
            vec![node("Celu", &["x"], "y", Vec::new())],
            array(&[1], &[-1.0]),
            &[],
            &[(-1f64).exp() - 1.0],
        ),
        interpreted(
            12,
            vec![node(
                "MaxPool",
                &["x"],
                "y",
                vec![
                    AttributeProto::ints("kernel_shape", vec![3, 3]),
                    AttributeProto::ints("strides", vec![2, 2]),
                    AttributeProto::int("ceil_mode", 1),
                ],
            )],
            counting(&[1, 1, 4, 4]),
            &[],
        ),
    ];
    for case in cases {
        faults::check(&case.model, "some.onnx").unwrap();
        assert!(case.off(&mend::mended(&case.model)) < 1e-5);
    }
}

#[test]
fn what_tract_gets_wrong_is_written_so_that_it_gets_it_right() {
    let pads = ("pads", Tensor::from_f64(&array(&[4], &[0.0, 2.0, 0.0, 1.0]), DType::I64));
    let reflect = vec![AttributeProto::text("mode", "reflect")];
    let value = ("value", floats(array(&[], &[9.0])));
    let weight = ("w", floats(counting(&[4, 2, 3, 3])));
    let channels = ("c", floats(counting(&[4, 1, 1])));
    let cases = [
        told(
            13,
            vec![node("Pad", &["x", "pads", "value"], "y", reflect)],
            array(&[1, 3], &[1.0, 2.0, 4.0]),
            &[pads, value],
            &[4.0, 2.0, 1.0, 2.0, 4.0, 2.0],
        ),
        told(
            10,
            vec![node("Resize", &["x", "scales"], "y", Vec::new())],
            array(&[1, 5], &[0.0, 1.0, 2.0, 3.0, 4.0]),
            &[("scales", floats(array(&[2], &[1.0, 0.6])))],
            // At 0, 1⅔ and 3⅓.
            &[0.0, 1.0, 3.0],
        ),
        interpreted(
            13,
            vec![node("Conv", &["x", "w"], "sum", Vec::new()), node("Sub", &["c", "sum"], "y", Vec::new())],
            counting(&[1, 2, 5, 5]),
            &[weight, channels],
        ),
    ];
    for case in cases {
        faults::check(&case.model, "some.onnx").unwrap();
        let op = case.model.graph.as_ref().unwrap().node.last().unwrap().op_type().to_string();
        assert!(case.off(&case.model) > 1e-3, "{op}: this tract is right: leave it as it is");
        let off = case.off(&mend::mended(&case.model));
        assert!(off < 1e-4, "{op}: {off} off");
    }
}

#[test]
fn nodes_of_one_name_are_told_apart() {
    let mut nodes = vec![node("Neg", &["x"], "less", Vec::new()), node("Abs", &["less"], "y", Vec::new())];
    nodes.iter_mut().for_each(|node| node.name = Some("same".into()));
    let case = told(13, nodes, array(&[2], &[1.0, -2.0]), &[], &[1.0, 2.0]);
    assert_eq!(case.off(&mend::mended(&case.model)), 0.0);
}

#[test]
fn what_tract_gets_right_is_left_as_it_is() {
    let pad = vec![node("Pad", &["x", "pads"], "y", vec![AttributeProto::text("mode", "edge")])];
    let pads = ("pads", Tensor::from_f64(&array(&[4], &[0.0; 4]), DType::I64));
    let case = told(13, pad, array(&[1, 3], &[1.0, 2.0, 4.0]), &[pads], &[1.0, 2.0, 4.0]);
    assert!(matches!(mend::mended(&case.model), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn a_transpose_by_no_permutation_is_refused_before_tract_sees_it() {
    let perm = AttributeProto::ints("perm", vec![0, 0, 1]);
    let (model, _) = model(17, vec![node("Transpose", &["x"], "y", vec![perm])], &counting(&[2, 2, 2]), &[]);
    let said = faults::check(&model, "some.onnx").unwrap_err().to_string();
    assert!(said.contains("Transpose") && said.contains("some.onnx"), "{said}");
}
