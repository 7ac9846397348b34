//! Products that are finished in registers, beside sums that are finished one by one.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::random::{self, Stream};

/// Rows of numbers times a matrix of random shape, into a map whose pixels lie apart.
struct Case {
    channels: usize,
    run: usize,
    pixels: usize,
    windows: Vec<u32>,
    at: Vec<u32>,
}

impl Case {
    fn of(rng: &mut Stream) -> Self {
        let mut number = |most: usize| 1 + random::below(rng, most);
        let (channels, run, pixels) = (number(150), number(60), number(70));
        let windows = (0..pixels).map(|_| number(200) as u32).collect();
        let at = (0..pixels).map(|i| (i * (channels + 3)) as u32).collect();
        Self { channels, run, pixels, windows, at }
    }

    fn elements(&self) -> usize {
        201 + self.run + 4
    }

    fn result(&self) -> usize {
        self.pixels * (self.channels + 3)
    }
}

#[test]
fn finished_floats_are_shifted_sums_and_another_map_within_limits() {
    let mut kinds = 0;
    for seed in 0..40 {
        let mut rng = random::stream(seed, "finished floats", 0, 0);
        let case = Case::of(&mut rng);
        let mut numbers =
            |count: usize| -> Vec<f32> { (0..count).map(|_| random::between(&mut rng, -1.0, 1.0)).collect() };
        let (x, weights) = (numbers(case.elements()), numbers(case.channels * case.run));
        let (shift, other) = (numbers(case.channels), numbers(case.result()));
        let how = Epilogue {
            shift,
            low: -0.5,
            high: 2.0,
            residual_factor: 0.5,
            ..Epilogue::identity(case.channels)
        };
        for kernels in Kernels::all() {
            let Some(finishing) = Finishing::new(kernels, &how) else { continue };
            kinds += 1;
            let packed = Packed::<f32>::new(kernels, 0, case.channels, [1, case.run], |c, _, i| {
                weights[c * case.run + i]
            });
            let mut out = vec![9f32; case.result()];
            let residual = Some(Residual { data: &other, at: &case.at }).filter(|_| seed % 2 == 0);
            let mut to = Finished { out: &mut out, at: &case.at, residual };
            let mut told = vec![0; case.pixels];
            let product = (&Runs::even(1, 0), &x[..], &case.windows[..]);
            packed.finish(
                &finishing,
                product,
                &mut to,
                |_, pixels, channels| pixels.for_each(|p| told[p] += channels.len()),
                |out, tile| kernels.store(&how, tile, residual, out, &case.at),
            );
            assert!(told.iter().all(|channels| *channels <= case.channels), "{} kernels", kernels.name);
            for (p, c) in (0..case.pixels).flat_map(|p| (0..case.channels).map(move |c| (p, c))) {
                let terms =
                    (0..case.run).map(|i| x[case.windows[p] as usize + i] * weights[c * case.run + i]);
                let place = case.at[p] as usize + c;
                let added = residual.map_or(0.0, |other| 0.5 * other.data[place]);
                let truth = (terms.sum::<f32>() + how.shift[c] + added).clamp(-0.5, 2.0);
                let off = (out[place] - truth).abs();
                assert!(
                    off < 1e-4,
                    "{} kernels, seed {seed}, pixel {p}, channel {c}: off by {off}",
                    kernels.name
                );
            }
            let between = case.at.iter().flat_map(|at| (0..3).map(move |i| *at as usize + case.channels + i));
            assert!(
                between.clone().all(|place| out[place] == 9.0),
                "{} kernels write between pixels",
                kernels.name
            );
        }
    }
    assert!(kinds > 0 || !cfg!(target_arch = "x86_64"), "no finishing kernels");
}

#[test]
fn finished_bytes_are_those_of_shifted_sums() {
    for seed in 0..40 {
        let mut rng = random::stream(seed, "finished bytes", 0, 0);
        let case = Case::of(&mut rng);
        let highest = [127u8, 255][seed as usize % 2];
        let mut number = |most: usize| random::below(&mut rng, most) as i32;
        let x: Vec<u8> = (0..case.elements()).map(|_| number(usize::from(highest) + 1) as u8).collect();
        let weights: Vec<i8> = (0..case.channels * case.run).map(|_| (number(256) - 128) as i8).collect();
        let begin = (0..case.channels).map(|_| number(40_000) - 20_000).collect();
        let shift = (0..case.channels).map(|_| number(14) as u32).collect();
        let how = Requantise { begin, shift, low: 3, high: 254 };
        for kernels in Kernels::all() {
            let Some(finishing) = Finishing::of_integers(kernels, &how) else { continue };
            let at = |c: usize, _: usize, i: usize| weights[c * case.run + i];
            let packed = Packed::<u8>::new(kernels, highest, case.channels, [1, case.run], at);
            let mut out = vec![1u8; case.result()];
            let product = (&Runs::even(1, 0), &x[..], &case.windows[..]);
            let mut to = Finished { out: &mut out, at: &case.at, residual: None };
            packed.finish(
                &finishing,
                product,
                &mut to,
                |_, _, _| (),
                |out, tile| {
                    kernels.requantise(&how, tile, out, &case.at);
                },
            );
            for (p, c) in (0..case.pixels).flat_map(|p| (0..case.channels).map(move |c| (p, c))) {
                let term = |i: usize| {
                    i32::from(x[case.windows[p] as usize + i]) * i32::from(weights[c * case.run + i])
                };
                let sum: i32 = (0..case.run).map(term).sum();
                let truth = ((sum + how.begin[c]) >> how.shift[c]).clamp(3, 254) as u8;
                assert_eq!(out[case.at[p] as usize + c], truth, "{} kernels, seed {seed}", kernels.name);
            }
        }
    }
}

#[test]
fn shifts_are_taken_only_where_they_give_what_float32_gives() {
    let how = |scale: f32, shift: f32| Epilogue {
        scale: vec![scale; 2],
        shift: vec![shift; 2],
        low: 0.0,
        high: 127.0,
        floor: true,
        ..Epilogue::identity(2)
    };
    let of = |how: &Epilogue, most: f64| Requantise::of(how, |_| most);
    let found = of(&how(0.25, 1.5), 1000.0).unwrap();
    assert_eq!((found.begin[0], found.shift[0], found.low, found.high), (6, 2, 0, 127));
    // ⌊(n + ½)/4⌋ is ⌊n/4⌋, and −1 + ½ is cut off to −1.
    assert_eq!(of(&how(0.25, -0.125), 1000.0).unwrap().begin[0], -1);
    assert_eq!(of(&how(0.3, 0.0), 1000.0), None, "no power of two");
    assert_eq!(of(&how(2.0, 0.0), 1000.0), None, "it would be shifted to the left");
    assert_eq!(of(&how(0.25, 0.0), 16_777_216.0), None, "float32 may round the sum");
    assert_eq!(of(&how(0.25, 0.125), 8_388_608.0), None, "float32 may round the sum of a fraction");
    let lifted = Epilogue { low: -127.0, lift: vec![127.0; 2], ..how(0.5, 0.0) };
    let found = of(&lifted, 1000.0).unwrap();
    assert_eq!((found.begin[0], found.low, found.high), (254, 0, 254));
    assert_eq!(
        of(&Epilogue { lift: vec![127.0, 126.0], ..lifted }, 1000.0),
        None,
        "limits differ by channel"
    );
}
