//! Lowering of two values that are taken together, element by element.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, MapDraft, StepDraft};
use crate::edge::kernels::{Binary, Gating};
use crate::edge::view::{Side, View};
use crate::exactness::{Interval, Range};
use crate::onnx::NodeProto;

impl<'a> Lowering<'a> {
    /// Both inputs, laid out alike in maps of one form; constants become maps too.
    pub(super) fn alike(&mut self, node: &'a NodeProto) -> Lowered<[LoweredValue; 2]> {
        let shape = self.shape(node)?;
        let [a, b] = self.operands(node, &shape)?;
        let covers = |v: &LoweredValue| {
            let map = &self.maps[v.map];
            v.view.shape() == shape && v.view.covers(map.channels, map.size)
        };
        let form = |v: &LoweredValue| (self.maps[v.map].channels, self.maps[v.map].size, v.view.clone());
        let like = match [covers(&a), covers(&b)] {
            [true, _] => form(&a),
            [false, true] => form(&b),
            [false, false] => View::natural(&shape),
        };
        Ok([self.conformed(node, 0, a, &shape, &like)?, self.conformed(node, 1, b, &shape, &like)?])
    }

    /// A value in this form: itself, or a copy.
    fn conformed(
        &mut self,
        node: &'a NodeProto,
        i: usize,
        value: LoweredValue,
        shape: &[usize],
        like: &(usize, [usize; 2], View),
    ) -> Lowered {
        let map = &self.maps[value.map];
        if map.channels == like.0 && map.size == like.1 && value.view == like.2 {
            return Ok(value);
        }
        let value = if value.factor == 1.0 { value } else { self.settled(&node.input[i], value) };
        let view = value.view.broadcast(shape).ok_or(Why::Shape)?;
        Ok(self.copied(node.name(), &LoweredValue { view, ..value }, like.clone()))
    }

    /// Two inputs of a node, each a value or a constant in a map; not both constants.
    fn operands(&mut self, node: &'a NodeProto, shape: &[usize]) -> Lowered<[LoweredValue; 2]> {
        let [_, _] = node.input.as_slice() else { return Err(Why::Operands) };
        let mut operand = |i: usize| -> Lowered {
            if self.reader.is_constant(&node.input[i]) {
                return self.constant_map(node, i, shape);
            }
            let value = self.input(node, i)?;
            if value.pads == [0; 4] { Ok(value) } else { Err(Why::Padding) }
        };
        Ok([operand(0)?, operand(1)?])
    }

    /// A constant as a value. `like` is what it is combined with.
    pub(super) fn constant_map(&mut self, node: &NodeProto, i: usize, like: &[usize]) -> Lowered {
        let constant = self.constant(node, i)?;
        let mut shape = vec![1; like.len().saturating_sub(constant.ndim())];
        shape.extend(constant.shape());
        if shape.contains(&0) {
            return Err(Why::Shape);
        }
        let (channels, size, view) = View::natural(&shape);
        let mut numbers = vec![0f32; constant.len()];
        let places = view.places([1, size[1] * channels, channels]);
        constant.iter().zip(places).for_each(|(x, place)| numbers[place] = *x as f32);
        let map = self.maps.len();
        self.maps.push(MapDraft {
            channels,
            size,
            border: [0; 4],
            range: None,
            narrow: false,
            lift: Vec::new(),
            constant: Some(numbers),
        });
        Ok(LoweredValue::of(map, view))
    }

    /// `Mul` or `Div` of two values, or `Max` or `Min`.
    pub(super) fn combined(&mut self, node: &'a NodeProto, how: Binary) -> Lowered {
        if let Some(scaled) = self.scaled_channels(node, how)? {
            return Ok(scaled);
        }
        let [a, b] = self.alike(node)?;
        let [a, b] = [self.settled(&node.input[0], a), self.settled(&node.input[1], b)];
        Ok(self.combine(node, how, &a, &b, false))
    }

    fn combine(
        &mut self,
        node: &NodeProto,
        how: Binary,
        a: &LoweredValue,
        b: &LoweredValue,
        spread: bool,
    ) -> LoweredValue {
        let action = ActionDraft::Combine { how, spread };
        let draft = StepDraft { action, other: Some(b.map), strict: false, ..self.each(node.name(), a.map) };
        let MapDraft { channels, size, .. } = self.maps[a.map];
        self.push(draft, channels, size, None, a.view.clone())
    }

    /// A map times one number a channel that is computed, as squeeze-and-excitation does.
    fn scaled_channels(&mut self, node: &'a NodeProto, how: Binary) -> Lowered<Option<LoweredValue>> {
        if node.input.iter().any(|name| self.reader.is_constant(name)) || node.input.len() != 2 {
            return Ok(None);
        }
        let shape = self.shape(node)?;
        let [a, b] = [self.input(node, 0)?, self.input(node, 1)?];
        let [small, large] = if a.view.shape() == shape { [1, 0] } else { [0, 1] };
        let (x, s) = if large == 0 { (&a, &b) } else { (&b, &a) };
        if (how == Binary::Div && large == 1) || x.view.shape() != shape {
            return Ok(None);
        }
        let map = &self.maps[s.map];
        let more = shape.len() - s.view.rank();
        let long: Vec<usize> = (0..s.view.rank()).filter(|axis| !s.view.axis(*axis).is_empty()).collect();
        let one = map.size == [1, 1] && s.view.covers(map.channels, map.size) && s.view.shape() != shape;
        let ([axis], true, [0, 0, 0, 0]) = (&long[..], one, s.pads) else { return Ok(None) };
        let channels = map.channels;
        let x = self.whole(node, large)?;
        let same = self.maps[x.map].channels == channels;
        if !same || !x.view.is(&[axis + more], &[(Side::Channels, channels)]) {
            return Ok(None);
        }
        let s = self.plain(node, small)?;
        Ok(Some(match how {
            Binary::Mul => self.gated_by(node, &x, &s),
            _ => self.combine(node, how, &x, &s, true),
        }))
    }

    /// A map times one number a channel, which `gate` holds.
    fn gated_by(&mut self, node: &NodeProto, x: &LoweredValue, gate: &LoweredValue) -> LoweredValue {
        let gates = self.maps[gate.map].range.clone();
        self.multiplied(node, x, Gating::Channels, Some(gate.map), gates.as_ref())
    }

    /// A map times a gate whose numbers are known to be in a range.
    pub(super) fn multiplied(
        &mut self,
        node: &NodeProto,
        x: &LoweredValue,
        by: Gating,
        other: Option<usize>,
        gates: Option<&Range>,
    ) -> LoweredValue {
        self.lift(x.map);
        let MapDraft { channels, size, range, .. } = self.maps[x.map].clone();
        let most = range.as_ref().zip(gates).and_then(|(x, gate)| greatest(x, gate));
        let range =
            range.zip(gates).and_then(|(x, gate)| x.zip(gate, Interval::product)).filter(Range::is_exact);
        let (action, strict) = (ActionDraft::Gate { by, narrowed: None, most }, range.is_some());
        let draft = StepDraft { action, other, strict, ..self.each(node.name(), x.map) };
        let open = Some(self.drafts.len());
        LoweredValue { open, ..self.push(draft, channels, size, range, x.view.clone()) }
    }

    /// `Max` or `Min`: of a constant a limit.
    pub(super) fn extreme(&mut self, node: &'a NodeProto, max: bool) -> Lowered {
        if let [_] = node.input.as_slice() {
            return self.alias(node);
        }
        let sides = self.sides(node)?;
        if let Some([x, c]) = sides
            && let Some(limit) = self.constant(node, c).ok().filter(|c| c.len() == 1 && c.ndim() < 2)
        {
            let limit = limit.first().map_or(0.0, |x| *x as f32);
            let value = self.whole(node, x)?;
            let (low, high) = if max { (limit, f32::INFINITY) } else { (f32::NEG_INFINITY, limit) };
            return Ok(self.limited(&[node], &value, low, high));
        }
        self.combined(node, if max { Binary::Max } else { Binary::Min })
    }
}

/// The greatest magnitude of a gate and of what it multiplies, if all are integers.
fn greatest(x: &Range, gate: &Range) -> Option<f64> {
    let whole = [x, gate].iter().all(|range| range.channels().iter().all(|c| c.step >= 0));
    let [x, gate] = [x, gate].map(|range| range.high().max(-range.low()));
    whole.then_some(gate * x.max(1.0))
}
