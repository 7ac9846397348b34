//! Matrix products.

use super::call::{Call, Outcome};
use super::dim::{Dim, broadcast, product, show};
use super::meaning::{Meaning, Typing};
use super::real::Real;
use super::types::{Shape, Type};
use ndarray::{Array2, Array3, ArrayD, ArrayView2, Axis, Ix2, IxDyn};

/// Products of the matrices in the last two axes, those before broadcasting; a vector is a matrix with
/// one row (first input) or one column (second), which the result lacks.
pub(super) fn matmul<T: Real>() -> Meaning<T> {
    Meaning::one(matmul_shape, multiply)
        .typed(Typing::Alike)
        .products(|call, out| Ok(&product(out) * call.shape(0)?.last().unwrap_or(&Dim::Unknown)))
}

/// `α·a′·b′ + β·c` of matrices, each transposed where asked; `c` broadcasts to the result.
pub(super) fn gemm<T: Real>() -> Meaning<T> {
    Meaning::one(gemm_shape, multiply_and_add).typed(Typing::Alike).products(|call, out| {
        let b = call.shape(1)?;
        let inner = b.get(usize::from(call.node.flag("transB")));
        Ok(&product(out) * inner.unwrap_or(&Dim::Unknown))
    })
}

fn matmul_shape(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let (a, b) = (call.shape(0)?, call.shape(1)?);
    let misfit = || call.fail(format!("shapes {} and {}", show(a), show(b)));
    let (Some((inner, rows)), Some(last)) = (a.split_last(), b.last()) else { return Err(misfit()) };
    let (lead_a, rows) = match rows.split_last() {
        Some((row, lead)) => (lead, Some(row)),
        None => (rows, None),
    };
    let (lead_b, inner_b, columns) = match b {
        [inner_b] => (&b[..0], inner_b, None),
        _ => (&b[..b.len() - 2], &b[b.len() - 2], Some(last)),
    };
    if !inner.may_equal(inner_b) {
        return Err(misfit());
    }
    let mut shape = broadcast(&[lead_a, lead_b]).ok_or_else(misfit)?;
    shape.extend(rows.into_iter().chain(columns).cloned());
    Ok(vec![shape])
}

fn multiply<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let mut a = call.input(0)?.view();
    let mut b = call.input(1)?.view();
    let mut full = out.to_vec();
    if a.ndim() == 1 {
        a = a.insert_axis(Axis(0));
        full.insert(out.len() + 1 - b.ndim().min(2), 1);
    }
    if b.ndim() == 1 {
        b = b.insert_axis(Axis(1));
        full.push(1);
    }
    let lead = &full[..full.len() - 2];
    let matrices = |m: &ndarray::ArrayViewD<T>| -> Option<Array3<T>> {
        let own = &m.shape()[m.ndim() - 2..];
        let count = lead.iter().product::<usize>();
        let wide = m.broadcast(IxDyn(&[lead, own].concat()))?;
        Some(wide.to_shape((count, own[0], own[1])).ok()?.into_owned())
    };
    let misfit = || call.fail(format!("shapes {:?} and {:?}", a.shape(), b.shape()));
    let (x, y) = (matrices(&a).ok_or_else(misfit)?, matrices(&b).ok_or_else(misfit)?);
    let products: Vec<Array2<T>> = x.outer_iter().zip(y.outer_iter()).map(|(x, y)| x.dot(&y)).collect();
    let flat = products.iter().flat_map(|p| p.iter().copied()).collect();
    call.shaped(out, flat)
}

fn gemm_shape(call: &Call<Type>) -> Outcome<Vec<Shape>> {
    let (a, b) = (call.shape(0)?, call.shape(1)?);
    let turned = |name: &str| call.node.flag(name);
    let misfit = || {
        let (a, b) = (show(a), show(b));
        call.fail(format!(
            "matrices {a} (transposed: {}) and {b} (transposed: {})",
            turned("transA"),
            turned("transB")
        ))
    };
    let ([a0, a1], [b0, b1]) = (a, b) else { return Err(misfit()) };
    let (rows, inner) = if turned("transA") { (a1, a0) } else { (a0, a1) };
    let (inner_b, columns) = if turned("transB") { (b1, b0) } else { (b0, b1) };
    if !inner.may_equal(inner_b) {
        return Err(misfit());
    }
    let shape = vec![rows.clone(), columns.clone()];
    if let Some(c) = call.given(2).and_then(|c| c.shape.as_deref()) {
        let wide = broadcast(&[&shape, c]).filter(|w| w.iter().zip(&shape).all(|(w, s)| w.may_equal(s)));
        if c.len() > 2 || wide.is_none() {
            return Err(call.fail(format!("the bias {} does not broadcast to {}", show(c), show(&shape))));
        }
    }
    Ok(vec![shape])
}

fn multiply_and_add<T: Real>(call: &Call<ArrayD<T>>, out: &[usize]) -> Outcome<ArrayD<T>> {
    let (a, b) = (matrix(call, 0, "transA")?, matrix(call, 1, "transB")?);
    // Of one row, each number is a product of two vectors: exports of exact towers rest on its bits.
    let mut y = match a.nrows() {
        1 => b.t().dot(&a.row(0)).insert_axis(Axis(0)).into_dyn(),
        _ => a.dot(&b).into_dyn(),
    };
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    if alpha != T::one() {
        y.mapv_inplace(|y| alpha * y);
    }
    if call.given(2).is_some() {
        y.zip_mut_with(&call.wide(2, out)?, |y, c| *y += beta * *c);
    }
    Ok(y)
}

fn matrix<'a, T: Real>(call: &Call<'a, ArrayD<T>>, i: usize, turn: &str) -> Outcome<ArrayView2<'a, T>> {
    let m = call.input(i)?.view().into_dimensionality::<Ix2>().map_err(|e| call.fail(e))?;
    Ok(if call.node.flag(turn) { m.reversed_axes() } else { m })
}
