//! The float graph as this room sees it: few kinds of values, each with a static shape for one picture.

use crate::onnx::{AttributeProto, NodeProto, Operator};
use std::sync::Arc;

/// The place of a value in [`FloatGraph::values`].
pub(super) type Id = usize;

/// A float tower for one picture; values stand in the order in which they are computed.
pub(super) struct FloatGraph {
    pub values: Vec<Value>,
    /// The embedding, without what only scales its row.
    pub output: Id,
    /// Whether rows were brought to unit length, which cosines do not see.
    pub normalised: bool,
}

/// A value of the float graph.
pub(super) struct Value {
    /// Its name there.
    pub name: String,
    /// Its sizes for one picture.
    pub shape: Vec<usize>,
    pub op: Op,
    /// The node that makes it; none for the image.
    pub node: Option<NodeProto>,
}

/// How a value comes about.
pub(super) enum Op {
    /// The pixels, 0–255.
    Image,
    /// `scale·x + shift`, each one number, or one a channel.
    Affine { x: Id, scale: Vec<f64>, shift: Vec<f64> },
    /// A convolution, or a product with a matrix.
    Product { x: Id, product: Arc<Product> },
    /// `min(max(x, low), high)`.
    Limit { x: Id, low: f64, high: f64 },
    /// A sum of values, each taken 1 or −1 times.
    Add { terms: Vec<(Id, f64)> },
    /// The product of two values, of which the second may have one number a channel.
    Mul { a: Id, b: Id },
    /// A function of each element alone, computed from `root` by elementwise nodes.
    Function { root: Id },
    /// `x`, or `slope·x` below 0: one slope, or one a channel.
    Leaky { x: Id, slopes: Vec<f64> },
    /// Means of windows.
    Mean { x: Id, window: Window },
    /// Elements in other places, or the greatest of some: a node that integers go through as floats do.
    Move { inputs: Vec<Id>, moved: Moved },
    /// The channels in another order: channel `i` of this is channel `order[i]` of x.
    Permuted { x: Id, order: Vec<usize> },
    /// What has no exact form, with the reason.
    Opaque { inputs: Vec<Id>, why: String },
}

/// The weights of a convolution, or of a matrix (a kernel of one pixel on rows).
pub(super) struct Product {
    /// `[O, I / groups · kh · kw]`, row by row.
    pub weights: Vec<f32>,
    /// `[O, I / groups, kh, kw]` or `[O, I]`.
    pub shape: Vec<usize>,
    pub bias: Vec<f64>,
    pub groups: usize,
    /// Of a convolution: strides, pads (top, left, bottom, right) and dilations.
    pub conv: Option<[Vec<i64>; 3]>,
}

impl Product {
    /// O.
    pub fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// The weights of an output.
    pub fn row(&self, output: usize) -> &[f32] {
        let each = self.weights.len() / self.outputs().max(1);
        &self.weights[output * each..][..each]
    }

    /// Elements of the kernel for each channel that goes in.
    pub fn taps(&self) -> usize {
        self.shape[2..].iter().product()
    }

    /// The first channel that an output sees; it sees `shape[1]` of them.
    pub fn first_input(&self, output: usize) -> usize {
        output / (self.outputs() / self.groups).max(1) * self.shape[1]
    }

    /// Whether its windows reach beyond the image.
    pub fn pads(&self) -> bool {
        self.conv.as_ref().is_some_and(|[_, pads, _]| pads.iter().any(|p| *p != 0))
    }
}

/// A node that moves elements, in opset 17: its operator, its attributes, and the lists that it takes after its
/// values.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Moved {
    pub operator: Operator,
    pub attributes: Vec<AttributeProto>,
    pub lists: Vec<Vec<i64>>,
}

/// The windows of a mean.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Window {
    /// All pixels of a channel; whether their axes are kept.
    All { kept: bool },
    /// Kernel, strides and pads (top, left, bottom, right), whose zeros count.
    Tiles([Vec<i64>; 3]),
}

impl Op {
    /// The values that it is computed from.
    pub fn inputs(&self) -> Vec<Id> {
        match self {
            Self::Image => Vec::new(),
            Self::Affine { x, .. }
            | Self::Product { x, .. }
            | Self::Limit { x, .. }
            | Self::Leaky { x, .. }
            | Self::Mean { x, .. }
            | Self::Permuted { x, .. } => vec![*x],
            Self::Function { root } => vec![*root],
            Self::Mul { a, b } => vec![*a, *b],
            Self::Add { terms } => terms.iter().map(|(x, _)| *x).collect(),
            Self::Move { inputs, .. } | Self::Opaque { inputs, .. } => inputs.clone(),
        }
    }
}

impl FloatGraph {
    /// The values that the output needs, and how often each is taken.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        uses[self.output] = 1;
        for id in (0..self.values.len()).rev().filter(|&id| id <= self.output) {
            if uses[id] > 0 {
                self.values[id].op.inputs().iter().for_each(|&input| uses[input] += 1);
            }
        }
        uses
    }

    /// C, or the columns of rows.
    pub fn channels(&self, id: Id) -> usize {
        self.values[id].shape.get(1).copied().unwrap_or(1)
    }
}
