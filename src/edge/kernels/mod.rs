//! The inner loops, one set for each kind of CPU, chosen when the program runs.
//!
//! The only place with `unsafe` code of this room. A [`Kernels`] can only be had from
//! [`Kernels::all`] or [`Kernels::best`], which ask the CPU first; the slices that go into a loop are
//! checked by [`Packed::run`] before it starts.
//!
//! Integer kernels give the same integers everywhere: products of 8-bit numbers summed in 32 bits, in
//! whatever order. Float kernels differ in the last bits, as any two do.
#![allow(unsafe_code)]

mod pack;
mod passes;
#[macro_use]
mod tile;
mod portable;
#[cfg(test)]
mod tests;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use pack::{Choice, Packed, Part, Pixels, Walk};
pub use passes::{Beside, Finish, Number, Output, Window};

/// What a product is computed on: `f32` by `f32` in `f32`, or `u8` by `i8` in `i32`.
pub trait Element: Number {
    /// Type of the weights.
    type Weight: Copy + Default + Send + Sync + 'static;
    /// Type of the sums.
    type Sum: Number + Default;
    /// Neighbours along the sum that one step takes together.
    const GROUP: usize;
}

impl Element for f32 {
    type Weight = f32;
    type Sum = f32;
    const GROUP: usize = 1;
}

impl Element for u8 {
    type Weight = i8;
    type Sum = i32;
    const GROUP: usize = 4;
}

/// Computes the sums of P pixels by V vectors of output channels.
///
/// # Safety
/// The CPU has the kernel's features. Of `x`, each of the P `offsets` plus all of the walk is inside;
/// `w` holds rows × steps lines of V vectors, aligned to 64 bytes; `out` takes P × V vectors.
type Tile<T> = unsafe fn(
    x: *const T,
    offsets: *const u32,
    walk: &Walk,
    w: *const <T as Element>::Weight,
    out: *mut <T as Element>::Sum,
);

/// The tiles of one number of vectors: pixels at once, the most first, 1 last.
type Tiles<T> = &'static [(usize, Tile<T>)];

/// A kind of product on one kind of CPU; `shapes[i]` computes i + 1 vectors of output channels.
struct Table<T: Element> {
    lanes: usize,
    /// Weights of a group lie together, `[lanes, GROUP]`; otherwise `[GROUP, lanes]`.
    grouped: bool,
    shapes: &'static [Tiles<T>],
}

/// Greatest number of sums of any tile.
const TILE_SUMS: usize = 512;

/// What element-wise passes are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The loops for one kind of CPU.
pub struct Kernels {
    /// For reports: `avx512-vnni`.
    pub name: &'static str,
    level: Level,
    float: &'static Table<f32>,
    /// For inputs up to 127.
    int: &'static Table<u8>,
    /// For inputs up to 255.
    wide: &'static Table<u8>,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

static PORTABLE: Kernels = Kernels {
    name: "portable",
    level: Level::Portable,
    float: &portable::FLOAT,
    int: &portable::INT,
    wide: &portable::INT,
};

impl Kernels {
    /// All that this CPU can run, the fastest first, the portable ones last.
    pub fn all() -> Vec<&'static Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        all.extend(x86::available());
        all.push(&PORTABLE);
        all
    }

    /// The fastest for this CPU.
    pub fn best() -> &'static Self {
        Self::all().first().copied().unwrap_or(&PORTABLE)
    }
}
