//! Searching a gallery, and the whole way from a PNG file's bytes to the nearest class.

use crate::Done;
use crate::preparing::png;
use crate::towers::{Runtimes, Tower, glyphs};
use criterion::{BenchmarkId, Criterion, Throughput};
use ndarray::{Array2, Axis, s};
use siamese::image;
use siamese::random;
use siamese::search::Index;
use siamese::tower::Distance;

/// Embeddings `[rows, dim]`.
fn embeddings(rows: usize, dim: usize, seed: u64) -> Array2<f32> {
    let mut rng = random::stream(seed, "bench embeddings", 0, 0);
    Array2::from_shape_simple_fn((rows, dim), || random::between(&mut rng, -1.0, 1.0))
}

pub fn benches(criterion: &mut Criterion, towers: &[Tower], runtimes: &Runtimes) -> Done {
    search(criterion);
    whole(criterion, towers, runtimes)
}

/// The five nearest classes of 128 numbers each.
fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search a gallery");
    let queries = embeddings(64, 128, 2);
    for rows in [1_000, 100_000] {
        for distance in [Distance::L2, Distance::Cosine, Distance::L1] {
            let classes = (0..rows as u32).map(|row| row / 10).collect();
            let name = distance.name();
            let index = Index::new(embeddings(rows, 128, 1), classes, distance);
            for asked in [1, 64] {
                let queries = queries.slice(s![..asked, ..]);
                group.throughput(Throughput::Elements(asked as u64));
                let id = BenchmarkId::new(format!("{name}, {rows} rows, queries"), asked);
                group.bench_function(id, |b| b.iter(|| index.search(queries, 5)));
            }
        }
    }
    group.finish();
}

/// Decode, embed, search among 400 drawings.
fn whole(criterion: &mut Criterion, towers: &[Tower], runtimes: &Runtimes) -> Done {
    let mut group = criterion.benchmark_group("from PNG to class, 1 thread");
    let png = png(105)?;
    for recipe in ["glyphs-demo", "omniglot-edge"] {
        for (name, mut embedder) in runtimes.loaded(towers, recipe, 1)? {
            let spec = embedder.spec().clone();
            let known = glyphs(spec.preprocessing.size())?;
            let rows = embedder.embed(known.images.view())?;
            let index = Index::new(rows, known.labels.clone(), spec.distance);
            group.bench_function(format!("{recipe}, {name}"), |b| {
                b.iter(|| -> siamese::Result<_> {
                    let ink = image::decode(&png, "a drawing", &spec.preprocessing)?;
                    let query = embedder.embed(ink.view().insert_axis(Axis(0)))?;
                    Ok(index.search(query.view(), 1))
                });
            });
        }
    }
    group.finish();
    Ok(())
}
