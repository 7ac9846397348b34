//! The folder of a run: what is in it, under which names.

use super::identity::{Identity, Surroundings};
use crate::export::{DATA_FILE, MODEL_FILE, PARAMS_FILE};
use crate::files::{self, PARTIAL};
use crate::model::{Params, Recipe, read_params, shaped, write_params};
use crate::step::StepGraph;
use crate::tower::Accuracy;
use crate::{Error, Result};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Checkpoints that are kept; more than one, for the newest may turn out to be damaged.
const KEPT: usize = 3;
const CHECKPOINT: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";
const BEST: &str = "best.safetensors";

/// The training state after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// The state, keyed by state input.
    pub state: Params,
    /// Where it was computed, if it has been.
    pub by: Option<Surroundings>,
}

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
    pub metrics: BTreeMap<String, f64>,
    /// The recipe's periodic evaluation, where one was due, 0–1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evaluation: Option<f64>,
    /// Training images used each second, evaluations and checkpoints not counted.
    #[serde(default)]
    pub images_per_second: f64,
    /// Share of that time spent waiting for batches, 0–1.
    #[serde(default)]
    pub waiting_share: f64,
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

/// The right to write into a run's folder; given back when the process ends, however it ends.
pub(super) struct Lock(#[allow(dead_code)] File);

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
        self.path.join(PARAMS_FILE)
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Whether there is a checkpoint, whole or not.
    pub fn has_checkpoint(&self) -> bool {
        !self.checkpoints().is_empty()
    }

    /// Makes the folder and keeps other processes out of it.
    pub(super) fn lock(&self) -> Result<Lock> {
        fs::create_dir_all(&self.path).map_err(Error::io("create", &self.path))?;
        let path = self.path.join("lock");
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                let why =
                    "another process trains into this folder; wait for it, or name another folder with --out";
                Err(Error::invalid(self.path.display(), why))
            }
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
        }
    }

    /// A new run must not bury an earlier one.
    ///
    /// # Errors
    /// Where there is one.
    pub fn refuse_to_overwrite(&self) -> Result<()> {
        let checkpoint = self.checkpoints().into_iter().next();
        let Some(found) = checkpoint.or_else(|| Some(self.params()).filter(|p| p.exists())) else {
            return Ok(());
        };
        let name = found.file_name().unwrap_or_default().display();
        let why = format!(
            "holds a run already ({name}); continue it with --resume, or name another folder with --out"
        );
        Err(Error::invalid(self.path.display(), why))
    }

    /// Writes what a run begins with, removes what a kill left half written, and cuts from the log
    /// what lies beyond `step`.
    pub(super) fn begin(&self, identity: &Identity, graph: &StepGraph, step: u64) -> Result<()> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|e| e.path());
        for partial in entries.filter(|p| p.to_string_lossy().ends_with(PARTIAL)) {
            let _ = fs::remove_file(partial);
        }
        let pretty = |value: &Value| format!("{value:#}\n").into_bytes();
        files::replace(&self.path.join("recipe.json"), &pretty(&identity.recipe))?;
        files::replace(&self.path.join(DATA_FILE), &pretty(&identity.data))?;
        for (name, model) in graph.files() {
            files::replace(&self.path.join(name), &model.encode_to_vec())?;
        }
        if step == 0 {
            let _ = fs::remove_file(self.path.join(BEST));
        }
        let lines = self.read_log()?.into_iter().filter(|(line, _)| line.step <= step);
        let kept: String = lines.map(|(_, text)| text + "\n").collect();
        files::replace(&self.log(), kept.as_bytes())
    }

    /// Keeps the ONNX model that is trained, as it was before: exporting and resuming need nothing else.
    pub(super) fn keep_model(&self, recipe: &Recipe) -> Result<()> {
        match recipe.backbone()? {
            Some((_, backbone)) => files::replace(&self.path.join(MODEL_FILE), backbone.bytes()),
            None => Ok(()),
        }
    }

    /// The lines of the log.
    ///
    /// # Errors
    /// A file that cannot be read; one that is not there has no lines.
    pub fn lines(&self) -> Result<Vec<Line>> {
        Ok(self.read_log()?.into_iter().map(|(line, _)| line).collect())
    }

    /// The lines and their text; one that a kill cut short is left out.
    fn read_log(&self) -> Result<Vec<(Line, String)>> {
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
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        let mut file = file.map_err(Error::io("open", &path))?;
        file.write_all((text + "\n").as_bytes()).map_err(Error::io("write", &path))
    }

    /// The checkpoints, newest first.
    fn checkpoints(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut found: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let step = name.strip_prefix(CHECKPOINT)?.strip_suffix(SUFFIX)?.parse().ok()?;
                Some((step, entry.path()))
            })
            .collect();
        found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Writes a checkpoint and removes the oldest beyond those that are kept.
    pub(super) fn save(
        &self,
        identity: &Identity,
        by: &Surroundings,
        step: u64,
        state: &Params,
    ) -> Result<()> {
        let path = self.path.join(format!("{CHECKPOINT}{step:08}{SUFFIX}"));
        write_params(&path, state, &json!({ "step": step, "by": by, "run": identity }))?;
        for old in self.checkpoints().into_iter().skip(KEPT) {
            fs::remove_file(&old).map_err(Error::io("remove", &old))?;
        }
        Ok(())
    }

    /// The newest checkpoint that can be read; what is passed over is told.
    ///
    /// # Errors
    /// Checkpoints of which none can be read; one of another recipe or other data.
    pub(super) fn checkpoint(
        &self,
        identity: &Identity,
        graph: &StepGraph,
        note: &mut dyn FnMut(&str),
    ) -> Result<Option<Checkpoint>> {
        let mut fault = None;
        for path in self.checkpoints() {
            match read_params(&path) {
                Ok((state, facts)) => return checked(&path, state, &facts, identity, graph).map(Some),
                Err(error) => {
                    note(&format!("{:#}; going back to the one before", anyhow::Error::from(error)));
                    fault = Some(path);
                }
            }
        }
        match fault {
            None => Ok(None),
            Some(_) => Err(Error::invalid(
                self.path.display(),
                "none of its checkpoints can be read; train into another folder with --out",
            )),
        }
    }

    /// The figure of the best parameters so far.
    pub(super) fn best(&self) -> Option<f64> {
        read_params(&self.path.join(BEST)).ok()?.1.get("accuracy")?.as_f64()
    }

    /// Keeps these parameters as the best ones.
    pub(super) fn save_best(&self, step: u64, accuracy: &Accuracy, params: &Params) -> Result<()> {
        let facts = json!({
            "step": step, "accuracy": accuracy.accuracy, "interval_95": accuracy.interval_95,
            "protocol": accuracy.protocol, "data": accuracy.data,
        });
        write_params(&self.path.join(BEST), params, &facts)
    }

    /// Writes what `siamese export` reads: the best parameters by figures on held-out data where
    /// there are such figures, else the last ones; and the figure. Tells the step that they are from.
    pub(super) fn finish(&self, last: u64, params: &Params) -> Result<u64> {
        let Ok((best, facts)) = read_params(&self.path.join(BEST)) else {
            write_params(&self.params(), params, &json!({ "step": last }))?;
            return Ok(last);
        };
        write_params(&self.params(), &best, &facts)?;
        let figures = serde_json::from_value::<Accuracy>(facts.clone()).into_iter().collect::<Vec<_>>();
        let figures = serde_json::to_vec_pretty(&figures)
            .map_err(|e| Error::invalid_because("the figure", "cannot be written as JSON", e))?;
        files::replace(&self.path.join(crate::export::ACCURACY_FILE), &figures)?;
        Ok(facts.get("step").and_then(Value::as_u64).unwrap_or(last))
    }
}

/// A checkpoint of this run, or an error that tells why it is not.
fn checked(
    path: &Path,
    state: Params,
    facts: &Value,
    identity: &Identity,
    graph: &StepGraph,
) -> Result<Checkpoint> {
    let at = path.display();
    let Some(step) = facts.get("step").and_then(Value::as_u64) else {
        return Err(Error::invalid(at, "is no checkpoint: it does not tell its step"));
    };
    identity.must_be(&facts["run"], path)?;
    if step > identity.steps() {
        let why = format!("is at step {step}, beyond the {} steps asked for", identity.steps());
        return Err(Error::invalid(at, why));
    }
    for spec in &graph.state {
        shaped(&state, &spec.input, &spec.shape)
            .map_err(|why| Error::invalid(&at, format!("{} {why}", spec.input)))?;
    }
    Ok(Checkpoint { step, state, by: serde_json::from_value(facts["by"].clone()).ok() })
}
