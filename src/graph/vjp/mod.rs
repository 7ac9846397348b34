//! The table of derivatives: from the cotangent of a node's result to those of its inputs.
//!
//! A row an operator: one expression an operand where it can be, else a function of the files beside this
//! one, which mirror those of `ops`. Rules call the forward operators, so that a derivative consists of the
//! same standard ones. They neither accumulate nor un-broadcast: the walk does.

mod last;
mod layout;
mod linear;
mod pool;

use super::builder::{Composite, Node};
use super::expr::Expr;
use super::grad::GradOptions;
use super::kernel::Kernel;
use super::ops::Channels;
use crate::onnx::{AttributeProto, DType, NodeProto, Operator};
use std::f32::consts::FRAC_2_SQRT_PI;
use std::fmt;

/// An operator as derivatives see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Differentiable {
    /// One node.
    Standard(Operator),
    /// Several nodes with a rule of their own.
    Composite(Composite),
}

/// How the derivative of an operator's result reaches its operands, in their order; operands beyond the
/// rules have none.
#[derive(Clone, Copy)]
pub(super) enum Derivative {
    /// A rule an operand, where each element of the result depends on that element of the operands alone:
    /// the cotangent may be smaller than the result, as long as it broadcasts to it.
    Elementwise(&'static [Rule]),
    /// A rule an operand.
    Each(&'static [Rule]),
    /// One rule for all operands.
    All(for<'g> fn(&Call<'g>) -> Vec<Expr<'g>>),
    /// Zero almost everywhere, or the result is no number.
    Nowhere,
    /// Not written yet.
    Unwritten,
}

type Rule = for<'g> fn(&Call<'g>) -> Expr<'g>;

/// A node whose operands' cotangents are asked for.
#[derive(Clone)]
pub(super) struct Call<'g> {
    pub op: Differentiable,
    /// Name and attributes.
    pub node: NodeProto,
    /// The operands.
    pub x: Vec<Expr<'g>>,
    /// What the forward pass of a composite operator keeps for its rule.
    pub saved: Vec<Expr<'g>>,
    /// The result.
    pub y: Expr<'g>,
    /// The result's cotangent.
    pub dy: Expr<'g>,
    pub how: GradOptions,
}

impl Differentiable {
    pub fn of(node: &Node) -> Self {
        node.whole.as_ref().map_or(Self::Standard(node.op), |whole| Self::Composite(whole.op))
    }

    pub fn derivative(self) -> Derivative {
        match self {
            Self::Standard(op) => standard(op),
            Self::Composite(op) => composite(op),
        }
    }
}

/// The rules of the standard's operators.
fn standard(op: Operator) -> Derivative {
    use Derivative::{All, Each, Elementwise, Nowhere, Unwritten};
    use Operator::*;
    match op {
        // Element by element.
        Abs => Elementwise(&[|c| c.dy * c.x[0].sign()]),
        Add => Elementwise(&[|c| c.dy, |c| c.dy]),
        Cast => Elementwise(&[|c| c.dy.cast(c.x[0].dtype())]),
        Clip => Elementwise(&[|c| masked(c.dy, c.x[0].equal(c.y))]),
        Cos => Elementwise(&[|c| -(c.dy * c.x[0].sin())]),
        Div => Elementwise(&[|c| c.dy / c.x[1], |c| -(c.dy * (c.y / c.x[1]))]),
        Elu => Elementwise(&[elu]),
        Erf => Elementwise(&[|c| c.dy * ((-c.x[0].squared()).exp() * FRAC_2_SQRT_PI)]),
        Exp => Elementwise(&[|c| c.dy * c.y]),
        HardSigmoid => Elementwise(&[hard_sigmoid]),
        Identity => Elementwise(&[|c| c.dy]),
        LeakyRelu => Elementwise(&[leaky_relu]),
        Log => Elementwise(&[|c| c.dy / c.x[0]]),
        Max => Elementwise(&[|c| masked(c.dy, !c.x[0].less(c.x[1])), |c| masked(c.dy, c.x[0].less(c.x[1]))]),
        Min => Elementwise(&[
            |c| masked(c.dy, !c.x[0].greater(c.x[1])),
            |c| masked(c.dy, c.x[0].greater(c.x[1])),
        ]),
        Mul => Elementwise(&[|c| c.dy * c.x[1], |c| c.dy * c.x[0]]),
        Neg => Elementwise(&[|c| -c.dy]),
        PRelu => Elementwise(&[p_relu, |c| c.dy * c.x[0].min(0.0)]),
        Pow => {
            Elementwise(&[|c| c.dy * (c.x[0].pow(c.x[1] - 1.0) * c.x[1]), |c| c.dy * (c.y * c.x[0].log())])
        }
        Reciprocal => Elementwise(&[|c| -(c.dy * c.y.squared())]),
        Relu => Elementwise(&[relu]),
        Sigmoid => Elementwise(&[|c| c.dy * (c.y * (1.0 - c.y))]),
        Sin => Elementwise(&[|c| c.dy * c.x[0].cos()]),
        Softplus => Elementwise(&[|c| c.dy * c.x[0].sigmoid()]),
        Sqrt => Elementwise(&[|c| c.dy * 0.5 / c.y]),
        Sub => Elementwise(&[|c| c.dy, |c| -c.dy]),
        Tanh => Elementwise(&[|c| c.dy * (1.0 - c.y.squared())]),
        Where => Elementwise(&[no_number, |c| masked(c.dy, c.x[0]), |c| masked(c.dy, !c.x[0])]),

        // Along axes.
        LogSoftmax => Each(&[log_softmax]),
        ReduceL2 => Each(&[length]),
        ReduceMax => Each(&[reduce_max]),
        ReduceMean => Each(&[|c| c.kept(c.dy * (1.0 / c.reduced() as f32))]),
        ReduceSum => Each(&[|c| c.kept(c.dy)]),
        Softmax => Each(&[|c| c.y * (c.dy - (c.dy * c.y).sum_kept(&[c.axis()]))]),

        // Moves.
        Concat => All(layout::concat),
        Expand => Each(&[|c| c.dy]),
        Flatten | Reshape => Each(&[|c| c.dy.reshape(&c.x[0].shape())]),
        Gather => Each(&[layout::gather]),
        Pad => Each(&[layout::pad]),
        Slice => Each(&[layout::slice]),
        Transpose => Each(&[layout::transpose]),

        // Products and pools.
        AveragePool => Each(&[pool::average_pool]),
        Conv => Each(&[linear::image, linear::weight, |c| c.dy.sum(&[0, 2, 3])]),
        Gemm => Each(&[linear::gemm_left, linear::gemm_right, |c| c.dy]),
        MatMul => Each(&[|c| c.dy.matmul(c.x[1].turned()), linear::matmul_right]),
        MaxPool => Each(&[pool::max_pool]),
        Resize => Each(&[pool::upsample]),

        // Steps, comparisons, counts and constants.
        And | ArgMax | ArgMin | Ceil | Constant | ConstantOfShape | Equal | Floor | Greater
        | GreaterOrEqual | Less | LessOrEqual | Not | OneHot | Or | Round | Shape | Sign | Size => Nowhere,

        BatchNormalization
        | ConvTranspose
        | CumSum
        | DepthToSpace
        | Dropout
        | Einsum
        | GatherElements
        | GatherNd
        | Gelu
        | GroupNormalization
        | GlobalAveragePool
        | GlobalMaxPool
        | HardSwish
        | InstanceNormalization
        | LayerNormalization
        | LpNormalization
        | Lrn
        | Mean
        | Mish
        | Mod
        | Range
        | ReduceL1
        | ReduceLogSumExp
        | ReduceMin
        | ReduceProd
        | ReduceSumSquare
        | ScatterNd
        | Selu
        | Softsign
        | SpaceToDepth
        | Split
        | Squeeze
        | Sum
        | Tile
        | TopK
        | Trilu
        | Unsqueeze => Unwritten,
    }
}

/// The rules of operators that are made of several nodes.
fn composite(op: Composite) -> Derivative {
    match op {
        Composite::BatchNorm => Derivative::All(batch_norm),
        Composite::ChannelSums => Derivative::Each(&[|c| c.dy]),
        Composite::LayerNorm => Derivative::All(layer_norm),
        Composite::MaxPoolLast => Derivative::Each(&[last::max_pool]),
        Composite::ConvLast => Derivative::Each(&[last::image, last::weight, last::bias]),
    }
}

/// `dy` where `condition` holds, else 0. On ONNX Runtime's CPU provider a cast and a product take a
/// third of the time of `Where`.
fn masked<'g>(dy: Expr<'g>, condition: Expr<'g>) -> Expr<'g> {
    dy * condition.cast(dy.dtype())
}

/// Tensors one after the other; of one, itself.
fn joined<'g>(parts: &[Expr<'g>], axis: usize) -> Result<Expr<'g>, String> {
    match parts {
        [] => Err("has no parts".into()),
        [one] => Ok(*one),
        [first, ..] => Ok(first.graph().concat(parts, axis)),
    }
}

fn no_number<'g>(c: &Call<'g>) -> Expr<'g> {
    c.fail("has no derivative with respect to a condition")
}

// Harder derivatives.

/// `α·eˣ = y + α` below 0.
fn elu<'g>(c: &Call<'g>) -> Expr<'g> {
    let below = c.dy * (c.y + c.node.float_or("alpha", 1.0));
    c.x[0].less(0.0).where_(below, c.dy)
}

/// `α` between the edges.
fn hard_sigmoid<'g>(c: &Call<'g>) -> Expr<'g> {
    let inside = c.y.greater(0.0).cast(c.dy.dtype()) * c.y.less(1.0).cast(c.dy.dtype());
    c.dy * (inside * c.node.float_or("alpha", 0.2))
}

/// 1, or `α` below 0.
fn leaky_relu<'g>(c: &Call<'g>) -> Expr<'g> {
    let alpha = c.node.float_or("alpha", 0.01);
    c.dy * (c.x[0].at_least(0.0).cast(c.dy.dtype()) * (1.0 - alpha) + alpha)
}

fn relu<'g>(c: &Call<'g>) -> Expr<'g> {
    let dx = masked(c.dy, c.y.greater(0.0));
    if c.dy.shape() == c.y.shape() && c.dy.dtype() == DType::F32 {
        c.y.graph().region(Kernel::ReluGrad, &[c.dy, c.y], &[dx], vec![]);
    }
    dx
}

/// 1, or the slope below 0.
fn p_relu<'g>(c: &Call<'g>) -> Expr<'g> {
    c.x[0].less(0.0).where_(c.dy * c.x[1], c.dy)
}

/// Lengths below this are taken for it where something is divided by them.
const SHORTEST: f32 = 1e-12;

/// `x/‖x‖`; 0 at the origin, where there is none.
fn length<'g>(c: &Call<'g>) -> Expr<'g> {
    c.x[0] * (c.kept(c.dy) / c.kept(c.y).max(SHORTEST))
}

/// With `dx̂ = dy·γ` and means over the layer: `dx = (dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂))/σ`, `dγ = Σ dy·x̂`,
/// `dβ = Σ dy`.
fn layer_norm<'g>(c: &Call<'g>) -> Vec<Expr<'g>> {
    let (&[x, scale, _], &[normal, deviation]) = (&c.x[..], &c.saved[..]) else { return Vec::new() };
    let axes: Vec<i64> = (c.axis()..x.rank() as i64).collect();
    let dn = c.dy * scale;
    let correlation = (dn * normal).mean_kept(&axes);
    let dx = (dn - dn.mean_kept(&axes) - normal * correlation) / deviation;
    vec![dx, c.dy * normal, c.dy]
}

/// `dy − eʸ·Σ dy`.
fn log_softmax<'g>(c: &Call<'g>) -> Expr<'g> {
    let total = c.dy.sum_kept(&[c.axis()]);
    c.dy - c.y.exp() * total
}

/// Of equal maxima each takes an equal share.
fn reduce_max<'g>(c: &Call<'g>) -> Expr<'g> {
    let (y, dy) = (c.kept(c.y), c.kept(c.dy));
    let mask = c.x[0].equal(y).cast(dy.dtype());
    let share = dy / mask.sum_kept(&c.axes());
    mask * share
}

/// With `x̂ = centred/σ` and means over the batch: `dx = γ/σ·(dy − mean(dy) − x̂·mean(dy·x̂))`,
/// `dγ = Σ dy·x̂`, `dβ = Σ dy` (Ioffe and Szegedy 2015, section 3).
fn batch_norm<'g>(c: &Call<'g>) -> Vec<Expr<'g>> {
    let (&[x, scale, _], &[centred, deviation, batch_mean, var]) = (&c.x[..], &c.saved[..]) else {
        return Vec::new();
    };
    let channels = if c.node.flag("last") { Channels::Last } else { Channels::First };
    let mean = c.dy.batch_mean(channels);
    let correlation = (c.dy * centred).batch_mean(channels);
    let count = c.y.graph().scalar((x.count() / mean.count()) as f32);
    let d_shift = mean * count;
    let over_deviation = correlation / deviation;
    let d_scale = over_deviation * count;
    let slope = over_deviation / deviation;
    let dx = (c.dy - (centred * slope + mean)) * (scale / deviation);
    if channels.is_last(x) {
        let inputs = [c.dy, x, batch_mean, var, scale];
        let attributes = vec![AttributeProto::float("epsilon", c.node.float_or("epsilon", 0.0))];
        x.graph().region(Kernel::BatchNormGrad, &inputs, &[dx, d_scale, d_shift], attributes);
    }
    vec![dx, d_scale, d_shift]
}

impl<'g> Call<'g> {
    /// The cotangents of the operands at these places.
    pub fn cotangents(&self, needed: &[usize]) -> Vec<(usize, Expr<'g>)> {
        let without = |i: usize| self.fail(&format!("has no derivative with respect to its input {i}"));
        let all = match self.op.derivative() {
            Derivative::Elementwise(rules) | Derivative::Each(rules) => {
                let by_rule = |i: usize| rules.get(i).map_or_else(|| without(i), |rule| rule(self));
                return needed.iter().map(|&i| (i, by_rule(i))).collect();
            }
            Derivative::All(rule) => rule(self),
            Derivative::Nowhere => return Vec::new(),
            Derivative::Unwritten => vec![self.fail("has no derivative rule")],
        };
        needed.iter().map(|&i| (i, all.get(i).copied().unwrap_or_else(|| without(i)))).collect()
    }

    /// What a rule gives; where it tells why not, the graph keeps the fault of this node.
    fn attempt(&self, rule: impl FnOnce() -> Result<Expr<'g>, String>) -> Expr<'g> {
        rule().unwrap_or_else(|why| self.fail(&why))
    }

    pub fn fail(&self, why: &str) -> Expr<'g> {
        self.y.graph().fail_at(&self.op.to_string(), self.node.name(), why)
    }

    /// The axis of a softmax, a gather, a concatenation.
    fn axis(&self) -> i64 {
        self.node.int_or("axis", 0)
    }

    /// The axes of a reduction.
    fn axes(&self) -> Vec<i64> {
        let of_input = self.x.get(1).and_then(|axes| axes.constant_ints());
        of_input.unwrap_or_else(|| self.node.ints("axes").unwrap_or_default().to_vec())
    }

    /// How many elements a reduction makes one.
    fn reduced(&self) -> usize {
        self.axes().iter().map(|&axis| self.x[0].dim(axis as usize)).product()
    }

    /// `v`, of a reduction's shape, with the reduced axes as 1: it broadcasts to the input.
    fn kept(&self, v: Expr<'g>) -> Expr<'g> {
        let (axes, shape) = (self.axes(), self.x[0].shape());
        let side = |(axis, d)| if axes.contains(&(axis as i64)) { 1 } else { d };
        v.reshape(&shape.into_iter().enumerate().map(side).collect::<Vec<_>>())
    }

    /// An int64 constant among the operands, as counts.
    fn counts(&self, operand: usize) -> Result<Vec<usize>, String> {
        let ints = self.x.get(operand).and_then(|v| v.constant_ints());
        let ints = ints.ok_or_else(|| format!("input {operand} is not a constant"))?;
        Ok(ints.into_iter().map(|i| i as usize).collect())
    }
}

impl fmt::Display for Differentiable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(op) => op.fmt(f),
            Self::Composite(op) => write!(f, "{op:?}"),
        }
    }
}
