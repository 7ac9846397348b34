//! Text, a line a row: JSON with the embedding, or the names alone beside a format that has none.

use super::sink::Sink;
use crate::files::Replacement;
use crate::{Error, Result};
use ndarray::ArrayView1;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// A row, as JSON lines have it.
#[derive(Serialize)]
struct JsonRow<'a> {
    source: &'a str,
    label: &'a str,
    /// In float64, whose digits are exactly the numbers that the tower gave.
    embedding: Vec<f64>,
}

impl JsonRow<'_> {
    fn line(source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<Vec<u8>> {
        let row = JsonRow { source, label, embedding: embedding.iter().map(|&x| x.into()).collect() };
        let mut line = serde_json::to_vec(&row)
            .map_err(|e| Error::invalid_because(source, "its embedding cannot be written as JSON", e))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// JSON lines in a file.
pub(super) struct JsonLines(pub Replacement);

impl Sink for JsonLines {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        self.0.append(&JsonRow::line(source, label, embedding)?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish()
    }
}

/// JSON lines for whoever reads them now.
pub struct JsonStream<W: Write> {
    /// Takes the lines.
    pub writer: W,
    /// What it is called in errors.
    pub name: &'static str,
}

impl<W: Write> Sink for JsonStream<W> {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        let line = JsonRow::line(source, label, embedding)?;
        self.writer.write_all(&line).map_err(Error::io("write", self.name))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.flush().map_err(Error::io("write", self.name))
    }
}

/// Source and label of each row, apart by a tab.
pub struct Names(Replacement);

impl Names {
    /// Begins the file.
    ///
    /// # Errors
    /// Where its folder cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        Replacement::create(path).map(Self)
    }
}

impl Sink for Names {
    fn row(&mut self, source: &str, label: &str, _: ArrayView1<'_, f32>) -> Result<()> {
        let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        self.0.append(format!("{}\t{}\n", plain(source), plain(label)).as_bytes())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish()
    }
}
