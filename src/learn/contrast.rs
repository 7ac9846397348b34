//! The contrastive step: a projection is moved so that pictures of a class come together, away from the others.
//!
//! The loss is the supervised contrastive one (Khosla et al. 2020, "Supervised Contrastive Learning",
//! equation 2) of cosines, as in the recipes' `contrast`, drawn back to where it began (Li, Grandvalet,
//! Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", L²-SP), and
//! minimised by Adam (Kingma, Ba 2015). One matrix is learned, so its gradient is written down here and
//! needs no runtime: the edge build learns too.

use crate::export::Projection;
use crate::random::{Stream, draw, stream};
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};

/// How it is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Contrast {
    /// Steps.
    pub steps: u64,
    /// Classes of a batch.
    pub classes: usize,
    /// Pictures of each.
    pub pictures: usize,
    /// Factor on cosines.
    pub scale: f32,
    /// Learning rate, in root-mean-square sizes of the matrix's numbers; it falls to 0 in a half cosine.
    pub rate: f32,
    /// The share of the way back to the beginning that each step goes at that rate.
    pub back: f32,
}

impl Default for Contrast {
    fn default() -> Self {
        Self { steps: 200, classes: 32, pictures: 4, scale: 16.0, rate: 0.005, back: 1.0 }
    }
}

/// Decay of Adam's moments, and what is added to the root of the second.
const BETA: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

impl Contrast {
    /// Moves a projection by the rows `[N, D]` of these classes; it stays where there are fewer than two
    /// classes, or none of two pictures.
    pub fn learn(&self, rows: ArrayView2<'_, f32>, classes: &[Vec<usize>], start: Projection) -> Projection {
        let usable: Vec<&Vec<usize>> = classes.iter().filter(|members| members.len() > 1).collect();
        if usable.len() < 2 {
            return start;
        }
        let centred = &rows - &start.mean;
        let first = start.matrix.clone();
        let size = (first.iter().map(|x| x * x).sum::<f32>() / first.len() as f32).sqrt();
        let mut matrix = first.clone();
        let (mut m, mut v) = (Array2::<f32>::zeros(matrix.dim()), Array2::<f32>::zeros(matrix.dim()));
        for step in 1..=self.steps {
            let (batch, labels) = self.batch(&usable, &mut stream(0, "contrast", step, 0));
            let (_, gradient) = self.loss(centred.select(Axis(0), &batch).view(), &labels, matrix.view());
            let done = (step - 1) as f32 / self.steps as f32;
            let rate = self.rate * 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
            let [c1, c2] = BETA.map(|beta| 1.0 - beta.powi(step as i32));
            Zip::from(&mut matrix).and(&first).and(&gradient).and(&mut m).and(&mut v).for_each(
                |w, &w0, &g, m, v| {
                    *m = BETA[0] * *m + (1.0 - BETA[0]) * g;
                    *v = BETA[1] * *v + (1.0 - BETA[1]) * g * g;
                    *w -= rate * (size * (*m / c1) / ((*v / c2).sqrt() + EPSILON) + self.back * (*w - w0));
                },
            );
        }
        Projection { matrix, ..start }
    }

    /// Pictures of a batch, and the place of the class of each.
    fn batch(&self, classes: &[&Vec<usize>], rng: &mut Stream) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..classes.len()).collect();
        let chosen = draw(rng, &mut order, self.classes.min(classes.len())).to_vec();
        let mut batch = (Vec::new(), Vec::new());
        for class in chosen {
            let mut members = classes[class].clone();
            let count = self.pictures.min(members.len());
            for &picture in draw(rng, &mut members, count).iter() {
                batch.0.push(picture);
                batch.1.push(class);
            }
        }
        batch
    }

    /// The loss of centred rows `[B, D]` under a matrix `[E, D]`, and its gradient.
    fn loss(
        &self,
        x: ArrayView2<'_, f32>,
        labels: &[usize],
        matrix: ArrayView2<'_, f32>,
    ) -> (f32, Array2<f32>) {
        let count = x.nrows();
        let y = x.dot(&matrix.t());
        let lengths: Array1<f32> =
            y.outer_iter().map(|row| row.dot(&row).sqrt().max(f32::MIN_POSITIVE)).collect();
        let z = &y / &lengths.view().insert_axis(Axis(1));
        let mut logits = z.dot(&z.t()) * self.scale;
        let mut loss = 0.0;
        for i in 0..count {
            let mut row = logits.row_mut(i);
            row[i] = f32::NEG_INFINITY;
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = row.iter().map(|l| (l - greatest).exp()).sum();
            let positives: Vec<usize> = (0..count).filter(|&j| j != i && labels[j] == labels[i]).collect();
            let each = 1.0 / positives.len().max(1) as f32;
            loss -= positives.iter().map(|&j| row[j] - greatest - sum.ln()).sum::<f32>() * each;
            // In place: the gradient by the logits of this row.
            row.mapv_inplace(|l| (l - greatest).exp() / sum / count as f32);
            if positives.is_empty() {
                row.fill(0.0);
            }
            positives.iter().for_each(|&j| row[j] -= each / count as f32);
        }
        let dz = (&logits + &logits.t()).dot(&z) * self.scale;
        let along = (&dz * &z).sum_axis(Axis(1)).insert_axis(Axis(1));
        let dy = (&dz - &(&z * &along)) / &lengths.insert_axis(Axis(1));
        (loss / count as f32, dy.t().dot(&x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, dim: usize) -> Array2<f32> {
        let mut rng = stream(3, "rows", 0, 0);
        Array2::from_shape_simple_fn((count, dim), || crate::random::between(&mut rng, -1.0, 1.0))
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (x, matrix) = (rows(9, 5), rows(4, 5));
        let labels = [0, 0, 0, 1, 1, 2, 2, 3, 1];
        let how = Contrast { scale: 4.0, ..Contrast::default() };
        let (_, gradient) = how.loss(x.view(), &labels, matrix.view());
        for at in [[0, 0], [1, 3], [3, 4], [2, 2]] {
            let h = 1e-2;
            let moved = |by: f32| {
                let mut m = matrix.clone();
                m[at] += by;
                how.loss(x.view(), &labels, m.view()).0
            };
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            assert!(
                (slope - gradient[at]).abs() < 2e-3 * slope.abs().max(0.1),
                "{at:?}: {slope} {}",
                gradient[at]
            );
        }
    }

    #[test]
    fn classes_that_one_direction_hides_are_told_apart() {
        // The first two numbers tell the class; six louder ones do not.
        let mut x = rows(40, 8);
        for (i, mut row) in x.outer_iter_mut().enumerate() {
            let angle = (i % 5) as f32 * 1.2566;
            row[0] = 0.5 * angle.cos();
            row[1] = 0.5 * angle.sin();
        }
        let classes: Vec<Vec<usize>> = (0..5).map(|class| (class..40).step_by(5).collect()).collect();
        let start = Projection { root: false, mean: Array1::zeros(8), matrix: Array2::eye(8) };
        let labels: Vec<usize> = (0..40).map(|i| i % 5).collect();
        let how = Contrast { steps: 100, classes: 5, rate: 0.1, ..Contrast::default() };
        let learned = how.learn(x.view(), &classes, start.clone());
        let loss = |p: &Projection| how.loss(x.view(), &labels, p.matrix.view()).0;
        assert!(loss(&learned) < 0.7 * loss(&start), "{} {}", loss(&learned), loss(&start));
    }

    #[test]
    fn one_class_teaches_nothing() {
        let start = Projection { root: false, mean: Array1::zeros(3), matrix: Array2::eye(3) };
        let learned = Contrast::default().learn(rows(4, 3).view(), &[vec![0, 1, 2, 3]], start.clone());
        assert_eq!(learned, start);
    }
}
