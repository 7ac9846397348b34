//! Routes, limits, and errors as JSON.

use super::body::Brought;
use super::guard;
use super::recogniser::{Recogniser, RequestError};
use crate::tower::sha256;
use crate::{Error, Result};
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use serde::Deserialize;
use serde_json::json;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// The largest picture that a request may bring, bytes.
pub const MAX_BODY_BYTES: usize = 32 << 20;
/// How long a request may take, its arrival included.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most classes that an answer tells.
const MAX_TOP: usize = 1000;

/// A server that listens.
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    recogniser: Arc<Recogniser>,
    stop: Stop,
}

/// Stops a server from elsewhere.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// No further request is taken; those under way are answered.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Begins to listen; requests wait until [`Server::run`].
    ///
    /// # Errors
    /// Where the address is taken, or not this machine's.
    pub fn bind(address: SocketAddr, recogniser: Recogniser) -> Result<Self> {
        let listen = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(|e: std::io::Error| {
            let why = "cannot be listened to; give --listen another address or port (0 takes any free one)";
            Error::invalid_because(address, why, e)
        })?;
        Ok(Self { listener, address, recogniser: Arc::new(recogniser), stop: Stop::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Answers until it is stopped.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn run(self) -> Result<()> {
        let failed =
            |e| Error::Runtime { runtime: "the server", action: "listen".into(), source: Box::new(e) };
        // One thread moves bytes; pictures are recognised on others.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let routes = routes(self.recogniser, self.address.ip().is_loopback());
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener).map_err(failed)?;
            // Answers are small: none waits for more to be sent with it.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            let stopped = async move { self.stop.0.notified().await };
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await.map_err(failed)
        })
    }
}

#[derive(Clone)]
struct Shared {
    recogniser: Arc<Recogniser>,
    /// As many pictures at a time as there are cores: more would only take memory.
    seats: Arc<Semaphore>,
}

fn routes(recogniser: Arc<Recogniser>, local: bool) -> Router {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Shared { recogniser, seats: Arc::new(Semaphore::new(cores)) };
    let page = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", page("text/html; charset=utf-8", include_str!("page.html")))
        .route("/page.js", page("text/javascript; charset=utf-8", include_str!("page.js")))
        .route(
            "/page.css",
            page(
                "text/css; charset=utf-8",
                concat!(include_str!("../report/page.css"), include_str!("page.css")),
            ),
        )
        .route("/api/gallery", get(gallery))
        .route("/api/classify", post(classify))
        .route("/api/embed", post(embed))
        .route("/api/examples", post(enroll).delete(remove))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is nothing here; the page is at /".into()))
        .method_not_allowed_fallback(async || {
            Refusal(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method".into())
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(local, guarded))
        .with_state(shared)
}

/// Only requests that may come in; every answer tells browsers to load nothing from elsewhere.
async fn guarded(State(local): State<bool>, request: Request, next: Next) -> Response {
    let mut response = match guard::admit(request.headers(), local) {
        Ok(()) => next.run(request).await,
        Err(why) => Refusal(StatusCode::FORBIDDEN, why.into()).into_response(),
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

async fn in_time(request: Request, next: Next) -> Response {
    let late = |_| {
        let why = format!("the request took longer than {} s", PATIENCE.as_secs());
        Refusal(StatusCode::REQUEST_TIMEOUT, why).into_response()
    };
    tokio::time::timeout(PATIENCE, next.run(request)).await.unwrap_or_else(late)
}

/// A status, and why.
pub(super) struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<RequestError> for Refusal {
    fn from(fault: RequestError) -> Self {
        let status = match fault {
            RequestError::Request(_) => StatusCode::UNPROCESSABLE_ENTITY,
            RequestError::Absent(_) => StatusCode::NOT_FOUND,
            RequestError::NotYet(_) => StatusCode::CONFLICT,
            RequestError::Own(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let why = format!("{:#}", anyhow::Error::from(Error::from(fault)));
        if !status.is_server_error() {
            return Self(status, why);
        }
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "siamese: {why}");
        Self(status, "the server failed; what it wrote to stderr tells why".into())
    }
}

type Reply<T> = std::result::Result<Json<T>, Refusal>;

impl Shared {
    /// Does the work on a thread of its own, when there is a seat.
    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(&Recogniser) -> Result<T, RequestError> + Send + 'static,
    ) -> std::result::Result<T, Refusal> {
        let failed = |why: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why);
        let seat = self.seats.acquire_owned().await.map_err(|e| failed(e.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let _seat = seat;
            work(&self.recogniser)
        });
        Ok(done.await.map_err(|e| failed(e.to_string()))??)
    }

    fn editable(&self) -> std::result::Result<(), Refusal> {
        if self.recogniser.editable() {
            return Ok(());
        }
        let why = "this server only answers; start it with --edit to enrol and remove";
        Err(Refusal(StatusCode::FORBIDDEN, why.into()))
    }
}

async fn gallery(State(shared): State<Shared>) -> Reply<impl serde::Serialize> {
    shared.work(|recogniser| Ok(recogniser.told()?)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifyQuery {
    #[serde(default = "five")]
    top: usize,
    #[serde(default)]
    ink: bool,
}

fn five() -> usize {
    5
}

async fn classify(
    State(shared): State<Shared>,
    asked: std::result::Result<Query<ClassifyQuery>, QueryRejection>,
    brought: std::result::Result<Brought, Refusal>,
) -> Reply<impl serde::Serialize> {
    let (Query(ClassifyQuery { top, ink }), Brought { picture, .. }) = (asked?, brought?);
    if !(1..=MAX_TOP).contains(&top) {
        let why = format!("top is {top}; it must be 1 to {MAX_TOP}");
        return Err(Refusal(StatusCode::BAD_REQUEST, why));
    }
    shared.work(move |recogniser| recogniser.classify(&picture, top, ink)).await.map(Json)
}

async fn embed(
    State(shared): State<Shared>,
    brought: std::result::Result<Brought, Refusal>,
) -> Reply<impl serde::Serialize> {
    let Brought { picture, .. } = brought?;
    let embedding = shared.work(move |recogniser| recogniser.embed(&picture)).await?;
    Ok(Json(json!({ "embedding": embedding })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuery {
    label: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExampleQuery {
    label: String,
    source: Option<String>,
}

async fn enroll(
    State(shared): State<Shared>,
    named: std::result::Result<Query<NewQuery>, QueryRejection>,
    brought: std::result::Result<Brought, Refusal>,
) -> Reply<impl serde::Serialize> {
    shared.editable()?;
    let (Query(named), Brought { picture, label, source }) = (named?, brought?);
    let source = named.source.or(source);
    let Some(label) = named.label.or(label) else {
        let why = "which class is it? Give ?label=… in the address, or a field `label` in the form";
        return Err(Refusal(StatusCode::BAD_REQUEST, why.into()));
    };
    // The same picture again is then the same example.
    let source = source.unwrap_or_else(|| format!("sha256:{}", sha256(&picture)));
    shared.work(move |recogniser| recogniser.enroll(&picture, label, source)).await.map(Json)
}

async fn remove(
    State(shared): State<Shared>,
    named: std::result::Result<Query<ExampleQuery>, QueryRejection>,
) -> Reply<impl serde::Serialize> {
    shared.editable()?;
    let Query(ExampleQuery { label, source }) = named?;
    let removed = shared.work(move |recogniser| recogniser.remove(label, source.as_deref())).await?;
    Ok(Json(json!({ "removed": removed })))
}
