//! Where the pixels of a distorted image come from: one inverse warp (flip, crop, rotation, scale, shear,
//! shift, elastic) with bilinear sampling; of ink, after a change of stroke thickness.
//!
//! Ink comes out of paper, which is 0; beside a picture of colours its edge goes on.

use crate::model::recipe::Augment;
use crate::random::{Stream, between, either, exp, happens, turn};

/// Cells of the elastic grid along each axis; displacements are drawn at their corners.
const CELLS: usize = 4;
const NODES: usize = CELLS + 1;
/// ln of 4/3, the greatest ratio of a crop's sides.
const LOG_RATIO: f64 = 0.287_682_072_451_780_9;

/// Where the pixels of one image come from, drawn.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    side: usize,
    /// From a target pixel, counted from the middle, to its source: `[x, y]` rows of 2 × 2.
    matrix: [[f32; 2]; 2],
    /// Added to the source, pixels.
    shift: [f32; 2],
    /// Displacements of the source at the nodes of the grid, pixels; `None` for none.
    elastic: Option<Box<[[[f32; 2]; NODES]; NODES]>>,
    /// Change of stroke thickness, pixels.
    thickness: f32,
}

impl Shape {
    /// Draws one for images of a side. What a recipe does not ask for takes no random number, so that
    /// recipes see what they saw before it could be asked for.
    pub fn draw(how: &Augment, size: usize, rng: &mut Stream) -> Self {
        let side = size as f32;
        let (sine, cosine) = turn(f64::from(how.rotate * either(rng)));
        let [sx, sy] = [(); 2].map(|()| exp(f64::from(how.scale * either(rng))));
        let shear = f64::from(how.shear * either(rng));
        let shift = [(); 2].map(|()| how.shift * side * either(rng));
        let thickness = how.thickness * either(rng);
        let elastic = (how.elastic > 0.0).then(|| {
            let far = how.elastic * side;
            Box::new([[(); NODES]; NODES].map(|row| row.map(|()| [far * either(rng), far * either(rng)])))
        });
        // Rotation · shear · scale, as one matrix; its distribution is that of its inverse.
        let matrix = [
            [(cosine * sx) as f32, ((cosine * shear - sine) * sy) as f32],
            [(sine * sx) as f32, ((sine * shear + cosine) * sy) as f32],
        ];
        let mut shape = Self { side: size, matrix, shift, elastic, thickness };
        if how.crop > 0.0 {
            shape.crop(how.crop, rng);
        }
        if how.flip > 0.0 && happens(rng, how.flip) {
            shape.flip();
        }
        shape
    }

    /// A shift alone, in pixels.
    #[cfg(test)]
    pub fn shifted(side: usize, shift: [f32; 2]) -> Self {
        Self { side, matrix: [[1.0, 0.0], [0.0, 1.0]], shift, elastic: None, thickness: 0.0 }
    }

    /// Sees only a part of the picture, at least `1 − most` of its area.
    fn crop(&mut self, most: f32, rng: &mut Stream) {
        let kept = between(rng, 1.0 - most, 1.0);
        let ratio = exp(f64::from(either(rng)) * LOG_RATIO) as f32;
        for (axis, length) in [(kept * ratio).sqrt(), (kept / ratio).sqrt()].into_iter().enumerate() {
            let length = length.min(1.0);
            self.matrix[axis].iter_mut().for_each(|x| *x *= length);
            self.shift[axis] += 0.5 * (1.0 - length) * self.side as f32 * either(rng);
        }
    }

    /// Mirrors the picture left to right.
    fn flip(&mut self) {
        self.matrix[0].iter_mut().for_each(|x| *x = -*x);
        self.shift[0] = -self.shift[0];
    }

    /// Distorts a plane of S × S ink levels; what comes from outside is paper.
    ///
    /// # Panics
    /// Where a slice is not of S × S pixels.
    pub fn ink(&self, from: &[u8], to: &mut [u8]) {
        let side = self.side;
        assert!(from.len() == side * side && to.len() == side * side, "planes of {side} × {side} pixels");
        let padded = if self.thickness == 0.0 {
            pad(from, side)
        } else {
            pad(&thicken(from, side, self.thickness), side)
        };
        self.places(|at, sx, sy| to[at] = sample(&padded, side, sx, sy));
    }

    /// Distorts S × S pixels of colours, `[3, S, S]`.
    pub fn colours(&self, from: &[u8], to: &mut [u8]) {
        let (side, area) = (self.side, self.side * self.side);
        if self.is_still() {
            return to.copy_from_slice(from);
        }
        let lanes = lanes(from, side);
        let (red, rest) = to.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        self.places(|at, sx, sy| [red[at], green[at], blue[at]] = sample_lanes(&lanes, side, sx, sy));
    }

    /// Whether every pixel stays where it is.
    fn is_still(&self) -> bool {
        self.matrix == [[1.0, 0.0], [0.0, 1.0]] && self.shift == [0.0; 2] && self.elastic.is_none()
    }

    /// Tells of each target pixel, by its number, where it comes from: x and y, in pixels.
    #[inline]
    fn places(&self, mut put: impl FnMut(usize, f32, f32)) {
        let side = self.side;
        let middle = (side as f32 - 1.0) / 2.0;
        let [[xx, xy], [yx, yy]] = self.matrix;
        for y in 0..side {
            let dy = y as f32 - middle;
            let (x0, y0) = (xy * dy + self.shift[0] + middle, yy * dy + self.shift[1] + middle);
            let bends = self.elastic.as_ref().map(|nodes| bend_row(nodes, y, side));
            for x in 0..side {
                let dx = x as f32 - middle;
                let (mut sx, mut sy) = (xx * dx + x0, yx * dx + y0);
                if let Some(bends) = &bends {
                    let [bx, by] = bend(bends, x, side);
                    (sx, sy) = (sx + bx, sy + by);
                }
                put(y * side + x, sx, sy);
            }
        }
    }
}

/// The displacements of a row of pixels at the grid's columns.
fn bend_row(nodes: &[[[f32; 2]; NODES]; NODES], y: usize, side: usize) -> [[f32; 2]; NODES] {
    let (i, t) = cell(y, side);
    std::array::from_fn(|c| std::array::from_fn(|axis| mix(nodes[i][c][axis], nodes[i + 1][c][axis], t)))
}

/// The displacement of a pixel of the row.
fn bend(row: &[[f32; 2]; NODES], x: usize, side: usize) -> [f32; 2] {
    let (i, t) = cell(x, side);
    std::array::from_fn(|axis| mix(row[i][axis], row[i + 1][axis], t))
}

/// The grid's cell that holds a pixel, and how far in it is, 0 to 1.
fn cell(pixel: usize, side: usize) -> (usize, f32) {
    let place = (pixel as f32 + 0.5) * (CELLS as f32 / side as f32);
    let cell = (place as usize).min(CELLS - 1);
    (cell, place - cell as f32)
}

fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// A plane with one pixel of paper before and two after, so that sampling asks for no bounds.
fn pad(from: &[u8], side: usize) -> Vec<u8> {
    let wide = side + 3;
    let mut padded = vec![0; wide * wide];
    for (row, to) in from.chunks_exact(side).zip(padded.chunks_exact_mut(wide).skip(1)) {
        to[1..=side].copy_from_slice(row);
    }
    padded
}

/// The ink at a place, in pixels of the plane that was padded, bilinear.
#[inline]
fn sample(padded: &[u8], side: usize, x: f32, y: f32) -> u8 {
    let far = side as f32 + 1.0;
    let (x, y) = ((x + 1.0).clamp(0.0, far), (y + 1.0).clamp(0.0, far));
    let (ix, iy) = (x as usize, y as usize);
    let (tx, ty) = (x - ix as f32, y - iy as f32);
    let wide = side + 3;
    let at = iy * wide + ix;
    let level = |i: usize| f32::from(padded[i]);
    let top = mix(level(at), level(at + 1), tx);
    let bottom = mix(level(at + wide), level(at + wide + 1), tx);
    (mix(top, bottom, ty) + 0.5) as u8
}

/// Pixels of colours side by side, each with its three levels in lanes of 16 bits, and the last row and column
/// once more, so that sampling asks for no bounds.
fn lanes(from: &[u8], side: usize) -> Vec<u64> {
    let area = side * side;
    let mut lanes = Vec::with_capacity((side + 1) * (side + 1));
    for y in (0..side).chain([side - 1]) {
        let row = y * side..(y + 1) * side;
        let [red, green, blue] = [0, 1, 2].map(|channel| &from[channel * area..][row.clone()]);
        lanes.extend(
            red.iter()
                .zip(green)
                .zip(blue)
                .map(|((&r, &g), &b)| u64::from(r) | u64::from(g) << 16 | u64::from(b) << 32),
        );
        lanes.push(lanes[lanes.len() - 1]);
    }
    lanes
}

/// The colour at a place, bilinear in steps of 1/256 pixel; beside the picture, that of its edge.
#[inline]
fn sample_lanes(lanes: &[u64], side: usize, x: f32, y: f32) -> [u8; 3] {
    let last = side as f32 - 1.0;
    let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
    let (ix, iy) = (x as u32, y as u32);
    let (tx, ty) = (((x - ix as f32) * 256.0) as u64, ((y - iy as f32) * 256.0) as u64);
    let wide = side + 1;
    let at = iy as usize * wide + ix as usize;
    // 255 · 256 fits a lane, so no lane runs over into the next.
    let mix = |a: u64, b: u64, t: u64| ((a * (256 - t) + b * t + 0x80_0080_0080) >> 8) & 0xff_00ff_00ff;
    let (top, bottom) = (&lanes[at..at + 2], &lanes[at + wide..at + wide + 2]);
    let mixed = mix(mix(top[0], top[1], tx), mix(bottom[0], bottom[1], tx), ty);
    [mixed as u8, (mixed >> 16) as u8, (mixed >> 32) as u8]
}

/// Thickens (above 0) or thins strokes by this many pixels: whole steps of dilation or erosion
/// by one pixel on both sides of a stroke, and a blend for the rest.
pub(super) fn thicken(from: &[u8], side: usize, pixels: f32) -> Vec<u8> {
    let radius = pixels.abs() / 2.0;
    let whole = radius as usize;
    let share = ((radius - whole as f32) * 256.0) as u32;
    let step: fn(u8, u8) -> u8 = if pixels > 0.0 { u8::max } else { u8::min };
    let mut plane = from.to_vec();
    for _ in 0..whole {
        plane = spread(&plane, side, step);
    }
    if share > 0 {
        let next = spread(&plane, side, step);
        for (p, n) in plane.iter_mut().zip(next) {
            *p = ((u32::from(*p) * (256 - share) + u32::from(n) * share + 128) >> 8) as u8;
        }
    }
    plane
}

/// Each pixel's greatest (or least) level among itself and its four neighbours; the plane's edge
/// repeats outwards.
fn spread(from: &[u8], side: usize, of: fn(u8, u8) -> u8) -> Vec<u8> {
    let mut to = from.to_vec();
    for y in 0..side {
        let row = &from[y * side..(y + 1) * side];
        let up = &from[y.saturating_sub(1) * side..][..side];
        let down = &from[(y + 1).min(side - 1) * side..][..side];
        let out = &mut to[y * side..(y + 1) * side];
        for x in 0..side {
            let beside = of(row[x.saturating_sub(1)], row[(x + 1).min(side - 1)]);
            out[x] = of(of(row[x], beside), of(up[x], down[x]));
        }
    }
    to
}
