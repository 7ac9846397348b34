//! The proof that an exact tower is exact, from its file alone.
//!
//! Every value is followed through the graph as a range: its elements are multiples of 2^step between
//! `low` and `high`, channel by channel. Addition of such numbers in float32 is exact in any order
//! while every partial sum stays below 2²⁴ steps, and for a convolution or product the sum of all
//! magnitudes, `Σ|w|·a_max + |b|`, bounds every partial sum. Scaling by powers of two, `Floor`, `Clip`,
//! maxima and moves change no bit. An operator of any other kind, or a bound that fails, is an error.

use super::range::{Channel, Range};
use super::weights::Weights;
use crate::onnx::{ModelProto, NodeProto, data_type, type_proto};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Sums stay below this many steps: float32 holds every integer up to it.
pub const LIMIT: f64 = (1u64 << 24) as f64;

/// The proven bound of one accumulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerBound {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The greatest `Σ|w|·a_max + |b|` of its channels, in steps; below 2²⁴.
    pub bound: f64,
    /// The channel that has it.
    pub channel: usize,
}

/// Proves that no order of summation can change a bit of the tower's results; gives the bound of each
/// convolution, product and sum.
///
/// # Errors
/// The first node whose bound fails (with the channel and the bound), or that is of a kind for which
/// nothing can be proven; an embedding that is not made of integers in [−127, 127].
pub fn prove(model: &ModelProto) -> Result<Vec<LayerBound>> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
    let mut prover = Prover { weights: Weights::of(graph)?, ranges: HashMap::new(), bounds: Vec::new() };
    for input in graph.input.iter().filter(|i| !prover.weights.has(i.name())) {
        let tensor = match input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
            Some(type_proto::Value::Tensor(tensor)) => tensor,
            _ => return Err(Error::invalid(format!("input {}", input.name()), "is not a tensor")),
        };
        if tensor.elem_type != Some(data_type::UINT8) {
            return Err(Error::invalid(
                format!("input {}", input.name()),
                "is not uint8, so nothing bounds it",
            ));
        }
        let rank = tensor.shape.as_ref().map_or(0, |s| s.dim.len());
        prover.ranges.insert(input.name().into(), Range::uniform(0.0, 255.0, 0, rank));
    }
    for node in &graph.node {
        prover.node(node)?;
    }
    for output in &graph.output {
        prover.embedding(output.name())?;
    }
    Ok(prover.bounds)
}

struct Prover {
    weights: Weights,
    ranges: HashMap<String, Range>,
    bounds: Vec<LayerBound>,
}

impl Prover {
    fn node(&mut self, node: &NodeProto) -> Result<()> {
        if !matches!(node.domain.as_deref(), None | Some("" | "ai.onnx")) {
            return Err(fail(node, "is of a foreign domain, whose arithmetic is unknown"));
        }
        let output = node.output.first().cloned().unwrap_or_default();
        if node.op_type() == "Cast" && self.weights.cast(node) {
            return Ok(());
        }
        let range = match node.op_type() {
            "Conv" | "Gemm" => self.product(node)?,
            "Mul" => self.scale(node)?,
            "Add" => self.sum(node)?,
            "Floor" => self.input(node)?.map(Channel::floor),
            "Relu" => self.input(node)?.map(|c| c.clip(0.0, f64::INFINITY)),
            "Clip" => self.clip(node)?,
            "AveragePool" => self.average(node)?,
            "Pad" => self.pad(node)?,
            "MaxPool" | "Identity" => self.input(node)?,
            "Flatten" if attribute(node, "axis").unwrap_or(1) == 1 => self.input(node)?.collapse(2),
            "Cast" if attribute(node, "to") == Some(i64::from(data_type::FLOAT)) => self.input(node)?,
            _ => return Err(fail(node, "is an operator for which exactness cannot be proven")),
        };
        self.ranges.insert(output, range);
        Ok(())
    }

    /// The range of the first input.
    fn input(&self, node: &NodeProto) -> Result<Range> {
        let name = node.input.first().map_or("", String::as_str);
        self.range(node, name).cloned()
    }

    fn range(&self, node: &NodeProto, name: &str) -> Result<&Range> {
        self.ranges
            .get(name)
            .ok_or_else(|| fail(node, format!("its input {name} comes from no node before it")))
    }

    /// `Conv` and `Gemm` with constant weights.
    fn product(&mut self, node: &NodeProto) -> Result<Range> {
        let name = |i: usize| node.input.get(i).map_or("", String::as_str);
        let x = self.input(node)?;
        let rows = self.weights.rows(node, name(1))?;
        let bias = if name(2).is_empty() { None } else { Some(self.weights.vector(node, name(2))?) };
        if bias.as_ref().is_some_and(|b| b.len() != rows.len()) {
            return Err(fail(
                node,
                format!("its bias does not have one number for each of {} channels", rows.len()),
            ));
        }
        for factor in ["alpha", "beta"] {
            if node
                .attribute
                .iter()
                .any(|a| a.name.as_deref() == Some(factor) && a.f.is_some_and(|f| f != 1.0))
            {
                return Err(fail(node, format!("scales by {factor}")));
            }
        }
        let x = if attribute(node, "group").unwrap_or(1) == 1 { x } else { x.collapse(x.rank) };
        let inputs = x.inputs();
        let mut channels = Vec::with_capacity(rows.len());
        for (c, row) in rows.iter().enumerate() {
            let b = bias.as_ref().map_or(0.0, |b| b[c]);
            let channel = Channel::product(row, &inputs, b).ok_or_else(|| {
                fail(node, format!("the weights of channel {c} are not finite, or do not fit the input"))
            })?;
            channels.push(channel);
        }
        self.bounded(node, Range::of(channels, x.rank))
    }

    /// Notes the greatest bound, which must be below [`LIMIT`].
    fn bounded(&mut self, node: &NodeProto, range: Range) -> Result<Range> {
        let (mut bound, mut channel) = (0.0, 0);
        for (c, one) in range.channels().iter().enumerate() {
            if one.steps() > bound {
                (bound, channel) = (one.steps(), c);
            }
        }
        if bound >= LIMIT {
            let why = format!(
                "the bound Σ|w|·a_max + |b| of channel {channel} is {bound}, not below 2^24 = {LIMIT}: \
                 its sums may be rounded, and runtimes may differ; export the tower again"
            );
            return Err(fail(node, why));
        }
        let (name, op) = (node.name().to_string(), node.op_type().to_string());
        self.bounds.push(LayerBound { node: name, op, bound, channel });
        Ok(range)
    }

    /// `Mul` by powers of two.
    fn scale(&self, node: &NodeProto) -> Result<Range> {
        let name = |i: usize| node.input.get(i).map_or("", String::as_str);
        let (x, factor) = if self.weights.has(name(0)) { (name(1), name(0)) } else { (name(0), name(1)) };
        let x = self.range(node, x)?;
        let factors = self.weights.per_channel(node, factor, x.rank)?;
        let exponents: Option<Vec<i32>> = factors.iter().map(|f| super::range::power_of_two(*f)).collect();
        let exponents =
            exponents.ok_or_else(|| fail(node, "multiplies by a number that is no power of two"))?;
        let scaled = x.scaled(&exponents).ok_or_else(|| fail(node, "its factors do not fit the channels"))?;
        // Far from where float32 loses digits at the bottom or overflows at the top.
        match scaled.channels().iter().all(|c| c.step > -100 && c.magnitude < 2f64.powi(100)) {
            true => Ok(scaled),
            false => Err(fail(node, "scales to numbers that float32 does not hold")),
        }
    }

    fn sum(&mut self, node: &NodeProto) -> Result<Range> {
        let [a, b] = node.input.as_slice() else { return Err(fail(node, "does not have two inputs")) };
        let (a, b) = if self.weights.has(a) { (b, a) } else { (a, b) };
        let a = self.range(node, a)?;
        let b =
            if self.weights.has(b) { &self.weights.range(node, b, a.rank)? } else { self.range(node, b)? };
        let sum = a.sum(b).ok_or_else(|| fail(node, "its inputs differ in their channels"))?;
        self.bounded(node, sum)
    }

    fn clip(&self, node: &NodeProto) -> Result<Range> {
        let mut edges = [f64::NEG_INFINITY, f64::INFINITY];
        for (i, edge) in edges.iter_mut().enumerate() {
            if let Some(name) = node.input.get(i + 1).filter(|n| !n.is_empty()) {
                match self.weights.vector(node, name)?.as_slice() {
                    [x] if x.fract() == 0.0 => *edge = *x,
                    _ => return Err(fail(node, "clips at an edge that is not one integer")),
                }
            }
        }
        Ok(self.input(node)?.map(|c| c.clip(edges[0], edges[1])))
    }

    /// The mean of 2^k numbers: their sum has to be exact.
    fn average(&mut self, node: &NodeProto) -> Result<Range> {
        let window: i64 = ints(node, "kernel_shape").iter().product();
        let padded = ints(node, "pads").iter().any(|p| *p != 0) || attribute(node, "ceil_mode") == Some(1);
        let shift = super::range::power_of_two(window as f64);
        let Some(shift) = shift.filter(|_| !padded) else {
            return Err(fail(
                node,
                format!("averages {window} numbers, or padding: the mean may be rounded"),
            ));
        };
        let sums = self.input(node)?.map(|c| c.times(window as f64));
        let sums = self.bounded(node, sums)?;
        Ok(sums.map(|c| c.scaled(-shift)))
    }

    fn pad(&self, node: &NodeProto) -> Result<Range> {
        let fill = match node.input.get(2).filter(|n| !n.is_empty()) {
            Some(name) => self.weights.vector(node, name)?,
            None => vec![0.0],
        };
        if fill != [0.0] {
            return Err(fail(node, "pads with another number than 0"));
        }
        Ok(self.input(node)?.map(Channel::with_zero))
    }

    fn embedding(&self, name: &str) -> Result<()> {
        let at = format!("output {name}");
        let range = self.ranges.get(name).ok_or_else(|| Error::invalid(&at, "comes from no node"))?;
        match range.channels().iter().find(|c| c.low < -127.0 || c.high > 127.0 || c.step < 0) {
            None => Ok(()),
            Some(c) => {
                let why = format!(
                    "holds multiples of 2^{} in [{}, {}], not integers in [-127, 127]",
                    c.step, c.low, c.high
                );
                Err(Error::invalid(at, why))
            }
        }
    }
}

/// An error about a node.
pub(super) fn fail(node: &NodeProto, why: impl std::fmt::Display) -> Error {
    Error::Graph { op: node.op_type().into(), node: node.name().into(), why: why.to_string() }
}

pub(super) fn attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name.as_deref() == Some(name))?.i
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    node.attribute.iter().find(|a| a.name.as_deref() == Some(name)).map_or(&[], |a| &a.ints)
}
