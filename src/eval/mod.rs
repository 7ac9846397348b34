//! Accuracy by the protocols of the field, honestly measured.
//!
//! Nothing here loads a model: embeddings come in as `[N, D]`. Ties
//! count as errors, every accuracy has a 95 % interval, and a collapsed tower is called so.

mod classifier;
mod nearest;
mod open_set;
mod protocol;
mod score;

pub use classifier::Classifier;
pub(crate) use nearest::between;
pub use nearest::{collapsed, episode_trials, nearest_truth, one_shot, prototypes, trials};
pub use open_set::{OpenSet, OpenSetPoint, auroc};
pub use protocol::{Decision, Evaluation, Evidence, Figure, LAKE_EPISODES, Protocol, RunErrors, evaluate};
pub use score::{Score, Trial, wilson};
