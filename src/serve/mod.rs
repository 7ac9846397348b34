//! `siamese serve`: an HTTP server that recognises pictures by a gallery, and a page to draw on.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /api/gallery` | what the gallery holds, its tower, the threshold |
//! | `POST /api/classify?top=5&ink=false` | the nearest classes of the picture in the body |
//! | `POST /api/embed` | its embedding `[D]` |
//! | `POST /api/examples?label=L&source=S` | enrols the picture in the body |
//! | `DELETE /api/examples?label=L&source=S` | removes a class, or its examples from one source |
//!
//! A body is a picture file as it is (PNG, JPEG, GIF, BMP, WebP or TIFF), or a form (`multipart/form-data`) with one
//! file in it; to enrol, the form may have the fields `label` and `source` instead of the address. Answers are JSON; a refusal
//! is `{"error": "…"}` with a status of 4xx, a fault of the server's own one of 5xx.

mod body;
mod guard;
mod http;
mod recogniser;
#[cfg(test)]
mod tests;

pub use http::{MAX_BODY_BYTES, Server, Stop};
pub use recogniser::{Options, Recognised, Recogniser, RequestError, Told};
