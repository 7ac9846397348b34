//! A tower, and whether every runtime takes it.

use crate::runtime::support::{self, OperatorUse};
use crate::runtime::{Lookup, Options, ReadTower, Runner, Runtime};
use crate::tower::{self, TowerSpec};
use crate::{Error, Result};
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
    pub operators: Vec<OperatorUse>,
    /// Every runtime's answer.
    pub loads: Vec<Load>,
}

/// One runtime's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The runtime.
    pub runtime: &'static Runtime,
    /// From the bytes to the first embedding, milliseconds.
    pub first_result_ms: Option<f64>,
    /// Why it cannot.
    pub fault: Option<String>,
}

/// Reads the tower and runs a blank image through it on every runtime that is here; that a library is missing
/// is told once, elsewhere.
pub fn examine(path: &Path, library: &Lookup) -> Result<TowerReport> {
    let bytes = tower::read_bytes(path)?;
    let name = path.display().to_string();
    let (spec, model) = TowerSpec::from_bytes(&bytes, &name)?;
    let mut loads = Vec::new();
    for runtime in Runtime::built_in() {
        let runner = runtime.with(Options { library: library.clone(), ..Options::default() })?;
        if !matches!(runner.library(), Err(Error::Missing { .. })) {
            let tower = ReadTower { spec: spec.clone(), model: &model, bytes: &bytes, name: &name };
            loads.push(load(&runner, tower));
        }
    }
    Ok(TowerReport {
        path: path.into(),
        bytes: bytes.len(),
        versions: support::versions(&model),
        operators: support::operators(&model),
        spec,
        loads,
    })
}

fn load(runner: &Runner, tower: ReadTower<'_>) -> Load {
    let begun = Instant::now();
    let (channels, side) = (tower.spec.preprocessing.channels(), tower.spec.preprocessing.size());
    let blank = Array4::zeros((1, channels, side, side));
    let embedded = runner.open(tower).and_then(|mut embedder| embedder.embed(blank.view()));
    Load {
        runtime: runner.runtime(),
        first_result_ms: embedded.is_ok().then(|| begun.elapsed().as_secs_f64() * 1e3),
        fault: embedded.err().map(|e| format!("{:#}", anyhow::Error::from(e))),
    }
}
