//! The closed forms: centring and the within-class covariance, then how far classes differ.

use crate::embed::{rounding_matrix, telling_matrix, within_class};
use crate::export::Projection;
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// How the rows of some classes lie: what every smoothing begins with.
#[derive(Debug)]
pub(super) struct Spread {
    /// The mean of the classes' means, `[D]`.
    mean: Array1<f32>,
    /// The within-class covariance, `[D, D]`.
    within: Array2<f64>,
}

impl Spread {
    /// That of rows `[N, D]`; none where no class has two pictures.
    pub fn of(rows: ArrayView2<'_, f32>, classes: &[Vec<usize>]) -> Option<Self> {
        let mean = means(rows, classes).mean_axis(Axis(0))?.mapv(|x| x as f32);
        let learned: Vec<usize> = classes.iter().flatten().copied().collect();
        let mut place = vec![usize::MAX; rows.nrows()];
        learned.iter().enumerate().for_each(|(at, &image)| place[image] = at);
        let placed: Vec<Vec<usize>> =
            classes.iter().map(|members| members.iter().map(|&image| place[image]).collect()).collect();
        let within = within_class(rows.select(Axis(0), &learned).mapv(f64::from), &placed)?;
        Some(Self { mean, within })
    }

    /// The map that makes the smoothed covariance round, about the mean; none where nothing varies within classes.
    pub fn rounded(&self, smoothing: f64) -> Option<Projection> {
        let matrix = rounding_matrix(self.within.clone(), smoothing)?.mapv(|x| x as f32);
        Some(Projection { root: false, mean: self.mean.clone(), matrix })
    }
}

/// The same map with each direction weighed by how far these classes differ in it, beside how pictures of one class do;
/// none where that cannot be told.
pub(super) fn telling(
    rows: ArrayView2<'_, f32>,
    classes: &[Vec<usize>],
    round: &Projection,
) -> Option<Projection> {
    let seen = round.apply(rows);
    let means = means(seen.view(), classes);
    let centre = means.mean_axis(Axis(0))?;
    let apart = &means - &centre;
    let between = apart.t().dot(&apart) / (means.nrows().checked_sub(1).filter(|n| *n > 0)? as f64);
    let matrix = telling_matrix(between, variance_within(seen.view(), classes)?)?.mapv(|x| x as f32);
    Some(Projection { matrix: matrix.dot(&round.matrix), ..round.clone() })
}

/// The means of the classes that have pictures, `[C, D]`.
fn means(rows: ArrayView2<'_, f32>, classes: &[Vec<usize>]) -> Array2<f64> {
    let some: Vec<&Vec<usize>> = classes.iter().filter(|members| !members.is_empty()).collect();
    let mut means = Array2::zeros((some.len(), rows.ncols()));
    for (mut mean, members) in means.outer_iter_mut().zip(some) {
        members.iter().for_each(|&image| mean += &rows.row(image).mapv(f64::from));
        mean /= members.len() as f64;
    }
    means
}

/// The variance of a number about its class's mean, the mean over all of them.
fn variance_within(rows: ArrayView2<'_, f32>, classes: &[Vec<usize>]) -> Option<f64> {
    let (mut sum, mut freedom) = (0.0, 0);
    for members in classes.iter().filter(|members| members.len() > 1) {
        let own = rows.select(Axis(0), members).mapv(f64::from);
        let mean: Array1<f64> = own.mean_axis(Axis(0))?;
        sum += (own - &mean).iter().map(|x| x * x).sum::<f64>();
        freedom += members.len() - 1;
    }
    (freedom > 0).then(|| sum / (freedom * rows.ncols()) as f64)
}
