//! Lowering of products of two values, as attention has them.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, MapsDraft, StepDraft};
use crate::edge::kernels::Epilogue;
use crate::edge::view::{Side, View};
use crate::onnx::NodeProto;

impl<'a> Lowering<'a> {
    /// `[…, M, K] · […, K, N]` of as many matrices each.
    pub(super) fn product_of_maps(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        let [left, right] = [self.plain(node, 0)?, self.plain(node, 1)?];
        let (a, b) = (left.view.shape(), right.view.shape());
        let rank = a.len();
        if rank < 2 || b.len() != rank || a[..rank - 2] != b[..rank - 2] || shape.len() != rank {
            return Err(Why::Operands);
        }
        // Rows of the left matrix must be runs of memory, and the right one evenly spaced.
        let in_runs = |v: &LoweredValue| match v.view.axis(rank - 1) {
            [] => true,
            [part] => part.side == Side::Channels && part.step == 1,
            _ => false,
        };
        let left = if in_runs(&left) { left } else { self.in_rows(node, 0)? };
        let even = [rank - 2, rank - 1].iter().all(|axis| right.view.stride(*axis, [1; 3]).is_some());
        let right = if even { right } else { self.in_rows(node, 1)? };
        let rows: usize = shape[..rank - 1].iter().product();
        let (channels, size, view) = View::natural(&[1, rows, shape[rank - 1]]);
        let view = view.reshaped(&shape).ok_or(Why::Movement)?;
        let action = ActionDraft::Maps(MapsDraft { left: left.view, right: right.view });
        let draft = StepDraft {
            action,
            other: Some(right.map),
            epilogue: Epilogue::identity(channels),
            strict: false,
            ..self.each(node.name(), left.map)
        };
        let open = Some(self.drafts.len());
        Ok(LoweredValue { open, ..self.push(draft, channels, size, None, view) })
    }
}
