//! Element by element.

use super::{Op, Results};
use crate::Result;
use crate::graph::builder::broadcast;
use crate::onnx::data_type;
use ndarray::{ArrayD, IxDyn, Zip};

pub(super) fn run(op: &Op) -> Results {
    if let Some(f) = unary(op) {
        return Ok(Some(vec![op.input(0)?.mapv(f)]));
    }
    if let Some(f) = binary(op) {
        let mut result = op.input(0)?.clone();
        for i in 1..op.inputs.len() {
            result = both(op, &result, op.input(i)?, f)?;
        }
        return Ok(Some(vec![result]));
    }
    Ok(Some(vec![match op.kind() {
        "Clip" => clip(op)?,
        "Where" => choose(op)?,
        "PRelu" => both(op, op.input(0)?, op.input(1)?, |x, slope| if x < 0.0 { slope * x } else { x })?,
        "OneHot" => one_hot(op)?,
        _ => return Ok(None),
    }]))
}

fn truth(b: bool) -> f64 {
    f64::from(u8::from(b))
}

fn unary(op: &Op) -> Option<Box<dyn Fn(f64) -> f64>> {
    let simple: fn(f64) -> f64 = match op.kind() {
        "Identity" | "Dropout" => |x| x,
        "Neg" => |x| -x,
        "Abs" => f64::abs,
        "Sqrt" => f64::sqrt,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "Tanh" => f64::tanh,
        "Relu" => |x| if x < 0.0 { 0.0 } else { x },
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Sign" => |x| if x == 0.0 { 0.0 } else { x.signum() },
        "Reciprocal" => |x| 1.0 / x,
        "Not" => |x| truth(x == 0.0),
        "Softplus" => |x| x.exp().ln_1p(),
        "Softsign" => |x| x / (1.0 + x.abs()),
        "HardSwish" => |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        "Erf" => erf,
        _ => return parametric(op),
    };
    Some(Box::new(simple))
}

fn parametric(op: &Op) -> Option<Box<dyn Fn(f64) -> f64>> {
    Some(match op.kind() {
        "Cast" => {
            let to_integer = matches!(
                op.int("to", 0) as i32,
                data_type::INT8 | data_type::UINT8 | data_type::INT32 | data_type::INT64
            );
            let to_bool = op.int("to", 0) as i32 == data_type::BOOL;
            Box::new(move |x| match (to_integer, to_bool) {
                (true, _) => x.trunc(),
                (_, true) => truth(x != 0.0),
                _ => x,
            })
        }
        "LeakyRelu" => {
            let slope = op.float("alpha", 0.01);
            Box::new(move |x| if x < 0.0 { slope * x } else { x })
        }
        "Elu" => {
            let scale = op.float("alpha", 1.0);
            Box::new(move |x| if x < 0.0 { scale * x.exp_m1() } else { x })
        }
        "HardSigmoid" => {
            let (alpha, beta) = (op.float("alpha", 0.2), op.float("beta", 0.5));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "Clip" if op.inputs.len() == 1 => {
            let (low, high) = (op.float("min", f32::MIN), op.float("max", f32::MAX));
            Box::new(move |x| x.max(low).min(high))
        }
        _ => return None,
    })
}

fn binary(op: &Op) -> Option<fn(f64, f64) -> f64> {
    Some(match op.kind() {
        "Add" | "Sum" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f64::powf,
        "Max" => |a, b| if b > a || b.is_nan() { b } else { a },
        "Min" => |a, b| if b < a || b.is_nan() { b } else { a },
        "Equal" => |a, b| truth(a == b),
        "Less" => |a, b| truth(a < b),
        "Greater" => |a, b| truth(a > b),
        "LessOrEqual" => |a, b| truth(a <= b),
        "GreaterOrEqual" => |a, b| truth(a >= b),
        "And" => |a, b| truth(a != 0.0 && b != 0.0),
        "Or" => |a, b| truth(a != 0.0 || b != 0.0),
        _ => return None,
    })
}

/// `f` over two arrays that broadcast.
pub(super) fn both(
    op: &Op,
    a: &ArrayD<f64>,
    b: &ArrayD<f64>,
    f: impl Fn(f64, f64) -> f64,
) -> Result<ArrayD<f64>> {
    let misfit = || op.fail(format!("shapes {:?} and {:?} do not broadcast", a.shape(), b.shape()));
    let shape = broadcast(&[a.shape(), b.shape()]).ok_or_else(misfit)?;
    let a = a.broadcast(IxDyn(&shape)).ok_or_else(misfit)?;
    let b = b.broadcast(IxDyn(&shape)).ok_or_else(misfit)?;
    Ok(Zip::from(a).and(b).map_collect(|&a, &b| f(a, b)))
}

fn clip(op: &Op) -> Result<ArrayD<f64>> {
    let bound = |i: usize, default: f64| op.given(i).and_then(|a| a.first().copied()).unwrap_or(default);
    let (low, high) = (bound(1, f64::NEG_INFINITY), bound(2, f64::INFINITY));
    Ok(op.input(0)?.mapv(|x| x.max(low).min(high)))
}

fn choose(op: &Op) -> Result<ArrayD<f64>> {
    let (condition, a, b) = (op.input(0)?, op.input(1)?, op.input(2)?);
    let misfit = || op.fail(format!("shapes {:?}, {:?}, {:?}", condition.shape(), a.shape(), b.shape()));
    let shape = broadcast(&[condition.shape(), a.shape(), b.shape()]).ok_or_else(misfit)?;
    let wide = |v: &'_ ArrayD<f64>| v.broadcast(IxDyn(&shape)).map(|v| v.to_owned()).ok_or_else(misfit);
    let (condition, a, b) = (wide(condition)?, wide(a)?, wide(b)?);
    Ok(Zip::from(&condition).and(&a).and(&b).map_collect(|&c, &a, &b| if c == 0.0 { b } else { a }))
}

/// Along the last axis.
fn one_hot(op: &Op) -> Result<ArrayD<f64>> {
    let (labels, values) = (op.input(0)?, op.input(2)?);
    let depth = op.integers(1).and_then(|d| d.first().copied()).unwrap_or(0) as usize;
    let (off, on) = (values[[0]], values[[1]]);
    let mut shape = labels.shape().to_vec();
    shape.push(depth);
    let labels: Vec<f64> = labels.iter().copied().collect();
    let flat = labels.iter().flat_map(|&l| (0..depth).map(move |d| if l == d as f64 { on } else { off }));
    ArrayD::from_shape_vec(IxDyn(&shape), flat.collect()).map_err(|e| op.fail(e))
}

/// The error function, by its series or its continued fraction (Abramowitz and Stegun 7.1.5, 7.1.14).
fn erf(x: f64) -> f64 {
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return scale * sum;
    }
    let z = x.abs();
    let fraction = (1..60).rev().fold(z, |f, k| z + f64::from(k) / 2.0 / f);
    x.signum() * (1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn erf_is_right_on_both_branches() {
        for (x, y) in
            [(0.5, 0.520_499_877_813_046_5), (2.4, 0.999_311_486_103_354_9), (3.0, 0.999_977_909_503_001_4)]
        {
            assert!((super::erf(x) - y).abs() < 1e-12 && (super::erf(-x) + y).abs() < 1e-12, "{x}");
        }
    }
}
