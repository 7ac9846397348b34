//! Criterion's benches: `cargo bench` runs them all, `cargo bench -- FILTER` some of them.
//!
//! They need no data: towers have their recipe's shape and seeded first weights, unless a trained one is
//! in `onnx/`. The towers are left in `target/tmp/towers`, so that `siamese bench` can be asked about the
//! very same files; `siamese bench --criterion target/criterion` makes a table of the results.
//!
//! Group names say what is compared, ids which of them it is.
#![allow(clippy::print_stderr)]

mod backbones;
mod embedding;
#[cfg(feature = "tract")]
mod lowering;
mod preparing;
mod recognising;
mod starting;
mod towers;
#[cfg(feature = "ort")]
mod training;

use criterion::Criterion;
use std::error::Error;
use std::time::Duration;

/// What a bench may fail with.
type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        // Its plots want a system font, which `plotters` as it is built here does not look for.
        .without_plots()
        .configure_from_args();
    let towers = towers::all()?;
    let runtimes = towers::Runtimes::find()?;
    embedding::benches(&mut criterion, &towers, &runtimes)?;
    backbones::benches(&mut criterion, &runtimes)?;
    #[cfg(feature = "tract")]
    lowering::benches(&mut criterion, &towers)?;
    starting::benches(&mut criterion, &towers, &runtimes)?;
    preparing::benches(&mut criterion)?;
    #[cfg(feature = "ort")]
    training::benches(&mut criterion, &runtimes)?;
    recognising::benches(&mut criterion, &towers, &runtimes)?;
    criterion.final_summary();
    Ok(())
}
