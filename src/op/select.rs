//! Picking elements by their places.

use super::call::{Call, Outcome};
use super::dim::{Dim, show};
use super::meaning::{Meaning, Typing};
use super::real::{Element, Real};
use super::types::{Input, Shape, Type};
use ndarray::{ArrayD, Axis, Dimension, IxDyn, Slice};

/// From a start to an end along some axes, in steps.
pub(super) fn slice<T: Real>() -> Meaning<T> {
    Meaning::moving(sliced, &[1, 2, 3, 4], take_ranges, take_ranges)
}

/// The entries of an axis whose numbers the second input holds.
pub(super) fn gather<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let (x, indices) = (call.shape(0)?, call.shape(1)?);
        let axis = call.axis_or(0, x.len())?;
        Ok(vec![[&x[..axis], indices, &x[axis + 1..]].concat()])
    };
    Meaning::moving(shape, &[], take, take)
}

/// A new axis with one number where the label points to, and another elsewhere.
pub(super) fn one_hot<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let mut shape = call.shape(0)?.to_vec();
        let axis = call.axis_or(-1, shape.len() + 1)?;
        let depth = call.list(1)?.and_then(|list| list.first().cloned());
        shape.insert(axis, depth.ok_or_else(|| call.fail("no depth is given"))?);
        Ok(vec![shape])
    };
    Meaning::one(shape, mark).typed(Typing::As(2)).settings(&[1])
}

/// What is taken of an axis.
struct Range {
    axis: usize,
    start: Dim,
    end: Dim,
    step: i64,
}

fn sliced(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let x = call.shape(0)?;
    let mut shape = x.to_vec();
    let bound = |name: &str, i: usize| -> Outcome<Shape> {
        match call.node.ints(name) {
            Some(list) => Ok(list.iter().map(|&i| Dim::Known(i as f64)).collect()),
            None => Ok(call.list(i)?.unwrap_or_default()),
        }
    };
    for range in ranges(call, bound("starts", 1)?, bound("ends", 2)?, x.len())? {
        let side = &x[range.axis];
        shape[range.axis] = match (range.start.number(), range.end.number(), side.number()) {
            (Some(start), Some(end), Some(side)) => Dim::from(places(start, end, range.step, side).1),
            _ => taken(side, &range),
        };
    }
    Ok(vec![shape])
}

fn ranges<I: Input>(call: &Call<I>, starts: Vec<Dim>, ends: Vec<Dim>, rank: usize) -> Outcome<Vec<Range>> {
    let axes = call.setting("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.integers(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        let why = format!("starts {}, ends {}, axes {axes:?}, steps {steps:?}", show(&starts), show(&ends));
        return Err(call.fail(why));
    }
    let each = starts.into_iter().zip(ends).zip(axes).zip(steps);
    each.map(|(((start, end), axis), step)| Ok(Range { axis: call.axis(axis, rank)?, start, end, step }))
        .collect()
}

/// The first place, and how many there are.
fn places(start: f64, end: f64, step: i64, side: f64) -> (usize, usize) {
    let from_front = |place: f64| if place < 0.0 { place + side } else { place };
    let (start, end) = (from_front(start), from_front(end));
    let (start, room) = if step > 0 {
        let start = start.clamp(0.0, side);
        (start, end.clamp(0.0, side) - start)
    } else {
        let start = start.clamp(-1.0, side - 1.0);
        (start, start - end.clamp(-1.0, side - 1.0))
    };
    (start.max(0.0) as usize, (room / step.unsigned_abs() as f64).ceil().max(0.0) as usize)
}

/// How many places there are in an axis of which not all is known, which is taken to be long enough.
fn taken(side: &Dim, range: &Range) -> Dim {
    let endless = |edge: &Dim| edge.number().is_some_and(|x| x >= f64::from(i32::MAX));
    let from_front = |edge: &Dim| match edge.number() {
        Some(x) if x < 0.0 => side + edge,
        _ => edge.clone(),
    };
    let end = match &range.end {
        end if endless(end) || end.same(side) => side.clone(),
        end if end.number().is_some_and(|x| x < 0.0) => side + end,
        // Of two sizes it is not known which is the smaller.
        _ => return Dim::Unknown,
    };
    if range.step < 1 {
        return Dim::Unknown;
    }
    (&end - &from_front(&range.start)).ceil_div(range.step as f64)
}

fn take_ranges<E: Element>(call: &Call<ArrayD<E>>, _: &[usize]) -> Outcome<ArrayD<E>> {
    let x = call.input(0)?;
    let bound = |name: &str, i: usize| -> Outcome<Vec<Dim>> {
        Ok(call.setting(name, i)?.unwrap_or_default().iter().map(|&i| Dim::Known(i as f64)).collect())
    };
    let mut view = x.view();
    for range in ranges(call, bound("starts", 1)?, bound("ends", 2)?, x.ndim())? {
        let (Some(start), Some(end)) = (range.start.number(), range.end.number()) else { continue };
        let (first, count) = places(start, end, range.step, view.len_of(Axis(range.axis)) as f64);
        let reach = count.saturating_sub(1) * range.step.unsigned_abs() as usize;
        let slice = match (count, range.step > 0) {
            (0, _) => Slice::from(0..0),
            (_, true) => Slice::new(first as isize, Some((first + reach + 1) as isize), range.step as isize),
            // Backwards from the last place of the slice.
            (_, false) => Slice::new((first - reach) as isize, Some(first as isize + 1), range.step as isize),
        };
        view.slice_axis_inplace(Axis(range.axis), slice);
    }
    Ok(view.as_standard_layout().into_owned())
}

fn take<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    let x = call.input(0)?;
    let axis = call.axis_or(0, x.ndim())?;
    let side = x.len_of(Axis(axis));
    let indices = call.integers(1)?.unwrap_or_default();
    let picked = indices.iter().map(|&i| call.axis(i, side)).collect::<Outcome<Vec<_>>>()?;
    call.refill(&x.select(Axis(axis), &picked), out)
}

fn mark<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let labels = call.input(0)?;
    let axis = call.axis_or(-1, labels.ndim() + 1)?;
    let values = call.input(2)?;
    let (Some(&off), Some(&on)) = (values.iter().next(), values.iter().nth(1)) else {
        return Err(call.fail(format!("needs two values, not {}", values.len())));
    };
    let depth = T::of(out[axis] as f64);
    Ok(ArrayD::from_shape_fn(IxDyn(out), |place| {
        let mut at = place.slice().to_vec();
        let here = T::of(at.remove(axis) as f64);
        let label = labels[IxDyn(&at)];
        if label == here || label + depth == here { on } else { off }
    }))
}
