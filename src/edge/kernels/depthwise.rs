//! Convolutions of each channel by itself: vectors run along the channels.

use super::{DepthwiseKernels, Epilogue, Kernels, Lattice, SumTile};

/// Defines `unsafe fn NAME<const P>`, a [`super::DepthwiseKernel`].
///
/// The sums of P pixels by one vector of channels stay in registers; a vector of weights is loaded once
/// for all of them.
macro_rules! depthwise_kernel {
    (
        $(#[$attribute:meta])*
        $name:ident: lanes $lanes:expr, load $load:path, splat $splat:path, add $add:path,
        max $max:path, min $min:path, store $store:path
    ) => {
        #[cfg_attr(target_family = "wasm", optimize(speed))]
        $(#[$attribute])*
        unsafe fn $name<const P: usize>(
            x: *const f32,
            offsets: *const u32,
            taps: &[u32],
            mut w: *const f32,
            limits: [f32; 2],
            out: *mut f32,
            at: *const u32,
        ) {
            use super::unroll::array;
            // SAFETY: the caller keeps the promises of `DepthwiseKernel`, which bound every address below.
            unsafe {
                let mut pixels: [_; P] = array(x);
                each!(p < P, {
                    pixels[p] = x.add(*offsets.add(p) as usize);
                });
                let mut sums: [_; P] = array($load(w));
                for tap in taps {
                    w = w.add($lanes);
                    let weights = $load(w);
                    each!(p < P, {
                        sums[p] = $add(sums[p], $load(pixels[p].add(*tap as usize)), weights);
                    });
                }
                let [low, high] = [$splat(limits[0]), $splat(limits[1])];
                each!(p < P, {
                    $store(out.add(*at.add(p) as usize), $min($max(sums[p], low), high));
                });
            }
        }
    };
}

/// Pixels whose inputs stay in a core's first cache while the vectors of channels go over them; a multiple of
/// all tile heights.
const CHUNK: usize = 96;

/// The weights of a convolution of each channel by itself.
pub struct Depthwise {
    kernels: &'static DepthwiseKernels,
    channels: usize,
    taps: usize,
    /// Of each vector of channels what its sums begin with, and its weights: `[1 + taps, lanes]`.
    weights: Vec<f32>,
    /// The limits of the sums, where they are all of the epilogue that is left.
    limits: Option<[f32; 2]>,
    /// Where the sums of a chunk go, one after the other.
    even: Vec<u32>,
    /// How the windows lie, where there are kernels for that.
    lattice: Option<Lattice>,
}

impl Depthwise {
    /// Elements that are read behind the last channel of a map at the most, and thrown away.
    pub const OVER: usize = 64;

    /// Packs `weight(channel, tap)`, and the epilogue too where it but shifts and limits.
    pub fn new(
        kernels: &Kernels,
        channels: usize,
        taps: usize,
        weight: impl Fn(usize, usize) -> f32,
        epilogue: Option<&Epilogue>,
    ) -> Self {
        let kernels = kernels.depthwise;
        let lanes = kernels.lanes;
        let start = |c: usize| epilogue.map_or(0.0, |e| e.shift[c]);
        let mut weights = Vec::with_capacity(channels.next_multiple_of(lanes) * (taps + 1));
        for (first, line) in (0..channels).step_by(lanes).flat_map(|c| (0..=taps).map(move |line| (c, line)))
        {
            weights.extend((first..first + lanes).map(|c| match (c < channels, line) {
                (false, _) => 0.0,
                (true, 0) => start(c),
                (true, line) => weight(c, line - 1),
            }));
        }
        let limits = epilogue.map(|e| [e.low, e.high]);
        let even = (0..CHUNK).map(|i| (i * lanes) as u32).collect();
        Self { kernels, channels, taps, weights, limits, even, lattice: None }
    }

    /// The same for windows of this form, with these `taps`, on maps that become rows of `width` pixels.
    pub fn on_grid(self, window: [usize; 2], stride: [usize; 2], taps: &[u32], width: usize) -> Self {
        Self { lattice: Lattice::new(self.kernels, window, stride, taps, width), ..self }
    }

    pub(super) fn lanes(&self) -> usize {
        self.kernels.lanes
    }

    /// Floats that a run needs for sums.
    pub fn space(&self) -> usize {
        CHUNK * self.kernels.lanes
    }

    /// Whether the epilogue is packed with the weights.
    pub fn is_finished(&self) -> bool {
        self.limits.is_some()
    }

    /// Sums the products for all pixels, whose windows begin at `pixels` and have these `taps`; `each`
    /// takes them part by part.
    ///
    /// # Panics
    /// If a window reaches over the end of `x`, or `sums` is smaller than [`Depthwise::space`].
    pub fn run(
        &self,
        taps: &[u32],
        x: &[f32],
        pixels: &[u32],
        sums: &mut [f32],
        mut each: impl FnMut(SumTile<'_, f32>),
    ) {
        self.check(taps, x, pixels);
        let lanes = self.kernels.lanes;
        for (chunk, part) in pixels.chunks(CHUNK).enumerate() {
            let pixels = chunk * CHUNK..chunk * CHUNK + part.len();
            for first in (0..self.channels).step_by(lanes) {
                self.sum(taps, x, part, first, sums, &self.even);
                let channels = first..self.channels.min(first + lanes);
                each(SumTile { pixels: pixels.clone(), channels, width: lanes, sums });
            }
        }
    }

    /// As [`Depthwise::run`], where the epilogue is packed: stores the results into `out`, whose pixels
    /// begin at `at`; `each` is told the pixels that are ready.
    ///
    /// # Panics
    /// As [`Depthwise::run`]; and if `out` does not hold the pixels.
    pub fn finish(
        &self,
        taps: &[u32],
        (x, pixels): (&[f32], &[u32]),
        sums: &mut [f32],
        (out, at): (&mut [f32], &[u32]),
        mut each: impl FnMut(&mut [f32], &[u32]),
    ) {
        self.check(taps, x, pixels);
        let (mut pixels, mut at) = (pixels, at);
        if let Some(lattice) = self.lattice.as_ref().filter(|_| self.channels >= self.kernels.lanes) {
            while let Some(count) = lattice.next(pixels) {
                let (rows, places) = (pixels.split_at(count), at.split_at(count));
                if count > lattice.width {
                    self.finish_rows(lattice, (x, rows.0), (&mut *out, places.0), (taps, &mut *sums));
                } else {
                    self.finish_pixels(taps, (x, rows.0), sums, (&mut *out, places.0));
                }
                each(out, places.0);
                (pixels, at) = (rows.1, places.1);
            }
        }
        for (part, at) in pixels.chunks(CHUNK).zip(at.chunks(CHUNK)) {
            self.finish_pixels(taps, (x, part), sums, (&mut *out, at));
            each(out, at);
        }
    }

    /// Some pixels, vector of channels by vector.
    fn finish_pixels(
        &self,
        taps: &[u32],
        (x, pixels): (&[f32], &[u32]),
        sums: &mut [f32],
        (out, at): (&mut [f32], &[u32]),
    ) {
        let lanes = self.kernels.lanes;
        let whole = self.channels / lanes * lanes;
        for (part, at) in pixels.chunks(CHUNK).zip(at.chunks(CHUNK)) {
            for first in (0..whole).step_by(lanes) {
                self.sum(taps, x, part, first, &mut out[first..], at);
            }
            if whole < self.channels {
                self.finish_last(taps, (x, part), sums, (&mut *out, at), whole);
            }
        }
    }

    /// Two rows: whole vectors of channels together, the rest pixel by pixel.
    fn finish_rows(
        &self,
        lattice: &Lattice,
        (x, pixels): (&[f32], &[u32]),
        (out, at): (&mut [f32], &[u32]),
        (taps, sums): (&[u32], &mut [f32]),
    ) {
        let (lanes, limits) = (self.kernels.lanes, self.limits.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]));
        let (windows, places) = (pixels.split_at(lattice.width), at.split_at(lattice.width));
        let whole = self.channels / lanes * lanes;
        for first in (0..whole).step_by(lanes) {
            let weights = &self.weights[first * (self.taps + 1)..][..(self.taps + 1) * lanes];
            let results = (&mut out[first..], [places.0, places.1]);
            self.two_rows(lattice, (&x[first..], [windows.0, windows.1]), (weights, limits), results);
        }
        if whole < self.channels {
            for (part, at) in pixels.chunks(CHUNK).zip(at.chunks(CHUNK)) {
                self.finish_last(taps, (x, part), sums, (&mut *out, at), whole);
            }
        }
    }

    /// The last channels, which fill no vector: its last lanes would lie in the next pixel.
    fn finish_last(
        &self,
        taps: &[u32],
        (x, part): (&[f32], &[u32]),
        sums: &mut [f32],
        (out, at): (&mut [f32], &[u32]),
        first: usize,
    ) {
        let count = self.channels - first;
        self.sum(taps, x, part, first, sums, &self.even);
        for (sums, at) in sums.chunks_exact(self.kernels.lanes).zip(at) {
            out[*at as usize + first..][..count].copy_from_slice(&sums[..count]);
        }
    }

    fn check(&self, taps: &[u32], x: &[f32], pixels: &[u32]) {
        let width = self.channels.next_multiple_of(self.kernels.lanes);
        let last = |places: &[u32]| places.iter().copied().max().unwrap_or(0) as usize;
        assert!(last(pixels) + last(taps) + width <= x.len(), "a window reaches over the end of its buffer");
        assert_eq!(taps.len(), self.taps, "another number of taps than the weights have");
    }

    /// The sums of one vector of channels, which begins at `first`, for some of the pixels that `check` found
    /// to be inside `x`.
    fn sum(&self, taps: &[u32], x: &[f32], pixels: &[u32], first: usize, out: &mut [f32], at: &[u32]) {
        let lanes = self.kernels.lanes;
        let furthest = at[..pixels.len()].iter().copied().max().unwrap_or(0) as usize;
        assert!(furthest + lanes <= out.len(), "a pixel reaches over the end of its buffer");
        let (x, weights) = (&x[first..], &self.weights[first * (self.taps + 1)..]);
        let limits = self.limits.unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        let mut done = 0;
        for &(count, kernel) in self.kernels.heights {
            while pixels.len() - done >= count {
                // SAFETY: the kernels were chosen for this CPU; every window, with the lanes behind its
                // channels, is inside `x`, as `check` found; there are 1 + taps vectors of weights from
                // `first`, which is a multiple of the lanes, and every pixel is inside `out`.
                unsafe {
                    kernel(
                        x.as_ptr(),
                        pixels[done..].as_ptr(),
                        taps,
                        weights.as_ptr(),
                        limits,
                        out.as_mut_ptr(),
                        at[done..].as_ptr(),
                    );
                }
                done += count;
            }
        }
    }
}
