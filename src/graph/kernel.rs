//! Parts of a graph that a kernel of our own computes at once.
//!
//! While it is built, a graph for kernels ([`Graph::for_kernels`]) notes which of its values a kernel could compute
//! from which others: a region. When it is written, each region that is needed becomes one node of the domain
//! [`DOMAIN`], and what lies only inside of it is left out. So the rules of the operators are the only
//! description of what a kernel computes, and every graph can be written without kernels.

use super::builder::{Graph, Id, State};
use super::expr::Expr;
use crate::onnx::{AttributeProto, NodeProto, Operator};
use std::collections::HashMap;

/// The domain of our own operators.
pub const DOMAIN: &str = "siamese";

/// The attribute of a kernel that applies ReLU to what it gives, or to whose result ReLU was applied.
pub const RELU: &str = "relu";

/// What our kernels compute; images have their channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// `x: [N, H, W, C]`, `w: [F, C, kH, kW]`, maybe `bias: [F]` → `[N, H′, W′, F]`.
    Conv,
    /// The cotangent of its result and `w` → the cotangent of `x`, whose shape is the attribute `image`.
    ConvGradImage,
    /// `x` and the cotangent of its result → the cotangent of `w`.
    ConvGradWeight,
    /// `x: [N, …, C]`, scale, shift, maybe what is added to the result → the result, the mean and the variance of
    /// the batch.
    BatchNorm,
    /// The result's cotangent, `x`, mean, variance, scale, with ReLU the result → the cotangents of `x`, scale and
    /// shift; maybe what came through ReLU.
    BatchNormGrad,
    /// The maximum of each window of `x: [N, H, W, C]`, which do not overlap.
    MaxPool,
    /// `x`, the result and its cotangent → that of `x`; equal maxima have equal shares.
    MaxPoolGrad,
    /// The cotangent and the result of ReLU → the cotangent of its operand.
    ReluGrad,
    /// Parameter, gradient, both sums, rate, ε, maybe the factor of decay, maybe the moving average with the share of
    /// what is new → the next of parameter, sums and average.
    Adam,
}

impl Kernel {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Conv,
        Self::ConvGradImage,
        Self::ConvGradWeight,
        Self::BatchNorm,
        Self::BatchNormGrad,
        Self::MaxPool,
        Self::MaxPoolGrad,
        Self::ReluGrad,
        Self::Adam,
    ];

    /// The operator's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "Conv",
            Self::ConvGradImage => "ConvGradImage",
            Self::ConvGradWeight => "ConvGradWeight",
            Self::BatchNorm => "BatchNorm",
            Self::BatchNormGrad => "BatchNormGrad",
            Self::MaxPool => "MaxPool",
            Self::MaxPoolGrad => "MaxPoolGrad",
            Self::ReluGrad => "ReluGrad",
            Self::Adam => "Adam",
        }
    }
}

/// Values that a kernel computes from others.
#[derive(Clone, Debug)]
pub(super) struct Region {
    kernel: Kernel,
    inputs: Vec<Id>,
    outputs: Vec<Id>,
    attributes: Vec<AttributeProto>,
}

/// A node as it is written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// None of the standard's operators.
    kernel: Option<Kernel>,
    pub inputs: Vec<Id>,
    pub outputs: Vec<Id>,
    /// All but the names of inputs and outputs.
    pub proto: NodeProto,
}

impl Graph {
    /// An empty graph whose regions become kernels.
    pub fn for_kernels(name: &str) -> Self {
        Self { kernels: true, ..Self::new(name) }
    }

    /// Notes that a kernel can compute `outputs` from `inputs`.
    pub(crate) fn region(
        &self,
        kernel: Kernel,
        inputs: &[Expr<'_>],
        outputs: &[Expr<'_>],
        attributes: Vec<AttributeProto>,
    ) {
        if !self.kernels {
            return;
        }
        let ids = |values: &[Expr<'_>]| values.iter().map(|v| self.id(*v)).collect::<Option<Vec<Id>>>();
        if let (Some(inputs), Some(outputs)) = (ids(inputs), ids(outputs)) {
            self.state.borrow_mut().regions.push(Region { kernel, inputs, outputs, attributes });
        }
    }
}

impl State {
    /// The nodes that the outputs need, in order; regions as kernels.
    pub(super) fn written(&self) -> Vec<Written> {
        let mut region_of = HashMap::new();
        for (place, region) in self.regions.iter().enumerate() {
            region_of.extend(region.outputs.iter().map(|output| (*output, place)));
        }
        let needed = self.needed(&region_of);
        let mut done = vec![false; self.regions.len()];
        let mut all = Vec::new();
        for node in self.nodes.iter().filter(|node| needed[node.output.0]) {
            match region_of.get(&node.output) {
                None => all.push(Written {
                    kernel: None,
                    inputs: node.inputs.clone(),
                    outputs: vec![node.output],
                    proto: node.proto.clone(),
                }),
                Some(&place) if !std::mem::replace(&mut done[place], true) => {
                    all.push(self.regions[place].written(node.proto.name()));
                }
                Some(_) => {}
            }
        }
        Joining::of(self, all).joined()
    }

    /// Which values some output needs; of a region, what goes into it.
    fn needed(&self, region_of: &HashMap<Id, usize>) -> Vec<bool> {
        let mut needed = vec![false; self.values.len()];
        for (_, value) in &self.outputs {
            needed[value.0] = true;
        }
        for node in self.nodes.iter().rev() {
            if needed[node.output.0] {
                let inputs = region_of.get(&node.output).map_or(&node.inputs, |r| &self.regions[*r].inputs);
                inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        needed
    }
}

impl Region {
    fn written(&self, name: &str) -> Written {
        let proto = NodeProto {
            name: Some(name.into()),
            op_type: Some(self.kernel.name().into()),
            domain: Some(DOMAIN.into()),
            attribute: self.attributes.clone(),
            ..NodeProto::default()
        };
        let (inputs, outputs) = (self.inputs.clone(), self.outputs.clone());
        Written { kernel: Some(self.kernel), inputs, outputs, proto }
    }
}

/// What lies beside a kernel and can be computed in its pass over memory.
struct Joining<'s> {
    state: &'s State,
    /// None where it went into another.
    nodes: Vec<Option<Written>>,
    /// Where a value is computed.
    from: HashMap<Id, usize>,
    /// Where it is used; a graph's output is used at the end.
    uses: HashMap<Id, Vec<usize>>,
}

impl<'s> Joining<'s> {
    fn of(state: &'s State, nodes: Vec<Written>) -> Self {
        let (mut from, mut uses) = (HashMap::new(), HashMap::<Id, Vec<usize>>::new());
        for (place, node) in nodes.iter().enumerate() {
            from.extend(node.outputs.iter().map(|output| (*output, place)));
            node.inputs.iter().for_each(|input| uses.entry(*input).or_default().push(place));
        }
        for (_, output) in &state.outputs {
            uses.entry(*output).or_default().push(nodes.len());
        }
        Self { state, nodes: nodes.into_iter().map(Some).collect(), from, uses }
    }

    fn joined(mut self) -> Vec<Written> {
        for place in 0..self.nodes.len() {
            let Some(node) = self.nodes[place].clone() else { continue };
            match node.kernel {
                None if node.proto.op_type() == Operator::Relu.name() => self.relu(place, &node),
                Some(Kernel::ReluGrad) => self.relu_grad(place, &node),
                _ => {}
            }
        }
        self.nodes.into_iter().flatten().collect()
    }

    /// ReLU goes into the kernel before it, maybe with the sum between them.
    fn relu(&mut self, place: usize, relu: &Written) {
        let x = relu.inputs[0];
        if let Some(kernel) = self.only_for(x, place, &[Kernel::Conv, Kernel::BatchNorm]) {
            return self.with_relu(kernel, place, relu.outputs[0], None);
        }
        let Some(&sum) = self.from.get(&x).filter(|_| self.uses[&x] == [place]) else { return };
        let Some(Written { kernel: None, inputs, proto, .. }) = &self.nodes[sum] else { return };
        let &[a, b] = &inputs[..] else { return };
        if proto.op_type() != Operator::Add.name() || self.shape(a) != self.shape(b) {
            return;
        }
        // The later of the two takes the other one in.
        let (first, last) = if self.from.get(&a) > self.from.get(&b) { (b, a) } else { (a, b) };
        if let Some(kernel) = self.only_for(last, sum, &[Kernel::BatchNorm]) {
            self.nodes[sum] = None;
            self.with_relu(kernel, place, relu.outputs[0], Some(first));
        }
    }

    /// The kernel of these that computes a value as its first, for one node alone.
    fn only_for(&self, v: Id, user: usize, kernels: &[Kernel]) -> Option<usize> {
        let place = *self.from.get(&v).filter(|_| self.uses[&v] == [user])?;
        let node = self.nodes[place].as_ref()?;
        let fits = node.outputs[0] == v && node.kernel.is_some_and(|kernel| kernels.contains(&kernel));
        fits.then_some(place)
    }

    fn with_relu(&mut self, kernel: usize, relu: usize, output: Id, added: Option<Id>) {
        let Some(node) = &mut self.nodes[kernel] else { return };
        node.proto.attribute.push(AttributeProto::flag(RELU, true));
        node.outputs[0] = output;
        node.inputs.extend(added);
        self.from.insert(output, kernel);
        self.nodes[relu] = None;
    }

    /// The derivative of ReLU goes into that of the pool before it, or of the normalisation after it.
    fn relu_grad(&mut self, place: usize, relu: &Written) {
        let &[dy, y] = &relu.inputs[..] else { return };
        if let Some(pool) = self.only_for(dy, place, &[Kernel::MaxPoolGrad])
            && self.nodes[pool].as_ref().is_some_and(|pool| pool.inputs[0] == y)
        {
            return self.with_relu(pool, place, relu.outputs[0], None);
        }
        let dx = relu.outputs[0];
        let Some(first) = self.uses.get(&dx).and_then(|uses| uses.iter().min().copied()) else { return };
        let alone = self.uses[&dx].len() == 1;
        let Some(Some(norm)) = self.nodes.get_mut(first) else { return };
        if norm.kernel != Some(Kernel::BatchNormGrad) || norm.inputs[0] != dx {
            return;
        }
        norm.inputs[0] = dy;
        norm.inputs.push(y);
        norm.proto.attribute.push(AttributeProto::flag(RELU, true));
        if !alone {
            norm.outputs.push(dx);
            self.from.insert(dx, first);
        }
        self.nodes[place] = None;
    }

    fn shape(&self, v: Id) -> &[usize] {
        &self.state.values[v.0].shape
    }
}
