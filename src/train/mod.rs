//! The training loop on ONNX Runtime: state stays with the runtime, batches are made ahead, and what
//! was done is on disk.
//!
//! A run is a folder: `recipe.json`, `data.json`, `train.onnx`, `metrics.jsonl`, TensorBoard's event
//! files, the last three checkpoints, `best.safetensors` where held-out data choose, and at the end
//! `params.safetensors`, which `siamese export` reads. A run that is stopped at any moment continues
//! from its checkpoint to the same bits: step k draws its batch and masks from (seed, k) alone, and
//! the graph holds nothing random.
//!
//! The micro-batches of a step may be shared by a [`Team`]: workers, which are threads with sessions of their own, in
//! one process or several. What they give is summed in one order (`tree`), so that the bits do not depend on how many
//! they are. A session has one thread unless told: ONNX Runtime promises no bits across numbers of threads.

mod device;
mod evaluate;
mod events;
mod feed;
mod folder;
mod follow;
mod identity;
mod log;
#[cfg(feature = "mpi")]
mod mpi;
mod operators;
mod ranks;
mod run;
mod stages;
mod start;
mod stepper;
mod teacher;
mod tensors;
mod tree;
mod wccn;
mod workers;

pub use device::DeviceChoice;
pub use evaluate::Evaluator;
pub use feed::{Inputs, Known, StepInputs};
pub use folder::{Checkpoint, Folder, Line};
pub use follow::follow;
pub use identity::{Identity, Surroundings};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use ranks::{Alone, Ranks, Team};
pub use run::{FinishedRun, graph, train};
pub use stages::{Changes, GraphFile, ModelChange, Stage, Training, run_folder, write_graph};
pub use start::{Fitted, Material, classes_of_characters, fitted, starting_state};
pub use stepper::{Measured, Stepper};

use crate::model::{Params, Recipe};
use crate::runtime::Lookup;
use crate::runtime::ort::SessionOptions;
use crate::tower::Accuracy;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What to train, where, and how.
pub struct Job<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its training material.
    pub material: &'a Material,
    /// The run's folder.
    pub folder: Folder,
    /// The library.
    pub library: Lookup,
    /// Device and threads; 0 threads: those of the checkpoint, else one a core, or one a worker.
    pub session: SessionOptions,
    /// Who shares the micro-batches, where the recipe has some.
    pub team: Team,
    /// Layers that start this run (`init_from`).
    pub start: Option<Params>,
    /// Continue from the folder's checkpoint.
    pub resume: bool,
    /// The evaluation that the recipe asks for, where there is to be one.
    pub evaluator: Option<&'a Evaluator>,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// When checkpoints are due, besides the last step.
    pub checkpoints: Checkpoints,
    /// Set from outside to stop after the step at hand.
    pub stop: &'a AtomicBool,
}

impl Job<'_> {
    /// How the sessions of this process are made.
    fn options(&self, threads: usize) -> SessionOptions {
        let ordinal = self.team.ranks.on_machine() as i32;
        SessionOptions { threads, ordinal, ..self.session.clone() }
    }
}

/// When checkpoints are due.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoints {
    /// Time between two.
    pub every: Duration,
    /// Steps between two, whatever the time; `u64::MAX` for none.
    pub every_steps: u64,
}

/// Told after each step.
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Mean loss since the last line of the log.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f32,
    /// Training images used each second, lately.
    pub images_per_second: f64,
}

/// An evaluation while training.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// What was measured, and how much it was.
    pub accuracy: Accuracy,
    /// Whether on data kept out of training: then it may choose the parameters.
    pub held_out: bool,
}

/// What looks on.
pub trait Observer {
    /// A stage begins (see [`Training`]).
    fn begins(&mut self, _: &Stage<'_>) {}
    /// After each step.
    fn step(&mut self, progress: &Progress);
    /// The parameters after `step` were evaluated.
    fn evaluated(&mut self, _step: u64, _: &Validation) {}
    /// Something worth telling: a checkpoint that could not be read, say.
    fn note(&mut self, text: &str);
}

#[cfg(test)]
mod tests;
