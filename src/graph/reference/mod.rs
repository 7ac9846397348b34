//! An interpreter of ONNX models in float64: the truth that gradients and runtimes are held against.
//!
//! Every value is an `ArrayD<f64>`, whatever its type in the file: integers below 2⁵³ are exact. It is
//! written for clarity, not speed, and covers the operators of towers and training steps.

mod elementwise;
mod layout;
mod linear;
mod reduce;

use super::tensor::numbers;
use crate::onnx::{AttributeProto, ModelProto, NodeProto, TensorProto};
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::BTreeMap;

/// Values by name.
pub type Values = BTreeMap<String, ArrayD<f64>>;

/// The outputs of `model` for `inputs`.
///
/// # Errors
/// A missing input, an operator that is not known here, shapes that do not fit.
pub fn run(model: &ModelProto, inputs: Values) -> Result<Values> {
    let mut values = trace(model, inputs)?;
    let outputs = graph_of(model)?.output.iter().filter_map(|o| o.name.clone());
    outputs.map(|name| take(&mut values, name)).collect()
}

fn take(values: &mut Values, name: String) -> Result<(String, ArrayD<f64>)> {
    let value = values
        .get(&name)
        .cloned()
        .ok_or_else(|| Error::invalid("the model", format!("no node gives {name}")))?;
    Ok((name, value))
}

/// Every value of `model` for `inputs`: inputs, initialisers, and the result of each node.
///
/// # Errors
/// As [`run`].
pub fn trace(model: &ModelProto, inputs: Values) -> Result<Values> {
    let graph = graph_of(model)?;
    let mut values = inputs;
    for tensor in &graph.initializer {
        values.entry(tensor.name.clone().unwrap_or_default()).or_insert(numbers(tensor)?);
    }
    for info in &graph.input {
        let name = info.name.as_deref().unwrap_or_default();
        if !values.contains_key(name) {
            return Err(Error::invalid(format!("input {name}"), "is not given"));
        }
    }
    for node in &graph.node {
        let results = evaluate(node, &values)?;
        let names = node.output.iter().cloned();
        values.extend(names.zip(results).filter(|(name, _)| !name.is_empty()));
    }
    Ok(values)
}

/// The results of one node.
///
/// # Errors
/// As [`run`].
pub fn evaluate(node: &NodeProto, values: &Values) -> Result<Vec<ArrayD<f64>>> {
    let mut inputs = Vec::with_capacity(node.input.len());
    for name in &node.input {
        let value = values.get(name);
        if value.is_none() && !name.is_empty() {
            return Err(Op { node, inputs: &inputs }.fail(format!("its input {name} has no value")));
        }
        inputs.push(value);
    }
    let op = Op { node, inputs: &inputs };
    for family in [elementwise::run, linear::run, reduce::run, layout::run] {
        if let Some(results) = family(&op)? {
            return Ok(results);
        }
    }
    Err(op.fail("the reference interpreter does not know this operator"))
}

fn graph_of(model: &ModelProto) -> Result<&crate::onnx::GraphProto> {
    model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))
}

type Results = Result<Option<Vec<ArrayD<f64>>>>;

/// A node with its inputs' values.
struct Op<'a> {
    node: &'a NodeProto,
    inputs: &'a [Option<&'a ArrayD<f64>>],
}

impl<'a> Op<'a> {
    fn kind(&self) -> &'a str {
        self.node.op_type.as_deref().unwrap_or_default()
    }

    fn fail(&self, why: impl std::fmt::Display) -> Error {
        let node = self.node.name.clone().unwrap_or_default();
        Error::Graph { op: self.kind().into(), node, why: why.to_string() }
    }

    fn given(&self, i: usize) -> Option<&'a ArrayD<f64>> {
        self.inputs.get(i).copied().flatten()
    }

    fn input(&self, i: usize) -> Result<&'a ArrayD<f64>> {
        self.given(i).ok_or_else(|| self.fail(format!("input {i} is missing")))
    }

    /// An input that holds integers.
    fn integers(&self, i: usize) -> Option<Vec<i64>> {
        self.given(i).map(|a| a.iter().map(|&x| x as i64).collect())
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|a| a.name.as_deref() == Some(name))
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f32) -> f64 {
        f64::from(self.attribute(name).and_then(|a| a.f).unwrap_or(default))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.attribute(name).and_then(|a| a.s.as_ref()).map(|s| String::from_utf8_lossy(s).into_owned())
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    fn sizes(&self, name: &str, default: &[usize]) -> Result<Vec<usize>> {
        match self.ints(name) {
            None => Ok(default.to_vec()),
            Some(ints) => ints
                .iter()
                .map(|&i| usize::try_from(i).map_err(|_| self.fail(format!("{name} holds {i}"))))
                .collect(),
        }
    }

    fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    /// An axis counted from the front.
    fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        let axis = usize::try_from(from_front).ok().filter(|&a| a < rank.max(1));
        axis.ok_or_else(|| self.fail(format!("axis {from_front} of a tensor with {rank} axes")))
    }
}
