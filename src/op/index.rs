//! Picking and placing elements by lists of places, and the greatest of an axis.

use super::call::{Call, Outcome};
use super::dim::{Dim, show};
use super::meaning::{Evaluate, Meaning, Typing};
use super::real::{Element, Real};
use super::types::{Shape, Type, count};
use crate::onnx::DType;
use ndarray::{ArrayD, Axis, Dimension, IxDyn};

/// Of each place of the second input the entry of the first that has the place's number on one axis, and
/// stands at the same place else.
pub(super) fn gather_elements<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let (x, places) = (call.shape(0)?, call.shape(1)?);
        call.axis_or(0, x.len())?;
        match x.len() == places.len() {
            true => Ok(vec![places.to_vec()]),
            false => Err(call.fail(format!("places {} for {}", show(places), show(x)))),
        }
    };
    Meaning::moving(shape, &[], pick, pick)
}

/// The slices of the first input whose places the last axis of the second lists.
pub(super) fn gather_nd<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let (x, places) = (call.shape(0)?, call.shape(1)?);
        let (lead, depth) = parted(call, x.len(), places)?;
        let taken = shared(call)? + depth;
        match x.get(taken..) {
            Some(rest) => Ok(vec![[lead, rest].concat()]),
            None => Err(call.fail(format!("places {} for {}", show(places), show(x)))),
        }
    };
    Meaning::moving(shape, &[], pick_slices, pick_slices)
}

/// The first input with slices of the third at the places that the second lists.
pub(super) fn scatter_nd<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let (x, places, slices) = (call.shape(0)?, call.shape(1)?, call.shape(2)?);
        let (lead, depth) = parted(call, x.len(), places)?;
        let fits = x.get(depth..).is_some_and(|rest| {
            let wanted = [lead, rest].concat();
            wanted.len() == slices.len() && wanted.iter().zip(slices).all(|(a, b)| a.may_equal(b))
        });
        match fits {
            true => Ok(vec![x.to_vec()]),
            false => Err(call.fail(format!("{} at places {} of {}", show(slices), show(places), show(x)))),
        }
    };
    Meaning::one(shape, place_slices)
}

/// The greatest (or smallest) entries of an axis, and their places; of equals the first.
pub(super) fn top_k<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let mut shape = call.shape(0)?.to_vec();
        let axis = call.axis_or(-1, shape.len())?;
        let told = call.node.int("k").map(|k| Dim::Known(k as f64));
        let many = match told {
            Some(many) => Some(many),
            None => call.list(1)?.and_then(|list| list.first().cloned()),
        };
        let many = many.ok_or_else(|| call.fail("is not told how many to take"))?;
        if shape[axis].number().zip(many.number()).is_some_and(|(side, many)| many > side) {
            return Err(call.fail(format!("takes {many} of axis {axis} of {}", show(&shape))));
        }
        shape[axis] = many;
        Ok(vec![shape; 2])
    };
    let typing = |call: &Call<Type>, result| match result {
        0 => call.given(0)?.dtype,
        _ => Some(DType::I64),
    };
    let meaning = Meaning::one(shape, |call: &Call<ArrayD<T>>, _| call.input(0).cloned());
    Meaning { evaluate: Evaluate::Several(greatest), ..meaning }.settings(&[1]).typed(Typing::By(typing))
}

/// How many leading axes the places and the first input share.
fn shared<I>(call: &Call<I>) -> Outcome<usize> {
    match call.node.int_or("batch_dims", 0) {
        axes @ 0..=64 => Ok(axes as usize),
        axes => Err(call.fail(format!("its batch_dims is {axes}"))),
    }
}

/// The axes of the list of places, and how many axes a place has.
fn parted<'a>(call: &Call<Type>, rank: usize, places: &'a [Dim]) -> Outcome<(&'a [Dim], usize)> {
    let (depth, lead) = places.split_last().ok_or_else(|| call.fail("its places are a single number"))?;
    let depth = depth.size().ok_or(super::call::Stop::Unknown)?;
    match depth <= rank {
        true => Ok((lead, depth)),
        false => Err(call.fail(format!("places of {depth} axes in a tensor with {rank} axes"))),
    }
}

fn pick<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    let x = call.input(0)?;
    let axis = call.axis_or(0, x.ndim())?;
    let numbers = call.integers(1)?.unwrap_or_default();
    let places = ArrayD::from_shape_vec(IxDyn(out), numbers).map_err(|e| call.fail(e))?;
    let each = places.indexed_iter().map(|(place, &number)| {
        let mut at = place.slice().to_vec();
        at[axis] = call.axis(number, x.len_of(Axis(axis)))?;
        x.get(IxDyn(&at)).cloned().ok_or_else(|| call.fail(format!("place {at:?} of {:?}", x.shape())))
    });
    call.shaped(out, each.collect::<Outcome<_>>()?)
}

/// The places that an input lists, each of `depth` axes.
fn listed<E: Element>(call: &Call<ArrayD<E>>, depth: usize) -> Outcome<Vec<Vec<i64>>> {
    let numbers = call.integers(1)?.unwrap_or_default();
    let rows = call.input(1)?.len() / depth.max(1);
    let rows = if depth == 0 { count(&call.input(1)?.shape()[..call.input(1)?.ndim() - 1]) } else { rows };
    Ok((0..rows).map(|row| numbers[row * depth..(row + 1) * depth].to_vec()).collect())
}

/// A place counted from the front.
fn front<E: Element>(call: &Call<ArrayD<E>>, place: &[i64], sides: &[usize]) -> Outcome<Vec<usize>> {
    place.iter().zip(sides).map(|(&at, &side)| call.axis(at, side)).collect()
}

fn pick_slices<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    let (x, places) = (call.input(0)?, call.input(1)?);
    let (shared, depth) = (shared(call)?, places.shape().last().copied().unwrap_or(0));
    if x.ndim() < shared + depth || places.ndim() <= shared || x.shape()[..shared] != places.shape()[..shared]
    {
        return Err(call.fail(format!("places {:?} for {:?}", places.shape(), x.shape())));
    }
    let sides = &x.shape()[shared..shared + depth];
    let groups = count(&x.shape()[..shared]);
    let slice = count(&x.shape()[shared + depth..]);
    let flat = x.as_standard_layout();
    let elements = flat.as_slice().unwrap_or_default();
    let listed = listed(call, depth)?;
    let each = listed.len() / groups.max(1);
    let mut picked = Vec::with_capacity(count(out));
    for (i, place) in listed.iter().enumerate() {
        let group = i.checked_div(each).unwrap_or(0);
        let at = front(call, place, sides)?.iter().zip(sides).fold(group, |at, (p, side)| at * side + p);
        picked.extend_from_slice(&elements[at * slice..(at + 1) * slice]);
    }
    call.shaped(out, picked)
}

fn place_slices<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let depth = call.input(1)?.shape().last().copied().unwrap_or(0);
    let join: fn(T, T) -> T = match call.node.text("reduction") {
        None | Some("none") => |_, new| new,
        Some("add") => |old, new| old + new,
        Some("mul") => |old, new| old * new,
        Some("max") => |old, new| old.max(new),
        Some("min") => |old, new| old.min(new),
        Some(other) => return Err(call.fail(format!("its reduction {other:?} is not known here"))),
    };
    let slices = call.input(2)?.as_standard_layout();
    let slices = slices.as_slice().unwrap_or_default();
    let slice = count(&out[depth..]);
    let flat = call.input(0)?.as_standard_layout();
    let mut all = flat.as_slice().unwrap_or_default().to_vec();
    for (i, place) in listed(call, depth)?.iter().enumerate() {
        let at = front(call, place, out)?.iter().zip(out).fold(0, |at, (p, side)| at * side + p);
        let new = slices.get(i * slice..(i + 1) * slice).ok_or_else(|| call.fail("has too few slices"))?;
        all[at * slice..(at + 1) * slice].iter_mut().zip(new).for_each(|(old, new)| *old = join(*old, *new));
    }
    call.shaped(out, all)
}

fn greatest<T: Real>(call: &Call<ArrayD<T>>, out: &[Vec<usize>]) -> Outcome<Vec<ArrayD<T>>> {
    let x = call.input(0)?;
    let axis = Axis(call.axis_or(-1, x.ndim())?);
    let sign = if call.node.int_or("largest", 1) == 0 { -T::one() } else { T::one() };
    let mut values = ArrayD::zeros(IxDyn(&out[0]));
    let mut places = ArrayD::zeros(IxDyn(&out[0]));
    let lanes = values.lanes_mut(axis).into_iter().zip(places.lanes_mut(axis));
    for (lane, (mut values, mut places)) in x.lanes(axis).into_iter().zip(lanes) {
        let mut order: Vec<usize> = (0..lane.len()).collect();
        let better = |a: &usize, b: &usize| {
            let (a, b) = (lane[*a] * sign, lane[*b] * sign);
            b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
        };
        order.sort_by(better);
        for (i, place) in order.into_iter().take(values.len()).enumerate() {
            (values[i], places[i]) = (lane[place], T::of(place as f64));
        }
    }
    Ok(vec![values, places])
}

/// What is added up along an axis so far.
pub(super) fn cum_sum<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| -> Outcome<Vec<Shape>> {
        call.input(1)?;
        Ok(vec![call.shape(0)?.to_vec()])
    };
    Meaning::one(shape, |call, _| {
        let mut y = call.input(0)?.clone();
        let told = call.integers(1)?.unwrap_or_default();
        let axis = Axis(call.axis(told.first().copied().unwrap_or(0), y.ndim())?);
        let (backwards, before) = (call.node.flag("reverse"), call.node.flag("exclusive"));
        for mut lane in y.lanes_mut(axis) {
            let mut sum = T::zero();
            let add = |x: &mut T| {
                let own = *x;
                *x = if before { sum } else { sum + own };
                sum += own;
            };
            match backwards {
                true => lane.iter_mut().rev().for_each(add),
                false => lane.iter_mut().for_each(add),
            }
        }
        Ok(y)
    })
    .settings(&[1])
}

/// Matrices of which one side of a diagonal is 0.
pub(super) fn trilu<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        if x.len() < 2 { Err(call.fail(format!("{} is no matrix", show(x)))) } else { Ok(vec![x.to_vec()]) }
    };
    Meaning::one(shape, |call, out| {
        let x = call.input(0)?;
        let diagonal = call.integers(1)?.and_then(|k| k.first().copied()).unwrap_or(0);
        let upper = call.node.int_or("upper", 1) != 0;
        Ok(ArrayD::from_shape_fn(IxDyn(out), |place| {
            let at = place.slice();
            let off = at[at.len() - 1] as i64 - at[at.len() - 2] as i64;
            let kept = if upper { off >= diagonal } else { off <= diagonal };
            if kept { x[&place] } else { T::zero() }
        }))
    })
    .settings(&[1])
}
