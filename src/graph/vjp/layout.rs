//! Rules of operators that move numbers.

use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{Graph, Value};

pub(super) fn rule(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    if call.node.op == "Concat" {
        return concat(g, call);
    }
    let shape = g.shape(call.x()).to_vec();
    let cotangent = match call.node.op {
        "Reshape" | "Flatten" => g.reshape(call.dy, &shape),
        "Expand" => Ok(call.dy),
        "Transpose" => transpose(g, call),
        "Slice" => slice(g, call, &shape),
        "Pad" => pad(g, call, &shape),
        _ => gather(g, call, &shape),
    };
    Ok(vec![(0, cotangent?)])
}

/// An int64 constant among the inputs, as counts.
fn counts(g: &Graph, call: &Call, input: usize) -> Result<Vec<usize>> {
    let ints = call.node.inputs.get(input).and_then(|v| g.constant_ints(*v));
    let ints = ints.ok_or_else(|| call.fail(&format!("input {input} is not a constant")))?;
    Ok(ints.into_iter().map(|i| i as usize).collect())
}

fn transpose(g: &mut Graph, call: &Call) -> Result<Value> {
    let order = call.node.ints("perm").to_vec();
    let mut back = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        back[from as usize] = to;
    }
    g.transpose(call.dy, &back)
}

fn concat(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let axis = call.node.int("axis", 0) as usize;
    let mut ends = Vec::new();
    for part in &call.node.inputs {
        ends.push(ends.last().unwrap_or(&0) + g.shape(*part)[axis]);
    }
    call.each(|i| {
        let start = if i == 0 { 0 } else { ends[i - 1] };
        g.slice(call.dy, &[start], &[ends[i]], &[axis], &[1])
    })
}

/// Zeros where nothing was taken: between the taken ones, before and after.
fn slice(g: &mut Graph, call: &Call, shape: &[usize]) -> Result<Value> {
    let [starts, axes, steps] = [1, 3, 4].map(|input| counts(g, call, input));
    let (starts, axes, steps) = (starts?, axes?, steps?);
    let (mut dx, rank) = (call.dy, shape.len());
    let mut pads = vec![0; 2 * rank];
    for ((&start, &axis), &step) in starts.iter().zip(&axes).zip(&steps) {
        dx = spread(g, dx, axis, step)?;
        let end = start + g.shape(dx)[axis];
        pads[axis] = start;
        pads[rank + axis] = shape[axis].saturating_sub(end);
        if end > shape[axis] {
            let side = shape[axis] - start;
            dx = g.slice(dx, &[0], &[side], &[axis], &[1])?;
        }
    }
    g.pad(dx, &pads, 0.0)
}

/// `step − 1` zeros after each element along `axis`.
fn spread(g: &mut Graph, v: Value, axis: usize, step: usize) -> Result<Value> {
    if step == 1 {
        return Ok(v);
    }
    let shape = g.shape(v).to_vec();
    let rank = shape.len() + 1;
    let apart = [&shape[..=axis], &[1], &shape[axis + 1..]].concat();
    let mut pads = vec![0; 2 * rank];
    pads[rank + axis + 1] = step - 1;
    let apart = g.reshape(v, &apart)?;
    let filled = g.pad(apart, &pads, 0.0)?;
    let mut wide = shape;
    wide[axis] *= step;
    g.reshape(filled, &wide)
}

fn pad(g: &mut Graph, call: &Call, shape: &[usize]) -> Result<Value> {
    let pads = counts(g, call, 1)?;
    let axes: Vec<usize> = (0..shape.len()).collect();
    let ends: Vec<usize> = axes.iter().map(|&a| pads[a] + shape[a]).collect();
    g.slice(call.dy, &pads[..shape.len()], &ends, &axes, &vec![1; shape.len()])
}

/// The rows added up by a product with the one-hot indices: `[D, K] · [A, K, B]`.
fn gather(g: &mut Graph, call: &Call, shape: &[usize]) -> Result<Value> {
    let (axis, indices) = (call.node.int("axis", 0) as usize, call.node.inputs[1]);
    let picked: usize = g.shape(indices).iter().product();
    let (before, after) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    let flat = g.reshape(indices, &[picked])?;
    let hot = g.one_hot(flat, shape[axis])?;
    let hot = g.transpose(hot, &[1, 0])?;
    let rows = g.reshape(call.dy, &[before, picked, after])?;
    let sums = g.matmul(hot, rows)?;
    g.reshape(sums, shape)
}
