//! What a file of embeddings may be, told by its name.

use super::lines::json_lines;
use super::npy::Npy;
use super::parquet::Parquet;
use super::sink::Sink;
use super::tensors::Tensors;
use crate::files::Replacement;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use std::path::Path;

/// What a file of embeddings may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy: one array float32 `[N, D]`.
    Npy,
    /// safetensors: the tensor `embeddings`, float32 `[N, D]`.
    Safetensors,
    /// Parquet: columns `source`, `label`, `embedding`.
    Parquet,
    /// A JSON object on each line: `source`, `label`, `embedding`.
    JsonLines,
}

impl Format {
    /// By the end of the file's name.
    ///
    /// # Errors
    /// Where the name tells nothing.
    pub fn of(path: &Path) -> Result<Self> {
        let end = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match end.as_deref() {
            Some("npy") => Ok(Self::Npy),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("parquet") => Ok(Self::Parquet),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            _ => {
                let why =
                    "name the output *.npy, *.safetensors, *.parquet, *.jsonl, or - for JSON lines on stdout";
                Err(Error::invalid(path.display(), why))
            }
        }
    }
}

/// Begins a file of embeddings of a tower; the format is told by the name.
///
/// # Errors
/// Where the name tells no format, or the folder cannot be written.
pub fn create(path: &Path, tower: &TowerSpec) -> Result<Box<dyn Sink>> {
    Ok(match Format::of(path)? {
        Format::Npy => Box::new(Npy::new(Replacement::create(path)?, tower.dim)?),
        Format::Safetensors => Box::new(Tensors::new(Replacement::create(path)?, tower)?),
        Format::Parquet => Box::new(Parquet::new(Replacement::create(path)?, tower)?),
        Format::JsonLines => Box::new(json_lines(path)?),
    })
}
