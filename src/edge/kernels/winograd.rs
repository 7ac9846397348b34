//! The transforms of Winograd's F(2×2, 3×3), compiled for each kind of CPU like the other passes:
//! additions in one order, so the same bits everywhere.
// Rows and columns are clearer by their numbers, and so are lanes.
#![allow(clippy::needless_range_loop)]

use super::epilogue::{piece, pieces};
use std::ops::Range;

passes! {
    /// `Bᵀ d B` of 4×4 pixels `d` of a map, each tile beginning at one of `origins`: `to` is
    /// `[16, tiles, channels]`.
    pub fn transform_inputs[](
        x: &[f32],
        row_stride: usize,
        origins: &[u32],
        channels: usize,
        to: &mut [f32],
    ) = inputs;

    /// `Aᵀ m A` of sums `[16, tiles, width]`: of each tile the `inside` rows and columns, pixel after pixel,
    /// into these `channels` of `to`, `[pixels, pitch]`.
    pub fn transform_outputs[](
        sums: &[f32],
        width: usize,
        inside: &[[usize; 2]],
        channels: Range<usize>,
        to: &mut [f32],
        pitch: usize,
    ) = outputs;
}

/// `Bᵀ` of four vectors.
#[inline(always)]
fn input_side<const N: usize>([a, b, c, d]: [[f32; N]; 4]) -> [[f32; N]; 4] {
    [minus(a, c), plus(b, c), minus(c, b), minus(b, d)]
}

/// `Aᵀ` of four vectors.
#[inline(always)]
fn output_side<const N: usize>([a, b, c, d]: [[f32; N]; 4]) -> [[f32; N]; 2] {
    [plus(plus(a, b), c), minus(minus(b, c), d)]
}

#[inline(always)]
fn plus<const N: usize>(mut a: [f32; N], b: [f32; N]) -> [f32; N] {
    for i in 0..N {
        a[i] += b[i];
    }
    a
}

#[inline(always)]
fn minus<const N: usize>(mut a: [f32; N], b: [f32; N]) -> [f32; N] {
    for i in 0..N {
        a[i] -= b[i];
    }
    a
}

/// Row `i` of a matrix of four columns becomes column `i`.
#[inline(always)]
fn transposed<const N: usize, const R: usize>(rows: [[[f32; N]; 4]; R]) -> [[[f32; N]; R]; 4] {
    let mut columns = [[[0.0; N]; R]; 4];
    for r in 0..R {
        for c in 0..4 {
            columns[c][r] = rows[r][c];
        }
    }
    columns
}

#[inline(always)]
fn inputs(x: &[f32], row_stride: usize, origins: &[u32], channels: usize, to: &mut [f32]) {
    let plane = origins.len() * channels;
    for (tile, origin) in origins.iter().enumerate() {
        pieces!(channels, |i, N| {
            let at = |row: usize, column: usize| *origin as usize + row * row_stride + column * channels + i;
            let mut columns = [[[0f32; N]; 4]; 4];
            for column in 0..4 {
                let mut down = [[0f32; N]; 4];
                for row in 0..4 {
                    down[row] = piece(x, at(row, column));
                }
                columns[column] = input_side(down);
            }
            for (row, across) in transposed(columns).into_iter().enumerate() {
                for (column, value) in input_side(across).into_iter().enumerate() {
                    to[(row * 4 + column) * plane + tile * channels + i..][..N].copy_from_slice(&value);
                }
            }
        });
    }
}

#[inline(always)]
fn outputs(
    sums: &[f32],
    width: usize,
    inside: &[[usize; 2]],
    channels: Range<usize>,
    to: &mut [f32],
    pitch: usize,
) {
    let plane = inside.len() * width;
    let mut begin = channels.start;
    for (tile, &[rows, columns]) in inside.iter().enumerate() {
        pieces!(channels.len(), |i, N| {
            let at = |place: usize| place * plane + tile * width + i;
            let mut sides = [[[0f32; N]; 4]; 2];
            for column in 0..4 {
                let mut down = [[0f32; N]; 4];
                for row in 0..4 {
                    down[row] = piece(sums, at(row * 4 + column));
                }
                let [upper, lower] = output_side(down);
                (sides[0][column], sides[1][column]) = (upper, lower);
            }
            for row in 0..rows {
                let across = output_side(sides[row]);
                for column in 0..columns {
                    let pixel = row * columns + column;
                    to[begin + pixel * pitch + i..][..N].copy_from_slice(&across[column]);
                }
            }
        });
        begin += rows * columns * pitch;
    }
}
