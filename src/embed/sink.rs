//! Files of embeddings, written row by row; the file appears whole or not at all.

use super::{npy, parquet, tensors};
use crate::tower::TowerSpec;
use crate::{Error, Result};
use ndarray::ArrayView1;
use serde_json::json;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

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
        Format::Npy => Box::new(npy::Npy::new(File::create(path)?, tower.dim)?),
        Format::Safetensors => Box::new(tensors::Tensors::new(File::create(path)?, tower)?),
        Format::Parquet => Box::new(parquet::Parquet::new(File::create(path)?, tower)?),
        Format::JsonLines if path == Path::new("-") => Box::new(Lines::Stdout(std::io::stdout())),
        Format::JsonLines => Box::new(Lines::File(File::create(path)?)),
    })
}

/// A file that appears when it is complete.
pub struct File {
    writer: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl File {
    /// Begins it.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = NamedTempFile::new_in(folder).map_err(Error::io("write into", folder))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 18, part), path: path.into() })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Writes the head again, now that everything is known.
    pub fn rewrite_head(&mut self, head: &[u8]) -> Result<()> {
        self.writer.rewind().map_err(Error::io("write", &self.path))?;
        self.write(head)
    }

    /// Puts it into its place.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        let part = self.writer.into_inner().map_err(|e| Error::io("write", &path)(e.into_error()))?;
        crate::data::get::readable_by_all(part.path())?;
        part.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
        Ok(())
    }
}

/// Numbers as bytes.
pub(super) fn bytes(embedding: ArrayView1<'_, f32>) -> Vec<u8> {
    embedding.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// JSON lines.
enum Lines {
    Stdout(std::io::Stdout),
    File(File),
}

impl Sink for Lines {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        let line = json!({ "source": source, "label": label, "embedding": embedding.to_vec() });
        let line = format!("{line}\n");
        match self {
            Self::Stdout(out) => out.write_all(line.as_bytes()).map_err(Error::io("write", "stdout")),
            Self::File(file) => file.write(line.as_bytes()),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        match *self {
            Self::Stdout(mut out) => out.flush().map_err(Error::io("write", "stdout")),
            Self::File(file) => file.finish(),
        }
    }
}
