//! What lowering gives: a tower by tract's own operators, and by the program that it is lowered to.

use crate::Done;
use crate::towers::{Tower, glyphs};
use criterion::{BenchmarkId, Criterion, SamplingMode};
use siamese::runtime::{Options, TRACT};
use std::sync::Arc;
use tract_onnx::prelude::*;

/// One image, one thread.
pub fn benches(criterion: &mut Criterion, towers: &[Tower]) -> Done {
    let mut group = criterion.benchmark_group("tract, one image");
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(10);
    for tower in towers {
        let what = format!("{} {}", tower.recipe, tower.kind.name());
        let glyphs = glyphs(tower.size)?;
        let image = glyphs.images.slice(ndarray::s![..1, .., .., ..]);
        let mut own = own_operators(tower)?.spawn()?;
        let input: TValue = Tensor::from(image.to_owned()).into();
        group.bench_function(BenchmarkId::new("own operators", &what), |b| {
            b.iter(|| own.run(tvec!(input.clone())));
        });
        let mut lowered = TRACT.with(Options { threads: 1, ..Options::default() })?.load(&tower.file)?;
        group.bench_function(BenchmarkId::new("lowered", &what), |b| b.iter(|| lowered.embed(image)));
    }
    group.finish();
    Ok(())
}

/// tract's plan for a tower as it is in the file.
fn own_operators(tower: &Tower) -> TractResult<Arc<TypedSimplePlan>> {
    let image = u8::fact([1, 1, tower.size, tower.size]);
    onnx()
        .with_ignore_value_info(true)
        .model_for_path(&tower.file)?
        .with_input_fact(0, image.into())?
        .into_optimized()?
        .into_runnable()
}
