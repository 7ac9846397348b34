//! A batch of any size out of one that was fixed when a foreign model was written.

use crate::Result;
use crate::onnx::{GraphProto, Operator, Tensor, TensorProto, numbers};
use crate::tower::contract;
use std::collections::{HashMap, HashSet};

/// Where the model reshapes pictures to `[batch, …]`, it copies the batch axis instead; reshapes of
/// weights stay. Tells what was changed.
pub(super) fn free(graph: &mut GraphProto, batch: i64) -> Result<Vec<String>> {
    let shapes = constants(graph)?;
    let mut moving: HashSet<String> =
        contract::inputs(graph).iter().map(|input| input.name().to_string()).collect();
    let mut freed: Vec<(String, Vec<i64>)> = Vec::new();
    let mut nodes = 0;
    for node in &mut graph.node {
        if !node.input.iter().any(|name| moving.contains(name)) {
            continue;
        }
        moving.extend(node.output.iter().cloned());
        if node.operator() != Some(Operator::Reshape)
            || !node.input.first().is_some_and(|data| moving.contains(data))
        {
            continue;
        }
        let Some((name, dims)) = node.input.get(1).and_then(|name| shapes.get_key_value(name)) else {
            continue;
        };
        if let [first, _, ..] = dims.as_slice()
            && *first == batch
        {
            let own = format!("{name}/any-batch");
            if freed.iter().all(|(known, _)| *known != own) {
                freed.push((own.clone(), std::iter::once(0).chain(dims[1..].iter().copied()).collect()));
            }
            node.input[1] = own;
            nodes += 1;
        }
    }
    let tensor =
        |(name, dims): &(String, Vec<i64>)| Tensor::I64(ndarray::arr1(dims).into_dyn()).to_proto(name);
    graph.initializer.extend(freed.iter().map(tensor));
    graph.value_info.clear();
    let mut notes = vec![format!("the batch was fixed at {batch}; it is free now")];
    match nodes {
        0 => {}
        1 => notes.push("a reshape to this batch keeps the batch axis now".into()),
        n => notes.push(format!("{n} reshapes to this batch keep the batch axis now")),
    }
    Ok(notes)
}

/// Lists of whole numbers that reshapes read, stored as weights or in `Constant` nodes.
fn constants(graph: &GraphProto) -> Result<HashMap<String, Vec<i64>>> {
    let shapes: HashSet<&String> = graph
        .node
        .iter()
        .filter(|n| n.operator() == Some(Operator::Reshape))
        .filter_map(|n| n.input.get(1))
        .collect();
    let mut lists = HashMap::new();
    for tensor in graph.initializer.iter().filter(|t| shapes.contains(&t.name().to_string())) {
        lists.insert(tensor.name().to_string(), list(tensor)?);
    }
    for node in graph.node.iter().filter(|n| n.operator() == Some(Operator::Constant)) {
        let Some(name) = node.output.first().filter(|name| shapes.contains(name)) else { continue };
        if let Some(tensor) = node.tensor("value") {
            lists.insert(name.clone(), list(tensor)?);
        } else if let Some(ints) = node.ints("value_ints") {
            lists.insert(name.clone(), ints.to_vec());
        }
    }
    Ok(lists)
}

fn list(tensor: &TensorProto) -> Result<Vec<i64>> {
    Ok(numbers(tensor)?.iter().map(|&d| d as i64).collect())
}
