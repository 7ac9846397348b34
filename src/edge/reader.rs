//! Reading an ONNX graph: its constants, who uses what, and windows.

use super::coverage::Why;
use crate::onnx::{Constants, GraphProto, NodeProto};
use std::collections::HashMap;

/// A graph with its names looked up.
pub struct Reader<'a> {
    pub graph: &'a GraphProto,
    pub constants: Constants<'a>,
    /// How often each value is used, by nodes or as an output of the graph.
    uses: HashMap<&'a str, Vec<Option<usize>>>,
}

impl<'a> Reader<'a> {
    pub fn new(graph: &'a GraphProto) -> Self {
        let mut constants = Constants::of(graph);
        let mut uses: HashMap<&str, Vec<Option<usize>>> = HashMap::new();
        for (i, node) in graph.node.iter().enumerate() {
            constants.follow(node);
            for input in &node.input {
                uses.entry(input).or_default().push(Some(i));
            }
        }
        for output in &graph.output {
            uses.entry(output.name()).or_default().push(None);
        }
        Self { graph, constants, uses }
    }

    /// The one node that uses a value, if nothing else does.
    pub fn only_user(&self, name: &str) -> Option<usize> {
        match self.users(name) {
            [Some(node)] => Some(*node),
            _ => None,
        }
    }

    /// The nodes that use a value, once for each use; `None` for an output of the graph.
    pub fn users(&self, name: &str) -> &[Option<usize>] {
        self.uses.get(name).map_or(&[], Vec::as_slice)
    }
}

/// A list attribute of N sizes.
pub fn sizes<const N: usize>(node: &NodeProto, name: &str, default: [usize; N]) -> Result<[usize; N], Why> {
    let Some(ints) = node.ints(name) else { return Ok(default) };
    let sizes: Option<Vec<usize>> = ints.iter().map(|x| usize::try_from(*x).ok()).collect();
    sizes.and_then(|sizes| sizes.try_into().ok()).ok_or(Why::Axes)
}
