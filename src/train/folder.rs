//! The folder of a run.

use super::checkpoint::{Checkpoint, read_params, replace, write_params};
use crate::model::{Params, Recipe};
use crate::step::StepGraph;
use crate::{Error, Result};
use prost::Message;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

const CHECKPOINT: &str = "checkpoint.safetensors";
const PREVIOUS: &str = "checkpoint.previous.safetensors";

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Steps done.
    pub step: u64,
    /// Mean loss over `steps_in_mean` steps.
    pub loss: f64,
    /// Learning rate of the last of them.
    pub lr: f32,
    /// Means of the graph's metrics.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// The recipe's periodic evaluation, where one was due, 0–1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evaluation: Option<f64>,
    /// Since the process began, seconds.
    pub seconds: f64,
    /// Steps that the means are over.
    pub steps_in_mean: u64,
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder that need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The exported parameters, once the run is finished.
    pub fn params(&self) -> PathBuf {
        self.path.join("params.safetensors")
    }

    /// A new run must not bury an earlier one.
    pub(super) fn refuse_to_overwrite(&self) -> Result<()> {
        for name in [CHECKPOINT, "params.safetensors"] {
            if self.path.join(name).exists() {
                let why = format!(
                    "holds a run already ({name}); continue it with --resume, or name another folder with --out"
                );
                return Err(Error::invalid(self.path.display(), why));
            }
        }
        Ok(())
    }

    /// Writes what a run begins with, and cuts from the log what lies beyond `step`.
    pub(super) fn begin(&self, recipe: &Recipe, graph: &StepGraph, step: u64) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("create", &self.path))?;
        let text = serde_json::to_string_pretty(recipe)
            .map_err(|e| Error::invalid_because("recipe", "cannot be written as JSON", e))?;
        replace(&self.path.join("recipe.json"), (text + "\n").as_bytes())?;
        replace(&self.path.join("train.onnx"), &graph.model.encode_to_vec())?;
        let kept: Vec<String> = self
            .lines()?
            .into_iter()
            .filter(|(line, _)| line.step <= step)
            .map(|(_, text)| text + "\n")
            .collect();
        replace(&self.log(), kept.concat().as_bytes())
    }

    fn log(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The lines of the log; one that a kill cut short is left out.
    fn lines(&self) -> Result<Vec<(Line, String)>> {
        let text = match fs::read_to_string(self.log()) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io("read", self.log())(e)),
        };
        Ok(text.lines().filter_map(|l| Some((serde_json::from_str(l).ok()?, l.to_string()))).collect())
    }

    /// Adds a line to the log.
    pub(super) fn append(&self, line: &Line) -> Result<()> {
        let path = self.log();
        let text = serde_json::to_string(line)
            .map_err(|e| Error::invalid_because(path.display(), "cannot be written as JSON", e))?;
        let mut file =
            fs::OpenOptions::new().append(true).create(true).open(&path).map_err(Error::io("open", &path))?;
        file.write_all((text + "\n").as_bytes()).map_err(Error::io("write", &path))
    }

    /// Writes a checkpoint; the one before it stays beside it.
    pub(super) fn save(&self, recipe: &Recipe, step: u64, state: &Params) -> Result<()> {
        let (current, previous) = (self.path.join(CHECKPOINT), self.path.join(PREVIOUS));
        let fresh = self.path.join("checkpoint.new.safetensors");
        write_params(&fresh, state, &[("step", step.to_string()), ("recipe", identity(recipe)?)])?;
        if current.exists() {
            fs::rename(&current, &previous).map_err(Error::io("rename", &current))?;
        }
        fs::rename(&fresh, &current).map_err(Error::io("rename", &fresh))
    }

    /// The newest checkpoint that can be read; what is passed over is told.
    pub(super) fn checkpoint(
        &self,
        recipe: &Recipe,
        graph: &StepGraph,
        note: &mut dyn FnMut(&str),
    ) -> Result<Option<Checkpoint>> {
        let mut fault = None;
        // A kill between the two renames leaves the newest under its first name.
        for name in [CHECKPOINT, "checkpoint.new.safetensors", PREVIOUS] {
            let path = self.path.join(name);
            if !path.exists() {
                continue;
            }
            match read_params(&path) {
                Ok((state, about)) => return checked(&path, state, &about, recipe, graph).map(Some),
                Err(error) => {
                    note(&format!("passed over: {error}"));
                    fault.get_or_insert(error);
                }
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// Writes the parameters that `siamese export` reads.
    pub(super) fn finish(&self, params: &Params) -> Result<()> {
        write_params(&self.params(), params, &[])
    }
}

/// The recipe without what may change between two parts of a run: its length and its evaluation.
fn identity(recipe: &Recipe) -> Result<String> {
    serde_json::to_string(recipe)
        .map_err(|e| Error::invalid_because("recipe", "cannot be written as JSON", e))
}

fn checked(
    path: &Path,
    state: Params,
    about: &std::collections::HashMap<String, String>,
    recipe: &Recipe,
    graph: &StepGraph,
) -> Result<Checkpoint> {
    let step = about.get("step").and_then(|s| s.parse().ok());
    let step =
        step.ok_or_else(|| Error::invalid(path.display(), "is no checkpoint: it does not tell its step"))?;
    let earlier = about
        .get("recipe")
        .and_then(|r| serde_json::from_str::<serde_json::Value>(r).ok())
        .unwrap_or_default();
    let now = serde_json::to_value(recipe).unwrap_or_default();
    let changed = differing(&earlier, &now);
    if !changed.is_empty() {
        let why = format!(
            "was made by another recipe: {} differ(s); train into another folder with --out",
            changed.join(", ")
        );
        return Err(Error::invalid(path.display(), why));
    }
    for spec in &graph.state {
        if state.get(&spec.input).is_none_or(|a| a.shape() != spec.shape) {
            let why = format!(
                "lacks {} in the shape {:?}; the training data differs from the run's",
                spec.input, spec.shape
            );
            return Err(Error::invalid(path.display(), why));
        }
    }
    Ok(Checkpoint { step, state })
}

/// The top-level keys of two recipes that differ and that shape the training.
fn differing(earlier: &serde_json::Value, now: &serde_json::Value) -> Vec<String> {
    let keys = now.as_object().into_iter().chain(earlier.as_object()).flat_map(|o| o.keys());
    let keys: std::collections::BTreeSet<&String> = keys.collect();
    let free = ["about", "evaluation"];
    let differs = |key: &&&String| !free.contains(&key.as_str()) && earlier.get(key) != now.get(key);
    keys.iter().filter(differs).map(|key| format!("`{key}`")).collect()
}
