//! `siamese export RUN`: a training run's parameters → a tower.

use super::output::show;
use super::{Context, Outcome};
use crate::exactness::LIMIT;
use crate::export::{ExactOptions, Exported, export_run};
use crate::{Result, data};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder of a training run, or a shipped tower's name.
    run: PathBuf,
    /// Make an exact tower: integers that give the same bits on every runtime.
    #[arg(long)]
    exact: bool,
    /// The file to write [default: tower.onnx or tower.exact.onnx in the run's folder; of a shipped tower
    /// NAME.onnx here].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Training images from which the scales of an exact tower are chosen.
    #[arg(long, value_name = "N", default_value_t = 400, requires = "exact", value_parser = clap::value_parser!(u32).range(1..))]
    calibrate: u32,
    /// Take the mean error of rounded weights out of the biases.
    #[arg(long, requires = "exact")]
    correct_biases: bool,
    /// The folder with the recipe's data, for an exact tower [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let exactly = if arguments.exact { Some(exactly(arguments)?) } else { None };
    let exported = export_run(&arguments.run, exactly.as_ref(), arguments.out.as_deref())?;
    show(context, &exported, text)?;
    Ok(Outcome::Yes)
}

fn exactly(arguments: &Arguments) -> Result<ExactOptions> {
    let &Arguments { calibrate, correct_biases, .. } = arguments;
    let data = data::data_dir(arguments.data.as_deref())?;
    Ok(ExactOptions { data, images: calibrate as usize, correct_biases })
}

fn text(e: &Exported) -> String {
    let (kind, distance) = (e.spec.kind.name(), e.spec.distance.name());
    let mut text = format!(
        "{}: {kind} tower {}, D = {}, distance {distance}, {} bytes\n",
        crate::error::shown(&e.file),
        e.spec.name,
        e.spec.dim,
        e.bytes
    );
    if let Some(bound) = e.bound_log2 {
        let limit = LIMIT.log2();
        text += &format!("proven exact: the greatest sum is 2^{bound:.2}, below 2^{limit}\n");
    }
    text + &format!("SHA-256 {}\n", e.spec.sha256)
}
