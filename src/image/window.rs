//! Exact averages of areas: which source pixels lie under each target pixel, in integers.

use ndarray::{ArrayView2, ArrayViewMut2, s};

/// One axis of the square laid over a picture: for every target pixel the run of source pixels under
/// it, in fractions of a source pixel that make every overlap an integer.
pub(super) struct Window {
    /// Source pixels of the axis.
    source: usize,
    runs: Vec<Run>,
    /// The length of a target pixel, in the same fractions.
    length: u64,
}

/// Source pixels under one target pixel.
struct Run {
    first: usize,
    last: usize,
    first_weight: u64,
    middle_weight: u64,
    last_weight: u64,
}

/// The box around the ink takes this share of the square: 13 of 16.
const SHARE: (i64, i64) = (13, 16);

impl Window {
    /// `to` target pixels over all of `from` source pixels.
    pub fn whole(from: usize, to: usize) -> Self {
        // In units of 1/to source pixel, a target pixel is `from` long.
        Self::new(from, to, to as i64, 0, from as i64)
    }

    /// `to` target pixels over the middle `length` of `from` source pixels, which must not be more.
    pub fn middle(from: usize, length: usize, to: usize) -> Self {
        // In units of 1/(2·to) source pixel, a target pixel is 2·length long.
        let (to_, length) = (to as i64, length as i64);
        Self::new(from, to, 2 * to_, (from as i64 - length) * to_, 2 * length)
    }

    /// `size` target pixels over `from` source pixels, centred on `twice_centre / 2`, so that
    /// `longest` source pixels take the share [`SHARE`] of them. It may reach beyond the source.
    pub fn around(twice_centre: usize, longest: usize, from: usize, size: usize) -> Self {
        // `size` targets cover longest·16/13 source pixels. In units of 1/(2·13·size) source pixel a target
        // is 2·16·longest long, and the first begins half of all of them before the centre.
        let (part, whole) = SHARE;
        let (size_, longest) = (size as i64, longest as i64);
        let start = part * size_ * twice_centre as i64 - whole * size_ * longest;
        Self::new(from, size, 2 * part * size_, start, 2 * whole * longest)
    }

    /// Whether every target pixel is the source pixel of its number.
    fn is_copy(&self) -> bool {
        self.runs.len() == self.source && self.runs.iter().enumerate().all(|(i, run)| run.is_only(i))
    }

    /// Targets of `length` units each, the first from `start` on; a source pixel is `unit` units.
    fn new(source: usize, targets: usize, unit: i64, start: i64, length: i64) -> Self {
        let end = source as i64 * unit;
        let run = |target: usize| {
            let begin = start + target as i64 * length;
            Run::new(begin.clamp(0, end), (begin + length).clamp(0, end), unit)
        };
        Self { source, runs: (0..targets).map(run).collect(), length: length as u64 }
    }
}

impl Run {
    /// The source pixels between two places inside the source, in units of which a pixel has `unit`.
    fn new(start: i64, end: i64, unit: i64) -> Self {
        if start == end {
            return Self { first: 0, last: 0, first_weight: 0, middle_weight: 0, last_weight: 0 };
        }
        let (first, last) = (start / unit, (end - 1) / unit);
        Self {
            first: first as usize,
            last: last as usize,
            first_weight: (end.min((first + 1) * unit) - start) as u64,
            middle_weight: unit as u64,
            last_weight: (end - last * unit) as u64,
        }
    }

    /// Whether it is the whole of this source pixel.
    fn is_only(&self, source: usize) -> bool {
        (self.first, self.last, self.first_weight) == (source, source, self.middle_weight)
    }

    /// The weight of a source pixel in the run.
    fn weight(&self, source: usize) -> u64 {
        match source {
            _ if source == self.first => self.first_weight,
            _ if source == self.last => self.last_weight,
            _ => self.middle_weight,
        }
    }
}

/// A whole picture in the square: aspect kept, centred.
pub(super) struct Padded {
    across: Window,
    down: Window,
    left: usize,
    top: usize,
}

impl Padded {
    /// A picture of `width` × `height` pixels in a square of `size`.
    pub fn new(width: usize, height: usize, size: usize) -> Self {
        let longest = width.max(height);
        let scaled = |side: usize| ((2 * side * size + longest) / (2 * longest)).clamp(1, size);
        let (w, h) = (scaled(width), scaled(height));
        let (left, top) = ((size - w) / 2, (size - h) / 2);
        Self { across: Window::whole(width, w), down: Window::whole(height, h), left, top }
    }

    /// Lays a plane of the picture into the square; what is beside the picture stays as it is.
    pub fn lay(&self, levels: &[u8], mut square: ArrayViewMut2<'_, u8>) {
        let (h, w) = (self.down.runs.len(), self.across.runs.len());
        let small = average_areas(levels, &self.across, &self.down);
        let target = s![self.top..self.top + h, self.left..self.left + w];
        if let Ok(small) = ArrayView2::from_shape((h, w), &small) {
            square.slice_mut(target).assign(&small);
        }
    }
}

/// The average of the area under each target pixel, row by row, to the nearest, exactly; what is
/// beside the source counts as 0.
pub(super) fn average_areas(levels: &[u8], across: &Window, down: &Window) -> Vec<u8> {
    if across.is_copy() && down.is_copy() {
        return levels.to_vec();
    }
    let (width, w) = (across.source, across.runs.len());
    let mut sums = vec![0_u64; down.runs.len() * w];
    let mut narrow = vec![0_u64; w];
    let mut reached = usize::MAX;
    for (run, sums) in down.runs.iter().zip(sums.chunks_exact_mut(w)) {
        for source in run.first..=run.last {
            let weight = run.weight(source);
            if source != reached {
                narrow_row(&levels[source * width..(source + 1) * width], &across.runs, &mut narrow);
                reached = source;
            }
            for (sum, &x) in sums.iter_mut().zip(&narrow) {
                *sum += x * weight;
            }
        }
    }
    let area = across.length * down.length;
    sums.into_iter().map(|sum| ((sum + area / 2) / area) as u8).collect()
}

/// One source row, summed into the target's columns.
fn narrow_row(row: &[u8], across: &[Run], narrow: &mut [u64]) {
    for (sum, run) in narrow.iter_mut().zip(across) {
        let Run { first, last, .. } = *run;
        // The weights in the middle are all the same; a run of one pixel is all first.
        let middle: u32 = row[(first + 1).min(last)..last].iter().map(|&level| u32::from(level)).sum();
        let ends = u64::from(row[first]) * run.first_weight
            + if last > first { u64::from(row[last]) * run.last_weight } else { 0 };
        *sum = u64::from(middle) * run.middle_weight + ends;
    }
}
