//! A node of a model with what is known of its inputs: what every rule of `lower` is asked about.

use crate::graph::{DType, Expr, Graph, Tensor};
use crate::onnx::NodeProto;
use crate::op::Type;
use ndarray::ArrayD;
use std::cell::OnceCell;
use std::rc::Rc;

/// A value of a model.
#[derive(Clone)]
pub(super) enum Value<'g> {
    /// Known before anything runs.
    Known(Rc<Known<'g>>),
    /// Computed.
    Made(Expr<'g>),
}

/// A constant.
pub(super) struct Known<'g> {
    /// In the file; empty of one that was computed.
    name: String,
    pub numbers: ArrayD<f64>,
    pub dtype: DType,
    /// In the graph, once it is needed there.
    made: OnceCell<Expr<'g>>,
}

impl<'g> Value<'g> {
    pub fn known(name: &str, numbers: ArrayD<f64>, dtype: DType) -> Self {
        Self::Known(Rc::new(Known { name: name.into(), numbers, dtype, made: OnceCell::new() }))
    }

    pub fn expr(&self, g: &'g Graph) -> Expr<'g> {
        match self {
            Self::Made(expr) => *expr,
            Self::Known(known) => *known.made.get_or_init(|| {
                let tensor = Tensor::from_f64(&known.numbers, known.dtype);
                match (known.name.is_empty(), tensor) {
                    (true, Tensor::F32(array)) if array.ndim() == 0 => {
                        g.scalar(array.first().copied().unwrap_or_default())
                    }
                    (true, tensor) => g.constant(None, tensor),
                    (false, tensor) => g.initializer(&format!("model.{}", known.name), tensor),
                }
            }),
        }
    }

    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Known(known) => known.numbers.shape().to_vec(),
            Self::Made(expr) => expr.shape(),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Self::Known(known) => known.dtype,
            Self::Made(expr) => expr.dtype(),
        }
    }

    /// What [`crate::op::infer`] is told of it.
    pub fn described(&self) -> Type {
        let plain = Type::of(Some(self.dtype()), &self.shape());
        match self {
            Self::Known(known) if known.numbers.len() <= 1024 => {
                Type { value: Some(known.numbers.mapv(crate::op::Dim::Known)), ..plain }
            }
            _ => plain,
        }
    }
}

/// What a rule gives: the results, or why there are none.
pub(super) type Made<'g> = Result<Expr<'g>, String>;

/// A node whose rule is asked for.
pub(super) struct Node<'a, 'g> {
    pub g: &'g Graph,
    pub proto: &'a NodeProto,
    /// The operator set whose versions hold.
    pub opset: i64,
    pub inputs: &'a [Option<Value<'g>>],
    /// Whether it is built for the CPU's provider.
    pub cpu: bool,
    /// The shapes of its results.
    pub out: &'a [Vec<usize>],
}

impl<'g> Node<'_, 'g> {
    fn given(&self, i: usize) -> Option<&Value<'g>> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    fn input(&self, i: usize) -> Result<&Value<'g>, String> {
        self.given(i).ok_or_else(|| format!("input {i} is missing"))
    }

    /// An input as a value of the graph.
    pub fn x(&self, i: usize) -> Made<'g> {
        Ok(self.input(i)?.expr(self.g))
    }

    /// The same of one that may be left out.
    pub fn may(&self, i: usize) -> Option<Expr<'g>> {
        self.given(i).map(|value| value.expr(self.g))
    }

    /// All inputs.
    pub fn all(&self) -> Result<Vec<Expr<'g>>, String> {
        (0..self.inputs.len()).map(|i| self.x(i)).collect()
    }

    /// The numbers of an input that is known.
    pub fn numbers(&self, i: usize) -> Option<&ArrayD<f64>> {
        match self.given(i)? {
            Value::Known(known) => Some(&known.numbers),
            Value::Made(_) => None,
        }
    }

    /// A number that was an attribute in old versions and is an input in later ones; none where it is left out.
    pub fn number(&self, name: &str, i: usize) -> Result<Option<f32>, String> {
        if let Some(told) = self.proto.attribute(name).and_then(|a| a.f) {
            return Ok(Some(told));
        }
        match self.given(i) {
            None => Ok(None),
            Some(_) => {
                let numbers = self.numbers(i).ok_or_else(|| format!("its {name} depends on the picture"))?;
                Ok(numbers.first().map(|&x| x as f32))
            }
        }
    }

    /// Integers that were an attribute in old versions and are an input in later ones.
    pub fn ints(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, String> {
        if let Some(list) = self.proto.ints(name) {
            return Ok(Some(list.to_vec()));
        }
        match self.given(i) {
            None => Ok(None),
            Some(_) => {
                let numbers = self.numbers(i).ok_or_else(|| format!("its {name} depend on the picture"))?;
                Ok(Some(numbers.iter().map(|&x| x as i64).collect()))
            }
        }
    }

    /// An axis counted from the front.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        let found = usize::try_from(from_front).ok().filter(|&a| a < rank);
        found.ok_or_else(|| format!("axis {axis} of a tensor with {rank} axes"))
    }

    /// The axis that the attribute tells, or the standard's.
    pub fn axis_or(&self, default: i64, rank: usize) -> Result<usize, String> {
        self.axis(self.proto.int_or("axis", default), rank)
    }

    /// The shape of its first result.
    pub fn shape(&self) -> Result<&[usize], String> {
        self.out.first().map(Vec::as_slice).ok_or_else(|| "its result has no shape that is known".into())
    }
}
