//! Exact averages of areas: which source pixels lie under each target pixel, in integers.

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

    /// The weight of a source pixel in the run.
    fn weight(&self, source: usize) -> u64 {
        match source {
            _ if source == self.first => self.first_weight,
            _ if source == self.last => self.last_weight,
            _ => self.middle_weight,
        }
    }
}

/// The average of the area under each target pixel, row by row, to the nearest, exactly; what is
/// beside the source counts as 0.
pub(super) fn average_areas(levels: &[u8], across: &Window, down: &Window) -> Vec<u8> {
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
