//! The model as it was given, picture by picture: the truth that its tower is held against.

use super::pictures::{COUNT, pictures};
use super::trial::{Trial, gap};
use super::{Proof, Proving};
use crate::export::Foreign;
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::caught::caught;
use crate::runtime::{Named, Runner, support};
use crate::{Error, Result};
use ndarray::{Array2, Array4, Axis, concatenate};

/// What the model gives for the pictures.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The runtime that ran it.
    pub about: String,
    /// `uint8 [5, C, S, S]`.
    pub pictures: Array4<u8>,
    /// `[5, D]`.
    pub rows: Array2<f32>,
}

/// Embeddings this near to each other, relative to their scale, are equal but for rounding.
const ROUNDING: f64 = 1e-6;

impl Reference {
    /// Runs the model on the first runtime that can.
    ///
    /// # Errors
    /// Where none can: with the reason of each.
    pub fn of(foreign: &Foreign, how: &Proving<'_>) -> Result<Self> {
        let (channels, side) = foreign.picture();
        let pictures = pictures(channels, side);
        let inputs = inputs(foreign, &pictures)?;
        let mut reasons: Vec<String> = Vec::new();
        for runner in &how.runners {
            let title = runner.runtime().title;
            (how.progress)(&format!("the model as given, on {title}"));
            match given(foreign, runner, &inputs) {
                Ok(results) => {
                    let rows = rows(foreign, &results)?;
                    let about = runner.about().unwrap_or_else(|_| title.into());
                    return Ok(Self { about, pictures, rows });
                }
                Err(error) => reasons.push(format!("{title}: {}", support::chain(&error))),
            }
        }
        let why = format!(
            "is run by no runtime at hand, so that no tower was written (--unchecked writes it all the same): {}",
            reasons.join("; ")
        );
        Err(Error::invalid("the model as given", why))
    }

    /// D.
    pub fn dim(&self) -> usize {
        self.rows.ncols()
    }

    /// The greatest number of the embeddings; 1 where all are 0.
    pub fn scale(&self) -> f64 {
        let finite = self.rows.iter().filter(|x| x.is_finite());
        let greatest = finite.fold(0.0f32, |most, x| most.max(x.abs()));
        if greatest > 0.0 { f64::from(greatest) } else { 1.0 }
    }

    /// The least and the greatest difference of two pictures' embeddings, relative to the scale.
    pub fn spread(&self) -> (f64, f64) {
        let (mut least, mut greatest) = (f64::INFINITY, 0.0f64);
        for (i, a) in self.rows.outer_iter().enumerate() {
            for b in self.rows.outer_iter().skip(i + 1) {
                let gap = gap(a, b) / self.scale();
                (least, greatest) = (least.min(gap), greatest.max(gap));
            }
        }
        (least, greatest)
    }

    /// What came of a tower.
    pub fn proof(&self, runtimes: Vec<Trial>) -> Proof {
        let (scale, spread) = (self.scale(), self.spread().1);
        Proof { reference: self.about.clone(), pictures: COUNT, scale, spread, runtimes }
    }

    /// What makes the embeddings useless, or look like something else.
    pub fn oddities(&self, proof: &Proof, foreign: &Foreign) -> Vec<String> {
        let mut odd = Vec::new();
        let bad = self.rows.outer_iter().filter(|row| row.iter().any(|x| !x.is_finite())).count();
        if bad > 0 {
            odd.push(format!("warning: the embeddings of {bad} of {COUNT} pictures hold NaN or infinity"));
        }
        let noise = proof.difference();
        if self.spread().1 <= noise.max(ROUNDING) {
            odd.push(format!(
                "warning: the embeddings of {COUNT} different pictures are equal (they differ by {:.1e} of their \
                 scale, runtimes by {noise:.1e}): is the scaling of the pixels right (--preset, --scale, --mean, \
                 --std), and the output the embedding (--output)?",
                self.spread().1
            ));
        }
        let shares = |row: ndarray::ArrayView1<'_, f32>| {
            row.len() > 1 && row.iter().all(|x| *x >= 0.0) && (row.sum() - 1.0).abs() < 1e-3
        };
        if foreign.is_softmax() || self.rows.outer_iter().all(shares) {
            odd.push(
                "warning: the output is a softmax, the shares of a classifier's classes: the value before it, or the \
                 one before the last layer, makes a better embedding (--output; `siamese inspect --values` lists all)"
                    .into(),
            );
        }
        if self.dim() <= 2 {
            odd.push(format!(
                "warning: the embedding has {} {}: a classifier's score or a detector's, by which hardly any pictures \
                 can be told apart; choose another value with --output",
                self.dim(),
                if self.dim() == 1 { "number" } else { "numbers" }
            ));
        }
        odd
    }
}

/// What the model is fed: for each picture a batch of its own size. In a batch of several, picture *i* stands
/// at place *i*, and its neighbours follow.
fn inputs(foreign: &Foreign, pictures: &Array4<u8>) -> Result<Vec<Named>> {
    let batch = foreign.own_batch();
    let one = |i: usize| {
        let place = i % batch;
        let order: Vec<usize> = (0..batch).map(|j| (i + COUNT * batch + j - place) % COUNT).collect();
        let chosen = pictures.select(Axis(0), &order);
        Ok(vec![(foreign.reference_input().to_string(), foreign.feed(chosen.view()))])
    };
    (0..COUNT).map(one).collect()
}

/// The model as given, else tidied, on a runtime.
fn given(foreign: &Foreign, runner: &Runner, inputs: &[Named]) -> Result<Vec<Vec<Tensor>>> {
    runner.library()?;
    let run = |model: &ModelProto| -> Result<Vec<Vec<Tensor>>> {
        caught(|| runner.engine()?.run_each(model, inputs)).map_err(|source| Error::Runtime {
            runtime: runner.runtime().title,
            action: "run the model".into(),
            source,
        })
    };
    run(&foreign.reference(false)).or_else(|first| run(&foreign.reference(true)).map_err(|_| first))
}

fn rows(foreign: &Foreign, results: &[Vec<Tensor>]) -> Result<Array2<f32>> {
    let batch = foreign.own_batch();
    let mut each = Vec::with_capacity(results.len());
    for (i, outputs) in results.iter().enumerate() {
        let output =
            outputs.first().ok_or_else(|| Error::invalid("the model as given", "gives no output"))?;
        each.push(foreign.rows(output)?.slice_axis(Axis(0), ((i % batch)..=(i % batch)).into()).to_owned());
    }
    let views: Vec<_> = each.iter().map(|row| row.view()).collect();
    concatenate(Axis(0), &views)
        .map_err(|e| Error::invalid_because("the model as given", "gives vectors of different lengths", e))
}
