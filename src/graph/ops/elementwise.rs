//! Element by element: arithmetic (with numpy's broadcasting), functions, comparisons, casts.

use crate::graph::builder::{Attribute, Flow, OpResult, broadcast};
use crate::graph::{DType, Graph, Value};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $op:literal),* $(,)?) => {
        impl Graph { $($(#[$doc])* pub fn $name(&mut self, x: Value) -> OpResult { self.unary($op, x) })* }
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident = $op:literal),* $(,)?) => {
        impl Graph {
            $($(#[$doc])* pub fn $name(&mut self, a: Value, b: Value) -> OpResult { self.binary($op, a, b, None) })*
        }
    };
}

macro_rules! comparison {
    ($($(#[$doc:meta])* $name:ident = $op:literal),* $(,)?) => {
        impl Graph {
            $($(#[$doc])* pub fn $name(&mut self, a: Value, b: Value) -> OpResult {
                self.binary($op, a, b, Some(DType::Bool))
            })*
        }
    };
}

unary! {
    /// `−x`.
    neg = "Neg",
    /// `|x|`.
    abs = "Abs",
    /// `√x`.
    sqrt = "Sqrt",
    /// `eˣ`.
    exp = "Exp",
    /// `ln x`.
    log = "Log",
    /// `1 / (1 + e⁻ˣ)`.
    sigmoid = "Sigmoid",
    /// `max(0, x)`.
    relu = "Relu",
    /// The greatest integer not above x; no derivative.
    floor = "Floor",
    /// The nearest integer, ties to even; no derivative.
    round = "Round",
    /// −1, 0 or 1; no derivative.
    sign = "Sign",
}

binary! {
    /// `a + b`.
    add = "Add",
    /// `a − b`.
    sub = "Sub",
    /// `a · b`.
    mul = "Mul",
    /// `a / b`.
    div = "Div",
    /// The greater; of equals, the derivative goes to `a`.
    max = "Max",
    /// The smaller; of equals, the derivative goes to `a`.
    min = "Min",
    /// `aᵇ`; the derivative goes to `a` alone.
    pow = "Pow",
}

comparison! {
    /// `a = b`.
    equal = "Equal",
    /// `a < b`.
    less = "Less",
    /// `a > b`.
    greater = "Greater",
}

impl Graph {
    /// `¬a`.
    pub fn not(&mut self, a: Value) -> OpResult {
        self.expect_bool("Not", &[a])?;
        self.unary_of("Not", a)
    }

    /// `a ∧ b`.
    pub fn and(&mut self, a: Value, b: Value) -> OpResult {
        self.expect_bool("And", &[a, b])?;
        self.binary("And", a, b, Some(DType::Bool))
    }

    /// `min(max(x, low), high)`; the derivative is 1 where x is inside or on the edge.
    pub fn clip(&mut self, x: Value, low: f32, high: f32) -> OpResult {
        let (low, high) = (self.scalar(low), self.scalar(high));
        let (dtype, shape) = (self.dtype(x), self.shape(x).to_vec());
        if dtype != DType::F32 {
            return Err(self.misfit("Clip", format!("{dtype:?} where float32 is needed")));
        }
        Ok(self.node("Clip", &[x, low, high], vec![], dtype, shape))
    }

    /// `a` where `condition` holds, else `b`.
    pub fn where_(&mut self, condition: Value, a: Value, b: Value) -> OpResult {
        self.expect_bool("Where", &[condition])?;
        let shape = self.broadcast_shape("Where", &[condition, a, b])?;
        let dtype = self.same_type("Where", a, b)?;
        Ok(self.node("Where", &[condition, a, b], vec![], dtype, shape))
    }

    /// The values in another element type.
    pub fn cast(&mut self, x: Value, to: DType) -> OpResult {
        if self.dtype(x) == to {
            return Ok(x);
        }
        let shape = self.shape(x).to_vec();
        Ok(self.node("Cast", &[x], vec![("to", Attribute::Int(i64::from(to.onnx())))], to, shape))
    }

    /// The value itself.
    pub fn identity(&mut self, x: Value) -> OpResult {
        self.unary_of("Identity", x)
    }

    /// The value itself, through which no derivative flows.
    pub fn stop_gradient(&mut self, x: Value) -> OpResult {
        let y = self.identity(x)?;
        self.set_flow(y, Flow::Stop);
        Ok(y)
    }

    /// [`Graph::round`] through which derivatives flow as through the identity (Bengio, Léonard,
    /// Courville 2013: the straight-through estimator).
    pub fn round_ste(&mut self, x: Value) -> OpResult {
        let y = self.round(x)?;
        self.set_flow(y, Flow::StraightThrough);
        Ok(y)
    }

    /// [`Graph::floor`] through which derivatives flow as through the identity.
    pub fn floor_ste(&mut self, x: Value) -> OpResult {
        let y = self.floor(x)?;
        self.set_flow(y, Flow::StraightThrough);
        Ok(y)
    }

    fn unary(&mut self, op: &'static str, x: Value) -> OpResult {
        if !self.dtype(x).is_float() {
            return Err(self.misfit(op, format!("{:?} where a float is needed", self.dtype(x))));
        }
        self.unary_of(op, x)
    }

    fn unary_of(&mut self, op: &'static str, x: Value) -> OpResult {
        let (dtype, shape) = (self.dtype(x), self.shape(x).to_vec());
        Ok(self.node(op, &[x], vec![], dtype, shape))
    }

    fn binary(&mut self, op: &'static str, a: Value, b: Value, result: Option<DType>) -> OpResult {
        let dtype = self.same_type(op, a, b)?;
        let shape = self.broadcast_shape(op, &[a, b])?;
        Ok(self.node(op, &[a, b], vec![], result.unwrap_or(dtype), shape))
    }

    fn same_type(&self, op: &str, a: Value, b: Value) -> crate::Result<DType> {
        let (left, right) = (self.dtype(a), self.dtype(b));
        if left != right {
            return Err(self.misfit(op, format!("element types {left:?} and {right:?} differ; cast one")));
        }
        Ok(left)
    }

    fn broadcast_shape(&self, op: &str, values: &[Value]) -> crate::Result<Vec<usize>> {
        let shapes: Vec<&[usize]> = values.iter().map(|v| self.shape(*v)).collect();
        broadcast(&shapes).ok_or_else(|| self.misfit(op, format!("shapes {shapes:?} do not broadcast")))
    }

    fn expect_bool(&self, op: &str, values: &[Value]) -> crate::Result<()> {
        match values.iter().find(|v| self.dtype(**v) != DType::Bool) {
            Some(v) => Err(self.misfit(op, format!("{:?} where bool is needed", self.dtype(*v)))),
            None => Ok(()),
        }
    }
}
