//! Moving numbers without changing them.

use super::{Op, Results};
use crate::Result;
use crate::graph::tensor::numbers;
use ndarray::{ArrayD, Axis, IxDyn, Slice, SliceInfoElem};

pub(super) fn run(op: &Op) -> Results {
    Ok(Some(vec![match op.kind() {
        "Constant" => constant(op)?,
        "Shape" => shape_of(op)?,
        "Reshape" => reshape(op)?,
        "Flatten" => flatten(op)?,
        "Squeeze" => squeeze(op)?,
        "Unsqueeze" => unsqueeze(op)?,
        "Transpose" => transpose(op)?,
        "Slice" => slice(op)?,
        "Concat" => concat(op)?,
        "Pad" => pad(op)?,
        "Gather" => gather(op)?,
        "Expand" => expand(op)?,
        "Split" => return split(op).map(Some),
        _ => return Ok(None),
    }]))
}

fn constant(op: &Op) -> Result<ArrayD<f64>> {
    if let Some(tensor) = op.tensor("value") {
        return numbers(tensor);
    }
    let list = |name: &str| op.ints(name).map(|xs| xs.iter().map(|&x| x as f64).collect::<Vec<_>>());
    if let Some(ints) = list("value_ints") {
        return Ok(ndarray::arr1(&ints).into_dyn());
    }
    let one = op.attribute("value_int").and_then(|a| a.i).map(|i| i as f64);
    let one = one.or_else(|| op.attribute("value_float").and_then(|a| a.f).map(f64::from));
    one.map(|x| ndarray::arr0(x).into_dyn())
        .ok_or_else(|| op.fail("its value is of a kind that is not known here"))
}

fn shape_of(op: &Op) -> Result<ArrayD<f64>> {
    let dims: Vec<f64> = op.input(0)?.shape().iter().map(|&d| d as f64).collect();
    Ok(ndarray::arr1(&dims).into_dyn())
}

fn in_shape(op: &Op, x: &ArrayD<f64>, shape: &[usize]) -> Result<ArrayD<f64>> {
    x.to_shape(IxDyn(shape))
        .map(|v| v.into_owned())
        .map_err(|_| op.fail(format!("{:?} does not fill {shape:?}", x.shape())))
}

fn reshape(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let wanted = op.integers(1).ok_or_else(|| op.fail("no shape is given"))?;
    let mut shape: Vec<usize> = Vec::with_capacity(wanted.len());
    for (axis, &d) in wanted.iter().enumerate() {
        shape.push(match d {
            0 if op.int("allowzero", 0) == 0 => *x.shape().get(axis).unwrap_or(&0),
            -1 => 1,
            d => d.max(0) as usize,
        });
    }
    if let Some(open) = wanted.iter().position(|&d| d == -1) {
        let rest = shape.iter().product::<usize>().max(1);
        shape[open] = x.len() / rest;
    }
    in_shape(op, x, &shape)
}

fn flatten(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let axis = op.int("axis", 1);
    let axis = if axis == x.ndim() as i64 { x.ndim() } else { op.axis(axis, x.ndim())? };
    let shape = [x.shape()[..axis].iter().product(), x.shape()[axis..].iter().product()];
    in_shape(op, x, &shape)
}

fn squeeze(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let listed = op.ints("axes").or_else(|| op.integers(1));
    let gone: Vec<usize> = match listed {
        Some(axes) => axes.iter().map(|&a| op.axis(a, x.ndim())).collect::<Result<_>>()?,
        None => (0..x.ndim()).filter(|&a| x.shape()[a] == 1).collect(),
    };
    let shape: Vec<usize> = (0..x.ndim()).filter(|a| !gone.contains(a)).map(|a| x.shape()[a]).collect();
    in_shape(op, x, &shape)
}

fn unsqueeze(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let axes = op.ints("axes").or_else(|| op.integers(1)).unwrap_or_default();
    let rank = x.ndim() + axes.len();
    let new: Vec<usize> = axes.iter().map(|&a| op.axis(a, rank)).collect::<Result<_>>()?;
    let mut old = x.shape().iter();
    let shape: Vec<usize> =
        (0..rank).map(|a| if new.contains(&a) { 1 } else { *old.next().unwrap_or(&1) }).collect();
    in_shape(op, x, &shape)
}

fn transpose(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let reversed: Vec<usize> = (0..x.ndim()).rev().collect();
    let order = op.sizes("perm", &reversed)?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.ndim()) {
        return Err(op.fail(format!("{order:?} is no order of the axes of {:?}", x.shape())));
    }
    Ok(x.view().permuted_axes(IxDyn(&order)).as_standard_layout().into_owned())
}

fn slice(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let list = |i: usize, name: &str| op.integers(i).or_else(|| op.ints(name));
    let starts = list(1, "starts").unwrap_or_default();
    let ends = list(2, "ends").unwrap_or_default();
    let axes = list(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = op.integers(4).unwrap_or_else(|| vec![1; starts.len()]);
    let mut view = x.view();
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = op.axis(axis, x.ndim())?;
        let side = x.shape()[axis] as i64;
        if step < 1 {
            return Err(op.fail("a step below 1 is not known here"));
        }
        let place = |i: i64| (if i < 0 { i + side } else { i }).clamp(0, side) as isize;
        view.slice_axis_inplace(
            Axis(axis),
            Slice::new(place(start), Some(place(end).max(place(start))), step as isize),
        );
    }
    Ok(view.as_standard_layout().into_owned())
}

fn concat(op: &Op) -> Result<ArrayD<f64>> {
    let parts = (0..op.inputs.len()).map(|i| op.input(i).map(|a| a.view())).collect::<Result<Vec<_>>>()?;
    let rank = parts.first().map_or(0, |p| p.ndim());
    let axis = op.axis(op.int("axis", 0), rank)?;
    ndarray::concatenate(Axis(axis), &parts).map_err(|e| op.fail(e))
}

fn pad(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    if op.text("mode").is_some_and(|m| m != "constant") {
        return Err(op.fail("only constant padding is known here"));
    }
    let pads = op.integers(1).or_else(|| op.ints("pads")).unwrap_or_default();
    let rank = x.ndim();
    if pads.len() != 2 * rank || pads.iter().any(|p| *p < 0) {
        return Err(op.fail(format!("pads {pads:?} for {rank} axes")));
    }
    let fill = op.given(2).and_then(|v| v.first().copied()).unwrap_or(0.0);
    let before = |a: usize| pads[a] as usize;
    let shape: Vec<usize> = (0..rank).map(|a| x.shape()[a] + before(a) + before(a + rank)).collect();
    let mut y = ArrayD::from_elem(shape, fill);
    let inside: Vec<SliceInfoElem> =
        (0..rank).map(|a| (before(a)..before(a) + x.shape()[a]).into()).collect();
    y.slice_mut(&inside[..]).assign(x);
    Ok(y)
}

fn gather(op: &Op) -> Result<ArrayD<f64>> {
    let (x, indices) = (op.input(0)?, op.input(1)?);
    let axis = op.axis(op.int("axis", 0), x.ndim())?;
    let side = x.shape()[axis];
    let place = |&i: &f64| op.axis(i as i64, side);
    let picked = indices.iter().map(place).collect::<Result<Vec<_>>>()?;
    let rows = x.select(Axis(axis), &picked);
    let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
    in_shape(op, &rows, &shape)
}

fn expand(op: &Op) -> Result<ArrayD<f64>> {
    let x = op.input(0)?;
    let wanted: Vec<usize> = op.integers(1).unwrap_or_default().iter().map(|&d| d.max(0) as usize).collect();
    let shape = crate::graph::builder::broadcast(&[x.shape(), &wanted]);
    let full = shape.and_then(|s| x.broadcast(IxDyn(&s)).map(|v| v.to_owned()));
    full.ok_or_else(|| op.fail(format!("{:?} does not broadcast to {wanted:?}", x.shape())))
}

fn split(op: &Op) -> Result<Vec<ArrayD<f64>>> {
    let x = op.input(0)?;
    let axis = op.axis(op.int("axis", 0), x.ndim())?;
    let count = op.node.output.len().max(1);
    let even = vec![x.shape()[axis].div_ceil(count) as i64; count];
    let sizes = op.integers(1).or_else(|| op.ints("split")).unwrap_or(even);
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let end = (start + size.max(0) as usize).min(x.shape()[axis]);
        parts.push(x.slice_axis(Axis(axis), Slice::from(start..end)).to_owned());
        start = end;
    }
    Ok(parts)
}
