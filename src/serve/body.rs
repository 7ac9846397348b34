//! What a request brings: pictures as they are, whatever their type is said to be.

use super::limits::Arrived;
use super::refusal::Refusal;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use base64::Engine as _;
use serde::Deserialize;
use utoipa::ToSchema;

/// The most pictures of a request.
pub const MAX_PICTURES: usize = 256;
/// What to send, for refusals.
const WANTED: &str = "send a picture file as it is (curl --data-binary @picture.png), or a form with files in it \
                      (curl -F file=@picture.png)";
/// The longest text of a form's field, bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// The most fields of a form.
const MAX_FIELDS: usize = MAX_PICTURES + 64;

/// A request's body, read.
#[derive(Default)]
pub(super) struct Brought {
    /// The picture files.
    pub pictures: Vec<Picture>,
    /// The form's field `label`.
    pub label: Option<String>,
    /// The form's field `source`.
    pub source: Option<String>,
}

/// One picture file.
pub(super) struct Picture {
    /// What the client calls it.
    pub name: Option<String>,
    /// The file.
    pub bytes: Bytes,
}

/// A form with a picture, as the description of the API shows it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; read field by field")]
pub(super) struct PictureForm {
    /// A picture file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Its class, to enrol it.
    label: Option<String>,
    /// Where it comes from, to enrol it.
    source: Option<String>,
}

/// A form with several pictures.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; read field by field")]
pub(super) struct PicturesForm {
    /// Picture files.
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
}

/// Several pictures as JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pictures {
    #[schema(min_items = 1, max_items = 256)]
    pictures: Vec<Encoded>,
}

/// A picture in JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Encoded {
    /// What its answer shall be called.
    name: Option<String>,
    /// The file, in base64.
    data: String,
}

impl Brought {
    /// Of a body that has arrived.
    pub async fn of(headers: &HeaderMap, body: &Arrived) -> Result<Self, Refusal> {
        let bytes = body.bytes.clone();
        match kind(headers).as_str() {
            kind if kind.starts_with("multipart/form-data") => from_form(headers, bytes).await,
            kind if kind == "application/json" || kind.starts_with("application/json;") => from_json(&bytes),
            _ if bytes.is_empty() => Err(refused(format!("the body is empty; {WANTED}"))),
            _ => Ok(Self { pictures: vec![Picture { name: None, bytes }], ..Self::default() }),
        }
    }

    /// The one picture, where there may be only one.
    pub fn one(&self) -> Result<Bytes, Refusal> {
        match self.pictures.as_slice() {
            [picture] => Ok(picture.bytes.clone()),
            _ => Err(refused(format!("there are several pictures; this takes one: {WANTED}"))),
        }
    }

    /// The two pictures, where there must be two.
    pub fn two(&self) -> Result<[Bytes; 2], Refusal> {
        match self.pictures.as_slice() {
            [a, b] => Ok([a.bytes.clone(), b.bytes.clone()]),
            few_or_many => Err(refused(format!(
                "this compares two pictures, and got {}: send a form with two files \
                 (curl -F file=@a.png -F file=@b.png)",
                few_or_many.len()
            ))),
        }
    }
}

fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn from_json(bytes: &[u8]) -> Result<Brought, Refusal> {
    let wanted = r#"send {"pictures": [{"name": "a", "data": "BASE64"}]}"#;
    let Pictures { pictures } = serde_json::from_slice(bytes)
        .map_err(|e| Refusal(StatusCode::BAD_REQUEST, format!("the body's JSON: {e}; {wanted}")))?;
    let decoded = |(i, Encoded { name, data }): (usize, Encoded)| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&data);
        let bytes = bytes.map_err(|e| refused(format!("picture {i} of the body is not in base64: {e}")))?;
        Ok(Picture { name, bytes: bytes.into() })
    };
    counted(pictures.into_iter().enumerate().map(decoded).collect::<Result<_, Refusal>>()?)
}

/// The files of a form, and its fields `label` and `source`; other fields are passed over.
async fn from_form(headers: &HeaderMap, bytes: Bytes) -> Result<Brought, Refusal> {
    let mut form = parsed(headers, bytes).await?;
    let (mut brought, mut fields) = (Brought::default(), 0);
    while let Some(field) = form.next_field().await? {
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(refused(format!("the form has more than {MAX_FIELDS} fields; {WANTED}")));
        }
        let name = field.name().unwrap_or_default().to_string();
        match name.as_str() {
            "label" if field.file_name().is_none() => text(&mut brought.label, field, "label").await?,
            "source" if field.file_name().is_none() => text(&mut brought.source, field, "source").await?,
            // Some clients send a file without a name.
            "file" | "image" | "picture" => brought.pictures.push(picture(field).await?),
            _ if field.file_name().is_some() => brought.pictures.push(picture(field).await?),
            _ => {}
        }
    }
    let Brought { pictures, label, source } = brought;
    if pictures.is_empty() {
        return Err(refused(format!("the form has no file; {WANTED}")));
    }
    Ok(Brought { label, source, ..counted(pictures)? })
}

async fn parsed(headers: &HeaderMap, bytes: Bytes) -> Result<Multipart, Refusal> {
    let mut request = Request::new(Body::from(bytes));
    let kind = headers.get(header::CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static(""));
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    let form = Multipart::from_request(request, &()).await;
    form.map_err(|e| Refusal(e.status(), format!("{}; {WANTED}", e.body_text())))
}

fn counted(pictures: Vec<Picture>) -> Result<Brought, Refusal> {
    match pictures.len() {
        0 => Err(refused(format!("there is no picture; {WANTED}"))),
        1..=MAX_PICTURES => Ok(Brought { pictures, ..Brought::default() }),
        many => Err(refused(format!("there are {many} pictures; a request brings at most {MAX_PICTURES}"))),
    }
}

async fn picture(field: Field<'_>) -> Result<Picture, Refusal> {
    let name = field.file_name().map(String::from);
    Ok(Picture { name, bytes: field.bytes().await? })
}

/// Keeps a field's text where there is none yet.
async fn text(kept: &mut Option<String>, field: Field<'_>, name: &str) -> Result<(), Refusal> {
    let bytes = field.bytes().await?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(refused(format!("the form's field {name} is longer than {} KiB", MAX_TEXT_BYTES >> 10)));
    }
    let text = String::from_utf8(bytes.into())
        .map_err(|_| refused(format!("the form's field {name} is no text in UTF-8")))?;
    if kept.replace(text).is_some() {
        return Err(refused(format!("the form has the field {name} more than once")));
    }
    Ok(())
}

fn refused(why: String) -> Refusal {
    Refusal(StatusCode::UNPROCESSABLE_ENTITY, why)
}

impl From<MultipartError> for Refusal {
    fn from(fault: MultipartError) -> Self {
        let status = fault.status();
        // A form that breaks off is the client's fault.
        let status = if status.is_server_error() { StatusCode::BAD_REQUEST } else { status };
        Self(status, format!("{}; {WANTED}", fault.body_text()))
    }
}
