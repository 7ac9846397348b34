//! How large the values inside a model become.

use super::types::Types;
use crate::onnx::{ModelProto, NodeProto, ValueInfoProto};
use crate::op::{Dim, Type};
use crate::{Error, Result};

/// The most numbers of a value inside a model, for one picture: a gigabyte in float32.
const MOST: usize = 1 << 28;

/// The node whose result is the largest for one picture, and its numbers, as far as sizes can be told; none
/// of a model without nodes.
pub fn largest(model: &ModelProto) -> Option<(&NodeProto, usize)> {
    let one = |axis: usize, _: Option<&str>| if axis == 0 { Dim::from(1) } else { Dim::Unknown };
    let entry = |value: &ValueInfoProto| {
        value.r#type.as_ref().map_or_else(Type::default, |proto| Type::of_proto(proto, one))
    };
    let mut types = Types::at_entry(model, &entry);
    let mut sizes = Vec::new();
    for node in &model.graph.as_ref()?.node {
        // Nothing is known behind a node that does not fit its inputs; a runtime may run it all the same.
        let _ = types.follow(node);
        sizes.extend(node.output.iter().filter_map(|name| Some((node, numbers(types.get(name)?)?))));
    }
    sizes.into_iter().max_by_key(|(_, count)| *count)
}

fn numbers(value: &Type) -> Option<usize> {
    let sizes = value.shape.as_ref()?.iter();
    sizes.into_iter().try_fold(1_usize, |count, dim| dim.size().map(|size| count.saturating_mul(size)))
}

/// Refuses a model of which a value inside is too large for one picture: a runtime would take memory without
/// bounds.
///
/// # Errors
/// Naming the node.
pub fn check_size(model: &ModelProto) -> Result<()> {
    match largest(model) {
        Some((node, count)) if count > MOST => {
            let why = format!(
                "makes {count} numbers of one picture; more than {MOST} are refused: is its file damaged?"
            );
            let first = node.output.first().map(String::as_str).unwrap_or_default();
            let name = if node.name().is_empty() { first } else { node.name() };
            Err(Error::invalid(format!("node {name} ({})", node.op_type()), why))
        }
        _ => Ok(()),
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
