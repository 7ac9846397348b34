//! A person who redraws characters, and the ink they leave.

use super::shape::{Point, Stroke};
use crate::random::{Stream, bell, between, turn};

/// How somebody writes.
pub(super) struct Person {
    /// Rows of a 2×2 matrix: slant, proportions, a lean of the whole.
    matrix: [Point; 2],
    /// Half the width of the line, as a share of the picture.
    radius: f32,
    /// How far points stray, as a share of the picture.
    tremor: f32,
    /// How far whole strokes stray.
    haste: f32,
}

impl Person {
    pub fn new(rng: &mut Stream) -> Self {
        let (slant, lean) = (0.13 * bell(rng), 5.0 * bell(rng));
        let (wide, tall) = (1.0 + 0.1 * bell(rng), 1.0 + 0.1 * bell(rng));
        let (sine, cosine) = turn(f64::from(lean));
        let (sine, cosine) = (sine as f32, cosine as f32);
        let sheared = [[wide, slant], [0.0, tall]];
        let row =
            |a: f32, b: f32| [a * sheared[0][0] + b * sheared[1][0], a * sheared[0][1] + b * sheared[1][1]];
        Self {
            matrix: [row(cosine, -sine), row(sine, cosine)],
            radius: between(rng, 0.011, 0.021),
            tremor: between(rng, 0.006, 0.016),
            haste: between(rng, 0.01, 0.028),
        }
    }

    pub fn radius(&self) -> f32 {
        self.radius
    }

    /// The strokes as this person draws them this time, as smooth polylines.
    pub fn redraw(&self, strokes: &[Stroke], rng: &mut Stream) -> Vec<Stroke> {
        let shift = [0.025 * bell(rng), 0.025 * bell(rng)];
        let whole = 1.0 + 0.06 * bell(rng);
        strokes.iter().map(|stroke| self.redraw_one(stroke, shift, whole, rng)).collect()
    }

    fn redraw_one(&self, stroke: &Stroke, shift: Point, whole: f32, rng: &mut Stream) -> Stroke {
        let own = [self.haste * bell(rng), self.haste * bell(rng)];
        let (size, bow) = (1.0 + 0.07 * bell(rng), 0.035 * bell(rng));
        let first = stroke[0];
        let last = stroke.len().max(2) - 1;
        let mut stray = [0.0; 2];
        let mut previous: Option<(Point, Point)> = None;
        let points: Stroke = stroke
            .iter()
            .enumerate()
            .map(|(i, p)| {
                // A point given twice, a corner, must stay one: it strays once.
                if let Some((given, drawn)) = previous.filter(|(given, _)| given == p) {
                    previous = Some((given, drawn));
                    return drawn;
                }
                // Errors of a hand are smooth: each point keeps part of the last one's.
                stray = stray.map(|s: f32| 0.6 * s + self.tremor * bell(rng));
                let along = i as f32 / last as f32;
                let lift = bow * 4.0 * along * (1.0 - along);
                let x = first[0] + (p[0] - first[0]) * size + stray[0] + own[0] + lift - 0.5;
                let y = first[1] + (p[1] - first[1]) * size + stray[1] + own[1] + lift - 0.5;
                let turned = self.matrix.map(|row| whole * (row[0] * x + row[1] * y) + 0.5);
                let drawn = [turned[0] + shift[0], turned[1] + shift[1]];
                previous = Some((*p, drawn));
                drawn
            })
            .collect();
        smooth(&points)
    }
}

/// Points of a curve between two given ones.
const PIECES: usize = 6;

/// A centripetal-like curve through all points: Catmull and Rom's spline (1974) with the ends
/// repeated. A point given twice is a corner.
fn smooth(points: &Stroke) -> Stroke {
    let at = |i: isize| points[i.clamp(0, points.len() as isize - 1) as usize];
    let mut curve = vec![points[0]];
    for i in 0..points.len() as isize - 1 {
        let [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            curve.push([0, 1].map(|axis| {
                let (a, b, c, d) = (a[axis], b[axis], c[axis], d[axis]);
                0.5 * (2.0 * b
                    + (c - a) * t
                    + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
                    + (3.0 * b - a - 3.0 * c + d) * t * t * t)
            }));
        }
    }
    curve
}

/// Lays ink along the strokes: each pixel by its distance to the nearest line, softened over one pixel.
pub(super) fn draw(strokes: &[Stroke], radius: f32, size: usize, image: &mut [u8]) {
    let side = size as f32;
    // A line thinner than a pixel darkens it in part: width and darkness are traded.
    let (reach, full) = ((radius * side).max(0.5), (radius * side / 0.5).min(1.0));
    for stroke in strokes {
        for pair in stroke.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|p| p.map(|v| v * side - 0.5));
            segment(a, b, reach, full * 255.0, size, image);
        }
    }
}

fn segment(a: Point, b: Point, reach: f32, full: f32, size: usize, image: &mut [u8]) {
    let margin = reach + 0.5;
    let range = |axis: usize| {
        let low = (a[axis].min(b[axis]) - margin).ceil().max(0.0) as usize;
        let high = (a[axis].max(b[axis]) + margin).floor();
        low..if high < 0.0 { 0 } else { (high as usize + 1).min(size) }
    };
    let along = [b[0] - a[0], b[1] - a[1]];
    let length = (along[0] * along[0] + along[1] * along[1]).max(1e-9);
    for y in range(1) {
        for x in range(0) {
            let from = [x as f32 - a[0], y as f32 - a[1]];
            let t = ((from[0] * along[0] + from[1] * along[1]) / length).clamp(0.0, 1.0);
            let off = [from[0] - t * along[0], from[1] - t * along[1]];
            let distance = (off[0] * off[0] + off[1] * off[1]).sqrt();
            let ink = ((reach + 0.5 - distance).clamp(0.0, 1.0) * full) as u8;
            let pixel = &mut image[y * size + x];
            *pixel = (*pixel).max(ink);
        }
    }
}
