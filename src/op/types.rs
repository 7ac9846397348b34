//! What is known of a value before a model runs.

use super::dim::{Dim, show};
use super::real::Element;
use crate::onnx::{DType, Dimension, DimensionValue, TensorProto, TypeProto, numbers, type_proto};
use ndarray::{ArrayD, IxDyn};
use std::fmt;

/// Sizes of a value's axes.
pub type Shape = Vec<Dim>;

/// Constants of more elements are not followed: no shape depends on them.
pub(super) const LARGEST_VALUE: usize = 1024;

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Type {
    /// The element type; none where it is not known, or is none that is computed with here.
    pub dtype: Option<DType>,
    /// The shape; none where not even the number of axes is known.
    pub shape: Option<Shape>,
    /// The elements of a small constant, or of a list that was computed from shapes.
    pub value: Option<ArrayD<Dim>>,
}

impl Type {
    /// A value of a known shape.
    pub fn of(dtype: Option<DType>, shape: &[usize]) -> Self {
        Self { dtype, shape: Some(shape.iter().map(|&d| d.into()).collect()), value: None }
    }

    /// A weight or constant of a file.
    pub fn of_tensor(tensor: &TensorProto) -> Self {
        let dtype = DType::from_onnx(tensor.data_type());
        let sizes: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let Some(sizes) = sizes else { return Self { dtype, ..Self::default() } };
        let small = span(&sizes) <= LARGEST_VALUE;
        let value = || Some(numbers(tensor).ok()?.mapv(Dim::Known));
        Self { value: small.then(value).flatten(), ..Self::of(dtype, &sizes) }
    }

    /// What a file says of a value; `open` tells what stands for an axis whose size is no number, by its
    /// place and the name that the file gives the size.
    pub fn of_proto(proto: &TypeProto, open: impl Fn(usize, Option<&str>) -> Dim) -> Self {
        let Some(type_proto::Value::Tensor(tensor)) = &proto.value else { return Self::default() };
        let dim = |(axis, d): (usize, &Dimension)| match &d.value {
            Some(DimensionValue::Value(n)) if *n >= 0 => Dim::Known(*n as f64),
            Some(DimensionValue::Param(name)) if !name.is_empty() => open(axis, Some(name)),
            Some(DimensionValue::Value(_) | DimensionValue::Param(_)) | None => open(axis, None),
        };
        let shape = tensor.shape.as_ref().map(|shape| shape.dim.iter().enumerate().map(dim).collect());
        Self { dtype: DType::from_onnx(tensor.elem_type()), shape, value: None }
    }

    /// What is known here, and what `other` knows of the same value besides.
    pub fn or(mut self, other: &Self) -> Self {
        self.dtype = self.dtype.or(other.dtype);
        match (&mut self.shape, &other.shape) {
            (Some(shape), Some(told)) if shape.len() == told.len() => {
                let unknown = shape.iter_mut().zip(told).filter(|(dim, _)| **dim == Dim::Unknown);
                unknown.for_each(|(dim, told)| *dim = told.clone());
            }
            (shape @ None, told) => shape.clone_from(told),
            (Some(_), _) => {}
        }
        self
    }

    /// The sizes, where all are known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::size).collect()
    }

    /// The elements of a list of integers, each unknown where only their number is known.
    pub(super) fn elements(&self) -> Option<ArrayD<Dim>> {
        let integers = self.dtype.is_some_and(|d| !d.is_float());
        let sizes = || self.sizes().filter(|s| integers && span(s) <= LARGEST_VALUE);
        self.value.clone().or_else(|| Some(ArrayD::from_elem(IxDyn(&sizes()?), Dim::Unknown)))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = self.dtype.map_or("?", DType::name);
        match &self.shape {
            Some(shape) => write!(f, "{dtype} {}", show(shape)),
            None => f.write_str(dtype),
        }
    }
}

/// The number of elements; the largest there is where it is beyond all counting.
pub(super) fn count(shape: &[usize]) -> usize {
    shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d)).unwrap_or(usize::MAX)
}

/// As [`count`], with an empty axis counted as 1: no array may span more, not even one that holds nothing.
pub(super) fn span(shape: &[usize]) -> usize {
    shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d.max(1))).unwrap_or(usize::MAX)
}

/// What rules ask of an input, be it a type or a value.
pub trait Input {
    /// The number of axes.
    fn rank(&self) -> Option<usize>;
    /// The elements as integers, where all are known.
    fn integers(&self) -> Option<Vec<i64>>;
}

impl Input for Type {
    fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }
    fn integers(&self) -> Option<Vec<i64>> {
        self.value.as_ref()?.integers()
    }
}

impl<T: Element> Input for ArrayD<T> {
    fn rank(&self) -> Option<usize> {
        Some(self.ndim())
    }
    fn integers(&self) -> Option<Vec<i64>> {
        self.iter().map(|x| x.number().map(|x| x as i64)).collect()
    }
}
