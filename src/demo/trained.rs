//! The demo's towers, trained now.

use super::{Demo, RECIPE, Towers, TowersFrom, Watch};
use crate::export::{self, Calibration, DataFacts};
use crate::image::Triage;
use crate::model::Recipe;
use crate::runtime::ort::SessionOptions;
use crate::train::{self, Checkpoints, Folder, Job, Material, Observer, Progress, Team};
use crate::{Result, data};
use std::path::Path;
use std::time::Duration;

/// Images from which the exact tower's scales are chosen.
const CALIBRATION: usize = 400;

/// Trains, or goes on with an earlier demo's run, and exports both kinds of towers.
pub(super) fn towers(demo: &Demo, watch: &mut dyn Watch) -> Result<Towers> {
    let mut recipe = Recipe::find(RECIPE)?;
    if let Some(steps) = demo.steps {
        recipe = recipe.over(steps);
    }
    watch.say("drawing 600 characters of 30 built-in alphabets, by 20 drawers each");
    let material = Material::new(&recipe, data::load(&recipe, Path::new("."), &Triage::strict())?)?;
    let folder = Folder::new(demo.out.join("run"));
    watch.say(&format!("training {RECIPE} for {} steps on ONNX Runtime", recipe.steps));
    let job = Job {
        recipe: &recipe,
        material: &material,
        folder: folder.clone(),
        library: demo.library.clone(),
        session: SessionOptions { spinning: true, kernels: true, ..SessionOptions::default() },
        team: Team::default(),
        start: None,
        resume: folder.has_checkpoint(),
        evaluator: None,
        log_every: 20,
        checkpoints: Checkpoints { every: Duration::from_secs(15), every_steps: u64::MAX },
        stop: demo.stop,
    };
    train::train(&job, &mut Relay { watch, steps: recipe.steps })?;
    watch.say("exporting the float and the exact tower");
    let files = exported(&material, demo.out)?;
    let losses = folder.lines()?.iter().map(|line| (line.step as f64, line.loss)).collect();
    Ok(Towers { origin: TowersFrom::Trained { steps: recipe.steps }, files, losses })
}

fn exported(material: &Material, out: &Path) -> Result<Vec<std::path::PathBuf>> {
    let export::Trained { recipe, params, mut told } = export::trained(&out.join("run"))?;
    DataFacts::of(&material.training).tell(&mut told);
    let images = export::calibration_images(&recipe, &material.training, CALIBRATION)?;
    let how = Calibration { images: images.view(), correct_biases: false };
    let models = [export::float(&recipe, &params, &told)?, export::exact(&recipe, &params, &told, how)?];
    let files = [out.join("tower.onnx"), out.join("tower.exact.onnx")];
    for (model, file) in models.iter().zip(&files) {
        export::save(model, file)?;
    }
    Ok(files.into())
}

/// Passes the training's progress on.
struct Relay<'a> {
    watch: &'a mut dyn Watch,
    steps: u64,
}

impl Observer for Relay<'_> {
    fn step(&mut self, p: &Progress) {
        let text = format!("loss {:.3}, {:.0} images/s", p.loss, p.images_per_second);
        self.watch.step(p.step, self.steps, &text);
    }

    fn note(&mut self, text: &str) {
        self.watch.say(text);
    }
}
