//! Reverse-mode differentiation, graph → graph: the walk. The rules are in `vjp`.
//!
//! The walk alone accumulates and un-broadcasts. A cotangent may be smaller than its value as long
//! as it broadcasts to it: the derivative of a mean stays small until an operator needs it in full.

use super::builder::{Flow, Graph, Node, Value};
use super::{DType, vjp};
use crate::{Error, Result};
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
    let mut walk = Walk { depends: dependents(g, wrt), cotangents: HashMap::new(), how };
    let one = g.scalar(1.0);
    walk.cotangents.insert(loss, one);
    let outer = g.scope("grad");
    let result = walk.run(g, loss, wrt);
    g.set_scope(outer);
    result
}

/// The values of interest and all that derivatives reach from them.
fn dependents(g: &Graph, wrt: &[Value]) -> HashSet<Value> {
    let mut depends: HashSet<Value> = wrt.iter().copied().collect();
    for node in g.nodes().iter().map(Node::differentiated) {
        let flows = match node.flow {
            Flow::Stop => false,
            Flow::StraightThrough => true,
            Flow::Rule => !vjp::NON_DIFFERENTIABLE.contains(&node.op) && g.dtype(node.output).is_float(),
        };
        if flows && node.inputs.iter().any(|v| depends.contains(v)) {
            depends.insert(node.output);
        }
    }
    depends
}

struct Walk {
    depends: HashSet<Value>,
    cotangents: HashMap<Value, Value>,
    how: GradOptions,
}

impl Walk {
    fn run(&mut self, g: &mut Graph, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
        let end = g.producer(loss).map_or(0, |index| index + 1);
        for index in (0..end).rev() {
            let node = g.nodes()[index].differentiated();
            if !node.inputs.iter().any(|v| self.depends.contains(v)) {
                continue;
            }
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
        let dy = fit(g, node, dy, &needed)?;
        let call = vjp::Call { node, dy, needed: &needed, how: self.how };
        for (input, cotangent) in vjp::apply(g, &call)? {
            self.accumulate(g, node, node.inputs[input], cotangent)?;
        }
        Ok(())
    }

    fn is_needed(&self, g: &Graph, v: Value) -> bool {
        g.dtype(v).is_float() && self.depends.contains(&v)
    }

    /// Adds a cotangent to what a value has; sums over axes along which the value was broadcast.
    fn accumulate(&mut self, g: &mut Graph, node: &Node, v: Value, cotangent: Value) -> Result<()> {
        let cotangent = unbroadcast(g, cotangent, v)?;
        if g.dtype(cotangent) != g.dtype(v) {
            let why = format!("the derivative is {:?}, its value {:?}", g.dtype(cotangent), g.dtype(v));
            return Err(Error::Graph { op: node.op.into(), node: node.name.clone(), why });
        }
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

/// The cotangent in the shape that the rule needs: in full, unless every operand has the result's
/// shape, so that the rule works on each element alone.
fn fit(g: &mut Graph, node: &Node, dy: Value, needed: &[bool]) -> Result<Value> {
    let shape = g.shape(node.output).to_vec();
    let shrinks = node.inputs.iter().zip(needed).any(|(v, n)| *n && g.shape(*v) != shape);
    if vjp::is_elementwise(node.op) && !shrinks { Ok(dy) } else { g.expand(dy, &shape) }
}

/// Sums a cotangent over the axes along which `v` was broadcast.
fn unbroadcast(g: &mut Graph, cotangent: Value, v: Value) -> Result<Value> {
    let (have, want) = (g.shape(cotangent).to_vec(), g.shape(v).to_vec());
    let extra = have.len().saturating_sub(want.len());
    let axes: Vec<i64> = (0..have.len())
        .filter(|&axis| axis < extra || (have[axis] != 1 && want[axis - extra] == 1))
        .map(|axis| axis as i64)
        .collect();
    if axes.is_empty() {
        return Ok(cotangent);
    }
    let sum = if axes == [0, 1, 2] && have.len() == 4 && g.dtype(cotangent) == DType::F32 {
        g.channel_sums(cotangent)?
    } else {
        g.reduce_sum(cotangent, &axes, true)?
    };
    let kept = g.shape(sum)[extra..].to_vec();
    g.reshape(sum, &kept)
}
