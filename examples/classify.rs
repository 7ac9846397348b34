//! Class folders → a gallery that knows when it does not know; then what other pictures show.
//!
//! ```sh
//! cargo run --release --example classify -- known new
//! ```

use siamese::embed::PictureFiles;
use siamese::gallery::{self, Answered, Enrolling, Gallery, Limit, Location, Question, Shots};
use siamese::image::Triage;
use siamese::runtime::{Options, Runtime};
use std::path::Path;

/// Enrols `known/<class>/<picture>` into a new gallery at `at`, calibrates it, and answers for the pictures in `new`:
/// an answer without a label is "unknown".
pub fn classify(at: &Path, known: &Path, new: &Path) -> siamese::Result<Vec<Answered>> {
    let at = Location::from(at);
    let runner = Runtime::preferred().with(Options::default())?;
    // The first picture that cannot be read is an error; `Triage::lenient` would tell it and go on.
    let triage = Triage::strict();
    let load = |tower: &Path| runner.load(tower);
    let pictures = |folder: &Path| PictureFiles::new(vec![folder.into()]);
    gallery::enroll(&at, Enrolling::default(), pictures(known), load, &triage, || ())?;

    let mut gallery = Gallery::open(&at)?;
    // Of pictures of unknown things, one in ten may be taken for something known.
    gallery.calibrate(Some(0.1))?;
    let rule = Limit::Calibrated.rule(gallery.facts());
    let question = Question { shots: Shots::Best, top: 3, rule, exact: false, with_ink: false };
    let mut embedder = gallery.embedder(None, |tower| runner.load(tower))?;
    let mut answers = Vec::new();
    gallery::classify(&gallery, question, pictures(new), embedder.as_mut(), None, &triage, |batch| {
        answers.extend(batch);
        Ok(())
    })?;
    Ok(answers)
}

#[allow(dead_code, clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [known, new] = arguments.as_slice() else { anyhow::bail!("classify KNOWN NEW") };
    let folder = tempfile::tempdir()?;
    for answer in classify(&folder.path().join("gallery"), Path::new(known), Path::new(new))? {
        let label = answer.answer.label.as_deref().unwrap_or("unknown");
        println!("{}\t{label}\t{}", answer.source, answer.answer.distance);
    }
    Ok(())
}
