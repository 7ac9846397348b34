//! Element by element: arithmetic (with numpy's broadcasting), functions, comparisons, casts.

use crate::graph::builder::{Flow, broadcast};
use crate::graph::{DType, Expr, Operand};
use crate::onnx::{AttributeProto, Operator};

/// Operators whose result is a condition.
const COMPARISONS: [Operator; 5] =
    [Operator::Equal, Operator::Less, Operator::LessOrEqual, Operator::Greater, Operator::GreaterOrEqual];

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $op:ident,)*) => {
        impl Expr<'_> {
            $($(#[$doc])* pub fn $name(self) -> Self { self.unary(Operator::$op) })*
        }
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident = $op:ident,)*) => {
        impl<'g> Expr<'g> {
            $($(#[$doc])* pub fn $name(self, b: impl Operand<'g>) -> Self { self.binary(Operator::$op, b) })*
        }
    };
}

unary! {
    /// `|x|`.
    abs = Abs,
    /// `√x`.
    sqrt = Sqrt,
    /// `eˣ`.
    exp = Exp,
    /// `ln x`.
    log = Log,
    /// `1 / (1 + e⁻ˣ)`.
    sigmoid = Sigmoid,
    /// `max(0, x)`.
    relu = Relu,
    /// `1 / x`.
    reciprocal = Reciprocal,
    /// The sine of radians.
    sin = Sin,
    /// The cosine of radians.
    cos = Cos,
    /// The hyperbolic tangent.
    tanh = Tanh,
    /// The error function, `2/√π · ∫₀ˣ e^(−t²) dt`.
    erf = Erf,
    /// `ln(1 + eˣ)`.
    softplus = Softplus,
    /// The smallest integer not below x; no derivative.
    ceil = Ceil,
    /// The greatest integer not above x; no derivative.
    floor = Floor,
    /// The nearest integer, ties to even; no derivative.
    round = Round,
    /// −1, 0 or 1; no derivative.
    sign = Sign,
}

binary! {
    /// The greater; of equals, the derivative goes to `self`.
    max = Max,
    /// The smaller; of equals, the derivative goes to `self`.
    min = Min,
    /// `selfᵇ`; the derivative with respect to b is for a positive base.
    pow = Pow,
    /// Whether both are equal.
    equal = Equal,
    /// Whether it is below `b`.
    less = Less,
    /// Whether it is above `b`.
    greater = Greater,
    /// Whether it is not above `b`.
    at_most = LessOrEqual,
    /// Whether it is not below `b`.
    at_least = GreaterOrEqual,
    /// Whether both conditions hold.
    and = And,
    /// Whether one of both conditions holds.
    or = Or,
}

impl<'g> Expr<'g> {
    /// `x²`, as a product.
    pub fn squared(self) -> Self {
        self * self
    }

    /// `min(max(x, low), high)`; the derivative is 1 where x is inside or on the edge.
    pub fn clip(self, low: f32, high: f32) -> Self {
        self.graph().attempt("Clip", || {
            let (low, high) = (self.graph().scalar(low), self.graph().scalar(high));
            match self.dtype() {
                DType::F32 => Ok(self.same_shape(Operator::Clip, &[self, low, high])),
                other => Err(format!("{other:?} where float32 is needed")),
            }
        })
    }

    /// `a` where this condition holds, else `b`.
    pub fn where_(self, a: Self, b: Self) -> Self {
        self.graph().attempt("Where", || {
            self.expect_bool()?;
            let shape = broadcast_shape(&[self, a, b])?;
            let dtype = same_type(a, b)?;
            Ok(self.graph().node(Operator::Where, &[self, a, b], vec![], dtype, shape))
        })
    }

    /// The values in another element type.
    pub fn cast(self, to: DType) -> Self {
        if self.dtype() == to {
            return self;
        }
        let attributes = vec![AttributeProto::int("to", i64::from(to.onnx()))];
        self.graph()
            .attempt("Cast", || Ok(self.graph().node(Operator::Cast, &[self], attributes, to, self.shape())))
    }

    /// The value itself.
    pub fn identity(self) -> Self {
        self.same_shape(Operator::Identity, &[self])
    }

    /// The value itself, through which no derivative flows.
    pub fn stop_gradient(self) -> Self {
        self.identity().with_flow(Flow::Stop)
    }

    /// [`Expr::round`] through which derivatives flow as through the identity (Bengio, Léonard,
    /// Courville 2013: the straight-through estimator).
    pub fn round_ste(self) -> Self {
        self.round().with_flow(Flow::StraightThrough)
    }

    /// [`Expr::floor`] through which derivatives flow as through the identity.
    pub fn floor_ste(self) -> Self {
        self.floor().with_flow(Flow::StraightThrough)
    }

    /// `¬x`, of `!x`.
    pub(in crate::graph) fn logical_not(self) -> Self {
        self.graph().attempt("Not", || {
            self.expect_bool()?;
            Ok(self.same_shape(Operator::Not, &[self]))
        })
    }

    pub(in crate::graph) fn unary(self, op: Operator) -> Self {
        self.shaped_by(op, &[self], vec![])
    }

    pub(in crate::graph) fn binary(self, op: Operator, other: impl Operand<'g>) -> Self {
        self.graph().attempt(op.name(), || {
            let other = other.beside(self);
            let dtype = match (op, same_type(self, other)?) {
                (op, _) if COMPARISONS.contains(&op) => DType::Bool,
                (_, dtype) => dtype,
            };
            let shape = broadcast_shape(&[self, other])?;
            Ok(self.graph().node(op, &[self, other], vec![], dtype, shape))
        })
    }

    /// `min(1, max(0, αx + β))`.
    pub fn hard_sigmoid(self, alpha: f32, beta: f32) -> Self {
        let attributes = vec![AttributeProto::float("alpha", alpha), AttributeProto::float("beta", beta)];
        self.shaped_by(Operator::HardSigmoid, &[self], attributes)
    }

    /// `x`, or `α(eˣ − 1)` below 0.
    pub fn elu(self, alpha: f32) -> Self {
        self.shaped_by(Operator::Elu, &[self], vec![AttributeProto::float("alpha", alpha)])
    }

    /// `x`, or `αx` below 0.
    pub fn leaky_relu(self, alpha: f32) -> Self {
        self.shaped_by(Operator::LeakyRelu, &[self], vec![AttributeProto::float("alpha", alpha)])
    }

    /// `x`, or `slope·x` below 0; the slopes broadcast to x.
    pub fn p_relu(self, slope: Self) -> Self {
        self.graph().attempt("PRelu", || {
            if broadcast_shape(&[self, slope])? != self.shape() {
                return Err(format!("slopes {:?} do not broadcast to {:?}", slope.shape(), self.shape()));
            }
            Ok(self.shaped_by(Operator::PRelu, &[self, slope], vec![]))
        })
    }

    /// A node of floats whose result has the type and shape of its first operand, which is this one.
    fn shaped_by(self, op: Operator, inputs: &[Self], attributes: Vec<AttributeProto>) -> Self {
        self.graph().attempt(op.name(), || match self.dtype() {
            dtype if dtype.is_float() => Ok(self.graph().node(op, inputs, attributes, dtype, self.shape())),
            dtype => Err(format!("{dtype:?} where a float is needed")),
        })
    }

    /// A node whose result has the type and shape of its first operand, which is this one.
    fn same_shape(self, op: Operator, inputs: &[Self]) -> Self {
        self.graph().node(op, inputs, vec![], self.dtype(), self.shape())
    }

    fn expect_bool(self) -> Result<(), String> {
        match self.dtype() {
            DType::Bool => Ok(()),
            other => Err(format!("{other:?} where bool is needed")),
        }
    }
}

fn same_type(a: Expr<'_>, b: Expr<'_>) -> Result<DType, String> {
    let (left, right) = (a.dtype(), b.dtype());
    if left == right {
        Ok(left)
    } else {
        Err(format!("element types {left:?} and {right:?} differ; cast one"))
    }
}

fn broadcast_shape(values: &[Expr<'_>]) -> Result<Vec<usize>, String> {
    let shapes: Vec<Vec<usize>> = values.iter().map(|v| v.shape()).collect();
    let views: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    broadcast(&views).ok_or_else(|| format!("shapes {shapes:?} do not broadcast"))
}
