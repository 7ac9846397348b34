//! From the nodes of an ONNX graph to the steps of a program.
//!
//! Goes over the nodes in their order and lowers each that it knows and whose inputs are lowered. The
//! element-wise nodes that follow a product become its epilogue. What is not known is left with its
//! reason, and so is all that depends on it; the values that it needs are the program's outputs.

mod activation;
mod elementwise;
mod itself;
mod maps;
mod movement;
mod normalise;
mod pairs;
mod pools;
mod products;
mod resample;
mod steps;
mod table;
mod unit_length;
mod written_out;

use super::coverage::{Coverage, Refusal, Why, label};
use super::draft::{ActionDraft, LoweredValue, MapDraft, Pooling, StepDraft};
use super::kernels::Kernels;
use super::reader::{Reader, sizes};
use super::view::View;
use crate::exactness::{Interval, Range, power_of_two};
use crate::onnx::{NodeProto, Operator, data_type, is_standard};
use ndarray::ArrayD;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A value, or why there is none.
type Lowered<T = LoweredValue> = Result<T, Why>;

/// A graph that is being lowered.
pub struct Lowering<'a> {
    pub maps: Vec<MapDraft>,
    pub drafts: Vec<StepDraft>,
    kernels: &'static Kernels,
    reader: Reader<'a>,
    values: HashMap<&'a str, LoweredValue>,
    image: &'a str,
    /// Nodes that were lowered with an earlier one.
    done: HashSet<usize>,
    /// Nodes that were not lowered.
    left: BTreeMap<usize, Why>,
}

impl<'a> Lowering<'a> {
    /// Lowers what can be of a graph whose input is `image: uint8 [N, C, H, W]`.
    pub fn of(
        reader: Reader<'a>,
        image: &'a str,
        [channels, height, width]: [usize; 3],
        kernels: &'static Kernels,
    ) -> Self {
        let map = MapDraft {
            channels,
            size: [height, width],
            border: [0; 4],
            range: Some(Range::uniform(Interval::PIXELS)),
            narrow: true,
            lift: Vec::new(),
            constant: None,
        };
        let view = View::image(channels, [height, width]);
        let mut lowering = Self {
            maps: vec![map],
            drafts: Vec::new(),
            values: HashMap::from([(image, LoweredValue::of(0, view))]),
            image,
            done: HashSet::new(),
            left: BTreeMap::new(),
            kernels,
            reader,
        };
        let graph = lowering.reader.graph;
        for (i, node) in graph.node.iter().enumerate() {
            if lowering.done.contains(&i) || lowering.makes_constant(node) {
                continue;
            }
            if let Err(why) = lowering.node(i, node) {
                lowering.left.insert(i, why);
            }
        }
        lowering
    }

    /// The values that the nodes which are left, and the caller, need.
    pub fn outputs(&mut self) -> Lowered<Vec<(&'a str, LoweredValue)>> {
        let graph = self.reader.graph;
        let left = self.left.keys().flat_map(|i| &graph.node[*i].input).map(String::as_str);
        let needed: Vec<&str> = left.chain(graph.output.iter().map(|o| o.name())).collect();
        let mut seen = HashSet::from([self.image]);
        let mut outputs = Vec::new();
        for name in needed {
            let Some(value) = self.values.get(name).cloned().filter(|_| seen.insert(name)) else { continue };
            if value.pads != [0; 4] {
                return Err(Why::Padded);
            }
            let value = self.settled(name, value);
            outputs.push((name, self.in_order(name, value)));
        }
        Ok(outputs)
    }

    /// Which nodes were lowered, and which not.
    pub fn coverage(&self) -> Coverage {
        let lowered = self.computing().filter(|(i, _)| !self.left.contains_key(i));
        let left = self.left.iter().map(|(i, why)| Refusal::of(&self.reader.graph.node[*i], *why));
        Coverage { lowered: lowered.map(|(_, node)| label(node)).collect(), left: left.collect() }
    }

    /// All nodes, where there is a reason why there is no program.
    pub fn refused(&self, why: Why) -> Vec<Refusal> {
        let of = |i: usize| self.left.get(&i).copied().unwrap_or(why);
        self.computing().map(|(i, node)| Refusal::of(node, of(i))).collect()
    }

    /// The nodes that do not make constants.
    fn computing(&self) -> impl Iterator<Item = (usize, &'a NodeProto)> {
        self.reader.graph.node.iter().enumerate().filter(|(_, node)| !self.makes_constant(node))
    }

    fn makes_constant(&self, node: &NodeProto) -> bool {
        node.output.first().is_some_and(|o| self.reader.is_constant(o))
    }

    /// Lowers one node, or leaves everything as it was.
    fn node(&mut self, i: usize, node: &'a NodeProto) -> Lowered<()> {
        let Some(operator) = node.operator() else {
            return Err(if is_standard(node.domain()) { Why::Unknown } else { Why::Foreign });
        };
        // The image itself is uint8, whose arithmetic is not lowered; a cast comes first.
        if operator != Operator::Cast && node.input.iter().any(|name| name == self.image) {
            return Err(Why::Bytes);
        }
        if operator == Operator::Split {
            return self.split(node);
        }
        let Some((output, others)) = node.output.split_first() else { return Err(Why::Outputs) };
        if others.iter().any(|name| !self.reader.users(name).is_empty()) {
            return Err(Why::Outputs);
        }
        if operator == Operator::Mul && self.unit_length(node).is_some() {
            return Ok(());
        }
        if operator == Operator::ReduceMean && self.normalised_by_parts(node)? {
            return Ok(());
        }
        if self.tabled(i, node)? {
            return Ok(());
        }
        let value = match self.computed_by(operator, i, node)? {
            Some(value) => value,
            None => self.moved_by(operator, node)?,
        };
        self.values.insert(output, value);
        Ok(())
    }

    /// The result of an operator that computes; none of one that moves elements alone.
    fn computed_by(
        &mut self,
        operator: Operator,
        i: usize,
        node: &'a NodeProto,
    ) -> Lowered<Option<LoweredValue>> {
        use Operator::*;
        Ok(Some(match operator {
            Conv => self.conv(node)?,
            Gemm => self.gemm(node)?,
            MatMul => self.matmul(node)?,
            Mul | Div => self.multiply(i, node, operator == Div)?,
            Add | Sub => self.add(node, operator == Sub)?,
            Sum if node.input.len() == 2 => self.add(node, false)?,
            Max | Min => self.extreme(node, operator == Max)?,
            BatchNormalization => self.batch_norm(node)?,
            Relu => self.limit(node, 0.0, f32::INFINITY)?,
            Clip => self.clip(node)?,
            Floor => self.floor(node)?,
            Neg => self.negated(node)?,
            HardSigmoid => self.hard_sigmoid(i, node)?,
            Sigmoid | Tanh | Erf | Gelu | HardSwish | LeakyRelu | PRelu | Elu | Abs | Sqrt => {
                self.activation(operator, i, node)?
            }
            MaxPool => self.pool(node, Pooling::Max)?,
            AveragePool => self.pool(node, Pooling::Mean(node.flag("count_include_pad")))?,
            GlobalAveragePool => self.global_pool(node, Pooling::Mean(false))?,
            GlobalMaxPool => self.global_pool(node, Pooling::Max)?,
            ReduceMean => self.reduced(node, Pooling::Mean(false))?,
            ReduceMax => self.reduced(node, Pooling::Max)?,
            ReduceSum => self.reduced(node, Pooling::Sum)?,
            LayerNormalization => self.layer_norm(node)?,
            InstanceNormalization => self.instance_norm(node)?,
            GroupNormalization => self.group_norm(node)?,
            Softmax => self.softmax(node)?,
            Ceil | Cos | Exp | Log | Mish | Pow | Reciprocal | Mod | Round | Selu | Sign | Sin | Softplus
            | Softsign => return Err(Why::Function),
            And | ArgMax | ArgMin | Equal | Greater | GreaterOrEqual | Less | LessOrEqual | Not | OneHot
            | Or | TopK | Where => return Err(Why::Comparison),
            CumSum | Einsum | ReduceL1 | ReduceLogSumExp | ReduceL2 | ReduceMin | ReduceProd
            | ReduceSumSquare => return Err(Why::Reduction),
            LogSoftmax | LpNormalization | Lrn => return Err(Why::Normalisation),
            Mean | Sum => return Err(Why::Operands),
            Resize => self.resized(node)?,
            ConvTranspose => return Err(Why::Resampling),
            _ => return Ok(None),
        }))
    }

    /// The result of an operator that moves elements.
    fn moved_by(&mut self, operator: Operator, node: &'a NodeProto) -> Lowered {
        use Operator::*;
        match operator {
            Pad => self.pad(node),
            Cast if node.int("to") != Some(i64::from(data_type::FLOAT)) => Err(Why::Type),
            Dropout if self.drops(node) => Err(Why::Training),
            Cast | Dropout | Identity => self.alias(node),
            Flatten | Reshape | Squeeze | Unsqueeze => self.reshape(node),
            Transpose => self.transpose(node),
            Slice => self.slice(node),
            Gather => self.gather(node),
            Expand => self.expand(node),
            Concat => self.concat(node),
            DepthToSpace | SpaceToDepth => self.blocks(node, operator == DepthToSpace),
            _ => Err(Why::Movement),
        }
    }

    /// The shape of a node's first result.
    fn shape(&self, node: &NodeProto) -> Lowered<Vec<usize>> {
        let shape = node.output.first().and_then(|name| self.reader.shape(name));
        shape.filter(|shape| !shape.contains(&0)).ok_or(Why::Shape)
    }

    /// The numbers of a constant input.
    fn constant(&self, node: &NodeProto, i: usize) -> Lowered<ArrayD<f64>> {
        node.input_name(i).and_then(|name| self.reader.constant(name)).ok_or(Why::Variable)
    }

    /// A lowered input as it is.
    fn input(&self, node: &NodeProto, i: usize) -> Lowered {
        node.input_name(i).and_then(|name| self.values.get(name)).cloned().ok_or(Why::Input)
    }

    /// A lowered input, multiplied by what was put off.
    fn computed(&mut self, node: &'a NodeProto, i: usize) -> Lowered {
        let value = self.input(node, i)?;
        Ok(self.settled(&node.input[i], value))
    }

    /// A lowered input whose map holds all of it.
    fn plain(&mut self, node: &'a NodeProto, i: usize) -> Lowered {
        let value = self.input(node, i)?;
        if value.pads == [0; 4] { self.computed(node, i) } else { Err(Why::Padding) }
    }

    /// A lowered input that covers its map.
    fn whole(&mut self, node: &'a NodeProto, i: usize) -> Lowered {
        let value = self.plain(node, i)?;
        Ok(self.compact(node.name(), value))
    }

    /// A lowered input as `[1, C, H, W]` of its map, with what is padded beside it.
    fn image(&mut self, node: &'a NodeProto, i: usize) -> Lowered {
        let value = self.computed(node, i)?;
        let map = &self.maps[value.map];
        if value.view == View::image(map.channels, map.size) {
            return Ok(value);
        }
        let &[1, channels, height, width] = value.view.shape().as_slice() else { return Err(Why::Axes) };
        let place = (channels, [height, width], View::image(channels, [height, width]));
        Ok(LoweredValue { pads: value.pads, ..self.copied(node.name(), &value, place) })
    }

    /// A value that covers its map: itself, or a copy.
    fn compact(&mut self, name: &str, value: LoweredValue) -> LoweredValue {
        let map = &self.maps[value.map];
        if value.view.covers(map.channels, map.size) {
            return value;
        }
        self.copied(name, &value, value.view.compact())
    }

    /// A value whose elements come out in the order of the tensor: itself, or a copy.
    fn in_order(&mut self, name: &str, value: LoweredValue) -> LoweredValue {
        let map = &self.maps[value.map];
        if value.view.parts() == View::image(map.channels, map.size).parts() && value.view.origin == [0; 3] {
            return value;
        }
        let shape = value.view.shape();
        let elements = shape.iter().product();
        match View::row(elements).reshaped(&shape) {
            Some(view) => self.copied(name, &value, (elements, [1, 1], view)),
            None => value,
        }
    }

    /// A copy of a value in a map of its own, which has so many channels and this size.
    fn copied(
        &mut self,
        name: &str,
        value: &LoweredValue,
        (channels, size, view): (usize, [usize; 2], View),
    ) -> LoweredValue {
        let map = &self.maps[value.map];
        let range = map.range.as_ref().map(Range::collapse);
        let action = ActionDraft::Copy { from: value.view.clone(), to: view.clone() };
        let draft = StepDraft { action, ..self.each(name, value.map) };
        self.push(draft, channels, size, range, view)
    }

    /// Computes a factor that was put off.
    fn settled(&mut self, name: &'a str, value: LoweredValue) -> LoweredValue {
        if value.factor == 1.0 {
            return value;
        }
        let mut draft = self.each(name, value.map);
        draft.epilogue.scale.fill(value.factor);
        let range = self.scaled(value.map, &[value.factor]);
        let open = Some(self.drafts.len());
        let MapDraft { channels, size, .. } = self.maps[value.map];
        let pushed = self.push(draft, channels, size, range, value.view);
        let made = LoweredValue { open, pads: value.pads, ..pushed };
        self.values.insert(name, made.clone());
        made
    }

    /// What is known of a map times powers of two.
    fn scaled(&self, map: usize, factors: &[f32]) -> Option<Range> {
        let exponents: Option<Vec<i32>> = factors.iter().map(|f| power_of_two(f64::from(*f))).collect();
        self.maps[map].range.as_ref()?.scaled(&exponents?).filter(Range::in_float32)
    }

    /// Which of two inputs is not constant, and which is; none where both are values.
    fn sides(&self, node: &NodeProto) -> Lowered<Option<[usize; 2]>> {
        let [a, b] = node.input.as_slice() else { return Err(Why::Operands) };
        match [a, b].map(|name| self.reader.is_constant(name)) {
            [false, true] => Ok(Some([0, 1])),
            [true, false] => Ok(Some([1, 0])),
            [false, false] => Ok(None),
            [true, true] => Err(Why::Operands),
        }
    }
}
