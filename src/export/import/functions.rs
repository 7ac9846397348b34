//! Functions that a model defines for itself, laid into the graph where they are called: no runtime but ONNX
//! Runtime knows them.

use crate::onnx::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, is_standard};
use crate::op::version_at;
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Functions in functions in functions: deeper is a cycle.
const DEEPEST: usize = 64;
/// A graph of more nodes is not made.
const MOST_NODES: usize = 1 << 20;

type Key = (String, String, String);

/// Replaces calls of the model's own functions by their bodies; how many calls there were.
///
/// # Errors
/// A function that calls itself, lacks inputs, or is written for operators of another version than the model.
pub(super) fn inline(model: &mut ModelProto) -> Result<usize> {
    if model.functions.is_empty() {
        return Ok(0);
    }
    let functions = std::mem::take(&mut model.functions);
    let opset = model.opset().unwrap_or(1);
    let by_name = functions.iter().map(|f| (key(f.domain(), f.name(), f.overload()), f)).collect();
    let mut inliner = Inliner { functions: by_name, opset, calls: 0, nodes: 0 };
    let Some(graph) = &mut model.graph else { return Ok(0) };
    inliner.graph(graph, 0)?;
    // Domains of nothing but functions are no longer needed, and a runtime may not know them.
    let domains: HashSet<&str> = functions.iter().map(FunctionProto::domain).collect();
    let own = |domain: &str| domains.contains(domain) && !is_standard(domain) && !uses(graph, domain);
    model.opset_import.retain(|import| !own(import.domain()));
    Ok(inliner.calls)
}

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if is_standard(domain) { "" } else { domain };
    (domain.into(), name.into(), overload.into())
}

fn uses(graph: &GraphProto, domain: &str) -> bool {
    graph.node.iter().any(|node| {
        let mut nested = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
        node.domain() == domain || nested.any(|g| uses(g, domain))
    })
}

struct Inliner<'a> {
    functions: HashMap<Key, &'a FunctionProto>,
    opset: i64,
    calls: usize,
    nodes: usize,
}

impl<'a> Inliner<'a> {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<()> {
        graph.node = self.nodes(std::mem::take(&mut graph.node), depth)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>> {
        let mut laid = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            self.nodes += 1;
            if depth > DEEPEST || self.nodes > MOST_NODES {
                let why = "calls functions without end, or so often that no program could hold it";
                return Err(Error::invalid(format!("node {:?} ({})", node.name(), node.op_type()), why));
            }
            let function = self.functions.get(&key(node.domain(), node.op_type(), node.overload())).copied();
            if let Some(function) = function {
                self.calls += 1;
                let body = self.body(&node, function)?;
                laid.extend(self.nodes(body, depth + 1)?);
                continue;
            }
            for nested in node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)) {
                self.graph(nested, depth + 1)?;
            }
            laid.push(node);
        }
        Ok(laid)
    }

    /// The nodes of a function as this call needs them.
    fn body(&self, call: &NodeProto, function: &FunctionProto) -> Result<Vec<NodeProto>> {
        self.same_versions(function)?;
        let fail = |why: &str| Error::invalid(format!("function {}", function.name()), why);
        if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
            return Err(fail("is called with more inputs or outputs than it has"));
        }
        let given = |names: &[String], own: &[String]| -> Vec<(String, String)> {
            let absent = std::iter::repeat(String::new());
            own.iter().cloned().zip(names.iter().cloned().chain(absent)).collect()
        };
        let mut names: HashMap<String, String> = given(&call.input, &function.input).into_iter().collect();
        let outputs = given(&call.output, &function.output);
        // A result that the caller does not ask for is a value like those inside.
        names.extend(outputs.into_iter().filter(|(_, caller)| !caller.is_empty()));
        let prefix = format!("{}#{}/", call.op_type(), self.calls);
        let settings = Settings { call, function };
        Ok(function.node.iter().map(|node| copied(node, &mut names, &prefix, &settings)).collect())
    }

    /// Whether the function's operators mean the same in the model's operator set.
    fn same_versions(&self, function: &FunctionProto) -> Result<()> {
        let own = function.opset_import.iter().find(|o| is_standard(o.domain())).map(|o| o.version());
        let Some(own) = own.filter(|own| *own != self.opset) else { return Ok(()) };
        let standard = function.node.iter().filter(|node| is_standard(node.domain()));
        let mut changed =
            standard.filter(|n| version_at(n.op_type(), own) != version_at(n.op_type(), self.opset));
        match changed.next() {
            None => Ok(()),
            Some(node) => {
                let why = format!(
                    "is written for opset {own}, in which {} means something else than in the model's opset {}: \
                     export the model again without functions",
                    node.op_type(),
                    self.opset
                );
                Err(Error::invalid(format!("function {}", function.name()), why))
            }
        }
    }
}

/// What the attributes of a function's nodes refer to.
struct Settings<'a> {
    call: &'a NodeProto,
    function: &'a FunctionProto,
}

impl Settings<'_> {
    /// The attribute itself, or what it refers to; none where that was not given.
    fn resolved(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        let Some(reference) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) else {
            return Some(attribute.clone());
        };
        let default = || self.function.attribute_proto.iter().find(|a| a.name() == reference);
        let given = self.call.attribute(reference).or_else(default)?;
        Some(AttributeProto { name: attribute.name.clone(), ..given.clone() })
    }
}

/// A node of a function with the caller's names; names of the function's own get the prefix.
fn copied(
    node: &NodeProto,
    names: &mut HashMap<String, String>,
    prefix: &str,
    settings: &Settings,
) -> NodeProto {
    let mut copy = node.clone();
    copy.name = Some(format!("{prefix}{}", node.name()));
    for name in copy.input.iter_mut().chain(&mut copy.output).filter(|name| !name.is_empty()) {
        *name = names.entry(name.clone()).or_insert_with(|| format!("{prefix}{name}")).clone();
    }
    copy.attribute = node.attribute.iter().filter_map(|a| settings.resolved(a)).collect();
    for nested in copy.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)) {
        nest(nested, names.clone(), prefix, settings);
    }
    copy
}

/// A nested graph: what it takes from around it has the caller's names, what it makes the prefix.
fn nest(graph: &mut GraphProto, mut names: HashMap<String, String>, prefix: &str, settings: &Settings) {
    let own = graph.input.iter().filter_map(|v| v.name.clone());
    let own: Vec<String> = own.chain(graph.initializer.iter().filter_map(|t| t.name.clone())).collect();
    for name in own {
        names.insert(name.clone(), format!("{prefix}{name}"));
    }
    graph.node = graph.node.iter().map(|node| copied(node, &mut names, prefix, settings)).collect();
    let values = graph.input.iter_mut().chain(&mut graph.output).filter_map(|v| v.name.as_mut());
    for name in values.chain(graph.initializer.iter_mut().filter_map(|t| t.name.as_mut())) {
        if let Some(new) = names.get(name) {
            name.clone_from(new);
        }
    }
    graph.value_info.clear();
}
