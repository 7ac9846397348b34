//! A [`Judge`] where no lowered towers are built in.

use super::results::{Configuration, Executed, PeakRate, TowerFile};
use crate::Result;

/// Has nothing to judge.
pub struct Judge;

impl Judge {
    /// There are no kernels to name.
    pub fn of(_: Option<&str>, _: &[TowerFile]) -> Result<Self> {
        Ok(Self)
    }

    /// The name of the kernels.
    pub fn kernels(&self) -> &'static str {
        "not built in"
    }

    /// Measures nothing.
    pub fn again(&mut self) {}

    /// There are none.
    pub fn peaks(&self) -> Vec<PeakRate> {
        Vec::new()
    }

    /// Nothing that is known.
    pub fn executed(&self, _: &Configuration, _: f64) -> Option<Executed> {
        None
    }
}
