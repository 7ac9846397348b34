//! Reverse-mode differentiation, graph → graph: the walk. The rules are in `vjp`.
//!
//! The walk alone accumulates and un-broadcasts. A cotangent may be smaller than its value as long
//! as it broadcasts to it: the derivative of a mean stays small until an operator needs it in full.

use super::builder::{Flow, Graph, Node, Value};
use super::{DType, vjp};
use crate::{Error, Result};
use std::collections::HashMap;

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
    /// A matrix product an image over columns made of slices, summed over the batch: about twice as
    /// fast on ONNX Runtime's CPU provider.
    #[default]
    Cpu,
}

/// Appends the derivatives of the scalar `loss` with respect to `wrt`; each has the shape of its
/// value, zeros where the loss does not depend on it.
///
/// # Errors
/// A loss that is not one float, or an operator on the way without a rule.
pub fn gradients(g: &mut Graph, loss: Value, wrt: &[Value], how: GradOptions) -> Result<Vec<Value>> {
    if !g.dtype(loss).is_float() || g.shape(loss).iter().product::<usize>() != 1 {
        return Err(Error::Graph {
            op: "gradients".into(),
            node: "loss".into(),
            why: format!("a loss is one float, this is {:?} {:?}", g.dtype(loss), g.shape(loss)),
        });
    }
    let mut walk = Walk { on_path: on_path(g, wrt), cotangents: HashMap::new(), how };
    let one = g.scalar(1.0);
    walk.cotangents.insert(loss, one);
    let outer = g.scope("grad");
    let result = walk.run(g, loss, wrt);
    g.set_scope(outer);
    result
}

struct Walk {
    /// Nodes whose result depends on a value of interest.
    on_path: Vec<bool>,
    cotangents: HashMap<Value, Value>,
    how: GradOptions,
}

impl Walk {
    fn run(&mut self, g: &mut Graph, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
        let last = g.producer(loss).map_or(0, |index| index + 1);
        for index in (0..last).rev().filter(|&i| self.on_path[i]).collect::<Vec<_>>() {
            let node = g.nodes()[index].clone();
            // A value of interest keeps its cotangent; an inner one is done with after its node.
            if let Some(&dy) = self.cotangents.get(&node.output) {
                self.step(g, &node, dy)?;
            }
        }
        wrt.iter().map(|v| self.result(g, *v)).collect()
    }

    fn step(&mut self, g: &mut Graph, node: &Node, dy: Value) -> Result<()> {
        match node.flow {
            Flow::Stop => return Ok(()),
            Flow::StraightThrough => return self.accumulate(g, node, node.inputs[0], dy),
            Flow::Rule => {}
        }
        let needed: Vec<bool> = node.inputs.iter().map(|v| self.is_needed(g, *v)).collect();
        let dy = self.fit(g, node, dy, &needed)?;
        let call = vjp::Call { node, dy, needed: &needed, how: self.how };
        let inputs = vjp::apply(g, &call)?;
        for (input, cotangent) in node.inputs.iter().zip(inputs) {
            if let Some(cotangent) = cotangent {
                self.accumulate(g, node, *input, cotangent)?;
            }
        }
        Ok(())
    }

    /// Inputs that a value of interest reaches, or is.
    fn is_needed(&self, g: &Graph, v: Value) -> bool {
        g.dtype(v).is_float() && (g.producer(v).is_some_and(|i| self.on_path[i]) || self.wanted(g, v))
    }

    fn wanted(&self, g: &Graph, v: Value) -> bool {
        // `on_path` is extended by one flag a value after those of the nodes; see `on_path`.
        self.on_path[g.nodes_before_walk(self.on_path.len(), v)]
    }

    /// The cotangent in the shape that the rule needs.
    fn fit(&self, g: &mut Graph, node: &Node, dy: Value, needed: &[bool]) -> Result<Value> {
        let shape = g.shape(node.output).to_vec();
        let shrinks = node.inputs.iter().zip(needed).any(|(v, n)| *n && g.shape(*v) != shape);
        if vjp::is_elementwise(node.op) && !shrinks { Ok(dy) } else { g.expand(dy, &shape) }
    }

    /// Adds a cotangent to what a value has; sums over axes along which the value was broadcast.
    fn accumulate(&mut self, g: &mut Graph, node: &Node, v: Value, cotangent: Value) -> Result<()> {
        let cotangent = unbroadcast(g, cotangent, v)?;
        debug_assert_eq!(g.dtype(cotangent), DType::F32, "{}", node.name);
        let sum = match self.cotangents.get(&v) {
            Some(&earlier) => g.add(earlier, cotangent)?,
            None => cotangent,
        };
        self.cotangents.insert(v, sum);
        Ok(())
    }

    fn result(&self, g: &mut Graph, v: Value) -> Result<Value> {
        let shape = g.shape(v).to_vec();
        let cotangent = self.cotangents.get(&v).copied().unwrap_or_else(|| g.scalar(0.0));
        g.expand(cotangent, &shape)
    }
}
