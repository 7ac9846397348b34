//! A training run → towers: a float one, and an exact one whose bits no runtime can change.
//!
//! ```sh
//! cargo run --release --example export -- runs/example
//! ```

use siamese::export::{ExactOptions, Exported, export_run};
use std::path::Path;

/// Exports both towers of a finished run into its folder. `data` is the folder with the recipe's data, from which the
/// scales of the exact tower are chosen; recipes on built-in alphabets need none.
pub fn export(run: &Path, data: &Path) -> siamese::Result<[Exported; 2]> {
    let exactly = ExactOptions { data: data.into(), images: 400, correct_biases: false };
    Ok([export_run(run, None, None)?, export_run(run, Some(&exactly), None)?])
}

#[allow(dead_code, clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    let run = std::env::args_os().nth(1).ok_or_else(|| anyhow::anyhow!("export RUN"))?;
    for tower in export(Path::new(&run), Path::new("."))? {
        let proof = tower.bound_log2.map(|bound| format!(", proven exact: no sum above 2^{bound:.2}"));
        println!("{}: SHA-256 {}{}", tower.file.display(), tower.spec.sha256, proof.unwrap_or_default());
    }
    Ok(())
}
