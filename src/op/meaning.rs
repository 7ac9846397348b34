//! What an operator means: the row that each operator's function gives.

use super::call::{Call, Outcome};
use super::dim::Dim;
use super::real::{Element, Real};
use super::types::{Shape, Type};
use crate::onnx::DType;
use ndarray::ArrayD;

/// What an operator means, evaluated in numbers of type `T`.
#[derive(Clone, Copy)]
pub struct Meaning<T> {
    /// The element types of its results.
    pub typing: Typing,
    /// The shapes of its results, as many as its node may name.
    pub shape: fn(&Call<Type>) -> Outcome<Vec<Shape>>,
    /// Inputs that tell what is to be done, and not with which numbers: lists of sizes, axes, places. The
    /// shape of the result depends on their elements.
    pub settings: &'static [usize],
    /// The results.
    pub evaluate: Evaluate<T>,
    /// What is known of the first result before the model runs, though not all inputs are known.
    pub symbolic: Symbolic,
    /// How many products of numbers are added up; none for what takes no products worth counting.
    pub products: Option<fn(&Call<Type>, out: &[Dim]) -> Outcome<Dim>>,
}

/// Element types of an operator's results.
#[derive(Clone, Copy)]
pub enum Typing {
    /// That of its inputs, which are of one type.
    Alike,
    /// That of the input at this place.
    As(usize),
    /// Always this one.
    Always(DType),
    /// By the node, for the result at a place.
    By(fn(&Call<Type>, usize) -> Option<DType>),
}

/// How results are computed.
#[derive(Clone, Copy)]
pub enum Evaluate<T> {
    /// One result, of the given shape.
    One(fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>),
    /// Several.
    Several(fn(&Call<ArrayD<T>>, &[Vec<usize>]) -> Outcome<Vec<ArrayD<T>>>),
}

/// How a result is told from symbols.
#[derive(Clone, Copy)]
pub enum Symbolic {
    /// It is not.
    Not,
    /// From the elements of the inputs.
    Elements(fn(&Call<ArrayD<Dim>>, &[usize]) -> Outcome<ArrayD<Dim>>),
    /// From the inputs' types.
    Types(fn(&Call<Type>) -> Outcome<ArrayD<Dim>>),
}

impl<T: Real> Meaning<T> {
    /// One result, of the type of the first input.
    pub(super) fn one(
        shape: fn(&Call<Type>) -> Outcome<Vec<Shape>>,
        evaluate: fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>,
    ) -> Self {
        Self {
            typing: Typing::As(0),
            shape,
            settings: &[],
            evaluate: Evaluate::One(evaluate),
            symbolic: Symbolic::Not,
            products: None,
        }
    }

    /// As [`Meaning::one`], of what is done to pictures, and by which no file makes its constants: the WebAssembly
    /// module, which must be small, leaves the computing to kernels.
    pub(super) fn of_pictures(
        shape: fn(&Call<Type>) -> Outcome<Vec<Shape>>,
        evaluate: fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>,
    ) -> Self {
        if cfg!(target_family = "wasm") {
            Self::one(shape, |call, _| Err(call.fail("is not evaluated in a browser")))
        } else {
            Self::one(shape, evaluate)
        }
    }

    /// Element by element, of any number of operands of one type.
    pub(super) fn elementwise(evaluate: fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>) -> Self {
        Self { typing: Typing::Alike, ..Self::one(|call| Ok(vec![call.broadcast()?]), evaluate) }
    }

    /// Of two operands alone.
    pub(super) fn of_two(self) -> Self {
        let shape = |call: &Call<Type>| match call.inputs.len() {
            0..=2 => call.input(1).and_then(|_| Ok(vec![call.broadcast()?])),
            more => Err(call.fail(format!("has {more} inputs, not two"))),
        };
        Self { shape, ..self }
    }

    /// Moves elements, whatever they are.
    pub(super) fn moving(
        shape: fn(&Call<Type>) -> Outcome<Vec<Shape>>,
        settings: &'static [usize],
        evaluate: fn(&Call<ArrayD<T>>, &[usize]) -> Outcome<ArrayD<T>>,
        symbolic: fn(&Call<ArrayD<Dim>>, &[usize]) -> Outcome<ArrayD<Dim>>,
    ) -> Self {
        Self { settings, symbolic: Symbolic::Elements(symbolic), ..Self::one(shape, evaluate) }
    }

    pub(super) fn typed(self, typing: Typing) -> Self {
        Self { typing, ..self }
    }

    pub(super) fn settings(self, settings: &'static [usize]) -> Self {
        Self { settings, ..self }
    }

    pub(super) fn symbolic(self, rule: fn(&Call<ArrayD<Dim>>, &[usize]) -> Outcome<ArrayD<Dim>>) -> Self {
        Self { symbolic: Symbolic::Elements(rule), ..self }
    }

    pub(super) fn products(self, rule: fn(&Call<Type>, &[Dim]) -> Outcome<Dim>) -> Self {
        Self { products: Some(rule), ..self }
    }
}

/// The shape of the first input, for each of up to `N` results.
pub(super) fn like_first<const N: usize>(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    Ok(vec![call.shape(0)?.to_vec(); N])
}

/// An operator that computes each element of its result from that of its first input.
macro_rules! each {
    ($f:expr) => {
        $crate::op::meaning::Meaning::one($crate::op::meaning::like_first::<1>, |call, _| {
            $crate::op::meaning::map(call, |x| $f(*x))
        })
    };
}

/// An operator that joins its inputs element by element, from the first to the last.
macro_rules! join {
    ($f:expr) => {
        $crate::op::meaning::Meaning::elementwise(|call, out| {
            $crate::op::meaning::combine(call, out, |a, b| $f(*a, *b))
        })
    };
}

/// The same of two inputs.
macro_rules! pair {
    ($f:expr) => {
        $crate::op::meaning::join!($f).of_two()
    };
}

pub(super) use {each, join, pair};

/// `f` of each element of the first input.
pub(super) fn map<E: Element>(call: &Call<ArrayD<E>>, f: impl Fn(&E) -> E) -> Outcome<ArrayD<E>> {
    let x = call.input(0)?.as_standard_layout();
    call.shaped(x.shape(), x.as_slice().unwrap_or_default().iter().map(f).collect())
}

/// Joins all inputs element by element.
pub(super) fn combine<E: Element>(
    call: &Call<ArrayD<E>>,
    out: &[usize],
    f: impl Fn(&E, &E) -> E,
) -> Outcome<ArrayD<E>> {
    let mut result = call.spread(0, out)?.into_owned();
    for i in 1..call.inputs.len() {
        let elements = result.as_slice_mut().unwrap_or_default();
        if let [b] = call.input(i)?.as_slice().unwrap_or_default() {
            elements.iter_mut().for_each(|a| *a = f(a, b));
            continue;
        }
        let other = call.spread(i, out)?;
        let both = elements.iter_mut().zip(other.as_slice().unwrap_or_default());
        both.for_each(|(a, b)| *a = f(a, b));
    }
    Ok(result)
}
