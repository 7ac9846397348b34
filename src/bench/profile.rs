//! Where the time of a tower on tract goes: the steps of the lowered program, timed one by one.

use super::judge::Peaks;
use super::results::{Executed, PeakRate};
use crate::compare::sample::Images;
use crate::edge::{self, kernels::Kernels};
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
    /// What one core can do at best with them.
    pub peaks: Vec<PeakRate>,
    /// All steps together.
    pub executed: Option<Executed>,
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
    /// What it executes, where it multiplies by weights.
    pub executed: Option<Executed>,
}

/// Times each step for so long in all.
///
/// # Errors
/// A file that is no tower, or a tower of which a part is left to tract's own operators.
pub fn profile(tower: &Path, kernels: &'static Kernels, seed: u64, time: Duration) -> Result<Profile> {
    /// Runs between two looks at the clock.
    const REPEATS: usize = 8;
    let (spec, model) = TowerSpec::read(tower)?;
    let how = &spec.preprocessing;
    let size = [how.channels(), how.size(), how.size()];
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
    let (mut peaks, began) = (Peaks::of(kernels), Instant::now());
    while began.elapsed() < time {
        let again = program.profile(&mut scratch, &image, REPEATS);
        least.iter_mut().zip(again).for_each(|(least, time)| *least = least.min(time));
    }
    peaks.again();
    let works = program.work();
    let all = peaks.judge(&works.iter().copied().sum(), 1.0, least.iter().sum(), 1);
    let steps = program.describe().into_iter().zip(works.iter().zip(least));
    let timed = steps.map(|(what, (work, seconds))| Timed {
        what,
        us: seconds * 1e6,
        executed: peaks.judge(work, 1.0, seconds, 1),
    });
    Ok(Profile {
        tower: format!("{} {}", spec.name, spec.kind.name()),
        kernels: kernels.name,
        peaks: peaks.told(),
        executed: all,
        steps: timed.collect(),
    })
}

impl Profile {
    /// In words, for a terminal.
    pub fn summary(&self) -> String {
        let all: f64 = self.steps.iter().map(|s| s.us).sum();
        let mut text = format!(
            "{} on tract, kernels {}: one image, one thread, the fastest of each step\n",
            self.tower, self.kernels
        );
        let judged = |executed: Option<Executed>| {
            let words = |e: Executed| format!("{:>5.0} GOPS {:>3.0} % of peak", e.gops, 100.0 * e.peak_share);
            executed.map_or(" ".repeat(24), words)
        };
        for Timed { what, us, executed } in &self.steps {
            let _ = writeln!(text, "{us:>9.1} µs {:>5.1} % {}  {what}", 100.0 * us / all, judged(*executed));
        }
        let _ = writeln!(text, "{all:>9.1} µs in all {}", judged(self.executed));
        let peaks = self.peaks.iter().map(|peak| format!("{} {:.0} GOPS", peak.product, peak.gops));
        let _ = writeln!(text, "a core's measured peak: {}", peaks.collect::<Vec<_>>().join(", "));
        text
    }
}
