//! Layer normalisation as exporters write it where the operator is not in their opset.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::ActionDraft;
use crate::edge::kernels::LayerNorm;
use crate::onnx::{NodeProto, Operator};

impl<'a> Lowering<'a> {
    /// `(x − m) / √(mean((x − m)²) + ε)` from the node that makes the mean m along all channels of a map; whether it
    /// is that. What scales and shifts it follows as it would follow anything.
    pub(super) fn normalised_by_parts(&mut self, node: &'a NodeProto) -> Lowered<bool> {
        let Some(parts) = self.parts(node) else { return Ok(false) };
        let rank = self.input(node, 0)?.view.rank();
        let value = match parts.axis {
            1 if rank == 4 => self.image(node, 0)?,
            axis if axis + 1 == rank => self.in_rows(node, 0)?,
            _ => return Ok(false),
        };
        if value.pads != [0; 4] {
            return Err(Why::Padding);
        }
        let channels = self.maps[value.map].channels;
        let how =
            LayerNorm { scale: vec![1.0; channels], shift: vec![0.0; channels], epsilon: parts.epsilon };
        let made = self.rows(node, &value, ActionDraft::LayerNorm(how));
        self.done.extend(parts.all);
        self.values.insert(parts.result, made);
        Ok(true)
    }

    /// The parts, where these are all of them and nothing else reads what will not be made.
    fn parts(&self, mean: &NodeProto) -> Option<Parts<'a>> {
        let graph = self.reader.graph;
        let axis = self.mean_of_channels(mean)?;
        let centred = self.reader.only_user(mean.output.first()?)?;
        let [x, m] = graph.node[centred].input.as_slice() else { return None };
        let centres = self.is(centred, Operator::Sub) && [x, m] == [&mean.input[0], &mean.output[0]];
        let d = graph.node[centred].output.first().filter(|_| centres)?;
        let readers: Option<Vec<usize>> = self.reader.users(d).iter().copied().collect();
        let readers = readers?;
        let square = *readers.iter().find(|i| self.squares(**i))?;
        let variance = self.next(square).filter(|i| self.mean_of_channels(&graph.node[*i]) == Some(axis))?;
        let sum = self.next(variance).filter(|i| self.is(*i, Operator::Add))?;
        let [_, c] = self.sides(&graph.node[sum]).ok()??;
        let epsilon = *self.constant(&graph.node[sum], c).ok().filter(|c| c.len() == 1)?.first()?;
        let root = self.next(sum).filter(|i| self.is(*i, Operator::Sqrt))?;
        let quotient = self.next(root).filter(|i| self.is(*i, Operator::Div))?;
        let divides =
            graph.node[quotient].input.as_slice() == [d.clone(), graph.node[root].output[0].clone()];
        if !divides || readers.iter().any(|i| *i != square && *i != quotient) {
            return None;
        }
        let all = vec![centred, square, variance, sum, root, quotient];
        Some(Parts { axis, epsilon: epsilon as f32, all, result: graph.node[quotient].output.first()? })
    }

    /// The axis of a mean along all channels of a map, which keeps that axis.
    fn mean_of_channels(&self, node: &NodeProto) -> Option<usize> {
        let axes: Vec<i64> = match node.input_name(1) {
            Some(_) => self.constant(node, 1).ok()?.iter().map(|x| *x as i64).collect(),
            None => node.ints("axes").unwrap_or_default().to_vec(),
        };
        let [axis] = axes[..] else { return None };
        let mean = node.operator() == Some(Operator::ReduceMean) && node.int_or("keepdims", 1) == 1;
        let rank = self.reader.shape(node.input.first().filter(|_| mean)?)?.len() as i64;
        usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()
    }

    fn squares(&self, i: usize) -> bool {
        let node = &self.reader.graph.node[i];
        match node.operator() {
            Some(Operator::Mul) => node.input.len() == 2 && node.input[0] == node.input[1],
            Some(Operator::Pow) => self.constant(node, 1).is_ok_and(|power| power.iter().eq([2.0].iter())),
            _ => false,
        }
    }

    pub(super) fn is(&self, i: usize, operator: Operator) -> bool {
        self.reader.graph.node[i].operator() == Some(operator)
    }

    /// The only node that reads what a node makes.
    pub(super) fn next(&self, i: usize) -> Option<usize> {
        self.reader.only_user(self.reader.graph.node[i].output.first()?)
    }
}

/// What a layer normalisation is made of.
struct Parts<'a> {
    /// Along which it is.
    axis: usize,
    epsilon: f32,
    /// The nodes behind the mean.
    all: Vec<usize>,
    /// The name of the last one's result.
    result: &'a str,
}
