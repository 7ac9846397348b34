//! Rules of reductions and the softmax.

use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{Graph, Value};

pub(super) fn rule(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let cotangent = match call.node.op {
        "ReduceSum" => kept(g, call, call.dy),
        "ReduceMean" => mean(g, call),
        "ReduceMax" => max(g, call),
        "Softmax" => softmax(g, call),
        _ => log_softmax(g, call),
    };
    Ok(vec![(0, cotangent?)])
}

/// The reduced axes.
fn axes(g: &Graph, call: &Call) -> Vec<i64> {
    let of_input = call.node.inputs.get(1).and_then(|v| g.constant_ints(*v));
    of_input.unwrap_or_else(|| call.node.ints("axes").to_vec())
}

/// `v`, of the result's shape, with the reduced axes as 1: it broadcasts to the input.
fn kept(g: &mut Graph, call: &Call, v: Value) -> Result<Value> {
    let mut shape = g.shape(call.x()).to_vec();
    for axis in axes(g, call) {
        shape[axis as usize] = 1;
    }
    g.reshape(v, &shape)
}

fn mean(g: &mut Graph, call: &Call) -> Result<Value> {
    let count: usize = axes(g, call).iter().map(|&a| g.shape(call.x())[a as usize]).product();
    let share = g.scalar(1.0 / count as f32);
    let scaled = g.mul(call.dy, share)?;
    kept(g, call, scaled)
}

/// Of equal maxima each takes an equal share.
fn max(g: &mut Graph, call: &Call) -> Result<Value> {
    let (y, dy) = (kept(g, call, call.y())?, kept(g, call, call.dy)?);
    let top = g.equal(call.x(), y)?;
    let mask = g.cast(top, g.dtype(dy))?;
    let ties = g.reduce_sum(mask, &axes(g, call), true)?;
    let share = g.div(dy, ties)?;
    g.mul(mask, share)
}

/// `y·(dy − Σ dy·y)`.
fn softmax(g: &mut Graph, call: &Call) -> Result<Value> {
    let axis = call.node.int("axis", -1);
    let weighted = g.mul(call.dy, call.y())?;
    let total = g.reduce_sum(weighted, &[axis], true)?;
    let centred = g.sub(call.dy, total)?;
    g.mul(call.y(), centred)
}

/// `dy − eʸ·Σ dy`.
fn log_softmax(g: &mut Graph, call: &Call) -> Result<Value> {
    let axis = call.node.int("axis", -1);
    let total = g.reduce_sum(call.dy, &[axis], true)?;
    let share = g.exp(call.y())?;
    let taken = g.mul(share, total)?;
    g.sub(call.dy, taken)
}
