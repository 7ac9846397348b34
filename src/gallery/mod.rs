//! What a user does with a tower.

mod kernel;
pub mod search;
