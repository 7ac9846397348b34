//! One side of a comparison: a runtime with the settings that the user asked for.

use super::engine::Engine;
use super::sweep::{Embed, Setting};
use crate::Result;
use std::path::Path;

/// A runtime that can open towers under any setting and run whole graphs.
pub trait Side {
    /// Its name, as users type it.
    fn name(&self) -> &str;

    /// What it is, for the report: library, version, device.
    fn about(&self) -> String;

    /// The setting that the user asked for.
    fn setting(&self) -> Setting;

    /// Whether it has optimisation levels.
    fn has_levels(&self) -> bool;

    /// Opens the tower in `file` under a setting.
    ///
    /// # Errors
    /// A runtime that is missing, or refuses the tower.
    fn open(&self, file: &Path, setting: &Setting) -> Result<Embed>;

    /// An engine for whole graphs.
    ///
    /// # Errors
    /// A runtime that is missing.
    fn engine(&self) -> Result<Box<dyn Engine>>;
}
