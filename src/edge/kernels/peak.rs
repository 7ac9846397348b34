//! What a core can do at best, and how near the main tiles come to it: loops for the benchmark to time.
//!
//! The peak is measured, not computed from a clock that nobody knows: nothing but the products of a set of
//! kernels, on registers, with at least ten sums that do not wait for each other.

use super::{Choice, Kernels, MAX_SUMS, MicroKernels, Packed, Product, Runs};

/// A loop of products in registers.
pub struct Peak {
    /// Repeats them so often.
    ///
    /// # Safety
    /// The CPU has the features of the set's kernels.
    pub(in crate::edge::kernels) run: unsafe fn(usize),
    /// Multiplications and additions of a repetition, counted separately.
    pub(in crate::edge::kernels) operations: usize,
}

/// Defines `static NAME: Peak`: `sums` independent vectors of `lanes` sums, to which `add` adds `group`
/// products a lane. `opaque` gives its argument back and hides from the compiler that it is the same, since
/// else products would be taken out of the loop; it must be no instruction.
macro_rules! peak {
    (
        $(#[$attribute:meta])*
        $name:ident: sums $sums:literal of $lanes:expr, group $group:expr, begin $zero:expr, x $x:expr, w $w:expr,
        opaque $opaque:path, add $add:expr
    ) => {
        pub(super) static $name: $crate::edge::kernels::Peak = {
            $(#[$attribute])*
            unsafe fn run(times: usize) {
                let (mut x, w) = (std::hint::black_box($x), std::hint::black_box($w));
                let mut sums = [$zero; $sums];
                for _ in 0..times {
                    for i in 0..$sums {
                        x = $opaque(x);
                        sums[i] = ($add)(sums[i], x, w);
                    }
                }
                std::hint::black_box(sums);
            }
            $crate::edge::kernels::Peak { run, operations: 2 * $sums * $lanes * $group }
        };
    };
}

/// Something to time.
pub struct Loop {
    /// What it computes with.
    pub product: Product,
    /// For reports: `4×24` pixels and channels of a tile.
    pub what: String,
    /// Multiplications and additions of a call, counted separately.
    pub operations: f64,
    /// Does it.
    pub run: Box<dyn FnMut()>,
}

impl Kernels {
    /// The peak of each kind of product that this set has.
    pub fn peaks(&self) -> Vec<Loop> {
        /// Repetitions of a call: long enough to forget the call.
        const TIMES: usize = 4096;
        let of = |product: Product, peak: &'static Peak| Loop {
            product,
            what: "registers".into(),
            operations: (peak.operations * TIMES) as f64,
            // SAFETY: a set of kernels can only be had where the CPU has its features.
            run: Box::new(move || unsafe { (peak.run)(TIMES) }),
        };
        let tiles = self.tiles.map(|set| of(Product::Int16, set.peak));
        let all = [
            of(Product::Float, self.float.peak),
            of(Product::Int7, self.int.peak),
            of(Product::Int8, self.wide.peak),
        ];
        all.into_iter().chain(tiles).collect()
    }

    /// The tallest tile of each number of vectors, on inputs and weights that lie in the first cache.
    pub fn main_tiles(&'static self) -> Vec<Loop> {
        let mut all = self.tiles_of(self.float, Product::Float);
        all.extend(self.tiles_of(self.int, Product::Int7));
        all.extend(self.tiles_of(self.wide, Product::Int8));
        all.extend(self.tiles.into_iter().flat_map(|set| self.tiles_of(set, Product::Int16)));
        all
    }

    fn tiles_of<T: Choice>(&'static self, set: &'static MicroKernels<T>, product: Product) -> Vec<Loop> {
        /// Bytes of inputs and weights together: three quarters of the least first cache.
        const BYTES: usize = 24 << 10;
        /// Tiles of a call.
        const TILES: usize = 16;
        let highest = if product == Product::Int8 { 255 } else { 127 };
        let of = |(vectors, heights): (usize, &super::Heights<T>)| {
            let height = heights.first().map_or(1, |(height, _)| *height);
            let channels = (vectors + 1) * set.lanes;
            let step = T::GROUP * (height * size_of::<T>() + channels * size_of::<T::Weight>());
            let run = BYTES / step * T::GROUP;
            let packed = Packed::<T>::new(self, highest, channels, [1, run], |_, _, _| T::Weight::default());
            let x = vec![T::default(); height * run];
            let windows: Vec<u32> = (0..height * TILES).map(|p| (p % height * run) as u32).collect();
            let mut sums = vec![T::Sum::default(); height * TILES * channels];
            assert!(height * channels <= MAX_SUMS);
            let runs = Runs::even(1, 0);
            Loop {
                product,
                what: format!("{height}×{channels}"),
                operations: (2 * windows.len() * channels * run) as f64,
                run: Box::new(move || packed.run_block(0, &runs, &x, &windows, &mut sums)),
            }
        };
        set.widths.iter().enumerate().map(of).collect()
    }
}
