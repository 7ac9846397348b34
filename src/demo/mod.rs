//! The whole way in one call, on built-in alphabets: train, export, prove, enrol, recognise.
//!
//! With ONNX Runtime a small tower is trained here and now. Without it the tower that is shipped with
//! the program, trained by the same recipe, takes its place, and tract alone recognises.

mod page;
mod recognise;
#[cfg(feature = "ort")]
mod trained;

pub use recognise::Recognition;

use crate::compare::run::{self, Comparison, Scope, Tower};
use crate::compare::sample::{Asked, Images};
use crate::compare::values::Tolerance;
use crate::data::Dataset;
use crate::data::glyphs::{self, GlyphSpec};
use crate::runtime::{Lookup, ORT, Options, Runner, Runtime};
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
    pub library: Lookup,
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
    /// The proof of agreement of each tower, on the first runtime and each of the others.
    pub comparisons: Vec<Comparison>,
    /// The page.
    pub report: PathBuf,
    /// The whole, seconds.
    pub seconds: f64,
}

impl Demonstration {
    /// Whether everything that was compared agrees.
    pub fn agrees(&self) -> bool {
        self.differing_answers == 0 && self.comparisons.iter().all(|c| c.agrees)
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
    let (towers, runners) = prepare(demo, watch)?;
    let how = tower::TowerSpec::read(&towers.files[0])?.0.preprocessing;
    let unseen = glyphs::framed(&UNSEEN, &how)?;
    let comparisons = compare(&runners, &towers, &unseen, watch)?;
    watch.say("enrolling one drawing of each of 20 unseen characters, classifying the 380 of other drawers");
    let mut rows = Vec::new();
    for file in &towers.files {
        rows.extend(recognise::rows(file, demo.out, &runners, &unseen)?);
    }
    let summary = Demonstration {
        origin: towers.origin.clone(),
        alphabet: unseen.alphabets[0].clone(),
        differing_answers: recognise::differing(&rows),
        rows,
        comparisons,
        report: demo.out.with_extension("html"),
        seconds: began.elapsed().as_secs_f64(),
    };
    page::page(&summary, &towers.losses, &unseen)?.write(&summary.report)?;
    Ok(summary)
}

/// Towers and the runtimes that can run them.
fn prepare(demo: &Demo, watch: &mut dyn Watch) -> Result<(Towers, Vec<Runner>)> {
    let options = Options { library: demo.library.clone(), ..Options::default() };
    let (mut runners, mut missing) = (Vec::new(), ORT.with(options.clone()).err());
    for runtime in Runtime::built_in() {
        let runner = runtime.with(options.clone())?;
        match runner.library() {
            Ok(found) => {
                if let Some(library) = found {
                    let (title, path) = (runtime.title, library.path.display());
                    watch.say(&format!("{title} {} ({path})", library.version));
                }
                runners.push(runner);
            }
            Err(error @ Error::Missing { .. }) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    #[cfg(feature = "ort")]
    if missing.is_none() {
        return Ok((trained::towers(demo, watch)?, runners));
    }
    let because = match missing {
        Some(error) if runners.is_empty() => return Err(error),
        other => other.map_or_else(String::new, |error| error.to_string()),
    };
    watch.say(&format!("going on without training, with the shipped tower: {because}"));
    Ok((shipped(demo.out, because)?, runners))
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
fn compare(
    runners: &[Runner],
    towers: &Towers,
    unseen: &Dataset,
    watch: &mut dyn Watch,
) -> Result<Vec<Comparison>> {
    let Some((first, others)) = runners.split_first() else { return Ok(Vec::new()) };
    let images = Images::Labelled(unseen.clone());
    let mut comparisons = Vec::new();
    for file in &towers.files {
        let tower = Tower::read(file)?;
        for other in others {
            let (a, b, kind) = (first.runtime().title, other.runtime().title, tower.spec.kind.name());
            watch.say(&format!("comparing {a} with {b}: the {kind} tower"));
            comparisons.push(run::compare(&Scope {
                tower: &tower,
                against: None,
                sides: [first, other],
                images: &images,
                asked: Asked { episodes: 2_000, way: UNSEEN.characters, shot: 1, seed: 1 },
                tolerance: Tolerance::default(),
                strict: false,
                settings: true,
                layers: 0,
                reduce: None,
                progress: &|_| {},
            })?);
        }
    }
    Ok(comparisons)
}
