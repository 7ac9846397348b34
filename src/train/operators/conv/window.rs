//! What a convolution sees of its images: frames, windows and their runs of memory.

use super::Attributes;

/// A frame of zeros around an image.
pub struct Frame {
    /// Rows, columns and channels.
    pub image: [usize; 3],
    /// Rows above and columns to the left.
    pub before: [usize; 2],
    /// Rows and columns of all.
    pub framed: [usize; 2],
}

impl Frame {
    /// Elements of a framed image.
    pub fn count(&self) -> usize {
        self.framed[0] * self.framed[1] * self.image[2]
    }

    /// Puts an image into a frame, which is zeros.
    pub fn fill(&self, image: &[f32], framed: &mut [f32]) {
        let [_, columns, channels] = self.image;
        let line = self.framed[1] * channels;
        let lines = framed.chunks_mut(line.max(1)).skip(self.before[0]);
        for (from, to) in image.chunks((columns * channels).max(1)).zip(lines) {
            to[self.before[1] * channels..][..from.len()].copy_from_slice(from);
        }
    }
}

/// The taps of a window along both axes, each with its row or column in the frame, ascending.
pub struct Window {
    pub rows: Vec<(usize, usize)>,
    pub columns: Vec<(usize, usize)>,
}

impl Window {
    /// Where its runs of memory begin, and their length: a row of the window is one where its columns are neighbours.
    pub fn runs(&self, width: usize, channels: usize) -> (Vec<usize>, usize) {
        let together = self.columns.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1);
        let begins = if together { &self.columns[..self.columns.len().min(1)] } else { &self.columns[..] };
        let start = |row: usize, column: usize| (row * width + column) * channels;
        let starts = self.rows.iter().flat_map(|row| begins.iter().map(move |column| start(row.1, column.1)));
        (starts.collect(), channels * if together { self.columns.len() } else { 1 })
    }

    /// Whether it is 3×3 neighbours.
    pub fn is_tiled(&self) -> bool {
        [&self.rows, &self.columns]
            .iter()
            .all(|taps| taps.len() == 3 && taps.windows(2).all(|pair| pair[1].1 == pair[0].1 + 1))
    }

    /// Row and column of the tap, and channel, of each element of all runs.
    pub fn order(&self, channels: usize) -> impl Iterator<Item = ((usize, usize), usize)> + '_ {
        let taps = self.rows.iter().flat_map(|row| self.columns.iter().map(move |column| (row.0, column.0)));
        taps.flat_map(move |tap| (0..channels).map(move |channel| (tap, channel)))
    }
}

/// What a convolution sees of its image.
pub struct Seen {
    pub frame: Frame,
    pub window: Window,
    /// Rows and columns of the result.
    pub places: [usize; 2],
    pub strides: [usize; 2],
}

impl Seen {
    /// Of images `[N, H, W, C]`.
    pub fn of(attributes: &Attributes, [_, height, width, channels]: [usize; 4]) -> ort::Result<Self> {
        let Attributes { conv, kernel, .. } = attributes;
        let [top, left, bottom, right] = conv.pads;
        let framed = [height + top + bottom, width + left + right];
        let room = |axis: usize| framed[axis].checked_sub(conv.extent(axis, kernel[axis]));
        let (Some(down), Some(across)) = (room(0), room(1)) else {
            return Err(ort::Error::new(format!("a kernel of {kernel:?} is larger than its image")));
        };
        let taps = |axis: usize| (0..kernel[axis]).map(|i| (i, i * conv.dilations[axis])).collect();
        Ok(Self {
            frame: Frame { image: [height, width, channels], before: [top, left], framed },
            window: Window { rows: taps(0), columns: taps(1) },
            places: [down / conv.strides[0] + 1, across / conv.strides[1] + 1],
            strides: conv.strides,
        })
    }
}
