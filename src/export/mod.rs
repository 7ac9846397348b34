//! Trained parameters → towers: plain ONNX files that carry everything needed to use them.
//!
//! [`float()`] folds batch normalisation and keeps the arithmetic of training; [`exact()`] turns a tower
//! into integers, so that no runtime can differ in a bit; [`import`] wraps a foreign model;
//! [`inspect`] tells what is in a file.

mod calibrate;
mod exact;
mod float;
mod quantise;
mod run;
mod taps;
#[cfg(test)]
mod tests;
mod window;

pub use exact::{Calibration, exact};
pub use float::float;
pub use run::Program;

use crate::data::Dataset;
use crate::onnx::ModelProto;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use prost::Message;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Writes a tower, after reading it back as anyone will: what is on disk is a tower that passes every
/// check. An earlier file is replaced at once, or not at all.
///
/// # Errors
/// A model that is no valid tower; a file that cannot be written.
pub fn save(model: &ModelProto, path: &Path) -> Result<TowerSpec> {
    let bytes = model.encode_to_vec();
    let (spec, _) = TowerSpec::from_bytes(&bytes, &path.display().to_string())?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = Path::new(&partial);
    let written = std::fs::write(partial, &bytes).and_then(|()| std::fs::rename(partial, path));
    if written.is_err() {
        // Nothing can be done about a fragment that cannot be removed either.
        let _ = std::fs::remove_file(partial);
    }
    written.map_err(Error::io("write", path))?;
    Ok(spec)
}

/// SHA-256 of a data set: its images, labels and class names.
pub fn data_sha256(data: &Dataset) -> String {
    let mut hash = Sha256::new();
    for image in data.images.outer_iter() {
        hash.update(image.iter().copied().collect::<Vec<u8>>());
    }
    for label in &data.labels {
        hash.update(label.to_le_bytes());
    }
    for class in &data.classes {
        hash.update(class.name.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
