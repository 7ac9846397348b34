//! Figures for operators, in the OpenMetrics text format that Prometheus reads.

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The media type of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper ends of the buckets of request times, seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0];

/// What is counted.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    seconds: Family<Place, Histogram>,
    answers: Family<Answered, Counter>,
    connections: Gauge,
    body_bytes: Gauge,
    waiting: Gauge,
    classes: Gauge,
    examples: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: String,
    path: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Place {
    path: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    known: &'static str,
}

/// What is as it is now, rather than counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    pub connections: usize,
    pub body_bytes: usize,
    pub waiting: usize,
    pub classes: usize,
    pub examples: u64,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("siamese");
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let (requests, answers) = (Family::default(), Family::default());
        registry.register("requests", "Requests by method, address and status", requests.clone());
        let help = "Time from a request's head to its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, seconds.clone());
        registry.register("answers", "Pictures that were recognised, or unknown", answers.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let connections = gauge("connections", "Connections that are open");
        let body_bytes = gauge("body_bytes", "Bytes of request bodies in memory");
        let waiting = gauge("waiting_requests", "Requests that have arrived and wait for a core");
        let classes = gauge("gallery_classes", "Classes that the gallery holds");
        let examples = gauge("gallery_examples", "Examples that the gallery holds");
        let registry = Mutex::new(registry);
        Self { registry, requests, seconds, answers, connections, body_bytes, waiting, classes, examples }
    }

    /// A request was answered. `path` is one of the server's own addresses, so that there are few.
    pub fn answered(&self, method: &Method, path: &str, status: StatusCode, took: Duration) {
        let request = Request {
            // Clients may make up methods.
            method: if known(method) { method.to_string() } else { "other".into() },
            path: path.into(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&request).inc();
        self.seconds.get_or_create(&Place { path: path.into() }).observe(took.as_secs_f64());
    }

    /// A picture was recognised, or was unknown.
    pub fn recognised(&self, is_known: bool) {
        let known = if is_known { "true" } else { "false" };
        self.answers.get_or_create(&Answered { known }).inc();
    }

    /// Everything, as text.
    pub fn text(&self, levels: Levels) -> Result<String, std::fmt::Error> {
        self.connections.set(levels.connections as i64);
        self.body_bytes.set(levels.body_bytes as i64);
        self.waiting.set(levels.waiting as i64);
        self.classes.set(levels.classes as i64);
        self.examples.set(levels.examples as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

fn known(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH]
        .contains(method)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn figures_are_told_as_prometheus_reads_them() {
        let metrics = Metrics::new();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY] {
            metrics.answered(&Method::POST, "/api/classify", status, Duration::from_millis(3));
        }
        metrics.answered(&Method::from_bytes(b"MADE-UP").unwrap(), "other", StatusCode::OK, Duration::ZERO);
        metrics.recognised(true);
        metrics.recognised(false);
        let levels = Levels { connections: 2, classes: 3, examples: 7, ..Levels::default() };
        let text = metrics.text(levels).unwrap();
        for line in [
            "siamese_requests_total{method=\"POST\",path=\"/api/classify\",status=\"200\"} 2",
            "siamese_requests_total{method=\"POST\",path=\"/api/classify\",status=\"422\"} 1",
            "siamese_requests_total{method=\"other\",path=\"other\",status=\"200\"} 1",
            "siamese_request_duration_seconds_bucket{le=\"0.005\",path=\"/api/classify\"} 3",
            "siamese_request_duration_seconds_count{path=\"/api/classify\"} 3",
            "siamese_answers_total{known=\"false\"} 1",
            "siamese_gallery_examples 7",
            "siamese_connections 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
