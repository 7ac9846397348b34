//! Images of another size: each pixel a weighted sum of some of the input's.

use super::epilogue::{Number, piece, pieces};

/// The pixels along one axis: for each, how far from the corner its terms lie, and their weights.
pub type Line = Vec<Vec<(u32, f32)>>;

/// What each pixel is a sum of: the terms of its row times those of its column.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Of each row of the result.
    pub rows: Line,
    /// Of each column.
    pub columns: Line,
}

passes! {
    /// Sums the pixels of `x`, whose corner is `corner`, for each pixel of `out`; those begin `at`.
    pub fn resample[T: Number](
        x: &[T], corner: usize, channels: usize, how: &Sampling, out: &mut [f32], at: &[u32],
    ) = sums;
}

#[inline(always)]
fn sums<T: Number>(x: &[T], corner: usize, channels: usize, how: &Sampling, out: &mut [f32], at: &[u32]) {
    let pixels = how.rows.iter().flat_map(|row| how.columns.iter().map(move |column| (row, column)));
    for ((row, column), at) in pixels.zip(at) {
        let out = &mut out[*at as usize..][..channels];
        pieces!(channels, |i, N| {
            let mut sums = [0f32; N];
            for (down, by_row) in row {
                for (across, by_column) in column {
                    let values = piece::<N, T>(x, corner + *down as usize + *across as usize + i);
                    for j in 0..N {
                        sums[j] += values[j].float() * (by_row * by_column);
                    }
                }
            }
            out[i..i + N].copy_from_slice(&sums);
        });
    }
}
