//! Lowering of what moves no element: other names, other shapes, and padding.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::LoweredValue;
use crate::onnx::{NodeProto, Operator};

impl<'a> Lowering<'a> {
    /// The input under another name.
    pub(super) fn alias(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.plain(node, 0)?;
        let alone = node.input.first().is_some_and(|i| self.reader.only_user(i).is_some());
        Ok(LoweredValue { open: value.open.filter(|_| alone), ..value })
    }

    /// Whether a `Dropout` may be told that it trains.
    pub(super) fn drops(&self, node: &NodeProto) -> bool {
        let off = self.constant(node, 2).is_ok_and(|training| training.iter().all(|x| *x == 0.0));
        node.input_name(2).is_some() && !off
    }

    pub(super) fn flatten(&mut self, node: &'a NodeProto) -> Lowered {
        match node.int_or("axis", 1) {
            1 => Ok(LoweredValue { flat: true, ..self.alias(node)? }),
            _ => Err(Why::Axes),
        }
    }

    /// A reshape to `[N, C·H·W]`.
    pub(super) fn reshape(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.constant(node, 1)?;
        let map = &self.maps[self.input(node, 0)?.map];
        let elements = (map.channels * map.size[0] * map.size[1]) as f64;
        let flat = match shape.as_slice() {
            Some(&[images, rest]) => {
                let batch = images == 0.0 || images == 1.0 || (images == -1.0 && rest != -1.0);
                batch && (rest == -1.0 || rest == elements)
            }
            _ => false,
        };
        if !flat || node.flag("allowzero") {
            return Err(Why::Axes);
        }
        Ok(LoweredValue { flat: true, ..self.alias(node)? })
    }

    /// Zeros around an image, for the convolution that follows.
    pub(super) fn pad(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.plain(node, 0)?;
        let pads: Vec<f64> = self.constant(node, 1)?.iter().copied().collect();
        let filler = match node.input_name(2) {
            Some(_) => self.constant(node, 2)?.first().copied(),
            None => Some(0.0),
        };
        let next = node.output.first().and_then(|o| self.reader.only_user(o));
        let convolved = next.is_some_and(|i| self.reader.graph.node[i].operator() == Some(Operator::Conv));
        let constant = matches!(node.text("mode"), None | Some("constant"));
        let usual = constant && filler == Some(0.0) && node.input.len() < 4 && convolved && !value.flat;
        let inside = pads.iter().all(|p| *p >= 0.0) && pads.len() == 8;
        if !usual || !inside || [0, 1, 4, 5].iter().any(|i| pads[*i] != 0.0) {
            return Err(Why::Padding);
        }
        let pads = [2, 3, 6, 7].map(|i| pads[i] as usize);
        Ok(LoweredValue { pads, open: None, ..value })
    }
}
