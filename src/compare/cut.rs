//! Cutting sub-models out of an ONNX graph: between any tensors, with the weights that they need.

use crate::onnx::{GraphProto, ModelProto, NodeProto, Tensor, ValueInfoProto};
use crate::{Error, Result};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A graph with its edges looked up.
pub struct Wiring<'a> {
    model: &'a ModelProto,
    graph: &'a GraphProto,
    /// The node that gives a tensor.
    producer: HashMap<&'a str, usize>,
    /// Stored tensors.
    constants: HashSet<&'a str>,
    /// Whether a node depends on the graph's inputs.
    dynamic: Vec<bool>,
    /// Names that a node reads, those of its sub-graphs included.
    reads: Vec<Vec<&'a str>>,
}

impl<'a> Wiring<'a> {
    /// The wiring of a model.
    ///
    /// # Errors
    /// No graph; a node that reads what nothing gives.
    pub fn new(model: &'a ModelProto) -> Result<Self> {
        let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
        let dense = graph.initializer.iter().filter_map(|t| t.name.as_deref());
        let sparse = graph.sparse_initializer.iter().filter_map(|t| t.values.as_ref()?.name.as_deref());
        let constants: HashSet<&str> = dense.chain(sparse).collect();
        let mut producer = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            producer.extend(node.output.iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), index)));
        }
        let reads: Vec<Vec<&str>> = graph.node.iter().map(reads).collect();
        let mut wiring = Self { model, graph, producer, constants, dynamic: Vec::new(), reads };
        wiring.dynamic = wiring.find_dynamic()?;
        Ok(wiring)
    }

    /// Nodes stand in an order in which they can run, so one pass settles all.
    fn find_dynamic(&self) -> Result<Vec<bool>> {
        let inputs: HashSet<&str> = self.inputs().into_iter().collect();
        let mut dynamic = vec![false; self.graph.node.len()];
        for (index, reads) in self.reads.iter().enumerate() {
            for name in reads {
                let given = inputs.contains(name) || self.constants.contains(name);
                match self.producer.get(name) {
                    Some(&source) if source < index => dynamic[index] |= dynamic[source],
                    _ if given => dynamic[index] |= inputs.contains(name),
                    _ => {
                        let node = label(&self.graph.node[index], index);
                        return Err(Error::invalid(
                            format!("node {node}"),
                            format!("reads {name}, which no earlier node gives"),
                        ));
                    }
                }
            }
        }
        Ok(dynamic)
    }

    /// The graph's inputs, without those that only name a stored tensor.
    pub fn inputs(&self) -> Vec<&'a str> {
        let names = self.graph.input.iter().filter_map(|i| i.name.as_deref());
        names.filter(|n| !self.constants.contains(n)).collect()
    }

    /// The graph's outputs.
    pub fn outputs(&self) -> Vec<&'a str> {
        self.graph.output.iter().filter_map(|o| o.name.as_deref()).collect()
    }

    /// A node.
    pub fn node(&self, index: usize) -> &'a NodeProto {
        &self.graph.node[index]
    }

    /// What a node is called in messages: its name, or its operator and place.
    pub fn label(&self, index: usize) -> String {
        label(&self.graph.node[index], index)
    }

    /// The node that gives a tensor.
    pub fn producer(&self, tensor: &str) -> Option<usize> {
        self.producer.get(tensor).copied()
    }

    /// The nodes that depend on the graph's inputs, in order; the others are constants in disguise
    /// (a `Cast` of int8 weights) and belong to the nodes that read them.
    pub fn dynamic_nodes(&self) -> Vec<usize> {
        (0..self.dynamic.len()).filter(|&i| self.dynamic[i]).collect()
    }

    /// The tensors a node reads that depend on the graph's inputs, each once.
    pub fn data_inputs(&self, node: usize) -> Vec<&'a str> {
        let inputs = self.inputs();
        let mut seen = HashSet::new();
        let varies = |name: &&str| match self.producer.get(name) {
            Some(&source) => self.dynamic[source],
            None => inputs.contains(name),
        };
        self.reads[node].iter().copied().filter(varies).filter(|n| seen.insert(*n)).collect()
    }

    /// The tensors that a node gives.
    pub fn data_outputs(&self, node: usize) -> Vec<&'a str> {
        self.graph.node[node].output.iter().map(String::as_str).filter(|o| !o.is_empty()).collect()
    }

    /// The nodes that `outputs` need, where the tensors `from` are given; in order.
    ///
    /// # Errors
    /// A way back that ends at a graph input that is not in `from`, or at no node.
    pub fn needed(&self, from: &[&str], outputs: &[&str]) -> Result<Vec<usize>> {
        let given: HashSet<&str> = from.iter().copied().collect();
        let mut nodes = BTreeSet::new();
        let mut open: Vec<&str> = outputs.to_vec();
        while let Some(name) = open.pop() {
            if given.contains(name) {
                continue;
            }
            match self.producer.get(name) {
                Some(&node) => {
                    if nodes.insert(node) {
                        open.extend(&self.reads[node]);
                    }
                }
                None if self.constants.contains(name) => {}
                None => {
                    return Err(Error::invalid(
                        "the cut",
                        format!("needs {name}, which is not among its inputs"),
                    ));
                }
            }
        }
        Ok(nodes.into_iter().collect())
    }

    /// The sub-model that computes `outputs` from `inputs`, whose types and shapes become static. An
    /// input of which no node is left is dropped only if nothing reads it; see [`Self::needed`].
    ///
    /// # Errors
    /// As [`Self::needed`].
    pub fn extract(&self, inputs: &[(String, Tensor)], outputs: &[&str]) -> Result<ModelProto> {
        let from: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
        let nodes = self.needed(&from, outputs)?;
        let read: HashSet<&str> = nodes.iter().flat_map(|&n| self.reads[n].iter().copied()).collect();
        let mut graph = GraphProto { name: self.graph.name.clone(), ..GraphProto::default() };
        graph.input = inputs.iter().map(|(name, value)| value.value_info(name)).collect();
        graph.output = outputs.iter().map(|name| self.output_info(name)).collect();
        let wanted = |name: Option<&str>| name.is_some_and(|n| read.contains(n) && !from.contains(&n));
        graph.initializer =
            self.graph.initializer.iter().filter(|t| wanted(t.name.as_deref())).cloned().collect();
        let sparse = self.graph.sparse_initializer.iter();
        graph.sparse_initializer =
            sparse.filter(|t| wanted(t.values.as_ref().and_then(|v| v.name.as_deref()))).cloned().collect();
        graph.node = nodes.iter().map(|&n| self.graph.node[n].clone()).collect();
        Ok(ModelProto {
            ir_version: self.model.ir_version,
            producer_name: Some("siamese".into()),
            opset_import: self.model.opset_import.clone(),
            functions: self.model.functions.clone(),
            graph: Some(graph),
            ..ModelProto::default()
        })
    }

    /// Outputs carry no shape: the runtimes infer it, and a symbolic one would contradict static
    /// inputs. The type of a graph output is known; that of an inner tensor the runtimes infer too.
    fn output_info(&self, name: &str) -> ValueInfoProto {
        let known = self.graph.output.iter().chain(&self.graph.value_info);
        let mut info =
            known.into_iter().find(|i| i.name.as_deref() == Some(name)).cloned().unwrap_or_default();
        info.name = Some(name.into());
        if let Some(crate::onnx::type_proto::Value::Tensor(tensor)) =
            info.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.shape = None;
        }
        info
    }
}

fn label(node: &NodeProto, index: usize) -> String {
    match node.name.as_deref() {
        Some(name) if !name.is_empty() => name.into(),
        _ => format!("{}_{index}", node.op_type.as_deref().unwrap_or("node")),
    }
}

/// The names a node reads: its inputs, and what its sub-graphs take from outside.
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
    for graph in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        let own: HashSet<&str> = graph
            .node
            .iter()
            .flat_map(|n| n.output.iter().map(String::as_str))
            .chain(graph.initializer.iter().filter_map(|t| t.name.as_deref()))
            .chain(graph.input.iter().filter_map(|i| i.name.as_deref()))
            .collect();
        let inner = graph.node.iter().flat_map(reads);
        let results = graph.output.iter().filter_map(|o| o.name.as_deref());
        names.extend(inner.chain(results).filter(|n| !own.contains(n)));
    }
    names
}
