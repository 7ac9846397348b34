//! The gradient of a convolution's weights: what each tap sees times the cotangent, summed over all places.
//!
//! The taps that lie one after the other in memory (a row of the window, all its channels) are rows of a tile, some
//! vectors of filters its columns; the sums of a tile stay in registers while the walk goes over the places of
//! several images. As in [`super::super::micro_kernel`] nothing is gathered first.

use super::Level;

/// What the places of a convolution's result see of its images, and how they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// Rows and columns of places of an image.
    pub places: [usize; 2],
    /// Elements of an image, from a row of places to the next, and from a place to the next.
    pub strides: [usize; 3],
    /// Where the runs of the first window begin.
    pub runs: Vec<usize>,
    /// Elements of each run.
    pub run: usize,
}

/// What a kernel goes over: as [`Correlation`], with the images and the elements from a place's cotangents to the next's.
#[derive(Clone, Copy)]
struct Walk {
    images: usize,
    places: [usize; 2],
    strides: [usize; 3],
    filters: usize,
}

/// Adds the products of P neighbours that each place sees with V vectors of its cotangents to `out`, whose rows are as
/// far apart as the cotangents of places.
///
/// # Safety
/// The CPU has the kernel's features. Of `x`, what the walk reaches plus P is inside; of `dy`, V vectors at each place,
/// and of `out`, in each of P rows.
type GradientKernel = unsafe fn(x: *const f32, dy: *const f32, walk: &Walk, out: *mut f32);

/// Kernels of one number of vectors: neighbours at once, the most first, 1 last.
type Heights = &'static [(usize, GradientKernel)];

/// The kernels of a kind of CPU: `widths[i]` computes i + 1 vectors.
struct Gradients {
    lanes: usize,
    widths: &'static [Heights],
}

macro_rules! gradient_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: lanes $lanes:expr, sums $zero:expr, load $load:path, broadcast $broadcast:path, add $add:path,
        sum $sum:path, store $store:path
    ) => {
        $(#[$attribute])*
        unsafe fn $name<const V: usize, const P: usize>(
            x: *const f32,
            mut dy: *const f32,
            walk: &Walk,
            out: *mut f32,
        ) {
            // SAFETY: the caller keeps the promises of `GradientKernel`, which bound every address below.
            unsafe {
                let mut sums = [[$zero; V]; P];
                for image in 0..walk.images {
                    for row in 0..walk.places[0] {
                        let mut x = x.add(image * walk.strides[0] + row * walk.strides[1]);
                        for _ in 0..walk.places[1] {
                            let mut cotangents = [$zero; V];
                            for v in 0..V {
                                cotangents[v] = $load(dy.add(v * $lanes));
                            }
                            for p in 0..P {
                                let value = $broadcast(x.add(p));
                                for v in 0..V {
                                    sums[p][v] = $add(sums[p][v], value, cotangents[v]);
                                }
                            }
                            x = x.wrapping_add(walk.strides[2]);
                            dy = dy.wrapping_add(walk.filters);
                        }
                    }
                }
                for p in 0..P {
                    for v in 0..V {
                        let at = out.add(p * walk.filters + v * $lanes);
                        $store(at, $sum($load(at), sums[p][v]));
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Gradients, Walk};
    use crate::edge::kernels::avx2::{add_f32x8, broadcast_f32x8};
    use crate::edge::kernels::avx512::{add_f32x16, broadcast_f32x16};
    use std::arch::x86_64::*;

    // As the products' tiles: the sums, the cotangents and a broadcast value fill the registers.

    pub static AVX512: Gradients = Gradients {
        lanes: 16,
        widths: &[
            &[(16, sums_512::<1, 16>), (8, sums_512::<1, 8>), (3, sums_512::<1, 3>), (1, sums_512::<1, 1>)],
            &[(12, sums_512::<2, 12>), (8, sums_512::<2, 8>), (3, sums_512::<2, 3>), (1, sums_512::<2, 1>)],
            &[(8, sums_512::<3, 8>), (3, sums_512::<3, 3>), (1, sums_512::<3, 1>)],
            &[(6, sums_512::<4, 6>), (3, sums_512::<4, 3>), (1, sums_512::<4, 1>)],
        ],
    };

    pub static AVX2: Gradients = Gradients {
        lanes: 8,
        widths: &[
            &[(12, sums_256::<1, 12>), (8, sums_256::<1, 8>), (3, sums_256::<1, 3>), (1, sums_256::<1, 1>)],
            &[(6, sums_256::<2, 6>), (4, sums_256::<2, 4>), (3, sums_256::<2, 3>), (1, sums_256::<2, 1>)],
        ],
    };

    gradient_kernel! {
        #[target_feature(enable = "avx512f")]
        sums_512: lanes 16, sums _mm512_setzero_ps(), load _mm512_loadu_ps, broadcast broadcast_f32x16,
        add add_f32x16, sum _mm512_add_ps, store _mm512_storeu_ps
    }

    gradient_kernel! {
        #[target_feature(enable = "avx2,fma")]
        sums_256: lanes 8, sums _mm256_setzero_ps(), load _mm256_loadu_ps, broadcast broadcast_f32x8, add add_f32x8,
        sum _mm256_add_ps, store _mm256_storeu_ps
    }
}

/// For all other CPUs; the compiler vectorises it.
mod portable {
    use super::{Gradients, Walk};
    use crate::edge::kernels::portable::{LANES, add_float, broadcast_float, load_float, store_float};

    pub static KERNELS: Gradients =
        Gradients { lanes: LANES, widths: &[&[(8, sums::<1, 8>), (3, sums::<1, 3>), (1, sums::<1, 1>)]] };

    gradient_kernel! {
        sums: lanes LANES, sums [0.0; LANES], load load_float, broadcast broadcast_float, add add_float, sum sum,
        store store_float
    }

    #[inline(always)]
    fn sum(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| a[i] + b[i])
    }
}

impl super::Kernels {
    /// Filters of which a vector consists: what [`Self::correlate`] takes is a multiple of it.
    pub fn gradient_lanes(&self) -> usize {
        self.gradients().lanes
    }

    /// Adds to `out: [runs·run, filters]` what the places of images `x` see times their cotangents `dy: [places, filters]`,
    /// for as many images as there are cotangents.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`, or the filters are no whole vectors.
    pub fn correlate(&self, how: &Correlation, x: &[f32], dy: &[f32], filters: usize, out: &mut [f32]) {
        let Gradients { lanes, widths } = *self.gradients();
        let [rows, columns] = how.places;
        let images = dy.len() / (rows * columns * filters).max(1);
        if images == 0 || rows * columns == 0 {
            return;
        }
        assert!(filters.is_multiple_of(lanes) && dy.len() == images * rows * columns * filters);
        assert!(out.len() == how.runs.len() * how.run * filters, "another number of sums");
        let corner: usize = [images, rows, columns].iter().zip(how.strides).map(|(n, by)| (n - 1) * by).sum();
        let last = corner + how.runs.iter().max().map_or(0, |run| run + how.run);
        assert!(last <= x.len(), "a window reaches over the end of its images");
        let walk = Walk { images, places: how.places, strides: how.strides, filters };
        let mut first = 0;
        while first < filters {
            let vectors = ((filters - first) / lanes).min(widths.len());
            for (run, begin) in how.runs.iter().enumerate() {
                let mut done = 0;
                for &(height, kernel) in widths[vectors - 1] {
                    while how.run - done >= height {
                        let (from, to) = (begin + done, (run * how.run + done) * filters + first);
                        // SAFETY: the kernels were chosen for this CPU; the walk and the sums were bounded above.
                        unsafe {
                            kernel(x[from..].as_ptr(), dy[first..].as_ptr(), &walk, out[to..].as_mut_ptr());
                        }
                        done += height;
                    }
                }
            }
            first += vectors * lanes;
        }
    }

    fn gradients(&self) -> &'static Gradients {
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &x86::AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &x86::AVX2,
            _ => &portable::KERNELS,
        }
    }
}
