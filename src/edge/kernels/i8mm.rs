//! Kernels for ARM64 with products of small matrices of 8 bits (Neoverse V1, Cortex-A510, A710 and later).

use super::neon::{NEON, opaque_bytes};
use super::{Kernels, Layout, MicroKernels, Walk};
use std::arch::{aarch64::*, asm, is_aarch64_feature_detected};

/// What this CPU has.
pub fn available() -> Option<&'static Kernels> {
    let has = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("i8mm");
    has.then_some(&I8MM)
}

static I8MM: Kernels = Kernels { name: "i8mm", int: &MATRICES, wide: &MATRICES, ..NEON };

/// Of any 8-bit inputs: they are taken without sign, weights with one.
static MATRICES: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: Layout { neighbours: 8, beside: 8, offset: 0 },
    widths: &[
        &[(12, matrix::<1, 12, 6>), (4, matrix::<1, 4, 2>), (1, matrix::<1, 1, 1>)],
        &[(4, matrix::<2, 4, 2>), (1, matrix::<2, 1, 1>)],
        &[(6, matrix::<3, 6, 3>), (4, matrix::<3, 4, 2>), (1, matrix::<3, 1, 1>)],
        &[(4, matrix::<4, 4, 2>), (2, matrix::<4, 2, 1>), (1, matrix::<4, 1, 1>)],
    ],
    peak: &MATRIX_PEAK,
};

peak! {
    #[target_feature(enable = "neon,i8mm")]
    MATRIX_PEAK: sums 16 of 4, group 8, begin vdupq_n_s32(0), x vdupq_n_s8(1), w vdupq_n_s8(1),
    opaque opaque_bytes, add |sums, x, w| add_matrix(sums, vreinterpretq_u8_s8(x), w)
}

/// The product of two rows of eight unsigned bytes with two columns of eight signed ones: `[2, 2]`. Rust has
/// no stable intrinsic for it.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add_matrix(mut sums: int32x4_t, rows: uint8x16_t, columns: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the features above, which touches nothing but these registers.
    unsafe {
        asm!(
            "usmmla {sums:v}.4s, {rows:v}.16b, {columns:v}.16b",
            sums = inlateout(vreg) sums,
            rows = in(vreg) rows,
            columns = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// A [`super::MicroKernel`]. Two pixels are the rows of a matrix and two channels its columns, eight
/// neighbours along the sum at once: PAIRS of pixels, the last perhaps of one.
#[target_feature(enable = "neon,i8mm")]
unsafe fn matrix<const V: usize, const P: usize, const PAIRS: usize>(
    x: *const u8,
    offsets: *const u32,
    walk: &Walk<'_>,
    mut w: *const i8,
    out: *mut i32,
) {
    // SAFETY: the caller keeps the promises of `MicroKernel`, which bound every address below.
    unsafe {
        let mut runs = [x; P];
        for p in 0..P {
            runs[p] = x.add(*offsets.add(p) as usize);
        }
        let mut sums = [[[vdupq_n_s32(0); 2]; V]; PAIRS];
        for advance in walk.advances {
            let mut k = 0;
            while k + 4 <= walk.steps {
                let mut values = [vld1q_u8(runs[0].add(4 * k)); P];
                for p in 1..P {
                    values[p] = vld1q_u8(runs[p].add(4 * k));
                }
                let (mut first, mut second) = ([vdupq_n_u8(0); PAIRS], [vdupq_n_u8(0); PAIRS]);
                for pair in 0..PAIRS {
                    let [a, b] = two(&values, pair).map(|x| vreinterpretq_u64_u8(x));
                    first[pair] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
                    second[pair] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
                }
                add_rows(&mut sums, first, &mut w);
                add_rows(&mut sums, second, &mut w);
                k += 4;
            }
            while k < walk.steps {
                let whole = k + 2 <= walk.steps;
                let mut rows = [vdup_n_u8(0); P];
                for p in 0..P {
                    let x = runs[p].add(4 * k);
                    rows[p] = if whole { vld1_u8(x) } else { half_row(x) };
                }
                let mut pairs = [vdupq_n_u8(0); PAIRS];
                for pair in 0..PAIRS {
                    let [a, b] = two(&rows, pair);
                    pairs[pair] = vcombine_u8(a, b);
                }
                add_rows(&mut sums, pairs, &mut w);
                k += 2;
            }
            for run in &mut runs {
                *run = run.wrapping_add(*advance);
            }
        }
        for p in 0..P {
            for v in 0..V {
                let [left, right] = sums[p / 2][v].map(|sums| vreinterpretq_s64_s32(sums));
                let row = if p % 2 == 0 { vzip1q_s64(left, right) } else { vzip2q_s64(left, right) };
                vst1q_s32(out.add((p * V + v) * 4), vreinterpretq_s32_s64(row));
            }
        }
    }
}

/// Four neighbours of one pixel, and nothing.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn half_row(x: *const u8) -> uint8x8_t {
    // SAFETY: a group of four is inside; it need not be aligned.
    vcreate_u8(u64::from(unsafe { x.cast::<u32>().read_unaligned() }))
}

/// The values of both pixels of a pair; of the last, perhaps the same twice.
#[inline(always)]
fn two<const P: usize, T: Copy>(values: &[T; P], pair: usize) -> [T; 2] {
    [values[2 * pair], values[if 2 * pair + 1 < P { 2 * pair + 1 } else { 2 * pair }]]
}

/// Adds the products of rows with the next V vectors of weights.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn add_rows<const V: usize, const PAIRS: usize>(
    sums: &mut [[[int32x4_t; 2]; V]; PAIRS],
    rows: [uint8x16_t; PAIRS],
    w: &mut *const i8,
) {
    for v in 0..V {
        for c in 0..2 {
            // SAFETY: the weights of two channels are inside.
            let columns = unsafe { vld1q_s8(*w) };
            *w = w.wrapping_add(16);
            for pair in 0..PAIRS {
                sums[pair][v][c] = add_matrix(sums[pair][v][c], rows[pair], columns);
            }
        }
    }
}
