//! The rule of batch normalisation.

use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{Channels, Graph};

/// With `x̂ = centred/σ` and means over the batch: `dx = γ/σ·(dy − mean(dy) − x̂·mean(dy·x̂))`,
/// `dγ = Σ dy·x̂`, `dβ = Σ dy` (Ioffe and Szegedy 2015, section 3).
pub(super) fn batch_norm(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let &[x, scale, _, centred, deviation] = call.node.inputs.as_slice() else {
        return Err(call.fail("takes five values"));
    };
    let channels = if call.node.int("last", 0) == 1 { Channels::Last } else { Channels::First };
    let dy = call.dy;
    let mean = g.batch_mean(dy, channels)?;
    let product = g.mul(dy, centred)?;
    let correlation = g.batch_mean(product, channels)?;
    let count = g.shape(x).iter().product::<usize>() / g.shape(mean).iter().product::<usize>();
    let count = g.scalar(count as f32);

    let d_shift = g.mul(mean, count)?;
    let over_deviation = g.div(correlation, deviation)?;
    let d_scale = g.mul(over_deviation, count)?;

    let slope = g.div(over_deviation, deviation)?;
    let along = g.mul(centred, slope)?;
    let off = g.add(along, mean)?;
    let rest = g.sub(dy, off)?;
    let factor = g.div(scale, deviation)?;
    let dx = g.mul(rest, factor)?;
    call.each(|i| {
        Ok(match i {
            0 => dx,
            1 => d_scale,
            _ => d_shift,
        })
    })
    .map(|all| all.into_iter().filter(|(i, _)| *i < 3).collect())
}
