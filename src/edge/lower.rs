//! From the nodes of an ONNX graph to the steps of a program.
//!
//! Goes over the nodes in their order and lowers each that it knows and whose inputs are lowered. The
//! element-wise nodes that follow a product become part of it. What is not known is left, with all
//! that depends on it; the values that it needs are the program's outputs.

use super::draft::{Draft, MapDraft, Op, Stage, Value, nothing};
use super::grid::{Grid, exponent};
use super::read::{Reader, float, int, sizes};
use crate::onnx::{NodeProto, data_type};
use std::collections::{HashMap, HashSet};

/// A graph that is being lowered.
pub struct Lowering<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) maps: Vec<MapDraft>,
    pub(super) drafts: Vec<Draft>,
    pub(super) values: HashMap<&'a str, Value>,
    image: &'a str,
    /// Nodes that were lowered with an earlier one.
    done: HashSet<usize>,
}

impl<'a> Lowering<'a> {
    /// Lowers what can be of a graph whose input is `image: uint8 [N, C, H, W]`; gives the values that
    /// the rest needs, by their names. None if there is one that no map can hold as it is.
    pub fn of(
        reader: Reader<'a>,
        image: &'a str,
        [channels, height, width]: [usize; 3],
    ) -> Option<(Self, Vec<(&'a str, Value)>)> {
        let map = MapDraft {
            channels,
            size: [height, width],
            border: [0; 4],
            grid: Some(Grid::IMAGE),
            narrow: true,
        };
        let mut lowering = Self {
            reader,
            maps: vec![map],
            drafts: Vec::new(),
            values: HashMap::from([(image, Value::of(0, false))]),
            image,
            done: HashSet::new(),
        };
        let graph = lowering.reader.graph;
        let mut left = Vec::new();
        for (i, node) in graph.node.iter().enumerate() {
            let known = lowering.done.contains(&i) || lowering.node(node).is_some();
            let constant = node.output.first().is_some_and(|o| lowering.reader.is_constant(o));
            if !known && !constant {
                left.extend(node.input.iter().map(String::as_str));
            }
        }
        left.extend(graph.output.iter().map(|o| o.name()));
        let mut seen = HashSet::new();
        left.retain(|name| *name != image && lowering.values.contains_key(name) && seen.insert(*name));
        let settle = |name| {
            let value = lowering.values.get(name).filter(|v| v.pads == [0; 4])?.clone();
            Some((name, lowering.settled(name, value)))
        };
        let outputs = left.into_iter().map(settle).collect::<Option<_>>()?;
        Some((lowering, outputs))
    }

    /// Lowers one node, or leaves everything as it was.
    fn node(&mut self, node: &'a NodeProto) -> Option<()> {
        // The image itself is uint8, whose arithmetic is not lowered; a cast comes first.
        let raw = node.op_type() != "Cast" && node.input.iter().any(|name| name == self.image);
        if raw || !Reader::standard(node) {
            return None;
        }
        let value = match node.op_type() {
            "Conv" => self.conv(node)?,
            "Gemm" => self.gemm(node)?,
            "MatMul" => self.matmul(node)?,
            "Mul" | "Div" => match self.unit_length(node) {
                Some(value) => return Some(value),
                None => self.multiply(node)?,
            },
            "Add" | "Sub" => self.add(node)?,
            "BatchNormalization" => self.batch_norm(node)?,
            "Relu" => self.limit(node, 0.0, f32::INFINITY)?,
            "Clip" => self.clip(node)?,
            "Floor" => self.floor(node)?,
            "Sigmoid" => self.sigmoid(node)?,
            "MaxPool" | "AveragePool" => self.pool(node)?,
            "GlobalAveragePool" => self.global_mean(node, false)?,
            "ReduceMean" => self.reduce_mean(node)?,
            "Pad" => self.pad(node)?,
            "Flatten" if int(node, "axis", 1) == 1 => self.flat(node)?,
            "Reshape" => self.reshape(node)?,
            "Cast" if int(node, "to", 0) == i64::from(data_type::FLOAT) => self.alias(node)?,
            "Identity" => self.alias(node)?,
            "Dropout" if node.output.len() == 1 => self.alias(node)?,
            _ => return None,
        };
        self.name(node, value)
    }

    /// Enters the value of a node's only output.
    pub(super) fn name(&mut self, node: &'a NodeProto, value: Value) -> Option<()> {
        let [output] = node.output.as_slice() else { return None };
        self.values.insert(output, value);
        Some(())
    }

    /// A lowered input as it is.
    pub(super) fn input(&self, node: &NodeProto, i: usize) -> Option<Value> {
        self.values.get(node.input.get(i)?.as_str()).cloned()
    }

    /// A lowered input whose map holds all of it.
    pub(super) fn plain(&mut self, node: &'a NodeProto, i: usize) -> Option<Value> {
        let value = self.input(node, i)?;
        if value.pads != [0; 4] {
            return None;
        }
        Some(self.settled(node.input.get(i)?, value))
    }

    /// Computes a factor that was put off.
    fn settled(&mut self, name: &'a str, value: Value) -> Value {
        if value.factor == 1.0 {
            return value;
        }
        let mut draft = self.each(name, value.map);
        draft.finish.scale.fill(value.factor);
        let grid = self.maps[value.map].grid.and_then(|g| g.scaled(&[value.factor]));
        let open = Some(self.drafts.len());
        let made = Value { open, ..self.push(draft, self.maps[value.map].size, grid, value.flat) };
        self.values.insert(name, made.clone());
        made
    }

    /// A step that maps each element.
    pub(super) fn each(&self, name: &str, from: usize) -> Draft {
        let MapDraft { channels, grid, .. } = self.maps[from];
        Draft {
            name: name.into(),
            op: Op::Each,
            from,
            beside: None,
            to: 0,
            finish: nothing(channels),
            stage: Stage::Affine,
            strict: grid.is_some(),
        }
    }

    /// Adds a step, and the map that it fills.
    pub(super) fn push(
        &mut self,
        mut draft: Draft,
        size: [usize; 2],
        grid: Option<Grid>,
        flat: bool,
    ) -> Value {
        let channels = match &draft.op {
            Op::Product(_) => draft.finish.scale.len(),
            _ => self.maps[draft.from].channels,
        };
        let narrow = match draft.op {
            Op::Product(_) | Op::Each => true,
            Op::Max(_) => self.maps[draft.from].bytes(),
            _ => false,
        };
        draft.to = self.maps.len();
        self.maps.push(MapDraft { channels, size, border: [0; 4], grid, narrow });
        self.drafts.push(draft);
        Value::of(self.drafts[self.drafts.len() - 1].to, flat)
    }

    /// The step to extend for a node whose input is `value`: the one that makes it, if the node is its
    /// only reader and `fits`, otherwise a new one.
    fn extended(
        &mut self,
        node: &NodeProto,
        value: &Value,
        fits: impl FnOnce(&Draft) -> bool,
    ) -> (usize, Value) {
        if let Some(i) = self.open(node, value).filter(|i| fits(&self.drafts[*i])) {
            return (i, Value { open: Some(i), ..value.clone() });
        }
        let draft = self.each(node.name(), value.map);
        let (size, grid) = (self.maps[value.map].size, self.maps[value.map].grid);
        let made = self.push(draft, size, grid, value.flat);
        let i = self.drafts.len() - 1;
        (i, Value { open: Some(i), ..made })
    }

    /// The step that makes a value, if only this node reads it.
    fn open(&self, node: &NodeProto, value: &Value) -> Option<usize> {
        let output = |name: &&String| self.values.get(name.as_str()).is_some_and(|v| v.map == value.map);
        let name = node.input.iter().find(output)?;
        self.reader.only_user(name)?;
        value.open
    }

    /// One number for all, or one a channel, for what is added or multiplied.
    fn per_channel(&self, name: &str, value: &Value) -> Option<Vec<f32>> {
        let constant = self.reader.constant(name)?;
        let map = &self.maps[value.map];
        let numbers: Vec<f32> = constant.iter().map(|x| *x as f32).collect();
        if numbers.len() == 1 && constant.ndim() <= if value.flat { 2 } else { 4 } {
            return Some(vec![numbers[0]; map.channels]);
        }
        let behind = if value.flat { 0 } else { 2 };
        let axis = constant.ndim().checked_sub(behind + 1)?;
        let fits = constant.shape()[axis] == map.channels
            && numbers.len() == map.channels
            && constant.ndim() <= behind + 2
            && (!value.flat || map.size == [1, 1]);
        fits.then_some(numbers)
    }

    /// Which input is a constant, and which is not.
    fn sides(&self, node: &NodeProto) -> Option<(usize, usize)> {
        let [a, b] = node.input.as_slice() else { return None };
        match (self.reader.is_constant(a), self.reader.is_constant(b)) {
            (false, true) => Some((0, 1)),
            (true, false) => Some((1, 0)),
            _ => None,
        }
    }

    /// `Mul` or `Div` by a constant.
    fn multiply(&mut self, node: &'a NodeProto) -> Option<Value> {
        let (x, c) = self.sides(node)?;
        let value = self.plain(node, x)?;
        let mut factors = self.per_channel(&node.input[c], &value)?;
        if node.op_type() == "Div" {
            if c == 0 {
                return None;
            }
            factors.iter_mut().for_each(|f| *f = 1.0 / *f);
        }
        let powers = factors.iter().all(|f| exponent(*f).is_some());
        let same = factors.iter().all(|f| *f == factors[0]);
        let next = node.output.first().and_then(|o| self.reader.only_user(o));
        let added = next.is_some_and(|i| self.reader.graph.node[i].op_type() == "Add");
        let open = self.open(node, &value);
        if powers && same && added && open.is_none() {
            return Some(Value { factor: factors[0], open: None, ..value });
        }
        Some(self.affine(node, &value, &factors, None))
    }

    /// Scales, and shifts if told to.
    fn affine(&mut self, node: &NodeProto, value: &Value, factors: &[f32], shift: Option<&[f32]>) -> Value {
        let powers = factors.iter().all(|f| exponent(*f).is_some());
        // Powers of two scale every rounding alike; other factors may be joined where bits may differ.
        let fits = |d: &Draft| {
            let shifted = d.finish.shift.iter().any(|s| *s != 0.0);
            d.stage == Stage::Affine && (!d.strict || (powers && (shift.is_none() || !shifted)))
        };
        let (i, made) = self.extended(node, value, fits);
        let finish = &mut self.drafts[i].finish;
        let multiply = |x: &mut Vec<f32>| x.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
        multiply(&mut finish.scale);
        multiply(&mut finish.shift);
        let mut grid = self.maps[made.map].grid.and_then(|g| g.scaled(factors));
        if let Some(shift) = shift {
            finish.shift.iter_mut().zip(shift).for_each(|(x, s)| *x += s);
            let shifts = shift.iter().map(|s| Grid::of(f64::from(*s))).reduce(|a, b| Some(a?.join(b?)));
            grid = grid.and_then(|g| g.plus(shifts??));
        }
        self.maps[made.map].grid = grid;
        made
    }

    /// `Add` or `Sub`, of a constant or of another value.
    fn add(&mut self, node: &'a NodeProto) -> Option<Value> {
        if let Some((x, c)) = self.sides(node) {
            let value = self.plain(node, x)?;
            let mut shift = self.per_channel(&node.input[c], &value)?;
            if node.op_type() == "Sub" {
                if c == 0 {
                    return None;
                }
                shift.iter_mut().for_each(|s| *s = -*s);
            }
            let ones = vec![1.0; shift.len()];
            return Some(self.affine(node, &value, &ones, Some(&shift)));
        }
        if node.op_type() == "Sub" {
            return None;
        }
        self.sum(node)
    }

    /// The sum of two values: the step that comes last adds the other's map.
    fn sum(&mut self, node: &'a NodeProto) -> Option<Value> {
        let [a, b] = [self.input(node, 0)?, self.input(node, 1)?];
        let (left, right) = (&self.maps[a.map], &self.maps[b.map]);
        let same = left.channels == right.channels && left.size == right.size && a.flat == b.flat;
        if !same || a.pads != [0; 4] || b.pads != [0; 4] {
            return None;
        }
        let ready = |v: &Value| if v.factor == 1.0 { self.ends(node, v) } else { None };
        let (base, other, i) = if ready(&a) >= ready(&b) { (a, b, 0) } else { (b, a, 1) };
        let base = self.settled(&node.input[i], base);
        let made_before = |d: &Draft| d.stage == Stage::Affine && d.to > other.map;
        let (i, made) = self.extended(node, &base, made_before);
        let draft = &mut self.drafts[i];
        draft.beside = Some(other.map);
        draft.finish.factor = other.factor;
        draft.stage = Stage::Added;
        let beside = self.maps[other.map].grid.and_then(|g| g.scaled(&[other.factor]));
        let map = &mut self.maps[made.map];
        map.grid = map.grid.zip(beside).and_then(|(a, b)| a.plus(b));
        // The product was exact, and what follows is done as in the graph, so its bits are.
        Some(made)
    }

    /// The step that makes a value and can still add another map.
    fn ends(&self, node: &NodeProto, value: &Value) -> Option<usize> {
        self.open(node, value).filter(|i| self.drafts[*i].stage == Stage::Affine)
    }

    fn batch_norm(&mut self, node: &'a NodeProto) -> Option<Value> {
        if int(node, "training_mode", 0) != 0 {
            return None;
        }
        let value = self.plain(node, 0)?;
        let [scale, shift, mean, var] = [1, 2, 3, 4].map(|i| self.reader.constant(node.input.get(i)?));
        let (scale, shift, mean, var) = (scale?, shift?, mean?, var?);
        let channels = self.maps[value.map].channels;
        if value.flat || [&scale, &shift, &mean, &var].iter().any(|c| c.len() != channels) {
            return None;
        }
        let epsilon = f64::from(float(node, "epsilon", 1e-5));
        let factors: Vec<f64> =
            scale.iter().zip(&var).map(|(scale, var)| scale / (var + epsilon).sqrt()).collect();
        let shifts: Vec<f32> = shift
            .iter()
            .zip(&mean)
            .zip(&factors)
            .map(|((shift, mean), factor)| (shift - mean * factor) as f32)
            .collect();
        let factors: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
        Some(self.affine(node, &value, &factors, Some(&shifts)))
    }

    fn clip(&mut self, node: &'a NodeProto) -> Option<Value> {
        let bound = |i: usize, attribute: &str, default: f32| match node.input.get(i) {
            None => Some(float(node, attribute, default)),
            Some(name) if name.is_empty() => Some(default),
            Some(name) => Some(*self.reader.constant(name)?.first()? as f32),
        };
        let (low, high) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
        (low <= high).then(|| self.limit(node, low, high))?
    }

    /// `max(low).min(high)`.
    fn limit(&mut self, node: &'a NodeProto, low: f32, high: f32) -> Option<Value> {
        let value = self.plain(node, 0)?;
        let whole = [low, high].iter().all(|x| !x.is_finite() || x.fract() == 0.0);
        // One after the other is the same as both at once where they overlap.
        let fits = |d: &Draft| {
            let f = &d.finish;
            low <= f.high && high >= f.low && (whole || !f.floor)
        };
        let (i, made) = self.extended(node, &value, fits);
        let draft = &mut self.drafts[i];
        draft.finish.low = draft.finish.low.max(low);
        draft.finish.high = draft.finish.high.min(high);
        draft.stage = Stage::Limited;
        let map = &mut self.maps[made.map];
        map.grid = map.grid.and_then(|g| g.clip(low, high));
        Some(made)
    }

    fn floor(&mut self, node: &'a NodeProto) -> Option<Value> {
        let value = self.plain(node, 0)?;
        // Limits are applied before the floor, which is the same for integers.
        let fits =
            |d: &Draft| [d.finish.low, d.finish.high].iter().all(|x| !x.is_finite() || x.fract() == 0.0);
        let (i, made) = self.extended(node, &value, fits);
        self.drafts[i].finish.floor = true;
        self.drafts[i].stage = Stage::Limited;
        let map = &mut self.maps[made.map];
        map.grid = Some(map.grid.map_or(Grid::INTEGERS, Grid::floor));
        Some(made)
    }

    fn sigmoid(&mut self, node: &'a NodeProto) -> Option<Value> {
        let value = self.plain(node, 0)?;
        let draft = Draft { op: Op::Sigmoid, ..self.each(node.name(), value.map) };
        Some(self.push(draft, self.maps[value.map].size, None, value.flat))
    }

    fn alias(&mut self, node: &'a NodeProto) -> Option<Value> {
        let value = self.plain(node, 0)?;
        let alone = node.input.first().is_some_and(|i| self.reader.only_user(i).is_some());
        Some(Value { open: value.open.filter(|_| alone), ..value })
    }

    fn flat(&mut self, node: &'a NodeProto) -> Option<Value> {
        Some(Value { flat: true, ..self.alias(node)? })
    }

    /// A reshape to `[N, C·H·W]`.
    fn reshape(&mut self, node: &'a NodeProto) -> Option<Value> {
        let shape = self.reader.constant(node.input.get(1)?)?;
        let map = &self.maps[self.input(node, 0)?.map];
        let elements = (map.channels * map.size[0] * map.size[1]) as f64;
        let [images, rest] = [*shape.get([0])?, *shape.get([1])?];
        let batch = images == 0.0 || images == 1.0 || (images == -1.0 && rest != -1.0);
        let flat = shape.len() == 2 && batch && (rest == -1.0 || rest == elements);
        if !flat || int(node, "allowzero", 0) != 0 {
            return None;
        }
        self.flat(node)
    }

    /// Zeros around an image, for the convolution that follows.
    fn pad(&mut self, node: &'a NodeProto) -> Option<Value> {
        let value = self.plain(node, 0)?;
        let mode = node.attribute.iter().find(|a| a.name() == "mode").and_then(|a| a.s.as_deref());
        let pads = self.reader.constant(node.input.get(1)?)?;
        let filler = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => *self.reader.constant(name)?.first()?,
            None => 0.0,
        };
        let next = self.reader.only_user(node.output.first()?)?;
        let pads: Vec<f64> = pads.iter().copied().collect();
        let usual = matches!(mode, None | Some(b"constant")) && filler == 0.0 && node.input.len() < 4;
        if !usual || value.flat || pads.len() != 8 || self.reader.graph.node[next].op_type() != "Conv" {
            return None;
        }
        if pads.iter().any(|p| *p < 0.0) || [0, 1, 4, 5].iter().any(|i| pads[*i] != 0.0) {
            return None;
        }
        let pads = [2, 3, 6, 7].map(|i| pads[i] as usize);
        Some(Value { pads, open: None, ..value })
    }

    /// `x / √(Σ x² + ε)` along the rows of `[N, D]`, from the `Mul` that squares.
    fn unit_length(&mut self, node: &'a NodeProto) -> Option<()> {
        let [x, again] = node.input.as_slice() else { return None };
        let value = self.plain(node, 0).filter(|v| v.flat && self.maps[v.map].size == [1, 1])?;
        let graph = self.reader.graph;
        let after = |i: usize| self.reader.only_user(graph.node[i].output.first()?);
        let here = |i: &Option<usize>| i.is_some_and(|i| std::ptr::eq(&graph.node[i], node));
        let square = (*self.reader.users(x).iter().find(|i| here(i))?)?;
        let sum = after(square).filter(|i| graph.node[*i].op_type() == "ReduceSum")?;
        let axes = match graph.node[sum].input.get(1) {
            Some(name) => self.reader.constant(name)?.iter().map(|x| *x as i64).collect(),
            None => sizes::<1>(&graph.node[sum], "axes", [0])?.map(|x| x as i64).to_vec(),
        };
        let mut root = after(sum)?;
        let (mut epsilon, mut all) = (0.0, vec![sum, root]);
        if graph.node[root].op_type() == "Add" {
            let (_, c) = self.sides(&graph.node[root])?;
            epsilon = *self.reader.constant(&graph.node[root].input[c]).filter(|c| c.len() == 1)?.first()?;
            root = after(root)?;
            all.push(root);
        }
        let last = after(root)?;
        all.push(last);
        let quotient = &graph.node[last];
        let fits = x == again
            && node.op_type() == "Mul"
            && matches!(axes.as_slice(), [1 | -1])
            && int(&graph.node[sum], "keepdims", 1) == 1
            && graph.node[root].op_type() == "Sqrt"
            && quotient.op_type() == "Div"
            && quotient.input.as_slice() == [x.clone(), graph.node[root].output[0].clone()];
        // Nothing else may read what is never made.
        if !fits || self.reader.users(x).len() != 3 {
            return None;
        }
        let draft = Draft { op: Op::UnitLength(epsilon as f32), ..self.each(node.name(), value.map) };
        let made = self.push(draft, [1, 1], None, true);
        self.done.extend(all);
        self.name(quotient, made)
    }
}
