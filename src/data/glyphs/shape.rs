//! What a character is, before anyone draws it: strokes through points in the unit square.

use crate::random::{Stream, below, between, either, happens, turn, unit};

/// A point; x to the right, y down.
pub(super) type Point = [f32; 2];

/// Points that a pen passes through in order, on a smooth curve.
pub(super) type Stroke = Vec<Point>;

/// Kinds of strokes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Line,
    Arc,
    Hook,
    Loop,
    Corner,
    Wave,
    Free,
}

const KINDS: [Kind; 7] =
    [Kind::Line, Kind::Arc, Kind::Hook, Kind::Loop, Kind::Corner, Kind::Wave, Kind::Free];

/// The hand of an alphabet.
pub(super) struct Hand {
    /// How much each kind of stroke is liked; sums to 1.
    liking: [f32; 7],
    /// Strokes that characters share.
    common: Vec<Stroke>,
    /// Share of strokes that are taken from the common ones.
    sharing: f32,
    /// Fewest and most strokes of a character.
    strokes: (usize, usize),
    /// Share of strokes that begin on an earlier one.
    joining: f32,
    /// Share of strokes that stand upright or lie flat.
    upright: f32,
    /// Width over height.
    aspect: f32,
}

impl Hand {
    pub fn new(rng: &mut Stream) -> Self {
        let mut liking = [0.0; 7];
        for weight in &mut liking {
            // The square of a uniform number: each alphabet likes a few kinds much, others little.
            *weight = 0.03 + unit(rng) * unit(rng);
        }
        let sum: f32 = liking.iter().sum();
        liking.iter_mut().for_each(|w| *w /= sum);
        let fewest = 1 + below(rng, 2);
        let mut hand = Self {
            liking,
            common: Vec::new(),
            sharing: between(rng, 0.2, 0.6),
            strokes: (fewest, fewest + 1 + below(rng, 2)),
            joining: between(rng, 0.4, 0.9),
            upright: between(rng, 0.1, 0.8),
            aspect: between(rng, 0.7, 1.25),
        };
        hand.common = (0..4 + below(rng, 4)).map(|_| hand.stroke(rng)).collect();
        hand
    }

    /// A character that fills the middle of the unit square.
    pub fn character(&self, rng: &mut Stream) -> Vec<Stroke> {
        let (fewest, most) = self.strokes;
        let count = fewest + below(rng, most - fewest + 1);
        self.strokes_of(rng, count)
    }

    fn strokes_of(&self, rng: &mut Stream, count: usize) -> Vec<Stroke> {
        let mut strokes: Vec<Stroke> = Vec::with_capacity(count);
        for i in 0..count {
            let shared = happens(rng, self.sharing);
            let mut stroke =
                if shared { self.common[below(rng, self.common.len())].clone() } else { self.stroke(rng) };
            // The first stroke carries the character, the others add to it.
            let size = if i == 0 { between(rng, 0.8, 1.1) } else { between(rng, 0.35, 0.85) };
            stroke.iter_mut().flatten().for_each(|v| *v *= size);
            let to = match strokes.is_empty() {
                true => [0.0, 0.0],
                false if happens(rng, self.joining) => self.anchor(&strokes, rng),
                false => [0.5 * either(rng), 0.5 * either(rng)],
            };
            let from = if strokes.is_empty() { middle(&stroke) } else { stroke[0] };
            stroke.iter_mut().for_each(|p| *p = [p[0] - from[0] + to[0], p[1] - from[1] + to[1]]);
            strokes.push(stroke);
        }
        // A lone straight stroke is hardly a character, and its turns could not be told apart.
        if count == 1 && is_straight(&strokes[0]) {
            return self.strokes_of(rng, 2);
        }
        fit(&mut strokes, self.aspect);
        strokes
    }

    /// A point of an earlier stroke: an end, or a point on the way.
    fn anchor(&self, strokes: &[Stroke], rng: &mut Stream) -> Point {
        let stroke = &strokes[below(rng, strokes.len())];
        stroke[below(rng, stroke.len())]
    }

    /// A stroke of about unit length around its own beginning.
    fn stroke(&self, rng: &mut Stream) -> Stroke {
        let mut left = unit(rng);
        let liked = self.liking.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        let kind = KINDS[liked.unwrap_or(0)];
        let mut points = outline(kind, rng);
        let angle = match happens(rng, self.upright) {
            true => 90.0 * below(rng, 4) as f32 + 8.0 * either(rng),
            false => 180.0 * either(rng),
        };
        let (sine, cosine) = turn(f64::from(angle));
        let (sine, cosine) = (sine as f32, cosine as f32);
        let squeeze = between(rng, 0.6, 1.0);
        for [x, y] in &mut points {
            let (along, across) = (*x, *y * squeeze);
            (*x, *y) = (along * cosine - across * sine, along * sine + across * cosine);
        }
        points
    }
}

/// The points of a kind of stroke, beginning at the origin and going right.
fn outline(kind: Kind, rng: &mut Stream) -> Stroke {
    let side = if happens(rng, 0.5) { 1.0 } else { -1.0 };
    match kind {
        Kind::Line => vec![[0.0, 0.0], [0.5, 0.04 * either(rng)], [1.0, 0.0]],
        Kind::Arc => arc(between(rng, 70.0, 230.0), side),
        Kind::Loop => arc(between(rng, 300.0, 400.0), side),
        Kind::Hook => {
            let mut points = vec![[0.0, 0.0], [0.4, 0.0], [0.75, 0.0]];
            let (reach, back) = (between(rng, 0.15, 0.4), between(rng, 0.0, 0.5));
            points.extend([[0.95, side * reach * 0.5], [0.85, side * reach], [0.85 - back, side * reach]]);
            points
        }
        Kind::Corner => {
            // A point given twice is passed without rounding.
            let (x, y) = (between(rng, 0.5, 0.9), side * between(rng, 0.4, 0.9));
            let end = [x + 0.35 * either(rng), y];
            vec![[0.0, 0.0], [x * 0.5, 0.0], [x, 0.0], [x, 0.0], [(x + end[0]) / 2.0, y / 2.0], end]
        }
        Kind::Wave => {
            let (high, turns) = (between(rng, 0.12, 0.3), 3 + below(rng, 3));
            let at = |i: usize| {
                let up = if i.is_multiple_of(2) { side } else { -side };
                [i as f32 / turns as f32, if i == 0 || i == turns { 0.0 } else { up * high }]
            };
            (0..=turns).map(at).collect()
        }
        Kind::Free => {
            let mut points = vec![[0.0, 0.0]];
            let (mut heading, mut bend) = (0.0f32, 50.0 * either(rng));
            for _ in 0..4 + below(rng, 3) {
                heading += bend + 25.0 * either(rng);
                bend = 0.6 * bend + 45.0 * either(rng);
                let (sine, cosine) = turn(f64::from(heading));
                let last = points[points.len() - 1];
                points.push([last[0] + 0.26 * cosine as f32, last[1] + 0.26 * sine as f32]);
            }
            points
        }
    }
}

/// Part of a circle, degrees.
fn arc(degrees: f32, side: f32) -> Stroke {
    let steps = 4 + (degrees / 60.0) as usize;
    let at = |i: usize| {
        let (sine, cosine) = turn(f64::from(degrees) * i as f64 / steps as f64);
        [0.5 * sine as f32, side * 0.5 * (1.0 - cosine as f32)]
    };
    (0..=steps).map(at).collect()
}

/// Whether a stroke ends about as far away as it is long.
fn is_straight(stroke: &Stroke) -> bool {
    let between = |a: Point, b: Point| ((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])).sqrt();
    let length: f32 = stroke.windows(2).map(|pair| between(pair[0], pair[1])).sum();
    between(stroke[0], stroke[stroke.len() - 1]) > 0.93 * length
}

fn middle(stroke: &Stroke) -> Point {
    let n = stroke.len() as f32;
    let sum = stroke.iter().fold([0.0, 0.0], |s, p| [s[0] + p[0], s[1] + p[1]]);
    [sum[0] / n, sum[1] / n]
}

/// Moves and scales the strokes into the middle of the unit square.
fn fit(strokes: &mut [Stroke], aspect: f32) {
    let mut low = [f32::MAX; 2];
    let mut high = [f32::MIN; 2];
    for point in strokes.iter().flatten() {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let (width, height) = ((high[0] - low[0]).max(0.05), (high[1] - low[1]).max(0.05));
    // The wanted proportions count half: a lone vertical line stays one.
    let (wide, tall) = (0.62 * aspect.min(1.0), 0.62 / aspect.max(1.0));
    let scale = (wide / width).min(tall / height);
    for [x, y] in strokes.iter_mut().flatten() {
        *x = 0.5 + (*x - (low[0] + high[0]) / 2.0) * scale;
        *y = 0.5 + (*y - (low[1] + high[1]) / 2.0) * scale;
    }
}
