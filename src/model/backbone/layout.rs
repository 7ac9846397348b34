//! Rules of what moves numbers, and of images of another size.

use super::node::{Made, Node};
use crate::graph::{Expr, Tensor};
use crate::op;

pub(super) fn concat<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let parts = n.all()?;
    let rank = parts.first().map_or(0, |first| first.rank());
    Ok(n.g.concat(&parts, n.axis_or(0, rank)?))
}

/// Places that are known. A run of them is a slice, whose derivative is cheap.
pub(super) fn gather<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let axis = n.axis_or(0, x.rank())?;
    let side = x.dim(axis) as i64;
    let numbers = n.numbers(1).ok_or("takes places that depend on the picture")?;
    let places: Vec<i64> =
        numbers.iter().map(|&i| if i < 0.0 { i as i64 + side } else { i as i64 }).collect();
    if let Some(outside) = places.iter().find(|i| !(0..side).contains(*i)) {
        return Err(format!("takes place {outside} of {side}"));
    }
    let taken = match places.first() {
        Some(&first) if places.iter().copied().eq(first..first + places.len() as i64) => {
            x.narrow(axis, first as usize..first as usize + places.len())
        }
        _ => x.gather(n.g.ints(&places), axis as i64),
    };
    Ok(taken.reshape(n.shape()?))
}

pub(super) fn slice<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let starts = n.ints("starts", 1)?.ok_or("lacks its starts")?;
    let ends = n.ints("ends", 2)?.ok_or("lacks its ends")?;
    let axes = n.ints("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = n.ints("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("has lists of different lengths".into());
    }
    let mut y = x;
    for (i, &axis) in axes.iter().enumerate() {
        let axis = n.axis(axis, x.rank())?;
        let side = x.dim(axis) as i64;
        let from_front = |at: i64| if at < 0 { at.saturating_add(side) } else { at };
        let step = steps[i];
        if step == 0 {
            return Err("has a step of 0".into());
        }
        let (start, end) = (from_front(starts[i]), from_front(ends[i]));
        if step > 0 {
            let (start, end) = (start.clamp(0, side) as usize, end.clamp(0, side) as usize);
            y = y.slice(&[start], &[end], &[axis], &[step as usize]);
        } else {
            // Backwards: the end that means "to the front" lies far before it.
            let end = if ends[i] < -side { -1 } else { end.clamp(-1, side - 1) };
            let mut places = Vec::new();
            let mut at = start.clamp(0, side - 1);
            while at > end {
                places.push(at);
                at += step;
            }
            y = y.gather(n.g.ints(&places), axis as i64);
        }
    }
    Ok(y)
}

pub(super) fn split<'g>(n: &Node<'_, 'g>) -> Result<Vec<Expr<'g>>, String> {
    let x = n.x(0)?;
    let axis = n.axis_or(0, x.rank())?;
    let mut start = 0;
    let parts = n.out.iter().map(|shape| {
        let range = start..start + shape[axis];
        start = range.end;
        x.narrow(axis, range)
    });
    Ok(parts.collect())
}

pub(super) fn tile<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let repeats = n.ints("", 1)?.ok_or("lacks its repeats")?;
    let (mut apart, mut wide) = (Vec::new(), Vec::new());
    for (&side, &times) in x.shape().iter().zip(&repeats) {
        apart.extend([1, side]);
        wide.extend([times.max(0) as usize, side]);
    }
    Ok(x.reshape(&apart).expand(&wide).reshape(n.shape()?))
}

pub(super) fn transpose<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let order = match n.proto.ints("perm") {
        Some(perm) => perm.iter().map(|&axis| n.axis(axis, x.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..x.rank()).rev().collect(),
    };
    Ok(x.transpose(&order))
}

/// Numbers around, or, where they repeat or mirror what is there, places of it.
pub(super) fn pad<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let told = n.ints("pads", 1)?.ok_or("lacks its pads")?;
    let axes: Vec<usize> = match n.ints("axes", 3)? {
        Some(axes) => axes.iter().map(|&axis| n.axis(axis, x.rank())).collect::<Result<_, _>>()?,
        None => (0..x.rank()).collect(),
    };
    if told.len() != 2 * axes.len() {
        return Err(format!("has {} counts for {} axes", told.len(), axes.len()));
    }
    let ends = |i: usize| [told[i], told[i + axes.len()]];
    let mode = n.proto.text("mode").unwrap_or("constant");
    let mut y = x;
    for (i, &axis) in axes.iter().enumerate() {
        // What is taken away, and only then what is added.
        let [before, after] = ends(i).map(|count| (-count).max(0) as usize);
        let side = y.dim(axis);
        if before + after >= side {
            return Err("takes everything away".into());
        }
        y = y.narrow(axis, before..side - after);
        let [before, after] = ends(i).map(|count| count.max(0) as usize);
        if before + after == 0 {
            continue;
        }
        let side = y.dim(axis);
        if mode == "constant" {
            let mut pads = vec![0; 2 * y.rank()];
            (pads[axis], pads[axis + y.rank()]) = (before, after);
            y = y.pad(&pads, n.number("value", 2)?.unwrap_or(0.0));
            continue;
        }
        let place = |at: i64| -> Result<i64, String> {
            let last = side as i64 - 1;
            match mode {
                "edge" => Ok(at.clamp(0, last)),
                "wrap" => Ok(at.rem_euclid(side as i64)),
                "reflect" if (-last..=2 * last).contains(&at) => {
                    Ok(if at > last { 2 * last - at } else { at.abs() })
                }
                "reflect" => Err("mirrors more than there is".into()),
                other => Err(format!("pads by {other:?}")),
            }
        };
        let places = (-(before as i64)..(side + after) as i64).map(place).collect::<Result<Vec<_>, _>>()?;
        y = y.gather(n.g.ints(&places), axis as i64);
    }
    Ok(y)
}

pub(super) fn depth_to_space<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (x, b) = (n.x(0)?, block(n)?);
    let &[batch, c, h, w] = x.shape().as_slice() else { return Err("takes [N, C, H, W]".into()) };
    let deep = c / (b * b);
    let (sides, order) = match n.proto.text("mode") {
        Some("CRD") => ([batch, deep, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        _ => ([batch, b, b, deep, h, w], [0, 3, 4, 1, 5, 2]),
    };
    Ok(x.reshape(&sides).transpose(&order).reshape(n.shape()?))
}

pub(super) fn space_to_depth<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (x, b) = (n.x(0)?, block(n)?);
    let &[batch, c, h, w] = x.shape().as_slice() else { return Err("takes [N, C, H, W]".into()) };
    let apart = x.reshape(&[batch, c, h / b, b, w / b, b]);
    Ok(apart.transpose(&[0, 3, 5, 1, 2, 4]).reshape(n.shape()?))
}

fn block(n: &Node<'_, '_>) -> Result<usize, String> {
    match n.proto.int_or("blocksize", 0) {
        size @ 1.. => Ok(size as usize),
        other => Err(format!("has blocks of {other}")),
    }
}

/// An axis at a time, as a product with the constant matrix that samples it: every way of sampling is linear.
pub(super) fn resize<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let mut y = n.x(0)?;
    let scales: Option<Vec<f64>> = n.numbers(op::scales_at(n.opset)).map(|s| s.iter().copied().collect());
    for (axis, &size) in n.shape()?.iter().enumerate() {
        let matrix =
            op::sampling((n.proto, n.opset), scales.as_deref(), &y.shape(), axis, size)?.mapv(|x| x as f32);
        if matrix.shape()[0] == matrix.shape()[1]
            && matrix.indexed_iter().all(|(i, &x)| x == if i[0] == i[1] { 1.0 } else { 0.0 })
        {
            continue;
        }
        // [inputs, outputs], behind the axes before; the axes after are moved to the front.
        let rank = y.rank();
        let there: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
        let mut back: Vec<usize> = (0..rank).collect();
        back.sort_by_key(|&to| there[to]);
        let matrix = n.g.constant(None, Tensor::F32(matrix));
        y = y.transpose(&there).matmul(matrix).transpose(&back);
    }
    Ok(y)
}
