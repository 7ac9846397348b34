//! Values of a graph as expressions: `dy * (y * (1.0 - y))`.

use super::builder::{Composite, Flow, Graph, Id, Info, Source, Whole};
use crate::onnx::{AttributeProto, DType, Operator, Tensor};
use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Not, Sub};

/// A value of a [`Graph`]. Operators on it append nodes to its graph.
#[derive(Clone, Copy)]
pub struct Expr<'g> {
    graph: &'g Graph,
    /// None where a fault kept it from being computed.
    id: Option<Id>,
}

impl<'g> Expr<'g> {
    pub(super) fn new(graph: &'g Graph, id: Id) -> Self {
        Self { graph, id: Some(id) }
    }

    /// What an operator gives that does not fit its operands.
    pub(super) fn nothing(graph: &'g Graph) -> Self {
        Self { graph, id: None }
    }

    pub(super) fn id(self) -> Option<Id> {
        self.id
    }

    /// The graph it is a value of.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// The static shape; `[]` after a fault.
    pub fn shape(self) -> Vec<usize> {
        self.info(|info| info.shape.clone()).unwrap_or_default()
    }

    /// The element type; float32 after a fault.
    pub fn dtype(self) -> DType {
        self.info(|info| info.dtype).unwrap_or(DType::F32)
    }

    /// Its axes.
    pub fn rank(self) -> usize {
        self.shape().len()
    }

    /// Its elements.
    pub fn count(self) -> usize {
        self.shape().iter().product()
    }

    /// The side of an axis that it has; 1 after a fault.
    pub fn dim(self, axis: usize) -> usize {
        let shape = self.shape();
        shape.get(axis).copied().unwrap_or_else(|| {
            self.graph.fail("Shape", format!("axis {axis} of {shape:?}"));
            1
        })
    }

    /// The sides of a value with `N` axes.
    pub(super) fn dims<const N: usize>(self) -> Result<[usize; N], String> {
        self.shape().try_into().map_err(|shape| format!("{N} axes are needed, not {shape:?}"))
    }

    /// The integers of an int64 constant.
    pub(super) fn constant_ints(self) -> Option<Vec<i64>> {
        self.info(|info| match &info.source {
            Source::Constant { data: Tensor::I64(xs), .. } => Some(xs.iter().copied().collect()),
            _ => None,
        })?
    }

    /// Lets derivatives see the node that computes it as the last one of an operator made of several.
    /// `saved` are values inside that the operator's derivative uses again.
    pub(super) fn stands_for(
        self,
        op: Composite,
        inputs: &[Self],
        saved: &[Self],
        attributes: Vec<AttributeProto>,
    ) -> Self {
        let ids = |values: &[Self]| values.iter().map(|v| self.graph.id(*v)).collect();
        if let (Some(inputs), Some(saved)) = (ids(inputs), ids(saved)) {
            let whole = Box::new(Whole { op, inputs, saved, attributes });
            self.graph.alter(self, |node| node.whole = Some(whole));
        }
        self
    }

    /// Sets how derivatives pass the node that computes it.
    pub(super) fn with_flow(self, flow: Flow) -> Self {
        self.graph.alter(self, |node| node.flow = flow);
        self
    }

    fn info<T>(self, read: impl FnOnce(&Info) -> T) -> Option<T> {
        self.id.map(|id| read(&self.graph.state.borrow().values[id.0]))
    }
}

/// Values are equal where they are one and the same.
impl PartialEq for Expr<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.graph, other.graph) && self.id == other.id
    }
}

impl fmt::Debug for Expr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.id, self.dtype(), self.shape())
    }
}

/// What may stand beside an expression: another one, or a number.
pub trait Operand<'g> {
    /// As an expression; a number becomes a constant of the float type of `other`.
    fn beside(self, other: Expr<'g>) -> Expr<'g>;
}

impl<'g> Operand<'g> for Expr<'g> {
    fn beside(self, _: Expr<'g>) -> Expr<'g> {
        self
    }
}

impl<'g> Operand<'g> for f32 {
    fn beside(self, other: Expr<'g>) -> Expr<'g> {
        let x = other.graph.scalar(self);
        if other.dtype().is_float() { x.cast(other.dtype()) } else { x }
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident,)*) => {$(
        impl<'g, T: Operand<'g>> $trait<T> for Expr<'g> {
            type Output = Self;
            fn $method(self, other: T) -> Self {
                self.binary(Operator::$trait, other)
            }
        }

        impl<'g> $trait<Expr<'g>> for f32 {
            type Output = Expr<'g>;
            fn $method(self, other: Expr<'g>) -> Expr<'g> {
                self.beside(other).binary(Operator::$trait, other)
            }
        }
    )*};
}

arithmetic! {
    Add add,
    Sub sub,
    Mul mul,
    Div div,
}

impl Neg for Expr<'_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.unary(Operator::Neg)
    }
}

impl Not for Expr<'_> {
    type Output = Self;
    fn not(self) -> Self {
        self.logical_not()
    }
}
