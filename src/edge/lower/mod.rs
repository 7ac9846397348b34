//! From the nodes of an ONNX graph to the steps of a program.
//!
//! Goes over the nodes in their order and lowers each that it knows and whose inputs are lowered. The
//! element-wise nodes that follow a product become its epilogue. What is not known is left with its
//! reason, and so is all that depends on it; the values that it needs are the program's outputs.

mod elementwise;
mod pools;
mod products;
mod shapes;
mod unit_length;

use super::coverage::{Coverage, Refusal, Why, label};
use super::draft::{ActionDraft, LoweredValue, MapDraft, Stage, StepDraft};
use super::kernels::Epilogue;
use super::reader::{Reader, sizes};
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
    pub fn of(reader: Reader<'a>, image: &'a str, [channels, height, width]: [usize; 3]) -> Self {
        let map = MapDraft {
            channels,
            size: [height, width],
            border: [0; 4],
            range: Some(Range::uniform(Interval::PIXELS)),
            narrow: true,
        };
        let mut lowering = Self {
            maps: vec![map],
            drafts: Vec::new(),
            values: HashMap::from([(image, LoweredValue::of(0, false))]),
            image,
            done: HashSet::new(),
            left: BTreeMap::new(),
            reader,
        };
        let graph = lowering.reader.graph;
        for (i, node) in graph.node.iter().enumerate() {
            if lowering.done.contains(&i) || lowering.makes_constant(node) {
                continue;
            }
            if let Err(why) = lowering.node(node) {
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
            outputs.push((name, self.settled(name, value)));
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
        node.output.first().is_some_and(|o| self.reader.constants.has(o))
    }

    /// Lowers one node, or leaves everything as it was.
    fn node(&mut self, node: &'a NodeProto) -> Lowered<()> {
        use Operator::*;
        let Some(operator) = node.operator() else {
            return Err(if is_standard(node.domain()) { Why::Unknown } else { Why::Foreign });
        };
        let [output] = node.output.as_slice() else { return Err(Why::Outputs) };
        // The image itself is uint8, whose arithmetic is not lowered; a cast comes first.
        if operator != Cast && node.input.iter().any(|name| name == self.image) {
            return Err(Why::Bytes);
        }
        let value = match operator {
            Conv => self.conv(node)?,
            Gemm => self.gemm(node)?,
            MatMul => self.matmul(node)?,
            Mul if self.unit_length(node).is_some() => return Ok(()),
            Mul | Div => self.multiply(node, operator == Div)?,
            Add | Sub => self.add(node, operator == Sub)?,
            BatchNormalization => self.batch_norm(node)?,
            Relu => self.limit(node, 0.0, f32::INFINITY)?,
            Clip => self.clip(node)?,
            Floor => self.floor(node)?,
            Sigmoid => self.sigmoid(node)?,
            MaxPool => self.max_pool(node)?,
            AveragePool => self.average_pool(node)?,
            GlobalAveragePool => self.global_mean(node, false)?,
            ReduceMean => self.reduce_mean(node)?,
            Pad => self.pad(node)?,
            Flatten => self.flatten(node)?,
            Reshape => self.reshape(node)?,
            Cast if node.int("to") != Some(i64::from(data_type::FLOAT)) => return Err(Why::Type),
            Dropout if self.drops(node) => return Err(Why::Training),
            Cast | Dropout | Identity => self.alias(node)?,
            Abs | Ceil | Cos | Elu | Erf | Exp | Gelu | HardSigmoid | HardSwish | LeakyRelu | Log | Mish
            | Neg | PRelu | Pow | Reciprocal | Mod | Round | Selu | Sign | Sin | Softplus | Softsign
            | Sqrt | Tanh => {
                return Err(Why::Function);
            }
            And | ArgMax | ArgMin | Equal | Greater | GreaterOrEqual | Less | LessOrEqual | Not | OneHot
            | Or | TopK | Where => return Err(Why::Comparison),
            Concat | Constant | ConstantOfShape | DepthToSpace | Expand | Gather | GatherElements
            | GatherNd | Range | ScatterNd | Shape | Size | Slice | Trilu | SpaceToDepth | Split
            | Squeeze | Tile | Transpose | Unsqueeze => return Err(Why::Movement),
            CumSum | Einsum | GlobalMaxPool | ReduceL1 | ReduceLogSumExp | ReduceL2 | ReduceMax
            | ReduceMin | ReduceProd | ReduceSum | ReduceSumSquare => return Err(Why::Reduction),
            GroupNormalization
            | InstanceNormalization
            | LayerNormalization
            | LogSoftmax
            | LpNormalization
            | Lrn
            | Softmax => {
                return Err(Why::Normalisation);
            }
            Max | Mean | Min | Sum => return Err(Why::Operands),
            ConvTranspose | Resize => return Err(Why::Resampling),
        };
        self.values.insert(output, value);
        Ok(())
    }

    /// The numbers of a constant input.
    fn constant(&self, node: &NodeProto, i: usize) -> Lowered<ArrayD<f64>> {
        let constant = node.input_name(i).map(|name| self.reader.constants.get(name));
        constant.and_then(|read| read.ok().flatten()).ok_or(Why::Variable)
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

    /// Computes a factor that was put off.
    fn settled(&mut self, name: &'a str, value: LoweredValue) -> LoweredValue {
        if value.factor == 1.0 {
            return value;
        }
        let mut draft = self.each(name, value.map);
        draft.epilogue.scale.fill(value.factor);
        let range = self.scaled(value.map, &[value.factor]);
        let open = Some(self.drafts.len());
        let size = self.maps[value.map].size;
        let made = LoweredValue { open, ..self.push(draft, size, range, value.flat) };
        self.values.insert(name, made.clone());
        made
    }

    /// What is known of a map times powers of two.
    fn scaled(&self, map: usize, factors: &[f32]) -> Option<Range> {
        let exponents: Option<Vec<i32>> = factors.iter().map(|f| power_of_two(f64::from(*f))).collect();
        self.maps[map].range.as_ref()?.scaled(&exponents?).filter(Range::in_float32)
    }

    /// A step that maps each element.
    fn each(&self, name: &str, from: usize) -> StepDraft {
        let MapDraft { channels, range, .. } = &self.maps[from];
        StepDraft {
            name: name.into(),
            action: ActionDraft::Elementwise,
            from,
            residual: None,
            to: 0,
            epilogue: Epilogue::identity(*channels),
            stage: Stage::Affine,
            strict: range.is_some(),
        }
    }

    /// Adds a step, and the map that it fills.
    fn push(
        &mut self,
        mut draft: StepDraft,
        size: [usize; 2],
        range: Option<Range>,
        flat: bool,
    ) -> LoweredValue {
        let channels = match &draft.action {
            ActionDraft::Product(_) => draft.epilogue.scale.len(),
            _ => self.maps[draft.from].channels,
        };
        let narrow = match draft.action {
            ActionDraft::Product(_) | ActionDraft::Elementwise => true,
            ActionDraft::Max(_) => self.maps[draft.from].bytes(),
            ActionDraft::Mean(_)
            | ActionDraft::Sum(_)
            | ActionDraft::Sigmoid
            | ActionDraft::UnitLength(_) => false,
        };
        draft.to = self.maps.len();
        let value = LoweredValue::of(draft.to, flat);
        self.maps.push(MapDraft { channels, size, border: [0; 4], range, narrow });
        self.drafts.push(draft);
        value
    }

    /// The step to extend for a node whose input is `value`: the one that makes it, if the node is its
    /// only reader and `fits`, otherwise a new one.
    fn extended(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        fits: impl FnOnce(&StepDraft) -> bool,
    ) -> (usize, LoweredValue) {
        if let Some(i) = self.open(node, value).filter(|i| fits(&self.drafts[*i])) {
            return (i, LoweredValue { open: Some(i), ..value.clone() });
        }
        let draft = self.each(node.name(), value.map);
        let MapDraft { size, range, .. } = self.maps[value.map].clone();
        let made = self.push(draft, size, range, value.flat);
        let i = self.drafts.len() - 1;
        (i, LoweredValue { open: Some(i), ..made })
    }

    /// The step that makes a value, if only this node reads it.
    fn open(&self, node: &NodeProto, value: &LoweredValue) -> Option<usize> {
        let output = |name: &&String| self.values.get(name.as_str()).is_some_and(|v| v.map == value.map);
        let name = node.input.iter().find(output)?;
        self.reader.only_user(name)?;
        value.open
    }

    /// Which of two inputs is not constant, and which is; none where both are values.
    fn sides(&self, node: &NodeProto) -> Lowered<Option<[usize; 2]>> {
        let [a, b] = node.input.as_slice() else { return Err(Why::Operands) };
        match [a, b].map(|name| self.reader.constants.has(name)) {
            [false, true] => Ok(Some([0, 1])),
            [true, false] => Ok(Some([1, 0])),
            [false, false] => Ok(None),
            [true, true] => Err(Why::Operands),
        }
    }
}
