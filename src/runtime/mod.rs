//! Runs towers: one small trait, and an adapter for each runtime.
//!
//! Rooms above see the trait only.

#[cfg(feature = "ort")]
pub mod ort;
#[cfg(feature = "ort")]
pub mod provision;
