//! Batch normalisation of `[N, …, C]`, and its derivative.
//!
//! The statistics of an image are taken while it is in the cache, and joined in float64 (Chan, Golub, LeVeque 1979).

use super::tensors::{Operand, in_parallel, operand, outcome};
use super::{KERNELS, flag};
use crate::edge::kernels::{Batch, Cotangent, Normalising};
use crate::graph::RELU;
use ort::operator::{ComputeContext, KernelContext};

/// What does not change from step to step.
pub struct Attributes {
    epsilon: f32,
    relu: bool,
}

impl Attributes {
    pub fn of(node: &KernelContext<'_>) -> Self {
        Self { epsilon: node.get("epsilon").unwrap_or(0.0), relu: flag(node, RELU) }
    }
}

/// How a batch is cut: an image a part; of `[N, C]`, all.
struct Parts {
    /// Elements.
    part: usize,
    channels: usize,
    /// Pixels of the batch.
    pixels: usize,
    /// That of the statistics, `[1, …, C]`.
    shape: Vec<usize>,
}

impl Parts {
    fn of(x: &Operand<'_>) -> ort::Result<Self> {
        let mut shape = x.shape();
        let count: usize = shape.iter().product();
        let (Some(&channels), Some(&images)) = (shape.last(), shape.first()) else {
            return Err(ort::Error::new("a scalar has no channels"));
        };
        if count == 0 {
            return Err(ort::Error::new(format!("there is nothing to normalise in {shape:?}")));
        }
        let part = if shape.len() == 2 { count } else { count / images };
        let axes = shape.len();
        shape[..axes - 1].fill(1);
        Ok(Self { part, channels, pixels: count / channels, shape })
    }

    /// What `each` gives of every part: two rows of channels, all in order.
    fn tell<'a>(
        &self,
        context: &ComputeContext,
        parts: impl ExactSizeIterator<Item = &'a [f32]>,
        each: impl Fn(usize, &mut [f32], &mut [f32]) + Send + Sync,
    ) -> ort::Result<Vec<f32>> {
        let mut told = vec![0f32; parts.len() * 2 * self.channels];
        in_parallel(context, told.chunks_mut(2 * self.channels), |place, told| {
            let (first, second) = told.split_at_mut(self.channels);
            each(place, first, second);
        })?;
        Ok(told)
    }

    /// Mean and variance of each channel, by those of the parts.
    fn moments(&self, told: &[f32]) -> Vec<(f64, f64)> {
        let pixels = (self.part / self.channels) as f64;
        let parts = || told.chunks(2 * self.channels);
        let count = parts().len() as f64;
        let channel = |c: usize| {
            let mean = parts().map(|part| f64::from(part[c])).sum::<f64>() / count;
            let apart = |part: &[f32]| {
                f64::from(part[self.channels + c]) + pixels * (f64::from(part[c]) - mean).powi(2)
            };
            (mean, parts().map(apart).sum::<f64>() / (count * pixels))
        };
        (0..self.channels).map(channel).collect()
    }
}

pub fn forward(attributes: &Attributes, context: &ComputeContext) -> ort::Result<()> {
    let [x, scale, shift] = [operand(context, 0)?, operand(context, 1)?, operand(context, 2)?];
    let added = if context.num_inputs()? > 3 { Some(operand(context, 3)?) } else { None };
    let parts = Parts::of(&x)?;
    let mut y = outcome(context, 0, &x.shape())?;
    let [mut mean, mut var] = [outcome(context, 1, &parts.shape)?, outcome(context, 2, &parts.shape)?];
    let (x, scale, shift) = (x.floats()?, scale.floats()?, shift.floats()?);
    let images: Vec<&[f32]> = x.chunks(parts.part).collect();

    let told = parts.tell(context, images.iter().copied(), |image, mean, squares| {
        KERNELS.moments(images[image], mean, squares);
    })?;
    let (mean, var) = (mean.floats()?, var.floats()?);
    for (c, (of_mean, of_var)) in parts.moments(&told).into_iter().enumerate() {
        (mean[c], var[c]) = (of_mean as f32, of_var as f32);
    }
    let factor: Vec<f32> =
        scale.iter().zip(&*var).map(|(s, v)| s / (v + attributes.epsilon).sqrt()).collect();
    let how = Normalising { mean, factor: &factor, shift, relu: attributes.relu };
    let mut added = added.as_ref().map(|added| added.floats()).transpose()?.map(|a| a.chunks(parts.part));
    let all = y.floats()?.chunks_mut(parts.part).zip(&images);
    let all = all.map(|(y, x)| (y, *x, added.as_mut().and_then(Iterator::next)));
    in_parallel(context, all, |_, (y, x, added)| KERNELS.normalise_batch(&how, x, *added, y))
}

pub fn grad(attributes: &Attributes, context: &ComputeContext) -> ort::Result<()> {
    let [dy, x, mean, var, scale] = [
        operand(context, 0)?,
        operand(context, 1)?,
        operand(context, 2)?,
        operand(context, 3)?,
        operand(context, 4)?,
    ];
    let y = if attributes.relu { Some(operand(context, 5)?) } else { None };
    let parts = Parts::of(&x)?;
    let mut dx = outcome(context, 0, &x.shape())?;
    let [mut d_scale, mut d_shift] = [outcome(context, 1, &parts.shape)?, outcome(context, 2, &parts.shape)?];
    let mut through = if context.num_outputs()? > 3 { Some(outcome(context, 3, &x.shape())?) } else { None };
    let (mean, var, scale) = (mean.floats()?, var.floats()?, scale.floats()?);
    let mut y = y.as_ref().map(Operand::floats).transpose()?.map(|y| y.chunks(parts.part));
    let images = dy.floats()?.chunks(parts.part).zip(x.floats()?.chunks(parts.part));
    let images: Vec<Batch<'_>> =
        images.map(|(dy, x)| Batch { dy, x, y: y.as_mut().and_then(Iterator::next), mean }).collect();

    let told = parts.tell(context, images.iter().map(|batch| batch.x), |image, sums, correlations| {
        KERNELS.cotangent_sums(&images[image], sums, correlations);
    })?;
    let (d_scale, d_shift) = (d_scale.floats()?, d_shift.floats()?);
    let [mut mean_dy, mut slope, mut factor] = [(); 3].map(|()| vec![0f32; parts.channels]);
    for c in 0..parts.channels {
        let total = |row: usize| {
            let each = told.chunks(2 * parts.channels).map(|part| f64::from(part[row * parts.channels + c]));
            each.sum::<f64>()
        };
        let (sum, correlation) = (total(0), total(1));
        let deviation = f64::from(var[c] + attributes.epsilon).sqrt();
        let count = parts.pixels as f64;
        d_shift[c] = sum as f32;
        d_scale[c] = (correlation / deviation) as f32;
        mean_dy[c] = (sum / count) as f32;
        slope[c] = (correlation / count / (deviation * deviation)) as f32;
        factor[c] = (f64::from(scale[c]) / deviation) as f32;
    }
    let how = Cotangent { mean_dy: &mean_dy, slope: &slope, factor: &factor };
    let mut through = through.as_mut().map(|t| t.floats()).transpose()?.map(|t| t.chunks_mut(parts.part));
    let all = dx.floats()?.chunks_mut(parts.part).zip(&images);
    let all = all.map(|(dx, batch)| (dx, batch, through.as_mut().and_then(Iterator::next)));
    in_parallel(context, all, |_, (dx, batch, through)| {
        KERNELS.normalise_grad(batch, &how, dx, through.as_deref_mut());
    })
}
