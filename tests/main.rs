//! The one integration-test binary; a module a subject.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data;
mod demo;
mod eval;
mod gallery;
mod export;
mod runtime;
mod towers;
