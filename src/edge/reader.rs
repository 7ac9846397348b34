//! Reading an ONNX graph for one image: its constants, the shapes of its values, who uses what.
//!
//! With the image's size known, so are the shapes, and what is computed from shapes and constants alone is
//! a constant too.

use super::coverage::Why;
use crate::onnx::{Constants, DType, GraphProto, ModelProto, NodeProto};
use crate::op::{self, Call, Type};
use crate::walk::Types;
use ndarray::ArrayD;
use std::collections::HashMap;

/// A graph with its names looked up.
pub struct Reader<'a> {
    pub graph: &'a GraphProto,
    /// The newest version of the operators that it may hold.
    pub opset: i64,
    constants: Constants<'a>,
    /// What nodes make of constants and shapes.
    folded: HashMap<&'a str, ArrayD<f64>>,
    types: Types,
    /// How often each value is used, by nodes or as an output of the graph.
    uses: HashMap<&'a str, Vec<Option<usize>>>,
}

impl<'a> Reader<'a> {
    /// Reads the graph of a model for its input `image`, uint8 `[1, C, H, W]`.
    pub fn new(
        model: &'a ModelProto,
        graph: &'a GraphProto,
        image: &str,
        [channels, height, width]: [usize; 3],
    ) -> Self {
        let picture = Type::of(Some(DType::U8), &[1, channels, height, width]);
        let types = Types::at_entry(model, &|value| match value.name() == image {
            true => picture.clone(),
            false => Type::default(),
        });
        let mut reader = Self {
            graph,
            opset: model.opset().unwrap_or(1),
            constants: Constants::of(graph),
            folded: HashMap::new(),
            types,
            uses: HashMap::new(),
        };
        for (i, node) in graph.node.iter().enumerate() {
            reader.follow(node);
            for input in &node.input {
                reader.uses.entry(input).or_default().push(Some(i));
            }
        }
        for output in &graph.output {
            reader.uses.entry(output.name()).or_default().push(None);
        }
        reader
    }

    /// Learns what can be told of a node's results.
    fn follow(&mut self, node: &'a NodeProto) {
        // Of a node that does not fit its inputs nothing is known, and it will not be lowered.
        let _ = self.types.follow(node);
        if self.constants.follow(node) {
            return;
        }
        let [name] = node.output.as_slice() else { return };
        let listed = || {
            let list = self.types.get(name)?.value.as_ref()?;
            let numbers: Option<Vec<f64>> = list.iter().map(op::Dim::number).collect();
            ArrayD::from_shape_vec(list.raw_dim(), numbers?).ok()
        };
        if let Some(value) = listed().or_else(|| self.evaluated(node)) {
            self.folded.insert(name, value);
        }
    }

    /// What a node makes of constants, in the numbers of its type.
    fn evaluated(&self, node: &NodeProto) -> Option<ArrayD<f64>> {
        self.computed(node, &HashMap::new())
    }

    /// The same where some values are given.
    pub fn computed(&self, node: &NodeProto, given: &HashMap<&str, ArrayD<f64>>) -> Option<ArrayD<f64>> {
        let operator = node.operator()?;
        let known =
            |name: &String| name.is_empty() || given.contains_key(name.as_str()) || self.is_constant(name);
        if !node.input.iter().all(known) {
            return None;
        }
        let number = |name: &String| given.get(name.as_str()).cloned().or_else(|| self.constant(name));
        let read: Vec<Option<ArrayD<f64>>> = node.input.iter().map(number).collect();
        let inputs: Vec<Option<&ArrayD<f64>>> = read.iter().map(Option::as_ref).collect();
        let integers = self.types.ask(node, |call| call.integers);
        let call = Call { node, opset: self.opset, integers, inputs: &inputs };
        let mut made = op::evaluate(operator, &call).ok()?.into_iter().next()?;
        let dtype = self.types.get(node.output.first()?).and_then(|known| known.dtype);
        if dtype.is_none_or(|dtype| dtype == DType::F32) {
            made.mapv_inplace(|x| f64::from(x as f32));
        }
        Some(made)
    }

    /// Whether a value is known before the graph runs.
    pub fn is_constant(&self, name: &str) -> bool {
        self.constants.has(name) || self.folded.contains_key(name)
    }

    /// The numbers of a constant.
    pub fn constant(&self, name: &str) -> Option<ArrayD<f64>> {
        self.folded.get(name).cloned().or_else(|| self.constants.get(name).ok().flatten())
    }

    /// The same in float32, as products read them.
    pub fn floats(&self, name: &str) -> Option<ArrayD<f32>> {
        match self.folded.get(name) {
            Some(folded) => Some(folded.mapv(|x| x as f32)),
            None => self.constants.floats(name).ok().flatten(),
        }
    }

    /// The shape of a value for one image.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.types.get(name)?.sizes()
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
