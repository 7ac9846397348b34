//! The epilogue of a product, and the types that it reads and stores.
//!
//! Element-wise passes have one generic body each, compiled again for each kind of CPU. They do the same
//! float32 operations in the same order on every CPU (never fused), so they give the same bits everywhere.

use super::pack::SumTile;
use std::ops::Range;

/// An element that can be read as float32.
pub trait Number: Copy + Default + Send + Sync + PartialOrd + std::fmt::Debug + 'static {
    /// Exact for all that is stored here: integers below 2²⁴, or float32 itself.
    fn float(self) -> f32;
}

/// An element that can be stored.
pub trait Output: Number {
    /// Stores a number that an [`Epilogue`] limited to what fits.
    fn of(x: f32, floor: bool) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self
    }
}

impl Number for i32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self as f32
    }
}

impl Number for i16 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
}

impl Number for u8 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
}

impl Output for f32 {
    #[inline(always)]
    fn of(x: f32, floor: bool) -> f32 {
        if floor { x.floor() } else { x }
    }
}

impl Output for u8 {
    #[inline(always)]
    fn of(x: f32, _: bool) -> u8 {
        // SAFETY: limits of 8-bit outputs are within 0 and 255 (asserted in `epilogue`), and `max`
        // and `min` leave no NaN. Cutting off is `floor` for numbers that are not negative.
        unsafe { x.to_int_unchecked::<i32>() as u8 }
    }
}

/// What is done to a sum before it is stored: `· scale + shift`, `+ residual · factor`, limits, floor. On
/// the way to uint8 this is the requantisation of an integer product.
///
/// The limits come first; that is the same as last, since they are integers wherever there is a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// For each channel.
    pub scale: Vec<f32>,
    /// For each channel.
    pub shift: Vec<f32>,
    /// Times what is added from another map.
    pub residual_factor: f32,
    /// Least value.
    pub low: f32,
    /// Greatest value.
    pub high: f32,
    /// Whether fractions are cut off downwards.
    pub floor: bool,
}

impl Epilogue {
    /// One that changes nothing.
    pub fn identity(channels: usize) -> Self {
        Self {
            scale: vec![1.0; channels],
            shift: vec![0.0; channels],
            residual_factor: 1.0,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
            floor: false,
        }
    }
}

/// Another map of the same pixels and channels that is added.
#[derive(Clone, Copy)]
pub struct Residual<'a, R> {
    /// The map.
    pub data: &'a [R],
    /// Where each pixel begins.
    pub at: &'a [u32],
}

passes! {
    /// Applies an epilogue to sums and stores them; `at` tells where each pixel of `out` begins.
    pub fn store[A: Number, R: Number, O: Output](
        how: &Epilogue,
        tile: &SumTile<'_, A>,
        residual: Option<Residual<'_, R>>,
        out: &mut [O],
        at: &[u32],
    ) = epilogue;
}

/// Calls `body!(place, width)` over a range in pieces of 16, 8 and 1.
macro_rules! pieces {
    ($count:expr, |$i:ident, $n:ident| $body:block) => {{
        let (count, mut $i) = ($count, 0);
        while count - $i >= 16 {
            const $n: usize = 16;
            $body
            $i += 16;
        }
        if count - $i >= 8 {
            const $n: usize = 8;
            $body
            $i += 8;
        }
        while $i < count {
            const $n: usize = 1;
            $body
            $i += 1;
        }
    }};
}

pub(super) use pieces;

/// N elements from `at`.
#[inline(always)]
pub(super) fn piece<const N: usize, T: Copy + Default>(x: &[T], at: usize) -> [T; N] {
    let mut piece = [T::default(); N];
    piece.copy_from_slice(&x[at..at + N]);
    piece
}

#[inline(always)]
fn epilogue<A: Number, R: Number, O: Output>(
    how: &Epilogue,
    tile: &SumTile<'_, A>,
    residual: Option<Residual<'_, R>>,
    out: &mut [O],
    at: &[u32],
) {
    if size_of::<O>() == 1 {
        assert!(how.low >= 0.0 && how.high <= 255.0, "limits that 8 bits do not hold");
    }
    let Range { start, end } = tile.channels;
    let (scale, shift) = (&how.scale[start..end], &how.shift[start..end]);
    let pixels = &at[tile.pixels.clone()];
    let others = residual.map(|residual| &residual.at[tile.pixels.clone()]);
    // A piece of the channels for all pixels: its factors stay in registers.
    pieces!(end - start, |i, N| {
        let [a, b] = [piece::<N, f32>(scale, i), piece(shift, i)];
        for (row, begin) in pixels.iter().enumerate() {
            let sums = piece::<N, A>(tile.sums, row * tile.width + i);
            let mut x = [0f32; N];
            for j in 0..N {
                x[j] = sums[j].float() * a[j] + b[j];
            }
            if let (Some(residual), Some(others)) = (&residual, others) {
                let other = piece::<N, R>(residual.data, others[row] as usize + start + i);
                for j in 0..N {
                    x[j] += other[j].float() * how.residual_factor;
                }
            }
            let mut done = [O::default(); N];
            for j in 0..N {
                done[j] = O::of(limited(x[j], how.low, how.high), how.floor);
            }
            let to = *begin as usize + start + i;
            out[to..to + N].copy_from_slice(&done);
        }
    });
}

/// `x` within limits, and `low` for what is no number. Vectors of x86 and WebAssembly have instructions for
/// just these comparisons, those of ARM64 for `max` and `min` of IEEE 754.
#[inline(always)]
fn limited(x: f32, low: f32, high: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        return x.max(low).min(high);
    }
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}
