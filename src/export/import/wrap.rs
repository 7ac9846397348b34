//! Changing a foreign graph: new ends, no dead nodes.

use super::input::{Input, Levels};
use super::tidy::reads;
use crate::onnx::{
    AttributeProto, Dimension, DimensionValue, GraphProto, NodeProto, Tensor, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, data_type, type_proto,
};
use crate::tower::{INPUT, OUTPUT};
use ndarray::{ArrayD, IxDyn};
use std::collections::HashSet;

/// What is put around a foreign graph.
pub(super) struct Wrapping<'a> {
    pub input: &'a Input,
    pub levels: &'a Levels,
    pub bgr: bool,
    /// The name of the value that becomes the embedding.
    pub output: &'a str,
    /// Whether that is not known to be float32.
    pub cast: bool,
    pub tail: Tail,
    /// D.
    pub dim: usize,
    /// The batch of the tower; none for any.
    pub batch: Option<usize>,
}

/// How the chosen value becomes `[N, D]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// It is.
    Same,
    /// All axes after the first are one.
    Flatten,
    /// By its elements alone.
    Reshape,
    /// The first of this many rows: all pictures of the model's batch are the same.
    First(usize),
}

/// Puts the new ends on and leaves out what the embedding does not need.
pub(super) fn wrap(graph: &mut GraphProto, w: &Wrapping<'_>) {
    // Names of ours that the model uses for something else.
    let [input, output] = [w.input.name.as_str(), w.output].map(|name| match name {
        INPUT | OUTPUT => format!("model.{name}"),
        _ => name.to_string(),
    });
    for name in [INPUT, OUTPUT] {
        rename(graph, name, &format!("model.{name}"));
    }
    let mut nodes = head(graph, w, &input);
    nodes.append(&mut graph.node);
    nodes.extend(tail(graph, w, &output));
    graph.node = nodes;
    let side = w.input.side as i64;
    graph.input = vec![value(INPUT, data_type::UINT8, w.batch, &[w.input.channels as i64, side, side])];
    graph.output = vec![value(OUTPUT, data_type::FLOAT, w.batch, &[w.dim as i64])];
    prune(graph);
}

/// Nodes one after the other, each with the result of the one before.
struct Chain {
    last: String,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    prefix: &'static str,
}

impl Chain {
    fn new(from: &str, prefix: &'static str) -> Self {
        Self { last: from.into(), nodes: Vec::new(), constants: Vec::new(), prefix }
    }

    fn push(&mut self, op: &str, constant: Option<(&str, Tensor)>, attributes: Vec<AttributeProto>) {
        let name = format!("siamese/{}{op}_{}", self.prefix, self.nodes.len());
        let mut inputs = vec![self.last.clone()];
        if let Some((constant, tensor)) = constant {
            inputs.push(format!("siamese.{constant}"));
            self.constants.push(tensor.to_proto(&format!("siamese.{constant}")));
        }
        self.last = format!("{name}:0");
        self.nodes.push(NodeProto {
            input: inputs,
            output: vec![self.last.clone()],
            name: Some(name),
            op_type: Some(op.into()),
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    fn cast(&mut self, to: i32) {
        self.push("Cast", None, vec![AttributeProto::int("to", i64::from(to))]);
    }

    /// Its nodes, the last of which gives `name`.
    fn finish(mut self, graph: &mut GraphProto, name: &str) -> Vec<NodeProto> {
        if self.nodes.is_empty() {
            self.push("Identity", None, vec![]);
        }
        if let Some(node) = self.nodes.last_mut() {
            node.output = vec![name.into()];
        }
        graph.initializer.append(&mut self.constants);
        self.nodes
    }
}

fn list(numbers: &[i64]) -> Tensor {
    Tensor::I64(ndarray::arr1(numbers).into_dyn())
}

/// From `image` to what the model takes.
fn head(graph: &mut GraphProto, w: &Wrapping<'_>, input: &str) -> Vec<NodeProto> {
    let mut chain = Chain::new(INPUT, "");
    let levels = w.levels;
    let bytes = levels.plain() && w.input.kind == data_type::UINT8;
    if !bytes {
        chain.cast(data_type::FLOAT);
    }
    if w.bgr && w.input.channels == 3 {
        chain.push("Gather", Some(("bgr", list(&[2, 1, 0]))), vec![AttributeProto::int("axis", 1)]);
    }
    let per_channel = |values: &[f32]| {
        let shape = IxDyn(&[1, values.len(), 1, 1]);
        Tensor::F32(ArrayD::from_shape_fn(shape, |i| values[i[1]]))
    };
    if levels.scale != 1.0 {
        chain.push("Mul", Some(("scale", per_channel(&[levels.scale]))), vec![]);
    }
    if levels.mean.iter().any(|m| *m != 0.0) {
        chain.push("Sub", Some(("mean", per_channel(&levels.mean))), vec![]);
    }
    if levels.std.iter().any(|s| *s != 1.0) {
        chain.push("Div", Some(("std", per_channel(&levels.std))), vec![]);
    }
    if w.input.channels_last {
        chain.push("Transpose", None, vec![AttributeProto::ints("perm", vec![0, 2, 3, 1])]);
    }
    if !bytes && w.input.kind != data_type::FLOAT {
        chain.cast(w.input.kind);
    }
    if let Tail::First(batch) = w.tail {
        chain.push("Tile", Some(("batch", list(&[batch as i64, 1, 1, 1]))), vec![]);
    }
    // The last of them makes what the model calls its input.
    chain.finish(graph, input)
}

/// From the chosen value to `embedding`.
fn tail(graph: &mut GraphProto, w: &Wrapping<'_>, name: &str) -> Vec<NodeProto> {
    let mut chain = Chain::new(name, "out_");
    if w.cast {
        chain.cast(data_type::FLOAT);
    }
    let (dim, any) = (w.dim as i64, w.batch.map_or(-1, |n| n as i64));
    match w.tail {
        Tail::Same => {}
        Tail::Flatten => chain.push("Flatten", None, vec![AttributeProto::int("axis", 1)]),
        Tail::Reshape => chain.push("Reshape", Some(("rows", list(&[any, dim]))), vec![]),
        Tail::First(batch) => {
            chain.push("Reshape", Some(("rows", list(&[batch as i64, dim]))), vec![]);
            chain.push("Gather", Some(("first", list(&[0]))), vec![AttributeProto::int("axis", 0)]);
        }
    }
    chain.finish(graph, OUTPUT)
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
pub(super) fn prune(graph: &mut GraphProto) {
    let mut needed: HashSet<String> = graph.output.iter().map(|o| o.name().to_string()).collect();
    let nodes = std::mem::take(&mut graph.node);
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|o| needed.contains(o)) {
            needed.extend(reads(&node).into_iter().map(String::from));
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|t| needed.contains(t.name()));
    graph.value_info.retain(|v| needed.contains(v.name()));
    graph.quantization_annotation.retain(|a| needed.contains(a.tensor_name()));
}

/// A value of a batch; none for any.
fn value(name: &str, kind: i32, batch: Option<usize>, dims: &[i64]) -> ValueInfoProto {
    let first = batch.map_or(DimensionValue::Param("N".into()), |n| DimensionValue::Value(n as i64));
    let fixed = dims.iter().map(|&d| DimensionValue::Value(d));
    let all = std::iter::once(first).chain(fixed);
    let dim = all.map(|v| Dimension { value: Some(v), denotation: None }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(kind), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}
