//! A recipe's stages, one after another, each into its run folder: the recipe that another one starts from
//! is trained first, beside it, unless it has been.

use super::teacher::{Asking, rows_of};
use super::{
    Checkpoints, Evaluator, FinishedRun, Fitted, Folder, Job, Material, Observer, Team, fitted, follow,
    graph, train,
};
use crate::export::with_model;
use crate::image::{Frame, Triage};
use crate::model::recipe::{Compatible, Tower};
use crate::model::{BatchNorm, OnnxTower, Params, Recipe, read_params, shipped_params};
use crate::onnx::ModelProto;
use crate::report::plot::{Chart, Series, Style};
use crate::runtime::ort::SessionOptions;
use crate::runtime::{Device, Lookup, Options};
use crate::{Error, Result, files};
use ndarray::Array2;
use prost::Message;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is trained otherwise than a recipe says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Values of the recipe, as [`Recipe::changed`] takes them.
    pub set: Vec<String>,
    /// Steps; of a recipe that begins with another one: of each.
    pub steps: Option<u64>,
    /// Seed of the first weights and the batches.
    pub seed: Option<u64>,
    /// The run or recipe to start from.
    pub init_from: Option<String>,
    /// The ONNX model that is trained, and how, in place of the recipe's tower.
    pub model: ModelChange,
    /// The older tower whose galleries the new one is to answer from; of the last stage.
    pub compatible_with: Option<PathBuf>,
}

/// An ONNX model in place of a recipe's tower, or other settings of the one that it names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelChange {
    /// The file.
    pub onnx: Option<PathBuf>,
    /// As in [`OnnxTower`], where any are given.
    pub freeze: Vec<String>,
    /// As in [`OnnxTower`].
    pub train_last: Option<usize>,
    /// As in [`OnnxTower`].
    pub batch_norm: Option<BatchNorm>,
}

/// The recipe of `siamese train --model`: what usually goes well when a trained model learns new classes.
const FINE_TUNE: &str = include_str!("fine-tune.json");

impl ModelChange {
    /// The recipe with this model as its tower. What it said of its own tower's pictures and layers goes.
    fn put(&self, recipe: &mut Recipe) -> Result<()> {
        if let Some(onnx) = &self.onnx {
            recipe.tower = Tower::Onnx(OnnxTower::new(onnx));
            recipe.size = 0;
            recipe.frame = Frame::Picture;
            recipe.init_from = None;
            recipe.init_layers.clear();
        }
        let asked = !self.freeze.is_empty() || self.train_last.is_some() || self.batch_norm.is_some();
        match &mut recipe.tower {
            Tower::Onnx(onnx) => {
                if !self.freeze.is_empty() {
                    onnx.freeze.clone_from(&self.freeze);
                }
                onnx.train_last = self.train_last.or(onnx.train_last);
                onnx.batch_norm = self.batch_norm.unwrap_or(onnx.batch_norm);
                Ok(())
            }
            Tower::Layers(_) if asked => {
                let why = "are of ONNX models, and this recipe's tower has layers of ours; name a model with --model";
                Err(Error::invalid("--freeze, --train-last and --batch-norm", why))
            }
            Tower::Layers(_) => Ok(()),
        }
    }
}

impl Changes {
    /// The recipe that is trained where none is named: the usual one for the model that is.
    ///
    /// # Errors
    /// As [`Changes::recipe`].
    pub fn fine_tuning(&self) -> Result<Recipe> {
        let mut recipe = Recipe::parse(FINE_TUNE, "the recipe of --model")?;
        let stem = self.model.onnx.as_ref().and_then(|path| path.file_stem());
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let stem: String =
            stem.map_or_else(String::new, |s| s.to_string_lossy().chars().map(plain).collect());
        recipe.name = format!("{}-tuned", stem.trim_start_matches(['.', '-']));
        self.to(recipe, None)
    }

    /// A recipe, by name or file, with these changes.
    ///
    /// # Errors
    /// As [`Recipe::find`]; changes that do not fit it.
    pub fn recipe(&self, which: &str) -> Result<Recipe> {
        self.to(Recipe::find(which)?, Some(Path::new(which)))
    }

    fn to(&self, mut found: Recipe, run: Option<&Path>) -> Result<Recipe> {
        self.model.put(&mut found)?;
        let mut recipe = self.set.iter().try_fold(found, |recipe, change| recipe.changed(change))?;
        if let Some(steps) = self.steps {
            recipe = recipe.over(steps);
        }
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.init_from = self.init_from.clone().or(recipe.init_from);
        if let Some(old) = &self.compatible_with {
            let asked = recipe.compatible.take().unwrap_or_else(|| Compatible::new(old));
            recipe.compatible = Some(Compatible { with: old.clone(), sha256: None, ..asked });
        }
        recipe.validate()?;
        with_model(recipe, run)
    }

    /// Those that reach the recipe that another one starts from.
    fn of_first_stage(&self) -> Self {
        Self {
            set: Vec::new(),
            init_from: None,
            model: ModelChange::default(),
            compatible_with: None,
            ..self.clone()
        }
    }
}

/// How every stage is trained.
pub struct Training<'a> {
    /// The data folder.
    pub data: &'a Path,
    /// What is trained otherwise than the recipe says.
    pub changes: Changes,
    /// The library.
    pub library: Lookup,
    /// Where to train.
    pub device: Device,
    /// As in [`SessionOptions`].
    pub tf32: bool,
    /// Whether only ONNX Runtime's own operators compute a step on the CPU.
    pub standard_operators: bool,
    /// Threads of ONNX Runtime; 0: those of the checkpoint, else one a core, or one a worker.
    pub threads: usize,
    /// Who shares the micro-batches of recipes that have some.
    pub team: Team,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// When checkpoints are due.
    pub checkpoints: Checkpoints,
    /// What happens to pictures that cannot be used.
    pub triage: &'a Triage<'a>,
    /// Set from outside to stop after the step at hand.
    pub stop: &'a AtomicBool,
}

/// A stage that begins.
pub struct Stage<'a> {
    /// Its recipe.
    pub recipe: &'a Recipe,
    /// Training images.
    pub images: usize,
    /// Classes, as the loss numbers them.
    pub classes: usize,
    /// Where it is trained and by whom, in words.
    pub place: &'a str,
    /// Its run folder.
    pub folder: &'a Path,
}

impl Training<'_> {
    /// Trains a recipe into a folder, after the one that it starts from where that has not been trained.
    /// With `resume` it goes on from the folder's newest checkpoint.
    ///
    /// # Errors
    /// As [`train`]; a folder that holds a run already; a run to start from that is another recipe's.
    pub fn run(
        &self,
        recipe: &Recipe,
        folder: &Folder,
        resume: bool,
        observer: &mut dyn Observer,
    ) -> Result<FinishedRun> {
        let Fitted { recipe, mut material, notes } = fitted(recipe, self.data, self.triage)?;
        let recipe = &recipe;
        notes.iter().for_each(|text| observer.note(text));
        let team = self.team.fit(recipe, self.device)?;
        if !resume {
            folder.refuse_to_overwrite()?;
        }
        let rows = self.teacher(recipe, &material, folder, observer)?;
        material.teacher = self.taught(recipe, &material, rows)?;
        let start = match &recipe.init_from {
            Some(from) if !(resume && folder.has_checkpoint()) => {
                Some(self.first_stage(from, folder.path(), observer)?)
            }
            Some(_) => self.team.agree(false).map(|_| None)?,
            None => None,
        };
        let job = self.job(recipe, &material, folder.clone());
        observer.begins(&Stage {
            recipe,
            images: material.training.len(),
            classes: material.classes.count,
            place: &team.told(&job.session.place()),
            folder: folder.path(),
        });
        let evaluator = self.evaluator(recipe, &material, observer);
        let job = Job { start, resume, evaluator: evaluator.as_ref(), ..job };
        let finished = train(&job, observer)?;
        if let Err(error) = draw_loss(folder) {
            observer.note(&format!("no loss.png: {:#}", anyhow::Error::from(error)));
        }
        Ok(finished)
    }

    /// What [`Training::run`] is at the team's other processes, which neither read nor write runs. Whether the run is
    /// finished, and not stopped.
    ///
    /// # Errors
    /// As [`follow`].
    pub fn follow(&self, recipe: &Recipe) -> Result<bool> {
        let Fitted { recipe, mut material, .. } = fitted(recipe, self.data, self.triage)?;
        self.team.fit(&recipe, self.device)?;
        material.teacher = self.taught(&recipe, &material, None)?;
        if let Some(from) = &recipe.init_from
            && self.team.agree(false)?
            && !self.follow(&self.changes.of_first_stage().recipe(from)?)?
        {
            return Ok(false);
        }
        follow(&self.job(&recipe, &material, Folder::new("")))
    }

    /// A run from its beginning, not evaluated.
    fn job<'a>(&'a self, recipe: &'a Recipe, material: &'a Material, folder: Folder) -> Job<'a> {
        let session = SessionOptions {
            device: self.device,
            tf32: self.tf32,
            kernels: !self.standard_operators,
            threads: self.threads,
            spinning: true,
            ..SessionOptions::default()
        };
        Job {
            recipe,
            material,
            folder,
            library: self.library.clone(),
            session,
            team: self.team.clone(),
            start: None,
            resume: false,
            evaluator: None,
            log_every: self.log_every,
            checkpoints: self.checkpoints,
            stop: self.stop,
        }
    }

    /// The teacher's rows that rank 0 has, at every process.
    fn taught(
        &self,
        recipe: &Recipe,
        material: &Material,
        rows: Option<Array2<f32>>,
    ) -> Result<Option<Arc<Array2<f32>>>> {
        let Some(teacher) = recipe.teacher()? else { return Ok(None) };
        let shape = rows_of(recipe, material)?;
        let mut rows = rows.map_or_else(|| vec![0.0; shape[0] * shape[1]], |rows| rows.into_iter().collect());
        self.team.ranks.broadcast(&mut rows)?;
        let rows = Array2::from_shape_vec(shape, rows);
        rows.map(|rows| Some(Arc::new(rows)))
            .map_err(|e| Error::invalid_because(teacher.key, "the teacher's rows have another shape", e))
    }

    /// What the recipe's teacher makes of the training pictures, where it has one.
    fn teacher(
        &self,
        recipe: &Recipe,
        material: &Material,
        folder: &Folder,
        observer: &mut dyn Observer,
    ) -> Result<Option<Array2<f32>>> {
        let runtime = &self.options();
        let asking =
            Asking { recipe, data: self.data, material, folder, runtime, triage: &Triage::lenient(drop) };
        asking.rows(&mut |text| observer.note(text))
    }

    /// How towers run beside the training.
    fn options(&self) -> Options {
        let (library, device, threads) = (self.library.clone(), self.device, self.threads);
        Options { library, device, threads, ..Options::default() }
    }

    /// The evaluation that the recipe asks for; training goes on without one that cannot be had.
    fn evaluator(
        &self,
        recipe: &Recipe,
        material: &Material,
        observer: &mut dyn Observer,
    ) -> Option<Evaluator> {
        let runtime = self.options();
        let tell = |error| observer.note(&format!("no evaluations: {:#}", anyhow::Error::from(error)));
        Evaluator::new(recipe, material, runtime).map_err(tell).ok()
    }

    /// The parameters of what `from` names: a run's folder, a recipe whose parameters are shipped, or another
    /// one, which is trained now, beside the folder `main` of the run that starts from it, unless it has been.
    fn first_stage(&self, from: &str, main: &Path, observer: &mut dyn Observer) -> Result<Params> {
        let given = Folder::new(from);
        let found = match given.params().exists() {
            true => Some(read_params(&given.params()).map(|(params, _)| params)),
            false => shipped_params(from),
        };
        if let Some(params) = found.transpose()? {
            return self.team.agree(false).map(|_| params);
        }
        let recipe = self.changes.of_first_stage().recipe(from)?;
        let folder = Folder::new(main.parent().unwrap_or(Path::new("")).join(&recipe.name));
        let trained = folder.params().exists();
        self.team.agree(!trained)?;
        if trained {
            must_be_trained_by(&fitted(&recipe, self.data, self.triage)?.recipe, &folder)?;
        } else {
            self.run(&recipe, &folder, folder.has_checkpoint(), observer)?;
        }
        Ok(read_params(&folder.params())?.0)
    }
}

/// Refuses a finished run of another recipe.
fn must_be_trained_by(recipe: &Recipe, folder: &Folder) -> Result<()> {
    let earlier = Recipe::load(folder.path())?;
    let same =
        Recipe { about: earlier.about.clone(), evaluation: earlier.evaluation.clone(), ..recipe.clone() };
    if earlier == same {
        return Ok(());
    }
    let why = format!(
        "is a run of a recipe that is not {} with these steps and this seed; name it with --init-from if it \
         is meant to start this run, or move it away",
        recipe.name
    );
    Err(Error::invalid(folder.path().display(), why))
}

/// The loss over the steps, as a picture in the run's folder.
fn draw_loss(folder: &Folder) -> Result<()> {
    let points = folder.lines()?.iter().map(|line| (line.step as f64, line.loss)).collect();
    let series = vec![Series { name: "loss".into(), points }];
    Chart::new("step", "loss", Style::Lines, series).png(&folder.path().join("loss.png"))
}

/// A training graph in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GraphFile {
    /// The recipe's name.
    pub recipe: String,
    /// The file: the whole step, or its end.
    pub graph: PathBuf,
    /// Where the recipe has micro-batches, the files of what comes before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PathBuf>,
}

/// Writes a recipe's training graph: into `out`, else its folder of the repository, else its run folder.
///
/// # Errors
/// As [`fitted`] and [`graph`]; a folder that cannot be written.
pub fn write_graph(
    recipe: &Recipe,
    data: &Path,
    triage: &Triage<'_>,
    device: Device,
    out: Option<&Path>,
) -> Result<GraphFile> {
    let Fitted { recipe, material, .. } = fitted(recipe, data, triage)?;
    let graph = graph(&recipe, &material, device)?;
    let shipped = Path::new("onnx").join(&recipe.name);
    let shipped = Some(shipped).filter(|folder| folder.join("recipe.json").exists());
    let folder = out.map(Path::to_path_buf).or(shipped).unwrap_or_else(|| run_folder(&recipe));
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let write = |(name, model): (&str, &ModelProto)| {
        let path = folder.join(name);
        files::replace(&path, &model.encode_to_vec()).map(|()| path)
    };
    let mut parts = graph.files().into_iter().map(write).collect::<Result<Vec<_>>>()?;
    Ok(GraphFile { recipe: recipe.name.clone(), graph: parts.remove(0), parts })
}

/// Where a recipe is trained unless told otherwise.
pub fn run_folder(recipe: &Recipe) -> PathBuf {
    Path::new("runs").join(&recipe.name)
}
