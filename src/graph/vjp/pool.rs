//! Rules of pooling, for windows that do not overlap.

use super::{Call, Cotangents};
use crate::Result;
use crate::graph::{Graph, Value};

/// The maximum's cotangent goes to where it came from, in equal shares where several are equal.
///
/// The maxima are brought back to the image's size by `Resize` (nearest neighbour): ONNX Runtime has
/// a fast path for it, while a comparison broadcast over `[N, C, H/k, k, W/k, k]` takes six times as
/// long. The number of ties is k² times the mean of the mask, an average pool.
pub(super) fn max_pool(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let (window, covered) = windows(g, call)?;
    let top = g.upsample(call.y(), window)?;
    let is_top = g.equal(covered, top)?;
    let mask = g.cast(is_top, g.dtype(call.dy))?;
    let mean = g.average_pool(mask, window, window)?;
    let share = scaled(g, call.dy, 1.0 / area(window))?;
    let share = g.div(share, mean)?;
    let share = g.upsample(share, window)?;
    let dx = g.mul(mask, share)?;
    Ok(vec![(0, uncovered(g, call, dx)?)])
}

pub(super) fn average_pool(g: &mut Graph, call: &Call) -> Result<Cotangents> {
    let (window, _) = windows(g, call)?;
    let share = scaled(g, call.dy, 1.0 / area(window))?;
    let dx = g.upsample(share, window)?;
    Ok(vec![(0, uncovered(g, call, dx)?)])
}

fn area(window: [usize; 2]) -> f32 {
    (window[0] * window[1]) as f32
}

fn scaled(g: &mut Graph, v: Value, by: f32) -> Result<Value> {
    let by = g.scalar(by);
    g.mul(v, by)
}

/// The window, and the part of the image that windows cover.
fn windows(g: &mut Graph, call: &Call) -> Result<([usize; 2], Value)> {
    let window = call.node.ints("kernel_shape");
    if window != call.node.ints("strides") {
        return Err(call.fail("has no derivative rule where windows overlap or leave gaps"));
    }
    let window = [window[0] as usize, window[1] as usize];
    let pooled = g.shape(call.y());
    let ends = [pooled[2] * window[0], pooled[3] * window[1]];
    Ok((window, g.slice(call.x(), &[0, 0], &ends, &[2, 3], &[1, 1])?))
}

/// Zeros for rows and columns that no window covers.
fn uncovered(g: &mut Graph, call: &Call, dx: Value) -> Result<Value> {
    let (whole, part) = (g.shape(call.x()), g.shape(dx));
    let pads = [0, 0, 0, 0, 0, 0, whole[2] - part[2], whole[3] - part[3]];
    g.pad(dx, &pads, 0.0)
}
