//! A picture → ink `[1, S, S]`, in integers throughout.
//!
//! 1. Colours become grey (Rec. 601 luma); what is transparent becomes paper.
//! 2. The tone of the border is the paper, unless the caller knows which tone is ink.
//! 3. Ink is the difference from the paper's tone, stretched so that paper is 0 and the opposite
//!    end of the grey scale is 255.
//! 4. The square is laid over the picture ([`Frame`]), and areas are averaged; what lies beside
//!    the picture is paper.

use super::picture::{Picture, Pixels};
use super::window::{Padded, Window, average_areas};
use super::{Frame, Polarity};
use ndarray::{Array3, Axis};
use std::ops::Range;

/// Ink shorter than this part of the picture's longer side is not enlarged further: a dot stays small.
const LARGEST_ZOOM: usize = 4;

/// Ink levels `[1, S, S]`.
pub(super) fn from_picture(picture: &Picture, size: usize, polarity: Polarity, frame: Frame) -> Array3<u8> {
    let mut levels = gray_levels(picture, polarity);
    invert(&mut levels, picture.width, polarity);
    let (width, height) = (picture.width, picture.height);
    match frame {
        Frame::Picture => {
            let mut square = Array3::zeros((1, size, size));
            Padded::new(width, height, size).lay(&levels, square.index_axis_mut(Axis(0), 0));
            square
        }
        Frame::Ink => frame_ink(&levels, width, height, size),
    }
}

/// Grey levels, row by row, with transparent parts in the paper's tone.
fn gray_levels(picture: &Picture, polarity: Polarity) -> Vec<u8> {
    let colours = match &picture.pixels {
        Pixels::Gray(levels) => return levels.clone(),
        Pixels::Rgba(colours) => colours,
    };
    let paper = if transparent_paper_is_white(colours, picture.width, polarity) { 255 } else { 0 };
    colours.iter().map(|&c| over(luma(c), paper, c[3])).collect()
}

/// Rec. 601 luma in 16-bit fixed point.
fn luma([red, green, blue, _]: [u8; 4]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// `level` with opacity `alpha` over `paper`, to the nearest.
pub(super) fn over(level: u8, paper: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    ((u32::from(level) * alpha + u32::from(paper) * (255 - alpha) + 127) / 255) as u8
}

/// Whether transparency stands for white. The visible part of the border is paper; where the
/// border is mostly transparent, the visible part of the picture is ink.
fn transparent_paper_is_white(colours: &[[u8; 4]], width: usize, polarity: Polarity) -> bool {
    match polarity {
        Polarity::Dark => return true,
        Polarity::Light => return false,
        Polarity::Auto => {}
    }
    let tone = |visible: &mut dyn Iterator<Item = [u8; 4]>| {
        let (mut opacity, mut light, mut count) = (0_u64, 0_u64, 0_u64);
        for c in visible {
            opacity += u64::from(c[3]);
            light += u64::from(c[3]) * u64::from(luma(c));
            count += 1;
        }
        (opacity, light, count)
    };
    let (opacity, light, count) = tone(&mut border(colours, width));
    if 2 * opacity >= 255 * count {
        return light >= 128 * opacity;
    }
    let (opacity, light, _) = tone(&mut colours.iter().copied());
    light < 128 * opacity
}

/// The outermost ring of pixels, each once.
fn border<T: Copy>(pixels: &[T], width: usize) -> impl Iterator<Item = T> {
    let height = pixels.len() / width;
    let inner = if height > 2 { 1..height - 1 } else { 0..0 };
    let sides = inner.flat_map(move |y| {
        let (left, right) = (y * width, (y + 1) * width - 1);
        [Some(left), (right > left).then_some(right)].into_iter().flatten()
    });
    let last = if height > 1 { (height - 1) * width..height * width } else { 0..0 };
    (0..width).chain(sides).chain(last).map(|i| pixels[i])
}

/// Grey levels → ink levels, in place.
fn invert(levels: &mut [u8], width: usize, polarity: Polarity) {
    let table = ink_of_level(levels, width, polarity);
    for level in levels {
        *level = table[usize::from(*level)];
    }
}

/// The ink level of each grey level.
fn ink_of_level(levels: &[u8], width: usize, polarity: Polarity) -> [u8; 256] {
    let paper = Paper::find(levels, width, polarity);
    let span = u32::from(if paper.light { paper.tone } else { 255 - paper.tone }).max(1);
    std::array::from_fn(|level| {
        let tone = usize::from(paper.tone);
        let away = if paper.light { tone.saturating_sub(level) } else { level.saturating_sub(tone) };
        ((away as u32 * 255 + span / 2) / span).min(255) as u8
    })
}

/// What the drawing is on.
struct Paper {
    /// Its grey level.
    tone: u8,
    /// Whether ink is darker.
    light: bool,
}

impl Paper {
    /// The paper is the tone of most of the border; "light" and "dark" are the two sides of the
    /// middle between the picture's extremes, so that a shaded photograph works as a scan does.
    /// A picture of one tone is all paper, or all ink where the caller knows the ink's tone.
    fn find(levels: &[u8], width: usize, polarity: Polarity) -> Self {
        let lowest = levels.iter().fold(255, |a, &x| x.min(a));
        let highest = levels.iter().fold(0, |a, &x| x.max(a));
        let middle = (u16::from(lowest) + u16::from(highest)).div_ceil(2);
        let is_light = |level: u8| u16::from(level) >= middle;
        if lowest == highest {
            return Self::of_one_tone(lowest, polarity);
        }
        let mut counts = [0_u64; 256];
        border(levels, width).for_each(|level| counts[usize::from(level)] += 1);
        let total: u64 = counts.iter().sum();
        let light_count: u64 = (0..=255).filter(|&l| is_light(l)).map(|l| counts[usize::from(l)]).sum();
        let light = match polarity {
            Polarity::Auto => 2 * light_count >= total,
            Polarity::Dark => true,
            Polarity::Light => false,
        };
        let side: Vec<u8> = (0..=255).filter(|&l| is_light(l) == light).collect();
        let on_side: u64 = side.iter().map(|&l| counts[usize::from(l)]).sum();
        let tone = median(&side, &counts, on_side).unwrap_or(if light { highest } else { lowest });
        Self { tone, light }
    }

    fn of_one_tone(tone: u8, polarity: Polarity) -> Self {
        match polarity {
            Polarity::Auto => Self { tone, light: tone >= 128 },
            Polarity::Dark => Self { tone: 255, light: true },
            Polarity::Light => Self { tone: 0, light: false },
        }
    }
}

/// The lower median of `levels` by their counts; none where all counts are 0.
fn median(levels: &[u8], counts: &[u64; 256], total: u64) -> Option<u8> {
    let mut seen = 0;
    levels.iter().copied().find(|&level| {
        seen += counts[usize::from(level)];
        seen > 0 && 2 * seen >= total
    })
}

/// The square around the ink, as [`Frame::Ink`] tells.
fn frame_ink(levels: &[u8], width: usize, height: usize, size: usize) -> Array3<u8> {
    let Some([across, down]) = bounds(levels, width, height) else {
        return Array3::zeros((1, size, size));
    };
    let longest = across.len().max(down.len()).max(width.max(height).div_ceil(LARGEST_ZOOM));
    let around = |ink: &Range<usize>, side| Window::around(ink.start + ink.end, longest, side, size);
    let square = average_areas(levels, &around(&across, width), &around(&down, height));
    // Both windows have `size` targets.
    Array3::from_shape_vec((1, size, size), square).unwrap_or_else(|_| Array3::zeros((1, size, size)))
}

/// Columns and rows between which the ink lies; none on a blank picture.
///
/// Ink is what has at least three tenths of the darkest level. A thousandth of it may lie outside on
/// each side: a speck on a large picture does not move the frame.
fn bounds(levels: &[u8], width: usize, height: usize) -> Option<[Range<usize>; 2]> {
    let darkest = u16::from(levels.iter().copied().max().filter(|&level| level > 0)?);
    let (mut across, mut down) = (vec![0_usize; width], vec![0_usize; height]);
    for (row, marks) in levels.chunks_exact(width).zip(&mut down) {
        for (&level, column) in row.iter().zip(&mut across) {
            let mark = usize::from(10 * u16::from(level) >= 3 * darkest);
            *column += mark;
            *marks += mark;
        }
    }
    Some([inner(&across), inner(&down)])
}

/// The shortest range outside of which, on each side, lies at most a thousandth of all marks.
fn inner(marks: &[usize]) -> Range<usize> {
    let spare = marks.iter().sum::<usize>() / 1000;
    let skipped = |counts: &mut dyn Iterator<Item = &usize>| {
        let mut seen = 0;
        counts
            .take_while(|&&count| {
                seen += count;
                seen <= spare
            })
            .count()
    };
    let (before, after) = (skipped(&mut marks.iter()), skipped(&mut marks.iter().rev()));
    before..marks.len() - after
}
