//! An interpreter of ONNX models: in float64 the truth that gradients and runtimes are held against, in
//! float32 what exports are calibrated with, without a runtime's library.
//!
//! Of an exact tower, float32 gives the very bits that any runtime gives.

use super::types::Types;
use super::{graph_of, opset_of};
use crate::onnx::{ModelProto, NodeProto, Operator, numbers};
use crate::op::{self, Call, Real};
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::BTreeMap;

/// Values by name.
pub type Values<T = f64> = BTreeMap<String, ArrayD<T>>;

/// A model ready to run in numbers of type `T`. What depends on no input is computed once.
pub struct Interpreter<'a, T> {
    constants: Values<T>,
    steps: Vec<Step<'a>>,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    opset: i64,
}

/// A node that depends on an input.
struct Step<'a> {
    node: &'a NodeProto,
    operator: Operator,
    integers: bool,
}

/// The outputs of `model` for `inputs`, in float64.
///
/// # Errors
/// As [`Interpreter::new`] and [`Interpreter::trace`].
pub fn run(model: &ModelProto, inputs: Values) -> Result<Values> {
    Interpreter::new(model)?.run(inputs)
}

/// Every value of `model` that depends on `inputs`, in float64.
///
/// # Errors
/// As [`Interpreter::new`] and [`Interpreter::trace`].
pub fn trace(model: &ModelProto, inputs: Values) -> Result<Values> {
    Interpreter::new(model)?.trace(inputs)
}

impl<'a, T: Real> Interpreter<'a, T> {
    /// Takes a model's nodes and weights.
    ///
    /// # Errors
    /// Weights that cannot be read; an operator that is not known; constants that do not fit their node.
    pub fn new(model: &'a ModelProto) -> Result<Self> {
        let graph = graph_of(model)?;
        let constants = graph
            .initializer
            .iter()
            .map(|tensor| Ok((tensor.name().to_string(), numbers(tensor)?.mapv(T::of))));
        let mut interpreter = Self {
            constants: constants.collect::<Result<_>>()?,
            steps: Vec::with_capacity(graph.node.len()),
            inputs: graph.input.iter().map(|i| i.name()).collect(),
            outputs: graph.output.iter().map(|o| o.name()).collect(),
            opset: opset_of(model),
        };
        let types = Types::elements(model);
        for node in &graph.node {
            let operator =
                node.operator().ok_or_else(|| op::fail(node, "is no operator that is known here"))?;
            let step = Step { node, operator, integers: types.integers(node) };
            let constant = |name: &String| name.is_empty() || interpreter.constants.contains_key(name);
            if !node.input.iter().all(constant) {
                interpreter.steps.push(step);
                continue;
            }
            let results = interpreter.evaluate(&step, &Values::new())?;
            interpreter.constants.extend(named(node, results));
        }
        Ok(interpreter)
    }

    /// The outputs for `inputs`.
    ///
    /// # Errors
    /// As [`Interpreter::trace`].
    pub fn run(&self, inputs: Values<T>) -> Result<Values<T>> {
        let values = self.trace(inputs)?;
        let output = |name: &&str| {
            let value = values.get(*name).or_else(|| self.constants.get(*name));
            let value = value.ok_or_else(|| Error::invalid("the model", format!("no node gives {name}")))?;
            Ok(((*name).to_string(), value.clone()))
        };
        self.outputs.iter().map(output).collect()
    }

    /// Every value that depends on `inputs`, and these.
    ///
    /// # Errors
    /// A missing input; shapes that do not fit; a form of an operator that is not evaluated here.
    pub fn trace(&self, inputs: Values<T>) -> Result<Values<T>> {
        self.trace_with(inputs, |_, _| {})
    }

    /// As [`Interpreter::trace`], with each result changed before it is used.
    ///
    /// # Errors
    /// As [`Interpreter::trace`].
    pub fn trace_with(
        &self,
        inputs: Values<T>,
        change: impl Fn(&NodeProto, &mut ArrayD<T>),
    ) -> Result<Values<T>> {
        let mut values = inputs;
        let absent = |name: &&&str| !values.contains_key(**name) && !self.constants.contains_key(**name);
        if let Some(name) = self.inputs.iter().find(absent) {
            return Err(Error::invalid(format!("input {name}"), "is not given"));
        }
        for step in &self.steps {
            let mut results = self.evaluate(step, &values)?;
            results.iter_mut().for_each(|result| change(step.node, result));
            values.extend(named(step.node, results));
        }
        Ok(values)
    }

    fn evaluate(&self, step: &Step, values: &Values<T>) -> Result<Vec<ArrayD<T>>> {
        let node = step.node;
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            let value = values.get(name).or_else(|| self.constants.get(name));
            if value.is_none() && !name.is_empty() {
                return Err(op::fail(node, format!("its input {name} has no value")));
            }
            inputs.push(value);
        }
        let call = Call { node, opset: self.opset, integers: step.integers, inputs: &inputs };
        op::evaluate(step.operator, &call)
    }
}

fn named<T>(node: &NodeProto, results: Vec<ArrayD<T>>) -> impl Iterator<Item = (String, ArrayD<T>)> {
    node.output.iter().cloned().zip(results).filter(|(name, _)| !name.is_empty())
}
