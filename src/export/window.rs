//! Sliding windows over one image `[C, H, W]`.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayD, ArrayView3, Axis, s};

/// Attributes of a convolution.
pub(super) struct Form {
    /// Zeros before H, before W, after H, after W.
    pub pads: [usize; 4],
    pub strides: [usize; 2],
    pub groups: usize,
}

/// The image with zeros around it.
pub(super) fn padded(x: &ArrayView3<'_, f32>, pads: [usize; 4]) -> Array3<f32> {
    let (c, h, w) = x.dim();
    let [top, left, bottom, right] = pads;
    let mut y = Array3::zeros((c, h + top + bottom, w + left + right));
    y.slice_mut(s![.., top..top + h, left..left + w]).assign(x);
    y
}

/// Convolution with `weight: [F, C/groups, kH, kW]`; none if the shapes do not fit.
pub(super) fn conv(x: &ArrayView3<'_, f32>, weight: &ArrayD<f32>, form: &Form) -> Option<Array3<f32>> {
    let &[filters, inner, kh, kw] = weight.shape() else { return None };
    let x = padded(x, form.pads);
    let (c, h, w) = x.dim();
    if inner * form.groups != c || !filters.is_multiple_of(form.groups) || h < kh || w < kw {
        return None;
    }
    let out = [(h - kh) / form.strides[0] + 1, (w - kw) / form.strides[1] + 1];
    let rows = weight.view().into_shape_with_order((filters, inner * kh * kw)).ok()?;
    let mut y = Array2::zeros((filters, out[0] * out[1]));
    let each = filters / form.groups;
    for g in 0..form.groups {
        let part = x.slice(s![g * inner..(g + 1) * inner, .., ..]);
        let columns = columns(&part, [kh, kw], form.strides, out);
        let own = g * each..(g + 1) * each;
        general_mat_mul(1.0, &rows.slice(s![own.clone(), ..]), &columns, 0.0, &mut y.slice_mut(s![own, ..]));
    }
    y.into_shape_with_order((filters, out[0], out[1])).ok()
}

/// Every tap of every window: `[C·kH·kW, windows]`.
fn columns(x: &ArrayView3<'_, f32>, kernel: [usize; 2], strides: [usize; 2], out: [usize; 2]) -> Array2<f32> {
    let taps = kernel[0] * kernel[1];
    let mut columns = Array2::zeros((x.len_of(Axis(0)) * taps, out[0] * out[1]));
    for (row, mut line) in columns.outer_iter_mut().enumerate() {
        let (channel, tap) = (row / taps, row % taps);
        let shifted = shifted(x, channel, [tap / kernel[1], tap % kernel[1]], strides, out);
        for (to, from) in line.iter_mut().zip(shifted.iter()) {
            *to = *from;
        }
    }
    columns
}

/// What one tap of the window sees of a channel.
fn shifted<'a>(
    x: &'a ArrayView3<'_, f32>,
    channel: usize,
    at: [usize; 2],
    strides: [usize; 2],
    out: [usize; 2],
) -> ndarray::ArrayView2<'a, f32> {
    let end = [0, 1].map(|i| at[i] + (out[i] - 1) * strides[i] + 1);
    x.slice(s![channel, at[0]..end[0];strides[0] as isize, at[1]..end[1];strides[1] as isize])
}

/// The maximum or mean of each window.
pub(super) fn pool(
    x: &ArrayView3<'_, f32>,
    kernel: [usize; 2],
    strides: [usize; 2],
    max: bool,
) -> ArrayD<f32> {
    let (c, h, w) = x.dim();
    let out = [(h - kernel[0]) / strides[0] + 1, (w - kernel[1]) / strides[1] + 1];
    let start = if max { f32::NEG_INFINITY } else { 0.0 };
    let mut y = Array3::from_elem((c, out[0], out[1]), start);
    for (channel, mut plane) in y.outer_iter_mut().enumerate() {
        for tap in 0..kernel[0] * kernel[1] {
            let seen = shifted(x, channel, [tap / kernel[1], tap % kernel[1]], strides, out);
            plane.zip_mut_with(&seen, |a, b| *a = if max { a.max(*b) } else { *a + *b });
        }
    }
    if !max {
        y /= (kernel[0] * kernel[1]) as f32;
    }
    y.into_dyn()
}
