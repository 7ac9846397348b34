//! One training step on ONNX Runtime: forward, loss, backward, update; batches are made before.

use crate::Done;
use crate::towers::{Runtimes, glyphs};
use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use siamese::model::Recipe;
use siamese::runtime::Device;
use siamese::runtime::ort::SessionOptions;
use siamese::sample::mask;
use siamese::train::{self, Inputs, Material, Stepper};

pub fn benches(criterion: &mut Criterion, runtimes: &Runtimes) -> Done {
    let Some(library) = runtimes.onnx_runtime() else { return Ok(()) };
    let mut group = criterion.benchmark_group("training step");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for name in ["glyphs-demo", "mnist-conv3-embed"] {
        let recipe = Recipe::find(name)?;
        let material = Material::new(&recipe, glyphs(recipe.size)?)?;
        let graph = train::graph(&recipe, &material, Device::Cpu)?;
        let state = train::starting_state(&recipe, &graph, None)?;
        let mut stepper = Stepper::new(&graph, state, library, &SessionOptions::default())?;
        let images = material.sampler.batch_images();
        group.throughput(Throughput::Elements(images as u64));
        let mut k = 0;
        group.bench_function(format!("{name}, {images} images"), |b| {
            let inputs = || Inputs {
                batch: material.sampler.batch(1),
                teacher: None,
                masks: graph.masks.iter().map(|m| mask(1, 1, 0, &m.shape, m.keep)).collect(),
            };
            let step = |inputs| {
                k += 1;
                stepper.step(inputs, 1e-6, k)
            };
            b.iter_batched(inputs, step, BatchSize::PerIteration);
        });
    }
    group.finish();
    Ok(())
}
