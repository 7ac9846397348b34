//! Which runtime is done first with N images: load + first run + N × median.

use super::results::{Benchmark, Measurement};

/// A straight line: what a runtime with a tower takes for N images.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// `tract exact`.
    pub who: String,
    /// Milliseconds to the first embedding.
    pub start_ms: f64,
    /// Milliseconds for each image.
    pub image_ms: f64,
}

impl Line {
    fn of(row: &Measurement) -> Option<Self> {
        Some(Self { who: row.what.who(), start_ms: row.start_ms()?, image_ms: row.image_ms()? })
    }

    /// Milliseconds for N images.
    pub fn at(&self, images: f64) -> f64 {
        self.start_ms + images * self.image_ms
    }

    /// The number of images at which this line and the other cross.
    pub fn crosses(&self, other: &Self) -> Option<f64> {
        let images = (other.start_ms - self.start_ms) / (self.image_ms - other.image_ms);
        (images.is_finite() && images > 0.0).then_some(images)
    }
}

/// The lines of one thread and one image a call.
pub fn lines(told: &Benchmark) -> Vec<Line> {
    told.single().filter_map(Line::of).collect()
}

/// What can be said of each pair of runtimes.
pub fn verdicts(lines: &[Line]) -> Vec<String> {
    let mut said = Vec::new();
    for (i, a) in lines.iter().enumerate() {
        for b in &lines[i + 1..] {
            if a.who.split(' ').next() == b.who.split(' ').next() {
                continue;
            }
            let (early, late) = if a.start_ms <= b.start_ms { (a, b) } else { (b, a) };
            said.push(match early.crosses(late) {
                Some(n) => format!("{} is ahead up to {n:.0} images, then {}", early.who, late.who),
                None => format!("{} is ahead of {} for any number of images", early.who, late.who),
            });
        }
    }
    said
}

/// Numbers of images for a table: powers of ten.
pub const COUNTS: [u32; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

/// Where a plot of the lines should end: at twice the farthest crossing, or where the steady state
/// outweighs the start.
pub fn horizon(lines: &[Line]) -> f64 {
    let pairs = lines.iter().enumerate().flat_map(|(i, a)| lines[i + 1..].iter().map(move |b| (a, b)));
    let farthest = pairs.filter_map(|(a, b)| a.crosses(b)).filter(|n| *n < 1e5).fold(0.0, f64::max);
    let balanced =
        lines.iter().map(|l| l.start_ms / l.image_ms).filter(|n| n.is_finite()).fold(0.0, f64::max);
    if farthest > 0.0 { 2.0 * farthest } else { balanced.clamp(10.0, 1e5) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(who: &str, start_ms: f64, image_ms: f64) -> Line {
        Line { who: who.into(), start_ms, image_ms }
    }

    #[test]
    fn lines_cross_where_both_have_taken_as_long() {
        let (a, b) = (line("tract float", 7.0, 0.3), line("ort float", 57.0, 0.2));
        let n = a.crosses(&b).unwrap();
        assert!((n - 500.0).abs() < 1e-6 && (a.at(n) - b.at(n)).abs() < 1e-9);
        assert_eq!(b.crosses(&a).map(f64::round), Some(500.0));
        assert_eq!(a.crosses(&line("ort float", 57.0, 0.4)), None);
        assert_eq!(a.crosses(&a), None);
        assert!((horizon(&[a, b]) - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn verdicts_are_on_pairs_of_runtimes() {
        let all =
            [line("ort float", 57.0, 0.2), line("tract float", 7.0, 0.3), line("tract exact", 6.0, 0.1)];
        let said = verdicts(&all);
        let expected = [
            "tract float is ahead up to 500 images, then ort float",
            "tract exact is ahead of ort float for any number of images",
        ];
        assert_eq!(said, expected);
    }
}
