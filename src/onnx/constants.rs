//! What a graph knows before it runs.

use super::{GraphProto, NodeProto, Operator, TensorProto, data_type, floats, numbers};
use crate::Result;
use ndarray::ArrayD;
use std::collections::HashMap;

/// The constants of a graph by name: initialisers, `Constant` nodes that hold a tensor, and what a
/// `Cast` to float32 makes of them. Their numbers are read when they are asked for.
#[derive(Debug)]
pub struct Constants<'a>(HashMap<&'a str, Constant<'a>>);

#[derive(Clone, Copy, Debug)]
struct Constant<'a> {
    tensor: &'a TensorProto,
    /// Rounded to float32.
    cast: bool,
}

impl<'a> Constants<'a> {
    /// The initialisers.
    pub fn of(graph: &'a GraphProto) -> Self {
        let each = graph.initializer.iter().map(|t| (t.name(), Constant { tensor: t, cast: false }));
        Self(each.collect())
    }

    /// Adds what a node makes, where that is constant; false where it is not.
    pub fn follow(&mut self, node: &'a NodeProto) -> bool {
        let made = match node.operator() {
            Some(Operator::Constant) => node.tensor("value").map(|tensor| Constant { tensor, cast: false }),
            Some(Operator::Cast) if node.int("to") == Some(i64::from(data_type::FLOAT)) => {
                let from = node.input_name(0).and_then(|name| self.0.get(name));
                from.map(|from| Constant { cast: true, ..*from })
            }
            _ => None,
        };
        let (Some(made), [name]) = (made, node.output.as_slice()) else { return false };
        self.0.insert(name, made);
        true
    }

    /// Whether a value is constant.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The numbers of a constant; none if the value is not constant.
    ///
    /// # Errors
    /// A tensor that cannot be read: its data are elsewhere, or do not fill its shape.
    pub fn get(&self, name: &str) -> Result<Option<ArrayD<f64>>> {
        let Some(Constant { tensor, cast }) = self.0.get(name) else { return Ok(None) };
        let mut read = numbers(tensor)?;
        if *cast {
            read.mapv_inplace(|x| f64::from(x as f32));
        }
        Ok(Some(read))
    }

    /// The same rounded to float32.
    ///
    /// # Errors
    /// As [`Constants::get`].
    pub fn floats(&self, name: &str) -> Result<Option<ArrayD<f32>>> {
        self.0.get(name).map(|constant| floats(constant.tensor)).transpose()
    }
}
