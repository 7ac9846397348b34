#![allow(clippy::unwrap_used)]
use super::*;
use crate::random::{self, Stream};

/// A product of random shape.
struct Case {
    channels: usize,
    rows: usize,
    run: usize,
    row_stride: usize,
    pixels: usize,
}

impl Case {
    fn of(rng: &mut Stream) -> Self {
        let (rows, run) = (1 + random::below(rng, 5), 1 + random::below(rng, 130));
        let channels = 1 + random::below(rng, 150);
        let pixels = 1 + random::below(rng, 40);
        Self { channels, rows, run, row_stride: run + random::below(rng, 30), pixels }
    }

    /// Windows that begin anywhere.
    fn windows(&self, rng: &mut Stream) -> Offsets {
        Offsets::new(&(0..self.pixels).map(|_| random::below(rng, 200)).collect::<Vec<_>>()).unwrap()
    }

    fn elements(&self) -> usize {
        200 + self.rows * self.row_stride + self.run + 4
    }

    /// The sums `[pixels, channels]` of kernels for weights `[channels, rows, run]`.
    fn sums<T: Choice>(
        &self,
        kernels: &'static Kernels,
        highest: u8,
        x: &[T],
        windows: &Offsets,
        weights: &[T::Weight],
    ) -> Vec<T::Sum> {
        let at = |channel: usize, row: usize, i: usize| weights[(channel * self.rows + row) * self.run + i];
        let packed = Packed::<T>::new(kernels, highest, self.channels, [self.rows, self.run], at);
        let mut all = vec![T::Sum::default(); self.pixels * self.channels];
        packed.run(&Runs::even(self.rows, self.row_stride), x, windows.all(), |part| {
            for (i, pixel) in part.pixels.enumerate() {
                let count = part.channels.len();
                let to = &mut all[pixel * self.channels + part.channels.start..][..count];
                to.copy_from_slice(&part.sums[i * part.width..][..count]);
            }
        });
        all
    }

    /// Calls `f` with pixel, channel, and the places in image and weights of each product.
    fn each(&self, windows: &Offsets, mut f: impl FnMut(usize, usize, usize)) {
        for (pixel, at) in windows.all().iter().enumerate() {
            for (channel, row) in (0..self.channels).flat_map(|c| (0..self.rows).map(move |r| (c, r))) {
                for i in 0..self.run {
                    let x = *at as usize + row * self.row_stride + i;
                    f(pixel * self.channels + channel, x, (channel * self.rows + row) * self.run + i);
                }
            }
        }
    }
}

#[test]
fn every_integer_kernel_gives_the_integers_that_are_summed_one_by_one() {
    for seed in 0..60 {
        let mut rng = random::stream(seed, "integer kernels", 0, 0);
        let case = Case::of(&mut rng);
        let windows = case.windows(&mut rng);
        let highest = [127u8, 255][seed as usize % 2];
        // Every third case has nothing but the ends of the ranges, where 16 bits would be too few.
        let extreme = seed % 3 == 0;
        let x: Vec<u8> = (0..case.elements())
            .map(|_| if extreme { highest } else { random::below(&mut rng, usize::from(highest) + 1) as u8 })
            .collect();
        let weights: Vec<i8> = (0..case.channels * case.rows * case.run)
            .map(|i| match (extreme, i % 7) {
                (true, 0) => 127,
                (true, _) => -128,
                _ => (random::below(&mut rng, 256) as i32 - 128) as i8,
            })
            .collect();
        let mut truth = vec![0i32; case.pixels * case.channels];
        case.each(&windows, |to, i, j| truth[to] += i32::from(x[i]) * i32::from(weights[j]));
        for kernels in Kernels::all() {
            let sums = case.sums(kernels, highest, &x, &windows, &weights);
            assert_eq!(sums, truth, "{} kernels, seed {seed}", kernels.name);
        }
    }
}

#[test]
fn every_kernel_of_tiles_gives_sums_modulo_32_bits() {
    for seed in 0..40 {
        let mut rng = random::stream(seed, "kernels of tiles", 0, 0);
        let case = Case { rows: 1, ..Case::of(&mut rng) };
        let windows = case.windows(&mut rng);
        // As great as transformed pixels and weights can be; every other case has nothing but these.
        let mut number = |most: i16| match seed % 2 {
            0 => most,
            _ => (random::below(&mut rng, 2 * most as usize + 1) as i32 - i32::from(most)) as i16,
        };
        let x: Vec<i16> = (0..case.elements()).map(|_| number(1020)).collect();
        let weights: Vec<i16> = (0..case.channels * case.run).map(|_| number(1152)).collect();
        let mut truth = vec![0i32; case.pixels * case.channels];
        case.each(&windows, |to, i, j| {
            truth[to] = truth[to].wrapping_add(i32::from(x[i]) * i32::from(weights[j]));
        });
        for kernels in Kernels::all() {
            let sums = case.sums(kernels, 0, &x, &windows, &weights);
            assert_eq!(sums, truth, "{} kernels, seed {seed}", kernels.name);
        }
    }
}

#[test]
fn every_float_kernel_agrees_with_float64_and_sums_integers_exactly() {
    for seed in 0..60 {
        let mut rng = random::stream(seed, "float kernels", 0, 0);
        let case = Case::of(&mut rng);
        let windows = case.windows(&mut rng);
        let whole = seed % 2 == 0;
        let mut number = || {
            let x = random::between(&mut rng, -1.0, 1.0);
            if whole { (x * 60.0).round() } else { x }
        };
        let x: Vec<f32> = (0..case.elements()).map(|_| number()).collect();
        let weights: Vec<f32> = (0..case.channels * case.rows * case.run).map(|_| number()).collect();
        let mut truth = vec![0f64; case.pixels * case.channels];
        case.each(&windows, |to, i, j| truth[to] += f64::from(x[i]) * f64::from(weights[j]));
        // The bound of a sum of n products of numbers up to 1; integers below 2²⁴ are exact.
        let terms = (case.rows * case.run) as f64;
        let bound = if whole { 0.0 } else { terms * terms * f64::from(f32::EPSILON) };
        for kernels in Kernels::all() {
            let sums = case.sums(kernels, 0, &x, &windows, &weights);
            let worst = sums.iter().zip(&truth).map(|(s, t)| (f64::from(*s) - t).abs()).fold(0.0, f64::max);
            assert!(worst <= bound, "{} kernels, seed {seed}: off by {worst}", kernels.name);
        }
    }
}

/// What one pass of `Epilogue` gives for i32 sums `[pixels, width]`.
fn finished<R: Number, O: Output>(
    kernels: &Kernels,
    how: &Epilogue,
    part: &SumTile<'_, i32>,
    residual: Option<Residual<'_, R>>,
    at: &Offsets,
) -> Vec<O> {
    let mut out = vec![O::default(); at.all().len() * how.scale.len()];
    kernels.store(how, part, residual, &mut out, at.all());
    out
}

#[test]
fn every_pass_gives_the_bits_of_scalar_arithmetic() {
    for seed in 0..40 {
        let mut rng = random::stream(seed, "passes", 0, 0);
        let (channels, pixels) = (1 + random::below(&mut rng, 60), 1 + random::below(&mut rng, 9));
        let width = channels + random::below(&mut rng, 16);
        let at: Vec<usize> = (0..pixels).map(|p| p * channels).collect();
        let at = Offsets::new(&at).unwrap();
        let sums: Vec<i32> =
            (0..pixels * width).map(|_| random::below(&mut rng, 1 << 25) as i32 - (1 << 24)).collect();
        let how = Epilogue {
            scale: (0..channels).map(|_| 2f32.powi(-(random::below(&mut rng, 20) as i32))).collect(),
            shift: (0..channels).map(|_| random::between(&mut rng, -9.0, 9.0)).collect(),
            residual_factor: 0.25,
            low: 0.0,
            high: 127.0,
            floor: true,
            ..Epilogue::identity(channels)
        };
        let part = SumTile { pixels: 0..pixels, channels: 0..channels, width, sums: &sums };
        let other: Vec<u8> = (0..pixels * channels).map(|_| random::below(&mut rng, 256) as u8).collect();
        let other_floats: Vec<f32> = other.iter().map(|x| f32::from(*x) * 0.37).collect();
        let scalar = |residual: Option<&[f32]>| -> Vec<f32> {
            let place = |i: usize| (i / channels, i % channels);
            let value = |i: usize| {
                let (pixel, c) = place(i);
                let mut x = sums[pixel * width + c] as f32 * how.scale[c] + how.shift[c];
                x += residual.map_or(0.0, |b| b[i] * how.residual_factor);
                x.clamp(how.low, how.high).floor()
            };
            (0..pixels * channels).map(value).collect()
        };
        let bytes: Vec<f32> = other.iter().map(|x| f32::from(*x)).collect();
        let small = |x: Vec<f32>| x.into_iter().map(|x| x as u8).collect::<Vec<u8>>();
        for kernels in Kernels::all() {
            let of_bytes = Residual { data: &other[..], at: at.all() };
            let of_floats = Residual { data: &other_floats[..], at: at.all() };
            let name = kernels.name;
            assert_eq!(finished::<f32, f32>(kernels, &how, &part, None, &at), scalar(None), "{name}");
            let made: Vec<u8> = finished(kernels, &how, &part, Some(of_bytes), &at);
            assert_eq!(made, small(scalar(Some(&bytes))), "{name}");
            let made: Vec<u8> = finished(kernels, &how, &part, Some(of_floats), &at);
            assert_eq!(made, small(scalar(Some(&other_floats))), "{name}");
        }
    }
}

#[test]
fn the_portable_kernels_are_always_there_and_last() {
    let all = Kernels::all();
    assert_eq!(all.last().unwrap().name, "portable");
    assert_eq!(Kernels::best().name, all[0].name);
}

#[test]
#[should_panic(expected = "reaches over the end")]
fn a_window_over_the_end_is_refused() {
    let packed = Packed::<f32>::new(Kernels::best(), 0, 3, [2, 4], |_, _, _| 1.0);
    packed.run(&Runs::even(2, 10), &[0.0; 20], &[0, 7], |_| ());
}

/// Tiles of a map `[6, 6, 27]`, transformed and transformed back without a product between.
fn transformed<T: Tiled>(kernels: &Kernels, x: &[T::Pixel]) -> (Vec<T>, Vec<T::Sum>)
where
    T::Sum: From<T>,
{
    let (side, channels, inside) = (6, 27, [[2, 2], [2, 1], [1, 2]]);
    let origins = [[0, 0], [1, 2], [2, 1]].map(|[y, x]| ((y * side + x) * channels) as u32);
    let mut spread = vec![T::default(); 16 * 3 * channels];
    kernels.transform_inputs(x, side * channels, &origins, channels, &mut spread);
    // From tile by tile to place by place.
    let place =
        |i: usize| (i % (3 * channels) / channels * 16 + i / (3 * channels)) * channels + i % channels;
    let sums: Vec<T::Sum> = (0..spread.len()).map(|i| spread[place(i)].into()).collect();
    let mut pixels = vec![T::Sum::default(); 8 * channels];
    kernels.transform_outputs(&sums, [3 * channels, channels], &inside, 0..channels, &mut pixels, channels);
    (spread, pixels)
}

#[test]
fn the_transforms_of_tiles_give_the_same_bits_on_every_cpu() {
    let mut rng = random::stream(5, "tiles", 0, 0);
    let floats: Vec<f32> = (0..6 * 6 * 27).map(|_| random::between(&mut rng, -1.0, 1.0)).collect();
    let bytes: Vec<u8> = floats.iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
    let all = Kernels::all();
    let portable = all[all.len() - 1];
    let (of_floats, of_bytes) = (transformed::<f32>(portable, &floats), transformed::<i16>(portable, &bytes));
    assert!(of_floats.1.iter().all(|x| *x != 0.0), "every pixel is written");
    for kernels in all {
        assert_eq!(transformed::<f32>(kernels, &floats), of_floats, "{} kernels", kernels.name);
        assert_eq!(transformed::<i16>(kernels, &bytes), of_bytes, "{} kernels", kernels.name);
    }
}

#[test]
#[should_panic(expected = "a tile reaches over the end")]
fn a_tile_over_the_end_is_refused() {
    Kernels::best().transform_inputs(&[0f32; 15], 4, &[0], 1, &mut [0f32; 16]);
}

#[test]
fn every_way_to_look_up_bytes_gives_the_entries_of_the_table() {
    let mut rng = random::stream(3, "tables", 0, 0);
    let entries: Vec<u8> = (0..256).map(|_| random::below(&mut rng, 256) as u8).collect();
    let table = Table::new(1, |_, byte| entries[byte]);
    for width in [1, 31, 64, 333] {
        let x: Vec<u8> = (0..2 * width).map(|i| (i * 7) as u8).collect();
        for kernels in Kernels::all() {
            let mut out = vec![0u8; 2 * width + 1];
            kernels.look_up(&table, (&x, &[0, width as u32]), width, (&mut out, &[0, width as u32 + 1]));
            let truth = |x: &[u8]| x.iter().map(|x| entries[usize::from(*x)]).collect::<Vec<u8>>();
            assert_eq!(out[..width], truth(&x[..width]), "{} kernels", kernels.name);
            assert_eq!(out[width + 1..], truth(&x[width..]), "{} kernels", kernels.name);
        }
    }
}

/// Channels, taps and pixels of a convolution of each channel by itself, of bytes.
struct EachChannel {
    channels: usize,
    taps: Vec<u32>,
    pixels: Vec<u32>,
    x: Vec<u8>,
    weights: Vec<i8>,
}

impl EachChannel {
    fn of(rng: &mut Stream, highest: u8, extreme: bool) -> Self {
        let channels = [1, 3, 15, 16, 17, 40, 64, 100, 144][random::below(rng, 9)];
        let count = [1, 3, 4, 9, 25][random::below(rng, 5)];
        let taps: Vec<u32> = (0..count).map(|_| random::below(rng, 900) as u32).collect();
        let pixels = (0..1 + random::below(rng, 12)).map(|_| random::below(rng, 900) as u32).collect();
        let byte = |rng: &mut Stream| {
            if extreme { highest } else { random::below(rng, usize::from(highest) + 1) as u8 }
        };
        let x = (0..1800 + channels + 64).map(|_| byte(rng)).collect();
        let weight =
            |rng: &mut Stream| if extreme { -128 } else { (random::below(rng, 256) as i32 - 128) as i8 };
        let weights = (0..channels * count).map(|_| weight(rng)).collect();
        Self { channels, taps, pixels, x, weights }
    }

    fn sum(&self, pixel: usize, channel: usize) -> i32 {
        let of = |(i, tap): (usize, &u32)| {
            let x = self.x[self.pixels[pixel] as usize + *tap as usize + channel];
            i32::from(x) * i32::from(self.weights[channel * self.taps.len() + i])
        };
        self.taps.iter().enumerate().map(of).sum()
    }

    fn packed(
        &self,
        kernels: &Kernels,
        highest: u8,
        begin: &[i32],
        finish: Option<&Requantise>,
    ) -> Option<ByteDepthwise> {
        let weight = |c: usize, tap: usize| self.weights[c * self.taps.len() + tap];
        ByteDepthwise::new(kernels, highest, &self.taps, weight, begin, finish)
    }
}

#[test]
fn every_kernel_for_channels_of_bytes_gives_the_sums_and_the_bytes_of_scalar_arithmetic() {
    let mut kinds = 0;
    for seed in 0..80 {
        let mut rng = random::stream(seed, "channels of bytes", 0, 0);
        let highest = [127u8, 255][seed as usize % 2];
        let case = EachChannel::of(&mut rng, highest, seed % 5 == 0);
        let (channels, count) = (case.channels, case.pixels.len());
        let begin: Vec<i32> =
            (0..channels).map(|_| random::below(&mut rng, 60_000) as i32 - 30_000).collect();
        let shift: Vec<u32> = (0..channels).map(|_| random::below(&mut rng, 17) as u32).collect();
        let finish = Requantise { begin: begin.clone(), shift, low: seed as u8 % 3, high: 200 };
        for kernels in Kernels::all() {
            let Some(packed) = case.packed(kernels, highest, &begin, None) else { continue };
            kinds += 1;
            let mut sums = vec![0i32; count * channels];
            packed.run((&case.x, &case.pixels), |tile| {
                for (i, pixel) in tile.pixels.clone().enumerate() {
                    let of = &tile.sums[i * tile.width..][..tile.channels.len()];
                    sums[pixel * channels + tile.channels.start..][..of.len()].copy_from_slice(of);
                }
            });
            let mut bytes = vec![7u8; count * channels + 64];
            let at: Vec<u32> = (0..count).map(|pixel| (pixel * channels) as u32).collect();
            let packed = case.packed(kernels, highest, &begin, Some(&finish)).unwrap();
            packed.finish((&case.x, &case.pixels), (&mut bytes, &at));
            for (place, sum) in sums.iter().enumerate() {
                let (pixel, c) = (place / channels, place % channels);
                let truth = case.sum(pixel, c) + begin[c];
                assert_eq!(*sum, truth, "{} kernels, seed {seed}, pixel {pixel}, channel {c}", kernels.name);
                let byte = (truth >> finish.shift[c]).clamp(i32::from(finish.low), 200) as u8;
                assert_eq!(
                    bytes[place], byte,
                    "{} kernels, seed {seed}, pixel {pixel}, channel {c}",
                    kernels.name
                );
            }
            assert!(
                bytes[count * channels..].iter().all(|x| *x == 7),
                "{} kernels write behind the last",
                kernels.name
            );
        }
    }
    assert!(kinds > 0 || !cfg!(target_arch = "x86_64"), "no kernels for bytes");
}
