//! Whether a graph is what the metadata say of it.

use super::{INPUT, LayerBound, OUTPUT, TowerSpec};
use crate::onnx::{DimensionValue, GraphProto, ModelProto, ValueInfoProto, data_type, type_proto};
use crate::{Error, Result};

/// A dimension: a number, or a symbol that any number may stand for.
pub(crate) type Dim = Option<i64>;

/// Checks input and output against the facts; gives D.
pub(super) fn check(model: &ModelProto, spec: &TowerSpec) -> Result<usize> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
    check_input(graph, spec)?;
    let output = graph.output.iter().find(|o| o.name() == OUTPUT).ok_or_else(|| {
        let why = format!("is missing; the outputs are {}", names(&graph.output));
        Error::invalid(format!("output {OUTPUT}"), why)
    })?;
    let at = || format!("output {OUTPUT}");
    let (kind, shape) = tensor(output)?;
    match (kind, shape.as_slice()) {
        (data_type::FLOAT, [batch, Some(dim)]) if *batch == spec.fixed_batch() && *dim > 0 => {
            Ok(*dim as usize)
        }
        (data_type::FLOAT, _) => {
            let why = match spec.batch {
                None => format!("has the shape {}, not [N, D] with any N and a known D", show(&shape)),
                Some(n) => format!("has the shape {}, not [{n}, D] with a known D", show(&shape)),
            };
            Err(Error::invalid(at(), why))
        }
        _ => Err(Error::invalid(at(), format!("is {}, not float32", type_name(kind)))),
    }
}

fn check_input(graph: &GraphProto, spec: &TowerSpec) -> Result<()> {
    let inputs = inputs(graph);
    let [input] = inputs.as_slice() else {
        let listed: Vec<&str> = inputs.iter().map(|i| i.name()).collect();
        let why = format!("are {listed:?}; a tower has the one input {INPUT:?}");
        return Err(Error::invalid("the model's inputs", why));
    };
    let at = || format!("input {}", input.name());
    if input.name() != INPUT {
        return Err(Error::invalid(at(), format!("must be called {INPUT:?}")));
    }
    let (kind, shape) = tensor(input)?;
    if kind != data_type::UINT8 {
        return Err(Error::invalid(at(), format!("is {}, not uint8", type_name(kind))));
    }
    let (channels, side) = (spec.preprocessing.channels() as i64, spec.preprocessing.size() as i64);
    if shape != [spec.fixed_batch(), Some(channels), Some(side), Some(side)] {
        let (batch, any) = spec.batch.map_or(("N".into(), " with any N"), |n| (n.to_string(), ""));
        let why = format!(
            "has the shape {}, but the metadata tell of [{batch}, {channels}, {side}, {side}]{any}",
            show(&shape)
        );
        return Err(Error::invalid(at(), why));
    }
    Ok(())
}

/// Whether the bounds that the file states are those that were proven.
pub(super) fn same_bounds(stated: &[LayerBound], proven: &[LayerBound]) -> Result<()> {
    if stated == proven {
        return Ok(());
    }
    let differs = stated.iter().zip(proven).find(|(s, p)| s != p);
    let why = match differs {
        Some((s, p)) => format!(
            "tell of {} at node {}, channel {}, but the weights give {} at node {}, channel {}; \
             the file was changed after its export",
            s.bound, s.node, s.channel, p.bound, p.node, p.channel
        ),
        None => format!("are {} in number, but the graph has {}", stated.len(), proven.len()),
    };
    Err(Error::invalid("metadata siamese.bounds", why))
}

/// The inputs that a caller must give: those that no initialiser fills.
pub(crate) fn inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let filled = |name: &str| graph.initializer.iter().any(|t| t.name() == name);
    graph.input.iter().filter(|i| !filled(i.name())).collect()
}

/// Element type and shape of a value; a symbol or an unknown size is `None`.
pub(crate) fn tensor(value: &ValueInfoProto) -> Result<(i32, Vec<Dim>)> {
    let Some(type_proto::Value::Tensor(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(Error::invalid(format!("value {}", value.name()), "is not a tensor"));
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |s| &s.dim);
    let known = dims.iter().map(|d| match d.value {
        Some(DimensionValue::Value(n)) if n >= 0 => Some(n),
        _ => None,
    });
    Ok((tensor.elem_type(), known.collect()))
}

/// Whether the file tells a shape of a value at all; `[]` is one, that of a single number.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn has_shape(value: &ValueInfoProto) -> bool {
    let tensor = value.r#type.as_ref().and_then(|t| t.value.as_ref());
    matches!(tensor, Some(type_proto::Value::Tensor(tensor)) if tensor.shape.is_some())
}

/// `[N, 1, 32, 32]`; an unknown size of another axis than the first is `?`.
pub(crate) fn show(shape: &[Dim]) -> String {
    let unknown = |axis: usize| if axis == 0 { "N" } else { "?" };
    let dims: Vec<String> =
        shape.iter().enumerate().map(|(i, d)| d.map_or(unknown(i).into(), |n| n.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

/// `"a" float32 [N, 128], "b" …`.
pub(crate) fn names(values: &[ValueInfoProto]) -> String {
    let each = values.iter().map(|v| match tensor(v) {
        Ok((kind, shape)) => format!("{:?} {} {}", v.name(), type_name(kind), show(&shape)),
        Err(_) => format!("{:?}", v.name()),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The usual name of an element type.
pub(crate) fn type_name(kind: i32) -> String {
    let known = [
        (1, "float32"),
        (2, "uint8"),
        (3, "int8"),
        (4, "uint16"),
        (5, "int16"),
        (6, "int32"),
        (7, "int64"),
        (8, "string"),
        (9, "bool"),
        (10, "float16"),
        (11, "float64"),
        (12, "uint32"),
        (13, "uint64"),
        (16, "bfloat16"),
    ];
    known.iter().find(|(k, _)| *k == kind).map_or(format!("type {kind}"), |(_, n)| (*n).into())
}
