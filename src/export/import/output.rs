//! The value of a foreign graph that is the embedding.

use super::input::Input;
use crate::onnx::{DType, GraphProto, ModelProto, Operator, ValueInfoProto, data_type};
use crate::op::{Dim, Type};
use crate::tower::contract;
use crate::walk::Types;
use crate::{Error, Result};
use std::collections::HashSet;

/// The value that becomes the embedding.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub name: String,
    /// Its element type, where the file or its nodes tell it.
    pub kind: Option<i32>,
    /// Its sizes for the model's own batch (1 where that is open), where they can be told.
    pub sizes: Option<Vec<usize>>,
    /// D, as far as it is known before the model runs.
    pub dim: Option<usize>,
}

/// Finds the output (or inner value) that is the embedding, and D.
pub(super) fn choose(
    model: &ModelProto,
    input: &Input,
    name: Option<&str>,
    dim: Option<usize>,
) -> Result<Chosen> {
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let value = find(graph, name)?;
    let there = || format!("the outputs are {}", contract::names(&graph.output));
    let at = || format!("output {:?}", value.name());
    let (mut kind, mut said) = (None, None);
    if let Ok((told, shape)) = contract::tensor(&value) {
        kind = Some(told);
        said = contract::has_shape(&value).then_some(shape);
    }
    let inferred = types(model, input).get(value.name()).cloned().unwrap_or_default();
    kind = kind.or(inferred.dtype.map(DType::onnx));
    if let Some(kind) =
        kind.filter(|k| !matches!(*k, data_type::FLOAT | data_type::FLOAT16 | data_type::DOUBLE))
    {
        let why = format!("is {}, not float32; {}", contract::type_name(kind), there());
        return Err(Error::invalid(at(), why));
    }
    let sizes = inferred.sizes().or_else(|| declared(said.as_deref()?, input));
    let told = sizes.as_deref().map(|sizes| per_picture(sizes, input.batch.unwrap_or(1)));
    if let Some(None) = told {
        let shape = contract::show(&sizes.iter().flatten().map(|&d| Some(d as i64)).collect::<Vec<_>>());
        let why = format!(
            "has the shape {shape}, not [N, D]: choose another with --output; {}; {}",
            there(),
            last_values(graph)
        );
        return Err(Error::invalid(at(), why));
    }
    let told = told.flatten();
    if let (Some(told), Some(dim)) = (told, dim.filter(|dim| Some(*dim) != told)) {
        return Err(Error::invalid(
            "--dim",
            format!("is {dim}, but the output gives {told} numbers a picture"),
        ));
    }
    Ok(Chosen { name: value.name().into(), kind, sizes, dim: told.or(dim) })
}

fn find(graph: &GraphProto, name: Option<&str>) -> Result<ValueInfoProto> {
    let there = || format!("the outputs are {}", contract::names(&graph.output));
    let Some(name) = name else {
        return match graph.output.as_slice() {
            [only] => Ok(only.clone()),
            _ => {
                let why = format!("has several outputs; choose one with --output: {}", there());
                Err(Error::invalid("the model", why))
            }
        };
    };
    let inner = graph.node.iter().any(|n| n.output.iter().any(|o| o == name));
    let known = graph.output.iter().chain(&graph.value_info).find(|v| v.name() == name).cloned();
    let unknown = inner.then(|| ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() });
    known.or(unknown).ok_or_else(|| {
        let why = format!(
            "is not in the model; {}; {}; `siamese inspect --values` lists all",
            there(),
            last_values(graph)
        );
        Error::invalid(format!("--output {name}"), why)
    })
}

/// The types of all values for the model's own batch.
fn types(model: &ModelProto, input: &Input) -> Types {
    let shape = input.shape(input.batch.unwrap_or(1)).into_iter().map(Dim::from).collect();
    let picture = Type { dtype: DType::from_onnx(input.kind), shape: Some(shape), value: None };
    let mut types = Types::at_entry(model, &|_| picture.clone());
    for node in model.graph.iter().flat_map(|graph| &graph.node) {
        // Nothing is known of the results of a node that does not fit its inputs.
        let _ = types.follow(node);
    }
    types
}

/// The sizes that a file tells of its output, an open first one being the batch.
fn declared(shape: &[Option<i64>], input: &Input) -> Option<Vec<usize>> {
    let batch = input.batch.unwrap_or(1);
    let size = |(axis, d): (usize, &Option<i64>)| match (axis, d) {
        (0, None | Some(0)) => Some(batch),
        (_, Some(d)) => usize::try_from(*d).ok(),
        (_, None) => None,
    };
    shape.iter().enumerate().map(size).collect()
}

/// D of `[B, D, 1, …]`, or of `[D]` for one picture; none for any other shape.
pub(super) fn per_picture(sizes: &[usize], batch: usize) -> Option<usize> {
    let count = sizes.iter().try_fold(1usize, |product, &d| product.checked_mul(d))?;
    let rest = match sizes.split_first() {
        Some((first, rest)) if *first == batch && !rest.is_empty() => rest,
        _ if batch == 1 => sizes,
        _ => return None,
    };
    let long = rest.iter().filter(|size| **size != 1).count();
    (long <= 1 && count > 0 && !rest.is_empty()).then(|| count / batch)
}

/// What the last nodes of a graph give: the embedding of a classifier is often among them.
fn last_values(graph: &GraphProto) -> String {
    let outputs: HashSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    let given = graph.node.iter().rev().filter_map(|n| n.output.first());
    let inner: Vec<_> = given.filter(|o| !outputs.contains(o.as_str())).take(4).collect();
    format!("the last values inside are {inner:?}, the last of all first")
}

/// Whether a value is made by a softmax, or moves what one made.
pub(super) fn is_softmax(graph: &GraphProto, name: &str) -> bool {
    let mut name = name;
    for _ in 0..8 {
        let maker = graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
        match maker.and_then(|node| Some((node.operator()?, node.input_name(0)?))) {
            Some((Operator::Softmax | Operator::LogSoftmax, _)) => return true,
            Some((
                Operator::Identity
                | Operator::Cast
                | Operator::Reshape
                | Operator::Flatten
                | Operator::Squeeze
                | Operator::Unsqueeze,
                from,
            )) => name = from,
            _ => return false,
        }
    }
    false
}
