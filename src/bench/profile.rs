//! Where the time of a tower on tract goes: the steps of the lowered program, timed one by one.

use crate::compare::sample::Images;
use crate::edge;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The steps of one tower for one image on one thread.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// The tower's name and kind.
    pub tower: String,
    /// The kernels in use.
    pub kernels: &'static str,
    /// In their order.
    pub steps: Vec<Timed>,
}

/// A step and its fastest run.
#[derive(Clone, Debug, Serialize)]
pub struct Timed {
    /// What it does, from which size to which.
    pub what: String,
    /// Microseconds.
    pub us: f64,
}

/// Times each step for so long in all.
///
/// # Errors
/// A file that is no tower, a tower of which a part is left to tract's own operators, or kernels that
/// are not there.
pub fn profile(tower: &Path, seed: u64, time: Duration) -> Result<Profile> {
    /// Runs between two looks at the clock.
    const REPEATS: usize = 8;
    let (spec, model) = TowerSpec::read(tower)?;
    let how = &spec.preprocessing;
    let size = [how.channels(), how.size(), how.size()];
    let Some(kernels) = edge::kernels()? else {
        let why = format!("is {}: nothing is lowered, and there is no profile", edge::NONE);
        return Err(Error::invalid(edge::VARIABLE, why));
    };
    let program = edge::program(&model, size, kernels).map_err(|left| {
        let first = left.first().map_or(String::new(), |refusal| format!(" ({refusal})"));
        let why = format!(
            "a part of it is left to tract's own operators{first}; only towers that are lowered whole have \
             a profile"
        );
        Error::invalid(tower.display(), why)
    })?;
    let image: Vec<u8> = Images::random(1, size[0], size[1], seed).all().iter().copied().collect();
    let mut scratch = program.scratch();
    let mut least = program.profile(&mut scratch, &image, REPEATS);
    let began = Instant::now();
    while began.elapsed() < time {
        let again = program.profile(&mut scratch, &image, REPEATS);
        least.iter_mut().zip(again).for_each(|(least, time)| *least = least.min(time));
    }
    let timed = |(what, seconds): (String, f64)| Timed { what, us: seconds * 1e6 };
    let steps = program.describe().into_iter().zip(least).map(timed).collect();
    Ok(Profile { tower: format!("{} {}", spec.name, spec.kind.name()), kernels: kernels.name, steps })
}

impl Profile {
    /// In words, for a terminal.
    pub fn summary(&self) -> String {
        let all: f64 = self.steps.iter().map(|s| s.us).sum();
        let mut text = format!(
            "{} on tract, kernels {}: one image, one thread, the fastest of each step\n",
            self.tower, self.kernels
        );
        for step in &self.steps {
            let _ = writeln!(text, "{:>9.1} µs {:>5.1} %  {}", step.us, 100.0 * step.us / all, step.what);
        }
        let _ = writeln!(text, "{all:>9.1} µs in all");
        text
    }
}
