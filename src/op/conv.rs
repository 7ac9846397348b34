//! Convolutions.

use super::call::{Call, Outcome};
use super::dim::{Dim, product, show};
use super::meaning::{Meaning, Typing};
use super::real::Real;
use super::types::{Shape, Type};
use super::window::{Slide, Window, kernel};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array4, ArrayD, ArrayView3, ArrayView4, ArrayViewMut3, Axis, Ix4, s};

/// Convolution of `x: [N, C, …]` with `w: [F, C/groups, …]` and a bias `[F]`.
pub(super) fn conv<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(conv_shape, convolve)
        .typed(Typing::Alike)
        .products(|call, out| Ok(&product(out) * &of_filter(call)?))
}

/// The transposed convolution of `x: [N, F, …]` with `w: [F, C/groups, …]` and a bias `[C]`.
pub(super) fn conv_transpose<T: Real>() -> Meaning<T> {
    Meaning::of_pictures(transposed_shape, convolve_transposed)
        .typed(Typing::Alike)
        .products(|call, _| Ok(&product(call.shape(0)?) * &of_filter(call)?))
}

/// Weights of one filter.
fn of_filter(call: &Call<Type>) -> Outcome<Dim> {
    Ok(product(call.shape(1)?.get(1..).unwrap_or_default()))
}

fn groups<I>(call: &Call<I>) -> Outcome<usize> {
    match call.node.int_or("group", 1) {
        groups @ 1..=0xffff_ffff => Ok(groups as usize),
        groups => Err(call.fail(format!("has {groups} groups"))),
    }
}

/// Shapes of image and weight, which have as many axes.
fn operands<'a>(call: &Call<'a, Type>) -> Outcome<(&'a [Dim], &'a [Dim])> {
    let (x, w) = (call.shape(0)?, call.shape(1)?);
    match x.len() > 2 && x.len() == w.len() {
        true => Ok((x, w)),
        false => Err(misfit(call, x, w)),
    }
}

fn misfit<I>(call: &Call<I>, x: &[Dim], w: &[Dim]) -> super::call::Stop {
    call.fail(format!("kernel {} on image {}", show(w), show(x)))
}

fn check_bias(call: &Call<Type>, channels: &Dim) -> Outcome<()> {
    let bias = call.given(2).and_then(|bias| bias.shape.as_deref());
    match bias.filter(|b| b.len() != 1 || !b[0].may_equal(channels)) {
        Some(bias) => Err(call.fail(format!("bias {} for {channels} channels", show(bias)))),
        None => Ok(()),
    }
}

fn conv_shape(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let (x, w) = operands(call)?;
    let groups = Dim::from(groups(call)?);
    let uneven = w[0].number().zip(groups.number()).is_some_and(|(f, g)| f % g != 0.0);
    if uneven || !x[1].may_equal(&(&w[1] * &groups)) {
        return Err(misfit(call, x, w));
    }
    check_bias(call, &w[0])?;
    let window = window(call, x, w)?;
    Ok(vec![[&[x[0].clone(), w[0].clone()], window.places(call, &x[2..])?.as_slice()].concat()])
}

fn window(call: &Call<Type>, x: &[Dim], w: &[Dim]) -> Outcome<Window> {
    let kernel = kernel(call, Some(w))?;
    let told =
        kernel.len() == w.len() - 2 && kernel.iter().zip(&w[2..]).all(|(k, d)| d.may_equal(&(*k).into()));
    if told { Window::of(call, &kernel) } else { Err(misfit(call, x, w)) }
}

fn transposed_shape(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let (x, w) = operands(call)?;
    let groups = groups(call)?;
    if !x[1].may_equal(&w[0]) || w[0].number().is_some_and(|f| f % groups as f64 != 0.0) {
        return Err(misfit(call, x, w));
    }
    let channels = &w[1] * &groups.into();
    check_bias(call, &channels)?;
    let window = window(call, x, w)?;
    let extra = output_padding(call, window.slides.len())?;
    let sides = match call.sizes("output_shape", 1)? {
        Some(told) => {
            told[told.len().saturating_sub(window.slides.len())..].iter().map(|&d| d.into()).collect()
        }
        None => window.transposed(&x[2..], &extra),
    };
    if sides.len() != extra.len() || sides.iter().any(|d| d.number().is_some_and(|d| d < 1.0)) {
        return Err(call.fail(format!("its result would be {}", show(&sides))));
    }
    Ok(vec![[&[x[0].clone(), channels], sides.as_slice()].concat()])
}

fn output_padding<I>(call: &Call<I>, rank: usize) -> Outcome<Vec<usize>> {
    let extra = call.sizes("output_padding", 0)?.unwrap_or_else(|| vec![0; rank]);
    match extra.len() == rank {
        true => Ok(extra),
        false => Err(call.fail(format!("its output_padding {extra:?} is not for {rank} axes"))),
    }
}

fn four<'a, T: Real>(call: &Call<'a, ArrayD<T>>, i: usize) -> Outcome<ArrayView4<'a, T>> {
    let misfit = |_| call.fail("is evaluated of images [N, C, H, W] alone");
    call.input(i)?.view().into_dimensionality::<Ix4>().map_err(misfit)
}

/// One matrix product an image and group, over columns of what each place of the kernel sees.
fn convolve<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let (x, w) = (four(call, 0)?, four(call, 1)?);
    let (n, _, h, width) = x.dim();
    let (filters, inner, kh, kw) = w.dim();
    let slides = Window::of(call, &[kh, kw])?.fitted(&[h, width]).pair(call)?;
    let &[.., oh, ow] = out else { return Err(call.fail("has no image as its result")) };
    let (groups, taps) = (groups(call)?, inner * kh * kw);
    let own = filters / groups;
    let kernel = w.to_shape((filters, taps)).map_err(|e| call.fail(e))?;
    let mut y = Array2::zeros((n * filters, oh * ow));
    check_columns(call, &[taps, oh, ow])?;
    let mut columns = Array2::zeros((taps, oh * ow));
    for image in 0..n {
        for group in 0..groups {
            let source = x.slice(s![image, group * inner..(group + 1) * inner, .., ..]);
            fill_columns(&mut columns, &source, &slides, [oh, ow]);
            let weights = kernel.slice(s![group * own..(group + 1) * own, ..]);
            let first = image * filters + group * own;
            general_mat_mul(
                T::one(),
                &weights,
                &columns,
                T::zero(),
                &mut y.slice_mut(s![first..first + own, ..]),
            );
        }
    }
    let y = y.into_shape_with_order((n, filters, oh, ow)).map_err(|e| call.fail(e))?;
    Ok(with_bias(call, y))
}

/// Whether the columns of one image and group can be held.
fn check_columns<I>(call: &Call<I>, shape: &[usize; 3]) -> Outcome<()> {
    match super::types::span(shape) > super::LARGEST_RESULT {
        true => Err(call.fail(format!("its columns {shape:?} are too large to be computed here"))),
        false => Ok(()),
    }
}

/// What each tap sees at each place: `[C·kH·kW, H′·W′]`; 0 beside the image.
fn fill_columns<T: Real>(columns: &mut Array2<T>, x: &ArrayView3<T>, slides: &[Slide; 2], out: [usize; 2]) {
    let (channels, h, w) = x.dim();
    let [down, across] = slides;
    let padded = slides.iter().any(|s| s.pads != [0, 0]);
    if padded {
        columns.fill(T::zero());
    }
    let mut rows = columns.outer_iter_mut();
    for channel in 0..channels {
        for i in 0..down.taps {
            for j in 0..across.taps {
                let Some(row) = rows.next() else { return };
                let (Some(y), Some(x_)) = (down.seen(i, h, out[0]), across.seen(j, w, out[1])) else {
                    continue;
                };
                let seen = x.index_axis(Axis(0), channel);
                let seen = seen.slice_axis(Axis(0), y.1);
                let seen = seen.slice_axis(Axis(1), x_.1);
                let Ok(mut places) = row.into_shape_with_order((out[0], out[1])) else { continue };
                places.slice_mut(s![y.0, x_.0]).assign(&seen);
            }
        }
    }
}

fn with_bias<T: Real>(call: &Call<ArrayD<T>>, mut y: Array4<T>) -> ArrayD<T> {
    if let Some(bias) = call.given(2) {
        for mut image in y.outer_iter_mut() {
            for (mut channel, b) in image.outer_iter_mut().zip(bias) {
                channel += *b;
            }
        }
    }
    y.into_dyn()
}

/// The transposed walk of [`convolve`]: columns by a product, then each is added to what it saw.
fn convolve_transposed<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let (x, w) = (four(call, 0)?, four(call, 1)?);
    let (n, filters, h, width) = x.dim();
    let (_, inner, kh, kw) = w.dim();
    let &[_, channels, oh, ow] = out else { return Err(call.fail("has no image as its result")) };
    let window = Window::of(call, &[kh, kw])?.cut_to(&[h, width], &[oh, ow], &output_padding(call, 2)?);
    let slides = window.pair(call)?;
    let (groups, taps) = (groups(call)?, inner * kh * kw);
    let own = filters / groups;
    let kernel = w.to_shape((filters, taps)).map_err(|e| call.fail(e))?;
    let places = x.to_shape((n, filters, h * width)).map_err(|e| call.fail(e))?;
    check_columns(call, &[taps, h, width])?;
    let mut y = Array4::zeros((n, channels, oh, ow));
    for image in 0..n {
        for group in 0..groups {
            let of_group = group * own..(group + 1) * own;
            let columns =
                kernel.slice(s![of_group.clone(), ..]).t().dot(&places.slice(s![image, of_group, ..]));
            let target = y.slice_mut(s![image, group * inner..(group + 1) * inner, .., ..]);
            add_columns(target, &columns, &slides, [h, width]);
        }
    }
    Ok(with_bias(call, y))
}

fn add_columns<T: Real>(
    mut y: ArrayViewMut3<T>,
    columns: &Array2<T>,
    slides: &[Slide; 2],
    places: [usize; 2],
) {
    let (_, h, w) = y.dim();
    let [down, across] = slides;
    let taps = down.taps * across.taps;
    for (row, line) in columns.outer_iter().enumerate() {
        let (channel, i, j) = (row / taps, row / across.taps % down.taps, row % across.taps);
        let (Some(rows), Some(cells)) = (down.seen(i, h, places[0]), across.seen(j, w, places[1])) else {
            continue;
        };
        let Ok(line) = line.to_shape((places[0], places[1])) else { continue };
        let mut seen = y.index_axis_mut(Axis(0), channel);
        let mut seen = seen.slice_axis_mut(Axis(0), rows.1);
        let mut seen = seen.slice_axis_mut(Axis(1), cells.1);
        seen += &line.slice(s![rows.0, cells.0]);
    }
}
