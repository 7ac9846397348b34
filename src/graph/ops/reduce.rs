//! Sums, means, maxima over axes, and the softmax.

use super::axis_of;
use crate::graph::Expr;
use crate::onnx::{AttributeProto, Operator};

impl Expr<'_> {
    /// The sum over `axes`.
    pub fn sum(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceSum, axes, false)
    }

    /// The sum over `axes`, which stay as 1.
    pub fn sum_kept(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceSum, axes, true)
    }

    /// The sum over all axes: `[]`.
    pub fn total(self) -> Self {
        self.sum(&(0..self.rank() as i64).collect::<Vec<_>>())
    }

    /// The mean over `axes`.
    pub fn mean(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceMean, axes, false)
    }

    /// The mean over `axes`, which stay as 1.
    pub fn mean_kept(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceMean, axes, true)
    }

    /// The maximum over `axes`; of equals, the derivative is shared.
    pub fn amax(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceMax, axes, false)
    }

    /// The maximum over `axes`, which stay as 1.
    pub fn amax_kept(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceMax, axes, true)
    }

    /// The Euclidean length over `axes`, which stay as 1; its derivative at the origin is 0.
    pub fn length_kept(self, axes: &[i64]) -> Self {
        self.reduce(Operator::ReduceL2, axes, true)
    }

    /// `eˣ / Σ eˣ` along `axis`.
    pub fn softmax(self, axis: i64) -> Self {
        self.along(Operator::Softmax, axis)
    }

    /// `x − ln Σ eˣ` along `axis`.
    pub fn log_softmax(self, axis: i64) -> Self {
        self.along(Operator::LogSoftmax, axis)
    }

    fn along(self, op: Operator, axis: i64) -> Self {
        self.graph().attempt(op.name(), || {
            let axis = axis_of(axis, self.rank())?;
            let attributes = vec![AttributeProto::int("axis", axis as i64)];
            Ok(self.graph().node(op, &[self], attributes, self.dtype(), self.shape()))
        })
    }

    fn reduce(self, op: Operator, axes: &[i64], keep: bool) -> Self {
        self.graph().attempt(op.name(), || {
            let (axes, shape) = reduced(&self.shape(), axes, keep)?;
            let (mut inputs, mut attributes) = (vec![self], vec![]);
            // Of the reductions, ReduceSum alone takes its axes as an input at opset 17.
            match op {
                Operator::ReduceSum => inputs.push(self.graph().ints(&axes)),
                _ => attributes.push(AttributeProto::ints("axes", axes)),
            }
            attributes.push(AttributeProto::flag("keepdims", keep));
            Ok(self.graph().node(op, &inputs, attributes, self.dtype(), shape))
        })
    }
}

/// The axes counted from the front, in order, and the shape without them.
fn reduced(shape: &[usize], axes: &[i64], keep: bool) -> Result<(Vec<i64>, Vec<usize>), String> {
    let mut gone = axes.iter().map(|&a| axis_of(a, shape.len())).collect::<Result<Vec<_>, _>>()?;
    gone.sort_unstable();
    gone.dedup();
    let left = shape.iter().enumerate().filter_map(|(axis, &d)| match gone.contains(&axis) {
        true => keep.then_some(1),
        false => Some(d),
    });
    Ok((gone.iter().map(|&a| a as i64).collect(), left.collect()))
}
