//! Accuracy by the protocols of the field, honestly measured.
//!
//! Ties count as errors, every accuracy has a 95 % interval, and a collapsed tower is called so. Only
//! [`evaluate`] sees data and a tower; what it stands on is given embeddings `[N, D]`.

pub mod bootstrap;
pub mod identification;
mod linear;
mod nearest;
mod open_set;
pub mod page;
mod protocol;
mod result;
mod rounds;
mod score;
mod second_look;

pub use crate::recognise::prototypes;
pub use linear::LinearClassifier;
pub(crate) use nearest::between;
pub use nearest::{episode_trials, nearest_truth, one_shot, trials};
pub use open_set::{OpenSet, OpenSetPoint, auroc};
pub use protocol::{Towers, evaluate};
pub use result::{
    Decision, EvalOptions, EvaluationResult, Evidence, Figure, LAKE_EPISODES, Protocol, RunErrors,
};
pub use score::{Score, Trial, wilson};
pub use second_look::{SecondFigure, SecondLookResult};
