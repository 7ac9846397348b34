//! The pictures that a tower is proven with.

use crate::random::{Stream, below, stream, unit};
use ndarray::Array4;

/// How many there are: enough for batches of 1, 2 and 5.
pub const COUNT: usize = 5;

/// Pictures `uint8 [5, C, S, S]` that differ in tone, shape and grain, the same at every import.
pub fn pictures(channels: usize, side: usize) -> Array4<u8> {
    let mut images = Array4::zeros((COUNT, channels, side, side));
    for (i, mut image) in images.outer_iter_mut().enumerate() {
        let mut rng = stream(0, "adopt", i as u64, 0);
        let grain = [0.0, 8.0, 32.0][i % 3];
        for mut plane in image.outer_iter_mut() {
            let grid = Grid::new(&mut rng, 3 + i);
            for ((y, x), level) in plane.indexed_iter_mut() {
                let at = |place: usize| place as f32 / side.max(2) as f32;
                let noise = grain * (2.0 * unit(&mut rng) - 1.0);
                *level = (grid.at(at(y), at(x)) + noise).clamp(0.0, 255.0) as u8;
            }
        }
    }
    images
}

/// Random levels on a coarse grid, linear between them.
struct Grid {
    levels: Vec<f32>,
    side: usize,
}

impl Grid {
    fn new(rng: &mut Stream, side: usize) -> Self {
        Self { levels: (0..side * side).map(|_| below(rng, 256) as f32).collect(), side }
    }

    /// The level at a place, both in [0, 1).
    fn at(&self, y: f32, x: f32) -> f32 {
        let last = (self.side - 1) as f32;
        let (y, x) = (y * last, x * last);
        let (top, left) = (y as usize, x as usize);
        let level = |down: usize, right: usize| {
            let (row, column) = ((top + down).min(self.side - 1), (left + right).min(self.side - 1));
            self.levels[row * self.side + column]
        };
        let (down, right) = (y - top as f32, x - left as f32);
        let line = |d: usize| level(d, 0) * (1.0 - right) + level(d, 1) * right;
        line(0) * (1.0 - down) + line(1) * down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_differ_in_most_pixels_and_repeat() {
        let images = pictures(3, 16);
        assert_eq!(images, pictures(3, 16));
        for (i, a) in images.outer_iter().enumerate() {
            for b in images.outer_iter().skip(i + 1) {
                let different = a.iter().zip(&b).filter(|(a, b)| a != b).count();
                assert!(different > 3 * 256 / 2, "{different}");
            }
        }
        assert_eq!(pictures(1, 1).dim(), (COUNT, 1, 1, 1));
    }
}
