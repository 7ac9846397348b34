//! Kernels for ARM64: NEON, which all have, with and without dot products (Cortex-A55, A76 and later).

use super::{DepthwiseKernels, Element, Kernels, Layout, Level, MicroKernels, Walk};
use std::arch::{aarch64::*, asm, is_aarch64_feature_detected};

/// What this CPU has, the fastest first.
pub fn available() -> Vec<&'static Kernels> {
    let neon = is_aarch64_feature_detected!("neon");
    let dot = neon && is_aarch64_feature_detected!("dotprod");
    let have = [(dot, &DOT), (neon, &NEON)];
    have.into_iter().filter_map(|(has, kernels)| has.then_some(kernels)).collect()
}

static DOT: Kernels = Kernels { name: "dot", int: &DOTS, wide: &WIDE_DOTS, ..NEON };
/// The passes have vectors as they are: the target has NEON.
pub static NEON: Kernels = Kernels {
    name: "neon",
    level: Level::Portable,
    float: &FLOAT,
    finishing: None,
    finishing_bytes: None,
    depthwise: &DEPTHWISE,
    shifts: true,
    silu: None,
    look_up: None,
    depthwise_bytes: None,
    int: &INT,
    wide: &WIDE,
    tiles: None,
};

static DEPTHWISE: DepthwiseKernels = DepthwiseKernels {
    lanes: 4,
    grids: &[],
    heights: &[(8, depthwise::<8>), (4, depthwise::<4>), (1, depthwise::<1>)],
};

depthwise_kernel! {
    #[target_feature(enable = "neon")]
    depthwise: lanes 4, load vld1q_f32, splat vdupq_n_f32, add add_f32x4,
    max vmaxnmq_f32, min vminnmq_f32, store vst1q_f32
}

// Pixels and vectors are chosen so that the sums, the values of each pixel and a line of weights fill the
// 32 registers.

/// Widths for kernels whose sums are all that stays in registers, beside four groups of each pixel.
macro_rules! widths {
    ($name:ident) => {
        &[
            &[(12, $name::<1, 12>), (4, $name::<1, 4>), (1, $name::<1, 1>)],
            &[(8, $name::<2, 8>), (4, $name::<2, 4>), (1, $name::<2, 1>)],
            &[(6, $name::<3, 6>), (4, $name::<3, 4>), (1, $name::<3, 1>)],
            &[(4, $name::<4, 4>), (1, $name::<4, 1>)],
        ]
    };
}

static FLOAT: MicroKernels<f32> =
    MicroKernels { lanes: 4, layout: Layout::EACH, widths: widths!(float), peak: &FLOAT_PEAK };

static DOTS: MicroKernels<u8> =
    MicroKernels { lanes: 4, layout: Layout::GROUPS, widths: widths!(dot), peak: &DOT_PEAK };

/// For inputs up to 255, less 128 to have a sign.
static WIDE_DOTS: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: Layout { offset: 128, ..Layout::GROUPS },
    widths: widths!(wide_dot),
    peak: &DOT_PEAK,
};

/// Pairs of weights lie together, since pairs of products are added to each other.
const PAIRS: Layout = Layout { neighbours: 4, beside: 2, offset: 0 };

static INT: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: PAIRS,
    widths: &[
        &[(8, int::<1, 8>), (4, int::<1, 4>), (1, int::<1, 1>)],
        &[(6, int::<2, 6>), (4, int::<2, 4>), (1, int::<2, 1>)],
        &[(4, int::<3, 4>), (1, int::<3, 1>)],
        &[(4, int::<4, 4>), (1, int::<4, 1>)],
    ],
    peak: &INT_PEAK,
};

/// For inputs up to 255, less 128 to have a sign.
static WIDE: MicroKernels<u8> = MicroKernels {
    lanes: 4,
    layout: Layout { offset: 128, ..PAIRS },
    widths: &[
        &[(8, wide::<1, 8>), (4, wide::<1, 4>), (1, wide::<1, 1>)],
        &[(6, wide::<2, 6>), (4, wide::<2, 4>), (1, wide::<2, 1>)],
        &[(4, wide::<3, 4>), (1, wide::<3, 1>)],
        &[(3, wide::<4, 3>), (1, wide::<4, 1>)],
    ],
    peak: &WIDE_PEAK,
};

/// A line of weights times one group of neighbours of each pixel, added to the sums.
macro_rules! line {
    ($lane:literal of $x:ident, $sums:ident, $w:ident, $load:path, $add:ident) => {
        let mut weights = [$load($w); V];
        for v in 1..V {
            weights[v] = $load($w.add(v * LINE));
        }
        $w = $w.add(V * LINE);
        for p in 0..P {
            for v in 0..V {
                $sums[p][v] = $add::<$lane>($sums[p][v], weights[v], $x[p]);
            }
        }
    };
}

/// Defines `unsafe fn NAME<const V, const P>`, a [`super::MicroKernel`] like those of [`micro_kernel`]; but
/// four groups of neighbours are loaded at once, and products take one of them from its lane: there is
/// nothing to broadcast.
macro_rules! lane_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: $x:ty, begin $begin:path, weights $load:path, $(four $four:path,)? one $one:path,
        add $add:ident, store $store:path
    ) => {
        $(#[$attribute])*
        unsafe fn $name<const V: usize, const P: usize>(
            x: *const $x,
            offsets: *const u32,
            walk: &Walk<'_>,
            mut w: *const <$x as Element>::Weight,
            out: *mut <$x as Element>::Sum,
        ) {
            const GROUP: usize = <$x as Element>::GROUP;
            const LANES: usize = 4;
            const LINE: usize = LANES * GROUP;
            // SAFETY: the caller keeps the promises of `MicroKernel`, which bound every address below.
            unsafe {
                let mut runs = [x; P];
                for p in 0..P {
                    runs[p] = x.add(*offsets.add(p) as usize);
                }
                let mut sums = [[$begin(&mut w); V]; P];
                for v in 1..V {
                    let begin = $begin(&mut w);
                    sums.iter_mut().for_each(|sums| sums[v] = begin);
                }
                for advance in walk.advances {
                    let mut k = 0;
                    $(while k + 4 <= walk.steps {
                        let mut values = [$four(runs[0].add(k * GROUP)); P];
                        for p in 1..P {
                            values[p] = $four(runs[p].add(k * GROUP));
                        }
                        line!(0 of values, sums, w, $load, $add);
                        line!(1 of values, sums, w, $load, $add);
                        line!(2 of values, sums, w, $load, $add);
                        line!(3 of values, sums, w, $load, $add);
                        k += 4;
                    })?
                    while k < walk.steps {
                        let mut values = [$one(runs[0].add(k * GROUP)); P];
                        for p in 1..P {
                            values[p] = $one(runs[p].add(k * GROUP));
                        }
                        line!(0 of values, sums, w, $load, $add);
                        k += 1;
                    }
                    for run in &mut runs {
                        *run = run.wrapping_add(*advance);
                    }
                }
                for p in 0..P {
                    for v in 0..V {
                        $store(out.add((p * V + v) * LANES), sums[p][v]);
                    }
                }
            }
        }
    };
}

lane_kernel! {
    #[target_feature(enable = "neon")]
    float: f32, begin no_floats, weights vld1q_f32, four vld1q_f32, one one_float,
    add add_float, store vst1q_f32
}

lane_kernel! {
    #[target_feature(enable = "neon,dotprod")]
    dot: u8, begin no_ints, weights vld1q_s8, four four_groups, one one_group, add add_dot, store vst1q_s32
}

lane_kernel! {
    #[target_feature(enable = "neon,dotprod")]
    wide_dot: u8, begin begin_ints, weights vld1q_s8, four four_shifted, one one_shifted,
    add add_dot, store vst1q_s32
}

lane_kernel! {
    #[target_feature(enable = "neon")]
    int: u8, begin no_ints, weights vld1q_s8, one two_pairs, add add_pairs, store vst1q_s32
}

lane_kernel! {
    #[target_feature(enable = "neon")]
    wide: u8, begin begin_ints, weights vld1q_s8, one two_shifted_pairs, add add_each, store vst1q_s32
}

peak! {
    #[target_feature(enable = "neon")]
    FLOAT_PEAK: sums 16 of 4, group 1, begin vdupq_n_f32(0.0), x vdupq_n_f32(1.0), w vdupq_n_f32(1.0),
    opaque opaque_floats, add |sums, x, w| add_float::<0>(sums, w, x)
}

peak! {
    #[target_feature(enable = "neon,dotprod")]
    DOT_PEAK: sums 16 of 4, group 4, begin vdupq_n_s32(0), x vdupq_n_s8(1), w vdupq_n_s8(1),
    opaque opaque_bytes, add |sums, x, w| add_dot::<0>(sums, w, x)
}

peak! {
    #[target_feature(enable = "neon")]
    INT_PEAK: sums 16 of 4, group 4, begin vdupq_n_s32(0), x vdupq_n_s8(1), w vdupq_n_s8(1),
    opaque opaque_bytes, add |sums, x, w| add_pairs::<0>(sums, w, [x, x])
}

peak! {
    #[target_feature(enable = "neon")]
    WIDE_PEAK: sums 16 of 4, group 4, begin vdupq_n_s32(0), x vdupq_n_s8(1), w vdupq_n_s8(1),
    opaque opaque_bytes, add |sums, x, w| add_each::<0>(sums, w, [x, x])
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "neon")]
fn opaque_floats(mut x: float32x4_t) -> float32x4_t {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0:v} */", inout(vreg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// The same, of which the compiler knows nothing.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn opaque_bytes(mut x: int8x16_t) -> int8x16_t {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0:v} */", inout(vreg) x, options(nomem, nostack, preserves_flags)) };
    x
}

#[inline]
#[target_feature(enable = "neon")]
fn no_floats(_: &mut *const f32) -> float32x4_t {
    vdupq_n_f32(0.0)
}

#[inline]
#[target_feature(enable = "neon")]
fn no_ints(_: &mut *const i8) -> int32x4_t {
    vdupq_n_s32(0)
}

/// The next sums to begin with, before the weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn begin_ints(w: &mut *const i8) -> int32x4_t {
    // SAFETY: a vector of sums is inside.
    let sums = unsafe { vreinterpretq_s32_s8(vld1q_s8(*w)) };
    *w = w.wrapping_add(size_of::<int32x4_t>());
    sums
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn one_float(x: *const f32) -> float32x4_t {
    // SAFETY: one number is inside.
    vdupq_n_f32(unsafe { *x })
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn four_groups(x: *const u8) -> int8x16_t {
    // SAFETY: four groups of four are inside.
    vreinterpretq_s8_u8(unsafe { vld1q_u8(x) })
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn one_group(x: *const u8) -> int8x16_t {
    // SAFETY: a group of four is inside; it need not be aligned.
    vreinterpretq_s8_s32(vdupq_n_s32(unsafe { x.cast::<i32>().read_unaligned() }))
}

/// Less 128.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four_shifted(x: *const u8) -> int8x16_t {
    // SAFETY: four groups of four are inside.
    veorq_s8(unsafe { four_groups(x) }, vdupq_n_s8(i8::MIN))
}

/// Less 128.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn one_shifted(x: *const u8) -> int8x16_t {
    // SAFETY: a group of four is inside.
    veorq_s8(unsafe { one_group(x) }, vdupq_n_s8(i8::MIN))
}

#[inline]
#[target_feature(enable = "neon")]
fn add_f32x4(sums: float32x4_t, x: float32x4_t, w: float32x4_t) -> float32x4_t {
    vfmaq_f32(sums, x, w)
}

#[inline]
#[target_feature(enable = "neon")]
fn add_float<const LANE: i32>(sums: float32x4_t, w: float32x4_t, x: float32x4_t) -> float32x4_t {
    vfmaq_laneq_f32::<LANE>(sums, w, x)
}

/// Both pairs of a group, each everywhere.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn two_pairs(x: *const u8) -> [int8x16_t; 2] {
    let x = x.cast::<i16>();
    // SAFETY: a group of four is inside; it need not be aligned.
    unsafe {
        [
            vreinterpretq_s8_s16(vdupq_n_s16(x.read_unaligned())),
            vreinterpretq_s8_s16(vdupq_n_s16(x.add(1).read_unaligned())),
        ]
    }
}

/// Less 128.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn two_shifted_pairs(x: *const u8) -> [int8x16_t; 2] {
    // SAFETY: a group of four is inside.
    let [first, second] = unsafe { two_pairs(x) };
    [veorq_s8(first, vdupq_n_s8(i8::MIN)), veorq_s8(second, vdupq_n_s8(i8::MIN))]
}

/// For inputs up to 127: two products are added in 16 bits, and 2·127·128 = 32,512 fits there.
#[inline]
#[target_feature(enable = "neon")]
fn add_pairs<const LANE: i32>(sums: int32x4_t, w: int8x16_t, [first, second]: [int8x16_t; 2]) -> int32x4_t {
    let products = vmull_s8(vget_low_s8(w), vget_low_s8(first));
    vpadalq_s16(sums, vmlal_high_s8(products, w, second))
}

/// For inputs from −128: (−128)² fits 16 bits, twice it does not.
#[inline]
#[target_feature(enable = "neon")]
fn add_each<const LANE: i32>(sums: int32x4_t, w: int8x16_t, [first, second]: [int8x16_t; 2]) -> int32x4_t {
    let sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(w), vget_low_s8(first)));
    vpadalq_s16(sums, vmull_high_s8(w, second))
}

/// Adds the sum of the four products of each lane of `w` with group `LANE` of `x`. Rust has no stable
/// intrinsic for it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_dot<const LANE: i32>(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the features above, which touches nothing but these registers.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            sums = inlateout(vreg) sums,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
