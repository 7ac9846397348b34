//! Rules of operators that move numbers.

use super::Call;
use crate::graph::Expr;

pub(super) fn transpose<'g>(c: &Call<'g>) -> Expr<'g> {
    let order = c.node.ints("perm").unwrap_or_default();
    let mut back: Vec<usize> = (0..order.len()).collect();
    back.sort_by_key(|&to| order[to]);
    c.dy.transpose(&back)
}

pub(super) fn concat<'g>(c: &Call<'g>) -> Vec<Expr<'g>> {
    let (axis, mut start) = (c.axis() as usize, 0);
    let parts = c.x.iter().map(|x| {
        let range = start..start + x.dim(axis);
        start = range.end;
        c.dy.narrow(axis, range)
    });
    parts.collect()
}

pub(super) fn pad<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let (pads, shape) = (c.counts(1)?, c.x[0].shape());
        let axes: Vec<usize> = (0..shape.len()).collect();
        let ends: Vec<usize> = axes.iter().map(|&a| pads[a] + shape[a]).collect();
        Ok(c.dy.slice(&pads[..shape.len()], &ends, &axes, &vec![1; shape.len()]))
    })
}

// Harder derivatives.

/// Zeros where nothing was taken: between the taken ones, before and after.
pub(super) fn slice<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let (starts, axes, steps) = (c.counts(1)?, c.counts(3)?, c.counts(4)?);
        let shape = c.x[0].shape();
        let (mut dx, rank) = (c.dy, shape.len());
        let mut pads = vec![0; 2 * rank];
        for ((&start, &axis), &step) in starts.iter().zip(&axes).zip(&steps) {
            if step > 1 {
                dx = spread(dx, axis, step);
            }
            let room = shape[axis] - start;
            if dx.dim(axis) > room {
                dx = dx.narrow(axis, 0..room);
            }
            pads[axis] = start;
            pads[rank + axis] = room.saturating_sub(dx.dim(axis));
        }
        Ok(dx.pad(&pads, 0.0))
    })
}

/// `step − 1` zeros after each element along `axis`.
fn spread(v: Expr<'_>, axis: usize, step: usize) -> Expr<'_> {
    v.graph().attempt("Slice", || {
        let (mut apart, mut wide) = (v.shape(), v.shape());
        apart.insert(axis + 1, 1);
        wide[axis] *= step;
        let mut pads = vec![0; 2 * apart.len()];
        pads[apart.len() + axis + 1] = step - 1;
        Ok(v.reshape(&apart).pad(&pads, 0.0).reshape(&wide))
    })
}

/// The rows added up by a product with the one-hot indices: `[D, K] · [A, K, B]`.
pub(super) fn gather<'g>(c: &Call<'g>) -> Expr<'g> {
    let (axis, indices, shape) = (c.axis() as usize, c.x[1], c.x[0].shape());
    let picked = indices.count();
    let (before, after) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let hot = indices.reshape(&[picked]).one_hot(shape[axis]).transpose(&[1, 0]);
    hot.matmul(c.dy.reshape(&[before, picked, after])).reshape(&shape)
}
