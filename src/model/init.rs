//! First values of parameters.

use super::Params;
use super::recipe::{Init, Recipe};
use super::specs::{ParamSpec, Role};
use ndarray::{ArrayD, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

/// Draws the first value of every parameter.
///
/// Each parameter has its own stream of random numbers, made of the seed and its name, so that a
/// layer added to a tower changes no other layer's start. An ONNX model's are those of its file.
pub fn initialise(recipe: &Recipe, specs: &[ParamSpec], seed: u64) -> Params {
    specs.iter().map(|spec| (spec.name.clone(), first_value(recipe, spec, seed))).collect()
}

fn first_value(recipe: &Recipe, spec: &ParamSpec, seed: u64) -> ArrayD<f32> {
    let backbone = recipe.backbone().ok().flatten();
    if let Some(value) = backbone.and_then(|(_, backbone)| backbone.value(&spec.name).ok().flatten()) {
        return value;
    }
    let shape = IxDyn(&spec.shape);
    match spec.role {
        Role::Weight => random_weights(&recipe.init, spec, seed),
        Role::Bias => ArrayD::from_elem(shape, recipe.bias_init),
        Role::Scale | Role::Var => ArrayD::ones(shape),
        Role::Shift | Role::Mean => ArrayD::zeros(shape),
    }
}

fn random_weights(init: &Init, spec: &ParamSpec, seed: u64) -> ArrayD<f32> {
    let mut rng = seeded(seed, &spec.name);
    let mut draw: Box<dyn FnMut() -> f32> = match *init {
        Init::He => {
            let std = (2.0 / spec.fan_in as f32).sqrt();
            Box::new(move || std * rng.sample::<f32, _>(StandardNormal))
        }
        Init::Glorot => {
            let limit = (6.0 / (spec.fan_in + spec.fan_out) as f32).sqrt();
            Box::new(move || rng.random_range(-limit..=limit))
        }
        Init::TruncatedNormal { std } => Box::new(move || std * truncated(&mut rng)),
    };
    ArrayD::from_shape_simple_fn(IxDyn(&spec.shape), &mut draw)
}

/// A standard normal number within ±2, by rejection.
fn truncated(rng: &mut Pcg64) -> f32 {
    loop {
        let x: f32 = rng.sample(StandardNormal);
        if x.abs() <= 2.0 {
            return x;
        }
    }
}

/// A generator for one named purpose of a seeded run (FNV-1a of the name, mixed with the seed).
pub fn seeded(seed: u64, name: &str) -> Pcg64 {
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    Pcg64::seed_from_u64(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
