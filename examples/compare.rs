//! Do two runtimes recognise the same things with one tower? The proof, in a program.
//!
//! ```sh
//! cargo run --release --example compare -- omniglot-edge-exact
//! ```

use siamese::compare::run::{Comparison, Scope, Tower, compare as compared};
use siamese::compare::sample::{Asked, Images};
use siamese::compare::values::Tolerance;
use siamese::data::glyphs;
use siamese::runtime::{Options, RUNTIMES, Runtime};
use std::path::Path;

/// Compares the first two runtimes of this build, on built-in alphabets: which predictions a flip cannot reach, which
/// remain, and whether bits differ. With one runtime only, it is compared with itself.
pub fn compare(tower: &Path, episodes: u64) -> siamese::Result<Comparison> {
    let tower = Tower::read(tower)?;
    let drawings = glyphs::framed(&glyphs::SAMPLE, &tower.spec.preprocessing)?;
    let runners = Runtime::built_in()
        .map(|runtime| runtime.with(Options::default()))
        .collect::<siamese::Result<Vec<_>>>()?;
    let (Some(first), Some(last)) = (runners.first(), runners.last()) else {
        let why = format!("has none of the {} runtimes", RUNTIMES.len());
        return Err(siamese::Error::invalid("this build", why));
    };
    compared(&Scope {
        tower: &tower,
        against: None,
        sides: [first, last],
        images: &Images::Labelled(drawings),
        asked: Asked { episodes, way: 20, shot: 1, seed: 1 },
        tolerance: Tolerance::default(),
        strict: false,
        settings: true,
        layers: 0,
        reduce: None,
        progress: &|_| {},
    })
}

#[allow(dead_code, clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let tower = std::env::args_os().nth(1).ok_or_else(|| anyhow::anyhow!("compare TOWER"))?;
    print!("{}", siamese::compare::text::summary(&compare(Path::new(&tower), 2_000)?));
    Ok(())
}
