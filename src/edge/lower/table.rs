//! Functions of bytes: nodes that together make one number of another, which is of 8 bits, become a table.
//!
//! Exact towers have their activations so: as a `Gather` from a table, or as sums and products of one value with itself
//! (leaky ReLU; hard swish where all channels have the same). Whatever the nodes are, they are computed once for each number that can go in, as the graph does
//! it in float32, and if nothing but integers of 8 bits comes out, that is the step.

use super::{Lowered, Lowering};
use crate::edge::draft::{ActionDraft, LoweredValue, Stage, StepDraft};
use crate::edge::view::Side;
use crate::exactness::{Interval, Range};
use crate::onnx::{NodeProto, Operator};
use ndarray::{ArrayD, IxDyn};
use std::collections::{BTreeSet, HashMap};

/// Nodes behind the first that may be part of a function.
const FURTHEST: usize = 32;
/// Numbers of 8 bits.
const NUMBERS: usize = 256;

/// Whether each element of the result is made of the same element of the inputs.
pub(super) fn is_each_element(operator: Operator) -> bool {
    use Operator::*;
    matches!(operator, Abs | Add | Cast | Clip | Div | Floor | Identity | Max | Min | Mul | Neg | Relu | Sub)
}

/// A function of the elements of one value.
struct Function<'a> {
    /// The nodes that compute it, the last one last.
    nodes: BTreeSet<usize>,
    result: &'a str,
    /// `[256, C, 1…]`: for the numbers from the least on.
    numbers: ArrayD<f64>,
}

impl<'a> Lowering<'a> {
    /// Lowers the nodes from number `i` on that are a function of 8 bits; false where there are none, or where the usual
    /// steps do as well.
    pub(super) fn tabled(&mut self, i: usize, node: &'a NodeProto) -> Lowered<bool> {
        let Some((root, value)) = self.root(node) else { return Ok(false) };
        use Operator::{Clip, Floor, Max, Min, Relu};
        if matches!(node.operator(), Some(Clip | Floor | Max | Min | Relu))
            && self.open(&[node], &value).is_some()
        {
            // It belongs to the step before.
            return Ok(false);
        }
        if self.times_itself(i, (root, &value))? {
            return Ok(true);
        }
        let Some(function) = self.function_of(i, root, &value) else { return Ok(false) };
        let Some(range) = range(&function.numbers) else { return Ok(false) };
        let inputs = self.maps[value.map].range.clone();
        let value = self.as_bytes(node, &value, usize::MAX);
        let map = &self.maps[value.map];
        let Some(inputs) = inputs.filter(|_| map.bytes()) else { return Ok(false) };
        let (channels, size) = (map.channels, map.size);
        let same = range.channels().len() == 1 && map.lift.windows(2).all(|pair| pair[0] == pair[1]);
        let lift = |c: usize| map.lift.get(c).map_or(0.0, |up| f64::from(*up));
        let numbers = function.numbers.as_standard_layout();
        let entry = |c: usize, byte: usize| {
            // What cannot occur is as good as the nearest that can.
            let place = (byte as f64 - lift(c) - inputs.low()).clamp(0.0, NUMBERS as f64 - 1.0) as usize;
            let each = numbers.shape()[1];
            numbers.as_slice().map_or(0.0, |all| all[place * each + c % each] as f32)
        };
        let tables = if same { 1 } else { channels };
        let all = (0..tables).flat_map(|c| (0..NUMBERS).map(move |byte| (c, byte)));
        let table = all.map(|(c, byte)| entry(c, byte)).collect();
        let action = ActionDraft::Table(table);
        let draft = StepDraft { action, stage: Stage::Done, ..self.each(node.name(), value.map) };
        let made = self.push(draft, channels, size, Some(range), value.view.clone());
        self.done.extend(&function.nodes);
        self.values.insert(function.result, made);
        Ok(true)
    }

    /// The one value that a node of single elements is made of, if it is an image or a row of numbers of 8 bits.
    fn root(&self, node: &'a NodeProto) -> Option<(&'a str, LoweredValue)> {
        node.operator().filter(|operator| is_each_element(*operator))?;
        let mut names = node.input.iter().filter(|name| !name.is_empty() && !self.reader.is_constant(name));
        let root = names.next().filter(|root| names.all(|name| name == *root))?;
        let value = self.values.get(root.as_str())?.clone();
        let map = &self.maps[value.map];
        map.needed_lift()?;
        let whole = value.view.covers(map.channels, map.size) && value.view.rank() > 1;
        let by_channel = whole && value.view.is(&[1], &[(Side::Channels, map.channels)]);
        (by_channel && value.factor == 1.0 && value.pads == [0; 4]).then_some((root, value))
    }

    /// The longest function that begins with node `i` and that a table does better.
    fn function_of(&self, i: usize, root: &'a str, value: &LoweredValue) -> Option<Function<'a>> {
        let graph = self.reader.graph;
        let mut made_by = HashMap::<&str, usize>::new();
        for (j, node) in graph.node.iter().enumerate().skip(i).take(FURTHEST) {
            if self.is_of_function(node, |name| name == root || made_by.contains_key(name)) {
                made_by.insert(&node.output[0], j);
            }
        }
        let mut ends: Vec<usize> = made_by.values().copied().collect();
        ends.sort_unstable();
        let numbers = self.numbers_of(value)?;
        ends.into_iter().rev().find_map(|end| {
            let nodes = self.all_behind(end, &made_by)?;
            if !nodes.contains(&i) || !self.is_bent(&nodes, root, &made_by) {
                return None;
            }
            let result = graph.node[end].output[0].as_str();
            let mut known = HashMap::from([(root, numbers.clone())]);
            for node in nodes.iter().map(|node| &graph.node[*node]) {
                known.insert(&node.output[0], self.reader.computed(node, &known)?);
            }
            let numbers = known.remove(result).filter(|made| self.by_channel(made, value))?;
            range(&numbers)?;
            Some(Function { nodes, result, numbers })
        })
    }

    /// Whether a node, whose variable inputs must be `known`, is one of single elements or looks up a table.
    fn is_of_function(&self, node: &NodeProto, known: impl Fn(&str) -> bool) -> bool {
        let Some(operator) = node.operator() else { return false };
        let table = || node.input_name(0).and_then(|table| self.reader.constant(table));
        let looks_up = operator == Operator::Gather
            && node.int_or("axis", 0) == 0
            && table().is_some_and(|table| table.ndim() == 1);
        let mut names =
            node.input.iter().filter(|name| !name.is_empty() && !self.reader.is_constant(name)).peekable();
        let some = names.peek().is_some() && names.all(|name| known(name));
        some && node.output.len() == 1 && (is_each_element(operator) || looks_up)
    }

    /// Every number that a value can be, from its least on; the last ones may be the greatest again. Its other axes are 1
    /// until they meet a constant of each channel.
    fn numbers_of(&self, value: &LoweredValue) -> Option<ArrayD<f64>> {
        let range = self.maps[value.map].range.as_ref()?;
        let mut shape = vec![1; value.view.rank()];
        shape[0] = NUMBERS;
        let number = |i: usize| (range.low() + i as f64).min(range.high());
        let few = range.high() - range.low() < NUMBERS as f64;
        few.then(|| ArrayD::from_shape_fn(IxDyn(&shape), |i| number(i[0])))
    }

    /// Whether what was made of numbers has one for all channels, or one for each.
    fn by_channel(&self, numbers: &ArrayD<f64>, value: &LoweredValue) -> bool {
        let channels = self.maps[value.map].channels;
        let shape = numbers.shape();
        let rest = shape.get(2..).is_some_and(|rest| rest.iter().all(|size| *size == 1));
        shape.len() == value.view.rank()
            && shape[0] == NUMBERS
            && rest
            && (shape[1] == 1 || shape[1] == channels)
    }

    /// The nodes that a node depends on, and itself, if nothing else reads what they make.
    fn all_behind(&self, end: usize, made_by: &HashMap<&str, usize>) -> Option<BTreeSet<usize>> {
        let graph = self.reader.graph;
        let (mut all, mut next) = (BTreeSet::new(), vec![end]);
        while let Some(node) = next.pop() {
            if all.insert(node) {
                next.extend(graph.node[node].input.iter().filter_map(|name| made_by.get(name.as_str())));
            }
        }
        let inside = |user: &Option<usize>| user.is_some_and(|user| all.contains(&user));
        let closed =
            |node: &usize| *node == end || self.reader.users(&graph.node[*node].output[0]).iter().all(inside);
        all.iter().all(closed).then_some(all)
    }

    /// Whether a function is more than factors, sums and limits, which the steps before it do on their way.
    fn is_bent(&self, nodes: &BTreeSet<usize>, root: &str, made_by: &HashMap<&str, usize>) -> bool {
        let bends = |node: &NodeProto| {
            let variable = |name: &&String| *name == root || made_by.contains_key(name.as_str());
            node.operator() == Some(Operator::Gather) || node.input.iter().filter(variable).count() > 1
        };
        nodes.iter().any(|node| bends(&self.reader.graph.node[*node]))
    }
}

/// The range of numbers `[256, C, 1…]`, if they are integers of which each channel has those of 8 bits.
fn range(numbers: &ArrayD<f64>) -> Option<Range> {
    let of = |channel: ndarray::ArrayViewD<'_, f64>| {
        let ends =
            channel.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], x| [a.min(*x), b.max(*x)]);
        let whole = channel.iter().all(|x| x.fract() == 0.0) && ends[1] - ends[0] < NUMBERS as f64;
        whole.then(|| Interval::new(ends[0], ends[1], 0))
    };
    let channels: Option<Vec<Interval>> = numbers.axis_iter(ndarray::Axis(1)).map(of).collect();
    let channels = channels?;
    let mut rows = numbers.axis_iter(ndarray::Axis(1));
    let first = rows.next()?;
    if rows.all(|row| row == first) {
        channels.first().map(|c| Range::uniform(*c))
    } else {
        Range::of(channels)
    }
}
