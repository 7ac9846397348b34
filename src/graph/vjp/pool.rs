//! Rules of pooling, and of its reverse.
//!
//! Where windows do not overlap, what belongs to a window is brought back to the image's size by `Resize`
//! (nearest neighbour): ONNX Runtime has a fast path for it, while a comparison broadcast over
//! `[N, C, H/k, k, W/k, k]` takes six times as long. Where they overlap, the image is put together tap by tap.

use super::{Call, joined};
use crate::graph::Expr;

/// The maximum's cotangent goes to where it came from, in equal shares where several are equal.
pub(super) fn max_pool<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let windows = Windows::of(c)?;
        if !windows.apart() {
            let masks = windows.taps(|tap| Ok(windows.seen(c.x[0], tap)?.equal(c.y).cast(c.dy.dtype())))?;
            let Some(ties) = masks.iter().copied().reduce(|a, b| a + b) else { return Ok(c.dy) };
            let share = c.dy / ties;
            return windows.image(c, &masks.iter().map(|mask| *mask * share).collect::<Vec<_>>());
        }
        // The number of ties is k² times the mean of the mask, an average pool.
        let window = windows.sides;
        let [_, _, rows, columns] = c.y.dims()?;
        let covered = c.x[0].slice(&[0, 0], &[rows * window[0], columns * window[1]], &[2, 3], &[1, 1]);
        let mask = covered.equal(c.y.upsample(window)).cast(c.dy.dtype());
        let mean = mask.average_pool(window, window);
        let share = c.dy * (1.0 / windows.area()) / mean;
        uncovered(c, mask * share.upsample(window))
    })
}

pub(super) fn average_pool<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let windows = Windows::of(c)?;
        let share = c.dy * (1.0 / windows.area());
        match windows.apart() {
            true => uncovered(c, share.upsample(windows.sides)),
            false => windows.image(c, &windows.taps(|_| Ok(share))?),
        }
    })
}

/// Each square of equal numbers is one number again: their cotangents' sum.
pub(super) fn upsample<'g>(c: &Call<'g>) -> Expr<'g> {
    c.attempt(|| {
        let ([_, _, h, w], [_, _, rows, columns]) = (c.x[0].dims()?, c.y.dims()?);
        let factor = [rows / h, columns / w];
        Ok(c.dy.average_pool(factor, factor) * (factor[0] * factor[1]) as f32)
    })
}

/// Zeros for rows and columns that no window covers.
fn uncovered<'g>(c: &Call<'g>, dx: Expr<'g>) -> Result<Expr<'g>, String> {
    let ([_, _, h, w], [_, _, rows, columns]) = (c.x[0].dims()?, dx.dims()?);
    Ok(dx.pad(&[0, 0, 0, 0, 0, 0, h - rows, w - columns], 0.0))
}

/// How the windows of a pool lie.
struct Windows {
    sides: [usize; 2],
    strides: [usize; 2],
    /// Windows along each axis.
    places: [usize; 2],
}

impl Windows {
    fn of(c: &Call<'_>) -> Result<Self, String> {
        let [_, _, rows, columns] = c.y.dims()?;
        match (c.node.ints("kernel_shape"), c.node.ints("strides")) {
            (Some(&[h, w]), Some(&[down, across])) => Ok(Self {
                sides: [h as usize, w as usize],
                strides: [down as usize, across as usize],
                places: [rows, columns],
            }),
            _ => Err("lacks the sides or the strides of its windows".into()),
        }
    }

    /// Whether windows neither overlap nor leave gaps.
    fn apart(&self) -> bool {
        self.sides == self.strides
    }

    fn area(&self) -> f32 {
        (self.sides[0] * self.sides[1]) as f32
    }

    /// What `of` gives for each place within a window, row by row.
    fn taps<T>(&self, of: impl Fn([usize; 2]) -> Result<T, String>) -> Result<Vec<T>, String> {
        (0..self.sides[0] * self.sides[1]).map(|at| of([at / self.sides[1], at % self.sides[1]])).collect()
    }

    /// What all windows see at one of their places: `[N, C, H′, W′]`.
    fn seen<'g>(&self, x: Expr<'g>, tap: [usize; 2]) -> Result<Expr<'g>, String> {
        let ends = [0, 1].map(|axis| tap[axis] + (self.places[axis] - 1) * self.strides[axis] + 1);
        Ok(x.slice(&tap, &ends, &[2, 3], &self.strides))
    }

    /// The image whose pixels are the sums of what each window holds at their place: the reverse of
    /// [`Windows::seen`]. A stride splits it into phases, the pixels `s·m + r` for one r; each is a sum at the
    /// windows' size, and only then are they put between each other.
    fn image<'g>(&self, c: &Call<'g>, taps: &[Expr<'g>]) -> Result<Expr<'g>, String> {
        let [n, channels, h, w] = c.x[0].dims()?;
        let grid = [h.div_ceil(self.strides[0]), w.div_ceil(self.strides[1])];
        let phase = |row: usize, column: usize| {
            let mut sum: Option<Expr<'g>> = None;
            for i in (row..self.sides[0]).step_by(self.strides[0]) {
                for j in (column..self.sides[1]).step_by(self.strides[1]) {
                    let before = [i / self.strides[0], j / self.strides[1]];
                    let after = [0, 1].map(|axis| grid[axis] - self.places[axis] - before[axis]);
                    let pads = [0, 0, before[0], before[1], 0, 0, after[0], after[1]];
                    let part = taps[i * self.sides[1] + j].pad(&pads, 0.0);
                    sum = Some(sum.map_or(part, |sum| sum + part));
                }
            }
            let whole = [n, channels, grid[0], 1, grid[1], 1];
            sum.map_or_else(|| c.dy.graph().scalar(0.0).expand(&whole), |sum| sum.reshape(&whole))
        };
        let band = |row: usize| {
            let phases: Vec<_> = (0..self.strides[1]).map(|column| phase(row, column)).collect();
            joined(&phases, 5)
        };
        let bands = (0..self.strides[0]).map(band).collect::<Result<Vec<_>, String>>()?;
        let [rows, columns] = [0, 1].map(|axis| grid[axis] * self.strides[axis]);
        let image = joined(&bands, 3)?.reshape(&[n, channels, rows, columns]);
        Ok(image.slice(&[0, 0], &[h, w], &[2, 3], &[1, 1]))
    }
}
