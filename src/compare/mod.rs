//! Agreement of two runtimes on one tower: numbers, predictions, bits, layers.
//!
//! Two float runtimes never agree to the bit, so the question is whether they *recognise* the same
//! things. [`certificate`] answers it with a proof per episode, [`values`] says how far apart the
//! numbers are, [`noise`] how far each runtime is from itself, [`layers`] where a difference
//! begins, and [`bits`] shows that an exact tower has no difference at all.

pub mod certificate;
pub mod cut;
pub mod engine;
pub mod hunt;
pub mod layers;
pub mod metric;
pub mod page;
pub mod pair;
pub mod portability;
pub mod reduce;
pub mod run;
pub mod sample;
pub mod side;
pub mod sweep;
pub mod text;
pub mod values;
