//! Embeddings on a plane: their two directions of greatest variance (PCA).

use super::plot::{Chart, Series, Style};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use std::collections::BTreeMap;

/// Steps of the power iteration; enough for a picture.
const STEPS: usize = 60;
/// The most points of a class.
const POINTS: usize = 300;
/// The most classes: as many as there are colours that can be told apart.
const CLASSES: usize = 6;

/// Coordinates `[N, 2]` of embeddings `[N, D]`.
pub fn plane(embeddings: ArrayView2<'_, f32>) -> Array2<f64> {
    let n = embeddings.nrows().max(1) as f64;
    let mut centred = embeddings.mapv(f64::from);
    let mean = centred.sum_axis(Axis(0)) / n;
    centred -= &mean;
    let mut places = Array2::zeros((embeddings.nrows(), 2));
    for axis in 0..2 {
        let direction = strongest(&centred, axis);
        let along = centred.dot(&direction);
        for (mut row, &a) in centred.outer_iter_mut().zip(&along) {
            row.scaled_add(-a, &direction);
        }
        places.column_mut(axis).assign(&along);
    }
    places
}

/// The unit direction of greatest variance, by power iteration from a fixed start.
fn strongest(centred: &Array2<f64>, axis: usize) -> Array1<f64> {
    let dim = centred.ncols();
    let unit = |v: Array1<f64>| {
        let length = v.dot(&v).sqrt();
        if length > 0.0 { v / length } else { v }
    };
    let mut direction = unit(Array1::from_shape_fn(dim, |j| 1.0 + ((j * 7 + axis * 3) % 11) as f64));
    for _ in 0..STEPS {
        let next = unit(centred.t().dot(&centred.dot(&direction)));
        if next.iter().all(|x| *x == 0.0) {
            break;
        }
        direction = next;
    }
    direction
}

/// A chart of the first few classes that have most images.
pub fn chart(embeddings: ArrayView2<'_, f32>, classes: &[String]) -> Chart {
    let mut members = BTreeMap::<&str, Vec<usize>>::new();
    classes.iter().enumerate().for_each(|(i, class)| members.entry(class).or_default().push(i));
    let mut groups: Vec<(&str, Vec<usize>)> = members.into_iter().collect();
    groups.sort_by_key(|g| std::cmp::Reverse(g.1.len()));
    groups.truncate(CLASSES);
    groups.iter_mut().for_each(|g| g.1.truncate(POINTS));
    let shown: Vec<usize> = groups.iter().flat_map(|g| g.1.iter().copied()).collect();
    let places = plane(embeddings.select(Axis(0), &shown).view());
    let mut points = places.outer_iter().map(|p| (p[0], p[1]));
    let series = groups
        .iter()
        .map(|(name, group)| Series {
            name: (*name).into(),
            points: points.by_ref().take(group.len()).collect(),
        })
        .collect();
    Chart::new("first principal component", "second principal component", Style::Dots, series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_plane_holds_the_greatest_variance() {
        let points = array![[0.0, 3.0, 0.1], [0.0, -3.0, 0.1], [1.0, 0.0, -0.1], [-1.0, 0.0, -0.1]];
        let places = plane(points.view());
        assert!((places[(0, 0)].abs() - 3.0).abs() < 1e-3 && places[(2, 0)].abs() < 1e-3);
        assert!((places[(2, 1)].abs() - 1.0).abs() < 0.02);
    }

    #[test]
    fn equal_points_and_none_are_no_fault() {
        assert!(plane(Array2::ones((5, 3)).view()).iter().all(|x| *x == 0.0));
        assert_eq!(plane(Array2::zeros((0, 3)).view()).nrows(), 0);
    }
}
