//! What a model asks of a runtime: its operators, and the error that names all that are lacking.

use super::ReadTower;
use super::caught::Cause;
use crate::onnx::{
    Constants, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto, is_standard,
};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// An operator that a model uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperatorUse {
    /// Its domain; empty for the standard one.
    pub domain: String,
    /// Its name: `Conv`.
    pub name: String,
    /// How many nodes use it.
    pub nodes: usize,
    /// The first of them.
    pub first: String,
}

impl std::fmt::Display for OperatorUse {
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
pub fn operators(model: &ModelProto) -> Vec<OperatorUse> {
    let own: HashSet<(String, String)> =
        model.functions.iter().map(|f| (domain(f.domain()).into(), f.name().into())).collect();
    let mut found = BTreeMap::new();
    model.graph.iter().for_each(|graph| walk(&graph.node, &own, &mut found));
    model.functions.iter().for_each(|function| walk(&function.node, &own, &mut found));
    found.into_values().collect()
}

type Found = BTreeMap<(String, String), OperatorUse>;

fn walk(nodes: &[NodeProto], own: &HashSet<(String, String)>, found: &mut Found) {
    for node in nodes {
        let key = (domain(node.domain()).to_string(), node.op_type().to_string());
        if !own.contains(&key) {
            let operator = found.entry(key.clone()).or_insert_with(|| OperatorUse {
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
pub fn label(node: &NodeProto) -> String {
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

/// The operators of a model that a runtime does not know.
pub fn lacking(model: &ModelProto, knows: impl Fn(&OperatorUse) -> bool) -> Vec<OperatorUse> {
    operators(model).into_iter().filter(|operator| !knows(operator)).collect()
}

/// A model of a single node, whose inputs and attributes are missing: to ask a runtime whether it knows the
/// operator at all.
pub fn one_node(model: &ModelProto, operator: &OperatorUse) -> ModelProto {
    let node = NodeProto {
        op_type: Some(operator.name.clone()),
        domain: Some(operator.domain.clone()),
        output: vec!["y".into()],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: Some("one".into()),
        node: vec![node],
        output: vec![ValueInfoProto { name: Some("y".into()), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    let mut imports = model.opset_import.clone();
    if !imports.iter().any(|import| import.domain() == operator.domain) {
        imports.push(OperatorSetIdProto { domain: Some(operator.domain.clone()), version: Some(1) });
    }
    ModelProto {
        ir_version: model.ir_version.map(|ir| ir.min(8)),
        opset_import: imports,
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Refuses a model of an operator set that was not published when the runtime was: what its operators mean,
/// it cannot know.
///
/// # Errors
/// Naming the model's versions and what to do.
pub fn check_opset(runtime: &str, tower: &ReadTower<'_>, newest: i64) -> Result<()> {
    if tower.model.opset().is_none_or(|opset| opset <= newest) {
        return Ok(());
    }
    let advice = format!("it knows opsets up to {newest}: export the model again with opset 17");
    Err(refusal(runtime, tower, &[], &advice, None))
}

/// What to do about a tower that one runtime refuses and another may run.
pub fn advice(lacking: &[OperatorUse]) -> &'static str {
    if lacking.is_empty() {
        "check the model with `siamese inspect`, or run it with ONNX Runtime"
    } else {
        "run it with ONNX Runtime (`--runtime ort`), or export it without them"
    }
}

/// The error of a tower that a runtime cannot run. `lacking` are all operators that it does not
/// have, `advice` is what else may be the matter, `source` its own words.
pub fn refusal(
    runtime: &str,
    tower: &ReadTower<'_>,
    lacking: &[OperatorUse],
    advice: &str,
    source: Option<Cause>,
) -> Error {
    let versions = versions(tower.model);
    let why = if lacking.is_empty() {
        format!("{runtime} cannot load it ({versions}); {advice}")
    } else {
        let names: Vec<_> = lacking.iter().map(OperatorUse::to_string).collect();
        format!("{runtime} lacks operators of this model ({versions}): {}; {advice}", names.join(", "))
    };
    Error::Invalid { at: tower.name.into(), why, source }
}

/// Refuses a graph with a node that is in training mode, or draws numbers: its rows would depend on the others of
/// their batch, or on chance, and an embedding on more than its picture.
///
/// # Errors
/// Naming the node and what to do.
pub fn check_inference(model: &ModelProto, name: &str) -> Result<()> {
    let Some(graph) = &model.graph else { return Ok(()) };
    let mut constants = Constants::of(graph);
    graph.node.iter().for_each(|node| {
        constants.follow(node);
    });
    let on = |value: Option<&str>| {
        let value = value.and_then(|value| constants.get(value).ok().flatten());
        value.is_some_and(|numbers| numbers.iter().any(|&x| x != 0.0))
    };
    let fault = |node: &NodeProto| match node.op_type() {
        "BatchNormalization" if node.flag("training_mode") => {
            Some("is in training mode: an embedding would depend on the other pictures of its batch")
        }
        "Dropout" if on(node.input_name(2)) && node.input_name(1).is_none_or(|ratio| on(Some(ratio))) => {
            Some("is in training mode: an embedding would depend on chance")
        }
        "Bernoulli" | "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform"
        | "RandomUniformLike" => Some("draws numbers: an embedding would depend on chance"),
        _ => None,
    };
    let mut standard = graph.node.iter().filter(|node| is_standard(node.domain()));
    match standard.find_map(|node| Some((node, fault(node)?))) {
        Some((node, why)) => {
            let why = format!(
                "node {} ({}) {why}; export the model for inference (`model.eval()` in PyTorch)",
                label(node),
                node.op_type()
            );
            Err(Error::invalid(name, why))
        }
        None => Ok(()),
    }
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
