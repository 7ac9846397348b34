//! A tower, and whether every runtime takes it.

use crate::Result;
use crate::runtime::support::{self, Operator};
use crate::runtime::{Runtime, RuntimeName};
use crate::tower::{self, TowerSpec};
use ndarray::Array4;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a tower asks for.
#[derive(Clone, Debug, Serialize)]
pub struct TowerReport {
    /// The file.
    pub path: PathBuf,
    /// The file's length, bytes.
    pub bytes: usize,
    /// Its facts.
    pub spec: TowerSpec,
    /// `IR 8, opset 17`.
    pub versions: String,
    /// Its operators.
    pub operators: Vec<Operator>,
    /// Every runtime's answer.
    pub loads: Vec<Load>,
}

/// One runtime's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The runtime.
    pub runtime: RuntimeName,
    /// From the bytes to the first embedding, milliseconds.
    pub first_result_ms: Option<f64>,
    /// Why it cannot.
    pub fault: Option<String>,
}

/// Reads the tower and runs a blank image through it on every runtime.
pub fn examine(path: &Path, runtimes: &[Runtime]) -> Result<TowerReport> {
    let bytes = tower::read_bytes(path)?;
    let name = path.display().to_string();
    let (spec, model) = TowerSpec::from_bytes(&bytes, &name)?;
    let loads = runtimes.iter().map(|runtime| {
        let begun = Instant::now();
        let (channels, side) = (spec.preprocessing.channels(), spec.preprocessing.size());
        let blank = Array4::zeros((1, channels, side, side));
        let opened = runtime.open(spec.clone(), &model, &bytes, &name);
        match opened.and_then(|mut embedder| embedder.embed(blank.view())) {
            Ok(_) => {
                let first_result_ms = Some(begun.elapsed().as_secs_f64() * 1e3);
                Load { runtime: runtime.name(), first_result_ms, fault: None }
            }
            Err(e) => {
                let fault = Some(format!("{:#}", anyhow::Error::from(e)));
                Load { runtime: runtime.name(), first_result_ms: None, fault }
            }
        }
    });
    let loads = loads.collect();
    Ok(TowerReport {
        path: path.into(),
        bytes: bytes.len(),
        versions: support::versions(&model),
        operators: support::operators(&model),
        spec,
        loads,
    })
}
