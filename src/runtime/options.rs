//! How a runtime is to run: one set of options for all. Which of them a runtime takes, its row in the table
//! says.

use crate::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;

/// Where a runtime computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The processor, alone.
    #[default]
    Cpu,
    /// The first CUDA device; an error where it cannot be used.
    Cuda,
}

/// How far a runtime may rewrite a graph; each level does what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptLevel {
    /// As written.
    Off,
    /// Rewrites that keep the meaning of every node: folded constants, dead nodes.
    Basic,
    /// Fused nodes too.
    Extended,
    /// Fused nodes and layouts for this machine.
    #[default]
    All,
}

impl OptLevel {
    /// Every level, in order.
    pub const EVERY: [Self; 4] = [Self::Off, Self::Basic, Self::Extended, Self::All];

    /// As users type it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Basic => "basic",
            Self::Extended => "extended",
            Self::All => "all",
        }
    }
}

/// Where ONNX Runtime's library is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The library file, or its folder; nothing else is looked at then.
    pub path: Option<PathBuf>,
    /// Never fetch anything.
    pub offline: bool,
    /// Only a library with the CUDA execution provider will do.
    pub cuda: bool,
}

/// How a runtime runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads; 0 for one a core.
    pub threads: usize,
    /// How far the graph may be rewritten; none for as far as the runtime can.
    pub level: Option<OptLevel>,
    /// Where it computes.
    pub device: Device,
    /// The library of a runtime that is not part of this program.
    pub library: Lookup,
}

impl Options {
    /// Threads, one a core resolved.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads == 0 { cores() } else { self.threads }
    }

    /// Reads `threads=2,level=basic`.
    ///
    /// # Errors
    /// An unknown key or value; the message lists those that are known.
    pub fn parse(text: &str) -> Result<Self> {
        let mut options = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let fail = |why: &str| Error::invalid(format!("runtime setting {part:?}"), why);
            match part.split_once('=') {
                Some(("threads", count)) => {
                    options.threads = count.parse().map_err(|_| fail("threads takes a number"))?;
                }
                Some(("level", name)) => {
                    let level = OptLevel::EVERY.into_iter().find(|level| level.name() == name);
                    let level = level.ok_or_else(|| fail("level takes off, basic, extended or all"))?;
                    options.level = Some(level);
                }
                _ => return Err(fail("known are threads=N and level=off|basic|extended|all")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let read = Options::parse("threads=2,level=basic").unwrap();
        assert_eq!(read, Options { threads: 2, level: Some(OptLevel::Basic), ..Options::default() });
        assert_eq!(Options::parse("").unwrap(), Options::default());
        for bad in ["threads=two", "level=high", "speed=9", "threads"] {
            assert!(Options::parse(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
