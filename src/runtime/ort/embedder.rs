//! A tower in ONNX Runtime.

use super::{NAME, SessionOptions, session};
use crate::onnx::ModelProto;
use crate::runtime::support::{self, OperatorUse};
use crate::runtime::{Embedder, Lookup, OptLevel, Options, ReadTower, check_output, in_parts};
use crate::tower::{INPUT, OUTPUT, TowerSpec};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView4, Axis};
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;

/// A tower in ONNX Runtime.
pub struct OrtEmbedder {
    spec: TowerSpec,
    session: Session,
}

impl OrtEmbedder {
    /// Makes a tower ready.
    ///
    /// # Errors
    /// When the library or the device is not there, or ONNX Runtime cannot run the model: names
    /// every operator that it does not know.
    pub fn open(options: &Options, tower: ReadTower<'_>) -> Result<Self> {
        match session(&options.library, &options.into(), tower.bytes, tower.name) {
            Ok(session) => Ok(Self { spec: tower.spec, session }),
            // The library is there, but refuses the model.
            Err(Error::Runtime { source, .. }) => Err(explain(&options.library, &tower, source)),
            Err(other) => Err(other),
        }
    }
}

impl Embedder for OrtEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        let Self { spec, session } = self;
        in_parts(spec, images, |part, rows| run(spec, session, part, rows))
    }
}

/// Runs one part of a batch and appends its rows.
fn run(
    spec: &TowerSpec,
    session: &mut Session,
    images: ArrayView4<'_, u8>,
    rows: &mut Vec<f32>,
) -> Result<()> {
    let failed = |e: ort::Error| Error::Runtime {
        runtime: NAME,
        action: format!("embed images with {}", spec.name),
        source: Box::new(e),
    };
    let count = images.len_of(Axis(0));
    let images = images.as_standard_layout();
    // A new reference each run: a clone of one never returns.
    let input = TensorRef::from_array_view(images.view()).map_err(failed)?;
    let outputs = session.run(ort::inputs![INPUT => input]).map_err(failed)?;
    let output = outputs.get(OUTPUT).ok_or_else(|| Error::invalid(&spec.name, "gave no output"))?;
    let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
    let shape: Vec<usize> = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    check_output(spec, count, &shape)?;
    rows.extend_from_slice(values);
    Ok(())
}

/// ONNX Runtime names the first fault only; asks it for every operator that it does not know.
fn explain(
    library: &Lookup,
    tower: &ReadTower<'_>,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Error {
    let lacking = support::lacking(tower.model, |operator| knows(library, tower.model, operator));
    let advice = if lacking.is_empty() {
        "check it with `siamese inspect`; a newer ONNX Runtime may know it (`siamese runtime install --version X`), \
         or export it again with opset 17 and IR 8"
    } else {
        "export it without them"
    };
    support::refusal(NAME, tower, &lacking, advice, Some(source))
}

/// Whether ONNX Runtime has a schema of this operator at the model's operator sets: a model of
/// that single node fails with these words where it has none.
fn knows(library: &Lookup, model: &ModelProto, operator: &OperatorUse) -> bool {
    let how = SessionOptions { threads: 1, level: OptLevel::Off, ..Default::default() };
    let bytes = support::one_node(model, operator).encode_to_vec();
    match session(library, &how, &bytes, "one operator") {
        Err(Error::Runtime { source, .. }) => {
            let words = source.to_string();
            !["No Op registered for", "is not a registered function/op", "No opset import for domain"]
                .iter()
                .any(|sign| words.contains(sign))
        }
        _ => true,
    }
}
