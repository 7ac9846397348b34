//! Normalisation made of standard operators: of batches (Ioffe and Szegedy 2015, algorithm 1) and of layers.

use crate::graph::builder::Composite;
use crate::graph::{Expr, Kernel};
use crate::onnx::AttributeProto;

/// Which axis holds the channels; the others are the batch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// `[N, C, H, W]` or `[N, C]`.
    First,
    /// `[N, H, W, C]`.
    Last,
}

/// What a batch normalisation gives.
#[derive(Clone, Copy, Debug)]
pub struct Normalised<'g> {
    /// The normalised values, of the input's shape.
    pub y: Expr<'g>,
    /// The mean of each channel over the batch.
    pub mean: Expr<'g>,
    /// The variance of each channel over the batch, divided by the count.
    pub var: Expr<'g>,
}

impl Channels {
    /// Whether the last axis of a value holds its channels.
    pub(in crate::graph) fn is_last(self, v: Expr<'_>) -> bool {
        v.rank() == 2 || (self == Self::Last && v.rank() == 4)
    }

    /// The axes over which a value is averaged.
    fn batch_axes(self, rank: usize) -> Vec<i64> {
        let own = if self == Self::Last { rank.saturating_sub(1) } else { 1 };
        (0..rank).filter(|axis| *axis != own).map(|axis| axis as i64).collect()
    }
}

impl<'g> Expr<'g> {
    /// `scale·(x − mean)/√(var + ε) + shift` with the statistics of the batch. `scale` and `shift`
    /// broadcast over `x`. The derivative is the closed form, in few passes over the large tensor.
    pub fn batch_norm(self, scale: Self, shift: Self, epsilon: f32, channels: Channels) -> Normalised<'g> {
        let mean = self.batch_mean(channels);
        let centred = self - mean;
        let var = centred.squared().batch_mean(channels);
        let (y, deviation) = centred.over_deviation(var, scale, shift, epsilon);
        let last = AttributeProto::flag("last", channels == Channels::Last);
        let attributes = vec![last, AttributeProto::float("epsilon", epsilon)];
        let (operands, saved) = ([self, scale, shift], [centred, deviation, mean, var]);
        if channels.is_last(self) {
            self.graph().region(Kernel::BatchNorm, &operands, &[y, mean, var], attributes.clone());
        }
        Normalised { y: y.stands_for(Composite::BatchNorm, &operands, &saved, attributes), mean, var }
    }

    /// `scale·(x − mean)/√(var + ε) + shift` with the statistics over all axes from `axis` on (Ba, Kiros,
    /// Hinton 2016). `scale` and `shift` broadcast over x. The derivative is the closed form.
    pub fn layer_norm(self, scale: Self, shift: Self, epsilon: f32, axis: usize) -> Self {
        let axes: Vec<i64> = (axis..self.rank()).map(|axis| axis as i64).collect();
        let centred = self - self.mean_kept(&axes);
        let deviation = (centred.squared().mean_kept(&axes) + epsilon).sqrt();
        let normal = centred / deviation;
        let y = normal * scale + shift;
        let first = AttributeProto::int("axis", axis as i64);
        y.stands_for(Composite::LayerNorm, &[self, scale, shift], &[normal, deviation], vec![first])
    }

    /// `scale·x/√(var + ε) + shift` of a centred x, and the root.
    pub fn over_deviation(self, var: Self, scale: Self, shift: Self, epsilon: f32) -> (Self, Self) {
        let deviation = (var + epsilon).sqrt();
        // One pass over the large tensor for the product, one for the sum.
        (self * (scale / deviation) + shift, deviation)
    }

    /// The mean over the batch and all places, the reduced axes kept as 1.
    pub(in crate::graph) fn batch_mean(self, channels: Channels) -> Self {
        if channels == Channels::First || self.rank() != 4 {
            return self.mean_kept(&channels.batch_axes(self.rank()));
        }
        // The count is a whole number in float32, its reciprocal would be rounded.
        self.channel_sums() / (self.dim(0) * self.dim(1) * self.dim(2)) as f32
    }
}
