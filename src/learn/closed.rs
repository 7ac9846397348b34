//! The closed form: centring and the within-class covariance.

use crate::embed::{rounding_matrix, within_class};
use crate::export::Projection;
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// The map that makes the smoothed within-class covariance of these rows `[N, D]` round, about the mean of the
/// classes' means; none where no class has two pictures, or they do not vary.
pub(super) fn closed(
    rows: ArrayView2<'_, f32>,
    classes: &[Vec<usize>],
    smoothing: f64,
) -> Option<Projection> {
    let means: Vec<Array1<f64>> = classes
        .iter()
        .filter(|members| !members.is_empty())
        .filter_map(|members| rows.select(Axis(0), members).mapv(f64::from).mean_axis(Axis(0)))
        .collect();
    let count = means.len();
    let mean = means.into_iter().reduce(|sum, mean| sum + mean)? / count as f64;
    let learned: Vec<usize> = classes.iter().flatten().copied().collect();
    let mut place = vec![usize::MAX; rows.nrows()];
    learned.iter().enumerate().for_each(|(at, &image)| place[image] = at);
    let placed: Vec<Vec<usize>> =
        classes.iter().map(|members| members.iter().map(|&image| place[image]).collect()).collect();
    let within = within_class(rows.select(Axis(0), &learned).mapv(f64::from), &placed)?;
    let matrix: Array2<f64> = rounding_matrix(within, smoothing)?;
    Some(Projection { mean: mean.mapv(|x| x as f32), matrix: matrix.mapv(|x| x as f32) })
}
