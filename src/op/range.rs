//! The range rule of each operator: from what is known of the elements that go in to what is known of
//! those that come out, where float32 computes them without rounding in any order.
//!
//! The rules of numbers, and why they are sound, are those of [`crate::exactness`]. Here stands which of
//! them an operator follows and what must be true of its attributes. Operators for which nothing can be
//! proven are on a list at the end of the match.

mod rules;
#[cfg(test)]
pub(crate) mod tests;

use super::fail;
use crate::exactness::{Interval, LIMIT, Range};
use crate::onnx::{Constants, GraphProto, NodeProto, Operator, is_standard};
use crate::{Error, Result};
use rules::Operands;
use std::collections::HashMap;

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its elements, by channel (axis 1).
    pub range: Range,
    /// Its number of axes.
    pub rank: usize,
    /// It is float32; otherwise it is of integers, whose sums would wrap.
    pub float: bool,
    /// It is int64: places in a list; otherwise, if it is not float32, the image's uint8.
    pub integer: bool,
}

impl Known {
    /// An image of uint8.
    pub fn image(rank: usize) -> Self {
        Self { range: Range::uniform(Interval::PIXELS), rank, float: false, integer: false }
    }

    /// The elements in other places.
    fn moved(&self, rank: usize) -> Self {
        Self { range: self.range.collapse(), rank, ..*self }
    }
}

/// What is known of a graph's values so far.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Those that are known before the graph runs.
    pub constants: Constants<'a>,
    values: HashMap<String, Known>,
    sizes: HashMap<String, Vec<usize>>,
}

impl<'a> Facts<'a> {
    /// A graph's constants, and nothing yet of its inputs and nodes.
    pub fn of(graph: &'a GraphProto) -> Self {
        Self { constants: Constants::of(graph), values: HashMap::new(), sizes: HashMap::new() }
    }

    /// What is known of a value that is not constant.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.values.get(name)
    }

    /// The sizes of a value for one picture, where they were told.
    pub fn sizes(&self, name: &str) -> Option<&[usize]> {
        self.sizes.get(name).map(Vec::as_slice)
    }

    /// Tells the sizes of a value for one picture.
    pub fn tell_sizes(&mut self, name: &str, sizes: Vec<usize>) {
        self.sizes.insert(name.into(), sizes);
    }

    /// Enters an input or a node's first result.
    ///
    /// # Errors
    /// A name that another value has.
    pub fn enter(&mut self, name: &str, known: Known) -> Result<()> {
        if self.constants.has(name) || self.values.insert(name.into(), known).is_some() {
            return Err(Error::invalid(format!("value {name}"), "is made twice"));
        }
        Ok(())
    }
}

/// Whether an operator adds, so that the order might matter.
pub fn accumulates(node: &NodeProto) -> bool {
    use Operator::{Add, AveragePool, Conv, Gemm, MatMul, ReduceSum, Sub, Sum};
    matches!(node.operator(), Some(Add | AveragePool | Conv | Gemm | MatMul | ReduceSum | Sub | Sum))
}

/// What is known of a node's first result.
///
/// # Errors
/// An operator or attributes of which nothing can be proven; a sum that float32 may round, with the
/// channel and the bound.
pub fn range(node: &NodeProto, facts: &Facts<'_>) -> Result<Known> {
    let known = unlimited(node, facts)?;
    let (bound, channel) = known.range.bound();
    if accumulates(node) && bound >= LIMIT {
        let why = format!(
            "the bound Σ|w|·a_max + |b| of channel {channel} is {bound}, not below 2^24 = {LIMIT}: \
             its sums may be rounded, and runtimes may differ; export the tower again"
        );
        return Err(fail(node, why));
    }
    if !known.range.in_float32() {
        return Err(fail(node, "makes numbers that float32 does not hold"));
    }
    Ok(known)
}

/// As [`range`], were float32 to hold every sum.
fn unlimited(node: &NodeProto, facts: &Facts<'_>) -> Result<Known> {
    use Operator::*;
    if !is_standard(node.domain()) {
        return Err(fail(node, "is of a foreign domain, whose arithmetic is unknown"));
    }
    let unproven = || Err(fail(node, "is an operator for which exactness cannot be proven"));
    let Some(operator) = node.operator() else { return unproven() };
    let of = Operands { node, facts };
    match operator {
        Conv => of.conv(),
        Gemm => of.gemm(),
        MatMul => of.matmul(),
        Add | Sum => of.fold(Interval::plus),
        Sub => of.fold(|a, b| a.plus(b.negated())),
        Max => of.fold(Interval::max),
        Min => of.fold(Interval::min),
        Mul => of.multiplied(),
        Div => of.divided(),
        Neg => of.each(Interval::negated),
        Abs => of.each(Interval::abs),
        Relu => of.each(Interval::relu),
        Floor => of.each(|x| x.rounded(f64::floor)),
        Ceil => of.each(|x| x.rounded(f64::ceil)),
        Clip => of.clip(),
        AveragePool => of.average(),
        ReduceSum => of.sum(),
        Gather => of.listed(),
        MaxPool => of.greatest(),
        Pad => of.pad(),
        Concat => of.concat(),
        Cast => of.cast(),
        Dropout => of.dropout(),
        Identity => of.value(0).cloned(),
        Flatten => Ok(of.value(0)?.moved(2)),
        Reshape => Ok(of.value(0)?.moved(of.constant(1)?.len())),
        Transpose | Slice => of.value(0).map(|x| x.moved(x.rank)),
        Squeeze => of.value(0).and_then(|x| Ok(x.moved(x.rank.saturating_sub(of.axes()?)))),
        Unsqueeze => of.value(0).and_then(|x| Ok(x.moved(x.rank + of.axes()?))),
        // Ties go to the even neighbour, but not in every runtime: rten has taken another one. Half a step added
        // before `Floor` has no ties.
        Round => unproven(),
        // Functions of real numbers, which every runtime rounds in its own way.
        Cos | Elu | Erf | Exp | Gelu | HardSigmoid | HardSwish | LeakyRelu | Log | LogSoftmax | Mish
        | PRelu | Pow | Reciprocal | Selu | ReduceLogSumExp | Sigmoid | Sin | Softmax | Softplus
        | Softsign | Sqrt | Tanh => unproven(),
        // Norms and products of values with each other.
        BatchNormalization
        | Einsum
        | GroupNormalization
        | InstanceNormalization
        | LayerNormalization
        | Lrn
        | LpNormalization
        | ReduceL2
        | ReduceProd
        | ReduceSumSquare => unproven(),
        // Sums of as many numbers as the shape tells, which is not followed here.
        ConvTranspose | CumSum | GlobalAveragePool | Mean | ReduceL1 | ReduceMean => unproven(),
        // Moves and choices that no exact tower has.
        DepthToSpace | Expand | GatherElements | GatherNd | GlobalMaxPool | Mod | ScatterNd | TopK
        | Trilu | ReduceMax | ReduceMin | Resize | SpaceToDepth | Split | Tile | Where => unproven(),
        // Their results are no numbers to compute with, or are constants of a kind that is not read.
        And | ArgMax | ArgMin | Constant | ConstantOfShape | Equal | Greater | GreaterOrEqual | Less
        | LessOrEqual | Not | OneHot | Or | Range | Shape | Sign | Size => unproven(),
    }
}
