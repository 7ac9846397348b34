//! Runs towers, and any graph, on the runtimes that there are.
//!
//! [`RUNTIMES`] is the one place that lists them: a row says what a runtime is called, which options it takes,
//! and which [`Backend`] does its work. Another runtime is another row, and a file with its backend. What stands
//! above looks runtimes up here, gives one its options ([`Runtime::with`]) and sees [`Embedder`] and [`Engine`]
//! only; its tests use [`MockEmbedder`].

mod batch;
pub mod caught;
pub mod doctor;
mod embedder;
mod engine;
#[cfg(test)]
mod interpreted;
#[cfg(feature = "lowered")]
mod lowered;
mod mock;
mod options;
#[cfg(feature = "ort")]
pub mod ort;
#[cfg(feature = "ort")]
pub mod provision;
mod row;
#[cfg(feature = "rten")]
mod rten;
mod runner;
pub mod support;
#[cfg(test)]
mod tests;
#[cfg(feature = "tract")]
pub mod tract;

pub use embedder::{Embedder, check_images, check_output, in_parts};
pub use engine::{Engine, Named};
#[cfg(test)]
pub(crate) use interpreted::Interpreted;
pub use mock::MockEmbedder;
pub use options::{Device, Lookup, OptLevel, Options};
pub use row::Runtime;
pub use runner::{Backend, LibraryFile, ReadTower, Runner};

/// The backend, where its feature is on.
macro_rules! built_in {
    ($feature:literal, $backend:expr) => {{
        #[cfg(feature = $feature)]
        {
            Some(&$backend)
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}

/// ONNX Runtime, which also trains.
pub static ORT: Runtime = Runtime {
    name: "ort",
    title: "ONNX Runtime",
    about: "ONNX Runtime",
    devices: &[Device::Cpu, Device::Cuda],
    levels: &OptLevel::EVERY,
    library: true,
    backend: built_in!("ort", ort::Ort),
};

/// tract, which also runs lowered towers; or these alone, where tract itself is not built in.
pub static TRACT: Runtime = Runtime {
    name: "tract",
    title: "tract",
    about: "tract, pure Rust",
    devices: &[Device::Cpu],
    levels: &[],
    library: false,
    #[cfg(any(feature = "tract", not(feature = "lowered")))]
    backend: built_in!("tract", tract::Tract),
    #[cfg(all(feature = "lowered", not(feature = "tract")))]
    backend: Some(&lowered::Lowered),
};

/// rten.
pub static RTEN: Runtime = Runtime {
    name: "rten",
    title: "rten",
    about: "rten, pure Rust",
    devices: &[Device::Cpu],
    levels: &[OptLevel::Off, OptLevel::All],
    library: false,
    backend: built_in!("rten", rten::Rten),
};

/// Every runtime, also those that this build does not have; references and comparisons begin with the first.
pub static RUNTIMES: [&Runtime; 3] = [&ORT, &TRACT, &RTEN];

/// What is used unless told otherwise, where it is built in: it starts fastest.
static PREFERRED: &Runtime = &TRACT;
