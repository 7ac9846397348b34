//! What is in a model file.

use crate::onnx::{GraphProto, ModelProto, is_standard};
use crate::op::show;
use crate::tower::{self, LayerBound, Provenance, TowerKind, TowerSpec, contract, prove};
use crate::walk::{Types, flop, placement::cuda_fallbacks};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What is in a model file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// The file format's version.
    pub ir_version: i64,
    /// Operator sets by domain; empty for the standard one.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote it.
    pub producer: String,
    /// The inputs.
    pub inputs: Vec<Port>,
    /// The outputs.
    pub outputs: Vec<Port>,
    /// Nodes by operator.
    pub operators: BTreeMap<String, usize>,
    /// Every value that a node makes, in the order of the nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Port>,
    /// Numbers in the weights.
    pub parameters: u64,
    /// Multiplications and additions of convolutions and products for one image, counted separately,
    /// millions; none where shapes are not known.
    pub mflop: Option<f64>,
    /// What it is as a tower; none for a model without `siamese.*` metadata.
    pub tower: Option<TowerFacts>,
    /// Every metadata entry.
    pub metadata: BTreeMap<String, String>,
    /// Which provider of ONNX Runtime would run each node on a machine with CUDA.
    pub placement: Vec<Placement>,
    /// The model itself.
    #[serde(skip)]
    pub model: ModelProto,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Shape; `N` for what is open.
    pub shape: String,
}

/// A tower's facts and proofs.
#[derive(Clone, Debug, Serialize)]
pub struct TowerFacts {
    /// The facts needed to use it.
    #[serde(flatten)]
    pub spec: TowerSpec,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The bounds of an exact tower, proven again from the file alone.
    pub proven: Vec<LayerBound>,
}

/// Where a node would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// `CUDA` or `CPU`.
    pub provider: &'static str,
    /// What keeps it off the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Reads a model file and tells what is in it. A tower is checked as whoever loads it would, and the
/// bounds of an exact one are proven again. The values inside are listed where `values` asks for them.
///
/// # Errors
/// A file that is no ONNX model, or a tower that does not pass its checks.
pub fn inspect(path: &Path, values: bool) -> Result<Inspection> {
    let file = path.display().to_string();
    let bytes = tower::read_bytes(path)?;
    let model = tower::decode(&bytes, &file)?;
    let graph = model.graph.as_ref().ok_or_else(|| Error::invalid(&file, "holds no graph"))?;
    let values = if values { inner(&model, graph) } else { Vec::new() };
    let tower = match model.metadata("siamese.format") {
        Some(_) => Some(facts(TowerSpec::from_bytes(&bytes, &file)?, &file)?),
        None => None,
    };
    let domain = |d: &str| if d == "ai.onnx" { String::new() } else { d.to_string() };
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(label(node.domain(), node.op_type())).or_default() += 1;
    }
    let producer = format!("{} {}", model.producer_name(), model.producer_version());
    Ok(Inspection {
        file,
        bytes: bytes.len() as u64,
        sha256: tower::sha256(&bytes),
        ir_version: model.ir_version(),
        opsets: model.opset_import.iter().map(|o| (domain(o.domain()), o.version())).collect(),
        producer: producer.trim().into(),
        inputs: contract::inputs(graph).into_iter().map(port).collect(),
        outputs: graph.output.iter().map(port).collect(),
        operators,
        values,
        parameters: parameters(graph),
        mflop: flop(&model).map(|flop| flop as f64 / 1e6),
        tower,
        metadata: model.metadata_props.iter().map(|p| (p.key().into(), p.value().into())).collect(),
        placement: placement(&model, graph),
        model,
    })
}

fn facts((spec, model): (TowerSpec, ModelProto), file: &str) -> Result<TowerFacts> {
    let proven = if spec.kind == TowerKind::Exact { prove(&model)? } else { Vec::new() };
    let provenance = Provenance::read(&model).map_err(|e| e.at(file))?;
    Ok(TowerFacts { spec, provenance, proven })
}

fn label(domain: &str, op: &str) -> String {
    if is_standard(domain) { op.into() } else { format!("{domain}:{op}") }
}

fn port(value: &crate::onnx::ValueInfoProto) -> Port {
    let (dtype, shape) = match contract::tensor(value) {
        Ok((kind, _)) if !contract::has_shape(value) => (contract::type_name(kind), "without a shape".into()),
        Ok((kind, shape)) => (contract::type_name(kind), contract::show(&shape)),
        Err(_) => ("not a tensor".into(), String::new()),
    };
    Port { name: value.name().into(), dtype, shape }
}

/// The values that nodes make, with what can be told of them without running the model.
fn inner(model: &ModelProto, graph: &GraphProto) -> Vec<Port> {
    let types = Types::lenient(model);
    let port = |name: &String| {
        let known = types.get(name).cloned().unwrap_or_default();
        let dtype = known.dtype.map_or("?", crate::onnx::DType::name).to_string();
        Port {
            name: name.clone(),
            dtype,
            shape: known.shape.map_or_else(|| "?".into(), |shape| show(&shape)),
        }
    };
    graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty()).map(port).collect()
}

/// Numbers in the floating-point and 8-bit initialisers: the learned ones, not shapes and indices.
fn parameters(graph: &GraphProto) -> u64 {
    use crate::onnx::data_type::{DOUBLE, FLOAT, FLOAT16, INT8, UINT8};
    let learned =
        graph.initializer.iter().filter(|t| [FLOAT, DOUBLE, FLOAT16, INT8, UINT8].contains(&t.data_type()));
    learned.map(|t| t.dims.iter().map(|d| (*d).max(0) as u64).product::<u64>()).sum()
}

fn placement(model: &ModelProto, graph: &GraphProto) -> Vec<Placement> {
    let fallbacks = cuda_fallbacks(model);
    let why =
        |node: &str, op: &str| fallbacks.iter().find(|f| f.node == node && f.op == op).map(|f| f.why.clone());
    let each = graph.node.iter().map(|n| {
        let why = match is_standard(n.domain()) {
            true => why(n.name(), n.op_type()),
            false => Some(format!("is of the domain {}", n.domain())),
        };
        let provider = if why.is_none() { "CUDA" } else { "CPU" };
        Placement { node: n.name().into(), op: label(n.domain(), n.op_type()), provider, why }
    });
    each.collect()
}
