//! The addresses of the API, with their descriptions: each function is one, and the OpenAPI document is made of them.
#![allow(unused_qualifications, reason = "the macros' own")]

use super::answers::{Batch, Compared, Examples, Outcome, Recognised, Told};
use super::body::{Brought, PictureForm, Pictures, PicturesForm};
use super::limits::Arrived;
use super::metrics;
use super::queries::{
    Asking, BatchQuery, ClassifyQuery, ExampleQuery, NewQuery, ShownQuery, VerifyQuery, bad,
};
use super::refusal::{Fault, Refusal};
use super::shared::{Client, Shared};
use crate::gallery::Enrolled;
use crate::tower::sha256;
use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Serialize;
use std::sync::Arc;
use utoipa::openapi::OpenApi as Document;
use utoipa::{OpenApi, ToSchema};

/// The largest body that a request may bring, bytes.
pub const MAX_BODY_BYTES: usize = 32 << 20;

#[derive(OpenApi)]
#[openapi(
    info(title = "siamese", description = "Recognises pictures by a gallery of known examples."),
    paths(
        health,
        figures,
        document,
        gallery,
        gallery_file,
        tower_file,
        classify,
        classify_batch,
        verify,
        embed,
        examples,
        enroll,
        remove
    ),
    components(schemas(Fault))
)]
struct Described;

type Reply<T> = Result<Json<T>, Refusal>;

/// What describes the API.
pub(super) fn described() -> Document {
    Described::openapi()
}

/// The API; a test holds it to its description.
pub(super) fn addresses() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(figures))
        .route("/api/openapi.json", get(document))
        .route("/api/gallery", get(gallery))
        .route("/api/gallery/file", get(gallery_file))
        .route("/api/tower", get(tower_file))
        .route("/api/classify", post(classify))
        .route("/api/classify/batch", post(classify_batch))
        .route("/api/verify", post(verify))
        .route("/api/embed", post(embed))
        .route("/api/examples", get(examples).post(enroll).delete(remove))
}

/// What `/healthz` answers.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`: an answer of any other kind has another status.
    status: &'static str,
}

/// Whether the server can answer: its gallery can be read.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health), Refusal))]
async fn health(State(shared): State<Shared>) -> Reply<Health> {
    shared.at_once(|recogniser| Ok(recogniser.size()?)).await?;
    Ok(Json(Health { status: "ok" }))
}

/// Requests, times, answers and levels, as OpenMetrics text.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), Refusal)
)]
async fn figures(State(shared): State<Shared>) -> Result<Response, Refusal> {
    let size = shared.at_once(|recogniser| Ok(recogniser.size()?)).await?;
    let text = shared.figures(size)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// This description.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    responses((status = 200, body = serde_json::Value, content_type = "application/json"), Refusal)
)]
async fn document(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], shared.document()).into_response()
}

/// What the gallery holds, its tower, and the threshold.
#[utoipa::path(get, path = "/api/gallery", responses((status = 200, body = Told), Refusal))]
async fn gallery(State(shared): State<Shared>) -> Reply<Told> {
    shared.work(|recogniser| Ok(recogniser.told()?)).await.map(Json)
}

/// The gallery's labels, embeddings and threshold as a safetensors file, for a client that recognises by itself.
#[utoipa::path(
    get,
    path = "/api/gallery/file",
    responses((status = 200, content(("application/octet-stream"))), Refusal)
)]
async fn gallery_file(State(shared): State<Shared>) -> Result<Response, Refusal> {
    shared.work(|recogniser| recogniser.gallery_file()).await.map(bytes)
}

/// The tower's ONNX file, for a client that recognises by itself.
#[utoipa::path(
    get,
    path = "/api/tower",
    responses((status = 200, content(("application/octet-stream"))), Refusal)
)]
async fn tower_file(State(shared): State<Shared>) -> Result<Response, Refusal> {
    shared.work(|recogniser| recogniser.tower_file()).await.map(bytes)
}

fn bytes(file: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], file).into_response()
}

/// Which class a picture is of, with the nearest ones.
#[utoipa::path(
    post,
    path = "/api/classify",
    params(ClassifyQuery),
    request_body(content(
        (PictureForm = "multipart/form-data"),
        ("image/png"),
        ("image/jpeg"),
        ("application/octet-stream"),
    )),
    responses((status = 200, body = Recognised), Refusal)
)]
async fn classify(
    State(shared): State<Shared>,
    Asking(query): Asking<ClassifyQuery>,
    whole: Whole,
) -> Reply<Recognised> {
    let (asked, brought) = (query.asked()?, whole.brings().await?);
    let picture = brought.one()?;
    let found = shared.work(move |recogniser| recogniser.classify(&picture, asked)).await?;
    shared.metrics().recognised(found.answered.answer.label.is_some());
    Ok(Json(found))
}

/// Which classes several pictures are of, up to 256 of them; one that cannot be used is told of, the others are answered.
#[utoipa::path(
    post,
    path = "/api/classify/batch",
    params(BatchQuery),
    request_body(content((PicturesForm = "multipart/form-data"), (Pictures = "application/json"))),
    responses((status = 200, body = Batch), Refusal)
)]
async fn classify_batch(
    State(shared): State<Shared>,
    Asking(BatchQuery { top, threshold, second_look }): Asking<BatchQuery>,
    whole: Whole,
) -> Reply<Batch> {
    let asked = ClassifyQuery { top, ink: false, threshold, second_look }.asked()?;
    let pictures = whole.brings().await?.pictures;
    let pictures = pictures.into_iter().map(|picture| (picture.name, picture.bytes)).collect();
    let found = shared.work(move |recogniser| recogniser.classify_all(pictures, asked)).await?;
    for named in &found.answers {
        if let Outcome::Answer(answered) = &named.outcome {
            shared.metrics().recognised(answered.answer.label.is_some());
        }
    }
    Ok(Json(found))
}

/// Whether two pictures show the same.
#[utoipa::path(
    post,
    path = "/api/verify",
    params(VerifyQuery),
    request_body(content((PicturesForm = "multipart/form-data"), (Pictures = "application/json"))),
    responses((status = 200, body = Compared), Refusal)
)]
async fn verify(
    State(shared): State<Shared>,
    Asking(VerifyQuery { threshold }): Asking<VerifyQuery>,
    whole: Whole,
) -> Reply<Compared> {
    if threshold.is_some_and(|threshold| !threshold.is_finite()) {
        return Err(bad("threshold: give a distance".into()));
    }
    let [a, b] = whole.brings().await?.two()?;
    shared.work(move |recogniser| recogniser.verify([&a, &b], threshold)).await.map(Json)
}

/// A picture's embedding.
#[derive(Serialize, ToSchema)]
struct Embedded {
    /// `[D]`.
    embedding: Vec<f32>,
}

/// The embedding of a picture.
#[utoipa::path(
    post,
    path = "/api/embed",
    request_body(content(
        (PictureForm = "multipart/form-data"),
        ("image/png"),
        ("image/jpeg"),
        ("application/octet-stream"),
    )),
    responses((status = 200, body = Embedded), Refusal)
)]
async fn embed(State(shared): State<Shared>, whole: Whole) -> Reply<Embedded> {
    let picture = whole.brings().await?.one()?;
    let embedding = shared.work(move |recogniser| recogniser.embed(&picture)).await?;
    Ok(Json(Embedded { embedding }))
}

/// The first examples of a class, with their pictures, made small, where the gallery keeps them. Without a token only
/// this machine is shown pictures.
#[utoipa::path(
    get,
    path = "/api/examples",
    params(ShownQuery),
    responses((status = 200, body = Examples), Refusal)
)]
async fn examples(
    State(shared): State<Shared>,
    client: Client,
    Asking(query): Asking<ShownQuery>,
    whole: Whole,
) -> Reply<Examples> {
    shared.may_see(&client, &whole.headers)?;
    let (label, most) = query.asked()?;
    shared.work(move |recogniser| recogniser.examples(label, most)).await.map(Json)
}

/// Enrols a picture.
#[utoipa::path(
    post,
    path = "/api/examples",
    params(NewQuery),
    request_body(content(
        (PictureForm = "multipart/form-data"),
        ("image/png"),
        ("image/jpeg"),
        ("application/octet-stream"),
    )),
    responses((status = 200, body = Enrolled), Refusal)
)]
async fn enroll(
    State(shared): State<Shared>,
    client: Client,
    Asking(named): Asking<NewQuery>,
    whole: Whole,
) -> Reply<Enrolled> {
    shared.may_change(&client, &whole.headers)?;
    let brought = whole.brings().await?;
    let picture = brought.one()?;
    let Some(label) = named.label.or(brought.label) else {
        let why = "which class is it? Give ?label=… in the address, or a field `label` in the form";
        return Err(bad(why.into()));
    };
    // The same picture again is then the same example.
    let by_itself = || format!("sha256:{}", sha256(&picture));
    let source = named.source.or(brought.source).unwrap_or_else(by_itself);
    shared.work(move |recogniser| recogniser.enroll(&picture, label, source)).await.map(Json)
}

/// What was removed.
#[derive(Serialize, ToSchema)]
struct Removed {
    /// Examples.
    removed: u64,
}

/// Removes a class, or its examples from one source.
#[utoipa::path(
    delete,
    path = "/api/examples",
    params(ExampleQuery),
    responses((status = 200, body = Removed), Refusal)
)]
async fn remove(
    State(shared): State<Shared>,
    client: Client,
    Asking(ExampleQuery { label, source }): Asking<ExampleQuery>,
    whole: Whole,
) -> Reply<Removed> {
    shared.may_change(&client, &whole.headers)?;
    let removed = shared.work(move |recogniser| recogniser.remove(label, source.as_deref())).await?;
    Ok(Json(Removed { removed }))
}

/// A request whose body has arrived.
struct Whole {
    headers: HeaderMap,
    body: Arc<Arrived>,
}

impl<S: Send + Sync> FromRequestParts<S> for Whole {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let lost = || Refusal(StatusCode::INTERNAL_SERVER_ERROR, "a body was lost on its way".into());
        let body = parts.extensions.get::<Arc<Arrived>>().cloned().ok_or_else(lost)?;
        Ok(Self { headers: parts.headers.clone(), body })
    }
}

impl Whole {
    async fn brings(&self) -> Result<Brought, Refusal> {
        Brought::of(&self.headers, &self.body).await
    }
}
