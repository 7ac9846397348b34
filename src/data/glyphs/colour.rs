//! Built-in characters in colour: coloured ink on coloured, textured paper.
//!
//! A character's ink has a hue of its own, so that colour tells something about the class, and a drawer's bottle
//! and sheet of paper are never the same twice, so that it does not tell all.

use super::{Dataset, GlyphSpec};
use crate::random::{Stream, between, either, stream, unit};
use ndarray::{Array4, Axis};
use rayon::prelude::*;

/// Squares along each side of a sheet, between whose corners its tone changes smoothly.
const CELLS: usize = 4;
const NODES: usize = CELLS + 1;
/// Greatest change of a sheet's tone either way, and of single grains, levels.
const STAIN: f32 = 16.0;
const GRAIN: f32 = 6.0;

type Rgb = [f32; 3];

/// Colours `[N, 3, S, S]` of drawings in ink `[N, 1, S, S]` that were made as `spec` says.
pub(super) fn coloured(page: &Dataset, spec: &GlyphSpec) -> Array4<u8> {
    let side = page.size();
    let mut images = Array4::zeros((page.len(), 3, side, side));
    images.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(i, mut image)| {
        let (class, drawer) = (i / spec.drawers, i % spec.drawers);
        let (alphabet, character) = (class / spec.characters, class % spec.characters);
        let hue = unit(&mut stream(spec.seed, "glyph ink", alphabet as u64, character as u64));
        let mut sheet = stream(spec.seed, "glyph paper", class as u64, drawer as u64);
        let ink = colour(hue, between(&mut sheet, 0.7, 1.0), between(&mut sheet, 0.3, 0.65));
        let paper = Paper::new(&mut sheet, side);
        for ((y, x), &level) in page.image(i).index_axis(Axis(0), 0).indexed_iter() {
            let cover = f32::from(level) / 255.0;
            let (tone, grain) = (paper.at(y, x), GRAIN * either(&mut sheet));
            for channel in 0..3 {
                let mixed = tone[channel] + (ink[channel] - tone[channel]) * cover + grain;
                image[(channel, y, x)] = (mixed.clamp(0.0, 255.0) + 0.5) as u8;
            }
        }
    });
    images
}

/// A hue, 0–1 around the wheel, with its saturation and value, as levels.
fn colour(hue: f32, saturation: f32, value: f32) -> Rgb {
    // Each channel is full for a third of the wheel, and rises or falls over a sixth.
    [0.0, 2.0, 4.0].map(|middle: f32| {
        let away = (6.0 * hue - middle).abs();
        let away = if away > 3.0 { 6.0 - away } else { away };
        let full = (2.0 - away).clamp(0.0, 1.0);
        255.0 * value * (1.0 - saturation * (1.0 - full))
    })
}

/// A sheet of paper.
struct Paper {
    colour: Rgb,
    stains: [[f32; NODES]; NODES],
    side: usize,
}

impl Paper {
    fn new(rng: &mut Stream, side: usize) -> Self {
        let colour = colour(unit(rng), between(rng, 0.05, 0.35), between(rng, 0.8, 1.0));
        let stains = [[(); NODES]; NODES].map(|row| row.map(|()| STAIN * either(rng)));
        Self { colour, stains, side }
    }

    fn at(&self, y: usize, x: usize) -> Rgb {
        let cell = |pixel: usize| {
            let place = pixel as f32 * (CELLS as f32 / self.side as f32);
            (place as usize, place - (place as usize) as f32)
        };
        let ((i, down), (j, across)) = (cell(y), cell(x));
        let row = |i: usize| self.stains[i][j] + (self.stains[i][j + 1] - self.stains[i][j]) * across;
        let stain = row(i) + (row(i + 1) - row(i)) * down;
        self.colour.map(|level| level + stain)
    }
}
