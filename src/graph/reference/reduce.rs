//! Reductions, softmax, global pools, norms.

use super::elementwise::both;
use super::{Op, Results};
use crate::Result;
use ndarray::{ArrayD, Axis};

pub(super) fn run(op: &Op) -> Results {
    Ok(Some(vec![match op.kind() {
        "ReduceSum" => reduce(op, 0.0, |a, b| a + b)?.0,
        "ReduceMean" => mean(op)?,
        "ReduceMax" => reduce(op, f64::NEG_INFINITY, f64::max)?.0,
        "ReduceMin" => reduce(op, f64::INFINITY, f64::min)?.0,
        "ReduceL2" => reduce(op, 0.0, |a, b| a + b * b)?.0.mapv(f64::sqrt),
        "ReduceL1" => reduce(op, 0.0, |a, b| a + b.abs())?.0,
        "ReduceSumSquare" => reduce(op, 0.0, |a, b| a + b * b)?.0,
        "GlobalAveragePool" => over_places(op, |sum, count| sum / count)?,
        "Softmax" => softmax(op)?.mapv(f64::exp),
        "LogSoftmax" => softmax(op)?,
        "LpNormalization" => unit(op)?,
        _ => return Ok(None),
    }]))
}

/// The axes of a reduction: an attribute, an input, or all.
fn axes(op: &Op, rank: usize) -> Result<Vec<usize>> {
    let listed = op.ints("axes").or_else(|| op.integers(1)).unwrap_or_default();
    if listed.is_empty() {
        return Ok(if op.int("noop_with_empty_axes", 0) == 1 { Vec::new() } else { (0..rank).collect() });
    }
    let mut axes = listed.iter().map(|&a| op.axis(a, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    Ok(axes)
}

/// The folded array, and how many elements each result is made of.
fn reduce(op: &Op, start: f64, f: fn(f64, f64) -> f64) -> Result<(ArrayD<f64>, f64)> {
    let x = op.input(0)?;
    let axes = axes(op, x.ndim())?;
    let count: usize = axes.iter().map(|&a| x.shape()[a]).product();
    // All axes in one pass: a square must not be squared again along the next axis.
    let mut kept = x.shape().to_vec();
    axes.iter().for_each(|&a| kept[a] = 1);
    let mut result = ArrayD::from_elem(kept, start);
    for (index, value) in x.indexed_iter() {
        let mut at = index.clone();
        axes.iter().for_each(|&a| at[a] = 0);
        result[&at] = f(result[&at], *value);
    }
    if op.int("keepdims", 1) == 0 {
        for &axis in axes.iter().rev() {
            result = result.remove_axis(Axis(axis));
        }
    }
    Ok((result, count as f64))
}

fn mean(op: &Op) -> Result<ArrayD<f64>> {
    let (sum, count) = reduce(op, 0.0, |a, b| a + b)?;
    Ok(sum / count)
}

fn over_places(op: &Op, finish: fn(f64, f64) -> f64) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let mut kept = x.shape().to_vec();
    kept.iter_mut().skip(2).for_each(|d| *d = 1);
    let count = x.shape()[2..].iter().product::<usize>() as f64;
    let mut result = ArrayD::zeros(kept);
    for (index, value) in x.indexed_iter() {
        let mut at = index.clone();
        (2..x.ndim()).for_each(|a| at[a] = 0);
        result[&at] += value;
    }
    Ok(result.mapv(|sum| finish(sum, count)))
}

fn softmax(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let axis = Axis(op.axis(op.int("axis", -1), x.ndim())?);
    let top = x.fold_axis(axis, f64::NEG_INFINITY, |a, b| a.max(*b)).insert_axis(axis);
    let centred = both(op, x, &top, |a, b| a - b)?;
    let sum = centred.mapv(f64::exp).sum_axis(axis).insert_axis(axis);
    both(op, &centred, &sum, |a, s| a - s.ln())
}

fn unit(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let axis = Axis(op.axis(op.int("axis", -1), x.ndim())?);
    let norm = match op.int("p", 2) {
        1 => x.mapv(f64::abs).sum_axis(axis),
        _ => x.mapv(|v| v * v).sum_axis(axis).mapv(f64::sqrt),
    };
    both(op, x, &norm.insert_axis(axis), |a, b| if b == 0.0 { 0.0 } else { a / b })
}
