//! A value times itself within limits: hard swish as exact towers have it, `x · clip(x + t, 0, 2t)`.

use super::table::is_each_element;
use super::{Lowered, Lowering};
use crate::edge::draft::LoweredValue;
use crate::edge::kernels::{Gating, Ramp};
use crate::exactness::Interval;
use crate::onnx::{NodeProto, Operator};

impl<'a> Lowering<'a> {
    /// From node `i`, which adds t to what `root` names: true if it is that. What scales the product and cuts it off follows
    /// as it follows any gate.
    pub(super) fn times_itself(&mut self, i: usize, (root, value): (&str, &LoweredValue)) -> Lowered<bool> {
        let Some((ramp, [clip, product])) = self.ramp(i, root) else { return Ok(false) };
        // A table that serves all channels is looked up many bytes at once.
        if !self.differs_by_channel(product) {
            return Ok(false);
        }
        let [shift, low, high] = [ramp.shift, ramp.low, ramp.high].map(f64::from);
        let gate = |x: Interval| Interval::of(shift).and_then(|shift| x.plus(shift).clip(low, high));
        let gates = self.maps[value.map].range.as_ref().and_then(|range| range.try_map(gate));
        let node: &'a NodeProto = &self.reader.graph.node[product];
        let made = self.multiplied(node, value, Gating::Itself(ramp), None, gates.as_ref());
        self.done.extend([i, clip, product]);
        self.values.insert(&node.output[0], made);
        Ok(true)
    }

    /// The ramp that begins with node `i`, and the nodes that limit it and multiply with it.
    fn ramp(&self, i: usize, root: &str) -> Option<(Ramp, [usize; 2])> {
        let graph = self.reader.graph;
        let [_, c] = self.sides(&graph.node[i]).ok()?.filter(|_| self.is(i, Operator::Add))?;
        let shift = self.single(&graph.node[i], c)? as f32;
        let clip = self.next(i).filter(|clip| self.is(*clip, Operator::Clip))?;
        let [low, high] = self.edges(&graph.node[clip]).ok()?;
        let product = self.next(clip).filter(|product| self.is(*product, Operator::Mul))?;
        let limited = graph.node[clip].output.first()?;
        let inputs = &graph.node[product].input;
        let of_both =
            inputs.len() == 2 && [root, limited].iter().all(|name| inputs.iter().any(|x| x == name));
        of_both.then_some((Ramp { shift, low, high }, [clip, product]))
    }

    /// Whether what follows a node, element by element, is not the same for all channels.
    fn differs_by_channel(&self, product: usize) -> bool {
        let follows = |i: &usize| {
            self.next(*i).filter(|i| self.reader.graph.node[*i].operator().is_some_and(is_each_element))
        };
        let differs = |name: &String| {
            let numbers = self.reader.constant(name);
            numbers.is_some_and(|numbers| numbers.iter().any(|x| Some(x) != numbers.first()))
        };
        let mut nodes = std::iter::successors(Some(product), follows);
        nodes.any(|i| self.reader.graph.node[i].input.iter().any(differs))
    }
}
