//! Batch normalisation (Ioffe, Szegedy 2015) of pixels with the channels last, and its derivative: what a part of the
//! batch adds to the statistics, and what is done to each element.

use super::{piece, pieces};

/// How each channel is normalised: `(x − mean)·factor + shift`.
#[derive(Clone, Copy, Debug)]
pub struct Normalising<'a> {
    /// `[C]`.
    pub mean: &'a [f32],
    /// `[C]`.
    pub factor: &'a [f32],
    /// `[C]`.
    pub shift: &'a [f32],
    /// Whether what is below 0 becomes 0.
    pub relu: bool,
}

/// What the derivative reads of some pixels.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The result's cotangent.
    pub dy: &'a [f32],
    /// What was normalised.
    pub x: &'a [f32],
    /// What ReLU gave, where there was one.
    pub y: Option<&'a [f32]>,
    /// The mean of each channel, `[C]`.
    pub mean: &'a [f32],
}

/// `dx = (dy − (mean_dy + (x − mean)·slope))·factor`, each `[C]`.
#[derive(Clone, Copy, Debug)]
pub struct Cotangent<'a> {
    /// The mean of the cotangent over the batch.
    pub mean_dy: &'a [f32],
    /// Its correlation with the normalised values, over the variance.
    pub slope: &'a [f32],
    /// The scale over the standard deviation.
    pub factor: &'a [f32],
}

passes! {
    /// The mean of each channel of `x: [pixels, C]`, and the sum of the squares of what differs from it.
    pub fn moments[](x: &[f32], mean: &mut [f32], squares: &mut [f32]) = moments;

    /// Normalises `x: [pixels, C]`, and adds something before ReLU.
    pub fn normalise_batch[](
        how: &Normalising<'_>, x: &[f32], added: Option<&[f32]>, out: &mut [f32],
    ) = normalise;

    /// The sums of `dy` and of `dy·(x − mean)` over some pixels, each `[C]`.
    pub fn cotangent_sums[](of: &Batch<'_>, sums: &mut [f32], correlations: &mut [f32]) = cotangent_sums;

    /// The cotangent of `x: [pixels, C]`; and where it is asked for, what came through ReLU.
    pub fn normalise_grad[](
        of: &Batch<'_>, how: &Cotangent<'_>, dx: &mut [f32], through: Option<&mut [f32]>,
    ) = normalise_grad;

    /// `dy` where y is above 0, else 0.
    pub fn relu_grad[](dy: &[f32], y: &[f32], dx: &mut [f32]) = relu_grad;
}

/// Sums that do not wait for each other.
const TOGETHER: usize = 4;

/// Sums `of(pixel)` over all pixels, N channels of each.
#[inline(always)]
fn sum<const N: usize>(pixels: usize, of: impl Fn(usize) -> [f32; N]) -> [f32; N] {
    let mut sums = [[0f32; N]; TOGETHER];
    let whole = pixels / TOGETHER * TOGETHER;
    for pixel in (0..whole).step_by(TOGETHER) {
        for (t, sums) in sums.iter_mut().enumerate() {
            let values = of(pixel + t);
            for j in 0..N {
                sums[j] += values[j];
            }
        }
    }
    for pixel in whole..pixels {
        let values = of(pixel);
        for j in 0..N {
            sums[0][j] += values[j];
        }
    }
    let mut total = [0f32; N];
    for j in 0..N {
        total[j] = (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]);
    }
    total
}

#[inline(always)]
fn moments(x: &[f32], mean: &mut [f32], squares: &mut [f32]) {
    let channels = mean.len();
    let pixels = x.len() / channels;
    pieces!(channels, |i, N| {
        let total = sum::<N>(pixels, |pixel| piece(x, pixel * channels + i));
        let middle: [f32; N] = std::array::from_fn(|j| total[j] / pixels as f32);
        let apart = sum::<N>(pixels, |pixel| {
            let mut values = piece::<N, f32>(x, pixel * channels + i);
            for j in 0..N {
                values[j] = (values[j] - middle[j]) * (values[j] - middle[j]);
            }
            values
        });
        mean[i..i + N].copy_from_slice(&middle);
        squares[i..i + N].copy_from_slice(&apart);
    });
}

#[inline(always)]
fn normalise(how: &Normalising<'_>, x: &[f32], added: Option<&[f32]>, out: &mut [f32]) {
    let channels = how.mean.len();
    let floor = if how.relu { 0.0 } else { f32::NEG_INFINITY };
    pieces!(channels, |i, N| {
        let [mean, factor, shift] = [how.mean, how.factor, how.shift].map(|v| piece::<N, f32>(v, i));
        let normal = |at: usize| {
            let mut values = piece::<N, f32>(x, at);
            for j in 0..N {
                values[j] = (values[j] - mean[j]) * factor[j] + shift[j];
            }
            values
        };
        for at in (i..x.len()).step_by(channels) {
            let mut values = normal(at);
            if let Some(added) = added {
                let added = piece::<N, f32>(added, at);
                for j in 0..N {
                    values[j] += added[j];
                }
            }
            for value in &mut values {
                // What is no number stays so.
                *value = if *value < floor { floor } else { *value };
            }
            out[at..at + N].copy_from_slice(&values);
        }
    });
}

/// N channels of the cotangent, as ReLU let them through.
#[inline(always)]
fn through<const N: usize>(of: &Batch<'_>, at: usize) -> [f32; N] {
    let mut dy = piece::<N, f32>(of.dy, at);
    if let Some(y) = of.y {
        let y = piece::<N, f32>(y, at);
        for j in 0..N {
            dy[j] = if y[j] > 0.0 { dy[j] } else { 0.0 };
        }
    }
    dy
}

#[inline(always)]
fn cotangent_sums(of: &Batch<'_>, sums: &mut [f32], correlations: &mut [f32]) {
    let channels = of.mean.len();
    let pixels = of.x.len() / channels;
    pieces!(channels, |i, N| {
        let mean = piece::<N, f32>(of.mean, i);
        let (mut total, mut correlation) = ([[0f32; N]; 2], [[0f32; N]; 2]);
        for pixel in 0..pixels {
            let at = pixel * channels + i;
            let (dy, x) = (through::<N>(of, at), piece::<N, f32>(of.x, at));
            for j in 0..N {
                total[pixel % 2][j] += dy[j];
                correlation[pixel % 2][j] += dy[j] * (x[j] - mean[j]);
            }
        }
        for j in 0..N {
            sums[i + j] = total[0][j] + total[1][j];
            correlations[i + j] = correlation[0][j] + correlation[1][j];
        }
    });
}

#[inline(always)]
fn normalise_grad(of: &Batch<'_>, how: &Cotangent<'_>, dx: &mut [f32], mut passed: Option<&mut [f32]>) {
    let channels = of.mean.len();
    pieces!(channels, |i, N| {
        let [mean, mean_dy, slope, factor] =
            [of.mean, how.mean_dy, how.slope, how.factor].map(|v| piece::<N, f32>(v, i));
        for at in (i..of.x.len()).step_by(channels) {
            let (dy, mut x) = (through::<N>(of, at), piece::<N, f32>(of.x, at));
            if let Some(passed) = &mut passed {
                passed[at..at + N].copy_from_slice(&dy);
            }
            for j in 0..N {
                x[j] = (dy[j] - ((x[j] - mean[j]) * slope[j] + mean_dy[j])) * factor[j];
            }
            dx[at..at + N].copy_from_slice(&x);
        }
    });
}

#[inline(always)]
fn relu_grad(dy: &[f32], y: &[f32], dx: &mut [f32]) {
    let count = dx.len();
    let (dy, y) = (&dy[..count], &y[..count]);
    for i in 0..count {
        dx[i] = if y[i] > 0.0 { dy[i] } else { 0.0 };
    }
}
