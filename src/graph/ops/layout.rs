//! Moving numbers without changing them.

use super::axis_of;
use crate::graph::builder::{Attribute, OpResult, broadcast};
use crate::graph::{DType, Graph, Tensor, Value};

impl Graph {
    /// The same numbers in another shape.
    pub fn reshape(&mut self, x: Value, shape: &[usize]) -> OpResult {
        if self.shape(x) == shape {
            return Ok(x);
        }
        if self.shape(x).iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(self.misfit("Reshape", format!("{:?} does not fill {shape:?}", self.shape(x))));
        }
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let list = self.ints(&dims);
        let dtype = self.dtype(x);
        Ok(self.node("Reshape", &[x, list], vec![], dtype, shape.to_vec()))
    }

    /// `[d₀, …]` → the product of the axes before `axis`, and of those from it on.
    pub fn flatten(&mut self, x: Value, axis: usize) -> OpResult {
        let shape = self.shape(x);
        if axis > shape.len() {
            return Err(self.misfit("Flatten", format!("axis {axis} of {shape:?}")));
        }
        let flat = vec![shape[..axis].iter().product(), shape[axis..].iter().product()];
        let dtype = self.dtype(x);
        Ok(self.node("Flatten", &[x], vec![("axis", Attribute::Int(axis as i64))], dtype, flat))
    }

    /// The axes in another order: axis `i` of the result is axis `order[i]` of `x`.
    pub fn transpose(&mut self, x: Value, order: &[usize]) -> OpResult {
        let shape = self.shape(x);
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..shape.len()) {
            return Err(self.misfit("Transpose", format!("{order:?} is no order of the axes of {shape:?}")));
        }
        let turned = order.iter().map(|&a| shape[a]).collect();
        let perm = Attribute::Ints(order.iter().map(|&a| a as i64).collect());
        let dtype = self.dtype(x);
        Ok(self.node("Transpose", &[x], vec![("perm", perm)], dtype, turned))
    }

    /// `x[starts..ends]` along `axes` with positive `steps`.
    pub fn slice(
        &mut self,
        x: Value,
        starts: &[usize],
        ends: &[usize],
        axes: &[usize],
        steps: &[usize],
    ) -> OpResult {
        let mut shape = self.shape(x).to_vec();
        let fail = || {
            self.misfit(
                "Slice",
                format!("{starts:?}..{ends:?} by {steps:?} along {axes:?} of {:?}", self.shape(x)),
            )
        };
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(fail());
        }
        for (i, &axis) in axes.iter().enumerate() {
            if axis >= shape.len() || starts[i] >= ends[i] || ends[i] > shape[axis] || steps[i] == 0 {
                return Err(fail());
            }
            shape[axis] = (ends[i] - starts[i]).div_ceil(steps[i]);
        }
        if shape == self.shape(x) {
            return Ok(x);
        }
        let mut inputs = vec![x];
        for list in [starts, ends, axes, steps] {
            let list: Vec<i64> = list.iter().map(|&i| i as i64).collect();
            inputs.push(self.ints(&list));
        }
        let dtype = self.dtype(x);
        Ok(self.node("Slice", &inputs, vec![], dtype, shape))
    }

    /// Tensors one after the other along `axis`.
    pub fn concat(&mut self, parts: &[Value], axis: usize) -> OpResult {
        let shapes: Vec<&[usize]> = parts.iter().map(|v| self.shape(*v)).collect();
        let fail = || self.misfit("Concat", format!("shapes {shapes:?} along axis {axis}"));
        let mut shape = shapes.first().filter(|s| axis < s.len()).ok_or_else(fail)?.to_vec();
        for other in &shapes[1..] {
            let fits =
                other.len() == shape.len() && (0..shape.len()).all(|a| a == axis || other[a] == shape[a]);
            if !fits {
                return Err(fail());
            }
            shape[axis] += other[axis];
        }
        let dtype = self.dtype(parts[0]);
        Ok(self.node("Concat", parts, vec![("axis", Attribute::Int(axis as i64))], dtype, shape))
    }

    /// Adds `value` around: `pads` holds the counts before each axis, then those after.
    pub fn pad(&mut self, x: Value, pads: &[usize], value: f32) -> OpResult {
        let rank = self.shape(x).len();
        if pads.len() != 2 * rank {
            return Err(self.misfit("Pad", format!("{} counts for {rank} axes", pads.len())));
        }
        if pads.iter().all(|p| *p == 0) {
            return Ok(x);
        }
        let shape = self.shape(x).iter().enumerate().map(|(a, d)| d + pads[a] + pads[a + rank]).collect();
        let counts: Vec<i64> = pads.iter().map(|&p| p as i64).collect();
        let (counts, fill) = (self.ints(&counts), self.scalar(value));
        let dtype = self.dtype(x);
        Ok(self.node("Pad", &[x, counts, fill], vec![("mode", Attribute::Text("constant"))], dtype, shape))
    }

    /// The rows `indices: int64 […]` of `x` along `axis`.
    pub fn gather(&mut self, x: Value, indices: Value, axis: i64) -> OpResult {
        let axis = axis_of(self, "Gather", axis, self.shape(x).len())?;
        if !matches!(self.dtype(indices), DType::I64 | DType::I32) {
            return Err(self.misfit("Gather", format!("{:?} indices", self.dtype(indices))));
        }
        let source = self.shape(x);
        let shape = [&source[..axis], self.shape(indices), &source[axis + 1..]].concat();
        let dtype = self.dtype(x);
        Ok(self.node("Gather", &[x, indices], vec![("axis", Attribute::Int(axis as i64))], dtype, shape))
    }

    /// `labels: int64 […]` → float32 `[…, depth]`, 1 at the label.
    pub fn one_hot(&mut self, labels: Value, depth: usize) -> OpResult {
        if self.dtype(labels) != DType::I64 {
            return Err(
                self.misfit("OneHot", format!("{:?} labels where int64 is needed", self.dtype(labels)))
            );
        }
        let mut shape = self.shape(labels).to_vec();
        shape.push(depth);
        let count = self.ints(&[depth as i64]);
        let values =
            self.initializer_once("one_hot_values", Tensor::F32(ndarray::arr1(&[0.0f32, 1.0]).into_dyn()));
        Ok(self.node(
            "OneHot",
            &[labels, count, values],
            vec![("axis", Attribute::Int(-1))],
            DType::F32,
            shape,
        ))
    }

    /// `x` repeated to fill `shape` (numpy's broadcasting).
    pub fn expand(&mut self, x: Value, shape: &[usize]) -> OpResult {
        if self.shape(x) == shape {
            return Ok(x);
        }
        if broadcast(&[self.shape(x), shape]).as_deref() != Some(shape) {
            return Err(self.misfit("Expand", format!("{:?} does not broadcast to {shape:?}", self.shape(x))));
        }
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let list = self.ints(&dims);
        let dtype = self.dtype(x);
        Ok(self.node("Expand", &[x, list], vec![], dtype, shape.to_vec()))
    }
}
