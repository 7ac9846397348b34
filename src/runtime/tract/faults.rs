//! What this version of tract silently computes otherwise than ONNX has it: refused before it runs.
//!
//! Each row was found by running nodes on tract and on other runtimes, and its test runs one on tract and says what
//! is right: where a later tract has mended it, the test fails and the row goes. What can be written another way
//! that tract gets right is not here but in [`super::mend`].

use crate::onnx::{Constants, GraphProto, ModelProto, NodeProto};
use crate::runtime::support;
use crate::walk::Types;
use crate::{Error, Result};
use std::collections::HashSet;

/// A fault of tract.
pub(super) struct Fault {
    /// The operator.
    pub op: &'static str,
    /// What tract does.
    pub why: &'static str,
    /// Whether this node shows it.
    shows: fn(&Site<'_>) -> bool,
}

/// A node in its graph.
struct Site<'a> {
    node: &'a NodeProto,
    opset: i64,
    constants: &'a Constants<'a>,
    /// Values whose numbers, not only whose shapes, come from the picture.
    pictured: &'a HashSet<&'a str>,
}

/// The table.
pub(super) const FAULTS: [Fault; 13] = [
    Fault { op: "GRU", why: IGNORED, shows: |s| odd_cell(s.node, &["Sigmoid", "Tanh"]) },
    Fault { op: "LSTM", why: IGNORED, shows: |s| odd_cell(s.node, &["Sigmoid", "Tanh", "Tanh"]) },
    Fault { op: "RNN", why: IGNORED, shows: |s| odd_cell(s.node, &["Tanh"]) },
    Fault {
        op: "Celu",
        why: "it scales by alpha where ONNX does not",
        shows: |s| s.node.float_or("alpha", 1.0) != 1.0,
    },
    Fault { op: "Swish", why: "it does not read alpha", shows: |s| s.node.float_or("alpha", 1.0) != 1.0 },
    Fault { op: "GlobalLpPool", why: "it divides by the number of pixels", shows: |_| true },
    Fault {
        op: "ConvTranspose",
        why: "it takes wrong paddings for output_shape, and for output_padding with auto_pad",
        shows: |s| {
            let padded = s.node.ints("output_padding").is_some_and(|p| p.iter().any(|&p| p != 0));
            s.node.ints("output_shape").is_some_and(|shape| !shape.is_empty())
                || padded && s.node.text("auto_pad").is_some_and(|pad| pad.starts_with("SAME"))
        },
    },
    Fault { op: "AveragePool", why: CEILED, shows: ceiled },
    Fault { op: "MaxPool", why: CEILED, shows: ceiled },
    Fault { op: "LpPool", why: CEILED, shows: ceiled },
    Fault {
        op: "Resize",
        why: "it places the pixels of this coordinate_transformation_mode elsewhere where a scale is no whole number",
        shows: broken_scale,
    },
    Fault {
        op: "GridSample",
        why: "its cubic interpolation takes the wrong pixels at the border",
        shows: |s| {
            matches!(s.node.text("mode"), Some("bicubic" | "cubic"))
                && s.node.text("padding_mode") == Some("border")
        },
    },
    Fault {
        op: "Mod",
        why: "it takes wrong remainders of whole numbers of 64 bits",
        shows: |s| !s.node.flag("fmod") && s.node.input_name(0).is_some_and(|name| s.pictured.contains(name)),
    },
];

const IGNORED: &str = "it does not read its activations, activation_alpha, activation_beta, clip, input_forget and direction = reverse";
const CEILED: &str = "it does not round up, as ceil_mode has it, where auto_pad is VALID";

/// A recurrent cell that is not the usual one.
fn odd_cell(node: &NodeProto, usual: &[&str]) -> bool {
    let named = node.attribute("activations").map(|a| a.strings.as_slice()).unwrap_or_default();
    let odd = named
        .iter()
        .zip(usual.iter().cycle())
        .any(|(name, usual)| !name.eq_ignore_ascii_case(usual.as_bytes()));
    let given = |name: &str| node.attribute(name).is_some();
    let scaled = given("activation_alpha") || given("activation_beta");
    odd || scaled && !named.is_empty()
        || given("clip")
        || node.flag("input_forget")
        || node.text("direction") == Some("reverse")
}

fn ceiled(site: &Site<'_>) -> bool {
    site.node.flag("ceil_mode") && site.node.text("auto_pad") == Some("VALID")
}

fn broken_scale(site: &Site<'_>) -> bool {
    let far = ["align_corners", "tf_crop_and_resize", "half_pixel_symmetric"];
    if !site.node.text("coordinate_transformation_mode").is_some_and(|mode| far.contains(&mode)) {
        return false;
    }
    let place = if site.opset < 11 { 1 } else { 2 };
    let Some(name) = site.node.input_name(place) else { return false };
    // Scales that are not known are no whole numbers either.
    let scales = site.constants.get(name).ok().flatten();
    scales.is_none_or(|scales| scales.iter().any(|scale| scale.fract() != 0.0))
}

/// Refuses a model of which tract would get a node wrong, and one whose nodes do not fit their inputs: tract
/// trusts attributes, and takes memory without bounds for a `Transpose` by what is no permutation.
///
/// # Errors
/// Naming the node, what tract does with it, and what to do.
pub fn check(model: &ModelProto, name: &str) -> Result<()> {
    Types::with_batch(model, 1).map_err(|e| e.at(name))?;
    let Some(graph) = &model.graph else { return Ok(()) };
    match find(graph, model.opset().unwrap_or(i64::MAX)) {
        Some((node, fault)) => Err(Error::invalid(
            name,
            format!(
                "tract {} gets node {} ({}) wrong: {}; run it with ONNX Runtime (`--runtime ort`), or export it \
                 without that",
                super::VERSION,
                support::label(node),
                node.op_type(),
                fault.why
            ),
        )),
        None => Ok(()),
    }
}

/// The first node that tract gets wrong, those in nested graphs too.
fn find(graph: &GraphProto, opset: i64) -> Option<(&NodeProto, &'static Fault)> {
    let mut constants = Constants::of(graph);
    for node in &graph.node {
        constants.follow(node);
    }
    let pictured = pictured(graph);
    graph.node.iter().find_map(|node| {
        let site = Site { node, opset, constants: &constants, pictured: &pictured };
        let own = FAULTS.iter().find(|fault| {
            crate::onnx::is_standard(node.domain()) && fault.op == node.op_type() && (fault.shows)(&site)
        });
        let nested = || node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
        own.map(|fault| (node, fault)).or_else(|| nested().find_map(|graph| find(graph, opset)))
    })
}

/// What depends on the numbers of the graph's inputs. A shape does not.
pub(super) fn pictured(graph: &GraphProto) -> HashSet<&str> {
    let mut found: HashSet<&str> =
        crate::tower::contract::inputs(graph).iter().map(|input| input.name()).collect();
    for node in &graph.node {
        let from = !matches!(node.op_type(), "Shape" | "Size")
            && node.input.iter().any(|x| found.contains(x.as_str()));
        if from {
            found.extend(node.output.iter().map(String::as_str));
        }
    }
    found
}
