//! Where the nodes of a graph will run: a proof that needs no GPU.
//!
//! The CUDA provider of ONNX Runtime registers each kernel for a range of operator versions. A node
//! runs there only if its operator's version at the model's opset lies in a closed range, or is the
//! first version of an open one; every other node falls back to the CPU, and its tensors are copied
//! both ways. `cuda-kernels.json` lists the kernels of version 1.31.1 as
//! `[domain, operator, first version, last version or null, number of types]`.

use super::opset_of;
use crate::graph::{IR_VERSION, OPSET};
use crate::onnx::{ModelProto, NodeProto, Operator, is_standard};
use crate::op::version_at;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::LazyLock;

type Kernel = (String, String, i64, Option<i64>, i64);
type Ranges = HashMap<String, Vec<(i64, Option<i64>)>>;

static KERNELS: LazyLock<Ranges> = LazyLock::new(|| {
    let kernels: Vec<Kernel> = serde_json::from_str(include_str!("cuda-kernels.json")).unwrap_or_default();
    let mut by_op = Ranges::new();
    for (_, op, first, last, _) in kernels.into_iter().filter(|kernel| kernel.0.is_empty()) {
        by_op.entry(op).or_default().push((first, last));
    }
    by_op
});

/// Why a node would not run on the CUDA provider.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fallback {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What keeps it off the device.
    pub why: String,
}

/// Checks that `model` is plain: the standard domain alone, no newer than [`OPSET`] and [`IR_VERSION`].
///
/// # Errors
/// Lists every reason at once.
pub fn is_plain(model: &ModelProto) -> Result<()> {
    let mut faults = Vec::new();
    if model.ir_version.unwrap_or(0) > IR_VERSION {
        faults.push(format!("IR version {} is above {IR_VERSION}", model.ir_version.unwrap_or(0)));
    }
    let opset = opset_of(model);
    if opset > OPSET {
        faults.push(format!("opset {opset} is above {OPSET}"));
    }
    for import in &model.opset_import {
        if !is_standard(import.domain()) {
            faults.push(format!("operators of the domain {} are imported", import.domain()));
        }
    }
    for node in nodes(model) {
        let op = node.op_type();
        if !node.domain().is_empty() || version_at(op, opset).is_none() {
            faults.push(format!("{op} is no standard operator at opset {opset}"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::invalid("the model", faults.join("; "))) }
}

/// The nodes that ONNX Runtime would not run on its CUDA provider; empty if all would.
pub fn cuda_fallbacks(model: &ModelProto) -> Vec<Fallback> {
    let opset = opset_of(model);
    nodes(model).filter_map(|node| fallback(node, opset)).collect()
}

fn nodes(model: &ModelProto) -> impl Iterator<Item = &NodeProto> {
    model.graph.iter().flat_map(|g| &g.node)
}

fn fallback(node: &NodeProto, opset: i64) -> Option<Fallback> {
    let why = missing_kernel(node.op_type(), opset).or_else(|| unsupported_form(node).map(String::from))?;
    Some(Fallback { node: node.name().into(), op: node.op_type().into(), why })
}

fn missing_kernel(op: &str, opset: i64) -> Option<String> {
    let Some(version) = version_at(op, opset) else {
        return Some(format!("is no standard operator at opset {opset}"));
    };
    let ranges = KERNELS.get(op).map_or(&[][..], Vec::as_slice);
    let covers = |&(first, last): &(i64, Option<i64>)| match last {
        Some(last) => (first..=last).contains(&version),
        None => first == version,
    };
    (!ranges.iter().any(covers)).then(|| format!("has no CUDA kernel for version {version}"))
}

/// Forms that the kernels of an operator refuse.
fn unsupported_form(node: &NodeProto) -> Option<&'static str> {
    use Operator::{BatchNormalization, Conv, ConvTranspose, Expand, MaxPool, Pad, Reshape, Slice};
    let pads = node.ints("pads").unwrap_or_default();
    let uneven = pads.len() == 4 && (pads[0] != pads[2] || pads[1] != pads[3]);
    let operator = node.operator()?;
    let is = |operators: &[Operator]| operators.contains(&operator);
    let outputs = node.output.iter().filter(|o| !o.is_empty()).count();
    let forms = [
        (is(&[Conv, ConvTranspose]) && uneven, "has uneven padding"),
        (is(&[ConvTranspose]) && node.attribute("auto_pad").is_some(), "leaves its padding to the runtime"),
        (is(&[MaxPool]) && outputs > 1, "gives the indices of the maxima"),
        (is(&[BatchNormalization]) && node.flag("training_mode"), "is in training mode"),
        (is(&[Expand, Pad, Reshape, Slice]) && node.input.len() < 2, "lacks its list of numbers"),
    ];
    forms.into_iter().find_map(|(refused, why)| refused.then_some(why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::{ConvAttrs, DType, Graph};

    #[test]
    fn the_table_is_read() {
        assert!(KERNELS.len() > 100);
    }

    #[test]
    fn versions_beyond_a_range_fall_back() {
        assert_eq!(missing_kernel("MaxPool", 17), None);
        // The facts: from opset 22 on these have no kernel.
        assert!(missing_kernel("MaxPool", 22).unwrap().contains("version 22"));
        assert!(missing_kernel("Bernoulli", 17).is_some());
    }

    #[test]
    fn refused_forms_are_named() {
        let g = Graph::new("t");
        let x = g.input("x", DType::F32, &[1, 2, 5, 5]);
        let w = g.input("w", DType::F32, &[2, 3, 3, 3]);
        let attrs = ConvAttrs { pads: [0, 0, 1, 1], ..ConvAttrs::default() };
        g.output("y", x.conv_transpose(w, attrs, [0, 0]));
        let faults = cuda_fallbacks(&g.to_model().unwrap());
        assert_eq!(faults.len(), 1);
        assert!(faults[0].why.contains("uneven"));
    }

    #[test]
    fn what_is_not_plain_is_refused_with_all_reasons() {
        let g = Graph::new("t");
        g.output("y", g.input("x", DType::F32, &[1]).relu());
        let mut model = g.to_model().unwrap();
        is_plain(&model).unwrap();
        model.ir_version = Some(10);
        model.opset_import[0].version = Some(21);
        let why = is_plain(&model).unwrap_err().to_string();
        assert!(why.contains("IR version 10") && why.contains("opset 21"), "{why}");
    }
}
