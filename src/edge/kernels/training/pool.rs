//! The maxima of windows that do not overlap, of one image `[H, W, C]`, and their derivative.

use super::{piece, pieces};

/// How an image is pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooled {
    /// Rows, columns and channels.
    pub image: [usize; 3],
    /// Rows and columns of a window.
    pub window: [usize; 2],
}

impl Pooled {
    /// Rows and columns of the result; what fills no window is left out.
    pub fn result(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.image[axis] / self.window[axis])
    }

    /// Where the windows begin, row by row.
    #[inline(always)]
    fn windows(&self) -> impl Iterator<Item = usize> + use<> {
        let ([rows, columns], [_, width, channels], [down, across]) =
            (self.result(), self.image, self.window);
        let corners = move |y: usize| (0..columns).map(move |x| (y * down * width + x * across) * channels);
        (0..rows).flat_map(corners)
    }

    /// Where the pixels of a window are, from its corner on.
    #[inline(always)]
    fn taps(&self) -> impl Iterator<Item = usize> + Clone + use<> {
        let ([_, width, channels], [down, across]) = (self.image, self.window);
        (0..down).flat_map(move |y| (0..across).map(move |x| (y * width + x) * channels))
    }
}

passes! {
    /// The greatest of each window.
    pub fn pool_maxima[](how: &Pooled, x: &[f32], out: &mut [f32]) = max_pool;

    /// The cotangent of the image: the greatest of each window share it; with ReLU only what is above 0 has any.
    pub fn pool_maxima_grad[](
        how: &Pooled, relu: bool, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32],
    ) = max_pool_grad;
}

#[inline(always)]
fn max_pool(how: &Pooled, x: &[f32], out: &mut [f32]) {
    let channels = how.image[2];
    for (corner, to) in how.windows().zip((0..).step_by(channels)) {
        pieces!(channels, |i, N| {
            let mut greatest = piece::<N, f32>(x, corner + i);
            for tap in how.taps() {
                let values = piece::<N, f32>(x, corner + tap + i);
                for j in 0..N {
                    // What is no number is the greatest.
                    let kept = values[j] <= greatest[j] || greatest[j].is_nan();
                    greatest[j] = if kept { greatest[j] } else { values[j] };
                }
            }
            out[to + i..to + i + N].copy_from_slice(&greatest);
        });
    }
}

#[inline(always)]
fn max_pool_grad(how: &Pooled, relu: bool, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let channels = how.image[2];
    let ([rows, columns], [height, width, _], [down, across]) = (how.result(), how.image, how.window);
    if [rows * down, columns * across] != [height, width] {
        dx.fill(0.0);
    }
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    for (corner, of) in how.windows().zip((0..).step_by(channels)) {
        pieces!(channels, |i, N| {
            let (greatest, mut share) = (piece::<N, f32>(y, of + i), piece::<N, f32>(dy, of + i));
            let mut ties = [0f32; N];
            for tap in how.taps() {
                let values = piece::<N, f32>(x, corner + tap + i);
                for j in 0..N {
                    ties[j] += if values[j] == greatest[j] { 1.0 } else { 0.0 };
                }
            }
            for j in 0..N {
                share[j] = if greatest[j] > floor { share[j] / ties[j] } else { 0.0 };
            }
            for tap in how.taps() {
                let mut values = piece::<N, f32>(x, corner + tap + i);
                for j in 0..N {
                    values[j] = if values[j] == greatest[j] { share[j] } else { 0.0 };
                }
                dx[corner + tap + i..corner + tap + i + N].copy_from_slice(&values);
            }
        });
    }
}
