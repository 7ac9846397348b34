//! Lowering of convolutions and matrix products.

use super::pools::Geometry;
use super::{Lowered, Lowering};
use crate::edge::coverage::Why;
use crate::edge::draft::{ActionDraft, LoweredValue, ProductDraft, Stage, StepDraft};
use crate::edge::kernels::Epilogue;
use crate::edge::winograd::Winograd;
use crate::exactness::{Integer, Range};
use crate::onnx::NodeProto;
use ndarray::{ArrayD, ArrayView4, Axis, Ix2, Ix4};

impl<'a> Lowering<'a> {
    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Lowered {
        let value = self.computed(node, 0)?;
        let weights = self.constant(node, 1)?.into_dimensionality::<Ix4>().map_err(|_| Why::Axes)?;
        let (outputs, inputs, kh, kw) = weights.dim();
        let bias = self.bias(node, outputs)?;
        let geometry = self.geometry(node, &value, [kh, kw])?;
        let channels = self.maps[value.map].channels;
        let groups = node.int_or("group", 1);
        if groups != 1 {
            let ones = weights.iter().all(|w| *w == 1.0) && bias.iter().all(|b| *b == 0.0);
            let each = groups == channels as i64 && inputs == 1 && outputs == channels;
            return if ones && each {
                self.sums(node, &value, [kh, kw], geometry)
            } else {
                Err(Why::Grouped)
            };
        }
        if inputs != channels {
            return Err(Why::Shape);
        }
        Ok(self.product(node, &value, weights.view(), &bias, geometry))
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
        self.matrix(node, true)
    }

    fn matrix(&mut self, node: &'a NodeProto, columns: bool) -> Lowered {
        let weights: ArrayD<f64> = self.constant(node, 1)?;
        let value = self.plain(node, 0)?;
        let mut weights = weights.into_dimensionality::<Ix2>().map_err(|_| Why::Axes)?;
        if columns {
            weights = weights.reversed_axes();
        }
        if !value.flat {
            return Err(Why::Axes);
        }
        let map = &self.maps[value.map];
        let (outputs, [height, width]) = (weights.nrows(), map.size);
        let bias = self.bias(node, outputs)?;
        let shape = (outputs, map.channels, height, width);
        let weights = weights.as_standard_layout().into_owned().into_shape_with_order(shape);
        let geometry = Geometry { strides: [1, 1], pads: [0; 4], size: [1, 1] };
        let product = self.product(node, &value, weights.map_err(|_| Why::Shape)?.view(), &bias, geometry);
        Ok(LoweredValue { flat: true, ..product })
    }

    /// The third input, one number an output.
    fn bias(&self, node: &NodeProto, outputs: usize) -> Lowered<Vec<f64>> {
        if node.input_name(2).is_none() {
            return Ok(vec![0.0; outputs]);
        }
        let bias = self.constant(node, 2)?;
        let fits = bias.len() == outputs && bias.shape().last() == Some(&outputs);
        if fits { Ok(bias.iter().copied().collect()) } else { Err(Why::Shape) }
    }

    /// The sums of `[O, C, kh, kw]` weights over windows.
    fn product(
        &mut self,
        node: &NodeProto,
        value: &LoweredValue,
        weights: ArrayView4<'_, f64>,
        bias: &[f64],
        geometry: Geometry,
    ) -> LoweredValue {
        let map = &self.maps[value.map];
        let known = map.range.as_ref();
        let rows = weights.axis_iter(Axis(0)).zip(bias);
        // Where all of these exist, no sum is ever rounded, so its order and its type do not matter.
        let sums = known.and_then(|x| rows.map(|(row, b)| x.product(row.iter(), *b)).collect());
        let range = sums.and_then(Range::of).filter(Range::is_exact);
        let small = map.bytes() && weights.iter().all(|w| Integer::I8.holds(*w));
        let integer = small && range.as_ref().is_some_and(|r| r.sums_fit(Integer::I32));
        let integers_to = known.filter(|_| integer).map(|x| x.high() as u8);
        let (outputs, inputs, kh, kw) = weights.dim();
        let Geometry { strides, mut pads, size } = geometry;
        let [top, left, ..] = pads;
        // Another order of summation is only for products whose bits are not known.
        let tiled = range.is_none() && Winograd::pays([kh, kw], strides, [inputs, outputs], size);
        if tiled {
            // The last tiles of an odd side reach one pixel further.
            pads[2] += size[0] % 2;
            pads[3] += size[1] % 2;
        }
        for (border, pad) in self.maps[value.map].border.iter_mut().zip(pads) {
            *border = (*border).max(pad);
        }
        let innermost = weights.permuted_axes([0, 2, 3, 1]);
        let product = ProductDraft {
            weights: innermost.iter().map(|w| *w as f32).collect(),
            inputs,
            kernel: [kh, kw],
            strides,
            pads: [top, left],
            integers_to,
            tiled,
        };
        let shift = bias.iter().map(|b| *b as f32).collect();
        let draft = StepDraft {
            name: node.name().into(),
            action: ActionDraft::Product(product),
            from: value.map,
            residual: None,
            to: 0,
            epilogue: Epilogue { shift, ..Epilogue::identity(outputs) },
            stage: Stage::Affine,
            strict: range.is_some(),
        };
        let open = Some(self.drafts.len());
        LoweredValue { open, ..self.push(draft, size, range, false) }
    }
}
