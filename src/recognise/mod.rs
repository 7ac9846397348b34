//! Which class an embedding is of, or that it is of none, by what is known in memory: without files, stores and
//! threads, so that a browser does it by the same code.

mod answer;
mod classes;
mod exported;
mod rule;
mod strangeness;

pub use answer::{Answer, Candidate, answer, wanted};
pub use classes::{Classes, Loaded, Shots, prototypes};
pub use exported::{Exported, signed_byte};
pub use rule::Rule;
pub use strangeness::Strangeness;
