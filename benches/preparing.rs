//! Pictures and batches before any runtime sees them.

use crate::Done;
use crate::towers::glyphs;
use criterion::{BenchmarkId, Criterion, Throughput};
use siamese::image::{self, Preprocessing};
use siamese::model::Recipe;
use siamese::model::recipe::Sampling;
use siamese::report::picture;
use siamese::sample::sampler;
use std::sync::Arc;

pub fn benches(criterion: &mut Criterion) -> Done {
    preprocessing(criterion)?;
    augmentation(criterion)
}

/// A drawing of so many pixels as a PNG file.
pub fn png(side: usize) -> siamese::Result<Vec<u8>> {
    picture::sheet(&[vec![glyphs(side)?.image(0)]], 1)
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
        let data = Arc::new(glyphs(recipe.size)?);
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
