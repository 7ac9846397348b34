//! Reverse-mode differentiation, graph → graph: the walk. The rules are in `vjp`.
//!
//! The walk alone accumulates and un-broadcasts. A cotangent may be smaller than its value as long
//! as it broadcasts to it: the derivative of a mean stays small until an operator needs it in full.

use super::DType;
use super::builder::{Flow, Graph, Id, Node};
use super::expr::Expr;
use super::vjp::{Call, Derivative, Differentiable};
use crate::onnx::NodeProto;
use std::collections::{HashMap, HashSet};

/// Choices among equal derivatives of different speed.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradOptions {
    /// How the weight gradient of a convolution is computed.
    pub conv_weight: ConvWeightGrad,
}

/// Two lowerings of `dW[f, c, i, j] = Σ dY[n, f, y, x] · X[n, c, y·s + i·d, x·s + j·d]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvWeightGrad {
    /// A convolution with batch and channel axes swapped: one kernel on CUDA.
    Swapped,
    /// A matrix product an image over columns, summed over the batch: about twice as fast on ONNX
    /// Runtime's CPU provider.
    #[default]
    Cpu,
}

/// Appends the derivatives of the scalar `loss` with respect to `wrt`; each has the shape of its
/// value, zeros where the loss does not depend on it. A loss that is not one float, or an operator on the
/// way without a rule, is a fault of the graph.
pub fn gradients<'g>(loss: Expr<'g>, wrt: &[Expr<'g>], how: GradOptions) -> Vec<Expr<'g>> {
    let g = loss.graph();
    if !loss.dtype().is_float() || loss.count() != 1 {
        let why = format!("a loss is one float, this is {:?} {:?}", loss.dtype(), loss.shape());
        g.fail_at("gradients", "loss", why);
    }
    let ids: Option<Vec<Id>> = wrt.iter().map(|v| g.id(*v)).collect();
    let (Some(end), Some(ids)) = (g.id(loss), ids) else { return vec![Expr::nothing(g); wrt.len()] };
    let cotangents = HashMap::from([(end, g.scalar(1.0))]);
    let nodes = seen(g);
    let mut walk = Walk { g, depends: dependents(&nodes, &ids), cotangents, how };
    g.within("grad", || {
        walk.run(&nodes, end);
        wrt.iter().map(|v| walk.result(*v)).collect()
    })
}

fn seen(g: &Graph) -> Vec<Seen> {
    let state = g.state.borrow();
    state.nodes.iter().map(|node| Seen::of(node, state.values[node.output.0].dtype)).collect()
}

/// The values of interest and all that derivatives reach from them.
fn dependents(nodes: &[Seen], wrt: &[Id]) -> HashSet<Id> {
    let mut depends: HashSet<Id> = wrt.iter().copied().collect();
    for node in nodes {
        if node.passes && node.inputs.iter().any(|v| depends.contains(v)) {
            depends.insert(node.output);
        }
    }
    depends
}

/// A node as derivatives see it: itself, or the operator whose last node it is.
struct Seen {
    op: Differentiable,
    inputs: Vec<Id>,
    saved: Vec<Id>,
    output: Id,
    flow: Flow,
    /// Whether derivatives pass it at all.
    passes: bool,
    /// Name and attributes.
    proto: NodeProto,
}

impl Seen {
    fn of(node: &Node, result: DType) -> Self {
        let op = Differentiable::of(node);
        let (inputs, saved, attributes) = match &node.whole {
            None => (node.inputs.clone(), Vec::new(), &node.proto.attribute),
            Some(whole) => (whole.inputs.clone(), whole.saved.clone(), &whole.attributes),
        };
        let proto = NodeProto { attribute: attributes.clone(), ..node.proto.clone() };
        let passes = match node.flow {
            Flow::Stop => false,
            Flow::StraightThrough => true,
            Flow::Rule => result.is_float() && !matches!(op.derivative(), Derivative::Nowhere),
        };
        Self { op, inputs, saved, output: node.output, flow: node.flow, passes, proto }
    }
}

struct Walk<'g> {
    g: &'g Graph,
    depends: HashSet<Id>,
    cotangents: HashMap<Id, Expr<'g>>,
    how: GradOptions,
}

impl<'g> Walk<'g> {
    /// From the loss back; stops at a fault.
    fn run(&mut self, nodes: &[Seen], loss: Id) {
        let end = nodes.iter().position(|node| node.output == loss).map_or(0, |place| place + 1);
        for node in nodes[..end].iter().rev() {
            let reached = self.cotangents.get(&node.output).copied();
            let Some(dy) = reached.filter(|_| node.inputs.iter().any(|v| self.depends.contains(v))) else {
                continue;
            };
            if self.g.is_faulty() {
                return;
            }
            self.step(node, dy);
        }
    }

    fn step(&mut self, node: &Seen, dy: Expr<'g>) {
        let [x, saved] =
            [&node.inputs, &node.saved].map(|ids| ids.iter().map(|id| Expr::new(self.g, *id)).collect());
        let y = Expr::new(self.g, node.output);
        let mut call = Call { op: node.op, node: node.proto.clone(), x, saved, y, dy, how: self.how };
        let cotangents = match node.flow {
            Flow::Stop => Vec::new(),
            Flow::StraightThrough => vec![(0, dy)],
            Flow::Rule => {
                let needed: Vec<usize> = (0..call.x.len()).filter(|&i| self.is_needed(call.x[i])).collect();
                call.dy = fit(&call, &needed);
                call.cotangents(&needed)
            }
        };
        for (i, cotangent) in cotangents {
            self.accumulate(&call, call.x[i], cotangent);
        }
    }

    fn is_needed(&self, v: Expr<'g>) -> bool {
        v.dtype().is_float() && v.id().is_some_and(|id| self.depends.contains(&id))
    }

    /// Adds a cotangent to what a value has; sums over axes along which the value was broadcast.
    fn accumulate(&mut self, call: &Call<'g>, v: Expr<'g>, cotangent: Expr<'g>) {
        let cotangent = unbroadcast(cotangent, v);
        if cotangent.dtype() != v.dtype() {
            call.fail(&format!("the derivative is {:?}, its value {:?}", cotangent.dtype(), v.dtype()));
        }
        let Some(id) = v.id() else { return };
        let earlier = self.cotangents.get(&id);
        let sum = earlier.map_or(cotangent, |earlier| *earlier + cotangent);
        self.cotangents.insert(id, sum);
    }

    fn result(&self, v: Expr<'g>) -> Expr<'g> {
        let cotangent = v.id().and_then(|id| self.cotangents.get(&id).copied());
        cotangent.unwrap_or_else(|| self.g.scalar(0.0)).expand(&v.shape())
    }
}

/// The cotangent in the shape that the rule needs: in full, unless every operand has the result's
/// shape, so that the rule works on each element alone.
fn fit<'g>(call: &Call<'g>, needed: &[usize]) -> Expr<'g> {
    let shape = call.y.shape();
    let small = matches!(call.op.derivative(), Derivative::Elementwise(_))
        && needed.iter().all(|&i| call.x[i].shape() == shape);
    if small { call.dy } else { call.dy.expand(&shape) }
}

/// Sums a cotangent over the axes along which `v` was broadcast.
fn unbroadcast<'g>(cotangent: Expr<'g>, v: Expr<'g>) -> Expr<'g> {
    let (have, want) = (cotangent.shape(), v.shape());
    let extra = have.len().saturating_sub(want.len());
    let axes: Vec<i64> = (0..have.len())
        .filter(|&axis| axis < extra || (have[axis] != 1 && want[axis - extra] == 1))
        .map(|axis| axis as i64)
        .collect();
    if axes.is_empty() {
        return cotangent;
    }
    let sum = if axes == [0, 1, 2] && have.len() == 4 && cotangent.dtype() == DType::F32 {
        cotangent.channel_sums()
    } else {
        cotangent.sum_kept(&axes)
    };
    sum.reshape(&sum.shape().split_off(extra))
}
