//! Images of another size.

use super::call::{Call, Outcome, Stop};
use super::dim::show;
use super::meaning::Meaning;
use super::real::Real;
use super::types::{Shape, Type};
use crate::onnx::{NodeProto, Operator};
use ndarray::{Array1, ArrayD, Axis, arr1};

/// The input sampled at other places, axis after axis: the nearest number, or a weighted mean of the 2 or
/// 4 around.
pub(super) fn resize<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(resized, sample).settings(&[1, 2, 3])
}

/// Where the scales stand among the inputs: since opset 11 a region of interest comes before.
pub fn scales_at(opset: i64) -> usize {
    if opset < 11 { 1 } else { 2 }
}

fn resized(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let x = call.shape(0)?;
    if call.node.text("keep_aspect_ratio_policy").is_some_and(|policy| policy != "stretch") {
        return Err(Stop::Unknown);
    }
    let list = |i: usize| -> Outcome<Option<Shape>> { Ok(call.list(i)?.filter(|list| !list.is_empty())) };
    let (scales, sizes) = (list(scales_at(call.opset))?, list(3)?);
    let told =
        scales.as_ref().or(sizes.as_ref()).ok_or_else(|| call.fail("neither scales nor sizes are given"))?;
    let axes = match call.node.ints("axes") {
        Some(axes) => axes.iter().map(|&a| call.axis(a, x.len())).collect::<Outcome<Vec<_>>>()?,
        None => (0..x.len()).collect(),
    };
    if told.len() != axes.len() {
        return Err(call.fail(format!("{} for {} axes of {}", show(told), axes.len(), show(x))));
    }
    let mut shape = x.to_vec();
    for (number, &axis) in told.iter().zip(&axes) {
        shape[axis] = if scales.is_some() { (&x[axis] * number).floor() } else { number.clone() };
    }
    Ok(vec![shape])
}

fn sample<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    if call.node.flag("antialias") || call.node.flag("exclude_outside") {
        return Err(call.fail("smooths or leaves out what lies outside, which is not evaluated here"));
    }
    let mut y = call.input(0)?.clone();
    if y.is_empty() {
        return Err(call.fail(format!("has nothing to sample in {:?}", y.shape())));
    }
    let scales = call.given(scales_at(call.opset)).filter(|s| s.len() == out.len());
    for (axis, &size) in out.iter().enumerate() {
        let side = y.len_of(Axis(axis));
        let scale = scales.and_then(|s| s.iter().nth(axis)?.number());
        if size == side && scale.is_none_or(|s| s == 1.0) {
            continue;
        }
        let line =
            Line { side: side as f64, size: size as f64, scale: scale.unwrap_or(size as f64 / side as f64) };
        y = line.sample(call, &y, Axis(axis))?;
    }
    Ok(y)
}

/// What each of `size` samples along an axis of a `Resize` takes of each number: `[numbers, size]`, found by sampling
/// unit vectors with the node itself. `scales` are what the node is told, where it is told any; `shape` is the input's.
///
/// # Errors
/// A node that tells its axes, samples in a way that is not known here, or does not give `size` samples.
pub fn sampling(
    (node, opset): (&NodeProto, i64),
    scales: Option<&[f64]>,
    shape: &[usize],
    axis: usize,
    size: usize,
) -> Result<ArrayD<f64>, String> {
    if node.ints("axes").is_some() {
        return Err("names its axes".into());
    }
    // The unit vectors lie along another axis, which stays as it is.
    let (mut node, side) = (node.clone(), shape[axis]);
    let scale = scales.filter(|s| s.len() == shape.len()).map(|s| s[axis]);
    let wide = ArrayD::from_shape_fn(vec![side, side], |i| f64::from(u8::from(i[0] == i[1])));
    let told = match scale {
        Some(scale) => arr1(&[1.0, scale]),
        None => arr1(&[side as f64, size as f64]),
    };
    let told = told.into_dyn();
    let place = if scale.is_some() { scales_at(opset) } else { 3 };
    node.input = vec![String::new(); place + 1];
    (node.input[0], node.input[place]) = ("x".into(), "told".into());
    let mut inputs: Vec<Option<&ArrayD<f64>>> = vec![None; place + 1];
    (inputs[0], inputs[place]) = (Some(&wide), Some(&told));
    let call = Call { node: &node, opset, integers: false, inputs: &inputs };
    let made = super::evaluate::<f64>(Operator::Resize, &call).map_err(|e| e.to_string())?;
    match made.into_iter().next() {
        Some(matrix) if matrix.shape() == [side, size] => Ok(matrix),
        _ => Err("samples another number of pixels than its scale tells".into()),
    }
}

/// One axis: its length before and after, and the factor between.
struct Line {
    side: f64,
    size: f64,
    scale: f64,
}

impl Line {
    fn sample<T: Real>(&self, call: &Call<ArrayD<T>>, x: &ArrayD<T>, axis: Axis) -> Outcome<ArrayD<T>> {
        let places =
            (0..self.size as usize).map(|i| self.place(call, i as f64)).collect::<Outcome<Vec<f64>>>()?;
        let mode = call.node.text("mode").unwrap_or("nearest");
        let taps: Vec<Vec<(f64, f64)>> = match mode {
            "nearest" => {
                places.iter().map(|&p| Ok(vec![(nearest(call, p)?, 1.0)])).collect::<Outcome<_>>()?
            }
            "linear" => places.iter().map(|&p| linear(p)).collect(),
            "cubic" => {
                let a = f64::from(call.node.float_or("cubic_coeff_a", -0.75));
                places.iter().map(|&p| cubic(p, a)).collect()
            }
            other => return Err(call.fail(format!("its mode {other:?} is not known here"))),
        };
        let count = taps.first().map_or(0, Vec::len);
        let mut total: Option<ArrayD<T>> = None;
        for tap in 0..count {
            let from: Vec<usize> =
                taps.iter().map(|t| t[tap].0.clamp(0.0, self.side - 1.0) as usize).collect();
            let part = x.select(axis, &from);
            if mode == "nearest" {
                return Ok(part);
            }
            let weights: Array1<T> = taps.iter().map(|t| T::of(t[tap].1)).collect();
            let mut along = vec![1; x.ndim()];
            along[axis.index()] = weights.len();
            let part = part * weights.into_shape_with_order(along).map_err(|e| call.fail(e))?;
            total = Some(match total {
                Some(sum) => sum + part,
                None => part,
            });
        }
        total.ok_or_else(|| call.fail("has no result"))
    }

    /// Where a place of the result lies in the input.
    fn place(&self, call: &Call<impl Sized>, i: f64) -> Outcome<f64> {
        let half = (i + 0.5) / self.scale - 0.5;
        Ok(match call.node.text("coordinate_transformation_mode").unwrap_or(default_mode(call.opset)) {
            "half_pixel" => half,
            "half_pixel_symmetric" => {
                let adjustment = self.size / (self.scale * self.side);
                self.side / 2.0 * (1.0 - adjustment) + half
            }
            "pytorch_half_pixel" if self.size > 1.0 => half,
            "align_corners" if self.size > 1.0 => i * (self.side - 1.0) / (self.size - 1.0),
            "pytorch_half_pixel" | "align_corners" => 0.0,
            "asymmetric" => i / self.scale,
            other => return Err(call.fail(format!("its coordinates {other:?} are not known here"))),
        })
    }
}

fn default_mode(opset: i64) -> &'static str {
    if opset < 11 { "asymmetric" } else { "half_pixel" }
}

fn nearest(call: &Call<impl Sized>, place: f64) -> Outcome<f64> {
    let default = if call.opset < 11 { "floor" } else { "round_prefer_floor" };
    Ok(match call.node.text("nearest_mode").unwrap_or(default) {
        "round_prefer_floor" => (place - 0.5).ceil(),
        "round_prefer_ceil" => (place + 0.5).floor(),
        "floor" => place.floor(),
        "ceil" => place.ceil(),
        other => return Err(call.fail(format!("its nearest_mode {other:?} is not known here"))),
    })
}

fn linear(place: f64) -> Vec<(f64, f64)> {
    let (low, share) = (place.floor(), place - place.floor());
    vec![(low, 1.0 - share), (low + 1.0, share)]
}

/// Keys' cubic convolution (1981).
fn cubic(place: f64, a: f64) -> Vec<(f64, f64)> {
    let (low, t) = (place.floor(), place - place.floor());
    let near = |d: f64| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    let far = |d: f64| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
    vec![(low - 1.0, far(1.0 + t)), (low, near(t)), (low + 1.0, near(1.0 - t)), (low + 2.0, far(2.0 - t))]
}
