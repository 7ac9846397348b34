//! Random networks are grown with this, node by node.

use crate::edge::reader::Reader;
use crate::graph::Tensor;
use crate::onnx::{
    AttributeProto as Attribute, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, data_type, type_proto,
};
use crate::random::{self, Stream};
use crate::tower::{INPUT, OUTPUT};
use ndarray::{ArrayD, IxDyn};

/// A graph that takes one image `[N, C, H, W]`.
#[derive(Clone)]
pub(super) struct Net {
    pub graph: GraphProto,
    /// The latest value and its shape.
    pub last: String,
    pub shape: Vec<usize>,
    pub size: [usize; 3],
}

pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute {
        name: Some(name.into()),
        f: Some(f),
        r#type: Some(attribute_type::FLOAT),
        ..Attribute::default()
    }
}

pub(super) fn value(name: &str, elements: i32, shape: &[usize]) -> ValueInfoProto {
    let dim = |d: &usize| Dimension { value: Some(DimensionValue::Value(*d as i64)), ..Dimension::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(elements), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

impl Net {
    /// An image, and its cast to float32.
    pub fn new(size: [usize; 3]) -> Self {
        let shape = vec![1, size[0], size[1], size[2]];
        let graph =
            GraphProto { input: vec![value(INPUT, data_type::UINT8, &shape)], ..GraphProto::default() };
        let mut net = Self { graph, last: INPUT.into(), shape, size };
        let to = Attribute::int("to", data_type::FLOAT.into());
        net.then("Cast", &[], vec![to]);
        net
    }

    /// A node; its result's name.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = format!("{op}_{}", self.graph.node.len());
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_string()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(op.into()),
            attribute: attributes,
            ..NodeProto::default()
        });
        name
    }

    /// A node on the latest value, whose result is the latest then.
    pub fn then(&mut self, op: &str, more: &[&str], attributes: Vec<Attribute>) -> &mut Self {
        let last = self.last.clone();
        let inputs = [&[last.as_str()], more].concat();
        let made = self.node(op, &inputs, attributes);
        self.go_on(made)
    }

    /// Takes a value for the latest.
    pub fn go_on(&mut self, name: String) -> &mut Self {
        self.last = name;
        self.shape = self.shape_of(&self.last.clone());
        self
    }

    pub fn shape_of(&self, name: &str) -> Vec<usize> {
        let mut model = self.model();
        let graph = model.graph.as_mut().unwrap();
        graph.node.pop();
        let size = self.size;
        Reader::new(&model, model.graph.as_ref().unwrap(), INPUT, size).shape(name).expect("a known shape")
    }

    pub fn constant(&mut self, array: ArrayD<f32>) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        self.graph.initializer.push(Tensor::F32(array).to_proto(&name));
        name
    }

    pub fn random(&mut self, rng: &mut Stream, shape: &[usize], low: f32, high: f32) -> String {
        self.constant(ArrayD::from_shape_fn(IxDyn(shape), |_| random::between(rng, low, high)))
    }

    pub fn list(&mut self, numbers: &[i64]) -> String {
        let name = format!("c{}", self.graph.initializer.len());
        let list = Tensor::I64(ndarray::arr1(numbers).into_dyn());
        self.graph.initializer.push(list.to_proto(&name));
        name
    }

    /// The model, with the latest value flattened as its output.
    pub fn model(&self) -> ModelProto {
        let mut graph = self.graph.clone();
        let flatten = NodeProto {
            input: vec![self.last.clone()],
            output: vec![OUTPUT.into()],
            name: Some("flatten".into()),
            op_type: Some("Flatten".into()),
            ..NodeProto::default()
        };
        graph.node.push(flatten);
        let count = self.shape.iter().product();
        graph.output = vec![value(OUTPUT, data_type::FLOAT, &[1, count])];
        ModelProto {
            ir_version: Some(9),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(21) }],
            graph: Some(graph),
            ..ModelProto::default()
        }
    }
}

pub(super) fn below(rng: &mut Stream, n: usize) -> usize {
    random::below(rng, n)
}
