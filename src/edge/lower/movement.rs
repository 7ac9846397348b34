//! Lowering of what moves elements: other names and shapes, which are views, and copies.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, StepDraft};
use crate::edge::view::{Side, View};
use crate::exactness::{Interval, Range};
use crate::onnx::{NodeProto, Operator};

impl<'a> Lowering<'a> {
    /// The input under another name.
    pub(super) fn alias(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.plain(node, 0)?;
        let alone = node.input.first().is_some_and(|i| self.reader.only_user(i).is_some());
        Ok(LoweredValue { open: value.open.filter(|_| alone), ..value })
    }

    /// The input in another view.
    fn viewed(&mut self, node: &'a NodeProto, of: impl Fn(&View) -> Option<View>) -> Lowered {
        let value = self.alias(node)?;
        let view = of(&value.view).ok_or(Why::Movement)?;
        let map = &self.maps[value.map];
        let open = value.open.filter(|_| view.covers(map.channels, map.size));
        Ok(LoweredValue { view, open, ..value })
    }

    /// Whether a `Dropout` may be told that it trains.
    pub(super) fn drops(&self, node: &NodeProto) -> bool {
        let off = self.constant(node, 2).is_ok_and(|training| training.iter().all(|x| *x == 0.0));
        node.input_name(2).is_some() && !off
    }

    /// The same elements in another shape.
    pub(super) fn reshape(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        let view = self.input(node, 0)?.view;
        if view.shape().iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(Why::Shape);
        }
        if view.reshaped(&shape).is_some() {
            return self.viewed(node, |view| view.reshaped(&shape));
        }
        // Where no view is, one row has any.
        let value = self.plain(node, 0)?;
        let elements = shape.iter().product();
        let view = View::row(elements).reshaped(&shape).ok_or(Why::Movement)?;
        Ok(self.copied(node.name(), &value, (elements, [1, 1], view)))
    }

    pub(super) fn transpose(&mut self, node: &'a NodeProto) -> Lowered {
        let rank = self.input(node, 0)?.view.rank();
        let order: Vec<usize> = match node.ints("perm") {
            Some(perm) => perm.iter().filter_map(|axis| usize::try_from(*axis).ok()).collect(),
            None => (0..rank).rev().collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(Why::Axes);
        }
        self.viewed(node, |view| Some(view.permuted(&order)))
    }

    fn axis(&self, axis: i64, rank: usize) -> Lowered<usize> {
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(axis).ok().filter(|axis| *axis < rank).ok_or(Why::Axes)
    }

    pub(super) fn split(&mut self, node: &'a NodeProto) -> Lowered<()> {
        let mut value = self.plain(node, 0)?;
        let axis = self.axis(node.int_or("axis", 0), value.view.rank())?;
        let sides = node.output.iter().map(|name| self.reader.shape(name)?.get(axis).copied());
        let sides: Vec<usize> = sides.collect::<Option<_>>().ok_or(Why::Shape)?;
        let cut = |view: &View| -> Option<Vec<View>> {
            let starts = sides.iter().scan(0, |next, side| Some(std::mem::replace(next, *next + side)));
            starts.zip(&sides).map(|(start, side)| view.sliced(axis, start, *side, 1)).collect()
        };
        if cut(&value.view).is_none() {
            value = self.in_natural_order(node, &value);
        }
        for (name, view) in node.output.iter().zip(cut(&value.view).ok_or(Why::Movement)?) {
            self.values.insert(name, LoweredValue { view, open: None, ..value.clone() });
        }
        Ok(())
    }

    /// A copy in which every axis can be cut.
    fn in_natural_order(&mut self, node: &NodeProto, value: &LoweredValue) -> LoweredValue {
        let form = View::natural(&value.view.shape());
        self.copied(node.name(), value, form)
    }

    pub(super) fn slice(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        let view = self.input(node, 0)?.view;
        let whole = view.shape();
        let list = |i: usize, name: &str| -> Lowered<Option<Vec<i64>>> {
            match node.input_name(i) {
                Some(_) => Ok(Some(self.constant(node, i)?.iter().map(|x| *x as i64).collect())),
                None => Ok(node.ints(name).map(<[i64]>::to_vec)),
            }
        };
        let starts = list(1, "starts")?.ok_or(Why::Variable)?;
        let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(Why::Shape);
        }
        let mut cuts = Vec::with_capacity(starts.len());
        for ((start, axis), step) in starts.into_iter().zip(axes).zip(steps) {
            let axis = self.axis(axis, whole.len())?;
            let side = whole[axis] as i64;
            let start = if start < 0 { start.saturating_add(side) } else { start };
            let start = start.clamp(0, if step < 0 { side - 1 } else { side }) as usize;
            cuts.push((axis, start, *shape.get(axis).ok_or(Why::Shape)?, step as isize));
        }
        let cut = |view: &View| {
            let mut cuts = cuts.iter();
            cuts.try_fold(view.clone(), |view, (axis, start, count, step)| {
                view.sliced(*axis, *start, *count, *step)
            })
        };
        if cut(&view).is_some() {
            return self.viewed(node, cut);
        }
        let value = self.plain(node, 0)?;
        let copy = self.in_natural_order(node, &value);
        let view = cut(&copy.view).ok_or(Why::Movement)?;
        Ok(LoweredValue { view, ..copy })
    }

    /// Evenly spaced places of one axis.
    pub(super) fn gather(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        let view = self.input(node, 0)?.view;
        let axis = self.axis(node.int_or("axis", 0), view.rank())?;
        let side = view.shape()[axis];
        let indices = self.constant(node, 1)?;
        let from_front = |x: &f64| if *x < 0.0 { *x + side as f64 } else { *x };
        let places: Vec<isize> = indices.iter().map(|x| from_front(x) as isize).collect();
        let step = places.get(1).map_or(1, |second| second - places[0]);
        let even = places.windows(2).all(|pair| pair[1] - pair[0] == step);
        let inside = places.iter().all(|place| (0..side as isize).contains(place));
        if !even || !inside || places.is_empty() {
            return Err(Why::Movement);
        }
        let part = view.sliced(axis, places[0] as usize, places.len(), step).ok_or(Why::Movement)?;
        self.viewed(node, |_| part.reshaped(&shape))
    }

    pub(super) fn expand(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        self.viewed(node, |view| view.broadcast(&shape))
    }

    /// Each input is copied to its place.
    pub(super) fn concat(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        let axis = self.axis(node.int_or("axis", 0), shape.len())?;
        let mut inputs = Vec::with_capacity(node.input.len());
        for (i, name) in node.input.iter().enumerate() {
            inputs.push(match self.reader.is_constant(name) {
                true => self.constant_map(node, i, &shape)?,
                false => self.plain(node, i)?,
            });
        }
        let form = self.concat_form(&inputs, axis, &shape);
        let range = inputs.iter().map(|v| self.maps[v.map].range.as_ref().map(Range::collapse));
        let range = range.reduce(|a, b| a?.zip(&b?, Interval::join)).flatten();
        let narrow = inputs.iter().all(|v| self.maps[v.map].bytes());
        let (mut start, mut made) = (0, None::<LoweredValue>);
        for value in inputs {
            let count = value.view.shape()[axis];
            let (channels, size, view) = form.clone();
            let to = view.sliced(axis, start, count, 1).ok_or(Why::Movement)?;
            start += count;
            let action = ActionDraft::Copy { from: value.view.clone(), to };
            let mut draft = StepDraft { action, ..self.each(node.name(), value.map) };
            match &made {
                None => {
                    let first = self.push(draft, channels, size, range.clone(), view);
                    self.maps[first.map].narrow = narrow;
                    made = Some(first);
                }
                Some(first) => {
                    draft.to = first.map;
                    self.drafts.push(draft);
                }
            }
        }
        made.ok_or(Why::Operands)
    }

    /// The form of what is put together: that of the first input, longer along its channels, where it has
    /// one; so that runs of memory stay together.
    fn concat_form(
        &self,
        inputs: &[LoweredValue],
        axis: usize,
        shape: &[usize],
    ) -> (usize, [usize; 2], View) {
        let last = shape.len() - 1;
        let rows = |v: &LoweredValue| {
            let channels = self.maps[v.map].channels;
            v.view.is(&[last], &[(Side::Channels, channels)])
        };
        // Channels come last in the tensor too: `[1, H, W, C]`.
        if shape.len() == 4 && axis != 1 && inputs.iter().all(rows) {
            let flat = [shape[0] * shape[1], shape[2], shape[3]];
            let (channels, size, view) = View::natural(&flat);
            if let Some(view) = view.reshaped(shape) {
                return (channels, size, view);
            }
        }
        View::natural(shape)
    }

    /// `DepthToSpace` or `SpaceToDepth`.
    pub(super) fn blocks(&mut self, node: &'a NodeProto, spread: bool) -> Lowered {
        let b = usize::try_from(node.int_or("blocksize", 0)).map_err(|_| Why::Axes)?;
        let &[n, c, h, w] = self.input(node, 0)?.view.shape().as_slice() else { return Err(Why::Axes) };
        let shape = self.shape(node)?;
        if b == 0 {
            return Err(Why::Axes);
        }
        let (apart, order) = match (spread, node.text("mode")) {
            (false, _) => (vec![n, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4]),
            (true, Some("CRD")) => (vec![n, c / (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3]),
            (true, _) => (vec![n, b, b, c / (b * b), h, w], [0, 3, 4, 1, 5, 2]),
        };
        self.viewed(node, |view| view.reshaped(&apart)?.permuted(&order).reshaped(&shape))
    }

    /// Zeros around an image, for the convolution that follows.
    pub(super) fn pad(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.plain(node, 0)?;
        let pads: Vec<f64> = match node.input_name(1) {
            Some(_) => self.constant(node, 1)?.iter().copied().collect(),
            None => node.ints("pads").unwrap_or_default().iter().map(|p| *p as f64).collect(),
        };
        let filler = match node.input_name(2) {
            Some(_) => self.constant(node, 2)?.first().copied(),
            None => Some(f64::from(node.float_or("value", 0.0))),
        };
        let next = node.output.first().and_then(|o| self.reader.only_user(o));
        let convolved = next.is_some_and(|i| self.reader.graph.node[i].operator() == Some(Operator::Conv));
        let constant = matches!(node.text("mode"), None | Some("constant"));
        let usual = constant && filler == Some(0.0) && node.input.len() < 4 && convolved;
        let inside = pads.iter().all(|p| *p >= 0.0) && pads.len() == 8 && value.view.rank() == 4;
        if !usual || !inside || [0, 1, 4, 5].iter().any(|i| pads[*i] != 0.0) {
            return Err(Why::Padding);
        }
        let pads = [2, 3, 6, 7].map(|i| pads[i] as usize);
        Ok(LoweredValue { pads, open: None, ..value })
    }
}
