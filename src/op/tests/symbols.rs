//! What is told of results whose sizes are symbols, by the chains that exporters write.

use super::*;
use crate::onnx::{GraphProto, ModelProto, OperatorSetIdProto};
use crate::walk::Types;

/// A model of nodes, whose weights are int64 lists.
fn types(input: &[Option<i64>], lists: &[(&str, &[i64])], nodes: Vec<NodeProto>) -> ModelProto {
    let dims = input.iter().enumerate().map(|(axis, size)| crate::onnx::Dimension {
        value: Some(match size {
            Some(size) => crate::onnx::DimensionValue::Value(*size),
            None => crate::onnx::DimensionValue::Param(["N", "C", "H", "W"][axis].into()),
        }),
        denotation: None,
    });
    let tensor = crate::onnx::type_proto::Tensor {
        elem_type: Some(crate::onnx::data_type::FLOAT),
        shape: Some(crate::onnx::TensorShapeProto { dim: dims.collect() }),
    };
    let kind = crate::onnx::TypeProto {
        value: Some(crate::onnx::type_proto::Value::Tensor(tensor)),
        denotation: None,
    };
    let x = crate::onnx::ValueInfoProto {
        name: Some("x".into()),
        r#type: Some(kind),
        ..crate::onnx::ValueInfoProto::default()
    };
    let initializer = lists
        .iter()
        .map(|(name, list)| TensorProto { name: Some((*name).into()), ..integers(&[list.len()], list) });
    let graph = GraphProto {
        node: nodes,
        input: vec![x],
        initializer: initializer.collect(),
        ..GraphProto::default()
    };
    ModelProto {
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() }],
        ..ModelProto::default()
    }
}

/// `a → Op → b`, with inputs parted by blanks.
fn node(inputs: &str, op: &str, output: &str) -> NodeProto {
    let mut node = case(op).node;
    node.input = inputs.split(' ').map(String::from).collect();
    node.output = output.split(' ').map(String::from).collect();
    node
}

fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

fn shape(model: &ModelProto, name: &str) -> String {
    Types::of(model).unwrap().get(name).unwrap().to_string()
}

const ALL_OPEN: [Option<i64>; 4] = [None; 4];

#[test]
fn a_flattening_of_the_shape_itself_keeps_the_batch() {
    let nodes = vec![
        node("x", "Shape", "s"),
        node("s zero", "Gather", "n"),
        node("n axis", "Unsqueeze", "n1"),
        with(node("n1 rest", "Concat", "to"), AttributeProto::int("axis", 0)),
        node("x to", "Reshape", "y"),
    ];
    let mut model = types(&[None, Some(8), Some(3), Some(3)], &[("axis", &[0]), ("rest", &[-1])], nodes);
    model
        .graph
        .as_mut()
        .unwrap()
        .initializer
        .push(TensorProto { name: Some("zero".into()), ..integers(&[], &[0]) });
    assert_eq!(shape(&model, "y"), "float32 [N, 72]");
    assert_eq!(Types::with_batch(&model, 5).unwrap().get("y").unwrap().to_string(), "float32 [5, 72]");
}

/// Swin: space is folded into the batch in windows of 4×4, and taken out again.
#[test]
fn windows_fold_space_into_the_batch_and_back() {
    let lists: [(&str, &[i64]); 5] = [
        ("parts", &[-1, 2, 4, 2, 4, 6]),
        ("windows", &[-1, 16, 6]),
        ("back", &[-1, 2, 2, 4, 4, 6]),
        ("whole", &[-1, 8, 8, 6]),
        ("zero", &[0]),
    ];
    let perm: &[i64] = &[0, 1, 3, 2, 4, 5];
    let nodes = vec![
        node("x parts", "Reshape", "a"),
        with(node("a", "Transpose", "b"), AttributeProto::ints("perm", perm.into())),
        node("b windows", "Reshape", "w"),
        node("w w", "Add", "v"),
        node("v back", "Reshape", "c"),
        with(node("c", "Transpose", "d"), AttributeProto::ints("perm", perm.into())),
        node("d whole", "Reshape", "y"),
    ];
    let model = types(&[None, Some(8), Some(8), Some(6)], &lists, nodes);
    assert_eq!(shape(&model, "w"), "float32 [4*N, 16, 6]");
    assert_eq!(shape(&model, "y"), "float32 [N, 8, 8, 6]");
}

/// A class token spread over the batch: `Expand` to what `Where` makes of -1 and the shape.
#[test]
fn a_class_token_is_spread_over_the_batch() {
    let lists: [(&str, &[i64]); 5] = [
        ("zero", &[0]),
        ("ones", &[1, 1, 1]),
        ("minus", &[-1, -1, -1]),
        ("rest", &[-1, 4]),
        ("token", &[7; 4]),
    ];
    let nodes = vec![
        node("x", "Shape", "s"),
        node("s zero", "Gather", "n"),
        with(node("n rest", "Concat", "wanted"), AttributeProto::int("axis", 0)),
        node("wanted minus", "Equal", "open"),
        node("open ones wanted", "Where", "to"),
        node("token zero", "Unsqueeze", "t"),
        node("t to", "Expand", "tokens"),
        with(node("tokens tokens", "Concat", "y"), AttributeProto::int("axis", 1)),
    ];
    let model = types(&[None, Some(9), Some(4)], &lists, nodes);
    assert_eq!(shape(&model, "tokens"), "int64 [N, 1, 4]");
    assert_eq!(shape(&model, "y"), "int64 [N, 2, 4]");
}

#[test]
fn convolutions_of_open_sizes_agree_with_each_other() {
    let conv = |output: &str| {
        with(
            with(node("x w", "Conv", output), AttributeProto::ints("pads", vec![1; 4])),
            AttributeProto::ints("strides", vec![2, 2]),
        )
    };
    let model = {
        let mut model = types(
            &ALL_OPEN,
            &[],
            vec![conv("a"), conv("b"), node("a b", "Add", "y"), node("y", "GlobalAveragePool", "m")],
        );
        let w = Tensor::F32(ArrayD::zeros(IxDyn(&[8, 3, 3, 3]))).to_proto("w");
        model.graph.as_mut().unwrap().initializer.push(w);
        model
    };
    assert_eq!(shape(&model, "y"), "float32 [N, 8, floor((H - 1)/2) + 1, floor((W - 1)/2) + 1]");
    assert_eq!(shape(&model, "m"), "float32 [N, 8, 1, 1]");
}

/// Twice the size as exporters compute it: shape → float → times 2 → floor → integers.
#[test]
fn an_enlargement_by_computed_sizes_is_followed() {
    let lists: [(&str, &[i64]); 4] = [("two", &[2]), ("four", &[4]), ("axis", &[0]), ("first", &[0])];
    let cast =
        |from: &str, to: i64, name: &str| with(node(from, "Cast", name), AttributeProto::int("to", to));
    let nodes = vec![
        node("x", "Shape", "s"),
        node("s two four axis", "Slice", "hw"),
        cast("hw", 1, "f"),
        cast("two", 1, "factor"),
        node("f factor", "Mul", "scaled"),
        node("scaled", "Floor", "whole"),
        cast("whole", 7, "to"),
        node("s first two axis", "Slice", "nc"),
        with(node("nc to", "Concat", "sizes"), AttributeProto::int("axis", 0)),
        node("x   sizes", "Resize", "y"),
    ];
    assert_eq!(shape(&types(&ALL_OPEN, &lists, nodes), "y"), "float32 [N, C, 2*H, 2*W]");
}

#[test]
fn what_cannot_be_told_is_unknown_and_not_wrong() {
    let lists: [(&str, &[i64]); 3] = [("start", &[1]), ("end", &[5]), ("axis", &[2])];
    let nodes = vec![
        node("x start end axis", "Slice", "cut"),
        node("x", "NoSuchOperator", "u"),
        node("u x", "Add", "v"),
        node("x", "Squeeze", "q"),
    ];
    let model = types(&ALL_OPEN, &lists, nodes);
    assert_eq!(shape(&model, "cut"), "float32 [N, C, ?, W]");
    assert_eq!(shape(&model, "u"), "?");
    assert_eq!(shape(&model, "v"), "float32");
    assert_eq!(shape(&model, "q"), "float32");
}
