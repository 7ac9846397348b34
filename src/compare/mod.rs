//! Agreement of two runtimes on one tower: numbers, predictions, bits, layers.
//!
//! Two float runtimes never agree to the bit, so the question is whether they *recognise* the same
//! things. [`certificate`] answers it with a proof per query, [`hunt`] searches the narrowest
//! decisions, [`values`] says how far apart the numbers are, [`sweep`] how far each runtime is from
//! itself (and that an exact tower has one SHA-256 everywhere), [`layers`] where a difference begins,
//! [`reduce`] cuts it out, and [`portability`] tells whether a gallery may travel. [`stays`] tells which answers of a
//! gallery stay where a newer, compatible tower asks. [`run`] does it all
//! for two runtimes with their options, which may be one runtime twice; [`text`] and [`page`] show it.

pub mod certificate;
pub mod cut;
pub mod hunt;
pub mod layers;
pub mod metric;
pub mod page;
pub mod pair;
pub mod portability;
pub mod reduce;
pub mod run;
pub mod sample;
pub mod stays;
pub mod sweep;
pub mod text;
pub mod values;

#[cfg(test)]
mod tests;
