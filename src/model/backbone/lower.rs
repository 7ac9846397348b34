//! A model's nodes in operators of ours, of opset 17, that have a derivative.
//!
//! Sizes are all known here, the batch's too, so that what exporters write to compute shapes is computed now and
//! vanishes. Versions of operators are brought to opset 17 on the way, each by its rule; what newer sets added
//! becomes what it means in older operators.

use super::node::{Made, Node, Value};
use super::products::Convolution;
use super::{elementwise, layout, norms, pools, products};
use crate::graph::{Channels, DType, Expr, Graph};
use crate::model::forward::{Forward, MaskSpec, Mode, Statistic};
use crate::onnx::{DType as Element, GraphProto, ModelProto, NodeProto, Operator, numbers};
use crate::op::{self, Call, Type, highest_opset};
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::{HashMap, HashSet};

/// What a node becomes.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// One value.
    One(for<'a, 'g> fn(&Node<'a, 'g>) -> Made<'g>),
    /// Several.
    Several(for<'a, 'g> fn(&Node<'a, 'g>) -> Result<Vec<Expr<'g>>, String>),
    /// A normalisation by statistics of the batch or of the file.
    BatchNorm,
    /// A mask in training, nothing else.
    Dropout,
    /// None: it has no derivative.
    Without,
}

/// The rule of each operator.
pub(super) fn rule(operator: Operator) -> Rule {
    use Operator::*;
    use Rule::{One, Several, Without};
    match operator {
        Abs => One(|n| Ok(n.x(0)?.abs())),
        Add => One(|n| Ok(n.x(0)? + n.x(1)?)),
        And => One(|n| Ok(n.x(0)?.and(n.x(1)?))),
        AveragePool => One(pools::average),
        BatchNormalization => Rule::BatchNorm,
        Cast => One(elementwise::cast),
        Ceil => One(|n| Ok(n.x(0)?.ceil())),
        Clip => One(elementwise::clip),
        Concat => One(layout::concat),
        Conv => One(products::conv),
        Cos => One(|n| Ok(n.x(0)?.cos())),
        DepthToSpace => One(layout::depth_to_space),
        Div => One(|n| Ok(n.x(0)? / n.x(1)?)),
        Dropout => Rule::Dropout,
        Einsum => One(products::einsum),
        Elu => One(|n| Ok(n.x(0)?.elu(n.proto.float_or("alpha", 1.0)))),
        Equal => One(|n| Ok(n.x(0)?.equal(n.x(1)?))),
        Erf => One(|n| Ok(n.x(0)?.erf())),
        Exp => One(|n| Ok(n.x(0)?.exp())),
        Expand => One(|n| Ok(n.x(0)?.expand(n.shape()?))),
        Flatten | Reshape | Squeeze | Unsqueeze => One(|n| Ok(n.x(0)?.reshape(n.shape()?))),
        Floor => One(|n| Ok(n.x(0)?.floor())),
        Gather => One(layout::gather),
        Gelu => One(elementwise::gelu),
        Gemm => One(products::gemm),
        GlobalAveragePool => One(pools::global_average),
        GlobalMaxPool => One(pools::global_max),
        Greater => One(|n| Ok(n.x(0)?.greater(n.x(1)?))),
        GreaterOrEqual => One(|n| Ok(n.x(0)?.at_least(n.x(1)?))),
        GroupNormalization => One(norms::group),
        HardSigmoid => One(elementwise::hard_sigmoid),
        HardSwish => One(elementwise::hard_swish),
        Identity => One(|n| n.x(0)),
        InstanceNormalization => One(norms::instance),
        LayerNormalization => One(norms::layer),
        LeakyRelu => One(|n| Ok(n.x(0)?.leaky_relu(n.proto.float_or("alpha", 0.01)))),
        Less => One(|n| Ok(n.x(0)?.less(n.x(1)?))),
        LessOrEqual => One(|n| Ok(n.x(0)?.at_most(n.x(1)?))),
        Log => One(|n| Ok(n.x(0)?.log())),
        LogSoftmax => One(norms::log_softmax),
        LpNormalization => One(norms::length),
        MatMul => One(products::matmul),
        Max => One(|n| elementwise::fold(n, |a, b| a.max(b))),
        MaxPool => One(pools::max),
        Mean => One(|n| Ok(elementwise::fold(n, |a, b| a + b)? * (1.0 / n.inputs.len() as f32))),
        Min => One(|n| elementwise::fold(n, |a, b| a.min(b))),
        Mish => One(|n| Ok(n.x(0)? * n.x(0)?.softplus().tanh())),
        Mul => One(|n| Ok(n.x(0)? * n.x(1)?)),
        Neg => One(|n| Ok(-n.x(0)?)),
        Not => One(|n| Ok(!n.x(0)?)),
        Or => One(|n| Ok(n.x(0)?.or(n.x(1)?))),
        PRelu => One(|n| Ok(n.x(0)?.p_relu(n.x(1)?))),
        Pad => One(layout::pad),
        Pow => One(elementwise::pow),
        Reciprocal => One(|n| Ok(n.x(0)?.reciprocal())),
        ReduceL1 => One(|n| norms::reduce(n, |x, axes| x.abs().sum_kept(axes))),
        ReduceL2 => One(|n| norms::reduce(n, |x, axes| x.length_kept(axes))),
        ReduceLogSumExp => One(|n| norms::reduce(n, norms::log_sum_exp)),
        ReduceMax => One(|n| norms::reduce(n, |x, axes| x.amax_kept(axes))),
        ReduceMean => One(|n| norms::reduce(n, |x, axes| x.mean_kept(axes))),
        ReduceMin => One(|n| norms::reduce(n, |x, axes| -(-x).amax_kept(axes))),
        ReduceSum => One(|n| norms::reduce(n, |x, axes| x.sum_kept(axes))),
        ReduceSumSquare => One(|n| norms::reduce(n, |x, axes| x.squared().sum_kept(axes))),
        Relu => One(|n| Ok(n.x(0)?.relu())),
        Resize => One(layout::resize),
        Round => One(|n| Ok(n.x(0)?.round())),
        Selu => One(elementwise::selu),
        Sigmoid => One(|n| Ok(n.x(0)?.sigmoid())),
        Sign => One(|n| Ok(n.x(0)?.sign())),
        Sin => One(|n| Ok(n.x(0)?.sin())),
        Slice => One(layout::slice),
        Softmax => One(norms::softmax),
        Softplus => One(|n| Ok(n.x(0)?.softplus())),
        Softsign => One(|n| Ok(n.x(0)? / (n.x(0)?.abs() + 1.0))),
        SpaceToDepth => One(layout::space_to_depth),
        Split => Several(layout::split),
        Sqrt => One(|n| Ok(n.x(0)?.sqrt())),
        Sub => One(|n| Ok(n.x(0)? - n.x(1)?)),
        Sum => One(|n| elementwise::fold(n, |a, b| a + b)),
        Tanh => One(|n| Ok(n.x(0)?.tanh())),
        Tile => One(layout::tile),
        Transpose => One(layout::transpose),
        Where => One(elementwise::where_),
        // Their results are no function that a derivative passes, or none was written.
        ArgMax | ArgMin | Constant | ConstantOfShape | ConvTranspose | CumSum | GatherElements | GatherNd
        | Lrn | Mod | OneHot | Range | ReduceProd | ScatterNd | Shape | Size | TopK | Trilu => Without,
    }
}

/// Names every operator of the model that cannot be trained through.
pub(super) fn check(graph: &GraphProto) -> Result<()> {
    let mut of_picture: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    let mut faults = Faults::default();
    for node in &graph.node {
        let sizes = matches!(node.operator(), Some(Operator::Shape | Operator::Size));
        let depends = node.input.iter().any(|name| of_picture.contains(name.as_str()));
        let flows = matches!(node.op_type(), "If" | "Loop" | "Scan");
        if sizes || !(depends || flows) {
            continue;
        }
        of_picture.extend(node.output.iter().map(String::as_str));
        match node.operator().map(rule) {
            _ if flows => faults.add(node, "is control flow"),
            None => faults.add(node, "is not known here"),
            Some(Rule::Without) => faults.add(node, "has no derivative"),
            Some(_) => {}
        }
    }
    faults.told()
}

/// What keeps a model from being trained: operators, with the first node of each and why.
#[derive(Default)]
struct Faults(Vec<(String, String, String, usize)>);

impl Faults {
    fn add(&mut self, node: &NodeProto, why: &str) {
        let domain = if node.domain().is_empty() { String::new() } else { format!("{}.", node.domain()) };
        let operator = format!("{domain}{}", node.op_type());
        match self.0.iter_mut().find(|fault| fault.0 == operator && fault.2 == why) {
            Some(known) => known.3 += 1,
            None => {
                let output = node.output.first().map_or("", String::as_str);
                let name = if node.name().is_empty() { output } else { node.name() };
                self.0.push((operator, name.into(), why.into(), 1));
            }
        }
    }

    fn told(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let each = self.0.iter().map(|(operator, node, why, count)| {
            let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            format!("{operator} {why} ({node}{more})")
        });
        let why = format!(
            "cannot be trained: {}; what stands behind another output (`siamese import --output`) may be",
            each.collect::<Vec<_>>().join("; ")
        );
        Err(Error::invalid("the model", why))
    }
}

/// Lowers a tower's model. `learned` gives the parameter of a stored weight, with its name.
pub(super) fn lower<'a, 'g>(
    model: &'a ModelProto,
    image: Expr<'g>,
    learned: &'a dyn Fn(&str) -> Option<(&'a str, Expr<'g>)>,
    mode: Mode,
    channels: Channels,
) -> Result<Forward<'g>> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
    let opset = model.opset().unwrap_or(1);
    if opset > highest_opset() {
        let why = format!("is of opset {opset}; operators are known up to {}", highest_opset());
        return Err(Error::invalid("the model", why));
    }
    let g = image.graph();
    let mut lower = Lower {
        g,
        opset,
        mode,
        cpu: channels == Channels::Last,
        learned,
        values: HashMap::new(),
        readers: HashMap::new(),
        convolutions: HashMap::new(),
        faults: Faults::default(),
        masks: Vec::new(),
        stats: Vec::new(),
    };
    let read = graph.node.iter().flat_map(|node| &node.input).map(String::as_str);
    for name in read.chain(graph.output.iter().map(|output| output.name())) {
        *lower.readers.entry(name).or_default() += 1;
    }
    for tensor in &graph.initializer {
        let value = match learned(tensor.name()) {
            Some((_, parameter)) => Value::Made(parameter),
            None => {
                let Some(dtype) = Element::from_onnx(tensor.data_type()) else { continue };
                Value::known(tensor.name(), numbers(tensor)?, dtype)
            }
        };
        lower.values.insert(tensor.name(), value);
    }
    if let Some(input) = graph.input.first() {
        lower.values.insert(input.name(), Value::Made(image));
    }
    for (place, node) in graph.node.iter().enumerate() {
        let name =
            if node.name().is_empty() { format!("{}_{place}", node.op_type()) } else { node.name().into() };
        g.within(&name, || lower.node(node))?;
        g.check()?;
    }
    lower.faults.told()?;
    let last = graph.output.first().and_then(|output| lower.values.get(output.name()));
    let last = last.ok_or_else(|| Error::invalid("the model", "no node gives its output"))?;
    let embedding = last.expr(g);
    Ok(Forward { embedding, parts: Vec::new(), masks: lower.masks, stats: lower.stats })
}

struct Lower<'a, 'g> {
    g: &'g Graph,
    opset: i64,
    mode: Mode,
    cpu: bool,
    learned: &'a dyn Fn(&str) -> Option<(&'a str, Expr<'g>)>,
    values: HashMap<&'a str, Value<'g>>,
    /// How many nodes read a value, and whether it is the model's output.
    readers: HashMap<&'a str, usize>,
    /// Convolutions by their result.
    convolutions: HashMap<&'a str, Convolution<'g>>,
    faults: Faults,
    masks: Vec<MaskSpec>,
    /// What moves running statistics.
    stats: Vec<Statistic<'g>>,
}

impl<'a, 'g> Lower<'a, 'g> {
    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        let absent = |name: &&String| !name.is_empty() && !self.values.contains_key(name.as_str());
        if let Some(name) = node.input.iter().find(absent) {
            // What an operator that is named among the faults would have given.
            return match self.faults.0.is_empty() {
                true => Err(op::fail(node, format!("its input {name} has no value"))),
                false => Ok(()),
            };
        }
        let Some(operator) = node.operator() else {
            self.faults.add(node, "is not known here");
            return Ok(());
        };
        let inputs: Vec<Option<Value<'g>>> =
            node.input.iter().map(|name| self.values.get(name.as_str()).cloned()).collect();
        if let Some(results) = self.computed(node, operator, &inputs)? {
            self.name(node, results);
            return Ok(());
        }
        let types = self.types(node, operator, &inputs)?;
        let known = types.first().and_then(|t| t.value.as_ref());
        let known = known.and_then(|v| Some((v.map(|d| d.number()), types.first()?.dtype?)));
        if let Some((elements, dtype)) = known
            && elements.iter().all(Option::is_some)
        {
            self.name(node, vec![Value::known("", elements.mapv(Option::unwrap_or_default), dtype)]);
            return Ok(());
        }
        let out: Option<Vec<Vec<usize>>> = types.iter().map(Type::sizes).collect();
        let Some(out) = out else {
            self.faults.add(node, "gives a result whose shape depends on the picture");
            return Ok(());
        };
        let call =
            Node { g: self.g, proto: node, opset: self.opset, inputs: &inputs, cpu: self.cpu, out: &out };
        if operator == Operator::Conv
            && let (Ok(conv), [output]) = (Convolution::of(&call), node.output.as_slice())
        {
            self.convolutions.insert(output, conv);
        }
        let made = match rule(operator) {
            Rule::One(rule) => rule(&call).map(|one| vec![one]),
            Rule::Several(rule) => rule(&call),
            Rule::BatchNorm => self.batch_norm(&call).map(|one| vec![one]),
            Rule::Dropout => self.dropout(&call).map(|one| vec![one]),
            Rule::Without => Err("has no derivative".into()),
        };
        match made {
            Ok(made) => {
                self.g.check()?;
                if let Some((i, one)) = made.iter().enumerate().find(|(i, one)| one.shape() != out[*i]) {
                    let why = format!("result {i} has the shape {:?}, not {:?}", one.shape(), out[i]);
                    return Err(op::fail(node, why));
                }
                self.name(node, made.into_iter().map(Value::Made).collect());
            }
            Err(why) => self.faults.add(node, &why),
        }
        Ok(())
    }

    fn name(&mut self, node: &'a NodeProto, results: Vec<Value<'g>>) {
        let named = node.output.iter().map(String::as_str).zip(results);
        self.values.extend(named.filter(|(name, _)| !name.is_empty()));
    }

    /// The results of a node all of whose inputs are known.
    fn computed(
        &self,
        node: &NodeProto,
        operator: Operator,
        inputs: &[Option<Value<'g>>],
    ) -> Result<Option<Vec<Value<'g>>>> {
        let numbers: Option<Vec<Option<&ArrayD<f64>>>> = inputs
            .iter()
            .map(|input| match input {
                None => Some(None),
                Some(Value::Known(known)) => Some(Some(&known.numbers)),
                Some(Value::Made(_)) => None,
            })
            .collect();
        let Some(numbers) = numbers else { return Ok(None) };
        let types = self.types(node, operator, inputs)?;
        let integers = inputs.iter().flatten().next().is_some_and(|value| !value.dtype().is_float());
        let call = Call { node, opset: self.opset, integers, inputs: &numbers };
        let results = op::evaluate(operator, &call)?.into_iter().zip(types);
        let value = |(numbers, told): (ArrayD<f64>, Type)| Some(Value::known("", numbers, told.dtype?));
        Ok(results.map(value).collect())
    }

    fn types(&self, node: &NodeProto, operator: Operator, inputs: &[Option<Value<'g>>]) -> Result<Vec<Type>> {
        let described: Vec<Option<Type>> =
            inputs.iter().map(|input| input.as_ref().map(Value::described)).collect();
        let described: Vec<Option<&Type>> = described.iter().map(Option::as_ref).collect();
        let integers = inputs.iter().flatten().next().is_some_and(|value| !value.dtype().is_float());
        let types = op::infer(operator, &Call { node, opset: self.opset, integers, inputs: &described })?;
        // Results that are left out at the end, as the mask of a dropout is.
        let named = node.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        Ok(types.into_iter().take(named).collect())
    }

    fn batch_norm(&mut self, n: &Node<'_, 'g>) -> Made<'g> {
        if n.proto.output.iter().skip(1).any(|name| !name.is_empty()) {
            return Err("is in training mode".into());
        }
        let stored = |i: usize| n.proto.input.get(i).and_then(|name| (self.learned)(name));
        match (self.mode, stored(3), stored(4)) {
            (Mode::Train, Some((mean, old_mean)), Some((var, old_var))) => {
                let (y, stats) = norms::by_batch(n, (mean, old_mean), (var, old_var))?;
                for stat in stats {
                    // Where layers share their statistics, the last step counts.
                    self.stats.retain(|known| known.name != stat.name);
                    self.stats.push(stat);
                }
                Ok(y)
            }
            _ => {
                let input = n.proto.input.first().map_or("", String::as_str);
                let alone = self.readers.get(input) == Some(&1);
                norms::by_file(n, self.convolutions.get(input).filter(|_| alone))
            }
        }
    }

    fn dropout(&mut self, n: &Node<'_, 'g>) -> Made<'g> {
        let x = n.x(0)?;
        let rate = n.number("ratio", 1)?.unwrap_or(0.5);
        if self.mode != Mode::Train || rate <= 0.0 {
            return Ok(x);
        }
        if rate >= 1.0 {
            return Err("drops everything".into());
        }
        let name = n.proto.output.first().map_or("", String::as_str);
        let spec = MaskSpec { name: format!("mask.{name}"), shape: x.shape(), keep: 1.0 - rate };
        let mask = self.g.input(&spec.name, DType::F32, &spec.shape);
        self.masks.push(spec);
        Ok(x * mask)
    }
}
