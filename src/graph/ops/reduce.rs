//! Sums, means, maxima over axes, and the softmax.

use super::axis_of;
use crate::graph::builder::{Attribute, OpResult};
use crate::graph::{Graph, Value};

impl Graph {
    /// The sum over `axes`, which stay as 1 where `keep` is set.
    pub fn reduce_sum(&mut self, x: Value, axes: &[i64], keep: bool) -> OpResult {
        let (axes, shape) = self.reduced("ReduceSum", x, axes, keep)?;
        // Of the reductions, ReduceSum alone takes its axes as an input at opset 17.
        let list = self.ints(&axes);
        let dtype = self.dtype(x);
        Ok(self.node(
            "ReduceSum",
            &[x, list],
            vec![("keepdims", Attribute::Int(i64::from(keep)))],
            dtype,
            shape,
        ))
    }

    /// The mean over `axes`.
    pub fn reduce_mean(&mut self, x: Value, axes: &[i64], keep: bool) -> OpResult {
        self.reduce("ReduceMean", x, axes, keep)
    }

    /// The maximum over `axes`; of equals, the derivative is shared.
    pub fn reduce_max(&mut self, x: Value, axes: &[i64], keep: bool) -> OpResult {
        self.reduce("ReduceMax", x, axes, keep)
    }

    /// `eˣ / Σ eˣ` along `axis`.
    pub fn softmax(&mut self, x: Value, axis: i64) -> OpResult {
        self.along("Softmax", x, axis)
    }

    /// `x − ln Σ eˣ` along `axis`.
    pub fn log_softmax(&mut self, x: Value, axis: i64) -> OpResult {
        self.along("LogSoftmax", x, axis)
    }

    fn along(&mut self, op: &'static str, x: Value, axis: i64) -> OpResult {
        let (dtype, shape) = (self.dtype(x), self.shape(x).to_vec());
        let axis = axis_of(self, op, axis, shape.len())?;
        Ok(self.node(op, &[x], vec![("axis", Attribute::Int(axis as i64))], dtype, shape))
    }

    fn reduce(&mut self, op: &'static str, x: Value, axes: &[i64], keep: bool) -> OpResult {
        let (axes, shape) = self.reduced(op, x, axes, keep)?;
        let attributes = vec![("axes", Attribute::Ints(axes)), ("keepdims", Attribute::Int(i64::from(keep)))];
        let dtype = self.dtype(x);
        Ok(self.node(op, &[x], attributes, dtype, shape))
    }

    /// The axes counted from the front, in order, and the shape without them.
    fn reduced(&self, op: &str, x: Value, axes: &[i64], keep: bool) -> crate::Result<(Vec<i64>, Vec<usize>)> {
        let shape = self.shape(x);
        let mut gone =
            axes.iter().map(|&a| axis_of(self, op, a, shape.len())).collect::<crate::Result<Vec<_>>>()?;
        gone.sort_unstable();
        gone.dedup();
        let left = shape.iter().enumerate().filter_map(|(axis, &d)| match gone.contains(&axis) {
            true => keep.then_some(1),
            false => Some(d),
        });
        Ok((gone.iter().map(|&a| a as i64).collect(), left.collect()))
    }
}
