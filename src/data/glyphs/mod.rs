//! Built-in alphabets: endless handwriting-like characters, from a seed and without any file.
//!
//! An alphabet has a hand of its own (`shape`): the kinds of strokes it favours, and a few strokes
//! that its characters share. A character is a list of strokes; a drawer (`pen`) redraws it with a
//! slant, proportions, a pressure and a tremor of their own. Every drawing is a pure function of the
//! seed and its place, whatever the number of threads.

mod colour;
mod pen;
mod shape;

use super::{Class, Dataset};
use crate::image::{self, Frame, Polarity, Preprocessing};
use crate::random::stream;
use crate::{Error, Result};
use ndarray::{Array4, Axis};
use rayon::prelude::*;

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlyphSpec {
    /// Alphabets.
    pub alphabets: usize,
    /// Characters of each.
    pub characters: usize,
    /// Drawers of each character; the same people draw a whole alphabet.
    pub drawers: usize,
    /// Other seeds give other alphabets.
    pub seed: u64,
}

/// A few alphabets, to look at.
pub const SAMPLE: GlyphSpec = GlyphSpec { alphabets: 6, characters: 20, drawers: 6, seed: 0 };

/// The largest set that is generated, images: more would not be drawn by hand either, and would fill
/// the memory.
const MOST: usize = 4_000_000;

/// The side of the page that drawings are cut out of, pixels: Omniglot's.
const DRAWN: usize = super::omniglot::SIDE;

/// Generates alphabets as images `[N, 1, size, size]`, sorted by alphabet, character and drawer.
///
/// # Errors
/// A count of 0, or more images than fit.
pub fn generate(spec: &GlyphSpec, size: usize) -> Result<Dataset> {
    let GlyphSpec { alphabets, characters, drawers, seed } = *spec;
    let count = alphabets.checked_mul(characters).and_then(|n| n.checked_mul(drawers)).unwrap_or(usize::MAX);
    if count == 0 || count > MOST || drawers > usize::from(u16::MAX) || size == 0 {
        let why = format!(
            "{alphabets} alphabets of {characters} characters by {drawers} drawers at {size} pixels: each must be \
             at least 1, and {MOST} images are the most"
        );
        return Err(Error::invalid("glyphs", why));
    }
    let mut pixels = vec![0u8; count * size * size];
    pixels.par_chunks_mut(drawers * size * size).enumerate().for_each(|(class, to)| {
        let (alphabet, character) = (class / characters, class % characters);
        let hand = shape::Hand::new(&mut stream(seed, "glyph hand", alphabet as u64, 0));
        let strokes = hand.character(&mut stream(seed, "glyph character", alphabet as u64, character as u64));
        for (drawer, image) in to.chunks_exact_mut(size * size).enumerate() {
            let person = pen::Person::new(&mut stream(seed, "glyph drawer", alphabet as u64, drawer as u64));
            let mut tremor = stream(seed, "glyph drawing", class as u64, drawer as u64);
            pen::draw(&person.redraw(&strokes, &mut tremor), person.radius(), size, image);
        }
    });
    let images = Array4::from_shape_vec((count, 1, size, size), pixels);
    let images = images.map_err(|e| Error::invalid_because("glyphs", "do not fill their array", e))?;
    let place = |i: usize| (i / drawers / characters, i / drawers % characters, i % drawers);
    Ok(Dataset {
        name: format!("glyphs (seed {seed})"),
        images,
        labels: (0..count).map(|i| (i / drawers) as u32).collect(),
        classes: (0..alphabets * characters)
            .map(|c| Class {
                name: format!("character{:02}", c % characters + 1),
                alphabet: (c / characters) as u32,
            })
            .collect(),
        alphabets: (1..=alphabets).map(|a| format!("Glyphs_{a:02}")).collect(),
        drawers: (0..count).map(|i| (i % drawers) as u16).collect(),
        sources: (0..count)
            .map(|i| {
                let (a, c, d) = place(i);
                format!("Glyphs_{:02}/character{:02}/{:02}", a + 1, c + 1, d + 1)
            })
            .collect(),
    })
}

/// Generates alphabets as a tower wants to see them, `[N, C, S, S]`: where the square is laid around
/// the ink, they are drawn larger first; a tower that takes colours sees coloured ink on coloured paper.
///
/// # Errors
/// As [`generate`].
pub fn framed(spec: &GlyphSpec, how: &Preprocessing) -> Result<Dataset> {
    let size = how.size();
    match *how {
        Preprocessing::Ink { frame: Frame::Picture, .. } => generate(spec, size),
        Preprocessing::Ink { frame: Frame::Ink, .. } => {
            let page = generate(spec, DRAWN.max(size))?;
            let how = how.with_tone(Polarity::Light);
            let images = super::gather(
                page.len(),
                &how,
                || (),
                |(), i| image::from_gray(page.image(i).index_axis(Axis(0), 0), &how),
            )?;
            Ok(Dataset { images, ..page })
        }
        Preprocessing::Colour { .. } | Preprocessing::Rgb { .. } => {
            let page = generate(spec, size)?;
            let images = colour::coloured(&page, spec);
            Ok(Dataset { name: format!("coloured {}", page.name), images, ..page })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::Colour;

    const SPEC: GlyphSpec = GlyphSpec { alphabets: 3, characters: 10, drawers: 6, seed: 7 };

    fn in_pool(threads: usize) -> Dataset {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(&SPEC, 28).unwrap())
    }

    #[test]
    fn any_number_of_threads_draws_the_same() {
        assert_eq!(in_pool(1), in_pool(3));
        let other = generate(&GlyphSpec { seed: 8, ..SPEC }, 28).unwrap();
        assert_ne!(in_pool(1).images, other.images);
    }

    #[test]
    fn more_characters_or_drawers_leave_the_first_ones_as_they_were() {
        let small = generate(&SPEC, 28).unwrap();
        let large = generate(&GlyphSpec { alphabets: 4, characters: 12, drawers: 8, ..SPEC }, 28).unwrap();
        // Alphabet 0, character 1, drawer 2.
        assert_eq!(small.image(8), large.image(10));
    }

    #[test]
    fn drawings_have_the_ink_of_handwriting() {
        let data = generate(&SPEC, 28).unwrap();
        let means: Vec<f64> = data
            .images
            .outer_iter()
            .map(|i| i.iter().map(|p| f64::from(*p)).sum::<f64>() / 255.0 / 784.0)
            .collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        assert!((0.04..0.16).contains(&mean), "{mean}");
        assert!(means.iter().all(|m| (0.005..0.4).contains(m)));
    }

    /// One drawing of each of 20 characters, nearest by pixels: far from chance (5 %), far from perfect,
    /// so that there is something to learn. Omniglot gives 17 to 22 % within alphabets.
    #[test]
    fn pixels_alone_neither_fail_nor_suffice() {
        let data = generate(&GlyphSpec { alphabets: 8, characters: 20, drawers: 8, seed: 1 }, 28).unwrap();
        let flat: Vec<Vec<f64>> =
            data.images.outer_iter().map(|i| i.iter().map(|p| f64::from(*p)).collect()).collect();
        let (mut right, mut asked) = (0, 0);
        for alphabet in 0..8 {
            let at = |character: usize, drawer: usize| (alphabet * 20 + character) * 8 + drawer;
            for (character, drawer) in (0..20).flat_map(|c| (1..8).map(move |d| (c, d))) {
                let query = &flat[at(character, drawer)];
                let distance =
                    |c: &usize| flat[at(*c, 0)].iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                let nearest = (0..20).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap();
                right += usize::from(nearest == character);
                asked += 1;
            }
        }
        let accuracy = right as f64 / asked as f64;
        assert!((0.12..0.75).contains(&accuracy), "{accuracy}");
    }

    #[test]
    fn framed_drawings_reach_their_margins() {
        let page = framed(&SPEC, &Preprocessing::ink(32)).unwrap();
        assert_eq!(page, generate(&SPEC, 32).unwrap());
        let data = framed(&SPEC, &Preprocessing::framed(32, Frame::Ink)).unwrap();
        assert_eq!((data.images.dim(), &data.labels), (page.images.dim(), &page.labels));
        let mut longest = Vec::new();
        for image in data.images.outer_iter() {
            let ends = [1, 2].map(|axis| {
                let inked = |line: ndarray::ArrayView2<u8>| line.iter().any(|&x| x > 76);
                let lines: Vec<bool> = image.axis_iter(Axis(axis)).map(inked).collect();
                let last = lines.iter().rposition(|&is| is).unwrap();
                (lines.iter().position(|&is| is).unwrap(), last)
            });
            assert!(ends.iter().all(|(first, last)| (first + last).abs_diff(31) <= 3), "{ends:?}");
            longest.push(ends.iter().map(|(first, last)| last + 1 - first).max().unwrap());
        }
        // 26 of 32, less where little ink is left in the outermost pixels, or the character is small.
        assert!(longest.iter().all(|&length| length <= 28), "{longest:?}");
        assert!(
            longest.iter().filter(|&&length| length >= 24).count() * 10 > longest.len() * 9,
            "{longest:?}"
        );
        let colours = Preprocessing::Rgb { size: 8, filter: Default::default(), crop: 1.0 };
        assert_eq!(framed(&SPEC, &colours).unwrap().images.shape()[1], 3);
    }

    #[test]
    fn in_colours_the_ink_is_the_characters_and_the_paper_nobodys() {
        let how = Preprocessing::ink(28).in_colour(Colour::default());
        let data = framed(&SPEC, &how).unwrap();
        let ink = generate(&SPEC, 28).unwrap();
        assert_eq!((data.images.dim(), &data.labels), ((180, 3, 28, 28), &ink.labels));
        // The mean colour of a drawing's darkest strokes, or of its bare paper.
        let mean = |i: usize, inked: bool| -> [f64; 3] {
            let (picture, page) = (data.image(i), ink.image(i));
            let most = f64::from(*page.iter().max().unwrap());
            let here = |level: u8| if inked { f64::from(level) > 0.8 * most } else { level == 0 };
            let plane = page.index_axis(Axis(0), 0);
            let places: Vec<_> =
                plane.indexed_iter().filter(|(_, level)| here(**level)).map(|(at, _)| at).collect();
            let sum = |c: usize| places.iter().map(|&(y, x)| f64::from(picture[(c, y, x)])).sum::<f64>();
            [0, 1, 2].map(|c| sum(c) / places.len() as f64)
        };
        let sum = |colour: [f64; 3]| colour.iter().sum::<f64>();
        // The weakest channel of the ink, which its paper tints least: mostly the same within a character.
        let weakest = |[r, g, b]: [f64; 3]| {
            if r <= g && r <= b {
                0
            } else if g <= b {
                1
            } else {
                2
            }
        };
        let darker = (0..180).filter(|&i| sum(mean(i, true)) + 30.0 < sum(mean(i, false))).count();
        let agreeing = (0..180).filter(|&i| weakest(mean(i, true)) == weakest(mean(i / 6 * 6, true))).count();
        assert!(darker >= 176 && agreeing >= 120, "{darker}, {agreeing} of 180");
        assert_eq!(framed(&SPEC, &how).unwrap().images, data.images);
    }

    #[test]
    fn impossible_counts_are_refused() {
        for spec in [GlyphSpec { alphabets: 0, ..SPEC }, GlyphSpec { alphabets: usize::MAX, ..SPEC }] {
            assert!(generate(&spec, 28).unwrap_err().to_string().contains("alphabets"));
        }
    }
}
