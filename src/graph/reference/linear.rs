//! Matrix products, convolutions, pooling, normalisation.

use super::elementwise::both;
use super::{Op, Results};
use crate::Result;
use ndarray::{Array2, Array4, ArrayD, Axis, Ix2, Ix4, IxDyn, s};

pub(super) fn run(op: &Op) -> Results {
    Ok(Some(vec![match op.kind() {
        "MatMul" => matmul(op, op.input(0)?, op.input(1)?)?,
        "Gemm" => gemm(op)?,
        "Conv" => conv(op)?,
        "ConvTranspose" => conv_transpose(op)?,
        "MaxPool" | "AveragePool" => pool(op)?,
        "BatchNormalization" => batch_normalisation(op)?,
        "Resize" => nearest(op)?,
        _ => return Ok(None),
    }]))
}

fn matmul(op: &Op, a: &ArrayD<f64>, b: &ArrayD<f64>) -> Result<ArrayD<f64>> {
    let misfit = || op.fail(format!("shapes {:?} and {:?}", a.shape(), b.shape()));
    if a.ndim() < 2 || b.ndim() < 2 || a.shape()[a.ndim() - 1] != b.shape()[b.ndim() - 2] {
        return Err(misfit());
    }
    let (ra, rb) = (a.ndim() - 2, b.ndim() - 2);
    let lead = crate::graph::builder::broadcast(&[&a.shape()[..ra], &b.shape()[..rb]]).ok_or_else(misfit)?;
    let wide = |v: &ArrayD<f64>, r: usize| -> Option<ndarray::Array3<f64>> {
        let shape = [&lead[..], &v.shape()[r..]].concat();
        let count = lead.iter().product::<usize>();
        let full = v.broadcast(IxDyn(&shape))?;
        Some(full.to_shape((count, v.shape()[r], v.shape()[r + 1])).ok()?.into_owned())
    };
    let (x, y) = (wide(a, ra).ok_or_else(misfit)?, wide(b, rb).ok_or_else(misfit)?);
    let products: Vec<Array2<f64>> = x.outer_iter().zip(y.outer_iter()).map(|(x, y)| x.dot(&y)).collect();
    let shape = [&lead[..], &[a.shape()[ra], b.shape()[rb + 1]]].concat();
    let flat = products.iter().flat_map(|p| p.iter().copied()).collect();
    ArrayD::from_shape_vec(IxDyn(&shape), flat).map_err(|e| op.fail(e))
}

fn gemm(op: &Op) -> Result<ArrayD<f64>> {
    let matrix = |i: usize, turn: &str| -> Result<Array2<f64>> {
        let m = op.input(i)?.clone().into_dimensionality::<Ix2>().map_err(|e| op.fail(e))?;
        Ok(if op.int(turn, 0) == 1 { m.reversed_axes() } else { m })
    };
    let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
    if a.ncols() != b.nrows() {
        return Err(op.fail(format!("matrices {:?} and {:?}", a.dim(), b.dim())));
    }
    let product = (a.dot(&b) * op.float("alpha", 1.0)).into_dyn();
    match op.given(2) {
        Some(c) => both(op, &product, c, |p, c| p + op.float("beta", 1.0) * c),
        None => Ok(product),
    }
}

/// Geometry of a sliding window.
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Before H, before W, after H, after W.
    pads: [usize; 4],
}

impl Window {
    fn of(op: &Op, kernel: [usize; 2], image: [usize; 2]) -> Result<Self> {
        let pair = |name: &str, default: [usize; 2]| -> Result<[usize; 2]> {
            op.sizes(name, &default)?.try_into().map_err(|_| op.fail(format!("{name} must have 2 numbers")))
        };
        let pads = op.sizes("pads", &[0; 4])?;
        let mut window = Self {
            kernel,
            strides: pair("strides", [1; 2])?,
            dilations: pair("dilations", [1; 2])?,
            pads: pads.try_into().map_err(|_| op.fail("pads must have 4 numbers"))?,
        };
        match op.text("auto_pad").as_deref() {
            None | Some("NOTSET" | "") => {}
            Some("VALID") => window.pads = [0; 4],
            Some(same) => window.pads = window.same(image, same == "SAME_UPPER"),
        }
        Ok(window)
    }

    fn same(&self, image: [usize; 2], upper: bool) -> [usize; 4] {
        let mut pads = [0; 4];
        for axis in 0..2 {
            let reach =
                (image[axis].div_ceil(self.strides[axis]) - 1) * self.strides[axis] + self.extent(axis);
            let total = reach.saturating_sub(image[axis]);
            let (small, large) = (total / 2, total - total / 2);
            (pads[axis], pads[axis + 2]) = if upper { (small, large) } else { (large, small) };
        }
        pads
    }

    fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis] - 1) + 1
    }

    fn places(&self, op: &Op, image: [usize; 2]) -> Result<[usize; 2]> {
        let mut places = [0; 2];
        for axis in 0..2 {
            let room = (image[axis] + self.pads[axis] + self.pads[axis + 2]).checked_sub(self.extent(axis));
            let room = room.ok_or_else(|| op.fail("the window is larger than the image"))?;
            let up = if op.int("ceil_mode", 0) == 1 { self.strides[axis] - 1 } else { 0 };
            places[axis] = (room + up) / self.strides[axis] + 1;
        }
        Ok(places)
    }

    /// Where tap `k` of place `p` lies in the image, if inside.
    fn at(&self, axis: usize, p: usize, k: usize, side: usize) -> Option<usize> {
        (p * self.strides[axis] + k * self.dilations[axis]).checked_sub(self.pads[axis]).filter(|&i| i < side)
    }
}

fn four<'a>(op: &Op<'a>, i: usize) -> Result<ndarray::ArrayView4<'a, f64>> {
    op.input(i)?.view().into_dimensionality::<Ix4>().map_err(|e| op.fail(format!("input {i}: {e}")))
}

fn conv(op: &Op) -> Result<ArrayD<f64>> {
    let (x, w) = (four(op, 0)?, four(op, 1)?);
    let (n, channels, h, width) = x.dim();
    let (filters, inner, kh, kw) = w.dim();
    let groups = op.int("group", 1).max(1) as usize;
    if inner * groups != channels || filters % groups != 0 {
        return Err(op.fail(format!("kernel {:?} on image {:?}", w.shape(), x.shape())));
    }
    let window = Window::of(op, [kh, kw], [h, width])?;
    let [oh, ow] = window.places(op, [h, width])?;
    let mut y = Array4::zeros((n, filters, oh, ow));
    let own = filters / groups;
    for image in 0..n {
        for group in 0..groups {
            let source = x.slice(s![image, group * inner..(group + 1) * inner, .., ..]);
            let mut columns = Array2::zeros((inner * kh * kw, oh * ow));
            for ((row, place), value) in columns.indexed_iter_mut() {
                let (c, i, j) = (row / (kh * kw), row / kw % kh, row % kw);
                let (r, q) = (window.at(0, place / ow, i, h), window.at(1, place % ow, j, width));
                *value = r.zip(q).map_or(0.0, |(r, q)| source[[c, r, q]]);
            }
            let kernel = w.slice(s![group * own..(group + 1) * own, .., .., ..]).to_owned();
            let kernel = kernel.into_shape_with_order((own, inner * kh * kw)).map_err(|e| op.fail(e))?;
            let product =
                kernel.dot(&columns).into_shape_with_order((own, oh, ow)).map_err(|e| op.fail(e))?;
            y.slice_mut(s![image, group * own..(group + 1) * own, .., ..]).assign(&product);
        }
    }
    with_bias(op, y)
}

fn with_bias(op: &Op, mut y: Array4<f64>) -> Result<ArrayD<f64>> {
    if let Some(bias) = op.given(2) {
        for (mut channel, b) in y.axis_iter_mut(Axis(1)).zip(bias) {
            channel += *b;
        }
    }
    Ok(y.into_dyn())
}

fn conv_transpose(op: &Op) -> Result<ArrayD<f64>> {
    let (x, w) = (four(op, 0)?, four(op, 1)?);
    let (n, filters, h, width) = x.dim();
    let (taken, inner, kh, kw) = w.dim();
    let groups = op.int("group", 1).max(1) as usize;
    if taken != filters {
        return Err(op.fail(format!("kernel {:?} on image {:?}", w.shape(), x.shape())));
    }
    let window = Window::of(op, [kh, kw], [h, width])?;
    let extra = op.sizes("output_padding", &[0, 0])?;
    let side = |axis: usize, places: usize| {
        window.strides[axis] * (places - 1) + extra[axis] + window.extent(axis)
            - window.pads[axis]
            - window.pads[axis + 2]
    };
    let (oh, ow) = (side(0, h), side(1, width));
    let own = filters / groups;
    let mut y = Array4::zeros((n, inner * groups, oh, ow));
    for ((image, f, p, q), value) in x.indexed_iter() {
        for ((c, i, j), weight) in w.index_axis(Axis(0), f).indexed_iter() {
            if let (Some(r), Some(k)) = (window.at(0, p, i, oh), window.at(1, q, j, ow)) {
                y[[image, f / own * inner + c, r, k]] += value * weight;
            }
        }
    }
    with_bias(op, y)
}

fn pool(op: &Op) -> Result<ArrayD<f64>> {
    let x = four(op, 0)?;
    let (n, c, h, w) = x.dim();
    let kernel = op.sizes("kernel_shape", &[])?;
    let kernel: [usize; 2] = kernel.try_into().map_err(|_| op.fail("kernel_shape must have 2 numbers"))?;
    let window = Window::of(op, kernel, [h, w])?;
    let [oh, ow] = window.places(op, [h, w])?;
    let (max, whole) = (op.kind() == "MaxPool", op.int("count_include_pad", 0) == 1);
    let y = Array4::from_shape_fn((n, c, oh, ow), |(n, c, p, q)| {
        let rows = (0..kernel[0]).filter_map(|i| window.at(0, p, i, h));
        let seen = rows
            .flat_map(|r| (0..kernel[1]).map(move |j| (r, j)))
            .filter_map(|(r, j)| window.at(1, q, j, w).map(|k| x[[n, c, r, k]]));
        if max {
            return seen.fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a });
        }
        let (count, sum) = seen.fold((0, 0.0), |(count, sum), v| (count + 1, sum + v));
        sum / if whole { (kernel[0] * kernel[1]) as f64 } else { f64::from(count) }
    });
    Ok(y.into_dyn())
}

/// Inference: with the running statistics.
fn batch_normalisation(op: &Op) -> Result<ArrayD<f64>> {
    let mut y = op.input(0)?.clone();
    let [scale, shift, mean, variance] = [op.input(1)?, op.input(2)?, op.input(3)?, op.input(4)?];
    let epsilon = op.float("epsilon", 1e-5);
    for (c, mut channel) in y.axis_iter_mut(Axis(1)).enumerate() {
        let factor = scale[[c]] / (variance[[c]] + epsilon).sqrt();
        channel.mapv_inplace(|x| (x - mean[[c]]) * factor + shift[[c]]);
    }
    Ok(y)
}

/// `Resize` by whole factors, nearest neighbour.
fn nearest(op: &Op) -> Result<ArrayD<f64>> {
    let x = four(op, 0)?;
    let scales =
        op.given(2).filter(|s| s.len() == 4).ok_or_else(|| op.fail("only given scales are known"))?;
    let factor = |axis: usize| scales[[axis]] as usize;
    let whole = scales.iter().all(|s| *s >= 1.0 && s.fract() == 0.0) && factor(0) == 1 && factor(1) == 1;
    if op.text("mode").as_deref().unwrap_or("nearest") != "nearest" || !whole {
        return Err(op.fail("only repetition by whole factors is known"));
    }
    let (n, c, h, w) = x.dim();
    let y = Array4::from_shape_fn((n, c, h * factor(2), w * factor(3)), |(n, c, p, q)| {
        x[[n, c, p / factor(2), q / factor(3)]]
    });
    Ok(y.into_dyn())
}
