//! A batch of any size out of one that was fixed when a foreign model was written.
//!
//! The types of all values are told twice, side by side: for the batch `B` that the model was written for, and
//! for a symbol `N`. Where a value depends on the picture, its open shape must be its fixed one with `N` in
//! place of `B` at one axis; that place is followed through every node ([`Place`]). A node that says
//! otherwise (a `Reshape` to `[1, 196, 192]`, a class token `[1, 1, 192]` that is joined to `[N, 196, 192]`, a
//! `Squeeze` that takes the batch away) is rewritten so that it does; where none of the known ways leads
//! there, the batch stays as it is, and the node is named.

mod constants;
mod nodes;
mod place;
#[cfg(test)]
mod tests;

use super::input::Input;
use super::tidy::reads;
use crate::Result;
use crate::onnx::{DType, GraphProto, ModelProto, NodeProto, Operator, Tensor, TensorProto};
use crate::op::{self, Dim, Type};
use crate::walk::Types;
use place::{Place, SYMBOL};
use std::collections::{BTreeMap, HashMap};

/// A graph that takes any batch.
#[derive(Clone, Debug)]
pub(super) struct Freed {
    /// The graph.
    pub graph: GraphProto,
    /// The number of axes of its output.
    pub rank: usize,
    /// How many nodes of each kind were changed.
    pub changed: BTreeMap<String, usize>,
}

impl Freed {
    /// What was changed, in words; none where nothing was.
    pub fn told(&self) -> Option<String> {
        let each: Vec<String> = self.changed.iter().map(|(op, n)| format!("{n} {op}")).collect();
        (!each.is_empty()).then(|| format!("nodes rewritten for any batch: {}", each.join(", ")))
    }
}

/// Frees the batch of a model whose one output is `[B, …]` or, for `B = 1`, lacks the batch axis.
///
/// # Errors
/// The node through which the batch cannot be followed, and why.
pub(super) fn free(model: &ModelProto, input: &Input) -> Result<Freed> {
    let graph = model.graph.clone().unwrap_or_default();
    let shape = |batch: Dim| {
        let mut shape: Vec<Dim> = input.shape(1).into_iter().map(Dim::from).collect();
        shape[0] = batch;
        Type { dtype: DType::from_onnx(input.kind), shape: Some(shape), value: None }
    };
    let batch = input.batch.unwrap_or(1);
    let at = |batch: Dim| Types::at_entry(model, &|_| shape(batch.clone()));
    let mut walk = Walk {
        batch,
        fixed: at(batch.into()),
        open: at(Dim::symbol(SYMBOL)),
        places: HashMap::from([(input.name.clone(), Place { axis: 0, before: 1, hidden: false })]),
        input: input.name.clone(),
        opset: model.opset().unwrap_or(1),
        nodes: Vec::with_capacity(graph.node.len()),
        weights: Vec::new(),
        changed: BTreeMap::new(),
        counted: false,
    };
    let mut graph = graph;
    for node in std::mem::take(&mut graph.node) {
        walk.step(node)?;
    }
    let mut rank = 0;
    for output in &graph.output {
        walk.leads(output.name())?;
        rank = walk.open.get(output.name()).and_then(|known| known.shape.as_ref()).map_or(0, Vec::len);
    }
    graph.node = walk.nodes;
    graph.initializer.append(&mut walk.weights);
    graph.value_info.clear();
    Ok(Freed { graph, rank, changed: walk.changed })
}

/// The walk over the nodes.
struct Walk {
    /// B.
    batch: usize,
    /// Types for B.
    fixed: Types,
    /// Types for N.
    open: Types,
    /// Where N stands in the values that depend on the picture, or whose shape has it.
    places: HashMap<String, Place>,
    input: String,
    opset: i64,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    changed: BTreeMap<String, usize>,
    /// Whether N itself is a value of the graph already.
    counted: bool,
}

/// The value that holds N.
const COUNT: &str = "siamese/batch:0";

impl Walk {
    fn step(&mut self, node: NodeProto) -> Result<()> {
        self.fixed.follow(&node)?;
        if !reads(&node).iter().any(|name| self.places.contains_key(*name)) {
            return self.constant(node);
        }
        let Some(operator) = node.operator() else {
            return Err(op::fail(&node, "is of a kind through which the batch cannot be followed"));
        };
        match operator {
            Operator::Shape => self.shape(node),
            Operator::Reshape | Operator::Flatten | Operator::Squeeze | Operator::Unsqueeze => {
                self.refit(node)
            }
            _ => {
                let node = self.adapted(node, operator)?;
                self.enter(node)
            }
        }
    }

    /// A node that reads nothing of the picture; its shape may have N, as that of a class token spread to the
    /// batch.
    fn constant(&mut self, node: NodeProto) -> Result<()> {
        self.open.follow(&node)?;
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let shape = self.open.get(name).and_then(|known| known.shape.as_deref()).unwrap_or_default();
            if let Some(place) = Place::in_shape(shape, 1) {
                self.places.insert(name.clone(), place);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The sizes of a value, which must see its batch axis.
    fn shape(&mut self, node: NodeProto) -> Result<()> {
        if self.place(&node, 0).is_some_and(|place| place.hidden) {
            return Err(op::fail(&node, "asks for the shape of a value that has lost its batch axis"));
        }
        self.open.follow(&node)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Enters a node that does what it did to each picture, if its results tell so.
    fn enter(&mut self, node: NodeProto) -> Result<()> {
        let results = self.infer(&node)?;
        let places: Vec<Place> = (0..node.input.len()).filter_map(|i| self.place(&node, i)).collect();
        let before = places.first().map_or(1, |place| place.before);
        if places.iter().any(|place| place.before != before) {
            return Err(op::fail(&node, "joins values whose batches lie differently"));
        }
        let inputs = (0..node.input.len()).filter_map(|i| self.times(&node, i));
        let times: Vec<usize> = inputs.collect();
        for (name, known) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
            let place = self.placed(&node, name, &known, before)?;
            let own = self.sizes(&node, name)?.get(place.axis).map_or(1, |size| size / self.batch);
            if !place.hidden && times.iter().any(|times| *times != own) {
                return Err(op::fail(&node, "joins or parts the pictures of a batch"));
            }
            self.open.set(name, known);
            self.places.insert(name.clone(), place);
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Where N stands in a result, if its open shape is the fixed one with N in place of B.
    fn placed(&self, node: &NodeProto, name: &str, known: &Type, before: usize) -> Result<Place> {
        let fixed = self.sizes(node, name)?;
        let open = known.shape.as_deref().unwrap_or_default();
        let Some(place) = Place::in_shape(open, before) else {
            let why = format!("loses the batch: {} for a batch of any size", known);
            return Err(op::fail(node, why));
        };
        let hidden = Place { hidden: open.len() == fixed.len() + 1, ..place };
        match hidden.is_seen(&fixed, self.batch, open) {
            true => Ok(hidden),
            false => {
                let why = format!("gives {fixed:?} for a batch of {}, but {known} for N", self.batch);
                Err(op::fail(node, why))
            }
        }
    }

    fn infer(&self, node: &NodeProto) -> Result<Vec<Type>> {
        let Some(operator) = node.operator() else { return Ok(Vec::new()) };
        self.open.ask(node, |call| op::infer(operator, call))
    }

    /// Where N stands in an input; none in one that does not have it.
    fn place(&self, node: &NodeProto, i: usize) -> Option<Place> {
        self.places.get(node.input_name(i)?).copied()
    }

    /// How many entries of the axis of N belong to one picture.
    fn times(&self, node: &NodeProto, i: usize) -> Option<usize> {
        let place = self.place(node, i)?;
        let sizes = self.fixed.get(node.input_name(i)?)?.sizes()?;
        Some(if place.hidden { 1 } else { sizes.get(place.axis)? / self.batch })
    }

    /// The sizes of a value for B.
    fn sizes(&self, node: &NodeProto, name: &str) -> Result<Vec<usize>> {
        let sizes = self.fixed.get(name).and_then(Type::sizes);
        sizes.ok_or_else(|| {
            op::fail(node, format!("the shape of {name} cannot be told before the model runs"))
        })
    }

    /// Whether the output is one row a picture.
    fn leads(&self, name: &str) -> Result<()> {
        let fail = |why: &str| Err(crate::Error::invalid(format!("output {name:?}"), why));
        let Some(place) = self.places.get(name) else { return fail("does not depend on the picture") };
        let sizes = self.fixed.get(name).and_then(Type::sizes).unwrap_or_default();
        let leading = place.hidden || sizes.iter().take(place.axis).product::<usize>() * place.before == 1;
        if leading { Ok(()) } else { fail("is not one row after the other for a batch of any size") }
    }

    /// A list of integers as a weight of the graph; its name.
    fn list(&mut self, node: &NodeProto, what: &str, list: &[i64]) -> String {
        let base = node.output.first().map_or("", String::as_str);
        let name = format!("{base}/{what}-{}", self.weights.len());
        let tensor = Tensor::I64(ndarray::arr1(list).into_dyn()).to_proto(&name);
        self.fixed.set(&name, Type::of_tensor(&tensor));
        self.open.set(&name, Type::of_tensor(&tensor));
        self.weights.push(tensor);
        name
    }

    fn changed(&mut self, node: &NodeProto) {
        *self.changed.entry(node.op_type().into()).or_default() += 1;
    }
}
