//! Models written another way where tract would get a node wrong: the same numbers, by nodes that it gets right.

use crate::onnx::{AttributeProto, ModelProto, NodeProto};
use std::borrow::Cow;
use std::collections::HashSet;

/// The model as tract gets it right.
pub fn mended(model: &ModelProto) -> Cow<'_, ModelProto> {
    let opset = model.opset().unwrap_or(i64::MAX);
    let Some(graph) = &model.graph else { return Cow::Borrowed(model) };
    let summed = summed(&graph.node);
    let mut names = HashSet::new();
    let each = graph.node.iter().enumerate().map(|(place, node)| {
        let new = replaced(node, opset, &summed);
        // tract takes each name once only.
        let taken = !node.name().is_empty() && !names.insert(node.name());
        if taken { Some(renamed(new.unwrap_or_else(|| vec![node.clone()]), place)) } else { new }
    });
    let each = each.collect::<Vec<_>>();
    if each.iter().all(Option::is_none) {
        return Cow::Borrowed(model);
    }
    let nodes =
        each.into_iter().zip(&graph.node).flat_map(|(new, old)| new.unwrap_or_else(|| vec![old.clone()]));
    let nodes = nodes.collect();
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph.node = nodes;
    }
    Cow::Owned(model)
}

/// Nodes with names that no others have.
fn renamed(mut nodes: Vec<NodeProto>, place: usize) -> Vec<NodeProto> {
    nodes.iter_mut().for_each(|node| node.name = Some(format!("{}#{place}", node.name())));
    nodes
}

/// What stands in a node's place, where it cannot stay.
fn replaced(node: &NodeProto, opset: i64, summed: &HashSet<&str>) -> Option<Vec<NodeProto>> {
    if !crate::onnx::is_standard(node.domain()) {
        return None;
    }
    match node.op_type() {
        // Given a value, tract pads with it whatever the mode.
        "Pad" if node.input_name(2).is_some() && !matches!(node.text("mode"), None | Some("constant")) => {
            let mut pad = node.clone();
            pad.input[2].clear();
            Some(vec![pad])
        }
        // Before opset 11 the nearest pixel is the one before; tract rounds.
        "Resize"
            if opset < 11
                && node.text("mode") != Some("linear")
                && node.attribute("nearest_mode").is_none() =>
        {
            let mut resize = node.clone();
            resize.attribute.push(AttributeProto::text("nearest_mode", "floor"));
            Some(vec![resize])
        }
        // tract joins x − convolution(y) as x + convolution(y).
        "Sub" if node.input_name(1).is_some_and(|name| summed.contains(name)) => {
            let [left, right] = node.input.as_slice() else { return None };
            let less = format!("{}.less", node.output.first()?);
            let made = |op: &str, inputs: Vec<String>, output: String| NodeProto {
                name: Some(format!("{output}.{op}")),
                op_type: Some(op.into()),
                input: inputs,
                output: vec![output],
                ..NodeProto::default()
            };
            let neg = made("Neg", vec![right.clone()], less.clone());
            let sum =
                NodeProto { op_type: Some("Add".into()), input: vec![left.clone(), less], ..node.clone() };
            Some(vec![neg, sum])
        }
        _ => None,
    }
}

/// Results of convolutions, also where they pass through nodes that vanish.
fn summed(nodes: &[NodeProto]) -> HashSet<&str> {
    let mut found = HashSet::new();
    for node in nodes {
        let passed = matches!(node.op_type(), "Identity" | "Dropout" | "Add" | "Sub" | "BatchNormalization")
            && node.input.iter().any(|name| found.contains(name.as_str()));
        if passed || matches!(node.op_type(), "Conv" | "ConvTranspose") {
            found.extend(node.output.iter().map(String::as_str));
        }
    }
    found
}
