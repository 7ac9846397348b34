//! Rules of pooling, for windows that do not overlap.

use super::Call;
use crate::graph::Expr;

/// The maximum's cotangent goes to where it came from, in equal shares where several are equal.
///
/// The maxima are brought back to the image's size by `Resize` (nearest neighbour): ONNX Runtime has
/// a fast path for it, while a comparison broadcast over `[N, C, H/k, k, W/k, k]` takes six times as
/// long. The number of ties is k² times the mean of the mask, an average pool.
pub(super) fn max_pool<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let window = window(c)?;
        let [_, _, rows, columns] = c.y.dims()?;
        let covered = c.x[0].slice(&[0, 0], &[rows * window[0], columns * window[1]], &[2, 3], &[1, 1]);
        let mask = covered.equal(c.y.upsample(window)).cast(c.dy.dtype());
        let mean = mask.average_pool(window, window);
        let share = c.dy * (1.0 / area(window)) / mean;
        uncovered(c, mask * share.upsample(window))
    })
}

pub(super) fn average_pool<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let window = window(c)?;
        uncovered(c, (c.dy * (1.0 / area(window))).upsample(window))
    })
}

fn area(window: [usize; 2]) -> f32 {
    (window[0] * window[1]) as f32
}

fn window(c: &Call<'_>) -> Result<[usize; 2], String> {
    match (c.node.ints("kernel_shape"), c.node.ints("strides")) {
        (Some(&[h, w]), Some(strides)) if strides == [h, w] => Ok([h as usize, w as usize]),
        _ => Err("has no derivative rule where windows overlap or leave gaps".into()),
    }
}

/// Zeros for rows and columns that no window covers.
fn uncovered<'g>(c: &Call<'g>, dx: Expr<'g>) -> Result<Expr<'g>, String> {
    let ([_, _, h, w], [_, _, rows, columns]) = (c.x[0].dims()?, dx.dims()?);
    Ok(dx.pad(&[0, 0, 0, 0, 0, 0, h - rows, w - columns], 0.0))
}
