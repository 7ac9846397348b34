//! Images with channels last, `[N, H, W, C]`: the form that ONNX Runtime's CPU provider trains fastest.
//!
//! A convolution is one matrix product over columns, and the columns are one `Gather` of whole pixels.
//! Its weight gradient is a second product over the same columns, in place of a product an image and
//! a sum over the batch.

use crate::graph::builder::{Attribute, OpResult};
use crate::graph::{ConvAttrs, Graph, Tensor, Value};

/// From channels first to channels last.
const TO_LAST: [usize; 4] = [0, 2, 3, 1];
/// From channels last to channels first.
const TO_FIRST: [usize; 4] = [0, 3, 1, 2];

impl Graph {
    /// `[N, C, H, W]` → `[N, H, W, C]`.
    pub fn channels_last(&mut self, x: Value) -> OpResult {
        self.transpose(x, &TO_LAST)
    }

    /// `[N, H, W, C]` → `[N, C, H, W]`.
    pub fn channels_first(&mut self, x: Value) -> OpResult {
        self.transpose(x, &TO_FIRST)
    }

    /// Convolution of `x: [N, H, W, C]` with `w: [F, C, kH, kW]` and `bias: [F]`, without groups.
    pub fn conv_last(&mut self, x: Value, w: Value, bias: Option<Value>, attrs: ConvAttrs) -> OpResult {
        let [top, left, bottom, right] = attrs.pads;
        if (top, left) != (bottom, right) && attrs.strides != [1, 1] {
            let padded = self.pad(x, &[0, top, left, 0, 0, bottom, right, 0], 0.0)?;
            return self.conv_last(padded, w, bias, ConvAttrs { pads: [0; 4], ..attrs });
        }
        let [n, h, width, f] = self.conv_last_shape(x, w, attrs)?;
        let &[_, c, kh, kw] = self.shape(w) else {
            return Err(self.misfit("ConvLast", "a kernel has 4 axes"));
        };
        let columns = self.columns(x, [kh, kw], attrs)?;
        let matrix = self.transpose(w, &[2, 3, 1, 0])?;
        let matrix = self.reshape(matrix, &[kh * kw * c, f])?;
        let product = self.gemm(columns, matrix, bias, false, false)?;
        let y = self.reshape(product, &[n, h, width, f])?;
        let inputs = [x, w].into_iter().chain(bias).collect();
        self.stands_for(y, "ConvLast", inputs, attrs.attributes(&[kh, kw]));
        Ok(y)
    }

    fn conv_last_shape(&self, x: Value, w: Value, attrs: ConvAttrs) -> crate::Result<[usize; 4]> {
        if attrs.groups != 1 {
            return Err(self.misfit("ConvLast", "with channels last there are no groups"));
        }
        let &[n, h, width, c] = self.shape(x) else {
            return Err(self.misfit("ConvLast", format!("4 axes are needed, not {:?}", self.shape(x))));
        };
        let shape = self.conv_shape(&[n, c, h, width], self.shape(w), &attrs)?;
        Ok([shape[0], shape[2], shape[3], shape[1]])
    }

    /// What each place of the kernel sees: `[N·H′·W′, kH·kW·C]` of `x: [N, H, W, C]`, made once for
    /// equal windows.
    pub(in crate::graph) fn columns(&mut self, x: Value, kernel: [usize; 2], attrs: ConvAttrs) -> OpResult {
        self.once_over((x, kernel, attrs), |g| g.new_columns(x, kernel, attrs))
    }

    fn new_columns(&mut self, x: Value, kernel: [usize; 2], attrs: ConvAttrs) -> OpResult {
        let [top, left, bottom, right] = attrs.pads;
        let padded = self.pad(x, &[0, top, left, 0, 0, bottom, right, 0], 0.0)?;
        let &[n, h, width, c] = self.shape(padded) else { return Err(self.misfit("ConvLast", "4 axes")) };
        let places = [0, 1].map(|axis| {
            let room = [h, width][axis] - attrs.extent(axis, kernel[axis]);
            room / attrs.strides[axis] + 1
        });
        let shape = [n * places[0] * places[1], kernel[0] * kernel[1] * c];
        if kernel == [1, 1] && attrs.strides == [1, 1] {
            return self.reshape(padded, &shape);
        }
        if c == 1 {
            let seen = self.tap_by_tap(padded, places, kernel, attrs)?;
            return self.reshape(seen, &shape);
        }
        let pixels = self.reshape(padded, &[n, h * width, c])?;
        let taps = self.ints(&taps(width, places, kernel, attrs));
        let seen = self.gather(pixels, taps, 1)?;
        self.reshape(seen, &shape)
    }

    /// The columns of `x: [N, H, W, 1]`, `[N, H′·W′, kH·kW]`: of one channel, a pixel is one number, and to
    /// gather those one by one takes five times as long as a slice a tap and a transposition.
    fn tap_by_tap(&mut self, x: Value, places: [usize; 2], kernel: [usize; 2], attrs: ConvAttrs) -> OpResult {
        let n = self.shape(x)[0];
        let mut seen = Vec::with_capacity(kernel[0] * kernel[1]);
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                let starts = [i * attrs.dilations[0], j * attrs.dilations[1]];
                let ends = [0, 1].map(|a| starts[a] + (places[a] - 1) * attrs.strides[a] + 1);
                let tap = self.slice(x, &starts, &ends, &[1, 2], &attrs.strides)?;
                seen.push(self.reshape(tap, &[n, 1, places[0] * places[1]])?);
            }
        }
        let taps = self.concat(&seen, 1)?;
        self.transpose(taps, &[0, 2, 1])
    }

    /// The sum over all axes of `x: [N, H, W, C]` but the channels: `[1, 1, 1, C]`. As a product with
    /// ones: `ReduceSum` over leading axes takes up to ten times as long where there are few channels.
    pub fn channel_sums(&mut self, x: Value) -> OpResult {
        let &[n, h, width, c] = self.shape(x) else {
            return Err(self.misfit("ReduceSum", format!("4 axes are needed, not {:?}", self.shape(x))));
        };
        let pixels = h * width;
        let ones = Tensor::F32(ndarray::ArrayD::ones(vec![1, pixels]));
        let ones = self.initializer_once(&format!("ones_{pixels}"), ones);
        let rows = self.reshape(x, &[n, pixels, c])?;
        let sums = self.matmul(ones, rows)?;
        let sum = self.reduce_sum(sums, &[0], false)?;
        let kept = self.reshape(sum, &[1, 1, 1, c])?;
        let attributes = vec![("axes", Attribute::Ints(vec![0, 1, 2])), ("keepdims", Attribute::Int(1))];
        self.stands_for(kept, "ReduceSum", vec![x], attributes);
        Ok(kept)
    }

    /// The mean of each window of `x: [N, H, W, C]`; windows do not overlap.
    pub fn average_pool_last(&mut self, x: Value, window: [usize; 2]) -> OpResult {
        let &[n, h, width, c] = self.shape(x) else {
            return Err(self.misfit("AveragePool", format!("4 axes are needed, not {:?}", self.shape(x))));
        };
        if window.contains(&0) || window[0] > h || window[1] > width {
            return Err(self.misfit("AveragePool", format!("window {window:?} of {:?}", self.shape(x))));
        }
        let [rows, columns] = [h / window[0], width / window[1]];
        let ends = [rows * window[0], columns * window[1]];
        let covered = self.slice(x, &[0, 0], &ends, &[1, 2], &[1, 1])?;
        let windows = self.reshape(covered, &[n, rows, window[0], columns, window[1], c])?;
        self.reduce_mean(windows, &[2, 4], false)
    }
}

/// Indices of the pixels under each tap of the kernel, place after place, in an image of `width` columns.
fn taps(width: usize, places: [usize; 2], kernel: [usize; 2], attrs: ConvAttrs) -> Vec<i64> {
    let along =
        |axis: usize, place: usize, tap: usize| place * attrs.strides[axis] + tap * attrs.dilations[axis];
    let mut indices = Vec::with_capacity(places[0] * places[1] * kernel[0] * kernel[1]);
    for y in 0..places[0] {
        for x in 0..places[1] {
            for i in 0..kernel[0] {
                indices.extend((0..kernel[1]).map(|j| (along(0, y, i) * width + along(1, x, j)) as i64));
            }
        }
    }
    indices
}
