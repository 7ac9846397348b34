//! Random distortion of drawings: one inverse warp (rotation, scale, shear, shift, elastic) with
//! bilinear sampling, after a change of stroke thickness.
//!
//! Only additions, multiplications and comparisons of IEEE 754 numbers are used, in a fixed
//! order, so the pixels are the same to the bit on every machine.

use crate::model::recipe::Augment;
use crate::random::{Stream, either, exp, happens, turn};
use crate::{Error, Result};

/// Cells of the elastic grid along each axis; displacements are drawn at their corners.
const CELLS: usize = 4;
const NODES: usize = CELLS + 1;

/// The distortions of a recipe for images of one size.
#[derive(Clone, Debug)]
pub struct Distortion {
    how: Augment,
    side: usize,
}

/// One distortion, drawn.
#[derive(Clone, Debug)]
pub struct Shape {
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

impl Distortion {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Where a strength is negative, not finite, or beyond what leaves a drawing readable.
    pub fn new(how: &Augment, side: usize) -> Result<Self> {
        let ranges = [
            ("rotate", how.rotate, 180.0),
            ("scale", how.scale, 2.0),
            ("shear", how.shear, 2.0),
            ("shift", how.shift, 1.0),
            ("elastic", how.elastic, 0.5),
            ("thickness", how.thickness, 16.0),
            ("probability", how.probability, 1.0),
        ];
        match ranges.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            None => Ok(Self { how: how.clone(), side }),
            Some((name, value, most)) => {
                Err(Error::invalid(format!("augment.{name}"), format!("{value} is not within 0 to {most}")))
            }
        }
    }

    /// Draws a distortion; `None` where this image is left as it is.
    pub fn draw(&self, rng: &mut Stream) -> Option<Shape> {
        let how = &self.how;
        if !happens(rng, how.probability) {
            return None;
        }
        let side = self.side as f32;
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
        Some(Shape { side: self.side, matrix, shift, elastic, thickness })
    }
}

impl Shape {
    /// Distorts a plane of S × S ink levels; what comes from outside is paper.
    ///
    /// # Panics
    /// Where a slice is not of S × S pixels.
    pub fn apply(&self, from: &[u8], to: &mut [u8]) {
        let side = self.side;
        assert!(from.len() == side * side && to.len() == side * side, "planes of {side} × {side} pixels");
        let padded = if self.thickness == 0.0 {
            pad(from, side)
        } else {
            pad(&thicken(from, side, self.thickness), side)
        };
        let middle = (side as f32 - 1.0) / 2.0;
        let [[xx, xy], [yx, yy]] = self.matrix;
        for (y, row) in to.chunks_exact_mut(side).enumerate() {
            let dy = y as f32 - middle;
            let (x0, y0) = (xy * dy + self.shift[0] + middle, yy * dy + self.shift[1] + middle);
            let bends = self.elastic.as_ref().map(|nodes| bend_row(nodes, y, side));
            for (x, pixel) in row.iter_mut().enumerate() {
                let dx = x as f32 - middle;
                let (mut sx, mut sy) = (xx * dx + x0, yx * dx + y0);
                if let Some(bends) = &bends {
                    let [bx, by] = bend(bends, x, side);
                    (sx, sy) = (sx + bx, sy + by);
                }
                *pixel = sample(&padded, side, sx, sy);
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

/// Thickens (above 0) or thins strokes by this many pixels: whole steps of dilation or erosion
/// by one pixel on both sides of a stroke, and a blend for the rest.
fn thicken(from: &[u8], side: usize, pixels: f32) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::stream;
    use proptest::prelude::*;

    fn drawing(side: usize) -> Vec<u8> {
        let mut plane = vec![0; side * side];
        for i in side / 4..3 * side / 4 {
            plane[i * side + side / 2] = 255;
            plane[(side / 3) * side + i] = 200;
        }
        plane
    }

    fn shapes(how: Augment, side: usize) -> impl Iterator<Item = Shape> {
        let distortion = Distortion::new(&Augment { probability: 1.0, ..how }, side).unwrap();
        (0..50).map(move |i| distortion.draw(&mut stream(1, "test", i, 0)).unwrap())
    }

    fn applied(shape: &Shape, from: &[u8]) -> Vec<u8> {
        let mut to = vec![0; from.len()];
        shape.apply(from, &mut to);
        to
    }

    proptest! {
        #[test]
        fn no_strength_changes_nothing(seed: u64, side in 1usize..40, salt: u8) {
            let how = Augment { probability: 1.0, ..Augment::default() };
            let shape = Distortion::new(&how, side).unwrap().draw(&mut stream(seed, "test", 0, 0)).unwrap();
            let plane: Vec<u8> = (0..side * side).map(|i| (i as u8).wrapping_mul(37) ^ salt).collect();
            prop_assert_eq!(applied(&shape, &plane), plane);
        }
    }

    #[test]
    fn each_strength_changes_something_and_keeps_the_ink() {
        let plane = drawing(28);
        let ink = |p: &[u8]| p.iter().map(|&x| f64::from(x)).sum::<f64>();
        let none = Augment::default;
        let alone = [
            Augment { rotate: 15.0, ..none() },
            Augment { scale: 0.1, ..none() },
            Augment { shear: 0.2, ..none() },
            Augment { shift: 0.1, ..none() },
            Augment { elastic: 0.03, ..none() },
        ];
        for how in alone {
            for shape in shapes(how.clone(), 28) {
                let moved = applied(&shape, &plane);
                assert_ne!(moved, plane, "{how:?}");
                let ratio = ink(&moved) / ink(&plane);
                assert!((0.6..1.5).contains(&ratio), "{how:?}: {ratio}");
            }
        }
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_them() {
        let plane = drawing(16);
        let shape = Shape {
            side: 16,
            matrix: [[1.0, 0.0], [0.0, 1.0]],
            shift: [2.0, -1.0],
            elastic: None,
            thickness: 0.0,
        };
        let moved = applied(&shape, &plane);
        for (y, x) in (1..16).flat_map(|y| (0..14).map(move |x| (y, x))) {
            assert_eq!(moved[y * 16 + x], plane[(y - 1) * 16 + x + 2]);
        }
        assert!(moved[..16].iter().all(|&p| p == 0), "paper comes in from outside");
    }

    #[test]
    fn far_shifts_leave_paper() {
        let shape = Shape {
            side: 8,
            matrix: [[1.0, 0.0], [0.0, 1.0]],
            shift: [1e9, -1e9],
            elastic: None,
            thickness: 0.0,
        };
        assert!(applied(&shape, &[255; 64]).iter().all(|&p| p == 0));
    }

    #[test]
    fn thickness_adds_that_many_pixels_to_a_stroke() {
        let mut plane = vec![0; 21 * 21];
        (0..21).for_each(|y| (8..13).for_each(|x| plane[y * 21 + x] = 255));
        let width = |p: &[u8]| p[10 * 21..11 * 21].iter().map(|&x| f32::from(x)).sum::<f32>() / 255.0;
        for pixels in [-4.0, -1.5, -0.6, 0.5, 1.0, 2.0, 5.0] {
            let now = width(&thicken(&plane, 21, pixels));
            assert!((now - 5.0 - pixels).abs() < 0.05, "{pixels}: {now}");
        }
    }

    /// The pixels of one distortion, as a number: it must not differ between machines.
    #[test]
    fn distortions_are_the_same_on_every_machine() {
        let how = Augment {
            rotate: 20.0,
            scale: 0.2,
            shear: 0.3,
            shift: 0.1,
            elastic: 0.05,
            thickness: 1.0,
            probability: 1.0,
        };
        let hash = shapes(how, 28).fold(0u64, |hash, shape| {
            applied(&shape, &drawing(28))
                .iter()
                .fold(hash, |h, &p| (h ^ u64::from(p)).wrapping_mul(0x0100_0000_01b3))
        });
        assert_eq!(hash, 5_562_763_408_661_543_815);
    }

    #[test]
    fn a_probability_of_nothing_distorts_nothing() {
        let none = Distortion::new(&Augment { rotate: 9.0, ..Augment::default() }, 8).unwrap();
        assert!((0..100).all(|i| none.draw(&mut stream(0, "test", i, 0)).is_none()));
    }
}
