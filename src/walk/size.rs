//! How large the values inside a model become.

use super::types::Types;
use crate::onnx::{ModelProto, NodeProto};
use crate::{Error, Result};

/// The most numbers of a value inside a model, for one picture: a gigabyte in float32.
const MOST: usize = 1 << 28;

/// Refuses a model of which a value inside is too large for one picture, as far as sizes can be told: a
/// runtime would take memory without bounds.
///
/// # Errors
/// Naming the node.
pub fn check_size(model: &ModelProto) -> Result<()> {
    // What does not fit together is the runtime's to refuse.
    let Ok(types) = Types::with_batch(model, 1) else { return Ok(()) };
    let numbers = |name: &String| {
        let shape = types.get(name)?.shape.as_ref()?;
        shape.iter().try_fold(1_usize, |count, dim| dim.size().map(|size| count.saturating_mul(size)))
    };
    let too_large = |node: &&NodeProto| node.output.iter().filter_map(numbers).any(|count| count > MOST);
    match model.graph.iter().flat_map(|graph| &graph.node).find(too_large) {
        None => Ok(()),
        Some(node) => {
            let count = node.output.iter().filter_map(numbers).max().unwrap_or(0);
            let why = format!(
                "makes {count} numbers of one picture; more than {MOST} are refused: is its file damaged?"
            );
            let first = node.output.first().map(String::as_str).unwrap_or_default();
            let name = if node.name().is_empty() { first } else { node.name() };
            Err(Error::invalid(format!("node {name} ({})", node.op_type()), why))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::{DType, Graph};

    fn padded(by: usize) -> ModelProto {
        let g = Graph::new("padded");
        let x = g.input("image", DType::F32, &[1, 1, 8, 8]);
        g.output("embedding", x.pad(&[0, 0, 0, 0, 0, 0, 0, by], 0.0).sum(&[2, 3]));
        g.to_model_batched("N").unwrap()
    }

    #[test]
    fn a_value_of_gigabytes_is_refused_by_its_node() {
        check_size(&padded(1000)).unwrap();
        let said = check_size(&padded(1 << 26)).unwrap_err().to_string();
        assert!(said.contains("Pad") && said.contains("536870976"), "{said}");
    }
}
