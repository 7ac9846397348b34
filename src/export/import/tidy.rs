//! A foreign graph in the form that everything after expects: nodes after those that make their inputs,
//! weights dense, and no weight among the inputs. What it computes stays the same.

use crate::onnx::{
    AttributeProto, DType, GraphProto, NodeProto, SparseTensorProto, Tensor, TensorProto, numbers,
};
use crate::{Error, Result};
use ndarray::{ArrayD, IxDyn};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Sparse weights of more elements are not made dense.
const MOST_ELEMENTS: usize = 1 << 28;

/// Tidies a graph; tells what the user should know.
///
/// # Errors
/// Nodes that need each other's results; sparse weights that cannot be read.
pub(super) fn tidy(graph: &mut GraphProto) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    match densify(graph)? {
        0 => {}
        1 => notes.push("a sparse weight was made dense".into()),
        n => notes.push(format!("{n} sparse weights were made dense")),
    }
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    graph.input.retain(|input| !stored.contains(input.name()));
    if sort(graph)? {
        notes.push("the nodes were not in order; they are now".into());
    }
    Ok(notes)
}

/// Every name that a node reads, those that its nested graphs take from around them too.
pub(super) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> =
        node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for nested in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        let made: HashSet<&str> = nested
            .node
            .iter()
            .flat_map(|n| n.output.iter().map(String::as_str))
            .chain(nested.input.iter().map(|i| i.name()))
            .chain(nested.initializer.iter().map(|t| t.name()))
            .collect();
        let inner = nested.node.iter().flat_map(reads).chain(nested.output.iter().map(|o| o.name()));
        names.extend(inner.filter(|name| !made.contains(name)));
    }
    names
}

/// Puts nodes after those whose results they read, and otherwise leaves them in their order; whether that
/// changed anything.
fn sort(graph: &mut GraphProto) -> Result<bool> {
    let maker: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(i, node)| node.output.iter().filter(|o| !o.is_empty()).map(move |o| (o.as_str(), i)))
        .collect();
    let mut waits = vec![0usize; graph.node.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (i, node) in graph.node.iter().enumerate() {
        let needed: HashSet<usize> = reads(node).iter().filter_map(|name| maker.get(name).copied()).collect();
        waits[i] = needed.len();
        needed.into_iter().for_each(|from| readers[from].push(i));
    }
    let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|&i| waits[i] == 0).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for &reader in &readers[next] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    if order.len() < graph.node.len() {
        let stuck = (0..waits.len()).find(|&i| waits[i] > 0).map_or("", |i| graph.node[i].name());
        let why = format!("nodes need each other's results (one is {stuck:?}), so that none can run first");
        return Err(Error::invalid("the graph", why));
    }
    if order.is_sorted() {
        return Ok(false);
    }
    let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(true)
}

/// Makes sparse weights and constants dense; how many there were.
fn densify(graph: &mut GraphProto) -> Result<usize> {
    let sparse = std::mem::take(&mut graph.sparse_initializer);
    let mut count = sparse.len();
    for tensor in sparse {
        let name = tensor.values.as_ref().map_or("", |v| v.name()).to_string();
        let made = dense(&tensor, &name)?;
        graph.initializer.retain(|t| t.name() != name);
        graph.initializer.push(made);
    }
    for node in &mut graph.node {
        let name = node.output.first().cloned().unwrap_or_default();
        for attribute in &mut node.attribute {
            if let Some(tensor) = attribute.sparse_tensor.take() {
                *attribute = AttributeProto::tensor("value", dense(&tensor, &name)?);
                count += 1;
            }
            for nested in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                count += densify(nested)?;
            }
        }
    }
    Ok(count)
}

fn dense(sparse: &SparseTensorProto, name: &str) -> Result<TensorProto> {
    let fail = |why: &str| Error::invalid(format!("sparse weight {name:?}"), why);
    let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
        return Err(fail("lacks its values or their places"));
    };
    let shape: Option<Vec<usize>> = sparse.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| fail("has a negative size"))?;
    let count = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    let count = count.filter(|&n| n <= MOST_ELEMENTS).ok_or_else(|| fail("is too large to be made dense"))?;
    let dtype = DType::from_onnx(values.data_type())
        .ok_or_else(|| fail("holds numbers of a type that is not read here; export it with dense weights"))?;
    let (numbers, places) = (numbers(values)?, numbers(indices)?);
    let mut all = vec![0.0; count];
    for (i, &value) in numbers.iter().enumerate() {
        // A place in the order of the elements, or one an axis.
        let place = match places.ndim() {
            1 => places.get(i).copied().unwrap_or(-1.0),
            _ => (0..shape.len()).fold(0.0, |at, axis| {
                at * shape[axis] as f64 + places.get([i, axis]).copied().unwrap_or(f64::NEG_INFINITY)
            }),
        };
        let valid = place >= 0.0 && (place as usize) < count;
        *all.get_mut(place as usize)
            .filter(|_| valid)
            .ok_or_else(|| fail("has a number outside its shape"))? = value;
    }
    let all = ArrayD::from_shape_vec(IxDyn(&shape), all).map_err(|_| fail("does not fill its shape"))?;
    Ok(Tensor::from_f64(&all, dtype).to_proto(name))
}
