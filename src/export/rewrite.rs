//! Changing a foreign graph: new ends, a free batch axis, no dead nodes.

use crate::onnx::{
    AttributeProto, Dimension, DimensionValue, GraphProto, NodeProto, Tensor, TensorShapeProto, TypeProto,
    ValueInfoProto, data_type, type_proto,
};
use crate::tower::{INPUT, OUTPUT, contract};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use std::collections::HashSet;

/// The value that becomes the embedding.
pub(super) struct Chosen {
    pub name: String,
    /// Whether it is `[N, D]` as it stands.
    pub flat: bool,
    pub dim: usize,
    pub kind: i32,
}

/// What is put around a foreign graph.
pub(super) struct Wrapping {
    pub input: String,
    pub input_type: i32,
    pub channels_last: bool,
    /// C and S.
    pub shape: [usize; 2],
    pub scale: f32,
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
    pub bgr: bool,
    pub output: Chosen,
}

/// Finds the output (or inner value) that is the embedding, and D.
pub(super) fn choose_output(graph: &GraphProto, name: Option<&str>, dim: Option<usize>) -> Result<Chosen> {
    let there = || format!("the outputs are {}", contract::names(&graph.output));
    let value = match (name, graph.output.as_slice()) {
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(Error::invalid(
                "the model",
                format!("has several outputs; choose one with --output: {}", there()),
            ));
        }
        (Some(name), outputs) => {
            let inner = graph.node.iter().any(|n| n.output.iter().any(|o| o == name));
            let known = outputs.iter().chain(&graph.value_info).find(|v| v.name() == name).cloned();
            let unknown =
                inner.then(|| ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() });
            let missing = || {
                let why = format!("is not in the model; {}; {}", there(), last_values(graph));
                Error::invalid(format!("--output {name}"), why)
            };
            known.or(unknown).ok_or_else(missing)?
        }
    };
    let (kind, shape) = match contract::tensor(&value) {
        Ok(known) => known,
        Err(_) => (data_type::FLOAT, Vec::new()),
    };
    let at = || format!("output {:?}", value.name());
    if !matches!(kind, data_type::FLOAT | data_type::FLOAT16 | data_type::DOUBLE) {
        let why = format!("is {}, not float32; {}", contract::type_name(kind), there());
        return Err(Error::invalid(at(), why));
    }
    let inner = shape.get(1..).unwrap_or_default();
    let long = inner.iter().flatten().filter(|n| **n != 1).count();
    let told =
        inner.iter().copied().try_fold(1, |product, n| Some(product * n?)).filter(|_| shape.len() >= 2);
    let dim = match (told, dim) {
        (Some(told), Some(dim)) if told != dim as i64 => {
            return Err(Error::invalid(
                "--dim",
                format!("is {dim}, but the output is {}", contract::show(&shape)),
            ));
        }
        (Some(told), _) if told > 0 && long <= 1 => told as usize,
        (None, Some(dim)) if dim > 0 && long <= 1 => dim,
        _ => {
            let told = if shape.is_empty() {
                "has a shape that the model does not tell: say D with --dim where it is [N, D] or [N, D, 1, 1]"
                    .into()
            } else {
                let shape = contract::show(&shape);
                format!("has the shape {shape}, not [N, D]: say D with --dim where it is [N, D, 1, 1]")
            };
            let why = format!("{told}, or choose another with --output; {}; {}", there(), last_values(graph));
            return Err(Error::invalid(at(), why));
        }
    };
    Ok(Chosen { name: value.name().into(), flat: shape.len() == 2, dim, kind })
}

/// What the last nodes of a graph give: the embedding of a classifier is often among them.
fn last_values(graph: &GraphProto) -> String {
    let outputs: HashSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    let given = graph.node.iter().rev().filter_map(|n| n.output.first());
    let inner: Vec<_> = given.filter(|o| !outputs.contains(o.as_str())).take(4).collect();
    format!("the last values inside are {inner:?}, the last of all first")
}

/// Puts the new ends on and leaves out what the embedding does not need.
pub(super) fn wrap(graph: &mut GraphProto, w: Wrapping) -> Result<()> {
    // Names of ours that the model uses for something else.
    let [input, output] = [&w.input, &w.output.name].map(|name| match name.as_str() {
        INPUT | OUTPUT => format!("model.{name}"),
        _ => name.clone(),
    });
    for name in [INPUT, OUTPUT] {
        rename(graph, name, &format!("model.{name}"));
    }
    let mut nodes = head(graph, &w, &input);
    nodes.append(&mut graph.node);
    nodes.extend(tail(&w.output, &output));
    graph.node = nodes;
    graph.input.retain(|i| i.name() != input);
    let side = w.shape[1] as i64;
    graph.input.insert(0, value(INPUT, data_type::UINT8, &[w.shape[0] as i64, side, side]));
    graph.output = vec![value(OUTPUT, data_type::FLOAT, &[w.output.dim as i64])];
    prune(graph);
    Ok(())
}

/// From `image` to what the model takes.
fn head(graph: &mut GraphProto, w: &Wrapping, input: &str) -> Vec<NodeProto> {
    let mut nodes = Vec::new();
    let mut last = INPUT.to_string();
    let mut push = |op: &str, others: &[&str], attributes: Vec<AttributeProto>| {
        let name = format!("siamese/{op}_{}", nodes.len());
        let inputs = std::iter::once(last.clone()).chain(others.iter().map(|o| (*o).to_string())).collect();
        last = format!("{name}:0");
        nodes.push(NodeProto {
            input: inputs,
            output: vec![last.clone()],
            name: Some(name),
            op_type: Some(op.into()),
            attribute: attributes,
            ..NodeProto::default()
        });
    };
    let mut constants = Vec::new();
    push("Cast", &[], vec![AttributeProto::int("to", i64::from(data_type::FLOAT))]);
    if w.bgr && w.shape[0] == 3 {
        constants.push(Tensor::I64(ndarray::arr1(&[2i64, 1, 0]).into_dyn()).to_proto("siamese.bgr"));
        push("Gather", &["siamese.bgr"], vec![AttributeProto::int("axis", 1)]);
    }
    let mut per_channel = |name: &str, values: &[f32]| {
        let shape = IxDyn(&[1, values.len(), 1, 1]);
        let array = ArrayD::from_shape_fn(shape, |i| values[i[1]]);
        constants.push(Tensor::F32(array).to_proto(name));
    };
    if w.scale != 1.0 {
        per_channel("siamese.scale", &[w.scale]);
        push("Mul", &["siamese.scale"], vec![]);
    }
    if w.mean.iter().any(|m| *m != 0.0) {
        per_channel("siamese.mean", &w.mean);
        push("Sub", &["siamese.mean"], vec![]);
    }
    if w.std.iter().any(|s| *s != 1.0) {
        per_channel("siamese.std", &w.std);
        push("Div", &["siamese.std"], vec![]);
    }
    if w.channels_last {
        push("Transpose", &[], vec![AttributeProto::ints("perm", vec![0, 2, 3, 1])]);
    }
    if w.input_type != data_type::FLOAT {
        push("Cast", &[], vec![AttributeProto::int("to", i64::from(w.input_type))]);
    }
    // The last of them makes what the model calls its input.
    if let Some(node) = nodes.last_mut() {
        node.output = vec![input.into()];
    }
    graph.initializer.append(&mut constants);
    nodes
}

/// From the chosen value to `embedding`.
fn tail(chosen: &Chosen, name: &str) -> Vec<NodeProto> {
    let mut steps: Vec<(&str, Vec<AttributeProto>)> = Vec::new();
    if chosen.kind != data_type::FLOAT {
        steps.push(("Cast", vec![AttributeProto::int("to", i64::from(data_type::FLOAT))]));
    }
    if !chosen.flat {
        steps.push(("Flatten", vec![AttributeProto::int("axis", 1)]));
    }
    if steps.is_empty() {
        steps.push(("Identity", vec![]));
    }
    let (mut last, count) = (name.to_string(), steps.len());
    let mut nodes = Vec::new();
    for (i, (op, attribute)) in steps.into_iter().enumerate() {
        let output = if i + 1 == count { OUTPUT.into() } else { format!("siamese/out_{i}:0") };
        nodes.push(NodeProto {
            input: vec![std::mem::replace(&mut last, output.clone())],
            output: vec![output],
            name: Some(format!("siamese/out_{op}")),
            op_type: Some(op.into()),
            attribute,
            ..NodeProto::default()
        });
    }
    nodes
}

/// Gives a value another name everywhere, in nested graphs too.
fn rename(graph: &mut GraphProto, from: &str, to: &str) {
    let change = |name: &mut String| {
        if name == from {
            *name = to.into();
        }
    };
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    let names = values.filter_map(|v| v.name.as_mut());
    names.chain(graph.initializer.iter_mut().filter_map(|t| t.name.as_mut())).for_each(change);
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(change);
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|g| rename(g, from, to));
        }
    }
}

/// Leaves out nodes, weights and facts that the outputs do not need.
fn prune(graph: &mut GraphProto) {
    let mut needed: HashSet<String> = graph.output.iter().map(|o| o.name().to_string()).collect();
    let nodes = std::mem::take(&mut graph.node);
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|o| needed.contains(o)) {
            needs(&node, &mut needed);
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|t| needed.contains(t.name()));
    graph.input.retain(|i| i.name() == INPUT || needed.contains(i.name()));
    graph.value_info.retain(|v| needed.contains(v.name()));
}

fn needs(node: &NodeProto, needed: &mut HashSet<String>) {
    needed.extend(node.input.iter().filter(|i| !i.is_empty()).cloned());
    for nested in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        nested.node.iter().for_each(|n| needs(n, needed));
        needed.extend(nested.output.iter().map(|o| o.name().to_string()));
    }
}

/// A value of any batch.
fn value(name: &str, kind: i32, dims: &[i64]) -> ValueInfoProto {
    let fixed = dims.iter().map(|&d| DimensionValue::Value(d));
    let all = std::iter::once(DimensionValue::Param("N".into())).chain(fixed);
    let dim = all.map(|v| Dimension { value: Some(v), denotation: None }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(kind), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}
