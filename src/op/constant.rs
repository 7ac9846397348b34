//! Values that are made of no data: constants, shapes, ranges.

use super::call::{Call, Outcome, Stop};
use super::dim::{Dim, product};
use super::meaning::{Meaning, Symbolic, Typing};
use super::real::{Element, Real};
use super::types::{Input, Type};
use crate::onnx::{DType, numbers};
use ndarray::{ArrayD, IxDyn};

/// A number or tensor of the file.
pub(super) fn constant<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let list = |count: usize| Ok(vec![vec![count.into()]]);
        match stored(call)? {
            Stored::Tensor(t) => Ok(vec![Type::of_tensor(t).shape.ok_or(Stop::Unknown)?]),
            Stored::Int(_) | Stored::Float(_) => Ok(vec![Vec::new()]),
            Stored::Ints(xs) => list(xs.len()),
            Stored::Floats(xs) => list(xs.len()),
        }
    };
    let dtype = |call: &Call<Type>, _| match stored(call).ok()? {
        Stored::Tensor(t) => DType::from_onnx(t.data_type()),
        Stored::Int(_) | Stored::Ints(_) => Some(DType::I64),
        Stored::Float(_) | Stored::Floats(_) => Some(DType::F32),
    };
    Meaning::one(shape, |call, _| {
        let list = |xs: Vec<f64>| ndarray::arr1(&xs).into_dyn();
        let values = match stored(call)? {
            Stored::Tensor(t) => numbers(t)?,
            Stored::Int(i) => ndarray::arr0(i as f64).into_dyn(),
            Stored::Float(x) => ndarray::arr0(f64::from(x)).into_dyn(),
            Stored::Ints(xs) => list(xs.iter().map(|&x| x as f64).collect()),
            Stored::Floats(xs) => list(xs.iter().map(|&x| f64::from(x)).collect()),
        };
        Ok(values.mapv(T::of))
    })
    .typed(Typing::By(dtype))
}

/// One number in the shape that the input lists.
pub(super) fn constant_of_shape<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| Ok(vec![call.list(0)?.ok_or_else(|| call.fail("no shape is given"))?]);
    let dtype = |call: &Call<Type>, _| match call.node.tensor("value") {
        Some(tensor) => DType::from_onnx(tensor.data_type()),
        None => Some(DType::F32),
    };
    Meaning::moving(shape, &[0], fill, fill).typed(Typing::By(dtype))
}

/// The sizes of the input's axes.
pub(super) fn shape<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| Ok(vec![vec![window(call, call.rank(0)?).len().into()]]);
    let meaning = Meaning::one(shape, |call: &Call<ArrayD<T>>, _| {
        let sizes = call.input(0)?.shape();
        let taken = window(call, sizes.len());
        Ok(sizes[taken].iter().map(|&d| T::of(d as f64)).collect::<ndarray::Array1<_>>().into_dyn())
    });
    let symbolic = Symbolic::Types(|call| {
        let sizes = call.shape(0)?;
        Ok(ndarray::arr1(&sizes[window(call, sizes.len())]).into_dyn())
    });
    Meaning { symbolic, ..meaning }.typed(Typing::Always(DType::I64))
}

/// The number of the input's elements.
pub(super) fn size<T: Real>() -> Meaning<T> {
    let meaning = Meaning::one(
        |call: &Call<Type>| call.input(0).map(|_| vec![Vec::new()]),
        |call: &Call<ArrayD<T>>, _| Ok(ndarray::arr0(T::of(call.input(0)?.len() as f64)).into_dyn()),
    );
    let symbolic = Symbolic::Types(|call| Ok(ndarray::arr0(product(call.shape(0)?)).into_dyn()));
    Meaning { symbolic, ..meaning }.typed(Typing::Always(DType::I64))
}

/// From a start to a limit in steps.
pub(super) fn range<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let number = |i: usize| -> Outcome<Dim> {
            Ok(call.list(i)?.and_then(|l| l.first().cloned()).unwrap_or(Dim::Unknown))
        };
        let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
        let length = match (&limit - &start, step.number()) {
            (_, Some(0.0)) => return Err(call.fail("its step is 0")),
            (Dim::Known(room), Some(step)) => Dim::Known((room / step).ceil().max(0.0)),
            (room, Some(1.0)) => room,
            _ => Dim::Unknown,
        };
        Ok(vec![vec![length]])
    };
    Meaning::one(shape, |call, out| {
        let first = |i: usize| -> Outcome<T> { Ok(call.input(i)?.first().copied().unwrap_or_else(T::zero)) };
        let (start, step) = (first(0)?, first(2)?);
        Ok(ArrayD::from_shape_fn(IxDyn(out), |i| start + T::of(i[0] as f64) * step))
    })
    .settings(&[0, 1, 2])
}

/// What a `Constant` holds.
enum Stored<'a> {
    Tensor(&'a crate::onnx::TensorProto),
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
}

fn stored<'a, I>(call: &Call<'a, I>) -> Outcome<Stored<'a>> {
    let node = call.node;
    let number = || node.attribute("value_float").and_then(|a| a.f).map(Stored::Float);
    node.tensor("value")
        .map(Stored::Tensor)
        .or_else(|| node.int("value_int").map(Stored::Int))
        .or_else(|| node.ints("value_ints").map(Stored::Ints))
        .or_else(number)
        .or_else(|| node.floats("value_floats").map(Stored::Floats))
        .ok_or_else(|| call.fail("its value is of a kind that is not known here"))
}

fn fill<E: Element>(call: &Call<ArrayD<E>>, out: &[usize]) -> Outcome<ArrayD<E>> {
    let value = match call.node.tensor("value") {
        Some(tensor) => numbers(tensor)?.first().copied(),
        None => Some(0.0),
    };
    let value = value.ok_or_else(|| call.fail("its value is empty"))?;
    Ok(ArrayD::from_elem(IxDyn(out), E::of(value)))
}

/// Which axes a `Shape` tells of: since opset 15 it may be told a start and an end.
fn window<I: Input>(call: &Call<I>, rank: usize) -> std::ops::Range<usize> {
    let place = |name: &str, default: usize| {
        let told = call.node.int(name).unwrap_or(default as i64);
        (if told < 0 { told.saturating_add(rank as i64) } else { told }).clamp(0, rank as i64) as usize
    };
    let start = place("start", 0);
    start..place("end", rank).max(start)
}
