//! From a tower's file to its first embedding, in a process in which the runtime is loaded already.
//! `siamese bench` tells the times of new processes.

use crate::Done;
use crate::towers::{Runtimes, Tower, glyphs, recipes};
use criterion::Criterion;
use ndarray::s;

pub fn benches(criterion: &mut Criterion, towers: &[Tower], runtimes: &Runtimes) -> Done {
    for (recipe, size) in recipes(towers) {
        let glyphs = glyphs(size)?;
        let image = glyphs.images.slice(s![..1, .., .., ..]);
        let mut group = criterion.benchmark_group(format!("load and first embedding, {recipe}"));
        group.sample_size(10);
        for tower in towers.iter().filter(|t| t.recipe == recipe) {
            for runner in runtimes.with(1)? {
                let id = format!("{} {}", runner.name(), tower.kind.name());
                group.bench_function(id, |b| b.iter(|| runner.load(&tower.file)?.embed(image)));
            }
        }
        group.finish();
    }
    Ok(())
}
