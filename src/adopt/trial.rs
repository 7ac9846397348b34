//! One tower on one runtime, against the model that it was made of.

use super::Reference;
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::caught::caught;
use crate::runtime::{Embedder, Runner, support};
use crate::tower::INPUT;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView1, Axis};
use serde::Serialize;

/// A row may differ from the model's by this much of the embeddings' scale: sums in another order, and functions
/// approximated in another way, through many layers.
const TOLERANCE: f64 = 1e-2;
/// A runtime's rows of one picture in different batches may differ by this much: it does the same again.
const STEADY: f64 = 1e-3;
/// The same where some numbers have few bits (float16, 8-bit integers), which runtimes round apart.
const COARSE_TOLERANCE: f64 = 5e-2;
/// Rounding alone may make this much of the scale, however near two pictures' embeddings are.
const ROUNDING: f64 = 1e-5;

/// The batches that a tower is given, by the places of their pictures: all, one, two, all in another order, a
/// picture twice, and a batch again.
const BATCHES: [&[usize]; 6] = [&[0, 1, 2, 3, 4], &[3], &[4, 1], &[4, 2, 0, 3, 1], &[2, 2], &[4, 1]];

/// What a runtime does with a tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It gives the model's rows.
    Right,
    /// It gives others, or fails while it runs.
    Wrong,
    /// It cannot load it.
    Refuses,
    /// It is not on this machine.
    Absent,
}

/// A tower on a runtime.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The runtime's name.
    pub runtime: String,
    /// What it does.
    pub outcome: Outcome,
    /// The largest difference from the model's rows, relative to their scale; none where it gives none.
    pub difference: Option<f64>,
    /// Whether it was given several pictures at once.
    pub batched: bool,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip)]
    title: &'static str,
}

impl Trial {
    /// In words.
    pub fn told(&self) -> String {
        let (title, why) = (self.title, self.why.as_deref().unwrap_or_default());
        match self.outcome {
            Outcome::Right => {
                format!(
                    "{title} gives the model's rows, {:.1e} of their scale apart",
                    self.difference.unwrap_or(0.0)
                )
            }
            Outcome::Wrong => format!("{title} gives wrong rows: {why}"),
            Outcome::Refuses => format!("{title} cannot run it: {why}"),
            Outcome::Absent => format!("{title} is not here and proved nothing: {why}"),
        }
    }
}

/// A tower that is tried.
pub(super) struct Candidate<'a> {
    pub model: &'a ModelProto,
    pub bytes: &'a [u8],
    /// Whether some of its numbers have few bits.
    pub coarse: bool,
}

/// Tries a tower on a runtime.
pub(super) fn trial(runner: &Runner, tower: &Candidate<'_>, reference: &Reference) -> Trial {
    let runtime = runner.runtime();
    let mut trial = Trial {
        runtime: runtime.name.into(),
        title: runtime.title,
        outcome: Outcome::Absent,
        difference: None,
        batched: true,
        why: None,
    };
    let said = |error: &Error| Some(support::chain(error));
    if let Err(error) = runner.library() {
        trial.why = said(&error);
        return trial;
    }
    let mut embedder = match runner.load_bytes(tower.bytes, "the tower") {
        Ok(embedder) => embedder,
        Err(error) => {
            (trial.outcome, trial.why) = (Outcome::Refuses, said(&error));
            return trial;
        }
    };
    match rows(&mut *embedder, reference) {
        Ok(batches) => judge(&mut trial, &batches, reference, tower.coarse),
        Err(error) => (trial.outcome, trial.why) = (Outcome::Wrong, said(&error)),
    }
    trial
}

/// A batch on a runtime that otherwise runs a tower picture by picture; nothing is known where it fails.
pub(super) fn batched(runner: &Runner, tower: &Candidate<'_>, reference: &Reference, trial: &mut Trial) {
    let all = Tensor::U8(reference.pictures.clone().into_dyn());
    let run = || runner.engine()?.run(tower.model, &[(INPUT.into(), all.clone())]);
    let rows = caught(run).ok().and_then(|results| {
        let rows = results.first()?.to_f64().mapv(|x| x as f32);
        rows.into_dimensionality().ok().filter(|rows: &Array2<f32>| rows.dim() == reference.rows.dim())
    });
    trial.batched = rows.is_some();
    if let Some(rows) = rows {
        judge(trial, &[rows], reference, tower.coarse);
    }
}

/// The rows of each batch.
fn rows(embedder: &mut dyn Embedder, reference: &Reference) -> Result<Vec<Array2<f32>>> {
    let embed = |order: &&[usize]| embedder.embed(reference.pictures.select(Axis(0), order).view());
    BATCHES.iter().map(embed).collect()
}

/// Holds every row against the model's, and against the first that the runtime gave of its picture.
fn judge(trial: &mut Trial, batches: &[Array2<f32>], reference: &Reference, coarse: bool) {
    let scale = reference.scale();
    let (mut from_model, mut from_first) = (Worst::default(), Worst::default());
    for (batch, rows) in batches.iter().enumerate() {
        for (place, row) in rows.outer_iter().enumerate() {
            let picture = BATCHES[batch][place];
            from_model.meet(gap(row, reference.rows.row(picture)) / scale, batch, place);
            from_first.meet(gap(row, batches[0].row(picture)) / scale, batch, place);
        }
    }
    trial.difference = Some(from_model.apart.max(trial.difference.unwrap_or(0.0)));
    trial.outcome = Outcome::Right;
    let (right, steady) = allowed(reference, coarse);
    let of = "of the embeddings' scale off";
    if from_model.apart > right {
        trial.outcome = Outcome::Wrong;
        trial.why = Some(format!("{from_model} {of} the model's own"));
    } else if from_first.apart > steady {
        trial.outcome = Outcome::Wrong;
        trial.why = Some(format!("{from_first} {of} that of the same picture in another batch"));
    }
}

/// The largest difference, and where it is.
#[derive(Default)]
struct Worst {
    apart: f64,
    batch: usize,
    place: usize,
}

impl Worst {
    fn meet(&mut self, apart: f64, batch: usize, place: usize) {
        if apart > self.apart {
            *self = Self { apart, batch, place };
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {} of a batch of {} is {:.1e}", self.place, BATCHES[self.batch].len(), self.apart)
    }
}

/// How far a row may be off the model's, and off that of another batch: little, and less than from one picture to
/// the next.
fn allowed(reference: &Reference, coarse: bool) -> (f64, f64) {
    let half = (reference.spread().0 / 2.0).max(ROUNDING);
    match coarse {
        true => (COARSE_TOLERANCE, COARSE_TOLERANCE),
        false => (TOLERANCE.min(half), STEADY.min(half)),
    }
}

/// The largest difference of two numbers; NaN is NaN's like, and infinitely far from all else.
pub(super) fn gap(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let one = |(a, b): (&f32, &f32)| match (a.is_finite(), b.is_finite()) {
        (true, true) => f64::from((a - b).abs()),
        (false, false) if a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() => 0.0,
        _ => f64::INFINITY,
    };
    a.iter().zip(b).map(one).fold(0.0, f64::max)
}
