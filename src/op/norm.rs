//! Normalisation: by statistics, by length, by exponentials.

use super::call::{Call, Outcome};
use super::dim::{Dim, show};
use super::meaning::{Meaning, like_first};
use super::real::Real;
use super::types::{Shape, Type};
use ndarray::{Array2, ArrayD, ArrayViewMut1, Axis};

/// `scale·(x − mean)/√(var + ε) + shift`, channel by channel, with given statistics.
pub(super) fn batch_normalization<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(batch_shapes, |call, _| {
        if call.node.flag("training_mode") {
            return Err(call.fail("is in training mode, which is not evaluated here"));
        }
        let [scale, shift, mean, variance] = [call.input(1)?, call.input(2)?, call.input(3)?, call.input(4)?];
        let epsilon = call.float("epsilon", 1e-5);
        let mut y = call.input(0)?.clone();
        for (c, mut channel) in y.axis_iter_mut(Axis(1)).enumerate() {
            let factor = scale[[c]] / (variance[[c]] + epsilon).sqrt();
            channel.mapv_inplace(|x| (x - mean[[c]]) * factor + shift[[c]]);
        }
        Ok(y)
    })
}

/// The same with the statistics of each image's channel.
pub(super) fn instance_normalization<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        per_channel(call, x, 1..3)?;
        Ok(vec![x.to_vec()])
    };
    Meaning::of_pictures(shape, |call, out| {
        let (scale, shift, epsilon) = (call.input(1)?, call.input(2)?, call.float("epsilon", 1e-5));
        let mut y = lines(call, out, 2)?;
        for (i, mut row) in y.outer_iter_mut().enumerate() {
            let c = i % out[1];
            standardise(&mut row, epsilon);
            row.mapv_inplace(|x| x * scale[[c]] + shift[[c]]);
        }
        call.refill(&y.into_dyn(), out)
    })
}

/// `scale·(x − mean)/√(var + ε) + shift` with the statistics of all axes from `axis` on.
pub(super) fn layer_normalization<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let axis = call.axis_or(-1, x.len())?;
        let mut statistics = x.to_vec();
        statistics[axis..].fill(Dim::Known(1.0));
        Ok(vec![x.to_vec(), statistics.clone(), statistics])
    };
    Meaning::of_pictures(shape, |call, out| {
        let (axis, epsilon) = (call.axis_or(-1, out.len())?, call.float("epsilon", 1e-5));
        let mut y = lines(call, out, axis)?;
        y.outer_iter_mut().for_each(|mut row| standardise(&mut row, epsilon));
        let mut y = call.refill(&y.into_dyn(), out)? * call.wide(1, out)?;
        if call.given(2).is_some() {
            y = y + call.wide(2, out)?;
        }
        Ok(y)
    })
}

/// The same with the statistics of groups of channels; scale and shift are one a group before opset 21, one a
/// channel since.
pub(super) fn group_normalization<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        let channels = per_channel(call, x, 0..0)?;
        let groups = call.node.int_or("num_groups", 0);
        match channels.size() {
            _ if groups < 1 => Err(call.fail(format!("has {groups} groups"))),
            Some(channels) if channels as i64 % groups != 0 => {
                Err(call.fail(format!("{channels} channels do not make {groups} groups")))
            }
            _ => Ok(vec![x.to_vec()]),
        }
    };
    Meaning::of_pictures(shape, |call, out| {
        let (scale, shift, epsilon) = (call.input(1)?, call.input(2)?, call.float("epsilon", 1e-5));
        let (groups, channels) = (call.node.int_or("num_groups", 1) as usize, out[1]);
        let numbers = if call.opset < 21 { groups } else { channels };
        if scale.shape() != [numbers] || shift.shape() != [numbers] {
            let why =
                format!("scale {:?} and shift {:?} are not {numbers} numbers", scale.shape(), shift.shape());
            return Err(call.fail(why));
        }
        let own = |c: usize| if call.opset < 21 { c * groups / channels } else { c };
        let grouped = [out[0] * groups, super::types::count(&out[1..]) / groups];
        let mut y = lines(call, &grouped, 1)?;
        y.outer_iter_mut().for_each(|mut row| standardise(&mut row, epsilon));
        let mut y = call.refill(&y.into_dyn(), out)?;
        for (c, mut channel) in y.axis_iter_mut(Axis(1)).enumerate() {
            channel.mapv_inplace(|x| x * scale[[own(c)]] + shift[[own(c)]]);
        }
        Ok(y)
    })
}

/// `x / (k + α/size · Σx²)^β` with the sum over neighbouring channels (Krizhevsky and others 2012).
pub(super) fn lrn<T: Real>() -> Meaning<T> {
    let shape = |call: &Call<Type>| {
        let x = call.shape(0)?;
        per_channel(call, x, 0..0)?;
        Ok(vec![x.to_vec()])
    };
    Meaning::of_pictures(shape, |call, _| {
        let x = call.input(0)?;
        let size = call.node.int_or("size", 1).clamp(1, i64::from(i32::MAX)) as usize;
        let (alpha, beta) = (call.float("alpha", 1e-4), call.float("beta", 0.75));
        let (bias, share) = (call.float("bias", 1.0), T::of(size as f64));
        let squares = x.mapv(|x| x * x);
        let channels = x.shape().get(1).copied().unwrap_or(0);
        let mut y = x.clone();
        for (c, mut channel) in y.axis_iter_mut(Axis(1)).enumerate() {
            let near = c.saturating_sub((size - 1) / 2)..(c + size / 2 + 1).min(channels);
            let sum = squares.slice_axis(Axis(1), near.into()).sum_axis(Axis(1));
            channel.zip_mut_with(&sum, |x, &sum| *x = *x / (bias + alpha / share * sum).powf(beta));
        }
        Ok(y)
    })
}

/// Divided by the length (or the sum of magnitudes) along an axis.
pub(super) fn lp_normalization<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(like_first::<1>, |call, _| {
        let mut y = call.input(0)?.clone();
        let axis = Axis(call.axis_or(-1, y.ndim())?);
        let manhattan = call.node.int_or("p", 2) == 1;
        for mut lane in y.lanes_mut(axis) {
            let length = match manhattan {
                true => lane.mapv(T::abs).sum(),
                false => lane.mapv(|x| x * x).sum().sqrt(),
            };
            lane.mapv_inplace(|x| if length == T::zero() { x } else { x / length });
        }
        Ok(y)
    })
}

/// `eˣ / Σ eˣ` along an axis.
pub(super) fn softmax<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(along_axis, |call, out| Ok(log_probabilities(call, out)?.mapv(T::exp)))
}

/// `x − ln Σ eˣ` along an axis.
pub(super) fn log_softmax<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(along_axis, log_probabilities)
}

fn along_axis(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let x = call.shape(0)?;
    call.axis_or(-1, x.len())?;
    Ok(vec![x.to_vec()])
}

fn log_probabilities<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    // Before opset 13 the axis parted the tensor into rows.
    if call.opset < 13 {
        let mut y = lines(call, out, call.axis_or(1, out.len())?)?;
        y.outer_iter_mut().for_each(to_log_probabilities);
        return call.refill(&y.into_dyn(), out);
    }
    let mut y = call.input(0)?.clone();
    let axis = Axis(call.axis_or(-1, out.len())?);
    y.lanes_mut(axis).into_iter().for_each(to_log_probabilities);
    Ok(y)
}

fn to_log_probabilities<T: Real>(mut lane: ArrayViewMut1<T>) {
    let top = lane.fold(T::neg_infinity(), |a, b| a.max(*b));
    lane.mapv_inplace(|x| x - top);
    let total = lane.mapv(T::exp).sum().ln();
    lane.mapv_inplace(|x| x - total);
}

/// The first input as a matrix: the axes from `axis` on make a row.
fn lines<T: Real>(call: &Call<ArrayD<T>>, out: &[usize], axis: usize) -> Outcome<Array2<T>> {
    let shape = (super::types::count(&out[..axis]), super::types::count(&out[axis..]));
    let x = call.input(0)?.to_shape(shape).map_err(|e| call.fail(e))?;
    Ok(x.into_owned())
}

/// To mean 0 and variance 1.
fn standardise<T: Real>(row: &mut ArrayViewMut1<T>, epsilon: T) {
    let count = T::of(row.len() as f64);
    let mean = row.sum() / count;
    row.mapv_inplace(|x| x - mean);
    let deviation = (row.mapv(|x| x * x).sum() / count + epsilon).sqrt();
    row.mapv_inplace(|x| x / deviation);
}

fn batch_shapes(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let x = call.shape(0)?;
    let channels = per_channel(call, x, 1..5)?;
    Ok([vec![x.to_vec()], vec![vec![channels]; 4]].concat())
}

/// The channels of an image, of which some inputs have one number each.
fn per_channel(call: &Call<Type>, x: &[Dim], inputs: std::ops::Range<usize>) -> Outcome<Dim> {
    let channels = x.get(1).ok_or_else(|| call.fail(format!("{} has no channels", show(x))))?;
    for i in inputs {
        let own = call.input(i)?.shape.as_deref();
        if let Some(own) = own.filter(|own| own.len() != 1 || !own[0].may_equal(channels)) {
            return Err(call.fail(format!("input {i} of shape {} for image {}", show(own), show(x))));
        }
    }
    Ok(channels.clone())
}
