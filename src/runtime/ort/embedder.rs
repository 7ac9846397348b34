//! A tower in ONNX Runtime.

use super::{Device, NAME, OptLevel, SessionOptions, session};
use crate::onnx::{ModelProto, OperatorSetIdProto};
use crate::runtime::provision::Request;
use crate::runtime::support::{self, Operator};
use crate::runtime::{Embedder, check_images, check_output};
use crate::tower::{INPUT, OUTPUT, TowerSpec};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView4, Axis, Slice};
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;

/// The most images in one run: enough to fill the cores, and memory stays small.
const MOST_IMAGES: usize = 64;

/// How ONNX Runtime runs a tower.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrtOptions {
    /// Which library.
    pub library: Request,
    /// Where it runs.
    pub device: Device,
    /// Threads within a node; 0 for one a core.
    pub threads: usize,
    /// How far the graph may be rewritten.
    pub level: OptLevel,
}

/// A tower in ONNX Runtime.
pub struct OrtEmbedder {
    spec: TowerSpec,
    session: Session,
}

impl OrtEmbedder {
    /// Opens a tower that was read already: `spec` and `model` from its `bytes`.
    ///
    /// # Errors
    /// When the library or the device is not there, or ONNX Runtime cannot run the model: names
    /// every operator that it does not know.
    pub fn open(
        options: &OrtOptions,
        spec: TowerSpec,
        model: &ModelProto,
        bytes: &[u8],
        name: &str,
    ) -> Result<Self> {
        let how = SessionOptions {
            device: options.device,
            threads: options.threads,
            level: options.level,
            spinning: false,
        };
        match session(&options.library, &how, bytes, name) {
            Ok(session) => Ok(Self { spec, session }),
            // The library is there, but refuses the model.
            Err(Error::Runtime { source, .. }) => Err(explain(&options.library, model, name, source)),
            Err(other) => Err(other),
        }
    }
}

impl Embedder for OrtEmbedder {
    fn spec(&self) -> &TowerSpec {
        &self.spec
    }

    fn embed(&mut self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        check_images(&self.spec, &images)?;
        let count = images.len_of(Axis(0));
        let mut rows = Vec::with_capacity(count * self.spec.dim);
        for begin in (0..count).step_by(MOST_IMAGES) {
            let end = count.min(begin + MOST_IMAGES);
            let part = images.slice_axis(Axis(0), Slice::from(begin..end));
            self.run(part, &mut rows)?;
        }
        Array2::from_shape_vec((count, self.spec.dim), rows)
            .map_err(|e| Error::invalid_because("embeddings", "do not fill their shape", e))
    }
}

impl OrtEmbedder {
    /// Runs one part of a batch and appends its rows.
    fn run(&mut self, images: ArrayView4<'_, u8>, rows: &mut Vec<f32>) -> Result<()> {
        let action = format!("embed images with {}", self.spec.name);
        let failed =
            |e: ort::Error| Error::Runtime { runtime: NAME, action: action.clone(), source: Box::new(e) };
        let count = images.len_of(Axis(0));
        let images = images.as_standard_layout();
        // A new reference each run: a clone of one never returns.
        let input = TensorRef::from_array_view(images.view()).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![INPUT => input]).map_err(failed)?;
        let output = outputs.get(OUTPUT).ok_or_else(|| Error::invalid(&self.spec.name, "gave no output"))?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        let shape: Vec<usize> = shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
        check_output(&self.spec, count, &shape)?;
        rows.extend_from_slice(values);
        Ok(())
    }
}

/// ONNX Runtime names the first fault only; asks it for every operator that it does not know.
fn explain(
    library: &Request,
    model: &ModelProto,
    name: &str,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Error {
    let mut lacking = support::operators(model);
    lacking.retain(|operator| !knows(library, model, operator));
    let advice = if lacking.is_empty() {
        "check it with `siamese inspect`; a newer ONNX Runtime may know it (`siamese runtime install --version X`), \
         or export it again with opset 17 and IR 8"
    } else {
        "export it without them"
    };
    support::refusal(NAME, name, model, &lacking, advice, Some(source))
}

/// Whether ONNX Runtime has a schema of this operator at the model's operator sets: a model of
/// that single node fails with these words where it has none.
fn knows(library: &Request, model: &ModelProto, operator: &Operator) -> bool {
    let node = crate::onnx::NodeProto {
        op_type: Some(operator.name.clone()),
        domain: Some(operator.domain.clone()),
        output: vec!["y".into()],
        ..Default::default()
    };
    let graph = crate::onnx::GraphProto {
        name: Some("one".into()),
        node: vec![node],
        output: vec![crate::onnx::ValueInfoProto { name: Some("y".into()), ..Default::default() }],
        ..Default::default()
    };
    let mut imports = model.opset_import.clone();
    if !imports.iter().any(|o| o.domain() == operator.domain) {
        let domain = Some(operator.domain.clone());
        imports.push(OperatorSetIdProto { domain, version: Some(1) });
    }
    let probe = ModelProto {
        ir_version: model.ir_version.map(|ir| ir.min(8)),
        opset_import: imports,
        graph: Some(graph),
        ..Default::default()
    };
    let how = SessionOptions { threads: 1, level: OptLevel::Off, ..Default::default() };
    match session(library, &how, &probe.encode_to_vec(), "one operator") {
        Err(Error::Runtime { source, .. }) => {
            let words = source.to_string();
            !["No Op registered for", "is not a registered function/op", "No opset import for domain"]
                .iter()
                .any(|sign| words.contains(sign))
        }
        _ => true,
    }
}
