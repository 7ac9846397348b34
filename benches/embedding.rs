//! Runtime × tower × threads × batch.

use crate::Done;
use crate::towers::{Runtimes, Tower, glyphs, recipes};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use ndarray::s;

const THREADS: [usize; 2] = [1, 2];
const BATCHES: [usize; 3] = [1, 8, 64];
/// Images of a larger side take long: fewer samples of them.
const LARGE: usize = 64;

pub fn benches(criterion: &mut Criterion, towers: &[Tower], runtimes: &Runtimes) -> Done {
    for (recipe, size) in recipes(towers) {
        let glyphs = glyphs(size)?;
        let mut group = criterion.benchmark_group(format!("embed {recipe}"));
        group.sampling_mode(SamplingMode::Flat);
        if size >= LARGE {
            group.sample_size(10);
        }
        for threads in THREADS {
            let plural = if threads == 1 { "thread" } else { "threads" };
            for (name, mut embedder) in runtimes.loaded(towers, recipe, threads)? {
                for batch in BATCHES {
                    let images = glyphs.images.slice(s![..batch, .., .., ..]);
                    group.throughput(Throughput::Elements(batch as u64));
                    let id = BenchmarkId::new(format!("{name}, {threads} {plural}"), batch);
                    group.bench_function(id, |b| b.iter(|| embedder.embed(images)));
                }
            }
        }
        group.finish();
    }
    Ok(())
}
