//! One tower under many settings: bit equality of exact towers, and the noise floor of float ones.
//!
//! A runtime differs from itself when threads, batches or optimisations change the order in which
//! it sums. That spread is its noise floor: a difference between two runtimes below it means
//! nothing. An exact tower has no such spread, and its embeddings have one SHA-256 everywhere.
//!
//! The spread of rounding is small. Where other batches, another order or another number of threads move many
//! embeddings by far more, the tower, as this runtime runs it, is no function of the picture: rows depend on the
//! other rows of their batch, or on what was embedded before.

use super::metric::{divergence, length};
use super::values::ulp_distance;
use crate::Result;
use crate::runtime::{Embedder, OptLevel, Runner};
use crate::tower::{Distance, sha256};
use ndarray::{Array2, ArrayView4, Axis, s};
use serde::Serialize;

/// One way to run a tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The runtime's name on its device: `ort-cuda`.
    pub runtime: String,
    /// Threads.
    pub threads: usize,
    /// Images of a call.
    pub batch: usize,
    /// Whether the images are taken last to first.
    pub reversed: bool,
    /// Optimisation level; none where the runtime has one only.
    pub level: Option<OptLevel>,
    /// Which repetition of an equal setting this is, from 1.
    pub repeat: usize,
}

impl Setting {
    /// What a runner was told, and as many images a call as keep all cores busy.
    pub fn of(runner: &Runner) -> Self {
        Self {
            runtime: runner.name(),
            threads: runner.options().threads(),
            batch: BATCHES[0],
            reversed: false,
            level: runner.level(),
            repeat: 1,
        }
    }
}

/// A setting and what came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The setting.
    #[serde(flatten)]
    pub setting: Setting,
    /// SHA-256 of the embeddings' bytes, row by row, little-endian.
    pub sha256: String,
    /// Largest absolute difference from the first run of the same runtime.
    pub max_abs: f64,
    /// The same in units in the last place.
    pub max_ulp: u64,
    /// The same of whole embeddings, in the norm that bounds the distance.
    pub moved: f64,
    /// Images whose embeddings are further away from it than rounding goes.
    pub strayed: usize,
}

/// All runs, and whether they are one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// Images in each run.
    pub images: usize,
    /// The one SHA-256, where all runs have the same.
    pub sha256: Option<String>,
    /// The runs.
    pub runs: Vec<Run>,
}

impl Sweep {
    /// The largest difference of a runtime from itself.
    pub fn floor(&self, runtime: &str) -> f64 {
        let own = self.runs.iter().filter(|run| run.setting.runtime == runtime);
        own.map(|run| run.max_abs).fold(0.0, f64::max)
    }

    /// The largest movement of an embedding of a runtime, in the norm that bounds the distance.
    pub fn noise(&self, runtime: &str) -> f64 {
        let own = self.runs.iter().filter(|run| run.setting.runtime == runtime);
        own.map(|run| run.moved).fold(0.0, f64::max)
    }

    /// The run that shows most clearly that a runtime's embeddings depend on more than their picture, if one does.
    /// Optimisation may change how numbers are made, so its levels do not count.
    pub fn dependence(&self, runtime: &str) -> Option<&Run> {
        let own = || self.runs.iter().filter(|run| run.setting.runtime == runtime);
        let level = own().next()?.setting.level;
        let counts = |run: &&Run| run.setting.level == level && run.strayed * STRAYED_SHARE > self.images;
        own().filter(counts).max_by(|x, y| x.strayed.cmp(&y.strayed).then(x.moved.total_cmp(&y.moved)))
    }
}

/// Above one image in so many, movement is no accident of rounding at the edge of a step.
const STRAYED_SHARE: usize = 10;
/// Rounding moves no embedding by this share of its length …
const STRAYED_LENGTH: f64 = 1e-4;
/// … and by this share of how far embeddings are from each other.
const STRAYED_SPREAD: f64 = 1e-3;

/// Opens the tower under a setting.
pub type Open<'a> = dyn FnMut(&Setting) -> Result<Box<dyn Embedder>> + 'a;

/// Runs `images` under every setting; embeddings are as far apart as `distance` has it.
///
/// # Errors
/// Where a runtime cannot be opened or fails.
pub fn sweep(
    settings: Vec<Setting>,
    open: &mut Open<'_>,
    images: ArrayView4<'_, u8>,
    distance: &Distance,
) -> Result<Sweep> {
    let mut runs: Vec<Run> = Vec::with_capacity(settings.len());
    let mut bases: Vec<(String, Array2<f32>)> = Vec::new();
    for setting in settings {
        let mut embedder = open(&setting)?;
        let mut ordered = images;
        if setting.reversed {
            ordered.invert_axis(Axis(0));
        }
        let mut embeddings = in_batches(&mut *embedder, ordered, setting.batch)?;
        if setting.reversed {
            embeddings.invert_axis(Axis(0));
            embeddings = embeddings.as_standard_layout().into_owned();
        }
        let base = bases.iter().find(|(runtime, _)| *runtime == setting.runtime);
        let (moved, strayed) = base.map_or((0.0, 0), |(_, base)| movement(base, &embeddings, distance));
        let (max_abs, max_ulp) = match base {
            Some((_, base)) => apart(base, &embeddings),
            None => {
                bases.push((setting.runtime.clone(), embeddings.clone()));
                (0.0, 0)
            }
        };
        runs.push(Run { sha256: hash(&embeddings), max_abs, max_ulp, moved, strayed, setting });
    }
    let first = runs.first().map(|run| run.sha256.clone());
    let one = first.filter(|sha| runs.iter().all(|run| run.sha256 == *sha));
    Ok(Sweep { images: images.len_of(Axis(0)), sha256: one, runs })
}

/// Embeds in calls of `batch` images.
///
/// # Errors
/// As the embedder.
pub fn in_batches(
    embedder: &mut dyn Embedder,
    images: ArrayView4<'_, u8>,
    batch: usize,
) -> Result<Array2<f32>> {
    let mut rows: Vec<Array2<f32>> = Vec::new();
    for chunk in images.axis_chunks_iter(Axis(0), batch.max(1)) {
        rows.push(embedder.embed(chunk)?);
    }
    let width = rows.first().map_or(0, Array2::ncols);
    let mut all = Array2::zeros((images.len_of(Axis(0)), width));
    let mut start = 0;
    for part in rows {
        let end = start + part.nrows();
        all.slice_mut(s![start..end, ..]).assign(&part);
        start = end;
    }
    Ok(all)
}

/// SHA-256 of the bytes of embeddings.
pub fn hash(embeddings: &Array2<f32>) -> String {
    let bytes: Vec<u8> = embeddings.iter().flat_map(|x| x.to_le_bytes()).collect();
    sha256(&bytes)
}

/// The largest movement of an embedding, and how many move further than rounding goes.
fn movement(base: &Array2<f32>, other: &Array2<f32>, distance: &Distance) -> (f64, usize) {
    let rows = |array: &Array2<f32>| array.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
    let (base, other) = (rows(base), rows(other));
    // From one image to the next, as a rule another one.
    let mut steps: Vec<f64> = base.windows(2).map(|two| divergence(distance, &two[0], &two[1])).collect();
    steps.sort_by(f64::total_cmp);
    let spread = steps.get(steps.len() / 2).copied().unwrap_or_default();
    let mut most = (0.0f64, 0);
    for (x, y) in base.iter().zip(&other) {
        let same = x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits());
        let gap = if same { 0.0 } else { divergence(distance, x, y) };
        let gap = if gap.is_nan() { f64::INFINITY } else { gap };
        let rounding = (STRAYED_SPREAD * spread).max(STRAYED_LENGTH * length(distance, x));
        most.0 = most.0.max(gap);
        most.1 += usize::from(gap > rounding);
    }
    most
}

fn apart(base: &Array2<f32>, other: &Array2<f32>) -> (f64, u64) {
    let mut most = (0.0f64, 0u64);
    for (&x, &y) in base.iter().zip(other) {
        if x.to_bits() == y.to_bits() {
            continue;
        }
        let gap = (f64::from(x) - f64::from(y)).abs();
        most.0 = most.0.max(if gap.is_nan() { f64::INFINITY } else { gap });
        most.1 = most.1.max(ulp_distance(x, y));
    }
    most
}

const THREADS: [usize; 2] = [1, 2];
const BATCHES: [usize; 3] = [64, 7, 1];

/// What an exact tower must survive on a runtime that has these optimisation levels: threads × batches × (all
/// and no optimisation), and the levels between once.
pub fn exact_settings(runtime: &str, levels: &[OptLevel]) -> Vec<Setting> {
    let base = base(runtime, levels);
    let (ends, between): (Vec<_>, Vec<_>) = levels
        .iter()
        .copied()
        .map(Some)
        .partition(|level| matches!(level, Some(OptLevel::Off | OptLevel::All)));
    let ends = if levels.is_empty() { vec![None] } else { ends };
    let mut settings = Vec::new();
    for level in ends.into_iter().rev() {
        for threads in THREADS {
            settings.extend(BATCHES.map(|batch| Setting { threads, batch, level, ..base.clone() }));
        }
    }
    settings.extend(between.into_iter().map(|level| Setting { level, ..base.clone() }));
    settings
}

/// What makes a float runtime differ from itself, one thing at a time, after a first run.
pub fn noise_settings(runtime: &str, levels: &[OptLevel]) -> Vec<Setting> {
    let base = base(runtime, levels);
    let mut settings = vec![
        base.clone(),
        Setting { repeat: 2, ..base.clone() },
        Setting { threads: 2, ..base.clone() },
        Setting { batch: 7, ..base.clone() },
        Setting { batch: 1, ..base.clone() },
        Setting { reversed: true, ..base.clone() },
    ];
    let others = levels.iter().rev().filter(|level| **level != OptLevel::All);
    settings.extend(others.map(|&level| Setting { level: Some(level), ..base.clone() }));
    settings
}

/// The least that shows whether embeddings depend on more than their picture.
pub fn quick_settings(runtime: &str, levels: &[OptLevel]) -> Vec<Setting> {
    let base = base(runtime, levels);
    vec![base.clone(), Setting { batch: 1, ..base.clone() }, Setting { batch: 7, reversed: true, ..base }]
}

fn base(runtime: &str, levels: &[OptLevel]) -> Setting {
    let level = (!levels.is_empty()).then_some(OptLevel::All);
    Setting {
        runtime: runtime.into(),
        threads: THREADS[0],
        batch: BATCHES[0],
        reversed: false,
        level,
        repeat: 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::MockEmbedder;
    use crate::tower::TowerSpec;
    use ndarray::Array4;

    fn images() -> Array4<u8> {
        Array4::from_shape_fn((70, 1, 2, 2), |(n, _, y, x)| (n * 3 + y * 2 + x) as u8)
    }

    /// Adds `error` to the embeddings of calls of one image.
    struct Off {
        mock: MockEmbedder,
        error: f32,
    }

    impl Embedder for Off {
        fn spec(&self) -> &TowerSpec {
            self.mock.spec()
        }

        fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
            let error = if images.len_of(Axis(0)) == 1 { self.error } else { 0.0 };
            Ok(self.mock.embed(images)? + error)
        }
    }

    fn open(error: f32) -> impl FnMut(&Setting) -> Result<Box<dyn Embedder>> {
        move |_| Ok(Box::new(Off { mock: MockEmbedder::new(2, 1), error }))
    }

    #[test]
    fn equal_runs_have_one_hash() {
        let mut settings = exact_settings("one", &OptLevel::EVERY);
        assert_eq!(settings.len(), 14);
        settings.extend(exact_settings("other", &[]));
        settings.extend(exact_settings("third", &[OptLevel::Off, OptLevel::All]));
        assert_eq!(settings.len(), 14 + 6 + 12);
        let said = sweep(settings, &mut open(0.0), images().view(), &Distance::L2).unwrap();
        assert_eq!(said.sha256.as_deref(), Some(said.runs[0].sha256.as_str()));
        assert_eq!(said.floor("one"), 0.0);
    }

    #[test]
    fn a_setting_that_changes_a_bit_is_listed() {
        let said =
            sweep(noise_settings("one", &OptLevel::EVERY), &mut open(0.5), images().view(), &Distance::L2)
                .unwrap();
        assert_eq!(said.sha256, None);
        let odd: Vec<_> = said.runs.iter().filter(|r| r.max_abs > 0.0).map(|r| r.setting.batch).collect();
        assert_eq!(odd, [1]);
        assert!((said.floor("one") - 0.5).abs() < 1e-6);
        assert_eq!(said.floor("other"), 0.0);
        assert_eq!(said.dependence("one").map(|run| (run.setting.batch, run.strayed)), Some((1, 70)));
    }

    /// Adds something of the image before, also of another call.
    struct Leaky {
        mock: MockEmbedder,
        carried: f32,
    }

    impl Embedder for Leaky {
        fn spec(&self) -> &TowerSpec {
            self.mock.spec()
        }

        fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
            let mut rows = self.mock.embed(images)?;
            for mut row in rows.rows_mut() {
                let own = row[0];
                row += self.carried;
                self.carried = 0.01 * own;
            }
            Ok(rows)
        }
    }

    #[test]
    fn what_depends_on_the_images_before_is_found_also_where_little_time_is_taken() {
        let mut leaky = |_: &Setting| -> Result<Box<dyn Embedder>> {
            Ok(Box::new(Leaky { mock: MockEmbedder::new(2, 3), carried: 0.0 }))
        };
        for settings in [quick_settings("one", &[]), noise_settings("one", &[])] {
            let said = sweep(settings, &mut leaky, images().view(), &Distance::L2).unwrap();
            assert!(said.dependence("one").is_some_and(|run| run.setting.reversed), "{said:?}");
        }
        let mut sound = |_: &Setting| -> Result<Box<dyn Embedder>> { Ok(Box::new(MockEmbedder::new(2, 3))) };
        let said = sweep(quick_settings("one", &[]), &mut sound, images().view(), &Distance::L2).unwrap();
        assert!(said.dependence("one").is_none() && said.noise("one") == 0.0);
    }
}
