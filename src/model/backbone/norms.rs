//! Rules of what goes over axes: reductions, softmax, normalisations.

use super::node::{Made, Node};
use super::products::Convolution;
use crate::graph::{Channels, Expr};
use crate::model::forward::Statistic;

/// A reduction that keeps the axes, brought to the node's own shape.
pub(super) fn reduce<'g>(n: &Node<'_, 'g>, keeping: fn(Expr<'g>, &[i64]) -> Expr<'g>) -> Made<'g> {
    let x = n.x(0)?;
    let told = n.ints("axes", 1)?.filter(|axes| !axes.is_empty());
    if told.is_none() && n.proto.flag("noop_with_empty_axes") {
        return Ok(x);
    }
    let axes = told.unwrap_or_else(|| (0..x.rank() as i64).collect());
    Ok(keeping(x, &axes).reshape(n.shape()?))
}

/// `ln Σ eˣ`, the greatest number taken out before.
pub(super) fn log_sum_exp<'g>(x: Expr<'g>, axes: &[i64]) -> Expr<'g> {
    let most = x.amax_kept(axes).stop_gradient();
    (x - most).exp().sum_kept(axes).log() + most
}

pub(super) fn softmax<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    along(n, |x, axis| x.softmax(axis))
}

pub(super) fn log_softmax<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    along(n, |x, axis| x.log_softmax(axis))
}

/// Before opset 13 all axes from `axis` on were one.
fn along<'g>(n: &Node<'_, 'g>, of: fn(Expr<'g>, i64) -> Expr<'g>) -> Made<'g> {
    let x = n.x(0)?;
    if n.opset >= 13 {
        return Ok(of(x, n.axis_or(-1, x.rank())? as i64));
    }
    let axis = n.axis_or(1, x.rank())?;
    if axis + 1 == x.rank() { Ok(of(x, axis as i64)) } else { Ok(of(x.flatten(axis), 1).reshape(&x.shape())) }
}

/// Division by the length along an axis.
pub(super) fn length<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let axis = [n.axis_or(-1, x.rank())? as i64];
    let length = match n.proto.int_or("p", 2) {
        1 => x.abs().sum_kept(&axis),
        2 => x.length_kept(&axis),
        p => return Err(format!("is of length {p}, which no rule knows")),
    };
    Ok(x / length.max(f32::MIN_POSITIVE))
}

pub(super) fn layer<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let (x, scale) = (n.x(0)?, n.x(1)?);
    let shift = n.may(2).unwrap_or_else(|| n.g.scalar(0.0));
    Ok(x.layer_norm(scale, shift, n.proto.float_or("epsilon", 1e-5), n.axis_or(-1, x.rank())?))
}

/// Each channel of each image by itself.
pub(super) fn instance<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let (scale, shift) = (per_channel(n.x(1)?, x)?, per_channel(n.x(2)?, x)?);
    Ok(x.layer_norm(scale, shift, n.proto.float_or("epsilon", 1e-5), 2))
}

/// Groups of channels; scale and shift are one a group before opset 21, one a channel since.
pub(super) fn group<'g>(n: &Node<'_, 'g>) -> Made<'g> {
    let x = n.x(0)?;
    let shape = x.shape();
    let groups = usize::try_from(n.proto.int_or("num_groups", 1)).map_err(|e| e.to_string())?;
    let [batch, channels, space @ ..] = shape.as_slice() else { return Err("takes [N, C, …]".into()) };
    let grouped = [&[*batch, groups, channels / groups.max(1)], space].concat();
    let numbers = |v: Expr<'g>| {
        let each = if v.count() == groups { vec![groups, 1] } else { vec![groups, channels / groups.max(1)] };
        v.reshape(&[each, vec![1; space.len()]].concat())
    };
    let (scale, shift) = (numbers(n.x(1)?), numbers(n.x(2)?));
    let one = n.g.scalar(1.0);
    let normal = x.reshape(&grouped).layer_norm(one, n.g.scalar(0.0), n.proto.float_or("epsilon", 1e-5), 2);
    Ok((normal * scale + shift).reshape(&shape))
}

/// `[C]` so that it broadcasts over `[N, C, …]`.
fn per_channel<'g>(v: Expr<'g>, x: Expr<'g>) -> Made<'g> {
    let rank = x.rank();
    if rank < 2 || v.count() != x.dim(1) {
        return Err(format!("{} numbers for the channels of {:?}", v.count(), x.shape()));
    }
    Ok(v.reshape(&[vec![v.count()], vec![1; rank - 2]].concat()))
}

/// Batch normalisation by the statistics in the file: a factor and a shift a channel. Behind a convolution that
/// nothing else looks at, they go into its weights, where they cost no pass over images, forwards or back.
pub(super) fn by_file<'g>(n: &Node<'_, 'g>, behind: Option<&Convolution<'g>>) -> Made<'g> {
    let x = n.x(0)?;
    let epsilon = n.proto.float_or("epsilon", 1e-5);
    let [scale, shift, mean, var] = [n.x(1)?, n.x(2)?, n.x(3)?, n.x(4)?];
    let factor = scale / (var + epsilon).sqrt();
    let shift = shift - mean * factor;
    match behind {
        Some(conv) => Ok(conv.scaled(factor, shift).build(n.shape()?, n.cpu)),
        None => Ok(x * per_channel(factor, x)? + per_channel(shift, x)?),
    }
}

/// The same by the statistics of the batch, and what moves the running ones of these names. Like everyone's, the
/// running variance is the unbiased estimate.
pub(super) fn by_batch<'g>(
    n: &Node<'_, 'g>,
    mean: (&str, Expr<'g>),
    var: (&str, Expr<'g>),
) -> Result<(Expr<'g>, [Statistic<'g>; 2]), String> {
    let x = n.x(0)?;
    let (scale, shift) = (per_channel(n.x(1)?, x)?, per_channel(n.x(2)?, x)?);
    let normal = x.batch_norm(scale, shift, n.proto.float_or("epsilon", 1e-5), Channels::First);
    let count = x.count() / mean.1.count();
    let unbiased = count as f32 / (count.max(2) - 1) as f32;
    // The file's momentum is the share of the old.
    let share = 1.0 - n.proto.float_or("momentum", 0.9);
    let stat = |(name, old): (&str, Expr<'g>), batch: Expr<'g>, factor: f32| {
        let batch = batch.reshape(&old.shape()).stop_gradient() * factor;
        Statistic { name: name.into(), batch, share }
    };
    Ok((normal.y, [stat(mean, normal.mean, 1.0), stat(var, normal.var, unbiased)]))
}
