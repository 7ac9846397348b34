//! Lowering of what works on rows: along the last axis, which lies along the channels of a map.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, MapDraft, StepDraft};
use crate::edge::kernels::LayerNorm;
use crate::edge::view::{Side, View};
use crate::onnx::NodeProto;

impl<'a> Lowering<'a> {
    /// A lowered input whose last axis is all channels of its map.
    pub(super) fn in_rows(&mut self, node: &'a NodeProto, i: usize) -> Lowered {
        let value = self.plain(node, i)?;
        let map = &self.maps[value.map];
        let last = value.view.rank().checked_sub(1).ok_or(Why::Axes)?;
        let fits = value.view.is(&[last], &[(Side::Channels, map.channels)]);
        if fits && value.view.covers(map.channels, map.size) {
            return Ok(value);
        }
        let shape = value.view.shape();
        let rows = shape[..last].iter().product();
        let (channels, size, view) = View::natural(&[1, rows, shape[last]]);
        let view = view.reshaped(&shape).ok_or(Why::Movement)?;
        Ok(self.copied(node.name(), &value, (channels, size, view)))
    }

    /// A step that works on rows.
    pub(super) fn rows(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        action: ActionDraft,
    ) -> LoweredValue {
        let draft = StepDraft { action, ..self.each(node.name(), value.map) };
        let MapDraft { channels, size, .. } = self.maps[value.map];
        self.push(draft, channels, size, None, value.view.clone())
    }

    /// Whether an axis is the last.
    fn is_last(&self, node: &NodeProto, default: i64) -> Lowered<()> {
        let rank = self.input(node, 0)?.view.rank() as i64;
        let axis = node.int_or("axis", default);
        if axis == -1 || axis == rank - 1 { Ok(()) } else { Err(Why::Normalisation) }
    }

    pub(super) fn softmax(&mut self, node: &'a NodeProto) -> Lowered {
        self.is_last(node, if self.reader.opset < 13 { 1 } else { -1 })?;
        let value = self.in_rows(node, 0)?;
        Ok(self.rows(node, &value, ActionDraft::Softmax))
    }

    pub(super) fn layer_norm(&mut self, node: &'a NodeProto) -> Lowered {
        self.is_last(node, -1)?;
        let scale = self.constant(node, 1)?;
        let shift = node.input_name(2).map(|_| self.constant(node, 2)).transpose()?;
        let value = self.in_rows(node, 0)?;
        let channels = self.maps[value.map].channels;
        let weights = |c: &ndarray::ArrayD<f64>| match c.len() {
            1 => Ok(vec![c.iter().copied().sum::<f64>() as f32; channels]),
            n if n == channels => Ok(c.iter().map(|x| *x as f32).collect()),
            _ => Err(Why::Shape),
        };
        let how = LayerNorm {
            scale: weights(&scale)?,
            shift: shift.as_ref().map_or(Ok(vec![0.0; channels]), weights)?,
            epsilon: node.float_or("epsilon", 1e-5),
        };
        Ok(self.rows(node, &value, ActionDraft::LayerNorm(how)))
    }

    /// Each channel by itself, over all its pixels.
    pub(super) fn instance_norm(&mut self, node: &'a NodeProto) -> Lowered {
        let channels = *self.input(node, 0)?.view.shape().get(1).ok_or(Why::Axes)?;
        self.normalised(node, channels)
    }

    /// Groups of neighbouring channels, over all their pixels.
    pub(super) fn group_norm(&mut self, node: &'a NodeProto) -> Lowered {
        let groups = usize::try_from(node.int_or("num_groups", 0)).map_err(|_| Why::Shape)?;
        self.normalised(node, groups)
    }

    /// The numbers of each group become a row of a layer normalisation; its scales and shifts follow channel by
    /// channel.
    fn normalised(&mut self, node: &'a NodeProto, groups: usize) -> Lowered {
        let value = self.plain(node, 0)?;
        let shape = value.view.shape();
        let [1, channels, ..] = shape[..] else { return Err(Why::Axes) };
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Why::Shape);
        }
        // One number a channel, or (before opset 21) a group.
        let weights = |c: &ndarray::ArrayD<f64>| match c.len() {
            n if n == channels || n == groups => {
                Ok((0..channels).map(|channel| c[[channel * n / channels]] as f32).collect::<Vec<f32>>())
            }
            _ => Err(Why::Shape),
        };
        let [scale, shift] = [1, 2].map(|i| weights(&self.constant(node, i)?));
        let (scale, shift) = (scale?, shift?);
        let each = shape.iter().product::<usize>() / groups;
        let (width, size, view) = View::natural(&[1, groups, each]);
        let view = view.reshaped(&shape).ok_or(Why::Movement)?;
        let rows = self.copied(node.name(), &value, (width, size, view));
        let epsilon = node.float_or("epsilon", 1e-5);
        let how = LayerNorm { scale: vec![1.0; each], shift: vec![0.0; each], epsilon };
        let normal = self.rows(node, &rows, ActionDraft::LayerNorm(how));
        if scale.iter().all(|x| *x == 1.0) && shift.iter().all(|x| *x == 0.0) {
            return Ok(normal);
        }
        let [_, _, height, width] = shape[..] else { return Err(Why::Axes) };
        let place = (channels, [height, width], View::image(channels, [height, width]));
        let image = self.copied(node.name(), &normal, place);
        Ok(self.affine(&[node], &image, &scale, Some(&shift)))
    }
}
