//! What of a float tower is known before it runs: constants, what follows from them and from the picture's
//! shape, and the shapes of all values for one picture.

use crate::onnx::{DType, ModelProto, NodeProto, TensorProto, ValueInfoProto, numbers};
use crate::op::{self, Call, Dim, Type};
use crate::walk::Types;
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::HashMap;

/// The constants and shapes of a model, followed node by node.
pub(super) struct Known<'a> {
    weights: HashMap<&'a str, &'a TensorProto>,
    folded: HashMap<String, ArrayD<f64>>,
    types: Types,
    opset: i64,
}

impl<'a> Known<'a> {
    /// What is known before the first node; the batch is of one picture.
    pub fn of(model: &'a ModelProto) -> Self {
        let one = |axis: usize, _: Option<&str>| if axis == 0 { Dim::from(1) } else { Dim::Unknown };
        let entry = |value: &ValueInfoProto| {
            value.r#type.as_ref().map_or_else(Type::default, |proto| Type::of_proto(proto, one))
        };
        let weights = model.graph.iter().flat_map(|g| &g.initializer).map(|t| (t.name(), t)).collect();
        let types = Types::at_entry(model, &entry);
        Self { weights, folded: HashMap::new(), types, opset: model.opset().unwrap_or(1) }
    }

    pub fn is_constant(&self, name: &str) -> bool {
        self.weights.contains_key(name) || self.folded.contains_key(name)
    }

    /// The numbers of a constant.
    ///
    /// # Errors
    /// A value that is none, or cannot be read.
    pub fn constant(&self, name: &str) -> Result<ArrayD<f64>> {
        match (self.folded.get(name), self.weights.get(name)) {
            (Some(known), _) => Ok(known.clone()),
            (_, Some(tensor)) => numbers(tensor),
            _ => Err(Error::invalid(format!("value {name:?}"), "is no constant")),
        }
    }

    /// The sizes of a value for one picture.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.types.get(name)?.sizes()
    }

    /// Follows a node; whether its results are constant.
    ///
    /// # Errors
    /// Inputs that do not fit it.
    pub fn follow(&mut self, node: &NodeProto) -> Result<bool> {
        self.types.follow(node)?;
        let told = |name: &String| self.types.get(name).and_then(|t| Some((t.value.as_ref()?, t.dtype?)));
        // A list that follows from shapes.
        let [output] = node.output.as_slice() else { return self.evaluated(node) };
        if let Some((value, dtype)) = told(output)
            && !dtype.is_float()
            && let Some(known) = value.iter().map(Dim::number).collect::<Option<Vec<f64>>>()
            && let Ok(known) = ArrayD::from_shape_vec(value.raw_dim(), known)
        {
            self.folded.insert(output.clone(), known);
            return Ok(true);
        }
        self.evaluated(node)
    }

    /// Computes a node all of whose inputs are constant.
    fn evaluated(&mut self, node: &NodeProto) -> Result<bool> {
        let Some(operator) = node.operator() else { return Ok(false) };
        if !node.input.iter().all(|name| name.is_empty() || self.is_constant(name)) {
            return Ok(false);
        }
        let inputs = node.input.iter().map(|name| match name.is_empty() {
            true => Ok(None),
            false => self.constant(name).map(Some),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let given: Vec<Option<&ArrayD<f64>>> = inputs.iter().map(Option::as_ref).collect();
        let results = op::evaluate(operator, &self.call(node, &given))?;
        self.folded.extend(node.output.iter().cloned().zip(results));
        Ok(true)
    }

    /// The result of a node with one output, for inputs that stand for its values that are not constant.
    ///
    /// # Errors
    /// A form of the operator that is not evaluated here.
    pub fn compute(
        &self,
        node: &NodeProto,
        given: &dyn Fn(&str) -> Option<ArrayD<f64>>,
    ) -> Result<ArrayD<f64>> {
        let operator = node.operator().ok_or_else(|| op::fail(node, "is no operator that is known here"))?;
        let input = |name: &String| match name.is_empty() {
            true => Ok(None),
            false => given(name).map_or_else(|| self.constant(name), Ok).map(Some),
        };
        let inputs = node.input.iter().map(input).collect::<Result<Vec<_>>>()?;
        let given: Vec<Option<&ArrayD<f64>>> = inputs.iter().map(Option::as_ref).collect();
        let mut results = op::evaluate(operator, &self.call(node, &given))?;
        Ok(results.swap_remove(0))
    }

    fn call<'c>(&self, node: &'c NodeProto, inputs: &'c [Option<&'c ArrayD<f64>>]) -> Call<'c, ArrayD<f64>> {
        let first = node.input_name(0).and_then(|name| self.types.get(name)?.dtype);
        Call { node, opset: self.opset, integers: first.is_some_and(|d: DType| !d.is_float()), inputs }
    }
}
