//! Lowering of rows that are divided by their length: seven nodes become one step.

use super::Lowering;
use crate::edge::draft::{ActionDraft, StepDraft};
use crate::edge::reader::sizes;
use crate::edge::view::View;
use crate::onnx::{NodeProto, Operator};

impl<'a> Lowering<'a> {
    /// `x / √(Σ x² + ε)` along the rows of `[N, D]`, from the `Mul` that squares.
    pub(super) fn unit_length(&mut self, node: &'a NodeProto) -> Option<()> {
        let [x, again] = node.input.as_slice() else { return None };
        let value = self
            .plain(node, 0)
            .ok()
            .filter(|v| v.view == View::row(self.maps[v.map].channels) && self.maps[v.map].size == [1, 1])?;
        let graph = self.reader.graph;
        let is = |i: usize, operator: Operator| graph.node[i].operator() == Some(operator);
        let after = |i: usize| self.reader.only_user(graph.node[i].output.first()?);
        let here = |i: &Option<usize>| i.is_some_and(|i| std::ptr::eq(&graph.node[i], node));
        let square = (*self.reader.users(x).iter().find(|i| here(i))?)?;
        let sum = after(square).filter(|i| is(*i, Operator::ReduceSum))?;
        let axes = match graph.node[sum].input.get(1) {
            Some(_) => self.constant(&graph.node[sum], 1).ok()?.iter().map(|x| *x as i64).collect(),
            None => sizes::<1>(&graph.node[sum], "axes", [0]).ok()?.map(|x| x as i64).to_vec(),
        };
        let mut root = after(sum)?;
        let (mut epsilon, mut all) = (0.0, vec![sum, root]);
        if is(root, Operator::Add) {
            let [_, c] = self.sides(&graph.node[root]).ok()??;
            epsilon = *self.constant(&graph.node[root], c).ok().filter(|c| c.len() == 1)?.first()?;
            root = after(root)?;
            all.push(root);
        }
        let last = after(root)?;
        all.push(last);
        let quotient = &graph.node[last];
        let fits = x == again
            && matches!(axes.as_slice(), [1 | -1])
            && graph.node[sum].int_or("keepdims", 1) == 1
            && is(root, Operator::Sqrt)
            && is(last, Operator::Div)
            && quotient.input.as_slice() == [x.clone(), graph.node[root].output[0].clone()];
        // Nothing else may read what is never made.
        if !fits || self.reader.users(x).len() != 3 {
            return None;
        }
        let [output] = quotient.output.as_slice() else { return None };
        let action = ActionDraft::UnitLength(epsilon as f32);
        let draft = StepDraft { action, ..self.each(node.name(), value.map) };
        let channels = self.maps[value.map].channels;
        let made = self.push(draft, channels, [1, 1], None, value.view);
        self.done.extend(all);
        self.values.insert(output, made);
        Some(())
    }
}
