//! Element-wise passes and pools: one generic body each, compiled again for each kind of CPU so that
//! the compiler vectorises it with what that CPU has.
//!
//! They do the same float32 operations in the same order on every CPU (never fused), so they give the
//! same bits everywhere.

use super::{Kernels, Level, pack::Part};
use std::ops::Range;

/// An element that can be read as float32.
pub trait Number: Copy + Default + Send + Sync + PartialOrd + std::fmt::Debug + 'static {
    /// Exact for all that is stored here: integers below 2²⁴, or float32 itself.
    fn float(self) -> f32;
}

/// An element that can be stored.
pub trait Output: Number {
    /// Stores a number that [`Finish`] limited to what fits.
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
        // SAFETY: limits of 8-bit outputs are within 0 and 255 (asserted in `finish`), and `max`
        // and `min` leave no NaN. Cutting off is `floor` for numbers that are not negative.
        unsafe { x.to_int_unchecked::<i32>() as u8 }
    }
}

/// What is done to a sum before it is stored: `· scale + shift`, `+ beside · factor`, limits, floor.
///
/// The limits come first; that is the same as last, since they are integers wherever there is a floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// For each channel.
    pub scale: Vec<f32>,
    /// For each channel.
    pub shift: Vec<f32>,
    /// Times what is added from another map.
    pub factor: f32,
    /// Least value.
    pub low: f32,
    /// Greatest value.
    pub high: f32,
    /// Whether fractions are cut off downwards.
    pub floor: bool,
}

/// Another map of the same pixels and channels that is added.
#[derive(Clone, Copy)]
pub struct Beside<'a, R> {
    /// The map.
    pub data: &'a [R],
    /// Where each pixel begins.
    pub at: &'a [u32],
}

impl Kernels {
    /// Finishes sums and stores them; `at` tells where each pixel of `out` begins.
    pub fn finish<A: Number, R: Number, O: Output>(
        &self,
        how: &Finish,
        part: &Part<'_, A>,
        beside: Option<Beside<'_, R>>,
        out: &mut [O],
        at: &[u32],
    ) {
        if size_of::<O>() == 1 {
            assert!(how.low >= 0.0 && how.high <= 255.0, "limits that 8 bits do not hold");
        }
        match self.level {
            Level::Portable => finish(how, part, beside, out, at),
            // SAFETY: the kernels were chosen for this CPU.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { finish_avx2(how, part, beside, out, at) },
            // SAFETY: the kernels were chosen for this CPU.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { finish_avx512(how, part, beside, out, at) },
        }
    }

    /// The greatest of each window: pixel i begins at `from[i]` of `x` and has `taps` elements beside
    /// it, and `channels` channels.
    pub fn max_pool<T: Number>(&self, x: &[T], from: &[u32], window: Window<'_>, out: &mut [T], at: &[u32]) {
        match self.level {
            Level::Portable => max_pool(x, from, window, out, at),
            // SAFETY: the kernels were chosen for this CPU.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { max_pool_avx2(x, from, window, out, at) },
            // SAFETY: the kernels were chosen for this CPU.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { max_pool_avx512(x, from, window, out, at) },
        }
    }

    /// The sum of each window divided by `divisor`, as [`Kernels::max_pool`].
    pub fn mean_pool<T: Number>(
        &self,
        x: &[T],
        from: &[u32],
        window: Window<'_>,
        divisor: f32,
        out: &mut [f32],
        at: &[u32],
    ) {
        match self.level {
            Level::Portable => mean_pool(x, from, window, divisor, out, at),
            // SAFETY: the kernels were chosen for this CPU.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { mean_pool_avx2(x, from, window, divisor, out, at) },
            // SAFETY: the kernels were chosen for this CPU.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { mean_pool_avx512(x, from, window, divisor, out, at) },
        }
    }
}

/// The window of a pool.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    /// Elements from a window's first pixel to each of its pixels.
    pub taps: &'a [u32],
    /// Channels of the map.
    pub channels: usize,
}

/// Compiles a generic body for AVX2 and for AVX-512.
macro_rules! widened {
    ($body:ident, $avx2:ident, $avx512:ident, <$($g:ident: $bound:ident),*>, ($($a:ident: $t:ty),*)) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2<$($g: $bound),*>($($a: $t),*) {
            $body($($a),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
        fn $avx512<$($g: $bound),*>($($a: $t),*) {
            $body($($a),*)
        }
    };
}

widened!(finish, finish_avx2, finish_avx512, <A: Number, R: Number, O: Output>,
    (how: &Finish, part: &Part<'_, A>, beside: Option<Beside<'_, R>>, out: &mut [O], at: &[u32]));
widened!(max_pool, max_pool_avx2, max_pool_avx512, <T: Number>,
    (x: &[T], from: &[u32], window: Window<'_>, out: &mut [T], at: &[u32]));
widened!(mean_pool, mean_pool_avx2, mean_pool_avx512, <T: Number>,
    (x: &[T], from: &[u32], window: Window<'_>, divisor: f32, out: &mut [f32], at: &[u32]));

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

pub(super) use {pieces, widened};

/// N elements from `at`.
#[inline(always)]
pub(super) fn piece<const N: usize, T: Copy + Default>(x: &[T], at: usize) -> [T; N] {
    let mut piece = [T::default(); N];
    piece.copy_from_slice(&x[at..at + N]);
    piece
}

#[inline(always)]
fn finish<A: Number, R: Number, O: Output>(
    how: &Finish,
    part: &Part<'_, A>,
    beside: Option<Beside<'_, R>>,
    out: &mut [O],
    at: &[u32],
) {
    let Range { start, end } = part.channels;
    let (scale, shift) = (&how.scale[start..end], &how.shift[start..end]);
    let count = end - start;
    for (row, pixel) in part.pixels.clone().enumerate() {
        let sums = &part.sums[row * part.width..][..count];
        let begin = at[pixel] as usize + start;
        let out = &mut out[begin..begin + count];
        match beside {
            None => pieces!(count, |i, N| {
                let [a, b] = [piece::<N, f32>(scale, i), piece(shift, i)];
                let sums = piece::<N, A>(sums, i);
                let mut done = [O::default(); N];
                for j in 0..N {
                    let x = sums[j].float() * a[j] + b[j];
                    done[j] = O::of(x.max(how.low).min(how.high), how.floor);
                }
                out[i..i + N].copy_from_slice(&done);
            }),
            Some(beside) => {
                let begin = beside.at[pixel] as usize + start;
                let other = &beside.data[begin..begin + count];
                pieces!(count, |i, N| {
                    let [a, b] = [piece::<N, f32>(scale, i), piece(shift, i)];
                    let (sums, other) = (piece::<N, A>(sums, i), piece::<N, R>(other, i));
                    let mut done = [O::default(); N];
                    for j in 0..N {
                        let x = sums[j].float() * a[j] + b[j] + other[j].float() * how.factor;
                        done[j] = O::of(x.max(how.low).min(how.high), how.floor);
                    }
                    out[i..i + N].copy_from_slice(&done);
                });
            }
        }
    }
}

#[inline(always)]
fn max_pool<T: Number>(x: &[T], from: &[u32], window: Window<'_>, out: &mut [T], at: &[u32]) {
    for (from, at) in from.iter().zip(at) {
        let out = &mut out[*at as usize..][..window.channels];
        pieces!(window.channels, |i, N| {
            let mut greatest = [T::default(); N];
            for (k, tap) in window.taps.iter().enumerate() {
                let values = piece::<N, T>(x, (*from + *tap) as usize + i);
                for j in 0..N {
                    greatest[j] = if k == 0 || values[j] > greatest[j] { values[j] } else { greatest[j] };
                }
            }
            out[i..i + N].copy_from_slice(&greatest);
        });
    }
}

#[inline(always)]
fn mean_pool<T: Number>(
    x: &[T],
    from: &[u32],
    window: Window<'_>,
    divisor: f32,
    out: &mut [f32],
    at: &[u32],
) {
    for (from, at) in from.iter().zip(at) {
        let out = &mut out[*at as usize..][..window.channels];
        pieces!(window.channels, |i, N| {
            let mut sums = [0f32; N];
            for tap in window.taps {
                let values = piece::<N, T>(x, (*from + *tap) as usize + i);
                for j in 0..N {
                    sums[j] += values[j].float();
                }
            }
            sums.iter_mut().for_each(|sum| *sum /= divisor);
            out[i..i + N].copy_from_slice(&sums);
        });
    }
}
