//! Trained parameters → towers: plain ONNX files that carry everything needed to use them.
//!
//! [`float()`] folds batch normalisation and keeps the arithmetic of training; [`exact()`] turns a recipe's tower
//! into integers, so that no runtime can differ in a bit, and [`integers()`] the graph of any float tower; [`import()`] wraps a foreign model;
//! [`project()`] puts a learned map of embeddings behind a tower; [`inspect()`] tells what is in a file.

mod calibrate;
mod exact;
mod float;
mod from_run;
mod import;
mod inspect;
mod integer;
mod model_of;
mod project;
mod quantise;
#[cfg(test)]
mod tests;
mod trained;

pub use exact::{Calibration, exact};
pub use float::float;
pub use from_run::{ExactOptions, Exported, export_run};
pub use import::{Batch, Foreign, ImportOptions, Imported, Pixels, Preset, SetInput, import};
pub use inspect::{Inspection, Placement, Port, TowerFacts, inspect};
#[cfg(test)]
pub(crate) use integer::tests::nets;
pub use integer::{Coarser, Cost, Made, Runs, integers};
pub use model_of::{MODEL_FILE, with_model};
pub use project::{Projection, project};
pub use trained::{ACCURACY_FILE, DATA_FILE, DataFacts, PARAMS_FILE, Trained, calibration_images, trained};

use crate::onnx::ModelProto;
use crate::tower::TowerSpec;
use crate::{Result, files};
use prost::Message;
use std::path::Path;

/// Writes a tower, after reading it back as anyone will: what is on disk is a tower that passes every
/// check. An earlier file is replaced at once, or not at all.
///
/// # Errors
/// A model that is no valid tower; a file that cannot be written.
pub fn save(model: &ModelProto, path: &Path) -> Result<TowerSpec> {
    let bytes = model.encode_to_vec();
    let (spec, _) = TowerSpec::from_bytes(&bytes, &path.display().to_string())?;
    files::replace(path, &bytes)?;
    Ok(spec)
}
