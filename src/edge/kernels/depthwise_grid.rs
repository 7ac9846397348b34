//! Convolutions of each channel by itself with the usual windows: two rows of pixels at once, so that each number that is
//! loaded is multiplied for all of them that see it.

use super::{Depthwise, DepthwiseKernels, Grid, GridKernel};

/// Defines `unsafe fn NAME<const K, const S, const Q>`, a [`GridKernel`] for windows of K×K with stride S and Q pixels of each
/// of two rows.
#[cfg(target_arch = "x86_64")]
macro_rules! depthwise_grid_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: lanes $lanes:expr, load $load:path, splat $splat:path, add $add:path,
        max $max:path, min $min:path, store $store:path
    ) => {
        $(#[$attribute])*
        unsafe fn $name<const K: usize, const S: usize, const Q: usize>(
            x: *const f32,
            [row, pixel]: [usize; 2],
            w: *const f32,
            limits: [f32; 2],
            out: [*mut f32; 2],
            apart: usize,
        ) {
            /// The most columns that Q pixels see.
            const MOST: usize = 11;
            // SAFETY: the caller keeps the promises of `GridKernel`, which bound every address below.
            unsafe {
                let mut sums = [[$load(w); Q]; 2];
                let columns = (Q - 1) * S + K;
                for i in 0..S + K {
                    let line = x.add(i * row);
                    let mut seen = [$load(line); MOST];
                    for c in 1..columns {
                        seen[c] = $load(line.add(c * pixel));
                    }
                    for r in 0..2 {
                        if i < r * S || i - r * S >= K {
                            continue;
                        }
                        for k in 0..K {
                            let weights = $load(w.add(((i - r * S) * K + k + 1) * $lanes));
                            for q in 0..Q {
                                sums[r][q] = $add(sums[r][q], seen[q * S + k], weights);
                            }
                        }
                    }
                }
                let [low, high] = [$splat(limits[0]), $splat(limits[1])];
                for r in 0..2 {
                    for q in 0..Q {
                        $store(out[r].add(q * apart), $min($max(sums[r][q], low), high));
                    }
                }
            }
        }
    };
}

/// The kernels of each kind of window, for these numbers of pixels of a row.
#[cfg(target_arch = "x86_64")]
macro_rules! depthwise_grids {
    ($name:ident: $($pixels:literal)*) => {
        &[
            Grid { window: 3, stride: 1, widths: &[$(($pixels, $name::<3, 1, $pixels>)),*] },
            Grid { window: 3, stride: 2, widths: &[$(($pixels, $name::<3, 2, $pixels>)),*] },
            Grid { window: 5, stride: 1, widths: &[$(($pixels, $name::<5, 1, $pixels>)),*] },
            Grid { window: 5, stride: 2, widths: &[$(($pixels, $name::<5, 2, $pixels>)),*] },
        ]
    };
}

/// How the windows of a map lie that kernels for grids take.
#[derive(Clone, Copy)]
pub struct Lattice {
    /// Pixels of a row of the result.
    pub width: usize,
    grid: &'static [(usize, GridKernel)],
    /// Elements from a row of a window to the next, and from a column to the next.
    strides: [usize; 2],
    /// Rows or columns of a window.
    window: usize,
    stride: usize,
}

impl Lattice {
    /// None where the windows are of another form, or the kernels have none for them.
    pub(super) fn new(
        kernels: &DepthwiseKernels,
        window: [usize; 2],
        stride: [usize; 2],
        taps: &[u32],
        width: usize,
    ) -> Option<Self> {
        let square = window[0] == window[1] && stride[0] == stride[1];
        let fits = |grid: &&Grid| square && grid.window == window[0] && grid.stride == stride[0];
        let grid = kernels.grids.iter().find(fits)?;
        let strides = [taps[window[1]] as usize, taps[1] as usize];
        Some(Self { width, grid: grid.widths, strides, window: window[0], stride: stride[0] })
    }

    /// The pixels of the next two rows, or of the next one where that which follows is of another image; none at the last
    /// one.
    pub(super) fn next(&self, windows: &[u32]) -> Option<usize> {
        let below = windows.get(self.width)?;
        let neighbours = *below as usize == windows[0] as usize + self.stride * self.strides[0];
        Some(if neighbours { 2 * self.width } else { self.width })
    }
}

impl Depthwise {
    /// The sums of one vector of channels of two rows, whose windows begin at `x` and whose results at `at`, elements of
    /// `out`.
    pub(super) fn two_rows(
        &self,
        lattice: &Lattice,
        (x, windows): (&[f32], [&[u32]; 2]),
        (weights, limits): (&[f32], [f32; 2]),
        (out, at): (&mut [f32], [&[u32]; 2]),
    ) {
        let Lattice { width, grid, strides, window, stride } = *lattice;
        let apart = if width > 1 { (at[0][1] - at[0][0]) as usize } else { 0 };
        let lanes = self.lanes();
        let mut done = 0;
        for &(count, kernel) in grid {
            while width - done >= count {
                let [first, second] = [windows[0][done] as usize, windows[1][done] as usize];
                let [upper, lower] = [at[0][done] as usize, at[1][done] as usize];
                let columns = (count - 1) * stride + window;
                let furthest =
                    first + (stride + window - 1) * strides[0] + (columns - 1) * strides[1] + lanes;
                let last = upper.max(lower) + (count - 1) * apart + lanes;
                assert!(
                    second == first + stride * strides[0] && furthest <= x.len() && last <= out.len(),
                    "a window or a pixel reaches over the end of its buffer"
                );
                let rows = [upper, lower].map(|at| out[at..].as_mut_ptr());
                // SAFETY: the kernels were chosen for this CPU; all that two rows of windows see, and all of their pixels, were
                // found to be inside just now; `weights` holds what the sums begin with and a vector for each tap.
                unsafe { kernel(x[first..].as_ptr(), strides, weights.as_ptr(), limits, rows, apart) };
                done += count;
            }
        }
    }
}
