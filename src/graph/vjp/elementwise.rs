//! Rules of element-by-element operators.

use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{DType, Graph, Value};

pub(super) fn rule(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    call.each(|input| operand(g, call, input))
}

/// The cotangent of one operand.
fn operand(g: &mut Graph, call: &Call, input: usize) -> Result<Value> {
    let (dy, x, y) = (call.dy, call.x(), call.y());
    let other = |i: usize| call.node.inputs[i];
    match (call.node.op, input) {
        ("Add" | "Identity", _) | ("Sub", 0) => Ok(dy),
        ("Sub", _) | ("Neg", _) => g.neg(dy),
        ("Mul", i) => g.mul(dy, other(1 - i)),
        ("Div", 0) => g.div(dy, other(1)),
        ("Div", _) => divisor(g, dy, y, other(1)),
        ("Abs", _) => g.sign(x).and_then(|sign| g.mul(dy, sign)),
        ("Sqrt", _) => half(g, dy).and_then(|half| g.div(half, y)),
        ("Exp", _) => g.mul(dy, y),
        ("Log", _) => g.div(dy, x),
        ("Sigmoid", _) => sigmoid(g, dy, y),
        ("Relu", _) => positive(g, y).and_then(|on| masked(g, dy, on)),
        ("Max", i) => g.less(x, other(1)).and_then(|second| chosen(g, dy, second, i)),
        ("Min", i) => g.greater(x, other(1)).and_then(|second| chosen(g, dy, second, i)),
        ("Clip", 0) => g.equal(x, y).and_then(|inside| masked(g, dy, inside)),
        ("Pow", 0) => power(g, dy, x, other(1)),
        ("Where", 1) => masked(g, dy, other(0)),
        ("Where", _) => g.not(other(0)).and_then(|rest| masked(g, dy, rest)),
        ("Cast", _) => g.cast(dy, g.dtype(x)),
        (_, _) => Err(call.fail(&format!("has no derivative with respect to its input {input}"))),
    }
}

/// `dy` where `condition` holds, else 0. On ONNX Runtime's CPU provider a cast and a product take a
/// third of the time of `Where`.
pub(super) fn masked(g: &mut Graph, dy: Value, condition: Value) -> Result<Value> {
    let mask = g.cast(condition, g.dtype(dy))?;
    g.mul(dy, mask)
}

/// `dy` for the operand of `Max` or `Min` that was taken.
fn chosen(g: &mut Graph, dy: Value, second: Value, input: usize) -> Result<Value> {
    let taken = if input == 1 { second } else { g.not(second)? };
    masked(g, dy, taken)
}

fn positive(g: &mut Graph, y: Value) -> Result<Value> {
    let zero = zero(g, y)?;
    g.greater(y, zero)
}

fn zero(g: &mut Graph, like: Value) -> Result<Value> {
    let zero = g.scalar(0.0);
    g.cast(zero, g.dtype(like))
}

fn half(g: &mut Graph, x: Value) -> Result<Value> {
    let half = g.scalar(0.5);
    let half = g.cast(half, g.dtype(x))?;
    g.mul(x, half)
}

// Harder derivatives.

/// `d(a/b)/db = −y/b`.
fn divisor(g: &mut Graph, dy: Value, y: Value, b: Value) -> Result<Value> {
    let scaled = g.div(y, b)?;
    let product = g.mul(dy, scaled)?;
    g.neg(product)
}

/// `y·(1 − y)`.
fn sigmoid(g: &mut Graph, dy: Value, y: Value) -> Result<Value> {
    let one = g.scalar(1.0);
    let rest = g.sub(one, y)?;
    let slope = g.mul(y, rest)?;
    g.mul(dy, slope)
}

/// `b·aᵇ⁻¹`.
fn power(g: &mut Graph, dy: Value, a: Value, b: Value) -> Result<Value> {
    debug_assert_eq!(g.dtype(a), DType::F32);
    let one = g.scalar(1.0);
    let lower = g.sub(b, one)?;
    let power = g.pow(a, lower)?;
    let slope = g.mul(power, b)?;
    g.mul(dy, slope)
}
