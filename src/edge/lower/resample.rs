//! Lowering of images of another size.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, Samples, StepDraft};
use crate::edge::view::View;
use crate::onnx::NodeProto;
use crate::op;

impl<'a> Lowering<'a> {
    /// Each axis is sampled by itself, whatever the mode: a pixel is a sum over the terms of its row and its column.
    pub(super) fn resized(&mut self, node: &'a NodeProto) -> Lowered {
        let shape = self.shape(node)?;
        let value = self.image(node, 0)?;
        let from = value.view.shape();
        if value.pads != [0; 4] || shape.len() != 4 || shape[..2] != from[..2] {
            return Err(Why::Resampling);
        }
        let scales = op::scales_at(self.reader.opset);
        let scales = match node.input_name(scales) {
            Some(_) => Some(self.constant(node, scales)?.iter().copied().collect::<Vec<f64>>()),
            None => None,
        };
        let samples = |axis: usize| -> Lowered<Samples> {
            let own = (node, self.reader.opset);
            let matrix = op::sampling(own, scales.as_deref(), &from, axis, shape[axis]);
            let matrix = matrix.map_err(|_| Why::Resampling)?;
            let terms = |column: ndarray::ArrayViewD<'_, f64>| {
                let some = column.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
                some.map(|(place, weight)| (place, *weight as f32)).collect()
            };
            Ok(matrix.axis_iter(ndarray::Axis(1)).map(terms).collect())
        };
        let lines = [samples(2)?, samples(3)?];
        let copies = lines.iter().flatten().all(|terms| matches!(terms[..], [(_, 1.0)]));
        let map = &self.maps[value.map];
        // Of the nearest pixels nothing but these comes out.
        let (channels, range) = (map.channels, map.range.clone().filter(|_| copies));
        let draft = StepDraft { action: ActionDraft::Resample(lines), ..self.each(node.name(), value.map) };
        let size = [shape[2], shape[3]];
        Ok(self.push(draft, channels, size, range, View::image(channels, size)))
    }
}
