//! An exact tower in the making: nodes of opset 17, their names, and constants that are made once.

use crate::graph::{IR_VERSION, OPSET};
use crate::onnx::{
    AttributeProto, DType, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, Operator,
    OperatorSetIdProto, Tensor, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, data_type,
    type_proto,
};
use crate::tower::{INPUT, OUTPUT};
use ndarray::{ArrayD, IxDyn};
use std::collections::HashMap;

/// Nodes and constants.
#[derive(Default)]
pub(super) struct Writer {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// Constants by what they hold.
    known: HashMap<(DType, Vec<usize>, Vec<u8>), String>,
    /// What nodes are called first, now.
    pub label: String,
}

impl Writer {
    /// Appends a node; gives the name of its result.
    pub fn node(&mut self, operator: Operator, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let result = format!("v{}", self.nodes.len());
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_string()).collect(),
            output: vec![result.clone()],
            name: Some(format!("{}/{operator}_{}", self.label, self.nodes.len())),
            op_type: Some(operator.name().into()),
            attribute: attributes,
            ..NodeProto::default()
        });
        result
    }

    /// A constant; equal ones are one.
    pub fn constant(&mut self, tensor: &Tensor) -> String {
        let key = (tensor.dtype(), tensor.shape().to_vec(), tensor.to_bytes());
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let name = format!("c{}", self.constants.len());
        self.constants.push(tensor.to_proto(&name));
        self.known.insert(key, name.clone());
        name
    }

    /// A number.
    pub fn number(&mut self, x: f64) -> String {
        self.constant(&Tensor::F32(ndarray::arr0(x as f32).into_dyn()))
    }

    /// One number a channel of a value of `rank` axes, or one for all where they are equal.
    pub fn channels(&mut self, numbers: &[f64], rank: usize) -> String {
        if numbers.iter().all(|x| *x == numbers[0]) {
            return self.number(numbers[0]);
        }
        let mut shape = vec![1; rank.saturating_sub(1).max(1)];
        shape[0] = numbers.len();
        let array = ArrayD::from_shape_fn(IxDyn(&shape), |i| numbers[i[0]] as f32);
        self.constant(&Tensor::F32(array))
    }

    /// A list of sizes, places or axes.
    pub fn list(&mut self, list: &[i64]) -> String {
        self.constant(&Tensor::I64(ndarray::arr1(list).into_dyn()))
    }

    /// Integers of 8 bits as float32.
    pub fn weights(&mut self, shape: &[usize], weights: Vec<i8>) -> String {
        let array = ArrayD::from_shape_vec(IxDyn(shape), weights).unwrap_or_default();
        let bytes = self.constant(&Tensor::I8(array));
        self.cast(&bytes, data_type::FLOAT)
    }

    pub fn cast(&mut self, x: &str, to: i32) -> String {
        self.node(Operator::Cast, &[x], vec![AttributeProto::int("to", i64::from(to))])
    }

    /// `Floor`.
    pub fn floor(&mut self, x: &str) -> String {
        self.node(Operator::Floor, &[x], vec![])
    }

    /// Limits by channel: a `Clip` where they are the same for all.
    pub fn limited(&mut self, x: &str, low: &[f64], high: &[f64], rank: usize) -> String {
        let same = |list: &[f64]| list.iter().all(|x| *x == list[0]);
        if same(low) && same(high) {
            let (low, high) = (self.number(low[0]), self.number(high[0]));
            return self.node(Operator::Clip, &[x, &low, &high], vec![]);
        }
        let (low, high) = (self.channels(low, rank), self.channels(high, rank));
        let raised = self.node(Operator::Max, &[x, &low], vec![]);
        self.node(Operator::Min, &[&raised, &high], vec![])
    }

    /// The model, whose embedding is the value `last`: `image: uint8 [N, C, S, S]` → `embedding: float32 [N, D]`.
    pub fn model(
        mut self,
        name: &str,
        image: &[usize],
        dim: usize,
        last: &str,
        batch: Option<usize>,
    ) -> ModelProto {
        for node in &mut self.nodes {
            for name in node.input.iter_mut().chain(&mut node.output).filter(|name| *name == last) {
                *name = OUTPUT.into();
            }
        }
        let graph = GraphProto {
            name: Some(name.into()),
            node: self.nodes,
            initializer: self.constants,
            input: vec![value(INPUT, data_type::UINT8, batch, image)],
            output: vec![value(OUTPUT, data_type::FLOAT, batch, &[dim])],
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("siamese".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            graph: Some(graph),
            ..ModelProto::default()
        }
    }
}

/// A value of a batch; none for any.
fn value(name: &str, kind: i32, batch: Option<usize>, sizes: &[usize]) -> ValueInfoProto {
    let first = batch.map_or(DimensionValue::Param("N".into()), |n| DimensionValue::Value(n as i64));
    let all = std::iter::once(first).chain(sizes.iter().map(|&d| DimensionValue::Value(d as i64)));
    let dim = all.map(|v| Dimension { value: Some(v), denotation: None }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(kind), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}
