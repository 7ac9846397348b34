//! The same numbers in another shape or order, repeated, joined, cut apart or padded.

use super::call::{Call, Outcome, Stop};
use super::dim::{Dim, broadcast, product, quotient, show};
use super::meaning::{Evaluate, Meaning};
use super::real::{Element, Real};
use super::types::{Input, Shape, Type};
use ndarray::{ArrayD, Axis, Slice, SliceInfoElem};

/// The numbers in the shape that the second input lists: 0 keeps a size, −1 takes what is left.
pub(super) fn reshape<T: Real>() -> Meaning<T> {
    Meaning::moving(reshaped, &[1], refill, refill)
}

/// Two axes: those before `axis`, and those from it on.
pub(super) fn flatten<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let axis = match call.node.int_or("axis", 1) {
            last if last == x.len() as i64 => x.len(),
            axis => call.axis(axis, x.len())?,
        };
        Ok(vec![vec![product(&x[..axis]), product(&x[axis..])]])
    };
    Meaning::moving(shape, &[], refill, refill)
}

/// Without axes of size 1.
pub(super) fn squeeze<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let Some(axes) = call.setting("axes", 1)? else {
            // Which axes go depends on every size.
            let known = x.iter().all(|d| d.size().is_some());
            let left = || x.iter().filter(|d| !d.is(1.0)).cloned().collect();
            return if known { Ok(vec![left()]) } else { Err(Stop::Unknown) };
        };
        let axes = resolve(call, &axes, x.len())?;
        match axes.iter().find(|&&a| x[a].number().is_some_and(|d| d != 1.0)) {
            Some(a) => Err(call.fail(format!("axis {a} of {} is not of size 1", show(x)))),
            None => Ok(vec![without(x, &axes)]),
        }
    };
    Meaning::moving(shape, &[1], refill, refill)
}

/// With new axes of size 1.
pub(super) fn unsqueeze<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let axes = call.setting("axes", 1)?.ok_or_else(|| call.fail("no axes are given"))?;
        let axes = resolve(call, &axes, x.len() + axes.len())?;
        let mut shape = x.to_vec();
        axes.iter().for_each(|&a| shape.insert(a, Dim::Known(1.0)));
        Ok(vec![shape])
    };
    Meaning::moving(shape, &[1], refill, refill)
}

/// The axes in another order.
pub(super) fn transpose<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        Ok(vec![order(call, x.len())?.iter().map(|&a| x[a].clone()).collect()])
    };
    Meaning::moving(shape, &[], turn, turn)
}

/// Spread by numpy's broadcasting.
pub(super) fn expand<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let wanted = call.list(1)?.ok_or_else(|| call.fail("no shape is given"))?;
        let misfit = || call.fail(format!("{} does not broadcast to {}", show(x), show(&wanted)));
        Ok(vec![broadcast(&[x, &wanted]).ok_or_else(misfit)?])
    };
    Meaning::moving(shape, &[1], spread, spread)
}

/// The inputs, one after the other along an axis.
pub(super) fn concat<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let mut joined = call.shape(0)?.to_vec();
        let axis = call.axis_or(0, joined.len())?;
        for i in 1..call.inputs.len() {
            let part = call.shape(i)?;
            let fits = part.len() == joined.len()
                && (0..part.len()).all(|a| a == axis || part[a].may_equal(&joined[a]));
            if !fits {
                return Err(call.fail(format!("{} does not continue {}", show(part), show(&joined))));
            }
            for (a, dim) in part.iter().enumerate() {
                joined[a] = match a == axis {
                    true => &joined[a] + dim,
                    false => known_one(&joined[a], dim),
                };
            }
        }
        Ok(vec![joined])
    };
    Meaning::moving(shape, &[], join, join)
}

/// Cut apart along an axis.
pub(super) fn split<T: Real>() -> Meaning<T> {
    let meaning = Meaning::one(parts, |call: &Call<ArrayD<T>>, _| call.input(0).cloned());
    Meaning { evaluate: Evaluate::Several(cut), ..meaning }.settings(&[1])
}

/// Repeated along each axis.
pub(super) fn tile<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let (x, repeats) = (call.shape(0)?, call.list(1)?.unwrap_or_default());
        if repeats.len() != x.len() {
            return Err(call.fail(format!("{} repeats for {}", repeats.len(), show(x))));
        }
        Ok(vec![x.iter().zip(&repeats).map(|(d, times)| d * times).collect()])
    };
    Meaning::moving(shape, &[1], repeat, repeat)
}

/// With numbers around it: a constant, its edge, or its reflection.
pub(super) fn pad<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let pads = padding(call, x.len())?;
        let padded =
            |(d, [before, after]): (&Dim, &[i64; 2])| d + &Dim::Known(*before as f64 + *after as f64);
        Ok(vec![x.iter().zip(&pads).map(padded).collect()])
    };
    Meaning::one(shape, pad_around).settings(&[1, 3])
}

/// Channels → blocks of pixels.
pub(super) fn depth_to_space<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let ([n, c, h, w], b) = (image(call)?, block(call)?);
        let area = &b * &b;
        fits(call, c, &area)?;
        Ok(vec![vec![n.clone(), c.over(&area), h * &b, w * &b]])
    };
    Meaning::one(shape, |call, out| {
        let (x, b) = (call.input(0)?, call.node.int_or("blocksize", 1) as usize);
        let &[n, c, h, w] = out else { return Err(Stop::Unknown) };
        let (inner, order) = match call.node.text("mode") == Some("CRD") {
            true => ([n, c, b, b, h / b, w / b], [0, 1, 4, 2, 5, 3]),
            false => ([n, b, b, c, h / b, w / b], [0, 3, 4, 1, 5, 2]),
        };
        let blocks = call.refill(x, &inner)?.permuted_axes(order.to_vec());
        call.refill(&blocks.as_standard_layout().into_owned(), out)
    })
}

/// Blocks of pixels → channels.
pub(super) fn space_to_depth<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let ([n, c, h, w], b) = (image(call)?, block(call)?);
        fits(call, h, &b)?;
        fits(call, w, &b)?;
        Ok(vec![vec![n.clone(), c * &(&b * &b), h.over(&b), w.over(&b)]])
    };
    Meaning::one(shape, |call, out| {
        let (x, b) = (call.input(0)?, call.node.int_or("blocksize", 1) as usize);
        let &[n, c, h, w] = out else { return Err(Stop::Unknown) };
        let blocks = call.refill(x, &[n, c / (b * b), h, b, w, b])?.permuted_axes(vec![0, 3, 5, 1, 2, 4]);
        call.refill(&blocks.as_standard_layout().into_owned(), out)
    })
}

/// Axes counted from the front, in order, each once.
pub(super) fn resolve<I>(call: &Call<I>, axes: &[i64], rank: usize) -> Outcome<Vec<usize>> {
    let mut found = axes.iter().map(|&a| call.axis(a, rank)).collect::<Outcome<Vec<_>>>()?;
    found.sort_unstable();
    match found.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(call.fail(format!("axes {axes:?} name one twice"))),
        false => Ok(found),
    }
}

/// A shape without some of its axes.
pub(super) fn without(shape: &[Dim], axes: &[usize]) -> Shape {
    (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a].clone()).collect()
}

/// Of two sizes that are equal, the one that is better known.
fn known_one(a: &Dim, b: &Dim) -> Dim {
    match (a, b) {
        (Dim::Known(_), _) | (Dim::Open(_), Dim::Unknown) => a.clone(),
        _ if a.same(b) => a.clone(),
        (Dim::Unknown, Dim::Open(_)) | (_, Dim::Known(_)) => b.clone(),
        (Dim::Open(_) | Dim::Unknown, _) => Dim::Unknown,
    }
}

fn reshaped(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let x = call.shape(0)?;
    let listed = call.node.ints("shape").map(|list| list.iter().map(|&d| Dim::Known(d as f64)).collect());
    let wanted: Shape = match listed {
        Some(list) => list,
        None => call.list(1)?.ok_or_else(|| call.fail("no shape is given"))?,
    };
    let keep = !call.node.flag("allowzero");
    let misfit = || call.fail(format!("{} does not fill {}", show(x), show(&wanted)));
    let mut shape = wanted.clone();
    for (axis, dim) in shape.iter_mut().enumerate().filter(|(_, d)| keep && d.is(0.0)) {
        *dim = x.get(axis).ok_or_else(misfit)?.clone();
    }
    let open: Vec<usize> =
        (0..shape.len()).filter(|&a| shape[a].is(-1.0) || shape[a] == Dim::Unknown).collect();
    if shape.iter().filter(|d| d.is(-1.0)).count() > 1 {
        return Err(call.fail(format!("the shape {} has several sizes -1", show(&wanted))));
    }
    match open.as_slice() {
        [] => {
            let (has, wants) = (product(x), product(&shape));
            if !has.may_equal(&wants) {
                return Err(misfit());
            }
        }
        // Whatever stands there, it is what is left.
        &[only] => {
            let others: Shape = without(&shape, &[only]);
            shape[only] = quotient(x, &others);
            let (has, rest) = (product(x).number(), product(&others).number());
            if has.zip(rest).is_some_and(|(has, rest)| rest != 0.0 && has % rest != 0.0) {
                return Err(misfit());
            }
        }
        several => several.iter().for_each(|&axis| shape[axis] = Dim::Unknown),
    }
    Ok(vec![shape])
}

fn refill<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    call.refill(call.input(0)?, out)
}

fn order<I>(call: &Call<I>, rank: usize) -> Outcome<Vec<usize>> {
    let order = call.sizes("perm", 0)?.unwrap_or_else(|| (0..rank).rev().collect());
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..rank) {
        true => Ok(order),
        false => Err(call.fail(format!("{order:?} is no order of {rank} axes"))),
    }
}

fn turn<E: Element>(call: &Call<ArrayD<E>>, _: &[usize]) -> Outcome<ArrayD<E>> {
    let x = call.input(0)?;
    Ok(x.view().permuted_axes(order(call, x.ndim())?).as_standard_layout().into_owned())
}

fn spread<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    Ok(call.spread(0, out)?.into_owned())
}

fn join<E: Element>(call: &Call<ArrayD<E>>, _: &[usize]) -> Outcome<ArrayD<E>> {
    let views = (0..call.inputs.len()).map(|i| Ok(call.input(i)?.view())).collect::<Outcome<Vec<_>>>()?;
    let axis = call.axis_or(0, call.rank(0)?)?;
    ndarray::concatenate(Axis(axis), &views).map_err(|e| call.fail(e))
}

/// How much of the axis each result takes.
fn parts(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let x = call.shape(0)?;
    let axis = call.axis_or(0, x.len())?;
    let count = call.node.output.len().max(1);
    let sizes: Vec<Dim> = match call.setting("split", 1)? {
        Some(sizes) => sizes.iter().map(|&s| Dim::Known(s as f64)).collect(),
        None => {
            // Uneven parts: the last is the smallest.
            let each = x[axis].ceil_div(count as f64);
            let last = &x[axis] - &(&each * &Dim::from(count - 1));
            (0..count).map(|i| if i + 1 == count { last.clone() } else { each.clone() }).collect()
        }
    };
    let total = sizes.iter().fold(Dim::Known(0.0), |sum, size| &sum + size);
    if sizes.len() != count || !total.may_equal(&x[axis]) {
        return Err(call.fail(format!(
            "{} do not cut axis {axis} of {} into {count}",
            show(&sizes),
            show(x)
        )));
    }
    let part = |size: Dim| {
        let mut shape = x.to_vec();
        shape[axis] = size;
        shape
    };
    Ok(sizes.into_iter().map(part).collect())
}

fn cut<T: Real>(call: &Call<ArrayD<T>>, out: &[Vec<usize>]) -> Outcome<Vec<ArrayD<T>>> {
    let x = call.input(0)?;
    let axis = call.axis_or(0, x.ndim())?;
    let mut start = 0;
    let each = out.iter().map(|shape| {
        let part = x.slice_axis(Axis(axis), Slice::from(start..start + shape[axis]));
        start += shape[axis];
        part.to_owned()
    });
    Ok(each.collect())
}

fn repeat<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    let mut y = call.input(0)?.clone();
    for (axis, &size) in out.iter().enumerate() {
        let side = y.len_of(Axis(axis)).max(1);
        let places: Vec<usize> = (0..size).map(|i| i % side).collect();
        y = y.select(Axis(axis), &places);
    }
    Ok(y)
}

/// What is put before and after each axis; negative numbers cut off.
fn padding<I: Input>(call: &Call<I>, rank: usize) -> Outcome<Vec<[i64; 2]>> {
    let pads = call.setting("pads", 1)?.ok_or_else(|| call.fail("no pads are given"))?;
    let axes = match call.integers(3)? {
        Some(axes) => axes.iter().map(|&a| call.axis(a, rank)).collect::<Outcome<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() || pads.iter().any(|p| p.unsigned_abs() > u64::from(u32::MAX)) {
        return Err(call.fail(format!("pads {pads:?} for {} axes", axes.len())));
    }
    let mut around = vec![[0; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        around[axis] = [pads[i], pads[i + axes.len()]];
    }
    Ok(around)
}

fn pad_around<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let x = call.input(0)?;
    let pads = padding(call, x.ndim())?;
    let source: fn(i64, i64) -> i64 = match call.node.text("mode") {
        None | Some("constant") => {
            let fill = call.number("value", 2).unwrap_or_else(T::zero);
            return Ok(pad_constant(x, &pads, out, fill));
        }
        Some("edge") => |place: i64, side: i64| place.clamp(0, side - 1),
        Some("wrap") => |place: i64, side: i64| place.rem_euclid(side),
        Some("reflect") => |place: i64, side: i64| {
            let period = (2 * (side - 1)).max(1);
            let place = place.rem_euclid(period);
            place.min(period - place) % side
        },
        Some(mode) => return Err(call.fail(format!("its mode {mode:?} is not known here"))),
    };
    let mut y = x.clone();
    for (axis, (&size, [before, _])) in out.iter().zip(&pads).enumerate() {
        let side = y.len_of(Axis(axis)) as i64;
        if side == 0 && size > 0 {
            return Err(call.fail(format!("{:?} has nothing to pad with", x.shape())));
        }
        let places: Vec<usize> = (0..size as i64).map(|i| source(i - before, side) as usize).collect();
        y = y.select(Axis(axis), &places);
    }
    Ok(y)
}

fn pad_constant<T: Real>(x: &ArrayD<T>, pads: &[[i64; 2]], out: &[usize], fill: T) -> ArrayD<T> {
    let mut y = ArrayD::from_elem(out, fill);
    let (mut from, mut to): (Vec<SliceInfoElem>, Vec<SliceInfoElem>) = (Vec::new(), Vec::new());
    for (axis, [before, _]) in pads.iter().enumerate() {
        let [start, place] = [-before, *before].map(|b| b.max(0) as usize);
        let count = x.len_of(Axis(axis)).saturating_sub(start).min(out[axis].saturating_sub(place));
        if count == 0 {
            return y;
        }
        from.push((start..start + count).into());
        to.push((place..place + count).into());
    }
    y.slice_mut(&to[..]).assign(&x.slice(&from[..]));
    y
}

fn image<'a>(call: &Call<'a, Type>) -> Outcome<&'a [Dim; 4]> {
    let x = call.shape(0)?;
    x.try_into().map_err(|_| call.fail(format!("takes images [N, C, H, W], not {}", show(x))))
}

fn block(call: &Call<Type>) -> Outcome<Dim> {
    match call.node.int_or("blocksize", 0) {
        size @ 1..=65_536 => Ok(Dim::Known(size as f64)),
        size => Err(call.fail(format!("its blocksize is {size}"))),
    }
}

fn fits(call: &Call<Type>, side: &Dim, by: &Dim) -> Outcome<()> {
    match side.number().zip(by.number()) {
        Some((side, by)) if side % by != 0.0 => Err(call.fail(format!("{side} is no multiple of {by}"))),
        _ => Ok(()),
    }
}
