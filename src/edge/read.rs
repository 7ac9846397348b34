//! Reading an ONNX graph: constants, attributes, and who uses what.

use crate::onnx::{GraphProto, NodeProto, TensorProto, data_type, numbers};
use ndarray::ArrayD;
use std::collections::HashMap;

/// A graph with its names looked up.
pub struct Reader<'a> {
    pub graph: &'a GraphProto,
    /// Initialisers, and constants made of them by a `Cast`.
    constants: HashMap<&'a str, &'a TensorProto>,
    /// How often each value is used, by nodes or as an output of the graph.
    uses: HashMap<&'a str, Vec<Option<usize>>>,
}

impl<'a> Reader<'a> {
    pub fn new(graph: &'a GraphProto) -> Self {
        let mut constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|t| (t.name(), t)).collect();
        // What a caller may replace is no constant.
        for input in &graph.input {
            constants.remove(input.name());
        }
        let mut uses: HashMap<&str, Vec<Option<usize>>> = HashMap::new();
        for (i, node) in graph.node.iter().enumerate() {
            for input in &node.input {
                uses.entry(input).or_default().push(Some(i));
            }
            let tensor = match node.op_type() {
                "Cast" if int(node, "to", 0) == i64::from(data_type::FLOAT) => {
                    node.input.first().and_then(|name| constants.get(name.as_str()).copied())
                }
                "Constant" => node.attribute.iter().find(|a| a.name() == "value").and_then(|a| a.t.as_ref()),
                _ => None,
            };
            if let (Some(tensor), Some(name)) = (tensor, node.output.first()) {
                constants.insert(name, tensor);
            }
        }
        for output in &graph.output {
            uses.entry(output.name()).or_default().push(None);
        }
        Self { graph, constants, uses }
    }

    /// Whether a value is known before the graph runs.
    pub fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name)
    }

    /// A constant's numbers.
    pub fn constant(&self, name: &str) -> Option<ArrayD<f64>> {
        numbers(self.constants.get(name)?).ok()
    }

    /// The one node that uses a value, if nothing else does.
    pub fn only_user(&self, name: &str) -> Option<usize> {
        match self.uses.get(name)?.as_slice() {
            [Some(node)] => Some(*node),
            _ => None,
        }
    }

    /// The nodes that use a value, once for each use; `None` for an output of the graph.
    pub fn users(&self, name: &str) -> &[Option<usize>] {
        self.uses.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a node is of the standard operators.
    pub fn standard(node: &NodeProto) -> bool {
        matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"))
    }
}

/// An integer attribute.
pub fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|a| a.name() == name).and_then(|a| a.i).unwrap_or(default)
}

/// A float attribute.
pub fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    node.attribute.iter().find(|a| a.name() == name).and_then(|a| a.f).unwrap_or(default)
}

/// A list attribute of N sizes; none if it has another length or negative numbers.
pub fn sizes<const N: usize>(node: &NodeProto, name: &str, default: [usize; N]) -> Option<[usize; N]> {
    let Some(attribute) = node.attribute.iter().find(|a| a.name() == name) else { return Some(default) };
    let sizes: Vec<usize> = attribute.ints.iter().map(|x| usize::try_from(*x).ok()).collect::<Option<_>>()?;
    sizes.try_into().ok()
}

/// Whether padding is given by numbers, or is none.
pub fn explicit_padding(node: &NodeProto) -> bool {
    let auto = node.attribute.iter().find(|a| a.name() == "auto_pad").and_then(|a| a.s.as_deref());
    matches!(auto, None | Some(b"NOTSET" | b""))
}
