//! Files of embeddings, written row by row; the file appears whole or not at all.

use super::{npy, parquet, tensors};
use crate::files::Replacement;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use ndarray::ArrayView1;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Takes embeddings in order.
pub trait Sink {
    /// One embedding `[D]`.
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()>;
    /// Ends the file and puts it into its place.
    fn finish(self: Box<Self>) -> Result<()>;
}

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
    /// By the end of the file's name; `-` is JSON lines to stdout.
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
            _ if path == Path::new("-") => Ok(Self::JsonLines),
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
        Format::Npy => Box::new(npy::Npy::new(Replacement::create(path)?, tower.dim)?),
        Format::Safetensors => Box::new(tensors::Tensors::new(Replacement::create(path)?, tower)?),
        Format::Parquet => Box::new(parquet::Parquet::new(Replacement::create(path)?, tower)?),
        Format::JsonLines if path == Path::new("-") => Box::new(Lines::Stdout(std::io::stdout())),
        Format::JsonLines => Box::new(Lines::File(Replacement::create(path)?)),
    })
}

/// Numbers as bytes.
pub(super) fn bytes(embedding: ArrayView1<'_, f32>) -> Vec<u8> {
    embedding.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// JSON lines.
enum Lines {
    Stdout(std::io::Stdout),
    File(Replacement),
}

impl Sink for Lines {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        let line = json!({ "source": source, "label": label, "embedding": embedding.to_vec() });
        let line = format!("{line}\n");
        match self {
            Self::Stdout(out) => out.write_all(line.as_bytes()).map_err(Error::io("write", "stdout")),
            Self::File(file) => file.append(line.as_bytes()),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        match *self {
            Self::Stdout(mut out) => out.flush().map_err(Error::io("write", "stdout")),
            Self::File(file) => file.finish(),
        }
    }
}
