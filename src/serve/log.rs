//! The log of requests: one line of JSON each, without pictures, labels and tokens.

use crate::{Error, Result};
use axum::http::{Method, StatusCode};
use std::fs::OpenOptions;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, info};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Where requests are told of.
#[derive(Clone)]
pub struct Log(Dispatch);

impl Default for Log {
    /// Nowhere.
    fn default() -> Self {
        Self(Dispatch::new(NoSubscriber::default()))
    }
}

impl Log {
    /// At the end of a file; `-` is stderr.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn to(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::through(BoxMakeWriter::new(std::io::stderr)));
        }
        let file =
            OpenOptions::new().append(true).create(true).open(path).map_err(Error::io("write", path))?;
        Ok(Self::through(BoxMakeWriter::new(Mutex::new(file))))
    }

    fn through(writer: BoxMakeWriter) -> Self {
        let lines = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_level(false)
            // A full disk must not end the server.
            .log_internal_errors(false)
            .with_writer(writer);
        Self(Dispatch::new(lines.finish()))
    }

    /// A request was answered; `path` is without what follows a question mark.
    pub(super) fn answered(&self, request: &Told<'_>) {
        let Told { peer, method, path, status, took, body_bytes } = request;
        let (status, milliseconds) = (status.as_u16(), took.as_micros() as f64 / 1e3);
        tracing::dispatcher::with_default(&self.0, || {
            info!(%peer, %method, %path, status, milliseconds, body_bytes);
        });
    }
}

/// What is told of a request.
pub(super) struct Told<'a> {
    pub peer: IpAddr,
    pub method: &'a Method,
    pub path: &'a str,
    pub status: StatusCode,
    pub took: Duration,
    pub body_bytes: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_is_a_line_of_json_at_the_end_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let told = Told {
            peer: "127.0.0.1".parse().unwrap(),
            method: &Method::POST,
            path: "/api/a\"\nb",
            status: StatusCode::OK,
            took: Duration::from_micros(1500),
            body_bytes: 42,
        };
        for _ in 0..2 {
            Log::to(&path).unwrap().answered(&told);
        }
        Log::default().answered(&told);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert_eq!((&line["path"], &line["status"]), (&"/api/a\"\nb".into(), &200.into()));
            assert_eq!((&line["peer"], &line["milliseconds"]), (&"127.0.0.1".into(), &1.5.into()));
            assert!(line["timestamp"].is_string() && line["body_bytes"] == 42, "{line}");
        }
        assert!(Log::to(dir.path()).is_err());
    }
}
