//! Recognising without files, threads and a system: what the WebAssembly module of pages does. A tower must be
//! lowered whole; a gallery is one that was exported.
//!
//! `abi` is how JavaScript calls it; `src/page/siamese.js` is the face that pages see.

#[cfg(target_family = "wasm")]
mod abi;
mod desk;
mod gallery;
#[cfg(test)]
mod tests;
mod tower;

pub use desk::Desk;
pub use gallery::Gallery;
pub use tower::Tower;
