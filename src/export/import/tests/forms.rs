//! Small foreign models, node by node, and what they give.

use crate::export::{Foreign, ImportOptions};
use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, Tensor, TensorProto,
    ValueInfoProto,
};
use crate::tower::{INPUT, OUTPUT};
use crate::walk::{Interpreter, interpreter};
use ndarray::{Array2, Array4, ArrayD, Axis, IxDyn};
use prost::Message;
use std::collections::BTreeMap;

/// A model with the one input `x` and the one output `y`.
#[derive(Clone)]
pub struct Form {
    input: Vec<usize>,
    output: Vec<usize>,
    open: bool,
    pub nodes: Vec<NodeProto>,
    pub weights: Vec<TensorProto>,
    pub opset: i64,
}

impl Form {
    pub fn new(input: &[usize]) -> Self {
        let (nodes, weights) = (Vec::new(), Vec::new());
        Self { input: input.into(), output: Vec::new(), open: false, nodes, weights, opset: 17 }
    }

    /// A node with inputs parted by blanks.
    pub fn node(mut self, inputs: &str, op: &str, output: &str, attribute: Vec<AttributeProto>) -> Self {
        self.nodes.push(NodeProto {
            input: inputs.split(' ').map(String::from).collect(),
            output: vec![output.into()],
            name: Some(format!("the_{output}")),
            op_type: Some(op.into()),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    /// Another input of the nodes of a kind.
    pub fn more_input(mut self, op: &str, input: &str) -> Self {
        for node in self.nodes.iter_mut().filter(|node| node.op_type() == op) {
            node.input.push(input.into());
            node.attribute.clear();
        }
        self
    }

    fn array(mut self, name: &str, array: Tensor) -> Self {
        self.weights.push(array.to_proto(name));
        self
    }

    pub fn weight(self, name: &str, shape: &[usize]) -> Self {
        let mut next = 0.37f32 + name.len() as f32 / 10.0;
        let array = ArrayD::from_shape_fn(IxDyn(shape), |_| {
            next = (next * 1.61 + 0.27) % 1.0;
            next - 0.5
        });
        self.array(name, Tensor::F32(array))
    }

    /// A constant whose halves (or thirds) along the first axis are alike, as those of a fixed batch are.
    pub fn repeated(self, name: &str, shape: &[usize]) -> Self {
        let batch = self.input[0];
        let each = shape[0] / batch;
        let array = ArrayD::from_shape_fn(IxDyn(shape), |at| {
            let place =
                (0..shape.len()).fold(0, |n, axis| n * 7 + if axis == 0 { at[0] % each } else { at[axis] });
            (place * 37 % 101) as f32 / 101.0 - 0.4
        });
        self.array(name, Tensor::F32(array))
    }

    pub fn list(self, name: &str, list: &[i64]) -> Self {
        self.array(name, Tensor::I64(ndarray::arr1(list).into_dyn()))
    }

    pub fn scalar(self, name: &str, number: i64) -> Self {
        self.array(name, Tensor::I64(ndarray::arr0(number).into_dyn()))
    }

    pub fn open_batch(self) -> Self {
        Self { open: true, ..self }
    }

    pub fn output(self, shape: &[usize]) -> Self {
        Self { output: shape.into(), ..self }
    }

    pub fn model(&self) -> ModelProto {
        let value = |name: &str, shape: &[usize]| {
            let mut value = Tensor::F32(ArrayD::zeros(IxDyn(shape))).value_info(name);
            if let (true, Some(crate::onnx::type_proto::Value::Tensor(t))) =
                (self.open, &mut value.r#type.as_mut().unwrap().value)
            {
                t.shape.as_mut().unwrap().dim[0].value = None;
            }
            value
        };
        let input: Vec<ValueInfoProto> = vec![value("x", &self.input)];
        let graph = GraphProto {
            node: self.nodes.clone(),
            initializer: self.weights.clone(),
            input,
            output: vec![value("y", &self.output)],
            ..GraphProto::default()
        };
        ModelProto {
            ir_version: Some(8),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                version: Some(self.opset),
                ..OperatorSetIdProto::default()
            }],
            ..ModelProto::default()
        }
    }

    pub fn read(&self, options: &ImportOptions) -> Foreign {
        read(&self.model(), options).unwrap()
    }
}

/// A model through a file.
pub fn read(model: &ModelProto, options: &ImportOptions) -> crate::Result<Foreign> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("form.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    Foreign::read(&path, options)
}

/// What a model gives for each picture, which fills its whole batch.
pub fn as_given(model: &ModelProto, foreign: &Foreign, pictures: &Array4<u8>) -> Array2<f64> {
    let batch = foreign.own_batch();
    let mut all = Vec::new();
    for i in 0..pictures.len_of(Axis(0)) {
        let same = pictures.select(Axis(0), &vec![i; batch]);
        let given = BTreeMap::from([("x".to_string(), foreign.feed(same.view()).to_f64())]);
        let found = interpreter::run(model, given).unwrap().remove("y").unwrap();
        all.extend(found.iter().take(found.len() / batch).copied().collect::<Vec<_>>());
    }
    let count = pictures.len_of(Axis(0));
    Array2::from_shape_vec((count, all.len() / count), all).unwrap()
}

/// The rows of a tower, in batches of a size.
pub fn rows(tower: &ModelProto, pictures: &Array4<u8>, size: usize) -> Array2<f64> {
    let tower = Interpreter::<f64>::new(tower).unwrap();
    let each = pictures.axis_chunks_iter(Axis(0), size).map(|part| {
        let given = BTreeMap::from([(INPUT.to_string(), part.mapv(f64::from).into_dyn())]);
        tower.run(given).unwrap().remove(OUTPUT).unwrap().into_dimensionality::<ndarray::Ix2>().unwrap()
    });
    let each: Vec<Array2<f64>> = each.collect();
    let views: Vec<_> = each.iter().map(|rows| rows.view()).collect();
    ndarray::concatenate(Axis(0), &views).unwrap()
}
