//! Lowering of convolutions and matrix products.

use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{
    ActionDraft, Geometry, LoweredValue, MapDraft, ProductDraft, Stage, StepDraft, Way,
};
use crate::edge::kernels::Epilogue;
use crate::edge::view::View;
use crate::edge::winograd;
use crate::exactness::{Integer, Range};
use crate::onnx::NodeProto;
use ndarray::{Array4, ArrayD, ArrayView4, Axis, Ix2, Ix4};

/// Weights for each number of a pixel, below which moving a map costs more than products of bytes save.
const FEWEST_PRODUCTS: usize = 8;

impl<'a> Lowering<'a> {
    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Lowered {
        let weights = self.weights(node)?.into_dimensionality::<Ix4>().map_err(|_| Why::Axes)?;
        let (outputs, inputs, kh, kw) = weights.dim();
        let bias = self.bias(node, outputs)?;
        let value = self.image(node, 0)?;
        let geometry = self.geometry(node, &value, [kh, kw])?;
        let channels = self.maps[value.map].channels;
        let groups = usize::try_from(node.int_or("group", 1)).ok().filter(|g| *g > 0).ok_or(Why::Shape)?;
        if Some(channels) != inputs.checked_mul(groups) || !outputs.is_multiple_of(groups) {
            return Err(Why::Shape);
        }
        if groups > 1 && groups == channels && outputs == channels {
            let ones = weights.iter().all(|w| *w == 1.0) && bias.iter().all(|b| *b == 0.0);
            if let Some(sums) = ones.then(|| self.sums(node, &value, geometry)).flatten() {
                return Ok(sums);
            }
        }
        let view = View::image(outputs, geometry.size);
        Ok(self.product(node, &value, weights, &bias, groups, geometry, view))
    }

    /// A row of numbers times a matrix: a convolution with a window as large as the map.
    pub(super) fn gemm(&mut self, node: &'a NodeProto) -> Lowered {
        let scaled = ["alpha", "beta"].iter().any(|factor| node.float_or(factor, 1.0) != 1.0);
        if scaled || node.flag("transA") {
            return Err(Why::Scaled);
        }
        self.matrix(node, !node.flag("transB"))
    }

    pub(super) fn matmul(&mut self, node: &'a NodeProto) -> Lowered {
        let values = node.input.iter().all(|name| !self.reader.is_constant(name));
        if values { self.product_of_maps(node) } else { self.matrix(node, true) }
    }

    fn matrix(&mut self, node: &'a NodeProto, columns: bool) -> Lowered {
        let mut weights = self.weights(node)?.into_dimensionality::<Ix2>().map_err(|_| Why::Axes)?;
        if columns {
            weights = weights.reversed_axes();
        }
        let outputs = weights.nrows();
        let bias = self.bias(node, outputs)?;
        let value = self.plain(node, 0)?;
        let map = &self.maps[value.map];
        let flat = value.view.rank() == 2
            && value.view.origin == [0; 3]
            && value.view.parts() == View::image(map.channels, map.size).parts();
        // One row is a window as large as the map; of more rows, each pixel is one.
        let value = if flat { value } else { self.in_rows(node, 0)? };
        let map = &self.maps[value.map];
        let (kernel, size) = if flat { (map.size, [1, 1]) } else { ([1, 1], map.size) };
        let shape = (outputs, map.channels, kernel[0], kernel[1]);
        let weights = weights.as_standard_layout().into_owned().into_shape_with_order(shape);
        let weights = weights.map_err(|_| Why::Shape)?;
        let geometry = Geometry { kernel, strides: [1, 1], dilations: [1, 1], pads: [0; 4], size };
        let view = if flat { View::row(outputs) } else { value.view.clone().with_channels(outputs) };
        Ok(self.product(node, &value, weights, &bias, 1, geometry, view))
    }

    /// The second input.
    fn weights(&self, node: &NodeProto) -> Lowered<ArrayD<f32>> {
        node.input_name(1).and_then(|name| self.reader.floats(name)).ok_or(Why::Variable)
    }

    /// The third input, one number an output or one for all.
    fn bias(&self, node: &NodeProto, outputs: usize) -> Lowered<Vec<f64>> {
        if node.input_name(2).is_none() {
            return Ok(vec![0.0; outputs]);
        }
        let bias = self.constant(node, 2)?;
        let fits = bias.len() == outputs && bias.shape().last() == Some(&outputs);
        if fits { Ok(bias.iter().copied().collect()) } else { Err(Why::Shape) }
    }

    /// The sums of `[O, C / groups, kh, kw]` weights over windows.
    #[allow(clippy::too_many_arguments)] // They are what a convolution is.
    fn product(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        weights: Array4<f32>,
        bias: &[f64],
        groups: usize,
        mut windows: Geometry,
        view: View,
    ) -> LoweredValue {
        let range = self.range_of_sums(value, weights.view(), bias, groups);
        let (outputs, _, kh, kw) = weights.dim();
        let inputs = self.maps[value.map].channels;
        let each_channel = groups > 1 && groups == inputs && outputs == inputs;
        let small = range.is_some() && in_bytes(weights.view());
        let wanted = small && (!each_channel || self.kernels.has_depthwise_bytes());
        let value = if wanted { self.as_bytes(node, value, weights.len()) } else { value.clone() };
        let map = &self.maps[value.map];
        let integer = wanted && map.bytes();
        let dense = groups == 1 && windows.dilations == [1, 1];
        let tiled = dense && winograd::pays([kh, kw], windows.strides, [inputs, outputs], windows.size);
        let way = if each_channel {
            Way::Channels
        } else if tiled && (range.is_none() || integer && self.tiles_keep_the_sums(map, weights.view())) {
            // Another order of summation is as good where the bits are not known.
            Way::Tiles
        } else {
            Way::Products
        };
        let integers_to = map.byte_range().filter(|_| integer).map(|bytes| bytes.high() as u8);
        if way == Way::Tiles {
            // The last tiles of an odd side reach one pixel further.
            windows.pads[2] += windows.size[0] % 2;
            windows.pads[3] += windows.size[1] % 2;
        }
        for (border, pad) in self.maps[value.map].border.iter_mut().zip(windows.pads) {
            *border = (*border).max(pad);
        }
        let innermost = weights.permuted_axes([0, 2, 3, 1]);
        let in_order = if innermost.is_standard_layout() {
            innermost.into_raw_vec_and_offset().0
        } else {
            innermost.iter().copied().collect()
        };
        let product = ProductDraft { weights: in_order, inputs, groups, windows, integers_to, way };
        let shift = bias.iter().map(|b| *b as f32).collect();
        let draft = StepDraft {
            name: node.name().into(),
            action: ActionDraft::Product(product),
            from: value.map,
            other: None,
            residual: None,
            to: 0,
            epilogue: Epilogue { shift, ..Epilogue::identity(outputs) },
            function: None,
            stage: Stage::Affine,
            strict: range.is_some(),
        };
        let open = Some(self.drafts.len());
        LoweredValue { open, ..self.push(draft, outputs, windows.size, range, view) }
    }

    /// A value whose map holds bytes, moved up where some are below 0: products of bytes are several times faster than those
    /// of float32. That is its own map where the step that fills it can store them; else a copy, if there are many products;
    /// else the value as it is.
    pub(super) fn as_bytes(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        weights: usize,
    ) -> LoweredValue {
        let map = self.maps[value.map].clone();
        let Some(lift) = map.needed_lift().filter(|_| !map.bytes()) else { return value.clone() };
        if self.can_be_lifted(value.map) {
            self.lift(value.map);
            return value.clone();
        }
        if weights < FEWEST_PRODUCTS * map.channels {
            return value.clone();
        }
        let draft = StepDraft { stage: Stage::Done, ..self.each(node.name(), value.map) };
        let made = self.push(draft, map.channels, map.size, map.range, value.view.clone());
        self.maps[made.map].lift = lift;
        made
    }

    /// Has the step that fills a map store bytes, moved up, where it can: those that read it take them as well as floats.
    pub(super) fn lift(&mut self, map: usize) {
        let own = &self.maps[map];
        if let Some(lift) = own.needed_lift().filter(|_| !own.bytes() && self.can_be_lifted(map)) {
            self.maps[map].lift = lift;
        }
    }

    /// Whether the step that fills a map, and no other does, can store bytes that are moved up.
    fn can_be_lifted(&self, map: usize) -> bool {
        let fills = |d: &&StepDraft| d.to == map;
        let mut fillers = self.drafts.iter().filter(fills);
        let one = |d: &StepDraft| d.action.stores_lifted();
        let first = fillers.next().is_some_and(|d| one(d) && d.function.is_none());
        self.maps[map].narrow && first && fillers.next().is_none()
    }

    /// Whether sums of integers are faster by tiles on these kernels, and as exact.
    fn tiles_keep_the_sums(&self, map: &MapDraft, weights: ArrayView4<'_, f32>) -> bool {
        let of_row = |row: Vec<f64>| row.iter().map(|w| w.abs()).sum::<f64>();
        let fits =
            |inputs: &Range| winograd::fits_integers(inputs, rows(weights).map(of_row).fold(0.0, f64::max));
        self.kernels.tiles_integers() && map.byte_range().as_ref().is_some_and(fits)
    }

    /// Where these exist for all outputs, no sum is ever rounded, so its order and its type do not matter.
    fn range_of_sums(
        &self,
        value: &LoweredValue,
        weights: ArrayView4<'_, f32>,
        bias: &[f64],
        groups: usize,
    ) -> Option<Range> {
        let known = self.maps[value.map].range.as_ref()?;
        let each = weights.len_of(Axis(0)) / groups;
        let inputs = weights.len_of(Axis(1));
        let of_group = |group: usize| match known.channels() {
            [_] => Some(known.clone()),
            all => Range::of(all.get(group * inputs..(group + 1) * inputs)?.to_vec()),
        };
        let ranges: Option<Vec<Range>> = (0..groups).map(of_group).collect();
        let ranges = ranges?;
        let rows = rows(weights).zip(bias).enumerate();
        let sums: Option<Vec<_>> = rows.map(|(o, (row, b))| ranges[o / each].product(&row, *b)).collect();
        Range::of(sums?).filter(Range::is_exact)
    }
}

/// Whether a signed byte holds each weight.
fn in_bytes(weights: ArrayView4<'_, f32>) -> bool {
    rows(weights).all(|row| Integer::I8.holds_all(&row))
}

/// The weights of each output.
fn rows(weights: ArrayView4<'_, f32>) -> impl Iterator<Item = Vec<f64>> {
    weights.into_outer_iter().map(|row| row.iter().map(|w| f64::from(*w)).collect())
}
