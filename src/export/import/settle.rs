//! Inputs beside the picture that are told once, when a model is imported (`phase_train` of a facenet), and
//! the branches that are decided by them.

use super::tidy::reads;
use crate::onnx::{AttributeProto, DType, GraphProto, ModelProto, NodeProto, Tensor};
use crate::tower::contract;
use crate::walk::Types;
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use std::collections::{HashMap, HashSet};

/// An input and the number or flag that it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct SetInput {
    /// Its name.
    pub name: String,
    /// The number; 0 and 1 for a flag.
    pub value: f64,
}

impl std::str::FromStr for SetInput {
    type Err = String;

    /// Reads `phase_train:0=false`, `keep_prob=1.0`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, value) = text.rsplit_once('=').ok_or("is not NAME=VALUE")?;
        let value = match value.trim().to_lowercase().as_str() {
            "true" => 1.0,
            "false" => 0.0,
            number => number.parse().map_err(|_| format!("{number:?} is no number, true or false"))?,
        };
        Ok(Self { name: name.into(), value })
    }
}

/// Makes weights of the inputs that are told. A model of one picture input is then left, and one in which no
/// branch depends on them.
///
/// # Errors
/// No such input; one that is not a single number or a shape with open sizes.
pub(super) fn settle(model: &mut ModelProto, told: &[SetInput]) -> Result<()> {
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    for SetInput { name, value } in told {
        let at = || format!("--set-input {name}");
        let Some(place) = graph.input.iter().position(|input| input.name() == name) else {
            let names: Vec<&str> = graph.input.iter().map(|input| input.name()).collect();
            return Err(Error::invalid(at(), format!("is no input of the model; its inputs are {names:?}")));
        };
        let (kind, shape) = contract::tensor(&graph.input[place])?;
        let dtype = DType::from_onnx(kind).ok_or_else(|| {
            Error::invalid(at(), format!("is {}, which cannot be set here", contract::type_name(kind)))
        })?;
        // An open size of such an input is that of a batch of one.
        let sizes: Vec<usize> = shape.iter().map(|d| d.map_or(1, |d| d as usize)).collect();
        let count = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)));
        if count.is_none_or(|count| count > 1 << 16) {
            return Err(Error::invalid(
                at(),
                format!("has the shape {sizes:?}; a number is set, not a picture"),
            ));
        }
        let filled = Tensor::from_f64(&ArrayD::from_elem(IxDyn(&sizes), *value), dtype);
        graph.initializer.retain(|t| t.name() != name);
        graph.initializer.push(filled.to_proto(name));
        graph.input.remove(place);
    }
    decide(model);
    Ok(())
}

/// Replaces each `If` whose condition is known by the branch that it takes.
pub(super) fn decide(model: &mut ModelProto) {
    // A branch may hold another `If`; each round takes away one level.
    for _ in 0..16 {
        let Some(graph) = &model.graph else { return };
        if !graph.node.iter().any(|node| node.op_type() == "If") {
            return;
        }
        let types = Types::lenient(model);
        let known = |node: &NodeProto| {
            let value = types.get(node.input_name(0)?)?.value.as_ref()?;
            Some(value.first()?.number()? != 0.0)
        };
        let decided: Vec<Option<bool>> =
            graph.node.iter().map(|node| (node.op_type() == "If").then(|| known(node)).flatten()).collect();
        if decided.iter().all(Option::is_none) {
            return;
        }
        let Some(graph) = &mut model.graph else { return };
        let nodes = std::mem::take(&mut graph.node);
        for (i, (node, decided)) in nodes.into_iter().zip(decided).enumerate() {
            match decided.and_then(|taken| branch(&node, taken).cloned()) {
                Some(taken) => lay(graph, &node, taken, i),
                None => graph.node.push(node),
            }
        }
    }
}

fn branch(node: &NodeProto, taken: bool) -> Option<&GraphProto> {
    let name = if taken { "then_branch" } else { "else_branch" };
    node.attribute(name)?.g.as_ref()
}

/// Lays a branch into the graph in place of its `If`, with names of its own, and its outputs under the
/// names of the node's.
fn lay(graph: &mut GraphProto, node: &NodeProto, mut branch: GraphProto, place: usize) {
    let made: HashSet<String> = branch
        .node
        .iter()
        .flat_map(|n| n.output.iter().cloned())
        .chain(branch.initializer.iter().map(|t| t.name().to_string()))
        .filter(|name| !name.is_empty())
        .collect();
    let names: HashMap<String, String> =
        made.into_iter().map(|name| (name.clone(), format!("If#{place}/{name}"))).collect();
    let new = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_string());
    branch.node.iter_mut().for_each(|node| rename_node(node, &names));
    for tensor in &mut branch.initializer {
        tensor.name = Some(new(tensor.name()));
    }
    graph.initializer.append(&mut branch.initializer);
    graph.node.append(&mut branch.node);
    for (output, name) in branch.output.iter().zip(&node.output).filter(|(_, name)| !name.is_empty()) {
        graph.node.push(NodeProto {
            input: vec![new(output.name())],
            output: vec![name.clone()],
            name: Some(format!("If#{place}/{name}")),
            op_type: Some("Identity".into()),
            ..NodeProto::default()
        });
    }
}

fn rename_node(node: &mut NodeProto, names: &HashMap<String, String>) {
    let nested = reads(node).iter().any(|read| names.contains_key(*read));
    for name in node.input.iter_mut().chain(&mut node.output) {
        if let Some(new) = names.get(name) {
            name.clone_from(new);
        }
    }
    if nested {
        for AttributeProto { g, graphs, .. } in &mut node.attribute {
            for graph in g.iter_mut().chain(graphs) {
                graph.node.iter_mut().for_each(|node| rename_node(node, names));
                for output in &mut graph.output {
                    if let Some(new) = names.get(output.name()) {
                        output.name = Some(new.clone());
                    }
                }
            }
        }
    }
}
