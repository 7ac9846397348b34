//! From the nodes of a float tower to a [`FloatGraph`]: constants are folded, what does nothing is left out,
//! and each node becomes one of a few kinds of values.

use super::graph::{FloatGraph, Id, Op, Product, Value, Window};
use super::known::Known;
use super::moves;
use super::tail;
use crate::onnx::{ModelProto, NodeProto, Operator, is_standard};
use crate::tower::{INPUT, OUTPUT};
use crate::{Error, Result};
use ndarray::ArrayD;
use std::collections::HashMap;
use std::sync::Arc;

/// A float graph that is being read.
pub(super) struct Reader<'a> {
    pub known: Known<'a>,
    pub values: Vec<Value>,
    ids: HashMap<String, Id>,
}

/// A float graph with what is known of it.
pub(super) struct Read<'a> {
    pub graph: FloatGraph,
    pub known: Known<'a>,
    /// Values by all their names.
    pub ids: HashMap<String, Id>,
}

/// Why a node has no exact form.
pub(super) type Refused = String;

/// Reads a float tower for one picture.
///
/// # Errors
/// Nodes that do not fit their inputs; nodes that have no exact form, all of them by name.
pub(super) fn read(model: &ModelProto) -> Result<Read<'_>> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
    let mut reader = Reader { known: Known::of(model), values: Vec::new(), ids: HashMap::new() };
    let shape = reader.known.shape(INPUT).ok_or_else(|| Error::invalid("input image", "has no shape"))?;
    reader.add(INPUT, shape, Op::Image, None);
    for node in &graph.node {
        if !reader.known.follow(node)? {
            reader.node(node)?;
        }
    }
    let output = reader.ids.get(OUTPUT).copied();
    let output =
        output.ok_or_else(|| Error::invalid("output embedding", "does not depend on the picture"))?;
    let (output, normalised) = tail::without_length(&reader.values, output);
    let graph = FloatGraph { values: reader.values, output, normalised };
    refuse(&graph)?;
    Ok(Read { graph, known: reader.known, ids: reader.ids })
}

/// Names every node that has no exact form.
fn refuse(graph: &FloatGraph) -> Result<()> {
    let uses = graph.uses();
    let mut all = Vec::new();
    for (value, _) in graph.values.iter().zip(&uses).filter(|(_, uses)| **uses > 0) {
        if let (Op::Opaque { why, .. }, Some(node)) = (&value.op, &value.node) {
            let name = if node.name().is_empty() { value.name.as_str() } else { node.name() };
            all.push(format!("{name} ({}) {why}", node.op_type()));
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let (count, most) = (all.len(), 12);
    let more = if count > most { format!("; and {} more", count - most) } else { String::new() };
    all.truncate(most);
    let why = format!("has no exact form, so that it stays a float tower: {}{more}", all.join("; "));
    Err(Error::invalid("the tower", why))
}

impl<'a> Reader<'a> {
    pub fn add(&mut self, name: &str, shape: Vec<usize>, op: Op, node: Option<&NodeProto>) -> Id {
        self.values.push(Value { name: name.into(), shape, op, node: node.cloned() });
        let id = self.values.len() - 1;
        self.ids.insert(name.into(), id);
        id
    }

    /// A node that is not constant.
    fn node(&mut self, node: &NodeProto) -> Result<()> {
        let name = node.output.first().cloned().unwrap_or_default();
        let shape = self.known.shape(&name).unwrap_or_default();
        let inputs: Vec<Id> = node.input.iter().filter_map(|name| self.ids.get(name).copied()).collect();
        let op = if shape.is_empty() {
            Err("has a shape that cannot be told before the model runs".into())
        } else {
            self.op(node, &shape)
        };
        match op {
            Ok(Some(op)) => _ = self.add(&name, shape, op, Some(node)),
            // It does nothing, or made its values itself.
            Ok(None) => {}
            Err(why) => {
                for output in node.output.iter().filter(|o| !o.is_empty()) {
                    let shape = self.known.shape(output).unwrap_or_default();
                    let op = Op::Opaque { inputs: inputs.clone(), why: why.clone() };
                    self.add(output, shape, op, Some(node));
                }
            }
        }
        Ok(())
    }

    fn op(&mut self, node: &NodeProto, shape: &[usize]) -> Result<Option<Op>, Refused> {
        use Operator::*;
        let Some(operator) = node.operator() else {
            return Err(match is_standard(node.domain()) {
                true => "is an operator that is not known here".into(),
                false => format!("is of the domain {:?}", node.domain()),
            });
        };
        Ok(Some(match operator {
            Identity | Dropout => return self.alias(node),
            Cast => match node.int("to") {
                Some(to) if to == i64::from(crate::onnx::data_type::FLOAT) => return self.alias(node),
                _ => return Err("casts to another type than float32".into()),
            },
            Conv => self.conv(node)?,
            Gemm => self.gemm(node)?,
            MatMul => self.matmul(node)?,
            BatchNormalization => self.batch_norm(node)?,
            Add | Sub | Sum => self.sum(node, operator, shape)?,
            Mul | Div => self.multiplied(node, operator, shape)?,
            Neg => Op::Affine { x: self.value(node, 0)?, scale: vec![-1.0], shift: vec![0.0] },
            Relu => Op::Limit { x: self.value(node, 0)?, low: 0.0, high: f64::INFINITY },
            Clip => self.clip(node)?,
            HardSigmoid => return self.hard_sigmoid(node, shape).map(Some),
            LeakyRelu => {
                Op::Leaky { x: self.value(node, 0)?, slopes: vec![f64::from(node.float_or("alpha", 0.01))] }
            }
            PRelu => self.p_relu(node, shape)?,
            Abs | Elu | Erf | Exp | Gelu | HardSwish | Log | Mish | Pow | Reciprocal | Selu | Sigmoid
            | Softplus | Softsign | Sqrt | Tanh | Max | Min => self.function(node, operator)?,
            AveragePool => self.average(node)?,
            GlobalAveragePool => Op::Mean { x: self.value(node, 0)?, window: Window::All { kept: true } },
            ReduceMean => self.reduce_mean(node)?,
            MaxPool | GlobalMaxPool | ReduceMax | Reshape | Flatten | Squeeze | Unsqueeze | Transpose
            | Slice | Split | Concat | Pad | Gather => return moves::moved(self, node, operator, shape),
            Softmax | LogSoftmax => {
                return Err("divides by a sum of powers of e, which every runtime rounds".into());
            }
            LayerNormalization | InstanceNormalization | GroupNormalization | LpNormalization | Lrn => {
                return Err("normalises by statistics of its input, which every runtime rounds".into());
            }
            _ => return Err("has no exact form here".into()),
        }))
    }

    /// An input that is not constant.
    pub fn value(&self, node: &NodeProto, i: usize) -> Result<Id, Refused> {
        let id = node.input_name(i).and_then(|name| self.ids.get(name).copied());
        id.ok_or_else(|| format!("takes a constant as input {i}"))
    }

    pub fn constant(&self, node: &NodeProto, i: usize) -> Result<ArrayD<f64>, Refused> {
        let name = node.input_name(i).ok_or_else(|| format!("lacks input {i}"))?;
        self.known.constant(name).map_err(|_| format!("takes an input {i} that is computed"))
    }

    pub fn shape(&self, id: Id) -> &[usize] {
        &self.values[id].shape
    }

    /// Gives a value another name.
    pub fn alias(&mut self, node: &NodeProto) -> Result<Option<Op>, Refused> {
        let x = self.value(node, 0)?;
        if let Some(output) = node.output.first() {
            self.ids.insert(output.clone(), x);
        }
        Ok(None)
    }

    /// A constant as one number, or one a channel of a value with these sizes.
    fn per_channel(&self, node: &NodeProto, i: usize, shape: &[usize]) -> Result<Vec<f64>, Refused> {
        let constant = self.constant(node, i)?;
        let (rank, own) = (shape.len(), constant.ndim());
        let varies = |(axis, d): (usize, &usize)| *d != 1 && axis + rank != own + 1;
        if own > rank || constant.shape().iter().enumerate().any(varies) {
            let told = constant.shape();
            return Err(format!("takes a constant {told:?} that is not one number a channel"));
        }
        let numbers: Vec<f64> = constant.iter().copied().collect();
        match numbers.len() {
            1 => Ok(numbers),
            n if shape.get(1) == Some(&n) => Ok(numbers),
            _ => Err(format!("takes a constant {:?} that widens its input", constant.shape())),
        }
    }

    /// Which of two inputs is constant, if one is.
    fn sides(&self, node: &NodeProto) -> Option<(usize, usize)> {
        let constant = |i: usize| node.input_name(i).is_some_and(|name| self.known.is_constant(name));
        match (constant(0), constant(1)) {
            (false, true) => Some((0, 1)),
            (true, false) => Some((1, 0)),
            _ => None,
        }
    }

    fn conv(&self, node: &NodeProto) -> Result<Op, Refused> {
        let (x, weight) = (self.value(node, 0)?, self.constant(node, 1)?);
        let sizes = self.shape(x);
        let &[outputs, _, kh, kw] = weight.shape() else {
            return Err("is no convolution of images [N, C, H, W]".into());
        };
        let bias = match node.input_name(2) {
            Some(_) => self.constant(node, 2)?.iter().copied().collect(),
            None => vec![0.0; outputs],
        };
        let groups = usize::try_from(node.int_or("group", 1)).unwrap_or(1).max(1);
        let strides = node.ints("strides").unwrap_or(&[1, 1]).to_vec();
        let dilations = node.ints("dilations").unwrap_or(&[1, 1]).to_vec();
        let extent = |k: usize, axis: usize| dilations[axis] * (k as i64 - 1) + 1;
        let pads = moves::pads(node, &sizes[2..], [extent(kh, 0), extent(kw, 1)], &strides)?;
        let shape = weight.shape().to_vec();
        let weights = weight.iter().map(|w| *w as f32).collect();
        let product = Product { weights, shape, bias, groups, conv: Some([strides, pads, dilations]) };
        Ok(self.over(x, product))
    }

    /// A product of a value; of one whose channels were put in another order, its weights are put back.
    fn over(&self, x: Id, mut product: Product) -> Op {
        let Op::Permuted { x: from, order } = &self.values[x].op else {
            return Op::Product { x, product: Arc::new(product) };
        };
        if product.groups != 1 {
            return Op::Product { x, product: Arc::new(product) };
        }
        let (taps, inputs) = (product.taps(), product.shape[1]);
        let mut weights = product.weights.clone();
        for (row, old) in weights.chunks_mut(taps * inputs).zip(product.weights.chunks(taps * inputs)) {
            for (i, &from) in order.iter().enumerate() {
                row[from * taps..][..taps].copy_from_slice(&old[i * taps..][..taps]);
            }
        }
        product.weights = weights;
        Op::Product { x: *from, product: Arc::new(product) }
    }

    fn gemm(&self, node: &NodeProto) -> Result<Op, Refused> {
        let (x, weight) = (self.value(node, 0)?, self.constant(node, 1)?);
        if node.flag("transA") || weight.ndim() != 2 {
            return Err("is not a product of rows with a matrix".into());
        }
        let (alpha, beta) = (node.float_or("alpha", 1.0), node.float_or("beta", 1.0));
        let weight = if node.flag("transB") { weight } else { weight.reversed_axes() };
        let outputs = weight.shape()[0];
        let bias = match node.input_name(2) {
            None => vec![0.0; outputs],
            Some(_) => {
                let bias = self.constant(node, 2)?;
                let wide = bias.broadcast(ndarray::IxDyn(&[1, outputs]));
                let wide = wide.ok_or_else(|| "has a bias that differs by row".to_string())?;
                wide.iter().map(|b| b * f64::from(beta)).collect()
            }
        };
        self.matrix(x, &weight.mapv(|w| w * f64::from(alpha)), bias)
    }

    fn matmul(&self, node: &NodeProto) -> Result<Op, Refused> {
        let x = self.value(node, 0).map_err(|_| "multiplies a constant by a value".to_string())?;
        if self.sides(node).is_none() {
            return Err("multiplies two computed values, whose sums nothing bounds".into());
        }
        let weight = self.constant(node, 1)?;
        if weight.ndim() != 2 || self.shape(x).len() != 2 {
            return Err("is not a product of rows [N, D] with a matrix".into());
        }
        let outputs = weight.shape()[1];
        self.matrix(x, &weight.reversed_axes(), vec![0.0; outputs])
    }

    /// A product of rows with `[O, I]` weights.
    fn matrix(&self, x: Id, weight: &ArrayD<f64>, bias: Vec<f64>) -> Result<Op, Refused> {
        if self.shape(x).len() != 2 {
            return Err("is not a product of rows [N, D] with a matrix".into());
        }
        let weights = weight.iter().map(|w| *w as f32).collect();
        let product = Product { weights, shape: weight.shape().to_vec(), bias, groups: 1, conv: None };
        Ok(Op::Product { x, product: Arc::new(product) })
    }

    fn batch_norm(&mut self, node: &NodeProto) -> Result<Op, Refused> {
        if node.flag("training_mode") {
            return Err("is in training mode".into());
        }
        let x = self.value(node, 0)?;
        let [scale, shift, mean, var] = [1, 2, 3, 4].map(|i| self.constant(node, i));
        let (scale, shift, mean, var) = (scale?, shift?, mean?, var?);
        let epsilon = f64::from(node.float_or("epsilon", 1e-5));
        let factors: Vec<f64> = scale.iter().zip(&var).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        let shifts = shift.iter().zip(&mean).zip(&factors).map(|((b, m), f)| b - m * f).collect();
        Ok(self.affine(x, factors, shifts))
    }

    /// `scale·x + shift`; channels that were put in another order are so after it.
    fn affine(&mut self, x: Id, scale: Vec<f64>, shift: Vec<f64>) -> Op {
        let Op::Permuted { x: from, order } = &self.values[x].op else {
            return Op::Affine { x, scale, shift };
        };
        let (from, order) = (*from, order.clone());
        let back = |list: Vec<f64>| {
            let mut put = list.clone();
            if list.len() == order.len() {
                order.iter().zip(&list).for_each(|(&place, x)| put[place] = *x);
            }
            put
        };
        let op = Op::Affine { x: from, scale: back(scale), shift: back(shift) };
        self.reordered(x, op, order)
    }

    /// A value in the order that channels had, which is put in the other one after it.
    pub fn reordered(&mut self, x: Id, op: Op, order: Vec<usize>) -> Op {
        let (name, shape) =
            (format!("{}/in order {}", self.values[x].name, self.values.len()), self.values[x].shape.clone());
        Op::Permuted { x: self.add(&name, shape, op, None), order }
    }

    fn sum(&mut self, node: &NodeProto, operator: Operator, shape: &[usize]) -> Result<Op, Refused> {
        let sign = |i: usize| if operator == Operator::Sub && i == 1 { -1.0 } else { 1.0 };
        if let Some((x, c)) = self.sides(node).filter(|_| node.input.len() == 2) {
            let id = self.value(node, x)?;
            let shift = self.per_channel(node, c, self.shape(id))?;
            let shift = shift.iter().map(|b| b * sign(c)).collect();
            return Ok(self.affine(id, vec![sign(x)], shift));
        }
        let ids = (0..node.input.len()).map(|i| Ok((self.value(node, i)?, sign(i))));
        let terms = ids.collect::<Result<Vec<_>, Refused>>()?;
        if let Some(root) = self.common_root(&terms.iter().map(|t| t.0).collect::<Vec<_>>()) {
            return Ok(Op::Function { root });
        }
        match terms.iter().all(|(x, _)| self.shape(*x) == shape) {
            true => Ok(Op::Add { terms }),
            false => Err("adds values of different shapes".into()),
        }
    }

    fn multiplied(&mut self, node: &NodeProto, operator: Operator, shape: &[usize]) -> Result<Op, Refused> {
        let divides = operator == Operator::Div;
        if let Some((x, c)) = self.sides(node) {
            if divides && x == 1 {
                return self.function(node, operator);
            }
            let id = self.value(node, x)?;
            let mut scale = self.per_channel(node, c, self.shape(id))?;
            if divides {
                scale.iter_mut().for_each(|s| *s = 1.0 / *s);
            }
            return Ok(self.affine(id, scale, vec![0.0]));
        }
        let (a, b) = (self.value(node, 0)?, self.value(node, 1)?);
        if let Some(root) = self.common_root(&[a, b]) {
            return Ok(Op::Function { root });
        }
        if divides {
            return Err("divides by a computed value, which every runtime rounds".into());
        }
        let gate =
            |x: &[usize]| x.len() == shape.len() && x[..2] == shape[..2] && x[2..].iter().all(|d| *d == 1);
        let same = |x: &[usize]| x == shape;
        match (self.shape(a), self.shape(b)) {
            (x, y) if same(x) && (same(y) || gate(y)) => Ok(Op::Mul { a, b }),
            (x, y) if gate(x) && same(y) => Ok(Op::Mul { a: b, b: a }),
            _ => Err("multiplies values of different shapes".into()),
        }
    }

    /// Edges are inputs, or attributes before opset 11.
    fn clip(&self, node: &NodeProto) -> Result<Op, Refused> {
        let edge = |i: usize, attribute: &str, none: f32| match node.input_name(i) {
            None => Ok(f64::from(node.float_or(attribute, none))),
            Some(_) => {
                self.constant(node, i)?.first().copied().ok_or_else(|| "has an empty edge".to_string())
            }
        };
        let (low, high) = (edge(1, "min", f32::NEG_INFINITY)?, edge(2, "max", f32::INFINITY)?);
        // The least and the greatest float32 limit nothing.
        let far = |x: f64| if x.abs() >= f64::from(f32::MAX) { x.signum() * f64::INFINITY } else { x };
        Ok(Op::Limit { x: self.value(node, 0)?, low: far(low), high: far(high) })
    }

    fn hard_sigmoid(&mut self, node: &NodeProto, shape: &[usize]) -> Result<Op, Refused> {
        let x = self.value(node, 0)?;
        let scale = vec![f64::from(node.float_or("alpha", 0.2))];
        let shift = vec![f64::from(node.float_or("beta", 0.5))];
        let inner = format!("{}/affine", node.output.first().map_or("", String::as_str));
        let x = self.add(&inner, shape.to_vec(), Op::Affine { x, scale, shift }, None);
        Ok(Op::Limit { x, low: 0.0, high: 1.0 })
    }

    fn p_relu(&self, node: &NodeProto, shape: &[usize]) -> Result<Op, Refused> {
        let x = self.value(node, 0)?;
        Ok(Op::Leaky { x, slopes: self.per_channel(node, 1, shape)? })
    }

    /// A function of one value's elements; what scales its argument belongs to it.
    fn function(&self, node: &NodeProto, operator: Operator) -> Result<Op, Refused> {
        let ids: Vec<Id> = (0..node.input.len()).filter_map(|i| self.value(node, i).ok()).collect();
        let scalar = |name: &String| {
            name.is_empty()
                || !self.known.is_constant(name)
                || self.known.constant(name).is_ok_and(|c| c.len() == 1)
        };
        if !node.input.iter().all(scalar) {
            return Err("takes a constant of several numbers".into());
        }
        match ids.as_slice() {
            [x] => {
                let mut root = *x;
                while let Op::Affine { x, scale, shift } = &self.values[root].op
                    && scale.len() == 1
                    && shift.len() == 1
                {
                    root = *x;
                }
                Ok(Op::Function { root })
            }
            several => self.common_root(several).map(|root| Op::Function { root }).ok_or_else(|| {
                match operator {
                    Operator::Max | Operator::Min => {
                        "chooses among several computed values, which has no exact form here"
                    }
                    _ => "is a function of several computed values",
                }
                .into()
            }),
        }
    }

    /// The value of which all of these are functions, element by element; none if there is none but themselves.
    fn common_root(&self, ids: &[Id]) -> Option<Id> {
        let first = self.roots(*ids.first()?);
        let others: Vec<Vec<Id>> = ids[1..].iter().map(|id| self.roots(*id)).collect();
        first.into_iter().find(|root| others.iter().all(|o| o.contains(root)))
    }

    /// A value, and those of which it is a function, the nearest first.
    fn roots(&self, id: Id) -> Vec<Id> {
        let (mut all, mut at) = (vec![id], id);
        loop {
            at = match &self.values[at].op {
                Op::Affine { x, scale, shift } if scale.len() == 1 && shift.len() == 1 => *x,
                Op::Limit { x, .. } => *x,
                Op::Leaky { x, slopes } if slopes.len() == 1 => *x,
                Op::Function { root } => *root,
                _ => return all,
            };
            all.push(at);
        }
    }

    fn average(&self, node: &NodeProto) -> Result<Op, Refused> {
        let x = self.value(node, 0)?;
        let kernel = node.ints("kernel_shape").unwrap_or_default().to_vec();
        let strides = node.ints("strides").unwrap_or(&[1, 1]).to_vec();
        let &[_, _, height, width] = self.shape(x) else {
            return Err("averages no images [N, C, H, W]".into());
        };
        let [kh, kw] = kernel[..] else { return Err("averages no images [N, C, H, W]".into()) };
        let pads = moves::pads(node, &[height, width], [kh, kw], &strides)?;
        let padded = pads.iter().any(|p| *p != 0);
        if padded && !node.flag("count_include_pad") {
            return Err("averages windows with padding that does not count: their sizes differ".into());
        }
        let uneven = |side: usize, axis: usize| {
            (side as i64 + pads[axis] + pads[axis + 2] - kernel[axis]) % strides[axis].max(1) != 0
        };
        if node.flag("ceil_mode") && (uneven(height, 0) || uneven(width, 1)) {
            return Err("averages windows that reach beyond the image".into());
        }
        if !padded && [height as i64, width as i64] == [kh, kw] {
            return Ok(Op::Mean { x, window: Window::All { kept: true } });
        }
        Ok(Op::Mean { x, window: Window::Tiles([kernel, strides, pads]) })
    }

    fn reduce_mean(&self, node: &NodeProto) -> Result<Op, Refused> {
        let x = self.value(node, 0)?;
        let rank = self.shape(x).len() as i64;
        let mut axes: Vec<i64> = match node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None if node.input_name(1).is_some() => {
                self.constant(node, 1)?.iter().map(|a| *a as i64).collect()
            }
            None => (0..rank).collect(),
        };
        axes.iter_mut().filter(|a| **a < 0).for_each(|a| *a += rank);
        axes.sort_unstable();
        match (rank, axes.as_slice()) {
            (4, [2, 3]) => Ok(Op::Mean { x, window: Window::All { kept: node.int_or("keepdims", 1) != 0 } }),
            _ => Err("averages along other axes than those of an image".into()),
        }
    }
}
