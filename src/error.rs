//! The one error type of the library.
//!
//! A message says what was wrong, where, and what to do next; the cause stays reachable through
//! [`std::error::Error::source`]. The command line prints the chain once.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What went wrong, with its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}", shown(path))]
    Io {
        /// The verb of the sentence: `read`, `write`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Input from outside (a file, an argument, a recipe, a model) is not what it must be.
    #[error("{}: {why}", one_line(at))]
    Invalid {
        /// The file, argument or field.
        at: String,
        /// What is wrong with it, and what to do.
        why: String,
        /// The decoder's own words, where a library found the fault.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A graph operation was given operands that do not fit it.
    #[error("{op} ({node}): {why}")]
    Graph {
        /// The operator, by its ONNX name.
        op: String,
        /// The node's name, or its place.
        node: String,
        /// What does not fit, with the shapes.
        why: String,
    },
    /// A runtime, a library or a device that the work needs is not there.
    #[error("{what}; {fix}")]
    Missing {
        /// What is missing, and where it was looked for.
        what: String,
        /// What to do.
        fix: String,
        /// Why it could not be used, where it was found.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A runtime failed in the middle of its work.
    #[error("{runtime} failed to {action}")]
    Runtime {
        /// `ONNX Runtime` or `tract`.
        runtime: &'static str,
        /// The verb and its object: `run the training step`.
        action: String,
        /// The runtime's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user asked to stop; what was done is saved.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Text from outside (the name of a file, a class, …) as lines of words show it: line breaks, tabs and what else
/// would steer a terminal stand escaped, as in Rust's strings.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// As [`one_line`], of text that has lines and columns of its own.
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// A path as lines of words show it.
pub fn shown(path: &Path) -> String {
    one_line(&path.display().to_string()).into_owned()
}

fn escaped(text: &str, may: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Line and paragraph separators, and what turns the direction of text about.
    let turns = |c| matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = |c: char| (c.is_control() || turns(c)) && !may(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.into() });
    Cow::Owned(shown.collect())
}

impl Error {
    /// Input that is not what it must be: `at` names the place, `why` the fault and the remedy.
    pub fn invalid(at: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Invalid { at: at.to_string(), why: why.to_string(), source: None }
    }

    /// As [`Error::invalid`], with the error of the library that found the fault.
    pub fn invalid_because(
        at: impl std::fmt::Display,
        why: impl std::fmt::Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Invalid { at: at.to_string(), why: why.to_string(), source: Some(source.into()) }
    }

    /// The same error, told of a file or another place around it.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Invalid { at, why, source } => Self::Invalid { at: format!("{place}: {at}"), why, source },
            Self::Graph { op, node, why } => Self::invalid(format!("{place}: node {node} ({op})"), why),
            other => other,
        }
    }

    /// For `map_err` on file operations: `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A runtime, library or device that is not there.
    pub fn missing(what: impl std::fmt::Display, fix: impl std::fmt::Display) -> Self {
        Self::Missing { what: what.to_string(), fix: fix.to_string(), source: None }
    }

    /// Whether a pipe was written to whose reader has gone, as in `siamese list GALLERY | head -1`.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The process's exit code: 2 bad usage or input, 3 missing runtime or device, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Missing { .. } => 3,
            Self::Interrupted(_) => 130,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stay_on_their_line() {
        for (name, shown) in [
            ("owl/1.png", "owl/1.png"),
            ("a\nb\t.png", "a\\nb\\t.png"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("gnp.\u{202e}exe", "gnp.\\u{202e}exe"),
            ("Eule ü 猫.png", "Eule ü 猫.png"),
        ] {
            assert_eq!(one_line(name), shown);
        }
        let told = Error::invalid("two\nlines.png", "is empty").to_string();
        assert_eq!(told, "two\\nlines.png: is empty");
        let told = Error::io("read", "two\nlines.png")(std::io::Error::other("no")).to_string();
        assert_eq!(told, "cannot read two\\nlines.png");
    }
}
