//! What a model asks of a runtime: its operators, and the error that names all that are lacking.

use crate::onnx::{GraphProto, ModelProto, NodeProto};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashSet;

/// An operator that a model uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Its domain; empty for the standard one.
    pub domain: String,
    /// Its name: `Conv`.
    pub name: String,
    /// How many nodes use it.
    pub nodes: usize,
    /// The first of them.
    pub first: String,
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.domain.is_empty() {
            write!(f, "{}:", self.domain)?;
        }
        let plural = if self.nodes == 1 { "node" } else { "nodes" };
        write!(f, "{} ({} {plural}, first {})", self.name, self.nodes, self.first)
    }
}

/// The operators of a model, sorted, those in nested graphs and in the model's own functions too.
/// The functions themselves are not operators of a runtime.
pub fn operators(model: &ModelProto) -> Vec<Operator> {
    let own: HashSet<(String, String)> =
        model.functions.iter().map(|f| (domain(f.domain()).into(), f.name().into())).collect();
    let mut found = BTreeMap::new();
    model.graph.iter().for_each(|graph| walk(&graph.node, &own, &mut found));
    model.functions.iter().for_each(|function| walk(&function.node, &own, &mut found));
    found.into_values().collect()
}

type Found = BTreeMap<(String, String), Operator>;

fn walk(nodes: &[NodeProto], own: &HashSet<(String, String)>, found: &mut Found) {
    for node in nodes {
        let key = (domain(node.domain()).to_string(), node.op_type().to_string());
        if !own.contains(&key) {
            let operator = found.entry(key.clone()).or_insert_with(|| Operator {
                domain: key.0,
                name: key.1,
                nodes: 0,
                first: label(node),
            });
            operator.nodes += 1;
        }
        for attribute in &node.attribute {
            let nested = attribute.g.iter().chain(&attribute.graphs);
            nested.for_each(|graph: &GraphProto| walk(&graph.node, own, found));
        }
    }
}

/// A node's name, or its first output's where it has none.
fn label(node: &NodeProto) -> String {
    let name = Some(node.name()).filter(|name| !name.is_empty());
    name.or(node.output.first().map(String::as_str)).unwrap_or("without a name").into()
}

/// Both spellings of the standard domain are one.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// `IR 8, opset 17, com.microsoft 1`.
pub fn versions(model: &ModelProto) -> String {
    let mut text = format!("IR {}", model.ir_version());
    for import in &model.opset_import {
        match domain(import.domain()) {
            "" => text += &format!(", opset {}", import.version()),
            other => text += &format!(", {other} {}", import.version()),
        }
    }
    text
}

/// The error of a model that a runtime cannot run. `lacking` are all operators that it does not
/// have, `advice` is what else may be the matter, `source` its own words.
pub fn refusal(
    runtime: &str,
    name: &str,
    model: &ModelProto,
    lacking: &[Operator],
    advice: &str,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let versions = versions(model);
    let why = if lacking.is_empty() {
        format!("{runtime} cannot load it ({versions}); {advice}")
    } else {
        let names: Vec<_> = lacking.iter().map(Operator::to_string).collect();
        format!("{runtime} lacks operators of this model ({versions}): {}; {advice}", names.join(", "))
    };
    Error::Invalid { at: name.into(), why, source }
}

/// Refuses a graph with an output that nothing makes; a runtime may take it for granted.
///
/// # Errors
/// Naming the output.
pub fn check_outputs(model: &ModelProto, name: &str) -> Result<()> {
    let Some(graph) = &model.graph else { return Err(Error::invalid(name, "holds no graph")) };
    let nodes = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let given = graph.input.iter().map(|value| value.name());
    let stored = graph.initializer.iter().map(|tensor| tensor.name());
    let made: HashSet<&str> = nodes.chain(given).chain(stored).collect();
    match graph.output.iter().find(|output| !made.contains(output.name())) {
        Some(output) => {
            Err(Error::invalid(name, format!("nothing in the graph makes output {}", output.name())))
        }
        None => Ok(()),
    }
}
