//! Walks over whole models, node after node, that ask [`crate::op`] what each node means: running a model
//! in float64 or float32, telling the types of its values and what it costs, and proving where ONNX
//! Runtime will place its nodes.

mod cost;
pub mod interpreter;
#[cfg(not(target_family = "wasm"))]
pub mod placement;
mod size;
#[cfg(test)]
mod tests;
mod types;

pub use cost::flop;
pub use interpreter::{Interpreter, Values};
pub use size::{check_size, largest};
pub use types::Types;

use crate::onnx::{GraphProto, ModelProto};
use crate::{Error, Result};

fn graph_of(model: &ModelProto) -> Result<&GraphProto> {
    model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))
}

/// The operator set that a model was written for; that of a file that tells none.
fn opset_of(model: &ModelProto) -> i64 {
    model.opset().unwrap_or(1)
}
