//! Activations, element by element.

use super::call::{Call, Outcome};
use super::meaning::{Evaluate, Meaning, Typing, combine, each, like_first, map};
use super::real::{Real, erf as error_function, truth};
use super::types::Type;
use crate::onnx::DType;
use ndarray::ArrayD;

/// `max(0, x)`.
pub(super) fn relu<T: Real>() -> Meaning<T> {
    each!(|x| if x < T::zero() { T::zero() } else { x })
}

/// `1 / (1 + e⁻ˣ)`.
pub(super) fn sigmoid<T: Real>() -> Meaning<T> {
    each!(|x: T| T::one() / (T::one() + (-x).exp()))
}

/// The hyperbolic tangent.
pub(super) fn tanh<T: Real>() -> Meaning<T> {
    each!(T::tanh)
}

/// `ln(1 + eˣ)`.
pub(super) fn softplus<T: Real>() -> Meaning<T> {
    each!(log_one_plus_exp)
}

fn log_one_plus_exp<T: Real>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}

/// `x / (1 + |x|)`.
pub(super) fn softsign<T: Real>() -> Meaning<T> {
    each!(|x: T| x / (T::one() + x.abs()))
}

/// `x · tanh(ln(1 + eˣ))`.
pub(super) fn mish<T: Real>() -> Meaning<T> {
    each!(|x: T| x * log_one_plus_exp(x).tanh())
}

/// `x · min(1, max(0, x/6 + 1/2))`.
pub(super) fn hard_swish<T: Real>() -> Meaning<T> {
    each!(|x| x * between(x / T::of(6.0) + T::of(0.5), T::zero(), T::one()))
}

/// `min(1, max(0, αx + β))`.
pub(super) fn hard_sigmoid<T: Real>() -> Meaning<T> {
    Meaning::one(like_first::<1>, |call, _| {
        let (alpha, beta) = (call.float("alpha", 0.2), call.float("beta", 0.5));
        map(call, |&x| between(alpha * x + beta, T::zero(), T::one()))
    })
}

/// `min(max(x, low), high)`.
pub(super) fn clip<T: Real>() -> Meaning<T> {
    Meaning::one(like_first::<1>, |call, _| {
        let low = call.number("min", 1).unwrap_or_else(T::neg_infinity);
        let high = call.number("max", 2).unwrap_or_else(T::infinity);
        map(call, |&x| between(x, low, high))
    })
}

/// A number, or the edge beyond which it lies; of crossed edges the upper one.
fn between<T: Real>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// The error function.
pub(super) fn erf<T: Real>() -> Meaning<T> {
    each!(error_function)
}

/// `x · Φ(x)`, or its approximation by tanh (Hendrycks and Gimpel 2016).
pub(super) fn gelu<T: Real>() -> Meaning<T> {
    Meaning::one(like_first::<1>, |call, _| {
        let (half, one) = (T::of(0.5), T::one());
        if call.node.text("approximate") == Some("tanh") {
            let (root, cubic) = (T::of((2.0 / std::f64::consts::PI).sqrt()), T::of(0.044_715));
            return map(call, |&x| half * x * (one + (root * (x + cubic * x * x * x)).tanh()));
        }
        let root = T::of(std::f64::consts::FRAC_1_SQRT_2);
        map(call, |&x| half * x * (one + error_function(x * root)))
    })
}

/// `x`, or `αx` below 0.
pub(super) fn leaky_relu<T: Real>() -> Meaning<T> {
    Meaning::one(like_first::<1>, |call, _| {
        let alpha = call.float("alpha", 0.01);
        map(call, |&x| if x < T::zero() { alpha * x } else { x })
    })
}

/// `x`, or `slope · x` below 0, where the slopes broadcast over x.
pub(super) fn p_relu<T: Real>() -> Meaning<T> {
    let meaning = Meaning::elementwise(|call, out| {
        combine(call, out, |x: &T, slope| if *x < T::zero() { *slope * *x } else { *x })
    });
    Meaning { shape: like_first::<1>, ..meaning }
}

/// `x`, or `α(eˣ − 1)` below 0.
pub(super) fn elu<T: Real>() -> Meaning<T> {
    Meaning::one(like_first::<1>, |call, _| {
        let alpha = call.float("alpha", 1.0);
        map(call, |&x| if x < T::zero() { alpha * x.exp_m1() } else { x })
    })
}

/// `γx`, or `γα(eˣ − 1)` below 0 (Klambauer and others 2017).
pub(super) fn selu<T: Real>() -> Meaning<T> {
    Meaning::one(like_first::<1>, |call, _| {
        let (alpha, gamma) = (call.float("alpha", 1.673_263_2), call.float("gamma", 1.050_701));
        map(call, |&x| gamma * if x < T::zero() { alpha * x.exp_m1() } else { x })
    })
}

/// The value itself, as in inference, and which of its elements are kept: all.
pub(super) fn dropout<T: Real>() -> Meaning<T> {
    let dtype = |call: &Call<Type>, result| match result {
        0 => call.given(0)?.dtype,
        _ => Some(DType::Bool),
    };
    Meaning {
        evaluate: Evaluate::Several(keep_all),
        ..Meaning::one(like_first::<2>, |call, _| call.input(0).cloned())
    }
    .typed(Typing::By(dtype))
}

fn keep_all<T: Real>(call: &Call<ArrayD<T>>, _: &[Vec<usize>]) -> Outcome<Vec<ArrayD<T>>> {
    let x = call.input(0)?;
    if call.given(2).is_some_and(|training| training.iter().any(|t| *t != T::zero())) {
        return Err(call.fail("drops at random in training, which is not evaluated here"));
    }
    Ok(vec![x.clone(), x.mapv(|_| truth(true))])
}
