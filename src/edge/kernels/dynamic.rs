//! Products of two maps: the second is packed anew for each run.

use super::pack::{SumTile, blocks_of, for_tiles};
use super::{Kernels, MAX_SUMS, Walk};

/// A matrix that lies in a map: `[K, N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// K, N.
    pub size: [usize; 2],
    /// Elements from a row to the next, and from a column to the next.
    pub strides: [usize; 2],
}

impl Kernels {
    /// Sums the products of `rows` of `x` (runs of K elements that begin at these places) with the matrix
    /// that begins at `at` of `y`; `each` takes them tile by tile. `panel` is memory that is used again.
    ///
    /// # Panics
    /// If a row or the matrix reaches over the end of its map.
    pub fn product_of_maps(
        &self,
        (x, rows): (&[f32], &[u32]),
        (y, at, matrix): (&[f32], usize, Matrix),
        panel: &mut Vec<f32>,
        mut each: impl FnMut(SumTile<'_, f32>),
    ) {
        let Matrix { size: [steps, columns], strides } = matrix;
        let last = rows.iter().copied().max().unwrap_or(0) as usize;
        assert!(last + steps <= x.len(), "a row reaches over the end of its buffer");
        let furthest = at + steps.saturating_sub(1) * strides[0] + columns.saturating_sub(1) * strides[1];
        assert!(furthest < y.len(), "a matrix reaches over the end of its buffer");
        let advances = [0];
        let walk = Walk { advances: &advances, steps };
        let mut sums = [0f32; MAX_SUMS];
        for (channels, width, heights) in blocks_of(self.float, columns) {
            panel.clear();
            panel.resize(steps * width, 0.0);
            for (step, line) in panel.chunks_exact_mut(width).enumerate() {
                let begin = at + step * strides[0] + channels.start * strides[1];
                let from = y[begin..].iter().step_by(strides[1].max(1));
                line[..channels.len()].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
            for_tiles(heights, rows.len(), 1, |range, _, kernel| {
                let tile = &rows[range.clone()];
                // SAFETY: the kernels were chosen for this CPU; every row is inside `x`, as found above; the
                // panel holds steps × width weights (the loads do not ask for aligned ones), and `sums` as
                // many as any tile has.
                unsafe { kernel(x.as_ptr(), tile.as_ptr(), &walk, panel.as_ptr(), sums.as_mut_ptr()) };
                let sums = &sums[..range.len() * width];
                each(SumTile { pixels: range, channels: channels.clone(), width, sums });
            });
        }
    }
}
