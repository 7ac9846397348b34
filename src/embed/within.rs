//! Within-class covariance of embeddings, and the matrix that makes it round.
//!
//! Hatch, Kajarekar, Stolcke 2006, "Within-class covariance normalization for SVM-based speaker
//! recognition": directions in which drawings of one class differ say little about the class, so they are
//! made to count less. With W the covariance of embeddings about their classes' means, smoothed by a share of
//! its mean variance, an embedding is multiplied by M with `MᵀM ∝ W⁻¹`.

use ndarray::{Array2, ArrayView2, Axis, s};

/// The covariance of rows `[N, D]` about the means of their classes; none where no class has two.
pub fn within_class(mut rows: Array2<f64>, classes: &[Vec<usize>]) -> Option<Array2<f64>> {
    let mut freedom = 0;
    for members in classes.iter().filter(|m| !m.is_empty()) {
        let mean = rows.select(Axis(0), members).mean_axis(Axis(0))?;
        for &i in members {
            let mut row = rows.row_mut(i);
            row -= &mean;
        }
        freedom += members.len() - 1;
    }
    (freedom > 0).then(|| rows.t().dot(&rows) / freedom as f64)
}

/// M of a covariance: the inverse of its Cholesky factor once it is smoothed, at a scale that leaves the
/// mean variance as it is. None where it is no covariance of anything.
pub fn rounding_matrix(mut within: Array2<f64>, smoothing: f64) -> Option<Array2<f64>> {
    let mean = within.diag().mean().filter(|&m| m.is_normal())?;
    within.diag_mut().map_inplace(|v| *v += smoothing * mean);
    let mut inverse = inverse_of_lower(cholesky(within.view())?.view());
    inverse *= ((1.0 + smoothing) * mean).sqrt();
    Some(inverse)
}

/// The matrix that makes a direction count by how far classes differ in it: M with `MᵀM = B·(B + w)⁻¹`, B the
/// covariance of classes' means and w the variance within classes, the same in every direction. That is how far the mean
/// of a class is told by one picture of it (Ioffe 2006, "Probabilistic Linear Discriminant Analysis"; Prince, Elder
/// 2007). None where they are no covariances.
pub fn telling_matrix(mut between: Array2<f64>, within: f64) -> Option<Array2<f64>> {
    if !within.is_normal() {
        return None;
    }
    between.diag_mut().map_inplace(|v| *v += within);
    // B·(B + w)⁻¹ = 1 − w·(B + w)⁻¹; what classes do not differ in at all is left a trace, so that it has a root.
    let inverse = inverse_of_lower(cholesky(between.view())?.view());
    let mut share = inverse.t().dot(&inverse) * -within;
    share.diag_mut().map_inplace(|v| *v += 1.0 + LEAST_SHARE);
    Some(cholesky(share.view())?.reversed_axes())
}

/// What counts of a direction in which classes do not differ.
const LEAST_SHARE: f64 = 1e-6;

/// Sides of triangles up to which rows are solved one by one.
const SMALL: usize = 64;

/// L with `L·Lᵀ = a`, by halves: that of `[[A, ·], [B, C]]` is `[[L, 0], [X, Y]]` with `L·Lᵀ = A`, `X = B·L⁻ᵀ` and
/// `Y·Yᵀ = C − X·Xᵀ`. None where `a` is not positive definite.
fn cholesky(a: ArrayView2<'_, f64>) -> Option<Array2<f64>> {
    let n = a.nrows();
    let mut l = Array2::<f64>::zeros((n, n));
    if n > SMALL {
        let (upper, below, lower) = (s![..n / 2, ..n / 2], s![n / 2.., ..n / 2], s![n / 2.., n / 2..]);
        let first = cholesky(a.slice(upper))?;
        let x = a.slice(below).dot(&inverse_of_lower(first.view()).t());
        let second = cholesky((&a.slice(lower) - &x.dot(&x.t())).view())?;
        l.slice_mut(upper).assign(&first);
        l.slice_mut(below).assign(&x);
        l.slice_mut(lower).assign(&second);
        return Some(l);
    }
    for i in 0..n {
        for j in 0..=i {
            let rest = a[[i, j]] - l.slice(s![i, ..j]).dot(&l.slice(s![j, ..j]));
            l[[i, j]] = match i == j {
                true if rest > 0.0 => rest.sqrt(),
                true => return None,
                false => rest / l[[j, j]],
            };
        }
    }
    Some(l)
}

/// The inverse of a lower triangular matrix, by halves: that of `[[A, 0], [B, C]]` is `[[A⁻¹, 0], [−C⁻¹·B·A⁻¹, C⁻¹]]`.
fn inverse_of_lower(l: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = l.nrows();
    let mut x = Array2::<f64>::eye(n);
    if n > SMALL {
        let (upper, lower) = (s![..n / 2, ..n / 2], s![n / 2.., n / 2..]);
        let (a, c) = (inverse_of_lower(l.slice(upper)), inverse_of_lower(l.slice(lower)));
        x.slice_mut(s![n / 2.., ..n / 2]).assign(&-c.dot(&l.slice(s![n / 2.., ..n / 2]).dot(&a)));
        x.slice_mut(upper).assign(&a);
        x.slice_mut(lower).assign(&c);
        return x;
    }
    for i in 0..n {
        let known = l.slice(s![i, ..i]).dot(&x.slice(s![..i, ..]));
        let mut row = x.row_mut(i);
        row -= &known;
        row /= l[[i, i]];
    }
    x
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::arr2;

    /// Two classes that differ along the second axis and scatter along the first.
    fn scattered() -> (Array2<f64>, Vec<Vec<usize>>) {
        let rows = arr2(&[[3.0, 1.0], [-3.0, 1.2], [0.0, 0.8], [2.0, -1.0], [-2.0, -1.1], [0.0, -0.9]]);
        (rows, vec![vec![0, 1, 2], vec![3, 4, 5]])
    }

    #[test]
    fn a_large_triangle_has_the_inverse_that_it_should() {
        let n = 2 * SMALL + 37;
        let l = Array2::from_shape_fn((n, n), |(i, j)| match i.cmp(&j) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 1.0 + (i % 3) as f64,
            std::cmp::Ordering::Greater => ((i * 7 + j * 3) % 11) as f64 / 110.0,
        });
        let x = inverse_of_lower(l.view());
        let off = (l.dot(&x) - Array2::<f64>::eye(n)).mapv(f64::abs);
        let upper = x.indexed_iter().filter(|((i, j), _)| i < j);
        assert!(off.iter().all(|&d| d < 1e-12), "{}", off.fold(0.0_f64, |a, &b| a.max(b)));
        assert!(upper.into_iter().all(|(_, &v)| v == 0.0));
    }

    #[test]
    fn a_large_matrix_has_the_factor_that_it_should_and_one_that_is_not_positive_none() {
        let n = 2 * SMALL + 37;
        let root = Array2::from_shape_fn((n, n), |(i, j)| ((i * 7 + j * 3) % 11) as f64 / 11.0);
        let a = root.dot(&root.t()) + Array2::<f64>::eye(n);
        let l = cholesky(a.view()).unwrap();
        let off = (l.dot(&l.t()) - &a).mapv(f64::abs);
        assert!(off.iter().all(|&d| d < 1e-10), "{}", off.fold(0.0_f64, |a, &b| a.max(b)));
        assert!(l.indexed_iter().all(|((i, j), &v)| i >= j || v == 0.0));
        // A direction in the second half along which it is below 0.
        let mut bent = a;
        bent[[n - 1, n - 1]] = -1.0;
        assert!(cholesky(bent.view()).is_none());
    }

    #[test]
    fn the_covariance_is_about_the_classes_means() {
        let (rows, classes) = scattered();
        let within = within_class(rows, &classes).unwrap();
        // 6 rows less 2 means: (9 + 9 + 4 + 4) / 4, (0.04 + 0.04 + 0.01 + 0.01) / 4, (−0.6 + 0.2) / 4.
        for (at, expected) in [([0, 0], 6.5), ([1, 1], 0.025), ([0, 1], -0.1), ([1, 0], -0.1)] {
            assert!((within[at] - expected).abs() < 1e-12, "{at:?}: {}", within[at]);
        }
        assert!(within_class(arr2(&[[1.0], [2.0]]), &[vec![0], vec![1]]).is_none());
    }

    #[test]
    fn directions_count_by_what_tells_classes_apart() {
        // Classes differ by 9 along the diagonal, and not at all across it; within them the variance is 1.
        let between = arr2(&[[4.5, 4.5], [4.5, 4.5]]);
        let m = telling_matrix(between, 1.0).unwrap();
        let share = m.t().dot(&m);
        let along = share.dot(&arr2(&[[1.0], [1.0]]));
        let across = share.dot(&arr2(&[[1.0], [-1.0]]));
        assert!(along.iter().all(|x| (x - 0.9).abs() < 1e-5) && across.iter().all(|x| x.abs() < 1e-5));
        assert!(telling_matrix(Array2::eye(2), 0.0).is_none());
        assert!(telling_matrix(Array2::from_elem((2, 2), f64::NAN), 1.0).is_none());
    }

    #[test]
    fn the_matrix_makes_the_smoothed_covariance_round() {
        let (rows, classes) = scattered();
        let within = within_class(rows, &classes).unwrap();
        let mean = (6.5 + 0.025) / 2.0;
        let m = rounding_matrix(within.clone(), 0.5).unwrap();
        let smoothed = within + Array2::<f64>::eye(2) * (0.5 * mean);
        let round = m.dot(&smoothed).dot(&m.t());
        assert!((round - Array2::<f64>::eye(2) * (1.5 * mean)).iter().all(|x| x.abs() < 1e-12));
        assert!(rounding_matrix(Array2::zeros((2, 2)), 1.0).is_none());
        assert!(rounding_matrix(Array2::from_elem((2, 2), f64::NAN), 1.0).is_none());
    }
}
