//! Pools: one number for each window, or for a whole image.

use super::call::{Call, Outcome};
use super::dim::{Dim, show};
use super::meaning::{Meaning, Typing, like_first};
use super::real::Real;
use super::reduce;
use super::types::{Shape, Type};
use super::window::{Slide, Window, kernel};
use crate::onnx::DType;
use ndarray::{Array4, ArrayD, ArrayView2, ArrayViewMut2, Axis, Ix4, s};

/// The greatest number of each window, and where it was.
pub(super) fn max_pool<T: Real>() -> Meaning<T> {
    let dtype = |call: &Call<Type>, result| match result {
        0 => call.given(0)?.dtype,
        _ => Some(DType::I64),
    };
    Meaning::of_pictures(
        |call| pooled(call).map(|shape| vec![shape; 2]),
        |call, out| {
            let greater = |a: T, b: T| if b > a || b.is_nan() { b } else { a };
            Ok(over_windows(call, out, T::neg_infinity(), greater)?.0.into_dyn())
        },
    )
    .typed(Typing::By(dtype))
}

/// The mean of each window; whether zeros beside the image count is told by the node.
pub(super) fn average_pool<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(
        |call| pooled(call).map(|shape| vec![shape]),
        |call, out| {
            let (mut y, slides, sides) = over_windows(call, out, T::zero(), |a, b| a + b)?;
            let padded = call.node.flag("count_include_pad");
            let counts = |axis: usize| -> Vec<usize> {
                (0..out[axis + 2]).map(|place| slides[axis].covered(place, sides[axis], padded)).collect()
            };
            let (rows, cells) = (counts(0), counts(1));
            for ((_, _, p, q), sum) in y.indexed_iter_mut() {
                *sum = *sum / T::of((rows[p] * cells[q]) as f64);
            }
            Ok(y.into_dyn())
        },
    )
}

/// The mean of each channel.
pub(super) fn global_average_pool<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(whole, |call, out| {
        let x = call.input(0)?;
        reduce::rows(call, x, &space(x.ndim()), out, |row| row.sum() / T::of(row.len() as f64))
    })
}

/// The greatest number of each channel.
pub(super) fn global_max_pool<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(whole, |call, out| {
        let x = call.input(0)?;
        reduce::rows(call, x, &space(x.ndim()), out, |row| row.fold(T::neg_infinity(), |a, b| a.max(*b)))
    })
}

fn space(rank: usize) -> Vec<usize> {
    (2..rank).collect()
}

fn whole(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let mut shapes = like_first::<1>(call)?;
    shapes.iter_mut().flat_map(|shape| shape.iter_mut().skip(2)).for_each(|d| *d = Dim::Known(1.0));
    Ok(shapes)
}

fn pooled(call: &Call<Type>) -> Outcome<Shape> {
    let x = call.shape(0)?;
    let kernel = kernel(call, None)?;
    if x.len() != kernel.len() + 2 {
        return Err(call.fail(format!("a window {kernel:?} over {}", show(x))));
    }
    let places = Window::of(call, &kernel)?.places(call, &x[2..])?;
    Ok([&x[..2], &places].concat())
}

/// Folds what each window sees, tap after tap; gives the windows and the sides of the image too.
fn over_windows<T: Real>(
    call: &Call<ArrayD<T>>,
    out: &[usize],
    start: T,
    f: impl Fn(T, T) -> T,
) -> Outcome<(Array4<T>, [Slide; 2], [usize; 2])> {
    let misfit = || call.fail("is evaluated of images [N, C, H, W] alone");
    let x = call.input(0)?.view().into_dimensionality::<Ix4>().map_err(|_| misfit())?;
    let (n, c, h, w) = x.dim();
    let kernel = call.sizes("kernel_shape", 1)?.unwrap_or_default();
    let slides = Window::of(call, &kernel)?.fitted(&[h, w]).pair(call)?;
    let &[.., oh, ow] = out else { return Err(misfit()) };
    let mut y = Array4::from_elem((n, c, oh, ow), start);
    for (from, mut to) in x.outer_iter().zip(y.outer_iter_mut()) {
        for (from, to) in from.outer_iter().zip(to.outer_iter_mut()) {
            over_plane(&from, to, &slides, &f);
        }
    }
    Ok((y, slides, [h, w]))
}

fn over_plane<T: Real>(
    x: &ArrayView2<T>,
    mut y: ArrayViewMut2<T>,
    [down, across]: &[Slide; 2],
    f: &impl Fn(T, T) -> T,
) {
    let ((h, w), (oh, ow)) = (x.dim(), y.dim());
    for i in 0..down.taps {
        for j in 0..across.taps {
            let (Some(rows), Some(cells)) = (down.seen(i, h, oh), across.seen(j, w, ow)) else { continue };
            let seen = x.slice_axis(Axis(0), rows.1);
            let seen = seen.slice_axis(Axis(1), cells.1);
            y.slice_mut(s![rows.0, cells.0]).zip_mut_with(&seen, |a, b| *a = f(*a, *b));
        }
    }
}
