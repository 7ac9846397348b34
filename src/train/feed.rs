//! Batches and masks made ahead, on a thread of their own, while the runtime works.

use super::Material;
use crate::model::Recipe;
use crate::sample::{Batch, mask};
use crate::step::MaskSpec;
use crate::{Error, Result};
use ndarray::{Array2, ArrayD, Axis};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Batches that may wait: two hide any unevenness, more would only hold memory.
const AHEAD: usize = 2;

/// What one step reads, besides the state.
pub struct Inputs {
    /// Images and targets.
    pub batch: Batch,
    /// What the teacher makes of the images, `[B, T]`; none where there is no teacher.
    pub teacher: Option<Array2<f32>>,
    /// Dropout masks, in the graph's order.
    pub masks: Vec<ArrayD<f32>>,
}

/// The inputs of consecutive steps.
pub(super) struct Feed {
    ready: Receiver<Inputs>,
}

impl Feed {
    /// Begins to make the inputs of the batches `range`, numbered from 0.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        material: &Material,
        recipe: &Recipe,
        masks: &[MaskSpec],
        range: Range<u64>,
    ) -> Result<Self> {
        let (send, ready) = sync_channel(AHEAD);
        let (sampler, masks, seed) = (Arc::clone(&material.sampler), masks.to_vec(), recipe.seed);
        let teacher = material.teacher.clone();
        let make = move || {
            for k in range {
                let batch = sampler.batch(k);
                let masks =
                    masks.iter().enumerate().map(|(i, m)| mask(seed, k, i, &m.shape, m.keep)).collect();
                let teacher = teacher.as_ref().map(|rows| rows.select(Axis(0), &batch.drawn));
                // The receiver is gone when the run has ended early.
                if send.send(Inputs { batch, teacher, masks }).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".into()).spawn(make);
        thread.map_err(|e| Error::invalid_because("training", "no thread can be had to make batches", e))?;
        Ok(Self { ready })
    }

    /// The next inputs.
    pub fn next(&mut self) -> Result<Inputs> {
        self.ready.recv().map_err(|_| Error::invalid("training", "the thread that makes batches has stopped"))
    }
}
