//! The sides that there are: ONNX Runtime and tract.

use super::engine::Engine;
use super::side::Side;
use super::sweep::{Embed, Level, Setting};
use crate::runtime::{Embedder, Runtime};
use crate::{Error, Result};
use std::path::Path;

/// Images of a call.
const BATCH: usize = 64;

/// What follows the name of a runtime in `ort:threads=2,level=basic`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Threads; 0 for one a core.
    pub threads: usize,
    /// Optimisation level.
    pub level: Option<Level>,
}

impl Wish {
    /// Reads `threads=2,level=basic`.
    ///
    /// # Errors
    /// An unknown key or value; the message lists those that are known.
    pub fn parse(text: &str) -> Result<Self> {
        let mut wish = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let fail = |why: &str| Error::invalid(format!("runtime setting {part:?}"), why);
            match key {
                "threads" => wish.threads = value.parse().map_err(|_| fail("threads takes a number"))?,
                "level" => {
                    wish.level = Some(match value {
                        "off" => Level::Off,
                        "basic" => Level::Basic,
                        "extended" => Level::Extended,
                        "all" => Level::All,
                        _ => return Err(fail("level takes off, basic, extended or all")),
                    });
                }
                _ => return Err(fail("known are threads=N and level=off|basic|extended|all")),
            }
        }
        Ok(wish)
    }

    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.threads == 0 { cores } else { self.threads }
    }

    fn setting(&self, runtime: &str, levels: bool) -> Setting {
        let level = levels.then(|| self.level.unwrap_or(Level::All));
        Setting { runtime: runtime.into(), threads: self.threads(), batch: BATCH, level, repeat: 1 }
    }
}

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
                return Err(Error::invalid("runtime setting level", "tract has no optimisation levels"));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wishes_are_read_and_unknown_ones_refused() {
        let wish = Wish::parse("threads=2,level=basic").unwrap();
        assert_eq!(wish, Wish { threads: 2, level: Some(Level::Basic) });
        assert_eq!(Wish::parse("").unwrap(), Wish::default());
        for bad in ["threads=two", "level=high", "speed=9", "threads"] {
            assert!(Wish::parse(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
