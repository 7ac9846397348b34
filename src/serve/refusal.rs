//! What is refused, and why: a status, and JSON that tells.

use super::recogniser::RequestError;
use crate::Error;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use utoipa::openapi::{Content, RefOr, ResponseBuilder};
use utoipa::{PartialSchema as _, ToSchema};

/// Seconds after which a client that met a busy server may ask again.
const AGAIN_S: u16 = 1;

/// A status, and why.
#[derive(Debug)]
pub(super) struct Refusal(pub StatusCode, pub String);

/// The body of every refusal.
#[derive(Serialize, ToSchema)]
pub(super) struct Fault {
    /// What, where, and what to do.
    pub error: String,
}

/// Every refusal that an address of the API can answer with, for its description.
const KINDS: &[(StatusCode, &str)] = &[
    (StatusCode::BAD_REQUEST, "The request is not as described here."),
    (StatusCode::UNAUTHORIZED, "The server asks for a bearer token, and this is not it."),
    (StatusCode::FORBIDDEN, "This server, or this client, may not do that."),
    (StatusCode::NOT_FOUND, "What is named is not there."),
    (StatusCode::REQUEST_TIMEOUT, "The request arrived too slowly, or took too long."),
    (StatusCode::CONFLICT, "The gallery cannot answer as it is."),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
    (StatusCode::UNPROCESSABLE_ENTITY, "What the request brings cannot be used: it is no picture, say."),
    (StatusCode::INTERNAL_SERVER_ERROR, "The server failed; its stderr tells why."),
    (StatusCode::SERVICE_UNAVAILABLE, "The server is busy; ask again."),
];

impl Refusal {
    /// That there is more to do than the server takes on.
    pub fn busy(why: &str) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, format!("the server is busy: {why}; ask again"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(Fault { error: self.1 })).into_response();
        match self.0 {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, AGAIN_S.into());
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl utoipa::IntoResponses for Refusal {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let described = |&(status, why): &(StatusCode, &str)| {
            let content = Content::new(Some(Fault::schema()));
            let response = ResponseBuilder::new().description(why).content("application/json", content);
            (status.as_str().to_string(), RefOr::T(response.build()))
        };
        KINDS.iter().map(described).collect()
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
            // The database of the gallery: it may come back.
            RequestError::Own(Error::Missing { .. }) => StatusCode::SERVICE_UNAVAILABLE,
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
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Self::busy("it cannot reach its gallery");
        }
        Self(status, "the server failed; what it wrote to stderr tells why".into())
    }
}
