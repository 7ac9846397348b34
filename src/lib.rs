//! `siamese` trains one-shot image recognisers on ONNX Runtime, exports the embedding tower as
//! plain ONNX, runs it with pure-Rust `tract` on any CPU, and proves that both runtimes
//! recognise the same things.
//!
//! The modules stand in the order in which data flows through them; each imports only from
//! those above it.
// The WebAssembly module is compiled to be small; its inner loops are not.
#![cfg_attr(target_family = "wasm", feature(optimize_attribute))]

pub mod error;
#[cfg(not(target_family = "wasm"))]
pub mod files;
pub mod onnx;
#[cfg(not(target_family = "wasm"))]
pub mod random;

pub mod image;

pub mod exactness;

#[cfg(not(target_family = "wasm"))]
pub mod graph;

pub mod op;

pub mod walk;

#[cfg(not(target_family = "wasm"))]
pub mod model;

#[cfg(not(target_family = "wasm"))]
pub mod data;

#[cfg(not(target_family = "wasm"))]
pub mod sample;

#[cfg(not(target_family = "wasm"))]
pub mod step;

#[cfg(not(target_family = "wasm"))]
pub mod pretrained;

pub mod tower;

pub mod search;

pub mod recognise;

#[cfg(not(target_family = "wasm"))]
pub mod export;

pub mod edge;

pub mod browser;

#[cfg(not(target_family = "wasm"))]
pub mod runtime;

#[cfg(not(target_family = "wasm"))]
pub mod report;

#[cfg(not(target_family = "wasm"))]
pub mod embed;

#[cfg(not(target_family = "wasm"))]
pub mod second_look;

#[cfg(not(target_family = "wasm"))]
pub mod eval;

#[cfg(all(feature = "ort", not(target_family = "wasm")))]
pub mod train;

#[cfg(not(target_family = "wasm"))]
pub mod adopt;

#[cfg(not(target_family = "wasm"))]
pub mod gallery;

#[cfg(not(target_family = "wasm"))]
pub mod page;

#[cfg(not(target_family = "wasm"))]
pub mod learn;

#[cfg(not(target_family = "wasm"))]
pub mod compare;

#[cfg(not(target_family = "wasm"))]
pub mod bench;

#[cfg(not(target_family = "wasm"))]
pub mod demo;

#[cfg(all(feature = "serve", not(target_family = "wasm")))]
pub mod serve;

#[cfg(not(target_family = "wasm"))]
pub mod cli;

pub use error::{Error, Result};
