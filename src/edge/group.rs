//! Several images through the last steps together.
//!
//! A product over few pixels waits for its weights: a fully connected layer uses each of them once an
//! image. Taken for several images at once, they are read once for all. Every image's sums keep their
//! order, so its bits are those of a run alone.

use super::kernels::Offsets;
use super::map::Map;
use super::program::{Action, Program, Step, Tiles};

/// The most pixels of a product that waits for its weights.
const FEW: usize = 16;
/// The most images; a multiple of all tile heights of the kernels.
const MOST: usize = 24;
/// Bytes of the images' maps that are held at once: about half of a core's own cache.
const MEMORY: usize = 1 << 19;

/// Lets the last steps of a program for one image take several, where that helps.
pub fn grouped(mut program: Program) -> Program {
    let Some(first) = first(&program.steps) else { return program };
    // What always holds the same is there once.
    let once =
        |(map, _): &(usize, Vec<f32>)| program.steps[first..].iter().any(|s| s.reads().any(|m| m == *map));
    if program.constants.iter().any(once) {
        return program;
    }
    let mut shared = vec![false; program.maps.len()];
    program.outputs.iter().for_each(|map| shared[*map] = true);
    for step in &program.steps[first..] {
        step.reads().chain([step.to]).for_each(|map| shared[map] = true);
    }
    let maps = program.maps.iter().zip(&shared).filter_map(|(map, shared)| shared.then_some(map));
    let bytes: usize = maps.clone().map(Map::bytes_each).sum();
    let images = (MEMORY / bytes.max(1)).min(MOST);
    let fits = maps.clone().all(|map| u32::try_from(map.stride() * images).is_ok());
    if images < 2 || !fits {
        return program;
    }
    for (map, _) in program.maps.iter_mut().zip(shared).filter(|(_, shared)| *shared) {
        map.images = images;
    }
    for step in &mut program.steps[first..] {
        share(step, images, &program.maps);
    }
    Program { images, ..program }
}

/// The first product of those at the end that all wait for their weights.
fn first(steps: &[Step]) -> Option<usize> {
    let busy = |s: &Step| !s.action.takes_several() || (s.action.is_product() && s.at.all().len() > FEW);
    let behind = steps.iter().rposition(busy).map_or(0, |i| i + 1);
    let next = steps[behind..].iter().position(|s| s.action.is_product())?;
    Some(behind + next)
}

/// Repeats the places of a step for `images`.
fn share(step: &mut Step, images: usize, maps: &[Map]) {
    step.windows.repeat(images, maps[step.from].stride());
    step.at.repeat(images, maps[step.to].stride());
    for (map, places) in [&mut step.residual, &mut step.other].into_iter().flatten() {
        places.repeat(images, maps[*map].stride());
    }
    match &mut step.action {
        Action::Winograd { weights: Tiles::Float(weights), .. } => weights.repeat(images),
        Action::Winograd { weights: Tiles::Int(weights), .. } => weights.repeat(images),
        _ => {}
    }
    step.images = images;
}

impl Offsets {
    /// The same places in each of `images` maps, `stride` elements apart.
    fn repeat(&mut self, images: usize, stride: usize) {
        let places = (0..images).flat_map(|i| self.all().iter().map(move |at| *at as usize + i * stride));
        if let Some(all) = Self::new(&places.collect::<Vec<_>>()) {
            *self = all;
        }
    }
}
