//! A lowered tower: maps, and the steps that fill them, one image at a time.

use super::kernels::{Beside, Finish, Kernels, Number, Output, Packed, Part, Pixels, Window};

/// A map `[H, W, C]` in memory: channels innermost, with a border that stays 0, so that a padded
/// convolution is one without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// C.
    pub channels: usize,
    /// H, W.
    pub size: [usize; 2],
    /// Pixels at the top, left, bottom and right.
    pub border: [usize; 4],
    /// Held as uint8, otherwise as float32.
    pub bytes: bool,
}

impl Map {
    /// Elements behind the last pixel that a kernel may read, and multiply by 0.
    const SLACK: usize = 4;

    /// Elements from one row to the next.
    pub fn row_stride(&self) -> usize {
        (self.border[1] + self.size[1] + self.border[3]) * self.channels
    }

    /// Where pixel y, x of the map with its border begins.
    pub fn at(&self, y: usize, x: usize) -> usize {
        y * self.row_stride() + x * self.channels
    }

    /// Where every pixel inside the border begins.
    pub fn pixels(&self) -> Option<Pixels> {
        let [top, left, ..] = self.border;
        self.windows([top, left], self.size, [1, 1])
    }

    /// Where the windows of `count` outputs begin, the first at `origin` of the map with its border.
    pub fn windows(&self, origin: [usize; 2], count: [usize; 2], strides: [usize; 2]) -> Option<Pixels> {
        let places = (0..count[0]).flat_map(|y| (0..count[1]).map(move |x| (y, x)));
        let at = |(y, x)| self.at(origin[0] + y * strides[0], origin[1] + x * strides[1]);
        Pixels::new(&places.map(at).collect::<Vec<_>>())
    }

    fn elements(&self) -> usize {
        (self.border[0] + self.size[0] + self.border[2]) * self.row_stride() + Self::SLACK
    }

    fn empty(&self) -> Data {
        if self.bytes {
            Data::Bytes(vec![0; self.elements()])
        } else {
            Data::Floats(vec![0.0; self.elements()])
        }
    }
}

/// The memory of a map.
#[derive(Clone, Debug)]
enum Data {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

/// The weights of a product.
pub enum Weights {
    /// float32 by float32.
    Float(Packed<f32>),
    /// uint8 by int8 in int32.
    Int(Packed<u8>),
}

/// What a step computes.
pub enum Action {
    /// A convolution or a matrix product.
    Product {
        /// Packed for the kernels.
        weights: Weights,
        /// Where each window begins.
        windows: Pixels,
        /// What is done to the sums.
        finish: Finish,
    },
    /// The passes of [`Finish`] alone; `scale` and `shift` are repeated over a whole row `[W, C]`.
    Each {
        /// Where each row begins.
        rows: Pixels,
        /// What is done to each element.
        finish: Finish,
    },
    /// The greatest of each window.
    Max {
        /// Where each window begins.
        windows: Pixels,
        /// From there to each of its pixels.
        taps: Vec<u32>,
    },
    /// The sum of each window divided by a number.
    Mean {
        /// Where each window begins.
        windows: Pixels,
        /// From there to each of its pixels.
        taps: Vec<u32>,
        /// Their count for a mean, 1 for a sum.
        divisor: f32,
    },
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Division by the root of the sum of squares plus a number.
    UnitLength(f32),
}

impl Action {
    /// For reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Product { weights: Weights::Int(_), .. } => "integer product",
            Self::Product { weights: Weights::Float(_), .. } => "float product",
            Self::Each { .. } => "each element",
            Self::Max { .. } => "greatest of windows",
            Self::Mean { .. } => "mean or sum of windows",
            Self::Sigmoid => "sigmoid",
            Self::UnitLength(_) => "unit length",
        }
    }
}

/// One step: from one map, and perhaps another beside it, to a third.
pub struct Step {
    /// For reports: the name of the node that it began with.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The map it reads.
    pub from: usize,
    /// The map that is added, and its pixels (its rows for [`Action::Each`]).
    pub beside: Option<(usize, Pixels)>,
    /// The map it fills.
    pub to: usize,
    /// The pixels of that map (its rows for [`Action::Each`]).
    pub at: Pixels,
}

/// A lowered tower, or the beginning of one. Map 0 is the image.
pub struct Program {
    /// The kernels that its weights are packed for.
    pub kernels: &'static Kernels,
    /// The maps, by number.
    pub maps: Vec<Map>,
    /// In the order in which they run.
    pub steps: Vec<Step>,
    /// The maps that come out.
    pub outputs: Vec<usize>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("kernels", &self.kernels).field("steps", &self.describe()).finish()
    }
}

/// The memory that one thread needs to run a program; made once.
#[derive(Clone, Debug)]
pub struct Scratch(Vec<Data>);

impl Program {
    /// One line for each step: name, what it does, with which numbers, from which size to which.
    pub fn describe(&self) -> Vec<String> {
        let size = |map: usize| {
            let Map { channels, size: [h, w], .. } = self.maps[map];
            format!("{h}×{w}×{channels}")
        };
        let line = |s: &Step| {
            let beside = if s.beside.is_some() { " + another" } else { "" };
            format!("{}: {} {}{beside} → {}", s.name, s.action.name(), size(s.from), size(s.to))
        };
        self.steps.iter().map(line).collect()
    }

    /// Memory for one thread.
    pub fn scratch(&self) -> Scratch {
        Scratch(self.maps.iter().map(Map::empty).collect())
    }

    /// Runs one image `[C, H, W]`; the results stay in the scratch.
    ///
    /// # Panics
    /// If the image or the scratch is not the program's.
    pub fn run(&self, scratch: &mut Scratch, image: &[u8]) {
        if let (Some(map), Some(Data::Bytes(data))) = (self.maps.first(), scratch.0.first_mut()) {
            load(map, image, data);
        }
        for step in &self.steps {
            let mut out = std::mem::replace(&mut scratch.0[step.to], Data::Bytes(Vec::new()));
            self.step(step, &scratch.0, &mut out);
            scratch.0[step.to] = out;
        }
    }

    /// Seconds that each step takes: the least of `repeats` runs of an image `[C, H, W]`.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub fn profile(&self, scratch: &mut Scratch, image: &[u8], repeats: usize) -> Vec<f64> {
        let mut least = vec![f64::INFINITY; self.steps.len()];
        self.run(scratch, image);
        for _ in 0..repeats {
            for (step, least) in self.steps.iter().zip(&mut least) {
                let mut out = std::mem::replace(&mut scratch.0[step.to], Data::Bytes(Vec::new()));
                let begin = std::time::Instant::now();
                self.step(step, &scratch.0, &mut out);
                *least = least.min(begin.elapsed().as_secs_f64());
                scratch.0[step.to] = out;
            }
        }
        least
    }

    /// Copies output `i` of the last run, as `[C, H, W]`.
    ///
    /// # Panics
    /// If `out` does not have the output's size.
    pub fn output(&self, scratch: &Scratch, i: usize, out: &mut [f32]) {
        let number = self.outputs[i];
        match &scratch.0[number] {
            Data::Bytes(data) => unload(&self.maps[number], data, out),
            Data::Floats(data) => unload(&self.maps[number], data, out),
        }
    }

    fn step(&self, step: &Step, data: &[Data], out: &mut Data) {
        let from = &data[step.from];
        let (map, to) = (&self.maps[step.from], &self.maps[step.to]);
        match &step.action {
            Action::Product { weights, windows, finish } => match (weights, from) {
                (Weights::Float(weights), Data::Floats(x)) => {
                    weights.run(map.row_stride(), x, windows, |p| self.finish(step, finish, &p, data, out));
                }
                (Weights::Int(weights), Data::Bytes(x)) => {
                    weights.run(map.row_stride(), x, windows, |p| self.finish(step, finish, &p, data, out));
                }
                _ => unreachable!("the linker gives each product a map of its type"),
            },
            Action::Each { rows, finish } => match from {
                Data::Bytes(x) => self.rows(step, finish, rows, x, data, out),
                Data::Floats(x) => self.rows(step, finish, rows, x, data, out),
            },
            Action::Max { windows, taps } => {
                let (window, at) = (Window { taps, channels: map.channels }, step.at.offsets());
                match (from, out) {
                    (Data::Bytes(x), Data::Bytes(out)) => {
                        self.kernels.max_pool(x, windows.offsets(), window, out, at);
                    }
                    (Data::Floats(x), Data::Floats(out)) => {
                        self.kernels.max_pool(x, windows.offsets(), window, out, at);
                    }
                    _ => unreachable!("a pool of greatest values keeps the type"),
                }
            }
            Action::Mean { windows, taps, divisor } => {
                let window = Window { taps, channels: map.channels };
                let (divisor, at, out) = (*divisor, step.at.offsets(), floats(out));
                match from {
                    Data::Bytes(x) => self.kernels.mean_pool(x, windows.offsets(), window, divisor, out, at),
                    Data::Floats(x) => self.kernels.mean_pool(x, windows.offsets(), window, divisor, out, at),
                }
            }
            Action::Sigmoid => each(map, from, to, floats(out), |x| 1.0 / (1.0 + (-x).exp())),
            Action::UnitLength(epsilon) => {
                let factor = match from {
                    Data::Bytes(x) => length(map, x, *epsilon),
                    Data::Floats(x) => length(map, x, *epsilon),
                };
                each(map, from, to, floats(out), |x| x / factor);
            }
        }
    }

    /// Finishes each row of a map as if it were one pixel with many channels.
    fn rows<T: Number>(
        &self,
        step: &Step,
        finish: &Finish,
        rows: &Pixels,
        x: &[T],
        data: &[Data],
        out: &mut Data,
    ) {
        let width = finish.scale.len();
        for (y, begin) in rows.offsets().iter().enumerate() {
            let sums = &x[*begin as usize..][..width];
            self.finish(step, finish, &Part { pixels: y..y + 1, channels: 0..width, width, sums }, data, out);
        }
    }

    fn finish<A: Number>(
        &self,
        step: &Step,
        how: &Finish,
        part: &Part<'_, A>,
        data: &[Data],
        out: &mut Data,
    ) {
        match out {
            Data::Bytes(out) => self.finish_as(step, how, part, data, out),
            Data::Floats(out) => self.finish_as(step, how, part, data, out),
        }
    }

    fn finish_as<A: Number, O: Output>(
        &self,
        step: &Step,
        how: &Finish,
        part: &Part<'_, A>,
        data: &[Data],
        out: &mut [O],
    ) {
        let to = step.at.offsets();
        let Some((number, at)) = &step.beside else {
            return self.kernels.finish(how, part, None::<Beside<'_, f32>>, out, to);
        };
        let at = at.offsets();
        match &data[*number] {
            Data::Bytes(data) => self.kernels.finish(how, part, Some(Beside { data, at }), out, to),
            Data::Floats(data) => self.kernels.finish(how, part, Some(Beside { data, at }), out, to),
        }
    }
}

fn floats(data: &mut Data) -> &mut [f32] {
    match data {
        Data::Floats(data) => data,
        Data::Bytes(_) => unreachable!("the linker gives fractions a map of float32"),
    }
}

/// `[C, H, W]` → a map.
fn load(map: &Map, image: &[u8], data: &mut [u8]) {
    let ([height, width], channels) = (map.size, map.channels);
    assert_eq!(image.len(), channels * height * width, "the image is not of the tower's size");
    for y in 0..height {
        let row = &mut data[map.at(y + map.border[0], map.border[1])..][..width * channels];
        if channels == 1 {
            row.copy_from_slice(&image[y * width..][..width]);
            continue;
        }
        for c in 0..channels {
            let plane = &image[(c * height + y) * width..][..width];
            row[c..].iter_mut().step_by(channels).zip(plane).for_each(|(to, from)| *to = *from);
        }
    }
}

/// A map → `[C, H, W]`.
fn unload<T: Number>(map: &Map, data: &[T], out: &mut [f32]) {
    let ([height, width], channels) = (map.size, map.channels);
    assert_eq!(out.len(), channels * height * width, "the output is not of the map's size");
    for y in 0..height {
        let row = &data[map.at(y + map.border[0], map.border[1])..][..width * channels];
        for c in 0..channels {
            let plane = &mut out[(c * height + y) * width..][..width];
            row[c..].iter().step_by(channels).zip(plane).for_each(|(from, to)| *to = from.float());
        }
    }
}

/// Maps each element; the border of `to` stays 0.
fn each(map: &Map, from: &Data, to: &Map, out: &mut [f32], f: impl Fn(f32) -> f32) {
    let length = map.size[1] * map.channels;
    for y in 0..map.size[0] {
        let begin = map.at(y + map.border[0], map.border[1]);
        let row = &mut out[to.at(y + to.border[0], to.border[1])..][..length];
        match from {
            Data::Bytes(x) => row.iter_mut().zip(&x[begin..]).for_each(|(to, x)| *to = f(x.float())),
            Data::Floats(x) => row.iter_mut().zip(&x[begin..]).for_each(|(to, x)| *to = f(*x)),
        }
    }
}

/// The root of the sum of squares of a map of one pixel, plus a number.
fn length<T: Number>(map: &Map, x: &[T], epsilon: f32) -> f32 {
    let pixel = &x[map.at(map.border[0], map.border[1])..][..map.channels];
    let square: f64 = pixel.iter().map(|x| f64::from(x.float()).powi(2)).sum();
    (square as f32 + epsilon).sqrt()
}
