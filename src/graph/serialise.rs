//! A graph as an ONNX model: which values are needed, and what they are called.

use super::builder::{Graph, Id, Source, State};
use super::kernel::{DOMAIN, Written};
use crate::Result;
use crate::onnx::{
    Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use std::collections::HashSet;

/// The operator set of every graph, and the highest that training graphs and towers may use; higher ones
/// lose CUDA kernels.
pub const OPSET: i64 = 17;
/// The file format's version, and the highest that they may use.
pub const IR_VERSION: i64 = 8;

impl Graph {
    /// The graph as an ONNX model with static shapes; nodes that no output needs are left out, inputs
    /// are all kept.
    ///
    /// # Errors
    /// The first operator that did not fit its operands.
    pub fn to_model(&self) -> Result<ModelProto> {
        self.serialise(None)
    }

    /// The same with axis 0 of all inputs and outputs symbolic: for graphs built with N = 1 whose
    /// nodes do not depend on N.
    ///
    /// # Errors
    /// As [`Graph::to_model`].
    pub fn to_model_batched(&self, dim: &str) -> Result<ModelProto> {
        self.serialise(Some(dim))
    }

    fn serialise(&self, batch: Option<&str>) -> Result<ModelProto> {
        self.check()?;
        let graph = self.state.borrow().to_proto(&self.name, batch);
        let mut sets = vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }];
        if graph.node.iter().any(|node| node.domain() == DOMAIN) {
            sets.push(OperatorSetIdProto { domain: Some(DOMAIN.into()), version: Some(1) });
        }
        Ok(ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("siamese".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            opset_import: sets,
            graph: Some(graph),
            ..ModelProto::default()
        })
    }
}

impl State {
    fn to_proto(&self, name: &str, batch: Option<&str>) -> GraphProto {
        let (names, nodes) = (self.names(), self.written());
        let used: HashSet<Id> = nodes.iter().flat_map(|node| &node.inputs).copied().collect();
        let used = |v: Id| used.contains(&v) || self.outputs.iter().any(|(_, output)| *output == v);
        let mut graph = GraphProto { name: Some(name.into()), ..GraphProto::default() };
        for (index, info) in self.values.iter().enumerate() {
            match &info.source {
                Source::Input(name) => graph.input.push(self.value_info(Id(index), name, batch)),
                Source::Constant { data, .. } if used(Id(index)) => {
                    graph.initializer.push(data.to_proto(&names[index]));
                }
                Source::Constant { .. } | Source::Node(_) => {}
            }
        }
        graph.node = nodes.iter().map(|node| node.to_proto(&names)).collect();
        if batch.is_none() {
            let outputs: Vec<Id> = self.outputs.iter().map(|(_, v)| *v).collect();
            let inner = nodes.iter().flat_map(|n| &n.outputs).copied().filter(|v| !outputs.contains(v));
            graph.value_info = inner.map(|v| self.value_info(v, &names[v.0], None)).collect();
        }
        self.push_outputs(&mut graph, &names, batch);
        graph
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

    /// The file's names: inputs and named constants keep theirs, the first output name of a node's
    /// result becomes its name, the rest are numbered.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(self.values.len());
        for (index, info) in self.values.iter().enumerate() {
            names.push(match &info.source {
                Source::Input(name) | Source::Constant { name: Some(name), .. } => name.clone(),
                Source::Constant { .. } => format!("constant_{index}"),
                Source::Node(node) => format!("{}:0", self.nodes[*node].proto.name()),
            });
        }
        let mut taken = HashSet::new();
        for (name, value) in &self.outputs {
            if matches!(self.values[value.0].source, Source::Node(_)) && taken.insert(*value) {
                names[value.0].clone_from(name);
            }
        }
        names
    }

    fn value_info(&self, v: Id, name: &str, batch: Option<&str>) -> ValueInfoProto {
        let info = &self.values[v.0];
        let dims = info.shape.iter().enumerate().map(|(axis, &d)| {
            let value = match batch {
                Some(dim) if axis == 0 => DimensionValue::Param(dim.into()),
                _ => DimensionValue::Value(d as i64),
            };
            Dimension { value: Some(value), denotation: None }
        });
        let tensor = type_proto::Tensor {
            elem_type: Some(info.dtype.onnx()),
            shape: Some(TensorShapeProto { dim: dims.collect() }),
        };
        let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
        ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
    }
}

impl Written {
    fn to_proto(&self, names: &[String]) -> NodeProto {
        let named = |values: &[Id]| values.iter().map(|v| names[v.0].clone()).collect();
        NodeProto { input: named(&self.inputs), output: named(&self.outputs), ..self.proto.clone() }
    }
}
