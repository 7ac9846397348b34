//! The sides that there are: ONNX Runtime and tract.

use super::engine::Engine;
use super::side::Side;
use super::sweep::{Embed, Setting};
use super::wish::Wish;
use crate::Result;
use crate::runtime::{Embedder, Runtime};
use std::path::Path;

fn opened(runtime: &Runtime, file: &Path) -> Result<Embed> {
    let mut embedder: Box<dyn Embedder> = runtime.load(file)?;
    Ok(Box::new(move |images| embedder.embed(images)))
}

/// ONNX Runtime.
#[cfg(feature = "ort")]
pub use onnx_runtime::OrtSide;

#[cfg(feature = "ort")]
mod onnx_runtime {
    use super::*;
    use crate::compare::engine::OrtEngine;
    use crate::compare::sweep::Level;
    use crate::runtime::ort::{self, Device, OptLevel, OrtOptions, SessionOptions};
    use crate::runtime::provision::Request;

    /// ONNX Runtime, on the CPU or on CUDA.
    #[derive(Clone, Debug)]
    pub struct OrtSide {
        request: Request,
        device: Device,
        wish: Wish,
        version: String,
    }

    impl OrtSide {
        /// Finds the library.
        ///
        /// # Errors
        /// A library that is not there or cannot be used.
        pub fn new(request: Request, device: Device, wish: Wish) -> Result<Self> {
            let request = Request { cuda: request.cuda || device == Device::Cuda, ..request };
            let version = ort::library(&request)?.version.to_string();
            Ok(Self { request, device, wish, version })
        }

        fn level(level: Option<Level>) -> OptLevel {
            match level {
                Some(Level::Off) => OptLevel::Off,
                Some(Level::Basic) => OptLevel::Basic,
                Some(Level::Extended) => OptLevel::Extended,
                Some(Level::All) | None => OptLevel::All,
            }
        }
    }

    impl Side for OrtSide {
        fn name(&self) -> &str {
            if self.device == Device::Cuda { "ort-cuda" } else { "ort" }
        }

        fn about(&self) -> String {
            format!("ONNX Runtime {} ({:?})", self.version, self.device)
        }

        fn setting(&self) -> Setting {
            self.wish.setting(self.name(), true)
        }

        fn has_levels(&self) -> bool {
            true
        }

        fn open(&self, file: &Path, setting: &Setting) -> Result<Embed> {
            let options = OrtOptions {
                library: self.request.clone(),
                device: self.device,
                threads: setting.threads,
                level: Self::level(setting.level),
            };
            opened(&Runtime::Ort(options), file)
        }

        fn engine(&self) -> Result<Box<dyn Engine>> {
            let request = self.request.clone();
            let options = SessionOptions {
                device: self.device,
                threads: self.wish.threads(),
                level: Self::level(self.wish.level),
                spinning: false,
            };
            Ok(Box::new(OrtEngine::new(move |bytes| ort::session(&request, &options, bytes, "a sub-model"))))
        }
    }
}

/// tract.
#[cfg(feature = "tract")]
pub use pure_rust::TractSide;

#[cfg(feature = "tract")]
mod pure_rust {
    use super::*;
    use crate::compare::engine::TractEngine;
    use crate::runtime::TractOptions;
    use crate::runtime::doctor::TRACT;

    /// tract.
    #[derive(Clone, Copy, Debug)]
    pub struct TractSide {
        wish: Wish,
    }

    impl TractSide {
        /// As wished.
        ///
        /// # Errors
        /// An optimisation level, which tract does not have.
        pub fn new(wish: Wish) -> Result<Self> {
            if wish.level.is_some() {
                return Err(crate::Error::invalid(
                    "runtime setting level",
                    "tract has no optimisation levels",
                ));
            }
            Ok(Self { wish })
        }
    }

    impl Side for TractSide {
        fn name(&self) -> &str {
            "tract"
        }

        fn about(&self) -> String {
            format!("tract {TRACT}")
        }

        fn setting(&self) -> Setting {
            self.wish.setting(self.name(), false)
        }

        fn has_levels(&self) -> bool {
            false
        }

        fn open(&self, file: &Path, setting: &Setting) -> Result<Embed> {
            opened(&Runtime::Tract(TractOptions { threads: setting.threads }), file)
        }

        fn engine(&self) -> Result<Box<dyn Engine>> {
            Ok(Box::new(TractEngine))
        }
    }
}
