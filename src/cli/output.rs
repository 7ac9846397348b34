//! What verbs tell: results through the one writer to stdout, everything else on stderr.
//!
//! That a result cannot be written is an error of the verb; that nobody reads on (`| head`) ends the program
//! quietly (see [`Error::is_closed_pipe`]).

use super::Context;
use crate::error::plain;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

/// What stdout is called in errors.
pub const STDOUT: &str = "standard output";

/// The one writer to stdout: locked, buffered, to be flushed.
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Tells a result: as JSON where that was asked for, else in words.
pub fn show<T: Serialize>(context: &Context, result: &T, words: impl FnOnce(&T) -> String) -> Result<()> {
    if context.json { print_json(result) } else { print(&words(result)) }
}

/// Prints text.
pub fn print(text: &str) -> Result<()> {
    write(|out| out.write_all(plain(text).as_bytes()))
}

/// Prints a result as JSON.
pub fn print_json(result: &impl Serialize) -> Result<()> {
    write(|out| {
        serde_json::to_writer_pretty(&mut *out, result)?;
        out.write_all(b"\n")
    })
}

fn write(content: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<()>) -> Result<()> {
    let mut out = stdout();
    content(&mut out).and_then(|()| out.flush()).map_err(Error::io("write", STDOUT))
}

/// A result as JSON on one line.
pub fn json_line(result: &impl Serialize) -> Result<String> {
    serde_json::to_string(result)
        .map_err(|e| Error::invalid_because("the result", "cannot be written as JSON", e))
}

/// Tells something beside the results. That nobody reads it is no fault.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(&text.to_string()));
}

/// Tells of an error with its causes, and goes on.
pub fn warn(error: Error) {
    note(format_args!("siamese: {:#}", anyhow::Error::from(error)));
}
