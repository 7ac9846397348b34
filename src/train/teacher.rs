//! What a recipe's teacher makes of the training pictures: asked once, before the first step, and kept in the run's folder.

use super::{Folder, Material};
use crate::data;
use crate::image::Triage;
use crate::model::{Params, Recipe, read_params, write_params};
use crate::runtime::{ORT, Options};
use crate::sample::Variants;
use crate::tower::TowerSpec;
use crate::{Error, Result, embed};
use ndarray::{Array2, Axis};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The rows in their file.
const ROWS: &str = "teacher.embeddings";

/// Asks a teacher.
pub(super) struct Asking<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// The data folder.
    pub data: &'a Path,
    /// Of the recipe, without the teacher's rows.
    pub material: &'a Material,
    /// The run's folder.
    pub folder: &'a Folder,
    /// How the teacher runs.
    pub runtime: &'a Options,
    /// What happens to pictures that cannot be used, which were told already.
    pub triage: &'a Triage<'a>,
}

impl Asking<'_> {
    /// The teacher's embeddings of the training pictures and their variants, `[V·N, T]`; none of a recipe without a teacher.
    ///
    /// # Errors
    /// A teacher that is no tower, or gives other than T numbers; data that it cannot see; a failure of the runtime; a
    /// folder that cannot be written.
    pub fn rows(&self, note: &mut dyn FnMut(&str)) -> Result<Option<Array2<f32>>> {
        let Some(teacher) = self.recipe.teacher()? else { return Ok(None) };
        let (spec, _) = TowerSpec::read(teacher.tower)?;
        if spec.dim != teacher.dim {
            let why =
                format!("takes {} numbers, but {} gives {}", teacher.dim, teacher.tower.display(), spec.dim);
            return Err(Error::invalid(teacher.key, why));
        }
        let facts = json!({"teacher_sha256": spec.sha256, "data_sha256": self.material.facts.sha256});
        let shape = rows_of(self.recipe, self.material)?;
        if let Some(rows) = kept(&self.file(), &facts, shape) {
            return Ok(Some(rows));
        }
        note(&format!("{} looks at {} pictures, once", spec.name, shape[0]));
        let rows = self.asked(teacher.tower, &spec)?;
        std::fs::create_dir_all(self.folder.path()).map_err(Error::io("create", self.folder.path()))?;
        write_params(&self.file(), &Params::from([(ROWS.into(), rows.clone().into_dyn())]), &facts)?;
        Ok(Some(rows))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("teacher.safetensors")
    }

    /// The pictures are read again, at the size that the teacher takes.
    fn asked(&self, tower: &Path, spec: &TowerSpec) -> Result<Array2<f32>> {
        let all = data::load_as(self.recipe, &spec.preprocessing, self.data, self.triage)?;
        let seen = match self.recipe.data.hold_out() {
            [] => all,
            hold_out => all.split_alphabets(hold_out)?.0,
        };
        let own = &self.material.training;
        if (&seen.labels, &seen.sources) != (&own.labels, &own.sources) {
            let why =
                "the teacher saw other pictures than the student does; did the folder change meanwhile?";
            return Err(Error::invalid(&seen.name, why));
        }
        let mut teacher = ORT.with(self.runtime.clone())?.load(tower)?;
        let variants = Variants::of_sampling(&self.recipe.sampling)?;
        let mut rows = Array2::zeros((0, spec.dim));
        for variant in 0..variants.count() {
            let made = variants.of(variant, seen.images.view());
            let embeddings = embed::images(made.view(), teacher.as_mut(), |_| ())?;
            rows.append(Axis(0), embeddings.view())
                .map_err(|e| Error::invalid_because(&spec.name, "gives rows of another length", e))?;
        }
        Ok(rows)
    }
}

/// How many rows a teacher gives, and how many numbers each has: `[V·N, T]`.
pub(super) fn rows_of(recipe: &Recipe, material: &Material) -> Result<[usize; 2]> {
    let variants = Variants::of_sampling(&recipe.sampling)?.count();
    let dim = recipe.teacher()?.map_or(0, |teacher| teacher.dim);
    Ok([variants * material.training.len(), dim])
}

/// The rows of an earlier start of the run, by the same teacher of the same data.
fn kept(file: &Path, facts: &Value, shape: [usize; 2]) -> Option<Array2<f32>> {
    let (mut params, told) = read_params(file).ok()?;
    let same = ["teacher_sha256", "data_sha256"].iter().all(|key| told[*key] == facts[*key]);
    let rows = params.remove(ROWS).filter(|rows| same && rows.shape() == shape)?;
    rows.into_dimensionality().ok()
}
