//! What hides detail: blur, and patches of one colour.

use crate::random::{Stream, below, either, exp, unit};

/// Pixels that a blur reaches on each side: twice the greatest standard deviation.
const REACH: usize = 4;
/// A blur of a smaller standard deviation would change nothing: its neighbours' weights are below half a 256th.
const LEAST: f32 = 0.3;
/// ln of 3, the greatest ratio of a patch's sides.
const LOG_RATIO: f64 = 1.098_612_288_668_109_8;

/// A Gaussian blur in integers: weights of the pixel itself and of those 1 to 4 pixels away, in 256ths.
#[derive(Clone, Debug)]
pub(super) struct Blur([u16; REACH + 1]);

impl Blur {
    /// Draws a standard deviation up to `most` pixels.
    pub fn draw(most: f32, rng: &mut Stream) -> Option<Self> {
        let deviation = most * unit(rng);
        (deviation >= LEAST).then(|| Self::new(f64::from(deviation)))
    }

    fn new(deviation: f64) -> Self {
        let weight = |distance: usize| match (distance * distance) as f64 / (2.0 * deviation * deviation) {
            // Below half a 256th.
            far if far > 7.0 => 0.0,
            near => exp(-near),
        };
        let sum: f64 = weight(0) + 2.0 * (1..=REACH).map(weight).sum::<f64>();
        let mut weights = [0, 1, 2, 3, 4].map(|distance| (256.0 * weight(distance) / sum + 0.5) as u16);
        weights[0] = 256 - 2 * weights[1..].iter().sum::<u16>();
        Self(weights)
    }

    /// Blurs a plane, along rows and then along columns; beside it its edge goes on.
    pub fn apply(&self, plane: &mut [u8], side: usize) {
        let mut line = vec![0; side + 2 * REACH];
        let mut sums = vec![0; side];
        for row in plane.chunks_exact_mut(side) {
            line[..REACH].fill(row[0]);
            line[REACH..REACH + side].copy_from_slice(row);
            line[REACH + side..].fill(row[side - 1]);
            self.sum(&mut sums, |step| &line[step..step + side]);
            row.iter_mut().zip(&sums).for_each(|(level, sum)| *level = (sum >> 8) as u8);
        }
        let from = plane.to_vec();
        for (y, row) in plane.chunks_exact_mut(side).enumerate() {
            self.sum(&mut sums, |step| {
                let y = (y + step).saturating_sub(REACH).min(side - 1);
                &from[y * side..(y + 1) * side]
            });
            row.iter_mut().zip(&sums).for_each(|(level, sum)| *level = (sum >> 8) as u8);
        }
    }

    /// Half a unit and the weighted sum of levels `step` places after those 4 pixels before. It fits 16 bits:
    /// the weights add up to 256.
    fn sum<'a>(&self, sums: &mut [u16], levels: impl Fn(usize) -> &'a [u8]) {
        sums.fill(128);
        for step in 0..=2 * REACH {
            let weight = self.0[step.abs_diff(REACH)];
            if weight > 0 {
                sums.iter_mut().zip(levels(step)).for_each(|(sum, &level)| *sum += weight * u16::from(level));
            }
        }
    }
}

/// A rectangle of one colour, in pixels.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    colour: [u8; 3],
}

impl Patch {
    /// Draws one of at most this share of an image's area.
    pub fn draw(most: f32, side: usize, rng: &mut Stream) -> Option<Self> {
        let (share, ratio) = (most * unit(rng), exp(f64::from(either(rng)) * LOG_RATIO) as f32);
        let length = |share: f32| ((side as f32 * share.sqrt() + 0.5) as usize).min(side);
        let (width, height) = (length(share * ratio), length(share / ratio));
        let (left, top) = (below(rng, side - width + 1), below(rng, side - height + 1));
        let colour = [(); 3].map(|()| below(rng, 256) as u8);
        (width > 0 && height > 0).then_some(Self { left, top, width, height, colour })
    }

    /// Covers its part of `[C, S, S]`.
    pub fn apply(&self, image: &mut [u8], side: usize) {
        for (plane, level) in image.chunks_exact_mut(side * side).zip(self.colour) {
            for row in plane.chunks_exact_mut(side).skip(self.top).take(self.height) {
                row[self.left..self.left + self.width].fill(level);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::stream;

    #[test]
    fn blurred_points_are_bells_and_one_tone_stays() {
        for deviation in [0.3, 0.7, 1.0, 1.4, 2.0] {
            let blur = Blur::new(deviation);
            assert_eq!(blur.0[0] + 2 * blur.0[1..].iter().sum::<u16>(), 256, "{deviation}");
            assert!(blur.0[1] > 0, "{deviation} blurs");
            let mut flat = vec![255; 49];
            blur.apply(&mut flat, 7);
            assert_eq!(flat, [255; 49]);
            let mut point = vec![0; 15 * 15];
            point[7 * 15 + 7] = 255;
            blur.apply(&mut point, 15);
            let middle: Vec<f64> = point[7 * 15..8 * 15].iter().map(|&x| f64::from(x)).collect();
            let spread = |i: usize| (i as f64 - 7.0).powi(2) * middle[i];
            let found = ((0..15).map(spread).sum::<f64>() / middle.iter().sum::<f64>()).sqrt();
            // Weights of a narrow bell are those of its middle, not of the area around each pixel.
            assert!(deviation < 0.5 || (found - deviation).abs() < 0.12 * deviation, "{deviation}: {found}");
            // Symmetric in all directions.
            assert!((0..225).all(|i| point[i] == point[224 - i] && point[i] == point[i % 15 * 15 + i / 15]));
        }
    }

    #[test]
    fn patches_cover_up_to_their_share() {
        let mut greatest = 0;
        for k in 0..300 {
            let Some(patch) = Patch::draw(0.25, 20, &mut stream(3, "test", k, 0)) else { continue };
            let mut image = vec![7; 3 * 400];
            patch.apply(&mut image, 20);
            let covered: Vec<usize> = image
                .chunks_exact(400)
                .zip(patch.colour)
                .map(|(plane, level)| plane.iter().filter(|&&x| x == level || level == 7).count())
                .collect();
            assert!(image.chunks_exact(400).all(|plane| plane.iter().filter(|&&x| x != 7).count() <= 121));
            greatest = greatest.max(*covered.iter().filter(|&&n| n < 400).max().unwrap());
        }
        assert!((80..=121).contains(&greatest), "{greatest}");
    }
}
