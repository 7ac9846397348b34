//! Pictures and batches before any runtime sees them.

use crate::Done;
use crate::towers;
use criterion::{BenchmarkId, Criterion, Throughput};
use siamese::data::glyphs::{self, GlyphSpec};
use siamese::image::{self, Colour, Preprocessing};
use siamese::model::Recipe;
use siamese::model::recipe::{Augment, Sampling};
use siamese::random::stream;
use siamese::report::picture;
use siamese::sample::{Distortion, sampler};
use std::sync::Arc;

pub fn benches(criterion: &mut Criterion) -> Done {
    preprocessing(criterion)?;
    augmentation(criterion)?;
    pictures(criterion)
}

/// A drawing of so many pixels as a PNG file.
pub fn png(side: usize) -> siamese::Result<Vec<u8>> {
    picture::sheet(&[vec![towers::glyphs(side)?.image(0)]], 1)
}

/// From a PNG file's bytes to ink.
fn preprocessing(criterion: &mut Criterion) -> Done {
    let mut group = criterion.benchmark_group("decode PNG to ink");
    for (from, to) in [(105, 28), (105, 32), (105, 105), (1000, 32)] {
        let (png, how) = (png(from)?, Preprocessing::ink(to));
        let id = BenchmarkId::new(format!("{from} to"), to);
        group.bench_function(id, |b| b.iter(|| image::decode(&png, "a drawing", &how)));
    }
    group.finish();
    Ok(())
}

/// Batches of 128 images, on all cores, as the recipes distort them.
fn augmentation(criterion: &mut Criterion) -> Done {
    let mut group = criterion.benchmark_group("augment a batch");
    for name in ["glyphs-demo", "omniglot-edge", "omniglot-koch"] {
        let recipe = Recipe::find(name)?;
        let data = Arc::new(towers::glyphs(recipe.size)?);
        let sampling = Sampling::Images { batch: 128, turns: 1, flips: false };
        let sampler = sampler(&sampling, recipe.augment.as_ref(), data, recipe.seed)?;
        let images = sampler.batch_images();
        group.throughput(Throughput::Elements(images as u64));
        let id = format!("{name}, {images} images of {0}x{0}", recipe.size);
        let mut k = 0;
        group.bench_function(id, |b| {
            b.iter(|| {
                k += 1;
                sampler.batch(k)
            });
        });
    }
    group.finish();
    Ok(())
}

/// Pictures in colour with every distortion on, on one core.
fn pictures(criterion: &mut Criterion) -> Done {
    let how = Augment {
        rotate: 15.0,
        scale: 0.1,
        shear: 0.1,
        shift: 0.1,
        crop: 0.5,
        flip: 0.5,
        blur: 2.0,
        brightness: 0.4,
        contrast: 0.4,
        saturation: 0.4,
        hue: 30.0,
        grey: 0.2,
        erase: 0.3,
        probability: 1.0,
        ..Augment::default()
    };
    let mut group = criterion.benchmark_group("augment a picture in colour");
    group.throughput(Throughput::Elements(1));
    for side in [48, 64, 96] {
        let spec = GlyphSpec { alphabets: 1, characters: 1, drawers: 1, seed: 0 };
        let data = glyphs::framed(&spec, &Preprocessing::ink(side).in_colour(Colour::default()))?;
        let distortion = Distortion::new(&how, 3, side)?;
        let image: Vec<u8> = data.images.iter().copied().collect();
        let mut to = vec![0; image.len()];
        let mut k = 0;
        group.bench_function(BenchmarkId::new("all distortions", format!("{side}x{side}")), |b| {
            b.iter(|| {
                k += 1;
                if let Some(drawn) = distortion.draw(&mut stream(0, "bench", k, 0)) {
                    distortion.apply(&drawn, &image, &mut to);
                }
            });
        });
    }
    group.finish();
    Ok(())
}
