//! One tower under many settings: bit equality of exact towers, and the noise floor of float ones.
//!
//! A runtime differs from itself when threads, batches or optimisations change the order in which
//! it sums. That spread is its noise floor: a difference between two runtimes below it means
//! nothing. An exact tower has no such spread, and its embeddings have one SHA-256 everywhere.

use super::values::ulp_distance;
use crate::Result;
use crate::tower::sha256;
use ndarray::{Array2, ArrayView4, Axis, s};
use serde::Serialize;

/// How far ONNX Runtime may rewrite a graph; tract has one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Not at all.
    Off,
    /// Folded constants.
    Basic,
    /// And fused nodes.
    Extended,
    /// And layouts.
    All,
}

/// One way to run a tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The runtime's name.
    pub runtime: String,
    /// Threads.
    pub threads: usize,
    /// Images of a call.
    pub batch: usize,
    /// Optimisation level; none where the runtime has one only.
    pub level: Option<Level>,
    /// Which repetition of an equal setting this is, from 1.
    pub repeat: usize,
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
}

/// Embeds images `[N, C, S, S]` → `[N, D]`.
pub type Embed = Box<dyn FnMut(ArrayView4<'_, u8>) -> Result<Array2<f32>>>;

/// Makes the embedding function of a setting.
pub type Open<'a> = dyn FnMut(&Setting) -> Result<Embed> + 'a;

/// Runs `images` under every setting.
///
/// # Errors
/// Where a runtime cannot be opened or fails.
pub fn sweep(settings: Vec<Setting>, open: &mut Open<'_>, images: ArrayView4<'_, u8>) -> Result<Sweep> {
    let mut runs: Vec<Run> = Vec::with_capacity(settings.len());
    let mut bases: Vec<(String, Array2<f32>)> = Vec::new();
    for setting in settings {
        let mut embed = open(&setting)?;
        let embeddings = in_batches(&mut embed, images, setting.batch)?;
        let (max_abs, max_ulp) = match bases.iter().find(|(runtime, _)| *runtime == setting.runtime) {
            Some((_, base)) => apart(base, &embeddings),
            None => {
                bases.push((setting.runtime.clone(), embeddings.clone()));
                (0.0, 0)
            }
        };
        runs.push(Run { sha256: hash(&embeddings), max_abs, max_ulp, setting });
    }
    let first = runs.first().map(|run| run.sha256.clone());
    let one = first.filter(|sha| runs.iter().all(|run| run.sha256 == *sha));
    Ok(Sweep { images: images.len_of(Axis(0)), sha256: one, runs })
}

/// Embeds in calls of `batch` images.
///
/// # Errors
/// As the embedding function.
pub fn in_batches(embed: &mut Embed, images: ArrayView4<'_, u8>, batch: usize) -> Result<Array2<f32>> {
    let mut rows: Vec<Array2<f32>> = Vec::new();
    for chunk in images.axis_chunks_iter(Axis(0), batch.max(1)) {
        rows.push(embed(chunk)?);
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

/// What an exact tower must survive on a runtime: threads × batches × (all and no optimisation),
/// and the levels between once.
pub fn exact_settings(runtime: &str, levels: bool) -> Vec<Setting> {
    let base = base(runtime, levels);
    let ends: &[Option<Level>] = if levels { &[Some(Level::All), Some(Level::Off)] } else { &[None] };
    let mut settings = Vec::new();
    for &level in ends {
        for threads in THREADS {
            settings.extend(BATCHES.map(|batch| Setting { threads, batch, level, ..base.clone() }));
        }
    }
    if levels {
        let middle = [Level::Basic, Level::Extended];
        settings.extend(middle.map(|level| Setting { level: Some(level), ..base.clone() }));
    }
    settings
}

/// What makes a float runtime differ from itself, one thing at a time, after a first run.
pub fn noise_settings(runtime: &str, levels: bool) -> Vec<Setting> {
    let base = base(runtime, levels);
    let mut settings = vec![
        base.clone(),
        Setting { repeat: 2, ..base.clone() },
        Setting { threads: 2, ..base.clone() },
        Setting { batch: 7, ..base.clone() },
        Setting { batch: 1, ..base.clone() },
    ];
    if levels {
        let others = [Level::Extended, Level::Basic, Level::Off];
        settings.extend(others.map(|level| Setting { level: Some(level), ..base.clone() }));
    }
    settings
}

fn base(runtime: &str, levels: bool) -> Setting {
    let level = levels.then_some(Level::All);
    Setting { runtime: runtime.into(), threads: THREADS[0], batch: BATCHES[0], level, repeat: 1 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::Array4;

    fn images() -> Array4<u8> {
        Array4::from_shape_fn((70, 1, 2, 2), |(n, _, y, x)| (n * 3 + y * 2 + x) as u8)
    }

    /// Sums the pixels; `error` is added in calls of one image.
    fn open(error: f32) -> impl FnMut(&Setting) -> Result<Embed> {
        move |_| {
            Ok(Box::new(move |images: ArrayView4<'_, u8>| {
                let extra = if images.len_of(Axis(0)) == 1 { error } else { 0.0 };
                let sum =
                    |image: ndarray::ArrayView3<'_, u8>| image.iter().map(|&p| f32::from(p)).sum::<f32>();
                let sums: Vec<f32> = images.outer_iter().map(|image| sum(image) + extra).collect();
                Ok(Array2::from_shape_vec((sums.len(), 1), sums).unwrap())
            }))
        }
    }

    #[test]
    fn equal_runs_have_one_hash() {
        let mut settings = exact_settings("ort", true);
        settings.extend(exact_settings("tract", false));
        assert_eq!(settings.len(), 14 + 6);
        let said = sweep(settings, &mut open(0.0), images().view()).unwrap();
        assert_eq!(said.sha256.as_deref(), Some(said.runs[0].sha256.as_str()));
        assert_eq!(said.floor("ort"), 0.0);
    }

    #[test]
    fn a_setting_that_changes_a_bit_is_listed() {
        let said = sweep(noise_settings("tract", false), &mut open(0.5), images().view()).unwrap();
        assert_eq!(said.sha256, None);
        let odd: Vec<_> = said.runs.iter().filter(|r| r.max_abs > 0.0).map(|r| r.setting.batch).collect();
        assert_eq!(odd, [1]);
        assert_eq!(said.floor("tract"), 0.5);
        assert_eq!(said.floor("ort"), 0.0);
    }
}
