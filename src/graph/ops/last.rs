//! Images with channels last, `[N, H, W, C]`: the form that ONNX Runtime's CPU provider trains fastest.
//!
//! A convolution is one matrix product over columns, and the columns are one `Gather` of whole pixels.
//! Its weight gradient is a second product over the same columns, in place of a product an image and
//! a sum over the batch.

use super::pool::window_attributes;
use crate::graph::builder::Composite;
use crate::graph::{ConvAttrs, Expr, Kernel, Tensor};

/// From channels first to channels last.
const TO_LAST: [usize; 4] = [0, 2, 3, 1];
/// From channels last to channels first.
const TO_FIRST: [usize; 4] = [0, 3, 1, 2];

impl Expr<'_> {
    /// `[N, C, H, W]` → `[N, H, W, C]`.
    pub fn channels_last(self) -> Self {
        self.transpose(&TO_LAST)
    }

    /// `[N, H, W, C]` → `[N, C, H, W]`.
    pub fn channels_first(self) -> Self {
        self.transpose(&TO_FIRST)
    }

    /// Convolution of `[N, H, W, C]` with `w: [F, C, kH, kW]` and `bias: [F]`, without groups.
    pub fn conv_last(self, w: Self, bias: Option<Self>, attrs: ConvAttrs) -> Self {
        let [top, left, bottom, right] = attrs.pads;
        if (top, left) != (bottom, right) && attrs.strides != [1, 1] {
            let padded = self.pad(&[0, top, left, 0, 0, bottom, right, 0], 0.0);
            return padded.conv_last(w, bias, ConvAttrs { pads: [0; 4], ..attrs });
        }
        self.graph().attempt("ConvLast", || {
            if attrs.groups != 1 {
                return Err("with channels last there are no groups".into());
            }
            let ([n, h, width, c], [f, _, kh, kw]) = (self.dims()?, w.dims()?);
            let shape = attrs.convolved(&[n, c, h, width], &w.shape())?;
            let columns = self.columns([kh, kw], attrs);
            let matrix = w.transpose(&[2, 3, 1, 0]).reshape(&[kh * kw * c, f]);
            let y = columns.gemm(matrix, bias, [false, false]).reshape(&[n, shape[2], shape[3], f]);
            let inputs: Vec<Self> = [self, w].into_iter().chain(bias).collect();
            let attributes = attrs.attributes([kh, kw]);
            self.graph().region(Kernel::Conv, &inputs, &[y], attributes.clone());
            Ok(y.stands_for(Composite::ConvLast, &inputs, &[], attributes))
        })
    }

    /// What each place of the kernel sees: `[N·H′·W′, kH·kW·C]` of `[N, H, W, C]`, made once for
    /// equal windows.
    pub(in crate::graph) fn columns(self, kernel: [usize; 2], attrs: ConvAttrs) -> Self {
        let key = [&kernel[..], &attrs.strides, &attrs.pads, &attrs.dilations].concat();
        self.graph().once(self, key, || self.new_columns(kernel, attrs))
    }

    fn new_columns(self, kernel: [usize; 2], attrs: ConvAttrs) -> Self {
        let [top, left, bottom, right] = attrs.pads;
        let padded = self.pad(&[0, top, left, 0, 0, bottom, right, 0], 0.0);
        self.graph().attempt("ConvLast", || {
            let [n, h, width, c] = padded.dims()?;
            let windows = ConvAttrs { pads: [0; 4], ..attrs };
            let shape = windows.convolved(&[n, 1, h, width], &[1, 1, kernel[0], kernel[1]])?;
            let places = [shape[2], shape[3]];
            let shape = [n * places[0] * places[1], kernel[0] * kernel[1] * c];
            let seen = match c {
                _ if kernel == [1, 1] && attrs.strides == [1, 1] => padded,
                1 => padded.tap_by_tap(places, kernel, attrs),
                _ => {
                    let pixels = padded.reshape(&[n, h * width, c]);
                    pixels.gather(self.graph().ints(&taps(width, places, kernel, attrs)), 1)
                }
            };
            Ok(seen.reshape(&shape))
        })
    }

    /// The columns of `[N, H, W, 1]`, `[N, H′·W′, kH·kW]`: of one channel, a pixel is one number, and to
    /// gather those one by one takes five times as long as a slice a tap and a transposition.
    fn tap_by_tap(self, places: [usize; 2], kernel: [usize; 2], attrs: ConvAttrs) -> Self {
        let tap = |i: usize, j: usize| {
            let starts = [i * attrs.dilations[0], j * attrs.dilations[1]];
            let ends = [0, 1].map(|a| starts[a] + (places[a] - 1) * attrs.strides[a] + 1);
            let tap = self.slice(&starts, &ends, &[1, 2], &attrs.strides);
            tap.reshape(&[self.dim(0), 1, places[0] * places[1]])
        };
        let taps = (0..kernel[0]).flat_map(|i| (0..kernel[1]).map(move |j| (i, j)));
        let seen: Vec<Self> = taps.map(|(i, j)| tap(i, j)).collect();
        self.graph().concat(&seen, 1).transpose(&[0, 2, 1])
    }

    /// The sum over all axes of `[N, H, W, C]` but the channels: `[1, 1, 1, C]`. As a product with
    /// ones: `ReduceSum` over leading axes takes up to ten times as long where there are few channels.
    pub fn channel_sums(self) -> Self {
        self.graph().attempt("ReduceSum", || {
            let [n, h, width, c] = self.dims()?;
            let pixels = h * width;
            let ones = Tensor::F32(ndarray::ArrayD::ones(vec![1, pixels]));
            let ones = self.graph().initializer_once(&format!("ones_{pixels}"), ones);
            let sums = ones.matmul(self.reshape(&[n, pixels, c])).sum(&[0]).reshape(&[1, 1, 1, c]);
            Ok(sums.stands_for(Composite::ChannelSums, &[self], &[], vec![]))
        })
    }

    /// The maximum of each window of `[N, H, W, C]`; windows do not overlap.
    pub fn max_pool_last(self, window: [usize; 2]) -> Self {
        let y = self.channels_first().max_pool(window, window).channels_last();
        let attributes = window_attributes(window, window);
        self.graph().region(Kernel::MaxPool, &[self], &[y], attributes.clone());
        y.stands_for(Composite::MaxPoolLast, &[self], &[], attributes)
    }

    /// The mean of each window of `[N, H, W, C]`; windows do not overlap.
    pub fn average_pool_last(self, window: [usize; 2]) -> Self {
        self.graph().attempt("AveragePool", || {
            let [n, h, width, c] = self.dims()?;
            if window.contains(&0) || window[0] > h || window[1] > width {
                return Err(format!("window {window:?} of {:?}", self.shape()));
            }
            let [rows, columns] = [h / window[0], width / window[1]];
            let covered = self.slice(&[0, 0], &[rows * window[0], columns * window[1]], &[1, 2], &[1, 1]);
            Ok(covered.reshape(&[n, rows, window[0], columns, window[1], c]).mean(&[2, 4]))
        })
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
