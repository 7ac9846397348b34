//! Lowering of element-wise nodes: they become the epilogue of the step before them where they can, and
//! of a step of their own where not.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, Stage, StepDraft};
use crate::edge::kernels::{Binary, Epilogue};
use crate::edge::view::Side;
use crate::exactness::{Interval, Range, power_of_two};
use crate::onnx::{NodeProto, Operator};

/// Whether limits can be taken before a floor as well as after it.
fn whole(limits: [f32; 2]) -> bool {
    limits.iter().all(|x| !x.is_finite() || x.fract() == 0.0)
}

impl<'a> Lowering<'a> {
    /// One number for all, or one a channel, for what is added or multiplied; none where it is neither.
    pub(super) fn per_channel(
        &self,
        node: &NodeProto,
        i: usize,
        value: &LoweredValue,
    ) -> Lowered<Option<Vec<f32>>> {
        let constant = self.constant(node, i)?;
        let channels = self.maps[value.map].channels;
        let numbers: Vec<f32> = constant.iter().map(|x| *x as f32).collect();
        let Some(more) = value.view.rank().checked_sub(constant.ndim()) else { return Ok(None) };
        if let [one] = numbers[..] {
            return Ok(Some(vec![one; channels]));
        }
        let mut long = constant.shape().iter().enumerate().filter(|(_, size)| **size != 1);
        let (Some((axis, _)), None) = (long.next(), long.next()) else { return Ok(None) };
        let fits = numbers.len() == channels && value.view.is(&[axis + more], &[(Side::Channels, channels)]);
        Ok(fits.then_some(numbers))
    }

    /// `Mul` or `Div`, by a constant or of two values.
    pub(super) fn multiply(&mut self, i: usize, node: &'a NodeProto, divide: bool) -> Lowered {
        if let Some(made) = self.gelu(i, node, divide) {
            return made;
        }
        let how = if divide { Binary::Div } else { Binary::Mul };
        let Some([x, c]) = self.sides(node)?.filter(|[_, c]| !divide || *c == 1) else {
            return self.combined(node, how);
        };
        let value = self.whole(node, x)?;
        let Some(mut factors) = self.per_channel(node, c, &value)? else { return self.combined(node, how) };
        if divide {
            factors.iter_mut().for_each(|f| *f = 1.0 / *f);
        }
        let one = factors.iter().all(|f| *f == factors[0]) && power_of_two(f64::from(factors[0])).is_some();
        let next = node.output.first().and_then(|o| self.reader.only_user(o));
        let added = next.is_some_and(|i| self.reader.graph.node[i].operator() == Some(Operator::Add));
        if one && added && self.open(&[node], &value).is_none() {
            return Ok(LoweredValue { factor: factors[0], open: None, ..value });
        }
        Ok(self.affine(&[node], &value, &factors, None))
    }

    /// Scales, and shifts if told to.
    pub(super) fn affine(
        &mut self,
        nodes: &[&NodeProto],
        value: &LoweredValue,
        factors: &[f32],
        shift: Option<&[f32]>,
    ) -> LoweredValue {
        let powers = factors.iter().all(|f| power_of_two(f64::from(*f)).is_some());
        // Powers of two scale every rounding alike; other factors may be joined where bits may differ, and
        // where nothing is known of the bits any more and no floor makes much of little.
        let rounded = self.maps[value.map].range.is_none() && !self.floored(nodes);
        let fits = |d: &StepDraft| {
            let shifted = d.epilogue.shift.iter().any(|s| *s != 0.0);
            let untouched = !shifted && d.epilogue.scale.iter().all(|s| *s == 1.0);
            let same = untouched || powers && (shift.is_none() || !shifted);
            d.stage == Stage::Affine && (!d.strict || rounded || same)
        };
        self.narrow_gate(nodes, value);
        let (i, made) = self.extended(nodes, value, fits);
        let mut range = self.scaled(made.map, factors);
        let epilogue = &mut self.drafts[i].epilogue;
        let multiply = |x: &mut Vec<f32>| x.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
        multiply(&mut epilogue.scale);
        multiply(&mut epilogue.shift);
        if let Some(shift) = shift {
            epilogue.shift.iter_mut().zip(shift).for_each(|(x, s)| *x += s);
            let shifts = Range::of_numbers(shift.iter().map(|s| f64::from(*s)));
            range = sum(range.as_ref(), shifts.as_ref());
        }
        self.maps[made.map].range = range;
        made
    }

    /// The products of a gate that are only cut off so far may be scaled and cut off once more, in the same step.
    fn narrow_gate(&mut self, nodes: &[&NodeProto], value: &LoweredValue) {
        let Some(draft) = self.open(nodes, value).map(|i| &mut self.drafts[i]) else { return };
        let e = &draft.epilogue;
        let same = |x: &[f32]| x.iter().all(|other| *other == x[0]);
        let cut = e.floor && e.low == f32::NEG_INFINITY && e.high == f32::INFINITY;
        let ActionDraft::Gate { narrowed: narrowed @ None, .. } = &mut draft.action else { return };
        if cut && same(&e.scale) && same(&e.shift) {
            *narrowed = Some([e.scale[0], e.shift[0]]);
            draft.epilogue = Epilogue::identity(e.scale.len());
            draft.stage = Stage::Affine;
        }
    }

    /// Whether a floor follows the last of some nodes.
    fn floored(&self, nodes: &[&NodeProto]) -> bool {
        let output = nodes.last().and_then(|node| node.output.first());
        let users = output.map_or(&[][..], |name| self.reader.users(name));
        users.iter().flatten().any(|i| self.reader.graph.node[*i].operator() == Some(Operator::Floor))
    }

    /// `Add` or `Sub`, of a constant or of another value.
    pub(super) fn add(&mut self, node: &'a NodeProto, subtract: bool) -> Lowered {
        let Some([x, c]) = self.sides(node)? else { return self.residual(node, subtract) };
        let value = self.whole(node, x)?;
        let Some(mut shift) = self.per_channel(node, c, &value)? else {
            return self.residual(node, subtract);
        };
        let signs = [x, c].map(|input| if subtract && input == 1 { -1.0 } else { 1.0 });
        shift.iter_mut().for_each(|s| *s *= signs[1]);
        Ok(self.affine(&[node], &value, &vec![signs[0]; shift.len()], Some(&shift)))
    }

    /// The sum or difference of two values: the step that comes last adds the other's map.
    fn residual(&mut self, node: &'a NodeProto, subtract: bool) -> Lowered {
        let [a, b] = self.alike(node)?;
        let ready = |v: &LoweredValue| if v.factor == 1.0 { self.ends(node, v) } else { None };
        let (base, other, i) = if subtract || ready(&a) >= ready(&b) { (a, b, 0) } else { (b, a, 1) };
        let base = self.settled(&node.input[i], base);
        let constant = self.maps[other.map].constant.is_some();
        let made_before = |d: &StepDraft| {
            d.stage == Stage::Affine && d.action.has_epilogue() && (d.to > other.map || constant)
        };
        let (i, made) = self.extended(&[node], &base, made_before);
        let factor = if subtract { -other.factor } else { other.factor };
        let draft = &mut self.drafts[i];
        draft.residual = Some(other.map);
        draft.epilogue.residual_factor = factor;
        draft.stage = Stage::Added;
        // The product was exact, and what follows is done as in the graph, so its bits are.
        let added = self.maps[other.map].range.as_ref();
        let added = if subtract { added.map(|r| r.map(Interval::negated)) } else { added.cloned() };
        let exponent = power_of_two(f64::from(other.factor));
        let added = added.zip(exponent).and_then(|(r, e)| r.scaled(&[e])).filter(Range::in_float32);
        self.maps[made.map].range = sum(self.maps[made.map].range.as_ref(), added.as_ref());
        Ok(made)
    }

    pub(super) fn negated(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.whole(node, 0)?;
        let channels = self.maps[value.map].channels;
        Ok(self.affine(&[node], &value, &vec![-1.0; channels], Some(&vec![0.0; channels])))
    }

    /// The step that makes a value and can still add another map.
    fn ends(&self, node: &NodeProto, value: &LoweredValue) -> Option<usize> {
        let step = self.open(&[node], value)?;
        let draft = &self.drafts[step];
        (draft.stage == Stage::Affine && draft.action.has_epilogue()).then_some(step)
    }

    pub(super) fn batch_norm(&mut self, node: &'a NodeProto) -> Lowered {
        if node.flag("training_mode") {
            return Err(Why::Training);
        }
        let mut value = self.whole(node, 0)?;
        let of_channels = |lowering: &Self, value: &LoweredValue| {
            let channels = lowering.maps[value.map].channels;
            value.view.rank() > 1 && value.view.is(&[1], &[(Side::Channels, channels)])
        };
        if !of_channels(self, &value) && value.view.rank() == 4 {
            // Channels that changed places are put in order.
            value = self.image(node, 0)?;
        }
        let [scale, shift, mean, var] = [1, 2, 3, 4].map(|i| self.constant(node, i));
        let (scale, shift, mean, var) = (scale?, shift?, mean?, var?);
        let channels = self.maps[value.map].channels;
        if !of_channels(self, &value) || [&scale, &shift, &mean, &var].iter().any(|c| c.len() != channels) {
            return Err(Why::Shape);
        }
        let epsilon = f64::from(node.float_or("epsilon", 1e-5));
        let factors: Vec<f64> =
            scale.iter().zip(&var).map(|(scale, var)| scale / (var + epsilon).sqrt()).collect();
        let shifts = shift.iter().zip(&mean).zip(&factors);
        let shifts: Vec<f32> = shifts.map(|((shift, mean), factor)| (shift - mean * factor) as f32).collect();
        let factors: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
        Ok(self.affine(&[node], &value, &factors, Some(&shifts)))
    }

    pub(super) fn clip(&mut self, node: &'a NodeProto) -> Lowered {
        let [low, high] = self.edges(node)?;
        self.limit(node, low, high)
    }

    /// The limits of a `Clip`: inputs, or attributes before opset 11.
    pub(super) fn edges(&self, node: &NodeProto) -> Lowered<[f32; 2]> {
        let edge = |i: usize, attribute: &str, default: f32| match node.input_name(i) {
            None => Ok(node.float_or(attribute, default)),
            Some(_) => self.constant(node, i)?.first().map(|x| *x as f32).ok_or(Why::Shape),
        };
        let (low, high) = (edge(1, "min", f32::NEG_INFINITY)?, edge(2, "max", f32::INFINITY)?);
        if low <= high { Ok([low, high]) } else { Err(Why::Limits) }
    }

    /// `max(low).min(high)`.
    pub(super) fn limit(&mut self, node: &'a NodeProto, low: f32, high: f32) -> Lowered {
        let value = self.whole(node, 0)?;
        Ok(self.limited(&[node], &value, low, high))
    }

    pub(super) fn limited(
        &mut self,
        nodes: &[&NodeProto],
        value: &LoweredValue,
        low: f32,
        high: f32,
    ) -> LoweredValue {
        // One after the other is the same as both at once where they overlap.
        let fits = |d: &StepDraft| {
            let e = &d.epilogue;
            d.stage != Stage::Done && low <= e.high && high >= e.low && (whole([low, high]) || !e.floor)
        };
        let (i, made) = self.extended(nodes, value, fits);
        let draft = &mut self.drafts[i];
        draft.epilogue.low = draft.epilogue.low.max(low);
        draft.epilogue.high = draft.epilogue.high.min(high);
        draft.stage = Stage::Limited;
        let clipped = |c: Interval| c.clip(f64::from(low), f64::from(high));
        let map = &mut self.maps[made.map];
        map.range = map.range.as_ref().and_then(|r| r.try_map(clipped));
        made
    }

    pub(super) fn floor(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.whole(node, 0)?;
        let fits = |d: &StepDraft| d.stage != Stage::Done && whole([d.epilogue.low, d.epilogue.high]);
        let (i, made) = self.extended(&[node], &value, fits);
        self.drafts[i].epilogue.floor = true;
        self.drafts[i].stage = Stage::Limited;
        let floor = |r: &Range| r.map(|c| c.rounded(f64::floor));
        let map = &mut self.maps[made.map];
        map.range = Some(map.range.as_ref().map_or(Range::uniform(Interval::INTEGERS), floor));
        Ok(made)
    }
}

/// What is known of a sum, if float32 does not round it.
fn sum(a: Option<&Range>, b: Option<&Range>) -> Option<Range> {
    a?.zip(b?, Interval::plus).filter(Range::is_exact)
}
