//! Which constants of a model are its weights.
//!
//! A weight is a float32 constant that meets what was made of the picture: as an operand of a product or a
//! normalisation, or, behind the first of these, as one that is added, multiplied or joined. What meets the
//! pixels before is their scaling; single numbers are an operator's settings.

use crate::model::specs::Role;
use crate::onnx::{GraphProto, NodeProto, Operator, TensorProto, data_type, numbers};
use crate::op::meaning;
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// A weight of a model.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// As a parameter.
    pub name: String,
    /// In the file.
    pub stored: String,
    pub shape: Vec<usize>,
    pub role: Role,
    /// Products with weights up to where it is used, that one included.
    pub product: usize,
    /// Inputs of one output, outputs of one input.
    pub fans: [usize; 2],
}

/// What a value is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The picture, moved and scaled.
    Pixels,
    /// What weights have met.
    Features,
}

/// The weights in the order in which they are used, and the number of products with weights.
pub(super) fn of(graph: &GraphProto) -> (Vec<Weight>, usize) {
    let float = |t: &&TensorProto| matches!(t.data_type(), data_type::FLOAT | data_type::FLOAT16 | BFLOAT16);
    let stored: HashMap<&str, &TensorProto> =
        graph.initializer.iter().filter(float).map(|t| (t.name(), t)).collect();
    let norms = graph.node.iter().filter(|node| node.operator() == Some(Operator::BatchNormalization));
    let normalised = norms.filter_map(|node| node.input_name(0)).collect();
    let (origins, stages) = (HashMap::new(), HashMap::new());
    let mut walk = Walk { origins, stages, normalised, found: Vec::new(), products: 0 };
    walk.origins.extend(stored.iter().map(|(name, tensor)| (*name, vec![*tensor])));
    walk.stages.extend(graph.input.iter().map(|input| (input.name(), Stage::Pixels)));
    for node in &graph.node {
        walk.node(node);
    }
    (walk.found, walk.products)
}

/// bfloat16.
const BFLOAT16: i32 = 16;

struct Walk<'a> {
    /// The stored tensors that a constant is made of.
    origins: HashMap<&'a str, Vec<&'a TensorProto>>,
    stages: HashMap<&'a str, Stage>,
    /// What batch normalisations normalise.
    normalised: HashSet<&'a str>,
    found: Vec<Weight>,
    products: usize,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a NodeProto) {
        let Some(operator) = node.operator() else { return self.unknown(node) };
        if matches!(operator, Operator::Shape | Operator::Size) {
            return;
        }
        let stage = node.input.iter().filter_map(|name| self.stages.get(name.as_str())).max().copied();
        let settings = meaning::<f64>(operator).settings;
        let operands = || node.input.iter().enumerate().filter(|(i, _)| !settings.contains(i));
        let Some(stage) = stage else {
            // Constants of constants: a weight in another shape is that weight.
            let made: Vec<_> = operands()
                .filter_map(|(_, name)| self.origins.get(name.as_str()))
                .flatten()
                .copied()
                .collect();
            if !made.is_empty() {
                self.origins.extend(node.output.iter().map(|name| (name.as_str(), made.clone())));
            }
            return;
        };
        let held: Vec<(usize, &'a TensorProto)> = operands()
            .flat_map(|(i, name)| self.origins.get(name.as_str()).into_iter().flatten().map(move |t| (i, *t)))
            .collect();
        let learns = is_product(operator) || is_norm(operator) || operator == Operator::PRelu;
        let product = is_product(operator) && !held.is_empty();
        self.products += usize::from(product);
        for (i, tensor) in held {
            let many = tensor.dims.iter().product::<i64>() > 1;
            let filled = tensor.dims.is_empty()
                || (operator, i) == (Operator::Conv, 2) && self.is_filler(node, tensor);
            if !filled && (learns || (many && stage == Stage::Features)) {
                self.found(operator, i, tensor);
            }
        }
        let stage = if product || (learns && is_norm(operator)) { Stage::Features } else { stage };
        self.stages.extend(node.output.iter().map(|name| (name.as_str(), stage)));
    }

    /// Whether a bias is one that an exporter wrote because there is none: zeros in front of a normalisation, whose
    /// shift it would only double.
    fn is_filler(&self, node: &NodeProto, bias: &TensorProto) -> bool {
        let normalised = node.output.first().is_some_and(|name| self.normalised.contains(name.as_str()));
        normalised && numbers(bias).is_ok_and(|values| values.iter().all(|x| *x == 0.0))
    }

    /// What an operator does that is not known here is refused later; what it gives is of the picture.
    fn unknown(&mut self, node: &'a NodeProto) {
        if node.input.iter().any(|name| self.stages.contains_key(name.as_str())) {
            self.stages.extend(node.output.iter().map(|name| (name.as_str(), Stage::Features)));
        }
    }

    fn found(&mut self, operator: Operator, input: usize, tensor: &TensorProto) {
        if self.found.iter().any(|w| w.stored == tensor.name()) {
            return;
        }
        let shape: Vec<usize> = tensor.dims.iter().map(|&d| d.max(0) as usize).collect();
        let role = role(operator, input, shape.len());
        let stored = tensor.name().to_string();
        let name = if stored.starts_with("head.") { format!("model.{stored}") } else { stored.clone() };
        let fans = fans(operator, &shape);
        self.found.push(Weight { name, stored, shape, role, product: self.products, fans });
    }
}

fn is_product(operator: Operator) -> bool {
    use Operator::{Conv, ConvTranspose, Einsum, Gemm, MatMul};
    matches!(operator, Conv | ConvTranspose | Einsum | Gemm | MatMul)
}

fn is_norm(operator: Operator) -> bool {
    use Operator::{BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization};
    matches!(operator, BatchNormalization | GroupNormalization | InstanceNormalization | LayerNormalization)
}

fn role(operator: Operator, input: usize, rank: usize) -> Role {
    use Operator::{Add, Concat, Div, Mul, PRelu, Sub};
    match (operator, input) {
        (Operator::BatchNormalization, 3) => Role::Mean,
        (Operator::BatchNormalization, 4) => Role::Var,
        (op, 1) if is_norm(op) => Role::Scale,
        (op, _) if is_norm(op) => Role::Shift,
        (op, _) if is_product(op) && rank < 2 => Role::Bias,
        (op, _) if is_product(op) => Role::Weight,
        (Mul | Div | PRelu, _) => Role::Scale,
        (Add | Sub | Concat, _) => Role::Bias,
        _ => Role::Shift,
    }
}

/// Of convolutions `[F, C, …]`, of matrices `[inputs, outputs]` or the reverse.
fn fans(operator: Operator, shape: &[usize]) -> [usize; 2] {
    match (operator, shape) {
        (Operator::Conv, [f, c, field @ ..]) => [c, f].map(|n| n * field.iter().product::<usize>()),
        (_, [.., inputs, outputs]) => [*inputs, *outputs],
        (_, list) => [list.first().copied().unwrap_or(1); 2],
    }
}

/// Refuses models that were made small: their weights are no float32 numbers that could be moved a little.
pub(super) fn check(graph: &GraphProto, weights: &[Weight]) -> Result<()> {
    let integers = |node: &&NodeProto| {
        let op = node.op_type();
        op.contains("uantizeLinear") || op.starts_with("QLinear") || op.ends_with("Integer")
    };
    if let Some(node) = graph.node.iter().find(integers) {
        let why = format!(
            "is quantised (its first such operator is {}): weights of 8 bits cannot be moved a little; train the \
             float32 model that it was made of",
            node.op_type()
        );
        return Err(Error::invalid("the model", why));
    }
    let half =
        |t: &&TensorProto| t.data_type() != data_type::FLOAT && weights.iter().any(|w| w.stored == t.name());
    if let Some(tensor) = graph.initializer.iter().find(half) {
        let why = "is of 16 bits, and small steps are lost in it; train the float32 model";
        return Err(Error::invalid(format!("weight {}", tensor.name()), why));
    }
    if weights.is_empty() {
        return Err(Error::invalid("the model", "has no float32 weights, so that it can learn nothing"));
    }
    Ok(())
}
