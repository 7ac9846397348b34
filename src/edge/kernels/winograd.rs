//! The transforms of Winograd's F(2×2, 3×3), compiled for each kind of CPU like the other passes:
//! additions in one order, so the same bits everywhere.
// Rows and columns are clearer by their numbers, and so are lanes.
#![allow(clippy::needless_range_loop)]

use super::epilogue::pieces;
use super::{Choice, Element, Number};
use std::ops::Range;

/// Rows or columns of a tile of inputs, and of one of outputs.
const SIDE: usize = 4;
/// Places of a transformed tile.
const PLACES: usize = SIDE * SIDE;

/// A number that is added in the transforms. Integers wrap: only what comes out at the end must fit.
pub trait Term: Number {
    #[doc(hidden)]
    fn plus(self, other: Self) -> Self;
    #[doc(hidden)]
    fn minus(self, other: Self) -> Self;
}

/// The sums of transformed tiles.
pub trait Sum: Term {
    /// The true output of sums whose weights were those of [`Tiled::weight`].
    #[doc(hidden)]
    fn finished(self) -> Self;
}

/// What tiles are transformed to, to be multiplied.
pub trait Tiled: Choice + Term + Element<Sum: Sum> {
    /// What maps hold.
    type Pixel: Number + Into<Self>;
    /// A transformed weight of which the fourfold is given: the least factor that makes integers of all.
    fn weight(fourfold: f64) -> Self::Weight;
}

impl Tiled for f32 {
    type Pixel = f32;
    fn weight(fourfold: f64) -> f32 {
        (fourfold * 0.25) as f32
    }
}

impl Tiled for i16 {
    type Pixel = u8;
    /// The fourfold as it is.
    fn weight(fourfold: f64) -> i16 {
        fourfold as i16
    }
}

impl Sum for f32 {
    #[inline(always)]
    fn finished(self) -> Self {
        self
    }
}

impl Sum for i32 {
    /// A fourth, which leaves no rest.
    #[inline(always)]
    fn finished(self) -> Self {
        self >> 2
    }
}

impl Term for f32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Term for $integer {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
        }
    )*};
}

integers!(i16 i32);

passes! {
    /// `Bᵀ d B` of 4×4 pixels `d` of a map, each tile beginning at one of `origins`: `to` is
    /// `[tiles, 16, channels]`.
    pub fn transform_inputs[T: Tiled](
        x: &[T::Pixel],
        row_stride: usize,
        origins: &[u32],
        channels: usize,
        to: &mut [T],
    ) = inputs;

    /// `Aᵀ m A` of sums `[16, tiles, width]`, the first of each place a plane after that of the place before: of each
    /// tile the `inside` rows and columns, pixel after pixel, into these `channels` of `to`, `[pixels, pitch]`.
    pub fn transform_outputs[S: Sum](
        sums: &[S],
        plane_and_width: [usize; 2],
        inside: &[[usize; 2]],
        channels: Range<usize>,
        to: &mut [S],
        pitch: usize,
    ) = outputs;
}

#[inline(always)]
fn plus<const N: usize, T: Term>(mut a: [T; N], b: [T; N]) -> [T; N] {
    for i in 0..N {
        a[i] = a[i].plus(b[i]);
    }
    a
}

#[inline(always)]
fn minus<const N: usize, T: Term>(mut a: [T; N], b: [T; N]) -> [T; N] {
    for i in 0..N {
        a[i] = a[i].minus(b[i]);
    }
    a
}

/// N elements from `at`, of another type.
///
/// # Safety
/// They are inside.
#[inline(always)]
unsafe fn load<const N: usize, P: Number + Into<T>, T: Number>(at: *const P) -> [T; N] {
    // SAFETY: as the caller promises; they need not be aligned.
    let pixels = unsafe { at.cast::<[P; N]>().read_unaligned() };
    let mut piece = [T::default(); N];
    for i in 0..N {
        piece[i] = pixels[i].into();
    }
    piece
}

/// N elements to `at`.
///
/// # Safety
/// They are inside.
#[inline(always)]
unsafe fn store<const N: usize, T: Number>(at: *mut T, piece: [T; N]) {
    // SAFETY: as the caller promises; they need not be aligned.
    unsafe { at.cast::<[T; N]>().write_unaligned(piece) }
}

/// Row by row of the result, so that no more is held than registers hold; pixels that two rows need are
/// loaded twice.
#[inline(always)]
fn inputs<T: Tiled>(x: &[T::Pixel], row_stride: usize, origins: &[u32], channels: usize, to: &mut [T]) {
    let last = origins.iter().copied().max().unwrap_or(0) as usize;
    assert!(last + (SIDE - 1) * row_stride + SIDE * channels <= x.len(), "a tile reaches over the end");
    assert!(origins.len() * PLACES * channels <= to.len(), "too little memory for transformed tiles");
    for (tile, origin) in origins.iter().enumerate() {
        let (x, to) = (&x[*origin as usize..], &mut to[tile * PLACES * channels..]);
        let (x, to) = (x.as_ptr(), to.as_mut_ptr());
        pieces!(channels, |i, N| {
            let pixel = |row: usize, column: usize| -> [T; N] {
                // SAFETY: less than four rows and columns behind the origin, which was found to be inside.
                unsafe { load(x.add(row * row_stride + column * channels + i)) }
            };
            for row in 0..SIDE {
                let mut down = [[T::default(); N]; SIDE];
                for column in 0..SIDE {
                    down[column] = match row {
                        0 => minus(pixel(0, column), pixel(2, column)),
                        1 => plus(pixel(1, column), pixel(2, column)),
                        2 => minus(pixel(2, column), pixel(1, column)),
                        _ => minus(pixel(1, column), pixel(3, column)),
                    };
                }
                let [a, b, c, d] = down;
                let across = [minus(a, c), plus(b, c), minus(c, b), minus(b, d)];
                for column in 0..SIDE {
                    // SAFETY: one of the tile's places, of which there is memory, as asserted.
                    unsafe { store(to.add((row * SIDE + column) * channels + i), across[column]) };
                }
            }
        });
    }
}

#[inline(always)]
fn outputs<S: Sum>(
    sums: &[S],
    [plane, width]: [usize; 2],
    inside: &[[usize; 2]],
    channels: Range<usize>,
    to: &mut [S],
    pitch: usize,
) {
    let pixels: usize = inside.iter().map(|[rows, columns]| rows * columns).sum();
    let whole = inside.len() * width <= plane && channels.len() <= width;
    assert!(whole && PLACES * plane <= sums.len(), "too few sums of transformed tiles");
    assert!(
        channels.end <= pitch && pixels * pitch <= to.len(),
        "too little memory for the outputs of tiles"
    );
    let mut done = 0;
    for (tile, &[rows, columns]) in inside.iter().enumerate() {
        pieces!(channels.len(), |i, N| {
            let sum = |row: usize, column: usize| -> [S; N] {
                // SAFETY: a place of the tile's, which was found to be inside.
                unsafe { load(sums.as_ptr().add((row * SIDE + column) * plane + tile * width + i)) }
            };
            for row in 0..rows {
                let mut down = [[S::default(); N]; SIDE];
                for column in 0..SIDE {
                    down[column] = match row {
                        0 => plus(plus(sum(0, column), sum(1, column)), sum(2, column)),
                        _ => minus(minus(sum(1, column), sum(2, column)), sum(3, column)),
                    };
                }
                let [a, b, c, d] = down;
                let across = [plus(plus(a, b), c), minus(minus(b, c), d)];
                for column in 0..columns {
                    let mut finished = across[column];
                    for value in &mut finished {
                        *value = value.finished();
                    }
                    let at = (done + row * columns + column) * pitch + channels.start + i;
                    // SAFETY: a pixel that was counted above, and channels within its pitch.
                    unsafe { store(to.as_mut_ptr().add(at), finished) };
                }
            }
        });
        done += rows * columns;
    }
}
