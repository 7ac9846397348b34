//! The whole way in one call, on built-in alphabets: train, export, prove, enrol, recognise.
//!
//! With ONNX Runtime a small tower is trained here and now. Without it the tower that is shipped with
//! the program, trained by the same recipe, takes its place, and tract alone recognises.

mod page;
mod recognise;
#[cfg(feature = "ort")]
mod trained;

pub use recognise::Recognition;

#[cfg(all(feature = "ort", feature = "tract"))]
use crate::compare::run::Comparison;
use crate::data::glyphs::{self, GlyphSpec};
use crate::runtime::Runtime;
use crate::{Error, Result, files, tower};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The recipe of the demo's tower.
pub const RECIPE: &str = "glyphs-demo";

/// An alphabet that the recipe's own seed does not give: nobody has trained on it.
const UNSEEN: GlyphSpec = GlyphSpec { alphabets: 1, characters: 20, drawers: 20, seed: 20_151 };

/// The shipped towers of [`RECIPE`].
const SHIPPED: [(&str, &[u8]); 2] = [
    ("tower.onnx", include_bytes!("../../onnx/glyphs-demo/tower.onnx")),
    ("tower.exact.onnx", include_bytes!("../../onnx/glyphs-demo/tower.exact.onnx")),
];

/// What is wanted.
pub struct Demo<'a> {
    /// The folder for everything that is made; the page goes beside it.
    pub out: &'a Path,
    /// Training steps in place of the recipe's.
    pub steps: Option<u64>,
    /// The ONNX Runtime library.
    #[cfg(feature = "ort")]
    pub library: crate::runtime::provision::Request,
    /// Set from outside to stop.
    pub stop: &'a std::sync::atomic::AtomicBool,
}

/// Told what is being done.
pub trait Watch {
    /// A new part of the way.
    fn say(&mut self, text: &str);
    /// Training goes on.
    fn step(&mut self, step: u64, steps: u64, text: &str);
}

/// How the towers came to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TowersFrom {
    /// Trained now, for so many steps.
    Trained {
        /// Steps.
        steps: u64,
    },
    /// Those shipped with the program, because ONNX Runtime cannot be had.
    Shipped {
        /// Why.
        because: String,
    },
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Demonstration {
    /// How the towers came to be.
    pub origin: TowersFrom,
    /// The alphabet that was recognised.
    pub alphabet: String,
    /// Accuracy of each tower on each runtime.
    pub rows: Vec<Recognition>,
    /// Answers of one tower that differ between runtimes, counted over `rows`.
    pub differing_answers: usize,
    /// The proof of agreement of each tower.
    #[cfg(all(feature = "ort", feature = "tract"))]
    pub comparisons: Vec<Comparison>,
    /// The page.
    pub report: PathBuf,
    /// The whole, seconds.
    pub seconds: f64,
}

impl Demonstration {
    /// Whether everything that was compared agrees.
    pub fn agrees(&self) -> bool {
        #[cfg(all(feature = "ort", feature = "tract"))]
        if self.comparisons.iter().any(|c| !c.agrees) {
            return false;
        }
        self.differing_answers == 0
    }
}

/// The towers, and what they were trained for.
struct Towers {
    origin: TowersFrom,
    files: Vec<PathBuf>,
    /// Loss by step.
    losses: Vec<(f64, f64)>,
}

/// Goes the whole way.
///
/// # Errors
/// A folder that cannot be written; a run of another recipe in it; an interruption.
pub fn run(demo: &Demo, watch: &mut dyn Watch) -> Result<Demonstration> {
    let began = Instant::now();
    std::fs::create_dir_all(demo.out).map_err(Error::io("create", demo.out))?;
    let (towers, runtimes) = prepare(demo, watch)?;
    let how = tower::TowerSpec::read(&towers.files[0])?.0.preprocessing;
    let unseen = glyphs::framed(&UNSEEN, &how)?;
    #[cfg(all(feature = "ort", feature = "tract"))]
    let comparisons = if runtimes.len() == 2 { compare(demo, &towers, &unseen, watch)? } else { Vec::new() };
    watch.say("enrolling one drawing of each of 20 unseen characters, classifying the 380 of other drawers");
    let mut rows = Vec::new();
    for file in &towers.files {
        rows.extend(recognise::rows(file, demo.out, &runtimes, &unseen)?);
    }
    let summary = Demonstration {
        origin: towers.origin.clone(),
        alphabet: unseen.alphabets[0].clone(),
        differing_answers: recognise::differing(&rows),
        rows,
        #[cfg(all(feature = "ort", feature = "tract"))]
        comparisons,
        report: demo.out.with_extension("html"),
        seconds: began.elapsed().as_secs_f64(),
    };
    page::page(&summary, &towers.losses, &unseen)?.write(&summary.report)?;
    Ok(summary)
}

/// Towers and the runtimes that can run them.
fn prepare(demo: &Demo, watch: &mut dyn Watch) -> Result<(Towers, Vec<Runtime>)> {
    let mut runtimes = Vec::new();
    #[cfg(feature = "tract")]
    runtimes.push(Runtime::Tract(crate::runtime::TractOptions::default()));
    #[cfg(feature = "ort")]
    match crate::runtime::ort::library(&demo.library) {
        Ok(library) => {
            watch.say(&format!("ONNX Runtime {} ({})", library.version, library.path.display()));
            let library = demo.library.clone();
            let options = crate::runtime::OrtOptions { library, ..crate::runtime::OrtOptions::default() };
            runtimes.insert(0, Runtime::Ort(options));
            return Ok((trained::towers(demo, watch)?, runtimes));
        }
        Err(error @ Error::Missing { .. }) if !runtimes.is_empty() => {
            let because = error.to_string();
            watch.say(&format!("going on without training, with the shipped tower: {because}"));
            return Ok((shipped(demo.out, because)?, runtimes));
        }
        Err(error) => return Err(error),
    }
    #[allow(unreachable_code)]
    {
        let because = "this build has no ONNX Runtime".to_string();
        watch.say(&format!("going on without training, with the shipped tower: {because}"));
        Ok((shipped(demo.out, because)?, runtimes))
    }
}

fn shipped(out: &Path, because: String) -> Result<Towers> {
    let mut files = Vec::new();
    for (name, bytes) in SHIPPED {
        let file = out.join(name);
        files::replace(&file, bytes)?;
        files.push(file);
    }
    Ok(Towers { origin: TowersFrom::Shipped { because }, files, losses: Vec::new() })
}

/// The proof of agreement, tower by tower, on the unseen alphabet.
#[cfg(all(feature = "ort", feature = "tract"))]
fn compare(
    demo: &Demo,
    towers: &Towers,
    unseen: &crate::data::Dataset,
    watch: &mut dyn Watch,
) -> Result<Vec<Comparison>> {
    use crate::compare::adapters::{OrtSide, TractSide};
    use crate::compare::run::{self, Tower};
    use crate::compare::sample::{Asked, Images};
    use crate::compare::values::Tolerance;
    use crate::compare::wish::Wish;
    let ort = OrtSide::new(demo.library.clone(), crate::runtime::Device::Cpu, Wish::default())?;
    let tract = TractSide::new(Wish::default())?;
    let images = Images::Labelled(unseen.clone());
    let mut comparisons = Vec::new();
    for file in &towers.files {
        let tower = Tower::read(file)?;
        watch.say(&format!("comparing ONNX Runtime with tract: the {} tower", tower.spec.kind.name()));
        comparisons.push(run::compare(&run::Request {
            tower: &tower,
            against: None,
            sides: [&ort, &tract],
            images: &images,
            asked: Asked { episodes: 2_000, way: UNSEEN.characters, shot: 1, seed: 1 },
            tolerance: Tolerance::default(),
            settings: true,
            layers: 0,
            reduce: None,
            progress: &|_| {},
        })?);
    }
    Ok(comparisons)
}
