//! Text, a line a row: JSON with the embedding, or the names alone beside a format that has none.

use super::sink::Sink;
use crate::error::one_line;
use crate::files::Replacement;
use crate::{Error, Result};
use ndarray::ArrayView1;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// What makes a line of a row.
type Line = fn(&str, &str, ArrayView1<'_, f32>) -> Result<String>;

/// A sink of lines.
struct Lines<W> {
    writer: W,
    /// What it is called in errors.
    name: String,
    line: Line,
    finish: fn(W, &str) -> Result<()>,
}

impl<W: Write> Sink for Lines<W> {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        let line = (self.line)(source, label, embedding)?;
        writeln!(self.writer, "{line}").map_err(Error::io("write", &self.name))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        (self.finish)(self.writer, &self.name)
    }
}

/// Lines in a file.
fn file(path: &Path, line: Line) -> Result<impl Sink + use<>> {
    let (writer, name) = (Replacement::create(path)?, path.display().to_string());
    Ok(Lines { writer, name, line, finish: |file, _| file.finish() })
}

/// A file of JSON lines: `source`, `label`, `embedding`.
pub(super) fn json_lines(path: &Path) -> Result<impl Sink + use<>> {
    file(path, json)
}

/// A file with source and label of each row, apart by a tab.
///
/// # Errors
/// Where its folder cannot be written.
pub fn names(path: &Path) -> Result<impl Sink + use<>> {
    file(path, |source, label, _| Ok(format!("{}\t{}", one_line(source), one_line(label))))
}

/// JSON lines for whoever reads them now; the writer is called `name` in errors.
pub fn stream<W: Write>(writer: W, name: &str) -> impl Sink + use<W> {
    let finish = |mut writer: W, name: &str| writer.flush().map_err(Error::io("write", name));
    Lines { writer, name: name.into(), line: json, finish }
}

/// A row, as JSON lines have it.
#[derive(Serialize)]
struct JsonRow<'a> {
    source: &'a str,
    label: &'a str,
    /// In float64, whose digits are exactly the numbers that the tower gave.
    embedding: Vec<f64>,
}

fn json(source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<String> {
    let row = JsonRow { source, label, embedding: embedding.iter().map(|&x| x.into()).collect() };
    serde_json::to_string(&row)
        .map_err(|e| Error::invalid_because(source, "its embedding cannot be written as JSON", e))
}
