#![allow(clippy::unwrap_used)]
pub(crate) mod growth;

use super::*;
use crate::onnx::{AttributeProto, Tensor, data_type};
use crate::random as dice;
use growth::{Growth, Rule};
use ndarray::ArrayD;

/// The operators that have a rule.
const RULED: [Operator; 27] = {
    use Operator::*;
    [
        Abs,
        Add,
        AveragePool,
        Cast,
        Ceil,
        Clip,
        Concat,
        Conv,
        Div,
        Dropout,
        Flatten,
        Floor,
        Gather,
        Gemm,
        Identity,
        MatMul,
        Max,
        MaxPool,
        Min,
        Mul,
        Neg,
        Pad,
        ReduceSum,
        Relu,
        Reshape,
        Sub,
        Sum,
    ]
};
/// Those that only move what they are given.
const MOVING: [Operator; 4] = [Operator::Slice, Operator::Squeeze, Operator::Transpose, Operator::Unsqueeze];

/// Grows graphs in which an operator comes up often; the first lie that the rule tells of its results.
fn lie(rule: Rule<'_>, operator: Operator, seeds: std::ops::Range<u64>) -> (Option<String>, usize) {
    let mut grown = 0;
    for seed in seeds {
        let mut rng = dice::stream(seed, "operators", operator as u64, 0);
        let mut growth = Growth::new(seed, 2 + seed as usize % 4, rule);
        growth.multiplies = true;
        for _ in 0..12 {
            let all = [&RULED[..], &MOVING].concat();
            let other = all[dice::below(&mut rng, all.len())];
            let next = if dice::below(&mut rng, 2) == 0 { operator } else { other };
            let added = growth.grow(next);
            if added && let Some(lie) = growth.lie() {
                return (Some(format!("seed {seed}, {next}: {lie}")), grown);
            }
            grown += usize::from(added && next == operator);
        }
    }
    (None, grown)
}

#[test]
fn no_rule_lies_about_random_graphs() {
    for operator in RULED.into_iter().chain(MOVING) {
        let (lie, grown) = lie(&range, operator, 0..24);
        assert_eq!(lie, None, "{operator}");
        assert!(grown >= 8, "{operator}: only {grown} nodes were tried");
    }
}

/// A fault planted into a rule.
type Fault = (&'static str, fn(Interval) -> Interval);

#[test]
fn a_fault_in_any_rule_is_found() {
    let faults: [Fault; 3] = [
        ("a step too coarse", |c| Interval::new(c.low, c.high, c.step + 1)),
        ("an end too low", |c| Interval::new(c.low, c.high - 2f64.powi(c.step), c.step)),
        ("an end too high", |c| Interval::new(c.low + 2f64.powi(c.step), c.high, c.step)),
    ];
    for operator in RULED.into_iter().chain(MOVING) {
        for (what, fault) in faults {
            let planted = |node: &NodeProto, facts: &Facts<'_>| {
                let known = range(node, facts)?;
                let at = node.operator() == Some(operator);
                Ok(if at { Known { range: known.range.map(fault), ..known } } else { known })
            };
            assert!(lie(&planted, operator, 0..400).0.is_some(), "{operator}: {what} is not found");
        }
    }
}

#[test]
fn a_proof_without_the_limit_of_24_bits_is_found() {
    assert!(lie(&unlimited, Operator::Conv, 0..400).0.is_some());
}

#[test]
fn every_operator_has_a_rule_or_is_on_the_list() {
    let graph = GraphProto::default();
    for operator in Operator::ALL {
        let node = NodeProto { op_type: Some(operator.name().into()), ..NodeProto::default() };
        let said = range(&node, &Facts::of(&graph)).unwrap_err().to_string();
        let listed = said.contains("exactness cannot be proven");
        assert_eq!(!listed, RULED.contains(operator) || MOVING.contains(operator), "{operator}: {said}");
    }
}

fn floats(low: f64, high: f64) -> Known {
    Known { range: Range::uniform(Interval::new(low, high, 0)), rank: 4, float: true, integer: false }
}

fn numbers(shape: &[usize], x: f32) -> ArrayD<f32> {
    ArrayD::from_elem(shape.to_vec(), x)
}

/// What is known of a node whose first input is known and whose others are constants.
fn told(op: &str, x: &Known, constants: &[ArrayD<f32>], attributes: &[(&str, &[i64])]) -> Result<Known> {
    let mut graph = GraphProto::default();
    let mut node = NodeProto { op_type: Some(op.into()), input: vec!["x".into()], ..NodeProto::default() };
    for (i, constant) in constants.iter().enumerate() {
        graph.initializer.push(Tensor::F32(constant.clone()).to_proto(&format!("c{i}")));
        node.input.push(format!("c{i}"));
    }
    for (name, ints) in attributes {
        let i = if ints.len() == 1 { Some(ints[0]) } else { None };
        let name = Some((*name).to_string());
        node.attribute.push(AttributeProto { name, i, ints: ints.to_vec(), ..AttributeProto::default() });
    }
    let mut facts = Facts::of(&graph);
    facts.enter("x", x.clone())?;
    range(&node, &facts)
}

#[test]
fn what_runtimes_compute_differently_is_refused() {
    type Case =
        (&'static str, Known, Vec<ArrayD<f32>>, &'static [(&'static str, &'static [i64])], &'static str);
    let row = Known { rank: 2, ..floats(0.0, 1.0) };
    let one = |x: f32| vec![numbers(&[], x)];
    let weights = |inputs: usize, x: f32| vec![numbers(&[2, inputs, 1, 1], x)];
    let cases: [Case; 16] = [
        ("Add", Known::image(4), one(255.0), &[], "in integers"),
        ("Conv", Known::image(4), weights(1, 1.0), &[], "in integers"),
        ("Conv", floats(0.0, 1.0), one(1.0), &[], "its weights have the shape []"),
        ("Conv", floats(0.0, 1.0), weights(1, f32::NAN), &[], "channel 0"),
        ("Conv", floats(0.0, 1.0), weights(1, 1e-39), &[], "channel 0"),
        ("Conv", floats(0.0, 255.0), weights(600, 127.0), &[], "not below 2^24"),
        // As many numbers as outputs, but they lie along the batch.
        ("Gemm", row, vec![numbers(&[3, 2], 1.0), numbers(&[2, 1], 1.0)], &[], "its bias"),
        ("MatMul", floats(0.0, 1.0), vec![numbers(&[3, 2], 1.0)], &[], "weight matrix"),
        ("Mul", floats(0.0, 9.0), one(0.1), &[], "more than 24 bits"),
        ("Mul", floats(0.0, 255.0), one(2f32.powi(125)), &[], "does not hold"),
        ("Clip", floats(0.0, 9.0), vec![numbers(&[], 5.0), numbers(&[], 3.0)], &[], "no interval"),
        ("Clip", floats(0.0, 9.0), vec![numbers(&[2], 5.0)], &[], "shape [2]"),
        ("AveragePool", floats(0.0, 9.0), vec![], &[("kernel_shape", &[3, 1])], "may be rounded"),
        (
            "AveragePool",
            floats(0.0, 9.0),
            vec![],
            &[("kernel_shape", &[2, 2]), ("pads", &[1, 0, 0, 0])],
            "may be rounded",
        ),
        (
            "MaxPool",
            floats(0.0, 9.0),
            vec![],
            &[("kernel_shape", &[2, 2]), ("pads", &[2, 0, 0, 0])],
            "padding alone",
        ),
        ("Cast", floats(0.0, 9.0), vec![], &[("to", &[data_type::FLOAT16 as i64])], "another type"),
    ];
    for (op, x, constants, attributes, words) in cases {
        let said = told(op, &x, &constants, attributes).unwrap_err().to_string();
        assert!(said.contains(words), "{op}: {said}");
    }
}

#[test]
fn places_beyond_a_list_and_sums_of_unknown_size_are_refused() {
    let list = Tensor::F32(ndarray::arr1(&[1.0f32, 2.0, -3.0]).into_dyn()).to_proto("list");
    let axes = Tensor::I64(ndarray::arr1(&[2i64, 3]).into_dyn()).to_proto("axes");
    let batch = Tensor::I64(ndarray::arr1(&[0i64]).into_dyn()).to_proto("batch");
    let graph = GraphProto { initializer: vec![list, axes, batch], ..GraphProto::default() };
    let node = |op: &str, inputs: [&str; 2]| NodeProto {
        op_type: Some(op.into()),
        input: inputs.map(String::from).to_vec(),
        ..NodeProto::default()
    };
    let look_up = |high: f64, integer: bool| {
        let mut facts = Facts::of(&graph);
        facts.enter("x", Known { integer, float: !integer, ..floats(0.0, high) }).unwrap();
        range(&node("Gather", ["list", "x"]), &facts)
    };
    let known = look_up(2.0, true).unwrap();
    assert_eq!((known.range.channels()[0].low, known.range.high(), known.float), (-3.0, 2.0, true));
    assert!(look_up(3.0, true).unwrap_err().to_string().contains("beyond the 3"));
    assert!(look_up(2.0, false).unwrap_err().to_string().contains("integer places"));
    let sum = |sizes: Option<Vec<usize>>, axes: &str| {
        let mut facts = Facts::of(&graph);
        facts.enter("x", floats(0.0, 127.0)).unwrap();
        sizes.into_iter().for_each(|sizes| facts.tell_sizes("x", sizes));
        range(&node("ReduceSum", ["x", axes]), &facts)
    };
    assert_eq!(sum(Some(vec![1, 3, 7, 7]), "axes").unwrap().range.high(), 49.0 * 127.0);
    for (sizes, axes, words) in [
        (None, "axes", "no shape tells"),
        (Some(vec![1, 3, 7, 7]), "batch", "along the batch"),
        (Some(vec![1, 3, 400, 400]), "axes", "not below 2^24"),
    ] {
        let said = sum(sizes, axes).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn older_operators_tell_their_limits_as_attributes() {
    let min = AttributeProto { name: Some("min".into()), f: Some(300.0), ..AttributeProto::default() };
    let clip = NodeProto {
        op_type: Some("Clip".into()),
        input: vec!["x".into()],
        attribute: vec![min],
        ..NodeProto::default()
    };
    let graph = GraphProto::default();
    let mut facts = Facts::of(&graph);
    facts.enter("x", floats(0.0, 255.0)).unwrap();
    let known = range(&clip, &facts).unwrap();
    assert_eq!((known.range.channels()[0].low, known.range.high()), (300.0, 300.0));
}

#[test]
fn padding_along_the_channels_moves_them() {
    let two = Range::of_numbers([1.0, 100.0]).unwrap();
    let x = Known { range: two.clone(), rank: 4, float: true, integer: false };
    let pad = |pads: [i64; 8]| told("Pad", &x, &[], &[("pads", &pads)]).unwrap().range;
    assert_eq!(pad([0, 0, 1, 1, 0, 0, 1, 1]), two.map(Interval::or_zero));
    assert_eq!(pad([0, 0, 0, 0, 0, 2, 0, 0]), two.collapse().map(Interval::or_zero));
}

#[test]
fn a_name_is_given_once() {
    let initializer = vec![Tensor::F32(numbers(&[], 1.0)).to_proto("w")];
    let graph = GraphProto { initializer, ..GraphProto::default() };
    let mut facts = Facts::of(&graph);
    facts.enter("x", floats(0.0, 1.0)).unwrap();
    assert!(facts.enter("x", floats(0.0, 1.0)).is_err() && facts.enter("w", floats(0.0, 1.0)).is_err());
}
