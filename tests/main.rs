//! The one integration-test binary; a module a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod alone;
mod bench;
mod colour;
mod data;
mod demo;
mod eval;
mod examples;
mod export;
mod gallery;
#[cfg(feature = "ort")]
mod golden;
#[cfg(feature = "ort")]
mod golden_onnx;
mod guide;
mod hostile;
mod kernels;
mod learn;
#[cfg(feature = "ort")]
mod onnx_training;
mod output;
mod page;
mod pictures;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "ort")]
mod published;
mod real_data;
mod rooms;
mod runtime;
mod second_look;
mod serve;
mod towers;
#[cfg(feature = "ort")]
mod training;
