//! Reductions: one number for all that differ in some axes alone.

use super::call::{Call, Outcome};
use super::dim::Dim;
use super::layout::{resolve, without};
use super::meaning::{Meaning, Typing};
use super::real::{Element, Real};
use super::types::{Input, Shape, Type, count};
use crate::onnx::DType;
use ndarray::{ArrayD, ArrayView1, Axis};

/// The sum.
pub(super) fn sum<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| row.sum()))
        .symbolic(|call, out| reduce(call, out, |row| row.fold(Dim::Known(0.0), |sum, x| &sum + x)))
}

/// The mean.
pub(super) fn mean<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| row.sum() / T::of(row.len() as f64)))
}

/// The greatest.
pub(super) fn max<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| row.fold(T::neg_infinity(), |a: T, b| a.max(*b))))
}

/// The smallest.
pub(super) fn min<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| row.fold(T::infinity(), |a: T, b| a.min(*b))))
}

/// The product.
pub(super) fn prod<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| row.product()))
        .symbolic(|call, out| reduce(call, out, |row| row.fold(Dim::Known(1.0), |product, x| &product * x)))
}

/// The sum of magnitudes.
pub(super) fn l1<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| row.fold(T::zero(), |sum: T, x| sum + x.abs())))
}

/// The root of the sum of squares.
pub(super) fn l2<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, |row| squares(row).sqrt()))
}

/// The sum of squares.
pub(super) fn sum_square<T: Real>() -> Meaning<T> {
    reduction(|call, out| reduce(call, out, squares))
}

/// `ln Σ eˣ`.
pub(super) fn log_sum_exp<T: Real>() -> Meaning<T> {
    reduction(|call, out| {
        reduce(call, out, |row| {
            let top = row.fold(T::neg_infinity(), |a: T, b| a.max(*b));
            let top = if top.is_finite() { top } else { T::zero() };
            row.fold(T::zero(), |sum: T, x| sum + (*x - top).exp()).ln() + top
        })
    })
}

/// The place of the greatest along an axis; of equals, the first or the last.
pub(super) fn arg_max<T: Real>() -> Meaning<T> {
    place_of(|call, out| places(call, out, T::one()))
}

/// The place of the smallest along an axis; of equals, the first or the last.
pub(super) fn arg_min<T: Real>() -> Meaning<T> {
    place_of(|call, out| places(call, out, -T::one()))
}

fn place_of<T: Real>(evaluate: fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>) -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        Ok(vec![kept(call, x, &[call.axis_or(0, x.len())?])])
    };
    Meaning::one(shape, evaluate).typed(Typing::Always(DType::I64))
}

/// The place of the greatest of `sign · x`.
fn places<T: Real>(call: &Call<ArrayD<T>>, out: &[usize], sign: T) -> Outcome<ArrayD<T>> {
    let x = call.input(0)?;
    let last = call.node.flag("select_last_index");
    rows(call, x, &[call.axis_or(0, x.ndim())?], out, |row| {
        let better = |(place, best): (usize, T), (i, &x): (usize, &T)| match sign * x {
            x if x > best || last && x == best => (i, x),
            _ => (place, best),
        };
        T::of(row.iter().enumerate().fold((0, T::neg_infinity()), better).0 as f64)
    })
}

fn reduction<T: Real>(evaluate: fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>) -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        Ok(vec![kept(call, x, &axes(call, x.len())?)])
    };
    Meaning::one(shape, evaluate).settings(&[1])
}

/// The axes of a reduction: an attribute, an input, or all.
fn axes<I: Input>(call: &Call<I>, rank: usize) -> Outcome<Vec<usize>> {
    match call.setting("axes", 1)?.unwrap_or_default() {
        listed if !listed.is_empty() => resolve(call, &listed, rank),
        _ if call.node.flag("noop_with_empty_axes") => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

fn kept<I>(call: &Call<I>, shape: &[Dim], axes: &[usize]) -> Shape {
    if call.node.int_or("keepdims", 1) == 0 {
        return without(shape, axes);
    }
    let mut shape = shape.to_vec();
    axes.iter().for_each(|&a| shape[a] = Dim::Known(1.0));
    shape
}

fn reduce<E: Element>(
    call: &Call<ArrayD<E>>,
    out: &[usize],
    f: impl Fn(ArrayView1<E>) -> E,
) -> Outcome<ArrayD<E>> {
    let x = call.input(0)?;
    rows(call, x, &axes(call, x.ndim())?, out, f)
}

/// `f` of all elements that differ in `axes` alone, in the order of these axes.
pub(super) fn rows<E: Element>(
    call: &Call<ArrayD<E>>,
    x: &ArrayD<E>,
    axes: &[usize],
    out: &[usize],
    f: impl Fn(ArrayView1<E>) -> E,
) -> Outcome<ArrayD<E>> {
    let order: Vec<usize> = (0..x.ndim()).filter(|a| !axes.contains(a)).chain(axes.iter().copied()).collect();
    let length: usize = axes.iter().map(|&a| x.len_of(Axis(a))).product();
    let turned = x.view().permuted_axes(order);
    let turned = turned.as_standard_layout();
    let elements = turned.as_slice().unwrap_or_default();
    let row = |i: usize| f(ArrayView1::from(&elements[i * length..(i + 1) * length]));
    call.shaped(out, (0..count(out)).map(row).collect())
}

fn squares<T: Real>(row: ArrayView1<T>) -> T {
    row.fold(T::zero(), |sum, &x| sum + x * x)
}
