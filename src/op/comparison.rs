//! Comparisons, logic, and the choice between two values.

use super::call::{Call, Outcome};
use super::dim::Dim;
use super::meaning::{Meaning, Typing, combine, each, pair};
use super::real::{Element, Real, truth};
use crate::onnx::DType;
use ndarray::ArrayD;

const BOOL: Typing = Typing::Always(DType::Bool);

/// `a = b`.
pub(super) fn equal<T: Real>() -> Meaning<T> {
    pair!(|a: T, b| truth(a == b)).typed(BOOL).symbolic(|call, out| {
        combine(call, out, |a, b| match (a, b) {
            (a, b) if a.same(b) => Dim::Known(1.0),
            // No size is negative.
            (Dim::Known(_), Dim::Known(_)) => Dim::Known(0.0),
            (Dim::Known(x), Dim::Open(size)) | (Dim::Open(size), Dim::Known(x))
                if *x < 0.0 && size.values().all(|factor| *factor >= 0.0) =>
            {
                Dim::Known(0.0)
            }
            _ => Dim::Unknown,
        })
    })
}

/// `a < b`.
pub(super) fn less<T: Real>() -> Meaning<T> {
    pair!(|a: T, b| truth(a < b)).typed(BOOL)
}

/// `a ≤ b`.
pub(super) fn less_or_equal<T: Real>() -> Meaning<T> {
    pair!(|a: T, b| truth(a <= b)).typed(BOOL)
}

/// `a > b`.
pub(super) fn greater<T: Real>() -> Meaning<T> {
    pair!(|a: T, b| truth(a > b)).typed(BOOL)
}

/// `a ≥ b`.
pub(super) fn greater_or_equal<T: Real>() -> Meaning<T> {
    pair!(|a: T, b| truth(a >= b)).typed(BOOL)
}

/// `a ∧ b`.
pub(super) fn and<T: Real>() -> Meaning<T> {
    pair!(|a: T, b: T| truth(a != T::zero() && b != T::zero())).typed(BOOL)
}

/// `a ∨ b`.
pub(super) fn or<T: Real>() -> Meaning<T> {
    pair!(|a: T, b: T| truth(a != T::zero() || b != T::zero())).typed(BOOL)
}

/// `¬a`.
pub(super) fn not<T: Real>() -> Meaning<T> {
    each!(|x: T| truth(x == T::zero())).typed(BOOL)
}

/// `a` where the condition holds, else `b`.
pub(super) fn where_<T: Real>() -> Meaning<T> {
    Meaning::elementwise(|call, out| choose(call, out, |c: &T, a, b| if *c == T::zero() { *b } else { *a }))
        .typed(Typing::As(1))
        .symbolic(|call, out| {
            choose(call, out, |c, a, b| match c.number() {
                Some(0.0) => b.clone(),
                Some(_) => a.clone(),
                None if a.same(b) => a.clone(),
                None => Dim::Unknown,
            })
        })
}

fn choose<E: Element>(
    call: &Call<ArrayD<E>>,
    out: &[usize],
    f: impl Fn(&E, &E, &E) -> E,
) -> Outcome<ArrayD<E>> {
    let (condition, a, b) = (call.spread(0, out)?, call.spread(1, out)?, call.spread(2, out)?);
    let choices = condition.iter().zip(&a).zip(&b);
    call.shaped(out, choices.map(|((condition, a), b)| f(condition, a, b)).collect())
}
