//! Running a program: an image at a time, then the steps that take several together.

use super::kernels::{Epilogue, Number, Offsets, Output, Residual, SumTile, Window};
use super::map::{Data, Map, View, ViewMut};
use super::program::{Action, Program, Step, Weights};
use super::winograd::Workspace;
use std::ops::Range;
use std::time::Instant;

/// The memory that one thread needs to run a program; made once.
#[derive(Clone, Debug)]
pub struct Scratch {
    maps: Vec<Data>,
    space: Workspace,
}

impl Program {
    /// Memory for one thread.
    pub fn scratch(&self) -> Scratch {
        let tiled = self.steps.iter().filter_map(|s| match &s.action {
            Action::Winograd { weights, .. } => Some(weights),
            _ => None,
        });
        Scratch { maps: self.maps.iter().map(Map::empty).collect(), space: Workspace::of(tiled) }
    }

    /// Runs images `[N, C, H, W]`, up to `images` of them; the results stay in the scratch. Those of an
    /// image do not depend on the others.
    ///
    /// # Panics
    /// If the images or the scratch are not the program's.
    pub fn run(&self, scratch: &mut Scratch, images: &[u8]) {
        self.run_each(scratch, images, |program, scratch, step, images| {
            program.step(&program.steps[step], scratch, images);
        });
    }

    /// Seconds that each step takes: the least of `repeats` runs of an image `[C, H, W]`.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub fn profile(&self, scratch: &mut Scratch, image: &[u8], repeats: usize) -> Vec<f64> {
        let mut least = vec![f64::INFINITY; self.steps.len()];
        for _ in 0..repeats {
            self.run_each(scratch, image, |program, scratch, step, images| {
                let begin = Instant::now();
                program.step(&program.steps[step], scratch, images);
                least[step] = least[step].min(begin.elapsed().as_secs_f64());
            });
        }
        least
    }

    /// Calls `step` for each step and the images that it is to take.
    fn run_each(
        &self,
        scratch: &mut Scratch,
        images: &[u8],
        mut step: impl FnMut(&Self, &mut Scratch, usize, Range<usize>),
    ) {
        let map = &self.maps[0];
        let size = map.channels * map.size[0] * map.size[1];
        let count = images.len() / size;
        assert!(count <= self.images, "more images than a run takes");
        let apart = self.steps.iter().take_while(|s| s.images == 1).count();
        for (i, image) in images.chunks(size).enumerate() {
            if let Data::Bytes(data) = &mut scratch.maps[0] {
                map.load(image, i, data);
            }
            (0..apart).for_each(|s| step(self, scratch, s, i..i + 1));
        }
        (apart..self.steps.len()).for_each(|s| step(self, scratch, s, 0..count));
    }

    /// Elements of output `i` of an image.
    pub fn output_size(&self, i: usize) -> usize {
        let Map { channels, size: [height, width], .. } = self.maps[self.outputs[i]];
        channels * height * width
    }

    /// Copies output `i` of an image of the last run, as `[C, H, W]`.
    ///
    /// # Panics
    /// If `out` does not have the output's size.
    pub fn output(&self, scratch: &Scratch, i: usize, image: usize, out: &mut [f32]) {
        let number = self.outputs[i];
        self.maps[number].unload(&scratch.maps[number], image, out);
    }

    fn step(&self, step: &Step, scratch: &mut Scratch, images: Range<usize>) {
        let mut out = std::mem::replace(&mut scratch.maps[step.to], Data::Bytes(Vec::new()));
        let running = Running { program: self, step, maps: &scratch.maps, images };
        running.fill(&mut scratch.space, out.behind_mut(running.base(step.to)));
        scratch.maps[step.to] = out;
    }
}

/// One step for some images.
struct Running<'a> {
    program: &'a Program,
    step: &'a Step,
    maps: &'a [Data],
    images: Range<usize>,
}

impl<'a> Running<'a> {
    /// Where the first image's part of a map begins.
    fn base(&self, map: usize) -> usize {
        self.program.maps[map].base(self.images.start)
    }

    fn view(&self, map: usize) -> View<'a> {
        self.maps[map].behind(self.base(map))
    }

    /// The places of these images.
    fn of(&self, places: &'a Offsets) -> &'a [u32] {
        let all = places.all();
        &all[..all.len() / self.step.images * self.images.len()]
    }

    fn fill(&self, space: &mut Workspace, mut out: ViewMut<'_>) {
        let (step, kernels) = (self.step, self.program.kernels);
        let map = &self.program.maps[step.from];
        let (windows, at) = (self.of(&step.windows), self.of(&step.at));
        let width = map.size[1] * map.channels;
        match (&step.action, self.view(step.from)) {
            (Action::Product { weights: Weights::Float(weights), epilogue }, View::Floats(x)) => {
                weights.run(map.row_stride(), x, windows, |tile| self.store(epilogue, &tile, &mut out));
            }
            (Action::Product { weights: Weights::Int(weights), epilogue }, View::Bytes(x)) => {
                weights.run(map.row_stride(), x, windows, |tile| self.store(epilogue, &tile, &mut out));
            }
            (Action::Winograd { weights, epilogue }, View::Floats(x)) => {
                weights.run(kernels, map.row_stride(), x, windows, space, |tile| {
                    self.store(epilogue, &tile, &mut out);
                });
            }
            (Action::Product { .. } | Action::Winograd { .. }, _) => {
                unreachable!("the linker gives each product a map of its type")
            }
            (Action::Elementwise(epilogue), View::Bytes(x)) => self.rows(epilogue, windows, x, &mut out),
            (Action::Elementwise(epilogue), View::Floats(x)) => self.rows(epilogue, windows, x, &mut out),
            (Action::MaxPool(taps), from) => {
                let window = Window { taps, channels: map.channels };
                match (from, out) {
                    (View::Bytes(x), ViewMut::Bytes(out)) => kernels.max_pool(x, windows, window, out, at),
                    (View::Floats(x), ViewMut::Floats(out)) => kernels.max_pool(x, windows, window, out, at),
                    _ => unreachable!("a pool of greatest values keeps the type"),
                }
            }
            (Action::MeanPool { taps, divisor }, from) => {
                let window = Window { taps, channels: map.channels };
                match from {
                    View::Bytes(x) => kernels.mean_pool(x, windows, window, *divisor, out.floats(), at),
                    View::Floats(x) => kernels.mean_pool(x, windows, window, *divisor, out.floats(), at),
                }
            }
            (Action::Sigmoid, View::Bytes(x)) => sigmoid(x, windows, width, out.floats(), at),
            (Action::Sigmoid, View::Floats(x)) => sigmoid(x, windows, width, out.floats(), at),
            (Action::UnitLength(epsilon), View::Bytes(x)) => {
                unit_length(x, windows, width, *epsilon, out.floats(), at);
            }
            (Action::UnitLength(epsilon), View::Floats(x)) => {
                unit_length(x, windows, width, *epsilon, out.floats(), at);
            }
        }
    }

    /// The epilogue of each row of a map as if it were one pixel with many channels.
    fn rows<T: Number>(&self, how: &Epilogue, rows: &[u32], x: &[T], out: &mut ViewMut<'_>) {
        let width = how.scale.len();
        for (y, begin) in rows.iter().enumerate() {
            let sums = &x[*begin as usize..][..width];
            self.store(how, &SumTile { pixels: y..y + 1, channels: 0..width, width, sums }, out);
        }
    }

    fn store<A: Number>(&self, how: &Epilogue, tile: &SumTile<'_, A>, out: &mut ViewMut<'_>) {
        match out {
            ViewMut::Bytes(out) => self.store_as(how, tile, out),
            ViewMut::Floats(out) => self.store_as(how, tile, out),
        }
    }

    fn store_as<A: Number, O: Output>(&self, how: &Epilogue, tile: &SumTile<'_, A>, out: &mut [O]) {
        let (kernels, to) = (self.program.kernels, self.step.at.all());
        let Some((number, at)) = &self.step.residual else {
            return kernels.store(how, tile, None::<Residual<'_, f32>>, out, to);
        };
        let at = at.all();
        match self.view(*number) {
            View::Bytes(data) => kernels.store(how, tile, Some(Residual { data, at }), out, to),
            View::Floats(data) => kernels.store(how, tile, Some(Residual { data, at }), out, to),
        }
    }
}

fn sigmoid<T: Number>(x: &[T], rows: &[u32], width: usize, out: &mut [f32], at: &[u32]) {
    for (row, at) in rows.iter().zip(at) {
        let x = &x[*row as usize..][..width];
        let out = &mut out[*at as usize..][..width];
        out.iter_mut().zip(x).for_each(|(to, x)| *to = 1.0 / (1.0 + (-x.float()).exp()));
    }
}

fn unit_length<T: Number>(x: &[T], rows: &[u32], width: usize, epsilon: f32, out: &mut [f32], at: &[u32]) {
    for (row, at) in rows.iter().zip(at) {
        let x = &x[*row as usize..][..width];
        let square: f64 = x.iter().map(|x| f64::from(x.float()).powi(2)).sum();
        let length = (square as f32 + epsilon).sqrt();
        out[*at as usize..][..width].iter_mut().zip(x).for_each(|(to, x)| *to = x.float() / length);
    }
}
