//! What a request brings: a picture as it is, whatever its type is said to be, or a form with a file in it.

use super::http::{MAX_BODY_BYTES, Refusal};
use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};

/// What to send, for refusals.
const WANTED: &str = "send a picture file as it is (curl --data-binary @picture.png), or a form with one file in it \
                      (curl -F file=@picture.png)";
/// The longest text of a form's field, bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// The most fields of a form.
const MAX_FIELDS: usize = 64;

/// A request's body.
pub(super) struct Brought {
    /// The picture file.
    pub picture: Bytes,
    /// The form's field `label`.
    pub label: Option<String>,
    /// The form's field `source`.
    pub source: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for Brought {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if is_form(request.headers()) {
            let form = Multipart::from_request(request, state).await;
            return from_form(form.map_err(|e| Refusal(e.status(), format!("{}; {WANTED}", e.body_text())))?)
                .await;
        }
        let picture = Bytes::from_request(request, state).await?;
        if picture.is_empty() {
            return Err(refused(format!("the body is empty; {WANTED}")));
        }
        Ok(Self { picture, label: None, source: None })
    }
}

/// Whether the body is a form with files.
fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

/// The one file of a form, and its fields `label` and `source`; other fields are passed over.
async fn from_form(mut form: Multipart) -> Result<Brought, Refusal> {
    let (mut picture, mut label, mut source) = (None, None, None);
    let mut fields = 0;
    while let Some(field) = form.next_field().await? {
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(refused(format!("the form has more than {MAX_FIELDS} fields; {WANTED}")));
        }
        let name = field.name().unwrap_or_default().to_string();
        match name.as_str() {
            "label" if field.file_name().is_none() => label = Some(text(field, "label").await?),
            "source" if field.file_name().is_none() => source = Some(text(field, "source").await?),
            // Some clients send a file without a name.
            "file" | "image" | "picture" => add(&mut picture, field).await?,
            _ if field.file_name().is_some() => add(&mut picture, field).await?,
            _ => {}
        }
    }
    let picture = picture.ok_or_else(|| refused(format!("the form has no file; {WANTED}")))?;
    Ok(Brought { picture, label, source })
}

async fn add(picture: &mut Option<Bytes>, field: Field<'_>) -> Result<(), Refusal> {
    if picture.replace(field.bytes().await?).is_some() {
        return Err(refused(format!("the form has several files; a request brings one picture: {WANTED}")));
    }
    Ok(())
}

async fn text(field: Field<'_>, name: &str) -> Result<String, Refusal> {
    let bytes = field.bytes().await?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(refused(format!("the form's field {name} is longer than {} KiB", MAX_TEXT_BYTES >> 10)));
    }
    String::from_utf8(bytes.into())
        .map_err(|_| refused(format!("the form's field {name} is no text in UTF-8")))
}

fn refused(why: String) -> Refusal {
    Refusal(StatusCode::UNPROCESSABLE_ENTITY, why)
}

fn told(status: StatusCode, why: String) -> Refusal {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let why = format!("the body is larger than {} MiB, the most that is taken", MAX_BODY_BYTES >> 20);
            Refusal(status, why)
        }
        // The client went away, or sent half of what it promised.
        _ if status.is_server_error() => Refusal(StatusCode::BAD_REQUEST, why),
        _ => Refusal(status, why),
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        told(rejection.status(), rejection.body_text())
    }
}

impl From<MultipartError> for Refusal {
    fn from(fault: MultipartError) -> Self {
        told(fault.status(), format!("{}; {WANTED}", fault.body_text()))
    }
}
