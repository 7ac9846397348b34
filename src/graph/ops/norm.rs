//! Batch normalisation of standard operators (Ioffe and Szegedy 2015, algorithm 1).

use crate::graph::builder::{Attribute, OpResult};
use crate::graph::{Graph, Value};

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
pub struct Normalised {
    /// The normalised values, of the input's shape.
    pub y: Value,
    /// The mean of each channel over the batch.
    pub mean: Value,
    /// The variance of each channel over the batch, divided by the count.
    pub var: Value,
}

impl Channels {
    /// The axes over which a value is averaged.
    fn batch_axes(self, rank: usize) -> Vec<i64> {
        let own = if self == Self::Last { rank - 1 } else { 1 };
        (0..rank).filter(|axis| *axis != own).map(|axis| axis as i64).collect()
    }
}

impl Graph {
    /// `scale·(x − mean)/√(var + ε) + shift` with the statistics of the batch. `scale` and `shift`
    /// broadcast over `x`. The derivative is the closed form, in few passes over the large tensor.
    pub fn batch_norm(
        &mut self,
        x: Value,
        scale: Value,
        shift: Value,
        epsilon: f32,
        channels: Channels,
    ) -> crate::Result<Normalised> {
        let mean = self.batch_mean(x, channels)?;
        let centred = self.sub(x, mean)?;
        let square = self.mul(centred, centred)?;
        let var = self.batch_mean(square, channels)?;
        let (y, deviation) = self.scale_centred(centred, var, scale, shift, epsilon)?;
        let last = Attribute::Int(i64::from(channels == Channels::Last));
        let inputs = vec![x, scale, shift, centred, deviation];
        self.stands_for(y, "BatchNorm", inputs, vec![("last", last)]);
        Ok(Normalised { y, mean, var })
    }

    /// `scale·centred/√(var + ε) + shift`, and the root.
    pub fn scale_centred(
        &mut self,
        centred: Value,
        var: Value,
        scale: Value,
        shift: Value,
        epsilon: f32,
    ) -> crate::Result<(Value, Value)> {
        let epsilon = self.scalar(epsilon);
        let shifted = self.add(var, epsilon)?;
        let deviation = self.sqrt(shifted)?;
        // One pass over the large tensor for the product, one for the sum.
        let factor = self.div(scale, deviation)?;
        let scaled = self.mul(centred, factor)?;
        Ok((self.add(scaled, shift)?, deviation))
    }

    /// The mean over the batch and all places, the reduced axes kept as 1.
    pub(in crate::graph) fn batch_mean(&mut self, x: Value, channels: Channels) -> OpResult {
        let shape = self.shape(x).to_vec();
        if channels == Channels::First || shape.len() != 4 {
            return self.reduce_mean(x, &channels.batch_axes(shape.len()), true);
        }
        let sums = self.channel_sums(x)?;
        // The count is a whole number in float32, its reciprocal would be rounded.
        let count = self.scalar((shape[0] * shape[1] * shape[2]) as f32);
        self.div(sums, count)
    }
}
