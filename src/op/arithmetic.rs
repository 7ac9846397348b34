//! Arithmetic, element by element, with numpy's broadcasting; casts.

use super::call::{Call, Outcome};
use super::dim::Dim;
use super::meaning::{Meaning, Typing, combine, each, join, like_first, pair};
use super::real::{Element, Real, truth};
use super::types::Type;
use crate::onnx::{DType, NodeProto, data_type};
use ndarray::ArrayD;

/// `a + b`.
pub(super) fn add<T: Real>() -> Meaning<T> {
    pair!(|a, b| a + b).symbolic(|call, out| combine(call, out, |a, b| a + b))
}

/// `a − b`.
pub(super) fn sub<T: Real>() -> Meaning<T> {
    pair!(|a, b| a - b).symbolic(|call, out| combine(call, out, |a, b| a - b))
}

/// `a · b`.
pub(super) fn mul<T: Real>() -> Meaning<T> {
    pair!(|a, b| a * b).symbolic(|call, out| combine(call, out, |a, b| a * b))
}

/// `a / b`; integers are cut off towards 0.
pub(super) fn div<T: Real>() -> Meaning<T> {
    let meaning = Meaning::elementwise(|call, out| match call.integers {
        true => combine(call, out, |a: &T, b| (*a / *b).trunc()),
        false => combine(call, out, |a, b| *a / *b),
    });
    meaning.of_two().symbolic(|call, out| {
        combine(call, out, |a, b| match b.number() {
            Some(by) if by > 0.0 && by.fract() == 0.0 && call.integers => a.floor_div(by),
            _ => a.over(b),
        })
    })
}

/// `aᵇ`.
pub(super) fn pow<T: Real>() -> Meaning<T> {
    pair!(|a: T, b| a.powf(b)).typed(Typing::As(0))
}

/// The rest of `a / b`: of the sign of `b`, or of `a` where `fmod` says so.
pub(super) fn modulo<T: Real>() -> Meaning<T> {
    let meaning = Meaning::elementwise(|call, out| match call.node.flag("fmod") {
        true => combine(call, out, |a: &T, b| *a % *b),
        false => combine(call, out, |a: &T, b| *a - *b * (*a / *b).floor()),
    });
    meaning.of_two().symbolic(|call, out| {
        combine(call, out, |a, b| match (a.number(), b.number()) {
            (Some(a), Some(b)) => {
                Dim::Known(if call.node.flag("fmod") { a % b } else { a - b * (a / b).floor() })
            }
            // A multiple leaves nothing.
            (None, Some(b)) if b > 0.0 && a.over(&Dim::Known(b)) != Dim::Unknown => Dim::Known(0.0),
            _ => Dim::Unknown,
        })
    })
}

/// The greatest.
pub(super) fn max<T: Real>() -> Meaning<T> {
    join!(|a: T, b: T| if b > a || b.is_nan() { b } else { a })
}

/// The smallest.
pub(super) fn min<T: Real>() -> Meaning<T> {
    join!(|a: T, b: T| if b < a || b.is_nan() { b } else { a })
}

/// The sum of the inputs.
pub(super) fn sum<T: Real>() -> Meaning<T> {
    join!(|a, b| a + b)
}

/// The mean of the inputs.
pub(super) fn mean<T: Real>() -> Meaning<T> {
    Meaning::elementwise(|call, out| {
        Ok(combine(call, out, |a: &T, b| *a + *b)? / T::of(call.inputs.len() as f64))
    })
}

/// `−x`.
pub(super) fn neg<T: Real>() -> Meaning<T> {
    each!(|x: T| -x).symbolic(|call, _| Ok(call.input(0)?.map(|x| &Dim::Known(0.0) - x)))
}

/// `|x|`.
pub(super) fn abs<T: Real>() -> Meaning<T> {
    each!(T::abs)
}

/// `√x`.
pub(super) fn sqrt<T: Real>() -> Meaning<T> {
    each!(T::sqrt)
}

/// `eˣ`.
pub(super) fn exp<T: Real>() -> Meaning<T> {
    each!(T::exp)
}

/// The sine.
pub(super) fn sin<T: Real>() -> Meaning<T> {
    each!(T::sin)
}

/// The cosine.
pub(super) fn cos<T: Real>() -> Meaning<T> {
    each!(T::cos)
}

/// `ln x`.
pub(super) fn log<T: Real>() -> Meaning<T> {
    each!(T::ln)
}

/// `1 / x`.
pub(super) fn reciprocal<T: Real>() -> Meaning<T> {
    each!(|x: T| T::one() / x)
}

/// −1, 0 or 1.
pub(super) fn sign<T: Real>() -> Meaning<T> {
    each!(|x: T| if x == T::zero() { T::zero() } else { x.signum() })
}

/// The greatest integer not above x.
pub(super) fn floor<T: Real>() -> Meaning<T> {
    each!(T::floor).symbolic(|call, _| Ok(call.input(0)?.mapv(Dim::floor)))
}

/// The smallest integer not below x.
pub(super) fn ceil<T: Real>() -> Meaning<T> {
    each!(T::ceil).symbolic(|call, _| Ok(call.input(0)?.map(|x| x.clone().floor())))
}

/// The nearest integer, ties to even.
pub(super) fn round<T: Real>() -> Meaning<T> {
    each!(T::round_ties_even).symbolic(|call, _| Ok(call.input(0)?.map(|x| x.clone().floor())))
}

/// The value itself.
pub(super) fn identity<T: Real>() -> Meaning<T> {
    Meaning::moving(like_first::<1>, &[], same, same)
}

/// The values in another element type; integers drop what lies behind the point.
pub(super) fn cast<T: Real>() -> Meaning<T> {
    let dtype = |call: &Call<Type>, _| DType::from_onnx(target(call.node));
    let meaning = Meaning::one(like_first::<1>, |call: &Call<ArrayD<T>>, _| {
        let x = call.input(0)?;
        Ok(match target(call.node) {
            data_type::BOOL => x.mapv(|x| truth(x != T::zero())),
            data_type::INT8 | data_type::UINT8 | data_type::INT32 | data_type::INT64 => x.mapv(T::trunc),
            _ => x.clone(),
        })
    });
    meaning.typed(Typing::By(dtype)).symbolic(|call, _| match DType::from_onnx(target(call.node)) {
        Some(DType::Bool) | None => Ok(call.input(0)?.map(|_| Dim::Unknown)),
        Some(DType::F32 | DType::F64) => same(call, &[]),
        Some(DType::U8 | DType::I8 | DType::I32 | DType::I64) => Ok(call.input(0)?.mapv(Dim::floor)),
    })
}

fn target(node: &NodeProto) -> i32 {
    i32::try_from(node.int_or("to", 0)).unwrap_or_default()
}

fn same<E: Element>(call: &Call<ArrayD<E>>, _: &[usize]) -> Outcome<ArrayD<E>> {
    call.input(0).cloned()
}
