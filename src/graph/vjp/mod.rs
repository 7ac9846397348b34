//! One rule an operator: from the cotangent of a node's result to those of its inputs.
//!
//! Rules call the forward builders, so that a derivative consists of the same standard operators. They
//! neither accumulate nor un-broadcast: the walk does. The files mirror those of `ops`.

mod elementwise;
mod last;
mod layout;
mod linear;
mod norm;
mod pool;
mod reduce;

use super::builder::{Graph, Node, Value};
use super::grad::GradOptions;
use crate::{Error, Result};

/// A node whose inputs' cotangents are asked for.
pub(super) struct Call<'a> {
    pub node: &'a Node,
    /// Cotangent of the result. For [`is_elementwise`] operators it may be smaller than the result, as
    /// long as it broadcasts to it.
    pub dy: Value,
    /// Which inputs' cotangents are of use.
    pub needed: &'a [bool],
    pub how: GradOptions,
}

/// Pairs of an input's position and its cotangent.
pub(super) type Cotangents = Vec<(usize, Value)>;

/// Operators through which no derivative flows, because it is zero almost everywhere or their result
/// is no number.
pub(super) const NON_DIFFERENTIABLE: &[&str] =
    &["Equal", "Less", "Greater", "Not", "And", "OneHot", "Sign", "Floor", "Round"];

const ELEMENTWISE: &[&str] = &[
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sqrt", "Exp", "Log", "Sigmoid", "Relu", "Max", "Min", "Pow",
    "Clip", "Where", "Cast", "Identity",
];

/// Whether each element of the result depends on that element of the inputs alone.
pub(super) fn is_elementwise(op: &str) -> bool {
    ELEMENTWISE.contains(&op)
}

/// The cotangents of the needed inputs.
pub(super) fn apply(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    match call.node.op {
        op if NON_DIFFERENTIABLE.contains(&op) => Ok(Vec::new()),
        op if is_elementwise(op) => elementwise::rule(g, call),
        "MatMul" => linear::matmul(g, call),
        "Gemm" => linear::gemm(g, call),
        "Conv" => linear::conv(g, call),
        "ConvLast" => last::conv(g, call),
        "BatchNorm" => norm::batch_norm(g, call),
        "MaxPool" => pool::max_pool(g, call),
        "AveragePool" => pool::average_pool(g, call),
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "Softmax" | "LogSoftmax" => reduce::rule(g, call),
        "Reshape" | "Flatten" | "Transpose" | "Slice" | "Concat" | "Pad" | "Gather" | "Expand" => {
            layout::rule(g, call)
        }
        _ => Err(call.fail("has no derivative rule")),
    }
}

impl Call<'_> {
    fn x(&self) -> Value {
        self.node.inputs[0]
    }

    fn y(&self) -> Value {
        self.node.output
    }

    fn fail(&self, why: &str) -> Error {
        Error::Graph { op: self.node.op.into(), node: self.node.name.clone(), why: why.into() }
    }

    /// The cotangents that `rule` gives for the needed ones of the inputs.
    fn each(&self, mut rule: impl FnMut(usize) -> Result<Value>) -> Result<Cotangents> {
        let needed = (0..self.needed.len()).filter(|&i| self.needed[i]);
        needed.map(|i| Ok((i, rule(i)?))).collect()
    }
}
