//! `siamese serve`: an HTTP server that recognises pictures by a gallery, and a page to draw on.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /healthz` | whether it can answer |
//! | `GET /metrics` | requests, times, answers and levels, as Prometheus reads them |
//! | `GET /api/openapi.json` | what follows, described |
//! | `GET /api/gallery` | what the gallery holds, its tower, the threshold |
//! | `GET /api/gallery/file`, `GET /api/tower` | gallery and tower, for a page that recognises in the browser |
//! | `POST /api/classify?top=5&ink=false&threshold=auto&second_look=true` | the nearest classes of the picture in the body |
//! | `POST /api/classify/batch?top=5&threshold=auto&second_look=true` | those of several pictures |
//! | `POST /api/verify?threshold=T` | whether two pictures show the same |
//! | `POST /api/embed` | a picture's embedding `[D]` |
//! | `GET /api/examples?label=L&most=12` | the first examples of a class, with small pictures where they are kept |
//! | `POST /api/examples?label=L&source=S` | enrols the picture in the body |
//! | `DELETE /api/examples?label=L&source=S` | removes a class, or its examples from one source |
//!
//! A body is a picture file as it is (PNG, JPEG, GIF, BMP, WebP or TIFF), or a form (`multipart/form-data`) with
//! files in it, or `{"pictures": [{"name": "a", "data": "BASE64"}]}`; to enrol, the form may have the fields `label` and
//! `source` instead of the address. Answers are JSON; a refusal is `{"error": "…"}` with a status of 4xx, a fault of the
//! server's own one of 5xx.

mod access;
mod answers;
mod api;
mod body;
mod limits;
mod log;
mod metrics;
mod queries;
mod recogniser;
mod refusal;
mod second_look;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod watch;

pub use access::{Access, Token};
pub use answers::{Answered, Batch, By, Compared, Examples, Named, Outcome, Recognised, Thumbnail, Told};
pub use api::MAX_BODY_BYTES;
pub use limits::Limits;
pub use log::Log;
pub use recogniser::{Asked, Options, Recogniser, RequestError};
pub use server::{Server, Stop};
pub use shared::Conduct;
