//! The types of a model's values, told from its inputs and weights without running it.

use super::{graph_of, opset_of};
use crate::Result;
use crate::onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::op::{self, Call, Dim, Type};
use std::collections::{HashMap, HashSet};

/// Types by the value's name.
#[derive(Clone, Debug)]
pub struct Types {
    types: HashMap<String, Type>,
    opset: i64,
}

impl Types {
    /// The types, told as far as they can be: sizes that the file leaves open stay symbols, named as in the
    /// file, or `image[0]` for axis 0 of the input `image`.
    ///
    /// # Errors
    /// A node whose inputs do not fit it.
    pub fn of(model: &ModelProto) -> Result<Self> {
        Self::propagate(model, &|_, _, _| None)
    }

    /// The types for a batch of `size`, where the first axis of the inputs is open.
    ///
    /// # Errors
    /// As [`Types::of`].
    pub fn with_batch(model: &ModelProto, size: usize) -> Result<Self> {
        let batch = batch_symbols(graph_of(model)?);
        Self::propagate(model, &|is_input, axis, symbol| {
            let batch = symbol.map_or(is_input && axis == 0, |symbol| batch.contains(symbol));
            batch.then(|| size.into())
        })
    }

    /// The types of all values that can be told, also where nodes do not fit their inputs: nothing is known of
    /// the results of these.
    pub fn lenient(model: &ModelProto) -> Self {
        let Some(graph) = &model.graph else { return Self { types: HashMap::new(), opset: opset_of(model) } };
        let mut types = Self::at_entry(model, &|value| {
            let named = |axis: usize| Dim::symbol(&format!("{}[{axis}]", value.name()));
            told(value, |axis, symbol| symbol.map_or_else(|| named(axis), Dim::symbol))
        });
        let open = |_: usize, symbol: Option<&str>| symbol.map_or(Dim::Unknown, Dim::symbol);
        let values = graph.value_info.iter().chain(&graph.output);
        let said: HashMap<&str, Type> = values.map(|v| (v.name(), told(v, open))).collect();
        for node in &graph.node {
            let results = types.infer(node).unwrap_or_default();
            for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let known = results.get(i).cloned().unwrap_or_default();
                types.set(name, said.get(name.as_str()).map_or(known.clone(), |said| known.or(said)));
            }
        }
        types
    }

    /// The types of weights, and of inputs as `input` tells them: to be followed node by node.
    pub fn at_entry(model: &ModelProto, input: &dyn Fn(&ValueInfoProto) -> Type) -> Self {
        let mut types = Self { types: HashMap::new(), opset: opset_of(model) };
        let Some(graph) = &model.graph else { return types };
        for value in &graph.input {
            types.set(value.name(), input(value));
        }
        for tensor in &graph.initializer {
            types.set(tensor.name(), Type::of_tensor(tensor));
        }
        types
    }

    /// Tells the types of a node's results, from those of its inputs.
    ///
    /// # Errors
    /// Inputs that do not fit it.
    pub fn follow(&mut self, node: &NodeProto) -> Result<()> {
        let results = self.infer(node)?;
        for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            self.set(name, results.get(i).cloned().unwrap_or_default());
        }
        Ok(())
    }

    /// What is known of a value, whatever was known before.
    pub fn set(&mut self, name: &str, known: Type) {
        self.types.insert(name.into(), known);
    }

    /// The element types alone, as far as they can be told of a model that may be broken.
    pub fn elements(model: &ModelProto) -> Self {
        let mut types = Self { types: HashMap::new(), opset: opset_of(model) };
        let Some(graph) = &model.graph else { return types };
        let element = |known: Type| Type { dtype: known.dtype, ..Type::default() };
        for tensor in &graph.initializer {
            types.types.insert(tensor.name().into(), element(Type::of_tensor(tensor)));
        }
        for value in &graph.input {
            types.types.insert(value.name().into(), element(told(value, |_, _| Dim::Unknown)));
        }
        for node in &graph.node {
            let results = types.infer(node).unwrap_or_default();
            types.types.extend(node.output.iter().cloned().zip(results.into_iter().map(element)));
        }
        types
    }

    /// What is known of a value; none for one that is not in the model.
    pub fn get(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    /// Asks `rule` about a node.
    pub fn ask<R>(&self, node: &NodeProto, rule: impl FnOnce(&Call<Type>) -> R) -> R {
        let unknown = Type::default();
        let input = |name: &String| (!name.is_empty()).then(|| self.get(name).unwrap_or(&unknown));
        let inputs: Vec<Option<&Type>> = node.input.iter().map(input).collect();
        rule(&Call { node, opset: self.opset, integers: self.integers(node), inputs: &inputs })
    }

    /// Whether a node computes in integers.
    pub(super) fn integers(&self, node: &NodeProto) -> bool {
        let dtype = node.input_name(0).and_then(|name| self.get(name)?.dtype);
        dtype.is_some_and(|dtype| !dtype.is_float())
    }

    fn propagate(
        model: &ModelProto,
        bound: &dyn Fn(bool, usize, Option<&str>) -> Option<Dim>,
    ) -> Result<Self> {
        let graph = graph_of(model)?;
        let mut types = Self { types: HashMap::new(), opset: opset_of(model) };
        for tensor in &graph.initializer {
            types.types.insert(tensor.name().into(), Type::of_tensor(tensor));
        }
        for value in &graph.input {
            let open = |axis: usize, symbol: Option<&str>| {
                let named = || symbol.map_or(format!("{}[{axis}]", value.name()), String::from);
                bound(true, axis, symbol).unwrap_or_else(|| Dim::symbol(&named()))
            };
            types.types.entry(value.name().into()).or_insert_with(|| told(value, open));
        }
        let open = |axis: usize, symbol: Option<&str>| {
            bound(false, axis, symbol).unwrap_or_else(|| symbol.map_or(Dim::Unknown, Dim::symbol))
        };
        let said: HashMap<&str, Type> =
            graph.value_info.iter().chain(&graph.output).map(|v| (v.name(), told(v, open))).collect();
        let unsaid = Type::default();
        for node in &graph.node {
            let results = types.infer(node)?;
            for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let result = results.get(i).cloned().unwrap_or_default();
                let said = said.get(name.as_str()).unwrap_or(&unsaid);
                types.types.insert(name.clone(), result.or(said));
            }
        }
        Ok(types)
    }

    /// The types of a node's results; nothing is known of those of an operator that is not known.
    fn infer(&self, node: &NodeProto) -> Result<Vec<Type>> {
        match node.operator() {
            Some(operator) => self.ask(node, |call| op::infer(operator, call)),
            None => Ok(Vec::new()),
        }
    }
}

/// The names that the file gives the first axes of inputs.
fn batch_symbols(graph: &GraphProto) -> HashSet<String> {
    let mut symbols = HashSet::new();
    for value in &graph.input {
        let first = told(value, |_, symbol| symbol.map_or(Dim::Unknown, Dim::symbol)).shape;
        if let Some(Dim::Open(symbol)) = first.as_ref().and_then(|shape| shape.first()) {
            symbols.extend(symbol.keys().flatten().map(|name| name.to_string()));
        }
    }
    symbols
}

fn told(value: &ValueInfoProto, open: impl Fn(usize, Option<&str>) -> Dim) -> Type {
    value.r#type.as_ref().map_or_else(Type::default, |proto| Type::of_proto(proto, open))
}
