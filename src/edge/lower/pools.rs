//! Lowering of windows: their geometry, and pools.

use super::{Lowered, Lowering, sizes};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, PoolDraft, StepDraft};
use crate::exactness::Range;
use crate::onnx::NodeProto;

/// The windows of a convolution or pool on a map.
pub(super) struct Geometry {
    pub strides: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Pixels that come out.
    pub size: [usize; 2],
}

impl<'a> Lowering<'a> {
    /// The windows of a node, whose kernel is known, on an input.
    pub(super) fn geometry(
        &self,
        node: &NodeProto,
        value: &LoweredValue,
        kernel: [usize; 2],
    ) -> Lowered<Geometry> {
        let strides = sizes(node, "strides", [1, 1])?;
        let own = sizes(node, "pads", [0; 4])?;
        if !matches!(node.text("auto_pad"), None | Some("NOTSET" | "")) {
            return Err(Why::AutoPad);
        }
        if sizes(node, "dilations", [1, 1])? != [1, 1] {
            return Err(Why::Dilated);
        }
        if node.flag("ceil_mode") {
            return Err(Why::CeilMode);
        }
        if value.flat || strides.contains(&0) || kernel.contains(&0) {
            return Err(Why::Axes);
        }
        let pads = [0, 1, 2, 3].map(|i| own[i] + value.pads[i]);
        let size = self.maps[value.map].size;
        let out = |axis: usize| {
            let free = (size[axis] + pads[axis] + pads[axis + 2]).checked_sub(kernel[axis]);
            Ok(free.ok_or(Why::Shape)? / strides[axis] + 1)
        };
        Ok(Geometry { strides, pads, size: [out(0)?, out(1)?] })
    }

    /// The input of a pool, its windows, and how many pixels come out.
    fn pool(&mut self, node: &'a NodeProto) -> Lowered<(LoweredValue, PoolDraft, [usize; 2])> {
        let value = self.plain(node, 0)?;
        let kernel = sizes(node, "kernel_shape", [0, 0])?;
        match self.geometry(node, &value, kernel)? {
            Geometry { strides, pads: [0, 0, 0, 0], size } => {
                Ok((value, PoolDraft { kernel, strides }, size))
            }
            _ => Err(Why::Padding),
        }
    }

    pub(super) fn max_pool(&mut self, node: &'a NodeProto) -> Lowered {
        let (value, pool, size) = self.pool(node)?;
        let draft = StepDraft { action: ActionDraft::Max(pool), ..self.each(node.name(), value.map) };
        let range = self.maps[value.map].range.clone();
        Ok(self.push(draft, size, range, false))
    }

    pub(super) fn average_pool(&mut self, node: &'a NodeProto) -> Lowered {
        let (value, pool, size) = self.pool(node)?;
        Ok(self.mean(node, &value, pool, size))
    }

    fn mean(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        pool: PoolDraft,
        size: [usize; 2],
    ) -> LoweredValue {
        let count = pool.kernel[0] * pool.kernel[1];
        let range = self.maps[value.map].range.as_ref().and_then(|r| r.try_map(|c| c.mean(count)));
        let draft = StepDraft { action: ActionDraft::Mean(pool), ..self.each(node.name(), value.map) };
        self.push(draft, size, range.filter(Range::is_exact), value.flat)
    }

    /// The sum of each window, written as a convolution of each channel with ones.
    pub(super) fn sums(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        kernel: [usize; 2],
        geometry: Geometry,
    ) -> Lowered {
        if geometry.pads != [0; 4] {
            return Err(Why::Padding);
        }
        let count = kernel[0] * kernel[1];
        let sums = self.maps[value.map].range.as_ref().map(|r| r.map(|c| c.total(count)));
        let range = Some(sums.filter(Range::is_exact).ok_or(Why::Rounds)?);
        let action = ActionDraft::Sum(PoolDraft { kernel, strides: geometry.strides });
        let draft = StepDraft { action, ..self.each(node.name(), value.map) };
        Ok(self.push(draft, geometry.size, range, false))
    }

    pub(super) fn reduce_mean(&mut self, node: &'a NodeProto) -> Lowered {
        let axes: Vec<i64> = match node.input_name(1) {
            Some(_) => self.constant(node, 1)?.iter().map(|x| *x as i64).collect(),
            None => node.ints("axes").unwrap_or_default().to_vec(),
        };
        match axes.as_slice() {
            [2 | -2, 3 | -1] | [3 | -1, 2 | -2] => self.global_mean(node, node.int_or("keepdims", 1) == 0),
            _ => Err(Why::Reduction),
        }
    }

    pub(super) fn global_mean(&mut self, node: &'a NodeProto, flat: bool) -> Lowered {
        let value = self.plain(node, 0)?;
        if value.flat {
            return Err(Why::Axes);
        }
        let pool = PoolDraft { kernel: self.maps[value.map].size, strides: [1, 1] };
        Ok(LoweredValue { flat, ..self.mean(node, &value, pool, [1, 1]) })
    }
}
