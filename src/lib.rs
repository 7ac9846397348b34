//! `siamese` trains one-shot image recognisers on ONNX Runtime, exports the embedding tower as
//! plain ONNX, runs it with pure-Rust `tract` on any CPU, and proves that both runtimes
//! recognise the same things.
//!
//! The modules stand in the order in which data flows through them; each imports only from
//! those above it.

pub mod error;
pub mod files;
pub mod onnx;
pub mod random;

pub mod image;

pub mod exactness;

pub mod graph;

pub mod op;

pub mod walk;

pub mod model;

pub mod data;

pub mod sample;

pub mod step;

pub mod pretrained;

pub mod tower;

pub mod search;

pub mod export;

#[cfg(feature = "tract")]
pub mod edge;

pub mod runtime;

pub mod report;

pub mod embed;

pub mod eval;

#[cfg(feature = "ort")]
pub mod train;

pub mod adopt;

pub mod gallery;

pub mod learn;

pub mod compare;

pub mod bench;

pub mod demo;

#[cfg(feature = "serve")]
pub mod serve;

pub mod cli;

pub use error::{Error, Result};
