//! Moving numbers without changing them.

use super::axis_of;
use crate::graph::builder::{broadcast, signed};
use crate::graph::{DType, Expr, Graph, Tensor};
use crate::onnx::{AttributeProto, Operator};
use std::ops::Range;

impl Expr<'_> {
    /// The same numbers in another shape.
    pub fn reshape(self, shape: &[usize]) -> Self {
        self.graph().attempt("Reshape", || {
            let own = self.shape();
            if own == shape {
                return Ok(self);
            }
            if own.iter().product::<usize>() != shape.iter().product::<usize>() {
                return Err(format!("{own:?} does not fill {shape:?}"));
            }
            Ok(self.to_shape(Operator::Reshape, shape))
        })
    }

    /// `x` repeated to fill `shape` (numpy's broadcasting).
    pub fn expand(self, shape: &[usize]) -> Self {
        self.graph().attempt("Expand", || {
            let own = self.shape();
            if own == shape {
                return Ok(self);
            }
            if broadcast(&[&own, shape]).as_deref() != Some(shape) {
                return Err(format!("{own:?} does not broadcast to {shape:?}"));
            }
            Ok(self.to_shape(Operator::Expand, shape))
        })
    }

    fn to_shape(self, op: Operator, shape: &[usize]) -> Self {
        let list = self.graph().sizes(shape);
        self.graph().node(op, &[self, list], vec![], self.dtype(), shape.to_vec())
    }

    /// `[d₀, …]` → the product of the axes before `axis`, and of those from it on.
    pub fn flatten(self, axis: usize) -> Self {
        self.graph().attempt("Flatten", || {
            let shape = self.shape();
            let (before, after) =
                shape.split_at_checked(axis).ok_or_else(|| format!("axis {axis} of {shape:?}"))?;
            let flat = vec![before.iter().product(), after.iter().product()];
            let attributes = vec![AttributeProto::int("axis", axis as i64)];
            Ok(self.graph().node(Operator::Flatten, &[self], attributes, self.dtype(), flat))
        })
    }

    /// The axes in another order: axis `i` of the result is axis `order[i]` of `x`.
    pub fn transpose(self, order: &[usize]) -> Self {
        self.graph().attempt("Transpose", || {
            let (shape, mut sorted) = (self.shape(), order.to_vec());
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..shape.len()) {
                return Err(format!("{order:?} is no order of the axes of {shape:?}"));
            }
            let turned = order.iter().map(|&a| shape[a]).collect();
            let attributes = vec![AttributeProto::ints("perm", signed(order))];
            Ok(self.graph().node(Operator::Transpose, &[self], attributes, self.dtype(), turned))
        })
    }

    /// The last two axes exchanged.
    pub(in crate::graph) fn turned(self) -> Self {
        self.graph().attempt("Transpose", || {
            let rank = self.rank();
            let mut order: Vec<usize> = (0..rank).collect();
            let [.., a, b] = order.as_mut_slice() else { return Err(format!("{rank} axes")) };
            std::mem::swap(a, b);
            Ok(self.transpose(&order))
        })
    }

    /// The places `range` along `axis`.
    pub fn narrow(self, axis: usize, range: Range<usize>) -> Self {
        self.slice(&[range.start], &[range.end], &[axis], &[1])
    }

    /// `x[starts..ends]` along `axes` with positive `steps`.
    pub fn slice(self, starts: &[usize], ends: &[usize], axes: &[usize], steps: &[usize]) -> Self {
        self.graph().attempt("Slice", || {
            let own = self.shape();
            let shape = sliced(&own, starts, ends, axes, steps)
                .ok_or_else(|| format!("{starts:?}..{ends:?} by {steps:?} along {axes:?} of {own:?}"))?;
            if shape == own {
                return Ok(self);
            }
            let [starts, ends, axes, steps] =
                [starts, ends, axes, steps].map(|list| self.graph().sizes(list));
            let inputs = [self, starts, ends, axes, steps];
            Ok(self.graph().node(Operator::Slice, &inputs, vec![], self.dtype(), shape))
        })
    }

    /// Adds `value` around: `pads` holds the counts before each axis, then those after.
    pub fn pad(self, pads: &[usize], value: f32) -> Self {
        self.graph().attempt("Pad", || {
            let (own, rank) = (self.shape(), self.rank());
            if pads.len() != 2 * rank {
                return Err(format!("{} counts for {rank} axes", pads.len()));
            }
            if pads.iter().all(|p| *p == 0) {
                return Ok(self);
            }
            let shape = (0..rank).map(|a| own[a] + pads[a] + pads[a + rank]).collect();
            let (counts, fill) = (self.graph().sizes(pads), self.graph().scalar(value));
            let attributes = vec![AttributeProto::text("mode", "constant")];
            Ok(self.graph().node(Operator::Pad, &[self, counts, fill], attributes, self.dtype(), shape))
        })
    }

    /// The rows `indices: int64 […]` along `axis`.
    pub fn gather(self, indices: Self, axis: i64) -> Self {
        self.graph().attempt("Gather", || {
            let own = self.shape();
            let axis = axis_of(axis, own.len())?;
            if !matches!(indices.dtype(), DType::I64 | DType::I32) {
                return Err(format!("{:?} indices", indices.dtype()));
            }
            let shape = [&own[..axis], &indices.shape(), &own[axis + 1..]].concat();
            let attributes = vec![AttributeProto::int("axis", axis as i64)];
            Ok(self.graph().node(Operator::Gather, &[self, indices], attributes, self.dtype(), shape))
        })
    }

    /// These labels `int64 […]` → float32 `[…, depth]`, 1 at the label.
    pub fn one_hot(self, depth: usize) -> Self {
        self.graph().attempt("OneHot", || {
            if self.dtype() != DType::I64 {
                return Err(format!("{:?} labels where int64 is needed", self.dtype()));
            }
            let shape = [self.shape(), vec![depth]].concat();
            let count = self.graph().sizes(&[depth]);
            let values = Tensor::F32(ndarray::arr1(&[0.0f32, 1.0]).into_dyn());
            let values = self.graph().initializer_once("one_hot_values", values);
            let attributes = vec![AttributeProto::int("axis", -1)];
            Ok(self.graph().node(Operator::OneHot, &[self, count, values], attributes, DType::F32, shape))
        })
    }
}

impl Graph {
    /// Tensors one after the other along `axis`.
    pub fn concat<'g>(&'g self, parts: &[Expr<'g>], axis: usize) -> Expr<'g> {
        self.attempt("Concat", || {
            let shapes: Vec<Vec<usize>> = parts.iter().map(|v| v.shape()).collect();
            let shape =
                joined(&shapes, axis).ok_or_else(|| format!("shapes {shapes:?} along axis {axis}"))?;
            let attributes = vec![AttributeProto::int("axis", axis as i64)];
            Ok(self.node(Operator::Concat, parts, attributes, parts[0].dtype(), shape))
        })
    }
}

/// The shape of a slice; none where it leaves `shape`, or nothing.
fn sliced(
    shape: &[usize],
    starts: &[usize],
    ends: &[usize],
    axes: &[usize],
    steps: &[usize],
) -> Option<Vec<usize>> {
    let mut left = shape.to_vec();
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return None;
    }
    for (i, &axis) in axes.iter().enumerate() {
        let side = left.get_mut(axis)?;
        if starts[i] >= ends[i] || ends[i] > *side || steps[i] == 0 {
            return None;
        }
        *side = (ends[i] - starts[i]).div_ceil(steps[i]);
    }
    Some(left)
}

/// The shape of tensors one after the other; none where they do not fit.
fn joined(shapes: &[Vec<usize>], axis: usize) -> Option<Vec<usize>> {
    let first = shapes.first()?;
    let mut shape = first.clone();
    *shape.get_mut(axis)? = 0;
    for other in shapes {
        let fits = other.len() == first.len() && (0..first.len()).all(|a| a == axis || other[a] == first[a]);
        if !fits {
            return None;
        }
        shape[axis] += other[axis];
    }
    Some(shape)
}
