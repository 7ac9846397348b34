//! A graph in the making: values with static types and shapes, nodes, constants, names, and the first
//! fault.

use super::expr::Expr;
use super::kernel::Region;
use crate::onnx::{AttributeProto, DType, NodeProto, Operator, Tensor};
use crate::{Error, Result};
use std::cell::RefCell;
use std::collections::HashMap;

/// A graph in the making.
///
/// Its values are expressions ([`Expr`]) that carry the graph, so that operators nest: `dy * (y * (1.0 -
/// y))`. Each operator infers the static shape of its result. Where operands do not fit, the graph keeps
/// the first fault, the operators that follow compute nothing, and [`Graph::check`] or the end
/// ([`Graph::to_model`]) returns it.
#[derive(Debug)]
pub struct Graph {
    pub(super) name: String,
    /// Whether its regions become kernels.
    pub(super) kernels: bool,
    pub(super) state: RefCell<State>,
}

/// The place of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(pub usize);

#[derive(Debug, Default)]
pub(super) struct State {
    pub values: Vec<Info>,
    pub nodes: Vec<Node>,
    pub outputs: Vec<(String, Id)>,
    pub regions: Vec<Region>,
    scope: String,
    scalars: HashMap<u32, Id>,
    lists: HashMap<Vec<i64>, Id>,
    derived: HashMap<(Id, Vec<usize>), Id>,
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
pub(super) struct Info {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub source: Source,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    Input(String),
    Constant { name: Option<String>, data: Tensor },
    Node(usize),
}

/// A node; every operator used here has one output.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub op: Operator,
    pub inputs: Vec<Id>,
    pub output: Id,
    /// Operator, name and attributes as in the file; inputs and outputs are named when it is written.
    pub proto: NodeProto,
    pub flow: Flow,
    /// What derivatives see instead, where this is the last node of an operator made of several.
    pub whole: Option<Box<Whole>>,
}

/// An operator made of several nodes that has a derivative rule of its own.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub op: Composite,
    pub inputs: Vec<Id>,
    /// Values inside that the rule uses again.
    pub saved: Vec<Id>,
    pub attributes: Vec<AttributeProto>,
}

/// The operators that are made of several nodes and have a derivative rule of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Composite {
    /// [`Expr::conv_last`].
    ConvLast,
    /// [`Expr::batch_norm`].
    BatchNorm,
    /// [`Expr::channel_sums`].
    ChannelSums,
    /// [`Expr::layer_norm`].
    LayerNorm,
    /// [`Expr::max_pool_last`].
    MaxPoolLast,
}

impl Composite {
    #[cfg(test)]
    pub const ALL: [Self; 5] =
        [Self::ConvLast, Self::BatchNorm, Self::ChannelSums, Self::LayerNorm, Self::MaxPoolLast];
}

/// How a derivative passes a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// By the operator's rule.
    Rule,
    /// Not at all.
    Stop,
    /// As through the identity.
    StraightThrough,
}

/// Operands that do not fit an operator.
#[derive(Clone, Debug)]
struct Fault {
    op: String,
    node: String,
    why: String,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), kernels: false, state: RefCell::default() }
    }

    /// A graph input.
    pub fn input(&self, name: &str, dtype: DType, shape: &[usize]) -> Expr<'_> {
        self.value(dtype, shape.to_vec(), Source::Input(name.into()))
    }

    /// A named constant: the weights of an exported tower.
    pub fn initializer(&self, name: &str, data: Tensor) -> Expr<'_> {
        self.constant(Some(name.into()), data)
    }

    /// The named constant, made at its first use.
    pub(super) fn initializer_once(&self, name: &str, data: Tensor) -> Expr<'_> {
        let is_it = |info: &Info| matches!(&info.source, Source::Constant { name: Some(n), .. } if n == name);
        let known = self.state.borrow().values.iter().position(is_it);
        known.map_or_else(|| self.initializer(name, data), |place| Expr::new(self, Id(place)))
    }

    /// A float32 constant `[]`; equal ones are one value.
    pub fn scalar(&self, x: f32) -> Expr<'_> {
        let known = self.state.borrow().scalars.get(&x.to_bits()).copied();
        let id = known.unwrap_or_else(|| self.push(None, Tensor::F32(ndarray::arr0(x).into_dyn())));
        self.state.borrow_mut().scalars.insert(x.to_bits(), id);
        Expr::new(self, id)
    }

    /// An int64 constant `[len]`; equal ones are one value.
    pub fn ints(&self, xs: &[i64]) -> Expr<'_> {
        let known = self.state.borrow().lists.get(xs).copied();
        let id = known.unwrap_or_else(|| self.push(None, Tensor::I64(ndarray::arr1(xs).into_dyn())));
        self.state.borrow_mut().lists.insert(xs.to_vec(), id);
        Expr::new(self, id)
    }

    /// [`Graph::ints`] of sizes, places or axes.
    pub(super) fn sizes(&self, sizes: &[usize]) -> Expr<'_> {
        self.ints(&signed(sizes))
    }

    /// Makes `v` the graph output `name`.
    pub fn output(&self, name: &str, v: Expr<'_>) {
        if let Some(id) = self.id(v) {
            self.state.borrow_mut().outputs.push((name.into(), id));
        }
    }

    /// Builds with names of nodes that begin with `prefix`.
    pub fn within<T>(&self, prefix: &str, build: impl FnOnce() -> T) -> T {
        let outer = self.state.borrow().scope.clone();
        let inner = if outer.is_empty() { prefix.to_string() } else { format!("{outer}/{prefix}") };
        self.state.borrow_mut().scope = inner;
        let built = build();
        self.state.borrow_mut().scope = outer;
        built
    }

    /// # Errors
    /// The first fault: operator, node and shapes.
    pub fn check(&self) -> Result<()> {
        match &self.state.borrow().fault {
            None => Ok(()),
            Some(Fault { op, node, why }) => {
                Err(Error::Graph { op: op.clone(), node: node.clone(), why: why.clone() })
            }
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.state.borrow().fault.is_some()
    }

    /// What `build` gives; nothing where it tells why not, or after an earlier fault.
    pub(super) fn attempt<'g>(
        &'g self,
        op: &str,
        build: impl FnOnce() -> Result<Expr<'g>, String>,
    ) -> Expr<'g> {
        if self.is_faulty() {
            return Expr::nothing(self);
        }
        build().unwrap_or_else(|why| self.fail(op, why))
    }

    /// Keeps a fault of the node that was about to be appended.
    pub(super) fn fail(&self, op: &str, why: impl std::fmt::Display) -> Expr<'_> {
        let node = self.state.borrow().node_name(op);
        self.fail_at(op, &node, why)
    }

    /// Keeps a fault, unless there is one.
    pub(super) fn fail_at(&self, op: &str, node: &str, why: impl std::fmt::Display) -> Expr<'_> {
        let fault = || Fault { op: op.into(), node: node.into(), why: why.to_string() };
        self.state.borrow_mut().fault.get_or_insert_with(fault);
        Expr::nothing(self)
    }

    /// The place of a value; none after a fault, which a value of another graph is.
    pub(super) fn id(&self, v: Expr<'_>) -> Option<Id> {
        if !std::ptr::eq(self, v.graph()) {
            self.fail("a graph", "was given a value of another graph");
            return None;
        }
        v.id()
    }

    /// Appends a node; the shape of its result is known to the caller.
    pub(super) fn node(
        &self,
        op: Operator,
        inputs: &[Expr<'_>],
        attributes: Vec<AttributeProto>,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Expr<'_> {
        let Some(inputs) = inputs.iter().map(|v| self.id(*v)).collect::<Option<Vec<Id>>>() else {
            return Expr::nothing(self);
        };
        let place = self.state.borrow().nodes.len();
        let output = self.value(dtype, shape, Source::Node(place));
        let Some(id) = output.id() else { return output };
        let mut state = self.state.borrow_mut();
        let proto = NodeProto {
            name: Some(state.node_name(op.name())),
            op_type: Some(op.name().into()),
            attribute: attributes,
            ..NodeProto::default()
        };
        state.nodes.push(Node { op, inputs, output: id, proto, flow: Flow::Rule, whole: None });
        output
    }

    /// What `make` computes of a value, made at the first use of this key.
    pub(super) fn once<'g>(
        &'g self,
        of: Expr<'g>,
        key: Vec<usize>,
        make: impl FnOnce() -> Expr<'g>,
    ) -> Expr<'g> {
        let Some(id) = self.id(of) else { return Expr::nothing(self) };
        let known = self.state.borrow().derived.get(&(id, key.clone())).copied();
        let made = known.map_or_else(make, |known| Expr::new(self, known));
        if let Some(made) = made.id() {
            self.state.borrow_mut().derived.insert((id, key), made);
        }
        made
    }

    /// Changes the node that computes `v`; inputs and constants have none.
    pub(super) fn alter(&self, v: Expr<'_>, change: impl FnOnce(&mut Node)) {
        let Some(id) = self.id(v) else { return };
        let state = &mut *self.state.borrow_mut();
        if let Source::Node(place) = state.values[id.0].source {
            change(&mut state.nodes[place]);
        }
    }

    /// A constant, without a name where none is given.
    pub fn constant(&self, name: Option<String>, data: Tensor) -> Expr<'_> {
        Expr::new(self, self.push(name, data))
    }

    fn push(&self, name: Option<String>, data: Tensor) -> Id {
        let (dtype, shape) = (data.dtype(), data.shape().to_vec());
        self.state.borrow_mut().push(Info { dtype, shape, source: Source::Constant { name, data } })
    }

    fn value(&self, dtype: DType, shape: Vec<usize>, source: Source) -> Expr<'_> {
        Expr::new(self, self.state.borrow_mut().push(Info { dtype, shape, source }))
    }
}

impl State {
    fn push(&mut self, info: Info) -> Id {
        self.values.push(info);
        Id(self.values.len() - 1)
    }

    /// The name of the next node.
    fn node_name(&self, op: &str) -> String {
        let slash = if self.scope.is_empty() { "" } else { "/" };
        format!("{}{slash}{op}_{}", self.scope, self.nodes.len())
    }
}

/// As the file holds sizes, places and axes.
pub(super) fn signed(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&n| n as i64).collect()
}

/// The shape to which all of `shapes` broadcast (numpy's rule).
pub(super) fn broadcast(shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let rank = shapes.iter().map(|s| s.len()).max()?;
    let mut result = vec![1; rank];
    for shape in shapes {
        let offset = rank - shape.len();
        for (axis, &d) in shape.iter().enumerate() {
            match result[offset + axis] {
                1 => result[offset + axis] = d,
                r if d != 1 && d != r => return None,
                _ => {}
            }
        }
    }
    Some(result)
}
