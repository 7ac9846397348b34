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
    /// The same of an integer to which so much is added first; float32 as it is.
    fn float_after(self, before: i32) -> f32;
}

/// An element that can be stored.
pub trait Output: Number {
    /// Stores a number that an [`Epilogue`] limited to what fits.
    fn of(x: f32, floor: bool) -> Self;
    /// The same of a number that is cut off and then moved up to what fits.
    fn lifted(x: f32, lift: f32) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self
    }
    #[inline(always)]
    fn float_after(self, _: i32) -> f32 {
        self
    }
}

impl Number for i32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn float_after(self, before: i32) -> f32 {
        self.wrapping_add(before) as f32
    }
}

impl Number for i16 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    fn float_after(self, before: i32) -> f32 {
        (i32::from(self) + before) as f32
    }
}

impl Number for u8 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    fn float_after(self, before: i32) -> f32 {
        (i32::from(self) + before) as f32
    }
}

impl Output for f32 {
    #[inline(always)]
    fn of(x: f32, floor: bool) -> f32 {
        if floor { x.floor() } else { x }
    }
    #[inline(always)]
    fn lifted(x: f32, lift: f32) -> f32 {
        x.floor() + lift
    }
}

impl Output for u8 {
    #[inline(always)]
    fn of(x: f32, _: bool) -> u8 {
        // SAFETY: limits of 8-bit outputs are within 0 and 255 (asserted in `epilogue`), and `max`
        // and `min` leave no NaN. Cutting off is `floor` for numbers that are not negative.
        unsafe { x.to_int_unchecked::<i32>() as u8 }
    }
    #[inline(always)]
    fn lifted(x: f32, lift: f32) -> u8 {
        // It is cut off before it is moved: a fraction may not fit beside what it is moved by.
        Self::of(limited(x.floor() + lift, 0.0, 255.0), true)
    }
}

/// What is done to a sum before it is stored: `· scale + shift`, `+ residual · factor`, limits, floor. On
/// the way to uint8 this is the requantisation of an integer product.
///
/// The limits come first; that is the same as last, since they are integers wherever there is a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// Added to integer sums, and to bytes, before all else: for each channel, or nothing.
    pub before: Vec<i32>,
    /// For each channel.
    pub scale: Vec<f32>,
    /// For each channel.
    pub shift: Vec<f32>,
    /// Times what is added from another map.
    pub residual_factor: f32,
    /// What the bytes of that map are moved up by.
    pub residual_lift: f32,
    /// Least value.
    pub low: f32,
    /// Greatest value.
    pub high: f32,
    /// Whether fractions are cut off downwards.
    pub floor: bool,
    /// What bytes are moved up by at the very end, so that they can stand for numbers below 0: for each channel, or
    /// nothing.
    pub lift: Vec<f32>,
}

impl Epilogue {
    /// # Panics
    /// If numbers could come out that the type does not hold.
    pub(super) fn check<O>(&self) {
        let limited = self.low >= 0.0 && self.high <= 255.0;
        assert!(size_of::<O>() != 1 || limited || !self.lift.is_empty(), "limits that 8 bits do not hold");
    }

    /// Whether what is stored is moved up: bytes alone are, so for float32 there is no code for it.
    #[inline(always)]
    pub(super) fn lifts<O>(&self) -> bool {
        size_of::<O>() == 1 && !self.lift.is_empty()
    }

    /// One that changes nothing.
    pub fn identity(channels: usize) -> Self {
        Self {
            before: Vec::new(),
            scale: vec![1.0; channels],
            shift: vec![0.0; channels],
            residual_factor: 1.0,
            residual_lift: 0.0,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
            floor: false,
            lift: Vec::new(),
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
    how.check::<O>();
    match how.lifts::<O>() {
        false => each::<false, _, _, _>(how, tile, residual, out, at),
        true => each::<true, _, _, _>(how, tile, residual, out, at),
    }
}

#[inline(always)]
fn each<const LIFTED: bool, A: Number, R: Number, O: Output>(
    how: &Epilogue,
    tile: &SumTile<'_, A>,
    residual: Option<Residual<'_, R>>,
    out: &mut [O],
    at: &[u32],
) {
    let Range { start, end } = tile.channels;
    let (scale, shift) = (&how.scale[start..end], &how.shift[start..end]);
    let before = if how.before.is_empty() { &[] } else { &how.before[start..end] };
    let pixels = &at[tile.pixels.clone()];
    let others = residual.map(|residual| &residual.at[tile.pixels.clone()]);
    // A piece of the channels for all pixels: its factors stay in registers.
    pieces!(end - start, |i, N| {
        let [a, b] = [piece::<N, f32>(scale, i), piece(shift, i)];
        let before = if before.is_empty() { [0; N] } else { piece::<N, i32>(before, i) };
        let lift = if LIFTED { piece::<N, f32>(&how.lift, start + i) } else { [0.0; N] };
        for (row, begin) in pixels.iter().enumerate() {
            let sums = piece::<N, A>(tile.sums, row * tile.width + i);
            let mut x = [0f32; N];
            for j in 0..N {
                x[j] = sums[j].float_after(before[j]) * a[j] + b[j];
            }
            if let (Some(residual), Some(others)) = (&residual, others) {
                let other = piece::<N, R>(residual.data, others[row] as usize + start + i);
                for j in 0..N {
                    x[j] += (other[j].float() - how.residual_lift) * how.residual_factor;
                }
            }
            let mut done = [O::default(); N];
            for j in 0..N {
                let x = limited(x[j], how.low, how.high);
                done[j] = if LIFTED { O::lifted(x, lift[j]) } else { O::of(x, how.floor) };
            }
            let to = *begin as usize + start + i;
            out[to..to + N].copy_from_slice(&done);
        }
    });
}

/// `x` within limits, and `low` for what is no number. Vectors of x86 and WebAssembly have instructions for
/// just these comparisons, those of ARM64 for `max` and `min` of IEEE 754.
#[inline(always)]
pub(super) fn limited(x: f32, low: f32, high: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        return x.max(low).min(high);
    }
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}
