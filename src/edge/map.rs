//! The maps of a program, and their memory.

use super::aligned::Aligned;
use super::kernels::{Depthwise, Number, Offsets};
use std::ops::Range;

/// A map `[H, W, C]` in memory: channels innermost, with a border that stays 0, so that a padded
/// convolution is one without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// C.
    pub channels: usize,
    /// H, W.
    pub size: [usize; 2],
    /// Offsets at the top, left, bottom and right.
    pub border: [usize; 4],
    /// Held as uint8, otherwise as float32.
    pub bytes: bool,
    /// What the bytes of each channel are moved up by, those of the border too; or nothing.
    pub lift: Vec<u8>,
    /// How many images' maps lie one behind the other.
    pub images: usize,
}

impl Map {
    /// Elements behind the last pixel that a kernel may read, and multiply by 0 or throw away.
    const SLACK: usize = Depthwise::OVER;

    /// Elements from one row to the next.
    pub fn row_stride(&self) -> usize {
        (self.border[1] + self.size[1] + self.border[3]) * self.channels
    }

    /// Elements from one image's map to the next.
    pub fn stride(&self) -> usize {
        (self.border[0] + self.size[0] + self.border[2]) * self.row_stride()
    }

    /// Bytes of one image's map.
    pub fn bytes_each(&self) -> usize {
        self.stride() * if self.bytes { 1 } else { size_of::<f32>() }
    }

    /// Elements before the map of an image.
    pub fn base(&self, image: usize) -> usize {
        if self.images > 1 { image * self.stride() } else { 0 }
    }

    /// Where pixel y, x of the map with its border begins.
    pub fn at(&self, y: usize, x: usize) -> usize {
        y * self.row_stride() + x * self.channels
    }

    /// Where these pixels inside the border begin.
    pub fn places(&self, pixels: impl Iterator<Item = [usize; 2]>) -> Option<Offsets> {
        let at = |[y, x]: [usize; 2]| self.at(y + self.border[0], x + self.border[1]);
        Offsets::new(&pixels.map(at).collect::<Vec<_>>())
    }

    /// Where every pixel inside the border begins.
    pub fn pixels(&self) -> Option<Offsets> {
        let [top, left, ..] = self.border;
        self.windows([top, left], self.size, [1, 1])
    }

    /// Where every row inside the border begins.
    pub fn rows(&self) -> Option<Offsets> {
        self.places((0..self.size[0]).map(|y| [y, 0]))
    }

    /// Where the windows of `count` outputs begin, the first at `origin` of the map with its border.
    pub fn windows(&self, origin: [usize; 2], count: [usize; 2], strides: [usize; 2]) -> Option<Offsets> {
        let places = (0..count[0]).flat_map(|y| (0..count[1]).map(move |x| (y, x)));
        let at = |(y, x)| self.at(origin[0] + y * strides[0], origin[1] + x * strides[1]);
        Offsets::new(&places.map(at).collect::<Vec<_>>())
    }

    /// Elements of its memory.
    pub fn elements(&self) -> usize {
        self.stride() * self.images + Self::SLACK
    }

    /// Makes the border 0, of one image.
    pub fn clear_border(&self, data: &mut ViewMut<'_>) {
        match data {
            ViewMut::Bytes(data) if !self.lift.is_empty() => {
                self.each_border(|pixels| {
                    let pixels = data[pixels].chunks_exact_mut(self.channels);
                    pixels.for_each(|pixel| pixel.copy_from_slice(&self.lift));
                });
            }
            ViewMut::Bytes(data) => self.each_border(|pixels| data[pixels].fill(0)),
            ViewMut::Floats(data) => self.each_border(|pixels| data[pixels].fill(0.0)),
        }
    }

    /// Calls `f` with the elements of each run of the border.
    fn each_border(&self, mut f: impl FnMut(Range<usize>)) {
        let ([top, left, bottom, right], [height, width]) = (self.border, self.size);
        let row = self.row_stride();
        f(0..top * row);
        for y in top..top + height {
            f(y * row..y * row + left * self.channels);
            let end = self.at(y, left + width);
            f(end..end + right * self.channels);
        }
        f((top + height) * row..(top + height + bottom) * row);
    }

    /// What takes back what the bytes are moved up by.
    pub fn taken_back(&self) -> Vec<i32> {
        self.lift.iter().map(|up| -i32::from(*up)).collect()
    }

    /// Numbers `[H, W, C]` → the map.
    pub fn fill(&self, numbers: &[f32], data: &mut [f32]) {
        let width = self.size[1] * self.channels;
        for (y, row) in numbers.chunks_exact(width).enumerate() {
            data[self.at(y + self.border[0], self.border[1])..][..width].copy_from_slice(row);
        }
    }

    /// An image `[C, H, W]` → the map of image `number`.
    ///
    /// # Panics
    /// If the image is not of the map's size.
    pub fn load(&self, image: &[u8], number: usize, data: &mut [u8]) {
        let ([height, width], channels) = (self.size, self.channels);
        assert_eq!(image.len(), channels * height * width, "the image is not of the tower's size");
        for y in 0..height {
            let begin = self.base(number) + self.at(y + self.border[0], self.border[1]);
            let row = &mut data[begin..][..width * channels];
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

    /// The map of image `number` → `[C, H, W]`.
    ///
    /// # Panics
    /// If `out` is not of the map's size.
    pub fn unload(&self, data: &Data, number: usize, out: &mut [f32]) {
        match data {
            Data::Bytes(data) => self.unload_from(data, number, out),
            Data::Floats(data) => self.unload_from(data, number, out),
        }
    }

    fn unload_from<T: Number>(&self, data: &[T], number: usize, out: &mut [f32]) {
        let ([height, width], channels) = (self.size, self.channels);
        assert_eq!(out.len(), channels * height * width, "the output is not of the map's size");
        for y in 0..height {
            let begin = self.base(number) + self.at(y + self.border[0], self.border[1]);
            let row = &data[begin..][..width * channels];
            for c in 0..channels {
                let plane = &mut out[(c * height + y) * width..][..width];
                let before = self.lift.get(c).map_or(0, |up| -i32::from(*up));
                let pixels = row[c..].iter().step_by(channels);
                pixels.zip(plane).for_each(|(from, to)| *to = from.float_after(before));
            }
        }
    }
}

/// The memory of a map.
#[derive(Clone, Debug)]
pub enum Data {
    /// uint8.
    Bytes(Aligned<u8>),
    /// float32.
    Floats(Aligned<f32>),
}

/// A map's memory from some element on.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// uint8.
    Bytes(&'a [u8]),
    /// float32.
    Floats(&'a [f32]),
}

/// A map's memory from some element on, to fill.
pub enum ViewMut<'a> {
    /// uint8.
    Bytes(&'a mut [u8]),
    /// float32.
    Floats(&'a mut [f32]),
}

impl Data {
    /// Memory of so many elements, all 0.
    pub fn empty(bytes: bool, elements: usize) -> Self {
        if bytes { Self::Bytes(Aligned::new(elements)) } else { Self::Floats(Aligned::new(elements)) }
    }

    /// What lies behind `base` elements.
    pub fn behind(&self, base: usize) -> View<'_> {
        match self {
            Self::Bytes(data) => View::Bytes(&data[base..]),
            Self::Floats(data) => View::Floats(&data[base..]),
        }
    }

    /// What lies behind `base` elements.
    pub fn behind_mut(&mut self, base: usize) -> ViewMut<'_> {
        match self {
            Self::Bytes(data) => ViewMut::Bytes(&mut data[base..]),
            Self::Floats(data) => ViewMut::Floats(&mut data[base..]),
        }
    }
}

impl<'a> View<'a> {
    /// The floats of a map that an operation on floats reads.
    pub fn floats(self) -> &'a [f32] {
        match self {
            Self::Floats(data) => data,
            Self::Bytes(_) => unreachable!("the linker widens what is read as float32"),
        }
    }
}

impl<'a> ViewMut<'a> {
    /// The floats of a map that holds fractions.
    pub fn floats(self) -> &'a mut [f32] {
        match self {
            Self::Floats(data) => data,
            Self::Bytes(_) => unreachable!("the linker gives fractions a map of float32"),
        }
    }
}
