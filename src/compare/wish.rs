//! The settings that may follow the name of a runtime.

use super::sweep::{Level, Setting};
use crate::{Error, Result};

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

    /// Threads, one a core resolved.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.threads == 0 { cores } else { self.threads }
    }

    /// The setting of a runtime called `runtime`, which has optimisation levels or not.
    pub fn setting(&self, runtime: &str, levels: bool) -> Setting {
        let level = levels.then(|| self.level.unwrap_or(Level::All));
        Setting { runtime: runtime.into(), threads: self.threads(), batch: BATCH, level, repeat: 1 }
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
