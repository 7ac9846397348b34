//! Rules of what works on each element by itself.

use super::node::{Made, Node};
use crate::graph::{DType, Expr};
use std::f32::consts::FRAC_1_SQRT_2;

/// All inputs, one after the other.
pub(super) fn fold<'g>(n: &Node<'_, 'g>, with: fn(Expr<'g>, Expr<'g>) -> Expr<'g>) -> Made<'g> {
    n.all()?.into_iter().reduce(with).ok_or_else(|| "has no inputs".into())
}

pub(super) fn cast<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let to = n.proto.int_or("to", 0);
    let dtype = i32::try_from(to).ok().and_then(DType::from_onnx);
    Ok(n.x(0)?.cast(dtype.ok_or_else(|| format!("makes numbers of type {to}, which are not computed with"))?))
}

/// Edges that are left out are the furthest numbers.
pub(super) fn clip<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (low, high) = (n.number("min", 1)?, n.number("max", 2)?);
    let x = n.x(0)?;
    Ok(match (low, high) {
        (None, None) => x,
        // The derivative of Relu is cheaper.
        (Some(0.0), None) => x.relu(),
        _ => x.clip(low.unwrap_or(f32::MIN), high.unwrap_or(f32::MAX)),
    })
}

/// `x·Φ(x)`, or its approximation by tanh (Hendrycks and Gimpel 2016); of opset 20.
pub(super) fn gelu<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let inner = match n.proto.text("approximate") {
        Some("tanh") => {
            let root = (2.0 / std::f64::consts::PI).sqrt() as f32;
            ((x + x * x.squared() * 0.044_715) * root).tanh()
        }
        _ => (x * FRAC_1_SQRT_2).erf(),
    };
    Ok(x * (inner + 1.0) * 0.5)
}

pub(super) fn hard_sigmoid<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    Ok(n.x(0)?.hard_sigmoid(n.proto.float_or("alpha", 0.2), n.proto.float_or("beta", 0.5)))
}

pub(super) fn hard_swish<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    Ok(x * x.hard_sigmoid(1.0 / 6.0, 0.5))
}

/// Powers that are known as products and roots: they are exact, and cost a tenth.
pub(super) fn pow<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (x, exponent) = (n.x(0)?, n.numbers(1).filter(|e| e.len() == 1).and_then(|e| e.first().copied()));
    let same = n.shape()? == x.shape();
    Ok(match exponent {
        Some(1.0) if same => x,
        Some(2.0) if same => x.squared(),
        Some(3.0) if same => x.squared() * x,
        Some(0.5) if same => x.sqrt(),
        _ => x.pow(n.x(1)?.cast(x.dtype())),
    })
}

pub(super) fn selu<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (alpha, gamma) = (n.proto.float_or("alpha", 1.673_263_2), n.proto.float_or("gamma", 1.050_701));
    Ok(n.x(0)?.elu(alpha) * gamma)
}

pub(super) fn where_<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    Ok(n.x(0)?.where_(n.x(1)?, n.x(2)?))
}
