//! From where on something is unknown.

use super::Strangeness;
use serde::{Deserialize, Serialize};

/// What a query must be to be known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// How strange a query is.
    pub strangeness: Strangeness,
    /// What is at most this strange is known.
    pub threshold: f32,
}

impl Rule {
    /// By the distance to the nearest class alone.
    pub fn distance(threshold: f32) -> Self {
        Self { strangeness: Strangeness::among(0), threshold }
    }
}
