//! Lowering of activations: what is done to each element after the epilogue of the step that makes it.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{LoweredValue, Stage, StepDraft};
use crate::edge::kernels::Function;
use crate::onnx::{NodeProto, Operator};

impl<'a> Lowering<'a> {
    pub(super) fn activation(&mut self, operator: Operator, i: usize, node: &'a NodeProto) -> Lowered {
        use Operator::*;
        let function = match operator {
            Sigmoid => match self.gate(i, node) {
                Some(gate) => return self.gated(node, gate, Function::Silu),
                None => Function::Sigmoid,
            },
            Tanh => Function::Tanh,
            Erf => Function::Erf,
            Gelu if node.text("approximate") == Some("tanh") => Function::GeluTanh,
            Gelu => Function::Gelu,
            HardSwish => Function::HardSwish,
            LeakyRelu => Function::Leaky(node.float_or("alpha", 0.01)),
            Elu => Function::Elu(node.float_or("alpha", 1.0)),
            Abs => Function::Abs,
            Sqrt => Function::Sqrt,
            _ => return self.slopes(node),
        };
        let value = self.whole(node, 0)?;
        Ok(self.function(&[node], &value, function))
    }

    /// `PRelu`, with one slope for all or one a channel.
    fn slopes(&mut self, node: &'a NodeProto) -> Lowered {
        let mut value = self.whole(node, 0)?;
        let mut slopes = self.per_channel(node, 1, &value)?;
        if slopes.is_none() && value.view.rank() == 4 {
            // Channels that changed places are put in order.
            value = self.image(node, 0)?;
            slopes = self.per_channel(node, 1, &value)?;
        }
        let slopes = slopes.ok_or(Why::Operands)?;
        Ok(self.function(&[node], &value, Function::Slopes(slopes)))
    }

    /// The step that makes `value`, which these nodes alone may read, ends with a function.
    fn function(&mut self, nodes: &[&NodeProto], value: &LoweredValue, function: Function) -> LoweredValue {
        let float = !self.maps[value.map].bytes();
        let fits = |d: &StepDraft| d.stage != Stage::Done && !d.strict && float;
        let (i, made) = self.extended(nodes, value, fits);
        let draft = &mut self.drafts[i];
        draft.function = Some(function);
        draft.stage = Stage::Done;
        let map = &mut self.maps[made.map];
        (map.range, map.narrow) = (None, false);
        made
    }

    /// `αx + β` between 0 and 1.
    pub(super) fn hard_sigmoid(&mut self, i: usize, node: &'a NodeProto) -> Lowered {
        let [alpha, beta] =
            [("alpha", 0.2), ("beta", 0.5)].map(|(name, default)| node.float_or(name, default));
        let swish = (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5;
        if let Some(gate) = self.gate(i, node).filter(|_| swish) {
            return self.gated(node, gate, Function::HardSwish);
        }
        let value = self.whole(node, 0)?;
        let channels = self.maps[value.map].channels;
        let made = self.affine(&[node], &value, &vec![alpha; channels], Some(&vec![beta; channels]));
        // Nothing else reads what was just made, so its step can be limited too.
        if let Some(draft) = made.open.map(|step| &mut self.drafts[step]) {
            (draft.epilogue.low, draft.epilogue.high) = (0.0, 1.0);
            draft.stage = Stage::Limited;
        }
        self.maps[made.map].range = None;
        Ok(made)
    }

    /// The `Mul` that multiplies the input of node `i` with its output, if nothing else reads the output.
    fn gate(&self, i: usize, node: &NodeProto) -> Option<usize> {
        let (x, gate) = (node.input.first()?, node.output.first()?);
        let next = self.reader.only_user(gate)?;
        let mul = &self.reader.graph.node[next];
        let pair = [[x, gate], [gate, x]].iter().any(|pair| mul.input.iter().eq(pair.iter().copied()));
        (mul.operator() == Some(Operator::Mul) && mul.output.len() == 1 && pair && next > i).then_some(next)
    }

    /// A node and the `Mul` behind it as one function.
    fn gated(&mut self, node: &'a NodeProto, gate: usize, function: Function) -> Lowered {
        let value = self.whole(node, 0)?;
        let mul = &self.reader.graph.node[gate];
        let made = self.function(&[node, mul], &value, function);
        self.done.insert(gate);
        self.values.insert(&mul.output[0], made.clone());
        Ok(LoweredValue { open: None, ..made })
    }

    /// `x/2 · (1 + erf(x/√2))` from the node that divides by √2, or multiplies by its inverse.
    pub(super) fn gelu(&mut self, i: usize, node: &'a NodeProto, divide: bool) -> Option<Lowered> {
        let graph = self.reader.graph;
        let [x, c] = self.sides(node).ok()??;
        let scale = self.single(node, c)?;
        let scale = if divide && c == 1 { 1.0 / scale } else { scale };
        let x = &node.input[x];
        let is = |i: &usize, operator: Operator| graph.node[*i].operator() == Some(operator);
        let after = |i: usize| self.reader.only_user(graph.node[i].output.first()?);
        let erf = after(i).filter(|i| is(i, Operator::Erf))?;
        let one = after(erf).filter(|i| is(i, Operator::Add))?;
        let [_, added] = self.sides(&graph.node[one]).ok()??;
        let product = after(one).filter(|i| is(i, Operator::Mul))?;
        let other = graph.node[product].input.iter().find(|name| **name != graph.node[one].output[0])?;
        let half = |i: &usize| {
            let node = &graph.node[*i];
            let side = self.sides(node).ok().flatten();
            is(i, Operator::Mul) && side.and_then(|[_, c]| self.single(node, c)) == Some(0.5)
        };
        let last = if other == x {
            after(product).filter(half)?
        } else {
            // The half was taken before.
            let users = self.reader.users(x).iter().flatten();
            let halved = users.copied().find(|k| *k > i && graph.node[*k].output.first() == Some(other))?;
            (half(&halved) && after(halved) == Some(product)).then_some(halved)?
        };
        let close = (scale - std::f64::consts::FRAC_1_SQRT_2).abs() < 1e-6;
        if !close || self.single(&graph.node[one], added) != Some(1.0) {
            return None;
        }
        let all = [i, erf, one, product, last];
        let end = if other == x { last } else { product };
        let value = match self.whole(node, usize::from(*x != node.input[0])) {
            Ok(value) => value,
            Err(why) => return Some(Err(why)),
        };
        let nodes: Vec<&NodeProto> = all.iter().map(|i| &graph.node[*i]).collect();
        let made = self.function(&nodes, &value, Function::Gelu);
        self.done.extend(all);
        self.values.insert(&graph.node[end].output[0], made.clone());
        Some(Ok(LoweredValue { open: None, ..made }))
    }

    /// A constant input that is one number.
    pub(super) fn single(&self, node: &NodeProto, i: usize) -> Option<f64> {
        self.constant(node, i).ok().filter(|c| c.len() == 1).and_then(|c| c.first().copied())
    }
}
