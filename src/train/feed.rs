//! Batches and masks made ahead, on a thread of their own, while the runtime works.

use super::Material;
use super::ranks::Team;
use super::tensors::{flat, tensor};
use crate::model::{MicroBatches, Recipe};
use crate::sample::{Batch, Targets, mask};
use crate::step::{MaskSpec, StepGraph, TensorSpec};
use crate::{Error, Result};
use ndarray::{Array2, ArrayD, Axis, s};
use ort::value::DynValue;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Batches that may wait: two hide any unevenness, more would only hold memory.
const AHEAD: usize = 2;

/// What the graph of a step reads, or that of a micro-batch, besides the state.
pub struct Inputs {
    /// Images and targets.
    pub batch: Batch,
    /// What the teacher makes of the images, `[B, T]`; none where there is no teacher.
    pub teacher: Option<Array2<f32>>,
    /// Dropout masks, in the graph's order.
    pub masks: Vec<ArrayD<f32>>,
}

/// What one step reads, besides the state.
pub struct StepInputs {
    /// The whole batch, or this process's micro-batches in order.
    pub parts: Vec<Inputs>,
    /// What is known of the whole batch, where its loss compares images of different micro-batches.
    pub whole: Option<Known>,
}

/// What is known of a batch's images.
pub struct Known {
    /// For the loss.
    pub targets: Targets,
    /// What the teacher makes of them, `[B, T]`.
    pub teacher: Option<Array2<f32>>,
}

impl From<Inputs> for StepInputs {
    fn from(whole: Inputs) -> Self {
        Self { parts: vec![whole], whole: None }
    }
}

/// Inputs of a graph by their names.
pub(super) type Named = Vec<(String, DynValue)>;

impl Inputs {
    /// Those that a graph declares.
    pub(super) fn named(self, batch: &[TensorSpec], masks: &[MaskSpec]) -> Result<Named> {
        let images = self.batch.images;
        let known = Known { targets: self.batch.targets, teacher: self.teacher };
        let mut named = known.named(batch)?;
        named.push(("batch.images".into(), tensor(images.shape().to_vec(), flat(images))?));
        for (spec, mask) in masks.iter().zip(self.masks) {
            named.push((spec.name.clone(), tensor(spec.shape.clone(), flat(mask))?));
        }
        Ok(named)
    }
}

impl Known {
    /// Those that a graph declares.
    pub(super) fn named(self, batch: &[TensorSpec]) -> Result<Named> {
        let mut named = Vec::new();
        match self.targets {
            Targets::Same(same) => named.push(("batch.same".into(), tensor(vec![same.len()], same)?)),
            Targets::Labels(labels) => {
                named.push(("batch.labels".into(), tensor(vec![labels.len()], labels)?));
            }
            Targets::Episode => {}
        }
        if let Some(rows) = self.teacher {
            named.push(("batch.teacher".into(), tensor(rows.shape().to_vec(), flat(rows))?));
        }
        named.retain(|(name, _): &(String, _)| batch.iter().any(|spec| spec.name == *name));
        Ok(named)
    }
}

/// The inputs of consecutive steps.
pub(super) struct Feed {
    ready: Receiver<StepInputs>,
}

impl Feed {
    /// Begins to make the inputs of the batches `range`, numbered from 0; where the step has micro-batches, of those
    /// that are this process's.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        material: &Material,
        recipe: &Recipe,
        graph: &StepGraph,
        team: &Team,
        range: Range<u64>,
    ) -> Result<Self> {
        let (send, ready) = sync_channel(AHEAD);
        let maker = Maker {
            sampler: Arc::clone(&material.sampler),
            teacher: material.teacher.clone(),
            masks: graph.masks.clone(),
            seed: recipe.seed,
            cut: graph.micro.as_ref().map(|micro| (micro.plan, team.own(micro.plan.count))),
            spans: recipe.loss_spans_batch(),
        };
        let make = move || {
            for k in range {
                // The receiver is gone when the run has ended early.
                if send.send(maker.make(k)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".into()).spawn(make);
        thread.map_err(|e| Error::invalid_because("training", "no thread can be had to make batches", e))?;
        Ok(Self { ready })
    }

    /// The next inputs.
    pub fn next(&mut self) -> Result<StepInputs> {
        self.ready.recv().map_err(|_| Error::invalid("training", "the thread that makes batches has stopped"))
    }
}

/// Makes the inputs of a step; a pure function of (seed, k), whatever part of them is asked for.
struct Maker {
    sampler: Arc<dyn crate::sample::Sampler>,
    teacher: Option<Arc<Array2<f32>>>,
    masks: Vec<MaskSpec>,
    seed: u64,
    /// The micro-batches, and those that are wanted.
    cut: Option<(MicroBatches, Range<usize>)>,
    spans: bool,
}

impl Maker {
    fn make(&self, k: u64) -> StepInputs {
        let Some((plan, own)) = &self.cut else {
            let batch = self.sampler.batch(k);
            return Inputs { teacher: self.taught(&batch.drawn), masks: self.masks(k, 0), batch }.into();
        };
        let rows: Vec<Vec<usize>> = own.clone().map(|number| plan.rows(number)).collect();
        let batch = self.sampler.part(k, &rows.concat());
        let part = |(place, (number, rows)): (usize, (usize, &Vec<usize>))| {
            let first = place * plan.size;
            let drawn: Vec<usize> = rows.iter().map(|&row| batch.drawn[row]).collect();
            Inputs {
                teacher: self.taught(&drawn),
                masks: self.masks(k, number),
                batch: Batch {
                    images: batch.images.slice(s![first..first + plan.size, .., .., ..]).to_owned(),
                    targets: batch.targets.of(rows),
                    drawn,
                },
            }
        };
        let parts = own.clone().zip(&rows).enumerate().map(part).collect();
        let whole =
            self.spans.then(|| Known { targets: batch.targets.clone(), teacher: self.taught(&batch.drawn) });
        StepInputs { parts, whole }
    }

    fn taught(&self, drawn: &[usize]) -> Option<Array2<f32>> {
        self.teacher.as_ref().map(|rows| rows.select(Axis(0), drawn))
    }

    /// The masks of a micro-batch; those of the next one are numbered after them.
    fn masks(&self, k: u64, number: usize) -> Vec<ArrayD<f32>> {
        let before = number * self.masks.len();
        let masks = self.masks.iter().enumerate();
        masks.map(|(i, m)| mask(self.seed, k, before + i, &m.shape, m.keep)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data;
    use crate::image::Triage;
    use crate::runtime::Device;
    use crate::train::ranks::testing::wired;
    use std::path::Path;
    use std::rc::Rc;

    /// Whatever part of the micro-batches a process asks for, each is the same, and the batch is the uncut one.
    #[test]
    fn a_micro_batch_does_not_depend_on_who_makes_it() {
        for sampling in [r#"{"images": {"batch": 24}}"#, r#"{"zipped-pairs": {"batch": 12}}"#] {
            let mut recipe = Recipe::find("glyphs-demo").unwrap();
            recipe.data =
                serde_json::from_str(r#"{"glyphs": {"alphabets": 1, "characters": 5, "drawers": 6}}"#)
                    .unwrap();
            recipe.sampling = serde_json::from_str(sampling).unwrap();
            if sampling.contains("pairs") {
                recipe.loss = serde_json::from_str(r#"{"spring": {"margin": 1}}"#).unwrap();
            }
            recipe.micro_batch = Some(4);
            recipe.validate().unwrap();
            let data = data::load(&recipe, Path::new("."), &Triage::strict()).unwrap();
            let material = Material::new(&recipe, data).unwrap();
            let graph = crate::train::graph(&recipe, &material, Device::Cpu).unwrap();
            let made = |ranks: usize| {
                let each = wired(ranks).into_iter().flat_map(|rank| {
                    let team = Team { ranks: Rc::new(rank), workers: 1 };
                    let mut feed = Feed::start(&material, &recipe, &graph, &team, 3..4).unwrap();
                    feed.next().unwrap().parts.into_iter().map(|part| (part.batch, part.masks))
                });
                each.collect::<Vec<_>>()
            };
            let all = made(1);
            assert_eq!(all.len(), 6);
            assert!([2, 3, 4, 6].into_iter().all(|ranks| made(ranks) == all));
            let whole = material.sampler.batch(3);
            let plan = recipe.micro_batches().unwrap();
            for (number, (batch, _)) in all.iter().enumerate() {
                let rows = plan.rows(number);
                assert_eq!(batch.targets, whole.targets.of(&rows));
                assert_eq!(batch.images, whole.images.select(Axis(0), &rows));
            }
        }
    }
}
