//! `siamese export RUN`: a training run's parameters → a tower.

use super::{Context, Outcome, print_json};
use crate::export::{self, Calibration, DataFacts, Trained};
use crate::tower::{Provenance, TowerSpec};
use crate::{Error, Result, data, tower};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder of a training run.
    run: PathBuf,
    /// Make an exact tower: integers that give the same bits on every runtime.
    #[arg(long)]
    exact: bool,
    /// The file to write [default: tower.onnx or tower.exact.onnx in the run's folder].
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

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
    #[serde(flatten)]
    spec: TowerSpec,
    /// The greatest proven bound of an exact tower, as a power of two; it is below 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_log2: Option<f64>,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Trained { recipe, params, mut told } = export::trained(&arguments.run)?;
    let model = if arguments.exact {
        let folder = data::data_dir(arguments.data.as_deref())?;
        let data = data::load(&recipe, &folder)?;
        check_data(&DataFacts::of(&data), &mut told)?;
        let images = export::calibration_images(&recipe, &data, arguments.calibrate as usize)?;
        let how = Calibration { images: images.view(), correct_biases: arguments.correct_biases };
        export::exact(&recipe, &params, &told, how)?
    } else {
        export::float(&recipe, &params, &told)?
    };
    let name = if arguments.exact { "tower.exact.onnx" } else { "tower.onnx" };
    let file = arguments.out.clone().unwrap_or_else(|| arguments.run.join(name));
    let spec = export::save(&model, &file)?;
    let bytes = std::fs::metadata(&file).map_err(Error::io("read", &file))?.len();
    let greatest = Provenance::read(&model)?.bounds.iter().map(|b| b.bound).reduce(f64::max);
    let exported = Exported { file, bytes, spec, bound_log2: greatest.map(f64::log2) };
    if context.json {
        print_json(&exported)?;
    } else {
        print!("{}", text(&exported));
    }
    Ok(Outcome::Yes)
}

/// The data must be those that the run was trained on; a run that does not tell is told.
fn check_data(found: &DataFacts, told: &mut Provenance) -> Result<()> {
    match &told.data_sha256 {
        Some(trained) if *trained != found.sha256 => {
            let why = format!(
                "is not what the run was trained on: SHA-256 {} there, {} here; name the right folder with --data",
                trained, found.sha256
            );
            Err(Error::invalid(format!("data {}", found.name), why))
        }
        _ => {
            found.tell(told);
            Ok(())
        }
    }
}

fn text(e: &Exported) -> String {
    let (kind, distance) = (e.spec.kind.name(), e.spec.distance.name());
    let mut text = format!(
        "{}: {kind} tower {}, D = {}, distance {distance}, {} bytes\n",
        e.file.display(),
        e.spec.name,
        e.spec.dim,
        e.bytes
    );
    if let Some(bound) = e.bound_log2 {
        let limit = tower::LIMIT.log2();
        text += &format!("proven exact: the greatest sum is 2^{bound:.2}, below 2^{limit}\n");
    }
    text + &format!("SHA-256 {}\n", e.spec.sha256)
}
