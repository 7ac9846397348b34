//! Running a program: an image at a time, then the steps that take several together.

mod products;

use super::aligned::Aligned;
use super::kernels::{Epilogue, Number, Offsets, Operand, Output, Residual, SumTile, Windows};
use super::map::{Data, Map, View, ViewMut};
use super::program::{Action, Function8, Pool, Program, Step, Tiles};
use super::winograd::Workspace;
use std::ops::Range;
use std::time::Instant;

/// The memory that one thread needs to run a program; made once.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// The buffers of the maps.
    buffers: Vec<Data>,
    space: Space,
}

/// Memory that steps use by turns.
#[derive(Clone, Debug, Default)]
struct Space {
    tiles: Workspace<f32>,
    integer_tiles: Workspace<i16>,
    /// Sums of convolutions of each channel by itself.
    sums: Vec<f32>,
    /// A matrix that is packed.
    panel: Vec<f32>,
}

impl Program {
    /// Memory for one thread.
    pub fn scratch(&self) -> Scratch {
        let mut space = Space::default();
        for step in &self.steps {
            match &step.action {
                Action::Winograd { weights: Tiles::Float(weights), .. } => space.tiles.fit(weights),
                Action::Winograd { weights: Tiles::Int(weights), .. } => space.integer_tiles.fit(weights),
                Action::Depthwise { weights, .. } => {
                    space.sums.resize(space.sums.len().max(weights.space()), 0.0);
                }
                _ => {}
            }
        }
        let buffers = self.memory.buffers.iter().map(|b| Data::empty(b.bytes, b.length)).collect();
        let mut scratch = Scratch { buffers, space };
        // Borders that are never cleared again.
        for (map, slot) in self.maps.iter().zip(&self.memory.slots) {
            let alone =
                self.memory.buffers.get(*slot).is_some_and(|buffer| buffer.maps == 1 && buffer.length > 0);
            if alone && !map.lift.is_empty() {
                (0..map.images)
                    .for_each(|i| map.clear_border(&mut scratch.buffers[*slot].behind_mut(map.base(i))));
            }
        }
        for (map, numbers) in &self.constants {
            if let Data::Floats(data) = &mut scratch.buffers[self.memory.slots[*map]] {
                self.maps[*map].fill(numbers, data);
            }
        }
        scratch
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
            if let Data::Bytes(data) = &mut scratch.buffers[self.memory.slots[0]] {
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
        self.maps[number].unload(&scratch.buffers[self.memory.slots[number]], image, out);
    }

    fn step(&self, step: &Step, scratch: &mut Scratch, images: Range<usize>) {
        let slot = self.memory.slots[step.to];
        let mut out = std::mem::replace(&mut scratch.buffers[slot], Data::Bytes(Aligned::default()));
        if step.clears {
            self.maps[step.to].clear_border(&mut out.behind_mut(0));
        }
        let running = Running { program: self, step, buffers: &scratch.buffers, images };
        running.fill(&mut scratch.space, out.behind_mut(running.base(step.to)));
        scratch.buffers[slot] = out;
    }
}

/// One step for some images.
struct Running<'a> {
    program: &'a Program,
    step: &'a Step,
    buffers: &'a [Data],
    images: Range<usize>,
}

impl<'a> Running<'a> {
    /// Where the first image's part of a map begins.
    fn base(&self, map: usize) -> usize {
        self.program.maps[map].base(self.images.start)
    }

    fn view(&self, map: usize) -> View<'a> {
        self.buffers[self.program.memory.slots[map]].behind(self.base(map))
    }

    /// The places of these images.
    fn of(&self, places: &'a Offsets) -> &'a [u32] {
        let all = places.all();
        &all[..all.len() / self.step.images * self.images.len()]
    }

    fn fill(&self, space: &mut Space, mut out: ViewMut<'_>) {
        let (step, kernels) = (self.step, self.program.kernels);
        let map = &self.program.maps[step.from];
        let (windows, at) = (self.of(&step.windows), self.of(&step.at));
        match (&step.action, self.view(step.from)) {
            (Action::Product { .. }, x) => self.product(x, &mut out),
            (Action::Depthwise { weights, taps, epilogue }, x) => {
                self.depthwise(weights, taps, epilogue, x.floats(), &mut space.sums, &mut out);
            }
            (Action::ByteDepthwise { weights, epilogue }, x) => {
                self.byte_depthwise(weights, epilogue, x, &mut out);
            }
            (Action::Winograd { weights, epilogue, requantise }, x) => match (weights, x) {
                (Tiles::Float(weights), View::Floats(x)) => {
                    weights.run(kernels, map.row_stride(), x, windows, &mut space.tiles, |tile| {
                        self.store(epilogue, &tile, &mut out);
                    });
                }
                (Tiles::Int(weights), View::Bytes(x)) => {
                    weights.run(kernels, map.row_stride(), x, windows, &mut space.integer_tiles, |tile| {
                        self.store_integers(epilogue, requantise.as_ref(), &tile, &mut out);
                    });
                }
                _ => unreachable!("the linker gives tiles a map of their type"),
            },
            (Action::Maps { .. }, x) => self.product_of_maps(x.floats(), &mut space.panel, &mut out),
            (Action::Table(table), View::Bytes(x)) => {
                let width = map.size[1] * map.channels;
                match (table, out) {
                    (Function8::Bytes(table), ViewMut::Bytes(out)) => {
                        kernels.look_up(table, (x, windows), width, (out, at));
                    }
                    (Function8::Floats(table), ViewMut::Floats(out)) => {
                        table.look_up((x, windows), width, (out, at))
                    }
                    _ => unreachable!("the linker makes a table of the type of its map"),
                }
            }
            (Action::Table(_), View::Floats(_)) => unreachable!("tables are of bytes"),
            (Action::Elementwise(epilogue), View::Bytes(x)) => self.rows(epilogue, windows, x, &mut out),
            (Action::Elementwise(epilogue), View::Floats(x)) => self.rows(epilogue, windows, x, &mut out),
            (Action::Combine { how, width }, x) => {
                let left = Operand { data: x.floats(), at: windows };
                if let Some((number, places)) = &step.other {
                    let right = Operand { data: self.view(*number).floats(), at: self.of(places) };
                    kernels.combine(*how, left, right, *width, out.floats(), at);
                }
            }
            (Action::Gate { by, .. }, x) => self.gated(*by, x, &mut out),
            (Action::MaxPool(pool), from) => match (from, out) {
                (View::Bytes(x), ViewMut::Bytes(out)) => kernels.max_pool(x, self.pool(pool), out, at),
                (View::Floats(x), ViewMut::Floats(out)) => kernels.max_pool(x, self.pool(pool), out, at),
                _ => unreachable!("a pool of greatest values keeps the type"),
            },
            (Action::MeanPool(pool), View::Bytes(x)) => {
                kernels.mean_pool(x, self.pool(pool), out.floats(), at);
            }
            (Action::MeanPool(pool), View::Floats(x)) => {
                kernels.mean_pool(x, self.pool(pool), out.floats(), at);
            }
            (Action::Copy(copying), from) => match (from, out) {
                (View::Bytes(x), ViewMut::Bytes(out)) => copying.run(x, out),
                (View::Floats(x), ViewMut::Floats(out)) => copying.run(x, out),
                (View::Bytes(x), ViewMut::Floats(out)) => copying.widen(x, out),
                _ => unreachable!("a copy keeps fractions"),
            },
            (Action::Resample(how), View::Bytes(x)) => {
                kernels.resample(x, windows[0] as usize, map.channels, how, out.floats(), at);
            }
            (Action::Resample(how), View::Floats(x)) => {
                kernels.resample(x, windows[0] as usize, map.channels, how, out.floats(), at);
            }
            (Action::UnitLength(epsilon), x) => {
                unit_length(x.floats(), windows, map.size[1] * map.channels, *epsilon, out.floats(), at);
            }
            (Action::Softmax, x) => kernels.softmax(x.floats(), windows, map.channels, out.floats(), at),
            (Action::LayerNorm(how), x) => kernels.layer_norm(x.floats(), windows, how, out.floats(), at),
        }
    }

    /// The windows of a pool of these images.
    fn pool(&self, pool: &'a Pool) -> Windows<'a> {
        let channels = self.program.maps[self.step.from].channels;
        let Pool { extents, strides, before } = pool;
        Windows { from: self.of(&self.step.windows), extents, strides: *strides, channels, before }
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
            ViewMut::Floats(out) => {
                self.store_as(how, tile, out);
                if let Some(function) = &self.step.function {
                    let pixels = &self.step.at.all()[tile.pixels.clone()];
                    self.program.kernels.apply(function, tile.channels.clone(), pixels, out);
                }
            }
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

fn unit_length<T: Number>(x: &[T], rows: &[u32], width: usize, epsilon: f32, out: &mut [f32], at: &[u32]) {
    for (row, at) in rows.iter().zip(at) {
        let x = &x[*row as usize..][..width];
        let square: f64 = x.iter().map(|x| f64::from(x.float()).powi(2)).sum();
        let length = (square as f32 + epsilon).sqrt();
        out[*at as usize..][..width].iter_mut().zip(x).for_each(|(to, x)| *to = x.float() / length);
    }
}
