//! Trains a small tower on built-in alphabets with ONNX Runtime.
//!
//! ```sh
//! cargo run --release --example train -- runs/example 800
//! cargo run --release --example export -- runs/example
//! ```

use siamese::data;
use siamese::image::Triage;
use siamese::model::Recipe;
use siamese::runtime::Lookup;
use siamese::runtime::ort::SessionOptions;
use siamese::train::{self, Checkpoints, FinishedRun, Folder, Job, Material, Observer, Progress, Team};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Trains the recipe of the demo for some steps, into a run folder. A run that is there goes on.
pub fn train(run: &Path, steps: u64, library: Lookup) -> siamese::Result<FinishedRun> {
    let recipe = Recipe::find("glyphs-demo")?.over(steps);
    let drawings = data::load(&recipe, Path::new("."), &Triage::strict())?;
    let material = Material::new(&recipe, drawings)?;
    let folder = Folder::new(run);
    let stop = AtomicBool::new(false);
    let job = Job {
        recipe: &recipe,
        material: &material,
        folder: folder.clone(),
        library,
        session: SessionOptions::default(),
        team: Team::default(),
        start: None,
        resume: folder.has_checkpoint(),
        evaluator: None,
        log_every: 20,
        checkpoints: Checkpoints { every: Duration::from_secs(30), every_steps: u64::MAX },
        stop: &stop,
    };
    train::train(&job, &mut Quiet)
}

/// Looks on and says nothing; a program would show a bar.
struct Quiet;

impl Observer for Quiet {
    fn step(&mut self, _: &Progress) {}

    fn note(&mut self, _: &str) {}
}

#[allow(dead_code, clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [run, steps] = arguments.as_slice() else { anyhow::bail!("train RUN STEPS") };
    let library = Lookup { path: None, offline: false, cuda: false };
    let finished = train(Path::new(run), steps.parse()?, library)?;
    println!("{} steps, parameters in {}", finished.steps, finished.params.display());
    Ok(())
}
