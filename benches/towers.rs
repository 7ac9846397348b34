//! The towers that are measured, and the runtimes that are there.

use siamese::data::Dataset;
use siamese::data::glyphs::{GlyphSpec, generate};
use siamese::export::{self, Calibration};
use siamese::model::recipe::Layer;
use siamese::model::{Params, Recipe, initialise, param_specs};
use siamese::onnx::ModelProto;
use siamese::runtime::{Embedder, Lookup, Options, Runner, Runtime};
use siamese::step::{TrainingClasses, head_specs};
use siamese::tower::{Provenance, TowerKind};
use std::error::Error;
use std::path::{Path, PathBuf};

/// Recipes that are measured: a small and the shipped residual tower, MNIST's, and that of Koch et al.
const RECIPES: [&str; 4] = ["glyphs-demo", "omniglot-edge", "mnist-conv3-embed", "omniglot-koch"];
/// What first weights are drawn by.
const SEED: u64 = 1;
/// Images from which an exact tower's scales are chosen.
const CALIBRATION: usize = 50;

/// A tower's file, as one recipe and kind.
pub struct Tower {
    pub recipe: &'static str,
    pub kind: TowerKind,
    pub file: PathBuf,
    pub size: usize,
}

/// Every recipe as float and, where it has an exact form, exact tower.
pub fn all() -> Result<Vec<Tower>, Box<dyn Error>> {
    let mut towers = Vec::new();
    for name in RECIPES {
        let recipe = Recipe::find(name)?;
        let sigmoid = recipe.tower.layers().iter().any(|layer| matches!(layer, Layer::Sigmoid));
        let kinds =
            [TowerKind::Float, TowerKind::Exact].into_iter().filter(|k| *k == TowerKind::Float || !sigmoid);
        for kind in kinds {
            let file = match shipped(name, kind) {
                Some(file) => file,
                None => made(&recipe, kind)?,
            };
            towers.push(Tower { recipe: name, kind, file, size: recipe.size });
        }
    }
    Ok(towers)
}

/// The trained tower in the repository.
fn shipped(name: &str, kind: TowerKind) -> Option<PathBuf> {
    let file = match kind {
        TowerKind::Float => "tower.onnx",
        TowerKind::Exact => "tower.exact.onnx",
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx").join(name).join(file);
    path.is_file().then_some(path)
}

/// A tower with first weights.
fn made(recipe: &Recipe, kind: TowerKind) -> Result<PathBuf, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("towers");
    std::fs::create_dir_all(&folder)?;
    let end = match kind {
        TowerKind::Float => "onnx",
        TowerKind::Exact => "exact.onnx",
    };
    let file = folder.join(format!("{}.{end}", recipe.name));
    export::save(&model(recipe, kind)?, &file)?;
    Ok(file)
}

fn model(recipe: &Recipe, kind: TowerKind) -> siamese::Result<ModelProto> {
    let mut specs = param_specs(recipe)?;
    specs.extend(head_specs(recipe, &TrainingClasses::distinct(2))?);
    let params: Params = initialise(recipe, &specs, SEED);
    let told = Provenance::default();
    match kind {
        TowerKind::Float => export::float(recipe, &params, &told),
        TowerKind::Exact => {
            let glyphs = glyphs(recipe.size)?;
            let images = glyphs.images.slice(ndarray::s![..CALIBRATION, .., .., ..]);
            export::exact(recipe, &params, &told, Calibration { images, correct_biases: false })
        }
    }
}

/// Drawings of any size: 400 of 20 characters.
pub fn glyphs(size: usize) -> siamese::Result<Dataset> {
    generate(&GlyphSpec { alphabets: 2, characters: 10, drawers: 20, seed: SEED }, size)
}

/// The runtimes of this build and machine.
pub struct Runtimes(Vec<Runner>);

impl Runtimes {
    /// Finds those whose library is here, or can be installed.
    pub fn find() -> siamese::Result<Self> {
        let path = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
        let library = Lookup { path, ..Lookup::default() };
        let mut found = Vec::new();
        for runtime in Runtime::built_in() {
            let runner = runtime.with(Options { library: library.clone(), ..Options::default() })?;
            match runner.library() {
                Ok(_) => found.push(runner),
                Err(e) => eprintln!("{} is not measured: {e}", runtime.title),
            }
        }
        Ok(Self(found))
    }

    /// Each with so many threads.
    pub fn with(&self, threads: usize) -> siamese::Result<Vec<Runner>> {
        self.0.iter().map(|runner| runner.with(Options { threads, ..runner.options().clone() })).collect()
    }

    /// Where ONNX Runtime is, if it is here: training needs it.
    #[cfg(feature = "ort")]
    pub fn onnx_runtime(&self) -> Option<&Lookup> {
        let runner = self.0.iter().find(|runner| *runner.runtime() == siamese::runtime::ORT)?;
        Some(&runner.options().library)
    }

    /// The towers of a recipe, loaded by each runtime: `ort float`.
    pub fn loaded(
        &self,
        towers: &[Tower],
        recipe: &str,
        threads: usize,
    ) -> siamese::Result<Vec<(String, Box<dyn Embedder>)>> {
        let mut all = Vec::new();
        for tower in towers.iter().filter(|t| t.recipe == recipe) {
            for runner in self.with(threads)? {
                all.push((format!("{} {}", runner.name(), tower.kind.name()), runner.load(&tower.file)?));
            }
        }
        Ok(all)
    }
}

/// The recipes among the towers, each once.
pub fn recipes(towers: &[Tower]) -> Vec<(&'static str, usize)> {
    let mut all: Vec<_> = towers.iter().map(|t| (t.recipe, t.size)).collect();
    all.dedup();
    all
}
