//! The constants of a graph, as the proof needs them.

use super::proof::{attribute, fail};
use super::range::{Channel, Range, step_of};
use crate::onnx::{GraphProto, NodeProto, data_type, numbers};
use crate::{Error, Result};
use ndarray::{ArrayD, Axis};
use std::collections::HashMap;

/// Initialisers by name, and what a `Cast` makes of them.
pub(super) struct Weights(HashMap<String, ArrayD<f64>>);

impl Weights {
    pub fn of(graph: &GraphProto) -> Result<Self> {
        if !graph.sparse_initializer.is_empty() {
            return Err(Error::invalid("the model", "has sparse weights, which are not read here"));
        }
        let each = graph.initializer.iter().map(|t| Ok((t.name().to_string(), numbers(t)?)));
        Ok(Self(each.collect::<Result<_>>()?))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Follows a cast of a constant to float32; false if its input is no constant.
    pub fn cast(&mut self, node: &NodeProto) -> bool {
        let to_float = attribute(node, "to") == Some(i64::from(data_type::FLOAT));
        let (Some(from), Some(to)) = (node.input.first(), node.output.first()) else { return false };
        match self.0.get(from).filter(|_| to_float).cloned() {
            Some(values) => self.0.insert(to.clone(), values).is_none(),
            None => false,
        }
    }

    /// The weights that each output channel of a `Conv` or `Gemm` is summed with.
    pub fn rows(&self, node: &NodeProto, name: &str) -> Result<Vec<Vec<f64>>> {
        let w = self.get(node, name)?;
        let columns = node.op_type() == "Gemm" && attribute(node, "transB").unwrap_or(0) == 0;
        if node.op_type() == "Gemm" && (w.ndim() != 2 || attribute(node, "transA").unwrap_or(0) != 0) {
            return Err(fail(node, "is not a product of rows with a weight matrix"));
        }
        let rows = if columns { w.view().reversed_axes() } else { w.view() };
        Ok(rows.axis_iter(Axis(0)).map(|row| row.iter().copied().collect()).collect())
    }

    /// All numbers of a constant.
    pub fn vector(&self, node: &NodeProto, name: &str) -> Result<Vec<f64>> {
        Ok(self.get(node, name)?.iter().copied().collect())
    }

    /// Numbers that broadcast over a value of `rank` axes: one for all, or one a channel.
    pub fn per_channel(&self, node: &NodeProto, name: &str, rank: usize) -> Result<Vec<f64>> {
        let constant = self.get(node, name)?;
        let from_end = rank.saturating_sub(1);
        let axes = constant.ndim();
        let varies = |(axis, d): (usize, &usize)| *d != 1 && axes - axis != from_end;
        if axes > rank || constant.shape().iter().enumerate().any(varies) {
            let why = format!("its constant {:?} does not hold one number a channel", constant.shape());
            return Err(fail(node, why));
        }
        Ok(constant.iter().copied().collect())
    }

    /// A constant that is added, as a range.
    pub fn range(&self, node: &NodeProto, name: &str, rank: usize) -> Result<Range> {
        let values = self.per_channel(node, name, rank)?;
        let channel = |x: &f64| match (*x, step_of(*x)) {
            (0.0, _) => Some(Channel::new(0.0, 0.0, 0)),
            (x, step) => Some(Channel::new(x, x, step?)),
        };
        let channels: Option<Vec<Channel>> = values.iter().map(channel).collect();
        Ok(Range::of(channels.ok_or_else(|| fail(node, "adds a number that is not finite"))?, rank))
    }

    fn get(&self, node: &NodeProto, name: &str) -> Result<&ArrayD<f64>> {
        self.0.get(name).ok_or_else(|| fail(node, format!("{name:?} is no constant, so nothing bounds it")))
    }
}

/// Whether a model holds all its weights itself, as a tower must: its SHA-256 is that of one file.
pub(super) fn whole(graph: &GraphProto) -> Result<()> {
    let Some(outside) = graph.initializer.iter().find(|tensor| tensor.data_location == Some(1)) else {
        return Ok(());
    };
    let place = outside.external_data.iter().find(|entry| entry.key.as_deref() == Some("location"));
    let place = place.and_then(|entry| entry.value.as_deref()).unwrap_or("no file is named");
    let why = format!(
        "lies outside the file ({place:?}); a tower holds all its weights: make one of the model with \
         `siamese import`"
    );
    Err(Error::invalid(format!("weight {}", outside.name()), why))
}

/// Whether every weight of a model is a finite number.
///
/// # Errors
/// The first that is not, with the tensor and the place.
pub fn finite(graph: &GraphProto) -> Result<()> {
    for tensor in &graph.initializer {
        let bad = match tensor.data_type() {
            data_type::FLOAT if !tensor.raw_data().is_empty() => {
                let (chunks, _) = tensor.raw_data().as_chunks::<4>();
                chunks.iter().position(|b| !f32::from_le_bytes(*b).is_finite())
            }
            data_type::FLOAT => tensor.float_data.iter().position(|x| !x.is_finite()),
            data_type::DOUBLE | data_type::FLOAT16 => numbers(tensor)?.iter().position(|x| !x.is_finite()),
            _ => None,
        };
        if let Some(i) = bad {
            let why =
                "is not a finite number (NaN or infinite); the training diverged or the file is damaged";
            return Err(Error::invalid(format!("weight {} at {i}", tensor.name()), why));
        }
    }
    Ok(())
}
