//! The builder: values with static types and shapes, nodes, constants, names, serialisation.

use super::tensor::{DType, Tensor};
use crate::onnx::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, type_proto,
};
use crate::{Error, Result};
use std::collections::HashMap;

/// The operator set of every graph; higher ones lose CUDA kernels.
pub const OPSET: i64 = 17;
/// The file format's version.
pub const IR_VERSION: i64 = 8;

/// A tensor in a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(usize);

/// A graph in the making. Each operator method infers the static shape of its result, or fails with
/// an error that names the operator and the shapes.
#[derive(Clone, Debug)]
pub struct Graph {
    name: String,
    values: Vec<Info>,
    nodes: Vec<Node>,
    outputs: Vec<(String, Value)>,
    scope: String,
    scalars: HashMap<u32, Value>,
    lists: HashMap<Vec<i64>, Value>,
    windows: HashMap<WindowKey, Value>,
}

/// An image and the windows over it: kernel, strides and the rest.
pub(super) type WindowKey = (Value, [usize; 2], super::ConvAttrs);

#[derive(Clone, Debug)]
struct Info {
    dtype: DType,
    shape: Vec<usize>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Input(String),
    Constant { name: Option<String>, data: Tensor },
    Node(usize),
}

/// A node; every operator used here has one output.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub op: &'static str,
    pub inputs: Vec<Value>,
    pub attributes: Vec<(&'static str, Attribute)>,
    pub output: Value,
    pub name: String,
    pub flow: Flow,
    /// The operator as which the result is differentiated, where it was made of several nodes.
    pub whole: Option<Box<Whole>>,
}

/// An operator made of several nodes that has a derivative rule of its own.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub op: &'static str,
    pub inputs: Vec<Value>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// An attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
}

/// How a derivative passes a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// By the operator's rule.
    Rule,
    /// Not at all.
    Stop,
    /// As through the identity.
    StraightThrough,
}

impl Node {
    /// The node as derivatives see it.
    pub fn differentiated(&self) -> Self {
        let mut node = self.clone();
        if let Some(whole) = node.whole.take() {
            (node.op, node.inputs, node.attributes) = (whole.op, whole.inputs, whole.attributes);
        }
        node
    }

    pub fn ints(&self, name: &str) -> &[i64] {
        match self.attributes.iter().find(|(n, _)| *n == name) {
            Some((_, Attribute::Ints(values))) => values,
            _ => &[],
        }
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.iter().find(|(n, _)| *n == name) {
            Some((_, Attribute::Int(value))) => *value,
            _ => default,
        }
    }
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            values: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            scope: String::new(),
            scalars: HashMap::new(),
            lists: HashMap::new(),
            windows: HashMap::new(),
        }
    }

    /// A graph input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Value {
        self.value(dtype, shape.to_vec(), Source::Input(name.into()))
    }

    /// A named constant: the weights of an exported tower.
    pub fn initializer(&mut self, name: &str, data: Tensor) -> Value {
        self.constant(Some(name.into()), data)
    }

    /// The named constant, made at its first use.
    pub(super) fn initializer_once(&mut self, name: &str, data: Tensor) -> Value {
        let known = self
            .values
            .iter()
            .position(|info| matches!(&info.source, Source::Constant { name: Some(n), .. } if n == name));
        known.map_or_else(|| self.initializer(name, data), Value)
    }

    /// A float32 constant `[]`; equal ones are one value.
    pub fn scalar(&mut self, x: f32) -> Value {
        if let Some(&value) = self.scalars.get(&x.to_bits()) {
            return value;
        }
        let value = self.constant(None, Tensor::F32(ndarray::arr0(x).into_dyn()));
        self.scalars.insert(x.to_bits(), value);
        value
    }

    /// An int64 constant `[len]`; equal ones are one value.
    pub fn ints(&mut self, xs: &[i64]) -> Value {
        if let Some(&value) = self.lists.get(xs) {
            return value;
        }
        let value = self.constant(None, Tensor::I64(ndarray::arr1(xs).into_dyn()));
        self.lists.insert(xs.to_vec(), value);
        value
    }

    /// Makes `v` the graph output `name`.
    pub fn output(&mut self, name: &str, v: Value) {
        self.outputs.push((name.into(), v));
    }

    /// The static shape of a value.
    pub fn shape(&self, v: Value) -> &[usize] {
        &self.values[v.0].shape
    }

    /// The element type of a value.
    pub fn dtype(&self, v: Value) -> DType {
        self.values[v.0].dtype
    }

    /// Begins the names of the nodes that follow with `prefix`; gives the prefix in force before,
    /// for [`Graph::set_scope`].
    pub fn scope(&mut self, prefix: &str) -> String {
        let inner =
            if self.scope.is_empty() { prefix.to_string() } else { format!("{}/{prefix}", self.scope) };
        std::mem::replace(&mut self.scope, inner)
    }

    /// Puts the prefix of node names back.
    pub fn set_scope(&mut self, scope: String) {
        self.scope = scope;
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that computes a value; none for inputs and constants.
    pub(super) fn producer(&self, v: Value) -> Option<usize> {
        match self.values[v.0].source {
            Source::Node(index) => Some(index),
            _ => None,
        }
    }

    /// The integers of an int64 constant.
    pub(super) fn constant_ints(&self, v: Value) -> Option<Vec<i64>> {
        match &self.values[v.0].source {
            Source::Constant { data: Tensor::I64(xs), .. } => Some(xs.iter().copied().collect()),
            _ => None,
        }
    }

    /// Appends a node; the shape of its result is known to the caller.
    pub(super) fn node(
        &mut self,
        op: &'static str,
        inputs: &[Value],
        attributes: Vec<(&'static str, Attribute)>,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Value {
        let index = self.nodes.len();
        let output = self.value(dtype, shape, Source::Node(index));
        let name = self.node_name(op, index);
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            attributes,
            output,
            name,
            flow: Flow::Rule,
            whole: None,
        });
        output
    }

    /// Lets the node that computes `v` be differentiated as one operator of its own.
    pub(super) fn stands_for(
        &mut self,
        v: Value,
        op: &'static str,
        inputs: Vec<Value>,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        if let Source::Node(index) = self.values[v.0].source {
            self.nodes[index].whole = Some(Box::new(Whole { op, inputs, attributes }));
        }
    }

    /// What `make` computes over the windows of an image, made at its first use.
    pub(super) fn once_over(&mut self, key: WindowKey, make: impl FnOnce(&mut Self) -> OpResult) -> OpResult {
        if let Some(&value) = self.windows.get(&key) {
            return Ok(value);
        }
        let value = make(self)?;
        self.windows.insert(key, value);
        Ok(value)
    }

    /// Sets how derivatives pass the node that computes `v`.
    pub(super) fn set_flow(&mut self, v: Value, flow: Flow) {
        if let Source::Node(index) = self.values[v.0].source {
            self.nodes[index].flow = flow;
        }
    }

    /// An error about an operator that is about to be appended.
    pub(super) fn misfit(&self, op: &str, why: impl std::fmt::Display) -> Error {
        Error::Graph { op: op.into(), node: self.node_name(op, self.nodes.len()), why: why.to_string() }
    }

    fn node_name(&self, op: &str, index: usize) -> String {
        let slash = if self.scope.is_empty() { "" } else { "/" };
        format!("{}{slash}{op}_{index}", self.scope)
    }

    fn constant(&mut self, name: Option<String>, data: Tensor) -> Value {
        self.value(data.dtype(), data.shape().to_vec(), Source::Constant { name, data })
    }

    fn value(&mut self, dtype: DType, shape: Vec<usize>, source: Source) -> Value {
        self.values.push(Info { dtype, shape, source });
        Value(self.values.len() - 1)
    }

    /// The graph as an ONNX model with static shapes; nodes that no output needs are left out, inputs
    /// are all kept.
    pub fn to_model(&self) -> ModelProto {
        self.serialise(None)
    }

    /// The same with axis 0 of all inputs and outputs symbolic: for graphs built with N = 1 whose
    /// nodes do not depend on N.
    pub fn to_model_batched(&self, dim: &str) -> ModelProto {
        self.serialise(Some(dim))
    }

    fn serialise(&self, batch: Option<&str>) -> ModelProto {
        let live = self.live();
        let names = self.names();
        let alive = |node: &&Node| live[node.output.0];
        let mut graph = GraphProto { name: Some(self.name.clone()), ..GraphProto::default() };
        for (index, info) in self.values.iter().enumerate() {
            match &info.source {
                Source::Input(_) => graph.input.push(self.value_info(Value(index), &names[index], batch)),
                Source::Constant { data, .. } if live[index] => {
                    graph.initializer.push(data.to_proto(&names[index]));
                }
                _ => {}
            }
        }
        graph.node = self.nodes.iter().filter(alive).map(|n| node_proto(n, &names)).collect();
        if batch.is_none() {
            let outputs: Vec<Value> = self.outputs.iter().map(|(_, v)| *v).collect();
            let inner = self.nodes.iter().filter(alive).map(|n| n.output).filter(|v| !outputs.contains(v));
            graph.value_info = inner.map(|v| self.value_info(v, &names[v.0], None)).collect();
        }
        self.push_outputs(&mut graph, &names, batch);
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("siamese".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            graph: Some(graph),
            ..ModelProto::default()
        }
    }

    /// An output that is an input, a constant, or a second name of a value gets an `Identity`.
    fn push_outputs(&self, graph: &mut GraphProto, names: &[String], batch: Option<&str>) {
        for (name, value) in &self.outputs {
            if names[value.0] != *name {
                graph.node.push(NodeProto {
                    input: vec![names[value.0].clone()],
                    output: vec![name.clone()],
                    name: Some(format!("output/{name}")),
                    op_type: Some("Identity".into()),
                    ..NodeProto::default()
                });
            }
            graph.output.push(self.value_info(*value, name, batch));
        }
    }

    /// Which values some output needs.
    fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.values.len()];
        for (_, value) in &self.outputs {
            live[value.0] = true;
        }
        for node in self.nodes.iter().rev() {
            if live[node.output.0] {
                for input in &node.inputs {
                    live[input.0] = true;
                }
            }
        }
        live
    }

    /// The file's names: inputs and named constants keep theirs, the first output name of a node's
    /// result becomes its name, the rest are numbered.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(self.values.len());
        for (index, info) in self.values.iter().enumerate() {
            names.push(match &info.source {
                Source::Input(name) | Source::Constant { name: Some(name), .. } => name.clone(),
                Source::Constant { .. } => format!("constant_{index}"),
                Source::Node(node) => format!("{}:0", self.nodes[*node].name),
            });
        }
        let mut taken = std::collections::HashSet::new();
        for (name, value) in &self.outputs {
            if matches!(self.values[value.0].source, Source::Node(_)) && taken.insert(*value) {
                names[value.0].clone_from(name);
            }
        }
        names
    }

    fn value_info(&self, v: Value, name: &str, batch: Option<&str>) -> ValueInfoProto {
        let dims = self.shape(v).iter().enumerate().map(|(axis, &d)| {
            let value = match batch {
                Some(dim) if axis == 0 => DimensionValue::Param(dim.into()),
                _ => DimensionValue::Value(d as i64),
            };
            Dimension { value: Some(value), denotation: None }
        });
        let tensor = type_proto::Tensor {
            elem_type: Some(self.dtype(v).onnx()),
            shape: Some(TensorShapeProto { dim: dims.collect() }),
        };
        let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
        ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
    }
}

fn node_proto(node: &Node, names: &[String]) -> NodeProto {
    let attribute = |(name, attribute): &(&'static str, Attribute)| {
        let mut proto = AttributeProto { name: Some((*name).into()), ..AttributeProto::default() };
        match attribute {
            Attribute::Int(i) => (proto.i, proto.r#type) = (Some(*i), Some(attribute_type::INT)),
            Attribute::Ints(i) => (proto.ints, proto.r#type) = (i.clone(), Some(attribute_type::INTS)),
            Attribute::Text(s) => {
                (proto.s, proto.r#type) = (Some(s.as_bytes().into()), Some(attribute_type::STRING))
            }
        }
        proto
    };
    NodeProto {
        input: node.inputs.iter().map(|v| names[v.0].clone()).collect(),
        output: vec![names[node.output.0].clone()],
        name: Some(node.name.clone()),
        op_type: Some(node.op.into()),
        attribute: node.attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

/// The shape to which all of `shapes` broadcast (numpy's rule).
pub(super) fn broadcast(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max()?;
    let mut result = vec![1; rank];
    for shape in shapes {
        let offset = rank - shape.len();
        for (axis, &d) in shape.iter().enumerate() {
            match result[offset + axis] {
                1 => result[offset + axis] = d,
                r if d != 1 && d != r => return None,
                _ => {}
            }
        }
    }
    Some(result)
}

/// Result of an operator.
pub(super) type OpResult = Result<Value>;
