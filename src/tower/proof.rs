//! The proof that an exact tower is exact, from its file alone.
//!
//! A walk over the graph that asks for each node what is known of its result ([`crate::op::range`]): its
//! elements are multiples of a power of two between two numbers, channel by channel, and no order of
//! summation rounds ([`crate::exactness`] says why). An operator of which nothing can be proven, or a
//! bound that fails, is an error.

use super::contract;
use crate::exactness::ACTIVATION_MAX;
use crate::onnx::{ModelProto, NodeProto, ValueInfoProto, data_type};
use crate::op::range::{Facts, Known, accumulates, range};
use crate::op::{Dim, Type};
use crate::walk::Types;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

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
/// convolution, product, sum and mean.
///
/// # Errors
/// The first node whose bound fails (with the channel and the bound), or that is of a kind for which
/// nothing can be proven; an embedding that is not made of integers in [−127, 127].
pub fn prove(model: &ModelProto) -> Result<Vec<LayerBound>> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::invalid("the model", "has sparse weights, which are not read here"));
    }
    let mut facts = Facts::of(graph);
    for input in contract::inputs(graph) {
        facts.enter(input.name(), image(input)?)?;
    }
    let mut bounds = Vec::new();
    let mut types = Types::at_entry(model, &one_picture);
    for node in &graph.node {
        // Nothing is known of the sizes behind a node that does not fit its inputs; its rule may refuse it.
        let _ = types.follow(node);
        for name in &node.input {
            if let Some(sizes) = types.get(name).and_then(Type::sizes) {
                facts.tell_sizes(name, sizes);
            }
        }
        if facts.constants.follow(node) {
            continue;
        }
        let known = range(node, &facts)?;
        if accumulates(node) {
            bounds.push(bound(node, &known));
        }
        facts.enter(node.output.first().map_or("", String::as_str), known)?;
    }
    for output in &graph.output {
        embedding(&facts, output.name())?;
    }
    Ok(bounds)
}

/// The type of an input whose batch is one picture.
fn one_picture(input: &ValueInfoProto) -> Type {
    let one = |axis: usize, _: Option<&str>| if axis == 0 { Dim::from(1) } else { Dim::Unknown };
    input.r#type.as_ref().map_or_else(Type::default, |proto| Type::of_proto(proto, one))
}

fn image(input: &ValueInfoProto) -> Result<Known> {
    let (kind, shape) = contract::tensor(input)?;
    if kind != data_type::UINT8 {
        let why = "is not uint8, so nothing bounds it";
        return Err(Error::invalid(format!("input {}", input.name()), why));
    }
    Ok(Known::image(shape.len()))
}

fn bound(node: &NodeProto, known: &Known) -> LayerBound {
    let (bound, channel) = known.range.bound();
    LayerBound { node: node.name().into(), op: node.op_type().into(), bound, channel }
}

fn embedding(facts: &Facts<'_>, name: &str) -> Result<()> {
    let at = format!("output {name}");
    let known = facts.get(name).ok_or_else(|| Error::invalid(&at, "comes from no node"))?;
    let outside = |low: f64, high: f64| low < -ACTIVATION_MAX || high > ACTIVATION_MAX;
    match known.range.channels().iter().find(|c| c.step < 0 || outside(c.low, c.high)) {
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
