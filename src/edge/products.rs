//! Lowering of convolutions, matrix products and pools.

use super::draft::{Draft, Op, Pool, Product, Stage, Value, nothing};
use super::grid::Grid;
use super::lower::Lowering;
use super::read::{explicit_padding, float, int, sizes};
use super::winograd::Winograd;
use crate::onnx::NodeProto;
use ndarray::{ArrayD, ArrayView4, Axis, Ix2, Ix4};

/// The window of a convolution or pool on a map.
struct Frame {
    strides: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
    /// Pixels that come out.
    size: [usize; 2],
}

impl Lowering<'_> {
    /// The window of a node, whose kernel is known, on an input.
    fn frame(&self, node: &NodeProto, value: &Value, kernel: [usize; 2]) -> Option<Frame> {
        let strides = sizes(node, "strides", [1, 1])?;
        let own = sizes(node, "pads", [0; 4])?;
        let plain = explicit_padding(node)
            && sizes(node, "dilations", [1, 1])? == [1, 1]
            && int(node, "ceil_mode", 0) == 0
            && strides.iter().all(|s| *s > 0)
            && !value.flat;
        let pads = [0, 1, 2, 3].map(|i| own[i] + value.pads[i]);
        let size = self.maps[value.map].size;
        let out = |axis: usize| {
            let free = (size[axis] + pads[axis] + pads[axis + 2]).checked_sub(kernel[axis])?;
            Some(free / strides[axis] + 1)
        };
        let frame = Frame { strides, pads, size: [out(0)?, out(1)?] };
        (plain && kernel.iter().all(|k| *k > 0)).then_some(frame)
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Option<Value> {
        let value = self.input(node, 0).filter(|v| v.factor == 1.0)?;
        let weights = self.reader.constant(node.input.get(1)?)?.into_dimensionality::<Ix4>().ok()?;
        let (outputs, inputs, kh, kw) = weights.dim();
        let bias = self.bias(node, outputs)?;
        let frame = self.frame(node, &value, [kh, kw])?;
        let channels = self.maps[value.map].channels;
        if int(node, "group", 1) != 1 {
            let ones = weights.iter().all(|w| *w == 1.0) && bias.iter().all(|b| *b == 0.0);
            let each = int(node, "group", 1) == channels as i64 && inputs == 1 && outputs == channels;
            return (ones && each).then(|| self.sums(node, &value, [kh, kw], frame))?;
        }
        if inputs != channels {
            return None;
        }
        Some(self.product(node, &value, weights.view(), &bias, frame))
    }

    /// A row of numbers times a matrix: a convolution with a window as large as the map.
    pub(super) fn gemm(&mut self, node: &'a NodeProto) -> Option<Value> {
        let usual = float(node, "alpha", 1.0) == 1.0
            && float(node, "beta", 1.0) == 1.0
            && int(node, "transA", 0) == 0;
        if !usual {
            return None;
        }
        let weights = self.reader.constant(node.input.get(1)?)?;
        self.matrix(node, weights, int(node, "transB", 0) == 0)
    }

    pub(super) fn matmul(&mut self, node: &'a NodeProto) -> Option<Value> {
        let weights = self.reader.constant(node.input.get(1)?)?;
        self.matrix(node, weights, true)
    }

    fn matrix(&mut self, node: &'a NodeProto, weights: ArrayD<f64>, columns: bool) -> Option<Value> {
        let value = self.plain(node, 0).filter(|v| v.flat)?;
        let mut weights = weights.into_dimensionality::<Ix2>().ok()?;
        if columns {
            weights = weights.reversed_axes();
        }
        let map = &self.maps[value.map];
        let (outputs, [height, width]) = (weights.nrows(), map.size);
        let bias = self.bias(node, outputs)?;
        let shape = (outputs, map.channels, height, width);
        let weights = weights.as_standard_layout().into_owned().into_shape_with_order(shape).ok()?;
        let frame = Frame { strides: [1, 1], pads: [0; 4], size: [1, 1] };
        Some(Value { flat: true, ..self.product(node, &value, weights.view(), &bias, frame) })
    }

    /// The third input, one number an output.
    fn bias(&self, node: &NodeProto, outputs: usize) -> Option<Vec<f64>> {
        match node.input.get(2).filter(|name| !name.is_empty()) {
            None => Some(vec![0.0; outputs]),
            Some(name) => {
                let bias = self.reader.constant(name)?;
                (bias.len() == outputs && bias.shape().last() == Some(&outputs))
                    .then(|| bias.iter().copied().collect())
            }
        }
    }

    /// The sums of `[O, C, kh, kw]` weights over windows.
    fn product(
        &mut self,
        node: &NodeProto,
        value: &Value,
        weights: ArrayView4<'_, f64>,
        bias: &[f64],
        frame: Frame,
    ) -> Value {
        let (known, bytes) = (self.maps[value.map].grid, self.maps[value.map].bytes());
        let rows = || weights.axis_iter(Axis(0)).zip(bias);
        // Where all of these exist, no sum is ever rounded, so its order and its type do not matter.
        let grid = known.and_then(|x| {
            let each = rows().map(|(row, b)| x.product(row.iter(), *b));
            each.reduce(|a, b| Some(a?.join(b?)))?
        });
        let small = |w: &f64| w.fract() == 0.0 && (-128.0..=127.0).contains(w);
        let integers_to =
            known.filter(|_| grid.is_some() && bytes && weights.iter().all(small)).map(|x| x.high as u8);
        let (outputs, inputs, kh, kw) = weights.dim();
        // Another order of summation is only for products whose bits are not known.
        let tiled = grid.is_none() && Winograd::pays([kh, kw], frame.strides, [inputs, outputs], frame.size);
        let mut pads = frame.pads;
        if tiled {
            // The last tiles of an odd side reach one pixel further.
            pads[2] += frame.size[0] % 2;
            pads[3] += frame.size[1] % 2;
        }
        for (border, pad) in self.maps[value.map].border.iter_mut().zip(pads) {
            *border = (*border).max(pad);
        }
        let innermost = weights.permuted_axes([0, 2, 3, 1]);
        let product = Product {
            weights: innermost.iter().map(|w| *w as f32).collect(),
            inputs,
            kernel: [kh, kw],
            strides: frame.strides,
            pads: [frame.pads[0], frame.pads[1]],
            integers_to,
            tiled,
        };
        let mut finish = nothing(outputs);
        finish.shift = bias.iter().map(|b| *b as f32).collect();
        let draft = Draft {
            name: node.name().into(),
            op: Op::Product(product),
            from: value.map,
            beside: None,
            to: 0,
            finish,
            stage: Stage::Affine,
            strict: grid.is_some(),
        };
        let open = Some(self.drafts.len());
        Value { open, ..self.push(draft, frame.size, grid, false) }
    }

    pub(super) fn pool(&mut self, node: &'a NodeProto) -> Option<Value> {
        let value = self.plain(node, 0)?;
        let kernel = sizes(node, "kernel_shape", [0, 0])?;
        let frame = self.frame(node, &value, kernel).filter(|f| f.pads == [0; 4])?;
        let pool = Pool { kernel, strides: frame.strides };
        let grid = self.maps[value.map].grid;
        if node.op_type() == "MaxPool" {
            let draft = Draft { op: Op::Max(pool), ..self.each(node.name(), value.map) };
            return (node.output.len() == 1).then(|| self.push(draft, frame.size, grid, false));
        }
        Some(self.mean(node, &value, pool, frame.size))
    }

    fn mean(&mut self, node: &NodeProto, value: &Value, pool: Pool, size: [usize; 2]) -> Value {
        let count = pool.kernel[0] * pool.kernel[1];
        let sum = self.maps[value.map].grid.and_then(|g| g.product(vec![1.0; count].iter(), 0.0));
        let exact = sum.filter(|_| count.is_power_of_two());
        let grid = exact
            .zip(self.maps[value.map].grid)
            .map(|(_, g)| Grid { step: g.step - count.trailing_zeros() as i32, ..g });
        let draft = Draft { op: Op::Mean(pool), ..self.each(node.name(), value.map) };
        self.push(draft, size, grid, value.flat)
    }

    /// The sum of each window, written as a convolution of each channel with ones.
    fn sums(&mut self, node: &NodeProto, value: &Value, kernel: [usize; 2], frame: Frame) -> Option<Value> {
        let count = kernel[0] * kernel[1];
        let grid = self.maps[value.map].grid?.product(vec![1.0; count].iter(), 0.0)?;
        if frame.pads != [0; 4] {
            return None;
        }
        let pool = Pool { kernel, strides: frame.strides };
        let draft = Draft { op: Op::Sum(pool), ..self.each(node.name(), value.map) };
        Some(self.push(draft, frame.size, Some(grid), false))
    }

    pub(super) fn reduce_mean(&mut self, node: &'a NodeProto) -> Option<Value> {
        let axes: Vec<i64> = match node.input.get(1) {
            Some(name) => self.reader.constant(name)?.iter().map(|x| *x as i64).collect(),
            None => node.attribute.iter().find(|a| a.name() == "axes")?.ints.clone(),
        };
        let all = matches!(axes.as_slice(), [2 | -2, 3 | -1] | [3 | -1, 2 | -2]);
        if !all {
            return None;
        }
        self.global_mean(node, int(node, "keepdims", 1) == 0)
    }

    pub(super) fn global_mean(&mut self, node: &'a NodeProto, flat: bool) -> Option<Value> {
        let value = self.plain(node, 0).filter(|v| !v.flat)?;
        let kernel = self.maps[value.map].size;
        let pool = Pool { kernel, strides: [1, 1] };
        Some(Value { flat, ..self.mean(node, &value, pool, [1, 1]) })
    }
}
