//! What every request passes through, and what all of them share.

use super::access::Access;
use super::api::{self, MAX_BODY_BYTES};
use super::limits::{Connections, Limits, Place, Room};
use super::log::{self, Log};
use super::metrics::{Levels, Metrics};
use super::recogniser::{Recogniser, RequestError};
use super::refusal::Refusal;
use crate::{Error, page};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// What browsers may load for an answer of this server: nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How a server answers.
#[derive(Clone, Default)]
pub struct Conduct {
    /// Who may do what.
    pub access: Access,
    /// Where requests are told of.
    pub log: Log,
    /// What all clients together may take.
    pub limits: Limits,
}

/// What all requests share.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    recogniser: Arc<Recogniser>,
    conduct: Conduct,
    connections: Connections,
    room: Room,
    metrics: Metrics,
    /// The OpenAPI document, as JSON.
    document: Bytes,
    /// As many pictures at a time as there are cores: more would only take memory.
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Who asks, and over which connection.
#[derive(Clone)]
pub(super) struct Client {
    pub peer: IpAddr,
    pub place: Arc<Place>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| failed("a client was lost on its way"))
    }
}

/// All addresses: the API, and the page.
pub(super) fn routes(shared: Shared) -> Router {
    let page = async || ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page::PAGE);
    let beside = |router: Router<Shared>, &file: &page::File| {
        router.route(&format!("/{}", file.name), get(async move || sent(file)))
    };
    page::FILES
        .iter()
        .fold(api::addresses(), beside)
        .route("/", get(page))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is nothing here; the page is at /".into()))
        .method_not_allowed_fallback(async || {
            Refusal(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method".into())
        })
        // The first that a request meets is the last one here.
        .layer(from_fn_with_state(shared.clone(), whole))
        .layer(from_fn_with_state(shared.clone(), admitted))
        .layer(from_fn_with_state(shared.clone(), observed))
        .with_state(shared)
}

/// A file of the page.
fn sent(page::File { kind, bytes, gzipped, .. }: page::File) -> Response {
    let mut response = ([(header::CONTENT_TYPE, kind)], bytes).into_response();
    if gzipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Counts and tells of a request, and says to browsers what they may do with the answer.
async fn observed(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (since, method) = (Instant::now(), request.method().clone());
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let path = request.uri().path().to_string();
    let peer =
        request.extensions().get::<Client>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.peer);
    let body_bytes = length(request.headers());
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let (status, took) = (response.status(), since.elapsed());
    shared.0.metrics.answered(&method, matched.as_deref().unwrap_or("other"), status, took);
    let (method, path) = (&method, path.as_str());
    shared.0.conduct.log.answered(&log::Told { peer, method, path, status, took, body_bytes });
    response
}

/// Only requests that may come in.
async fn admitted(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match shared.0.conduct.access.admit(request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Reads a request's body whole, in time; from then on its connection is not given to others.
async fn whole(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let limits = *shared.limits();
    let late = |_| {
        let why = format!("the request took longer than {} s", limits.request.as_secs());
        Refusal(StatusCode::REQUEST_TIMEOUT, why).into_response()
    };
    let answered = async {
        let (mut parts, body) = request.into_parts();
        let arrived = match shared.0.room.read(body, MAX_BODY_BYTES, limits.silence).await {
            Ok(arrived) => Arc::new(arrived),
            Err(refusal) => return refusal.into_response(),
        };
        let _working = parts.extensions.get::<Client>().map(|client| client.place.works());
        // The handler's future ends with this one, so that the room is taken until the answer is made.
        parts.extensions.insert(Arc::clone(&arrived));
        next.run(Request::from_parts(parts, Body::empty())).await
    };
    tokio::time::timeout(limits.request, answered).await.unwrap_or_else(late)
}

fn length(headers: &HeaderMap) -> u64 {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    told.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Shared {
    /// # Errors
    /// Where the API's description cannot be written.
    pub fn new(recogniser: Recogniser, mut conduct: Conduct, local: bool) -> crate::Result<Self> {
        conduct.access.local = local;
        let document = api::described().to_json();
        let document = document
            .map_err(|e| Error::invalid_because("the description of the API", "cannot be written", e))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self(Arc::new(Inner {
            recogniser: Arc::new(recogniser),
            connections: Connections::new(conduct.limits.connections),
            room: Room::new(conduct.limits.body_bytes),
            conduct,
            metrics: Metrics::new(),
            document: document.into(),
            seats: Arc::new(Semaphore::new(cores)),
            waiting: AtomicUsize::new(0),
        })))
    }

    pub fn limits(&self) -> &Limits {
        &self.0.conduct.limits
    }

    pub fn recogniser(&self) -> &Arc<Recogniser> {
        &self.0.recogniser
    }

    pub fn connections(&self) -> &Connections {
        &self.0.connections
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn document(&self) -> Bytes {
        self.0.document.clone()
    }

    /// The figures, beside the size of the gallery.
    pub fn figures(&self, (classes, examples): (usize, u64)) -> Result<String, Refusal> {
        let levels = Levels {
            connections: self.0.connections.len(),
            body_bytes: self.0.room.taken(),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            classes,
            examples,
        };
        self.0.metrics.text(levels).map_err(|e| failed(&e.to_string()))
    }

    /// Does the work on a thread of its own, when there is a seat.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Recogniser) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let waits = Waits::begin(self)?;
        let seat = Arc::clone(&self.0.seats).acquire_owned().await.map_err(|e| failed(&e.to_string()))?;
        drop(waits);
        self.at_once(move |recogniser| {
            let _seat = seat;
            work(recogniser)
        })
        .await
    }

    /// Does what takes next to nothing on a thread of its own, however busy the server is.
    pub async fn at_once<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Recogniser) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let recogniser = Arc::clone(&self.0.recogniser);
        let done = spawn_blocking(move || work(&recogniser)).await;
        Ok(done.map_err(|e| failed(&e.to_string()))??)
    }

    /// That this client may change the gallery.
    pub fn may_change(&self, client: &Client, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.0.recogniser.editable() {
            let why = "this server only answers; start it with --edit to enrol and remove";
            return Err(Refusal(StatusCode::FORBIDDEN, why.into()));
        }
        self.0.conduct.access.may_change(client.peer, headers)
    }

    /// That this client may see pictures that the gallery keeps.
    pub fn may_see(&self, client: &Client, headers: &HeaderMap) -> Result<(), Refusal> {
        self.0.conduct.access.may_see(client.peer, headers)
    }
}

/// A request that waits for a seat.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(shared: &'a Shared) -> Result<Self, Refusal> {
        let waits = Self(&shared.0.waiting);
        if waits.0.fetch_add(1, Ordering::Relaxed) >= shared.limits().waiting {
            return Err(Refusal::busy("many requests wait already"));
        }
        Ok(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn failed(why: &str) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, why.into())
}
