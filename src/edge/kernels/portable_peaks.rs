//! The products of the portable kernels at their fastest.

use super::{LANES, add_float, add_int, add_pairs};

// Sums of eight are two of the registers that most CPUs have.

peak! {
    FLOAT_PEAK: sums 5 of LANES, group 1, begin [0f32; LANES], x 1f32, w [1f32; LANES],
    opaque opaque_float, add add_float
}

peak! {
    INT_PEAK: sums 5 of LANES, group 4, begin [0i32; LANES], x [1u8; 4], w [[1i8; LANES]; 4],
    opaque opaque_bytes, add add_int
}

peak! {
    TILES_PEAK: sums 5 of LANES, group 2, begin [0i32; LANES], x [1i16; 2], w [[1i16; 2]; LANES],
    opaque opaque_pair, add add_pairs
}

/// Defines a function that gives its argument back, of which the compiler then knows nothing: in a register
/// where that can be told, else by way of memory, which makes the peak less than it is.
macro_rules! opaque {
    ($name:ident: $type:ty, x86_64 $x86:literal $x86_class:ident, aarch64 $arm:literal $arm_class:ident) => {
        #[inline(always)]
        fn $name(x: $type) -> $type {
            let mut x = x;
            #[cfg(target_arch = "x86_64")]
            // SAFETY: no instruction at all.
            unsafe {
                std::arch::asm!($x86, inout($x86_class) x, options(nomem, nostack, preserves_flags))
            };
            #[cfg(target_arch = "aarch64")]
            // SAFETY: no instruction at all.
            unsafe {
                std::arch::asm!($arm, inout($arm_class) x, options(nomem, nostack, preserves_flags))
            };
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            {
                x = std::hint::black_box(x);
            }
            x
        }
    };
}

opaque!(opaque_float: f32, x86_64 "/* {0} */" xmm_reg, aarch64 "/* {0:v} */" vreg);
opaque!(opaque_word: u32, x86_64 "/* {0:e} */" reg, aarch64 "/* {0:w} */" reg);

#[inline(always)]
fn opaque_bytes(x: [u8; 4]) -> [u8; 4] {
    opaque_word(u32::from_ne_bytes(x)).to_ne_bytes()
}

#[inline(always)]
fn opaque_pair([a, b]: [i16; 2]) -> [i16; 2] {
    let word = opaque_word(u32::from(a as u16) | u32::from(b as u16) << 16);
    [word as i16, (word >> 16) as i16]
}
