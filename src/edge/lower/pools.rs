//! Lowering of windows: their geometry, and pools.

use super::{Lowered, Lowering, sizes};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, Geometry, LoweredValue, Pooling, StepDraft};
use crate::edge::view::{Side, View};
use crate::exactness::Range;
use crate::onnx::NodeProto;

impl<'a> Lowering<'a> {
    /// The windows of a node, whose kernel is known, on an image.
    pub(super) fn geometry(
        &self,
        node: &NodeProto,
        value: &LoweredValue,
        kernel: [usize; 2],
    ) -> Lowered<Geometry> {
        let (strides, dilations) = (sizes(node, "strides", [1, 1])?, sizes(node, "dilations", [1, 1])?);
        if [strides, dilations, kernel].iter().any(|pair| pair.contains(&0)) {
            return Err(Why::Axes);
        }
        let &[_, _, height, width] = self.shape(node)?.as_slice() else { return Err(Why::Axes) };
        let (size, side) = ([height, width], self.maps[value.map].size);
        let extent = [0, 1].map(|i| dilations[i] * (kernel[i] - 1) + 1);
        let seen = [0, 1].map(|i| side[i] + value.pads[i] + value.pads[i + 2]);
        // What is padded in all so that ⌈side/stride⌉ windows fit.
        let total = [0, 1].map(|i| ((size[i] - 1) * strides[i] + extent[i]).saturating_sub(seen[i]));
        let own = match node.text("auto_pad") {
            None | Some("NOTSET" | "") => sizes(node, "pads", [0; 4])?,
            Some("VALID") => [0; 4],
            Some("SAME_UPPER") => {
                [total[0] / 2, total[1] / 2, total[0] - total[0] / 2, total[1] - total[1] / 2]
            }
            Some("SAME_LOWER") => {
                [total[0] - total[0] / 2, total[1] - total[1] / 2, total[0] / 2, total[1] / 2]
            }
            Some(_) => return Err(Why::AutoPad),
        };
        let pads = [0, 1, 2, 3].map(|i| own[i] + value.pads[i]);
        Ok(Geometry { kernel, strides, dilations, pads, size })
    }

    pub(super) fn pool(&mut self, node: &'a NodeProto, pooling: Pooling) -> Lowered {
        let value = self.image(node, 0)?;
        if value.pads != [0; 4] {
            return Err(Why::Padding);
        }
        let kernel = sizes(node, "kernel_shape", [0, 0])?;
        let geometry = self.geometry(node, &value, kernel)?;
        Ok(self.pooled(node, &value, pooling, geometry))
    }

    fn pooled(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        pooling: Pooling,
        geometry: Geometry,
    ) -> LoweredValue {
        if pooling != Pooling::Max {
            self.lift(value.map);
        }
        let map = &self.maps[value.map];
        let (channels, count) = (map.channels, geometry.kernel[0] * geometry.kernel[1]);
        let inside = (0..2).all(|i| {
            let extent = geometry.dilations[i] * (geometry.kernel[i] - 1) + 1;
            (geometry.size[i] - 1) * geometry.strides[i] + extent <= map.size[i]
        });
        let range = map.range.as_ref().and_then(|range| match pooling {
            Pooling::Max => Some(range.clone()),
            Pooling::Mean(_) => range.try_map(|c| c.mean(count)).filter(Range::is_exact),
            Pooling::Sum => Some(range.map(|c| c.total(count))).filter(Range::is_exact),
        });
        let range = range.filter(|_| pooling == Pooling::Max || (inside && geometry.pads == [0; 4]));
        let draft =
            StepDraft { action: ActionDraft::Pool(pooling, geometry), ..self.each(node.name(), value.map) };
        self.push(draft, channels, geometry.size, range, View::image(channels, geometry.size))
    }

    /// The sum of each window, written as a convolution of each channel with ones; none where float32 may
    /// round it.
    pub(super) fn sums(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        geometry: Geometry,
    ) -> Option<LoweredValue> {
        let count = geometry.kernel[0] * geometry.kernel[1];
        let sums = self.maps[value.map].range.as_ref()?.map(|c| c.total(count));
        let plain = geometry.pads == [0; 4] && sums.is_exact();
        plain.then(|| self.pooled(node, value, Pooling::Sum, geometry))
    }

    /// A mean or greatest element over all pixels, along the axes that a node tells.
    pub(super) fn reduced(&mut self, node: &'a NodeProto, pooling: Pooling) -> Lowered {
        let axes: Vec<i64> = match node.input_name(1) {
            Some(_) => self.constant(node, 1)?.iter().map(|x| *x as i64).collect(),
            None => node.ints("axes").unwrap_or_default().to_vec(),
        };
        let rank = self.input(node, 0)?.view.rank();
        let from_front = |axis: i64| if axis < 0 { axis + rank as i64 } else { axis } as usize;
        let mut axes: Vec<usize> = axes.into_iter().map(from_front).collect();
        axes.sort_unstable();
        if axes.is_empty() || axes.iter().any(|axis| *axis >= rank) {
            return Err(Why::Reduction);
        }
        self.over_pixels(node, pooling, &axes)
    }

    pub(super) fn global_pool(&mut self, node: &'a NodeProto, pooling: Pooling) -> Lowered {
        match self.input(node, 0)?.view.rank() {
            4 => self.over_pixels(node, pooling, &[2, 3]),
            _ => Err(Why::Axes),
        }
    }

    /// Whether these axes are all pixels of a map, and the others its channels.
    fn are_pixels(&self, value: &LoweredValue, axes: &[usize]) -> bool {
        let map = &self.maps[value.map];
        let [height, width] = map.size;
        let others: Vec<usize> = (0..value.view.rank()).filter(|axis| !axes.contains(axis)).collect();
        value.view.is(axes, &[(Side::Rows, height), (Side::Columns, width)])
            && value.view.is(&others, &[(Side::Channels, map.channels)])
    }

    fn over_pixels(&mut self, node: &'a NodeProto, pooling: Pooling, axes: &[usize]) -> Lowered {
        let shape = self.shape(node)?;
        let mut value = self.whole(node, 0)?;
        if !self.are_pixels(&value, axes) && axes == [2, 3] && value.view.rank() == 4 {
            // Channels that changed places are put in order.
            value = self.image(node, 0)?;
        }
        if !self.are_pixels(&value, axes) {
            return Err(Why::Reduction);
        }
        let map = &self.maps[value.map];
        let (channels, [height, width]) = (map.channels, map.size);
        let geometry = Geometry {
            kernel: [height, width],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0; 4],
            size: [1, 1],
        };
        let made = self.pooled(node, &value, pooling, geometry);
        let view = View::row(channels).reshaped(&shape).ok_or(Why::Shape)?;
        Ok(LoweredValue { view, ..made })
    }
}
