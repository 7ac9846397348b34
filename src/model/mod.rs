//! Towers as lists of layers from a recipe, and their parameters.

pub mod recipe;

pub use recipe::Recipe;

/// Named parameters or other state, `layer.name` → array, in a stable order.
pub type Params = std::collections::BTreeMap<String, ndarray::ArrayD<f32>>;
