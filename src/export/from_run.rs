//! The folder of a training run → a tower in a file.

use super::{Calibration, DataFacts, Trained, calibration_images, exact, float, save, trained};
use crate::image::Triage;
use crate::onnx::ModelProto;
use crate::tower::{Provenance, Shipped, TowerSpec};
use crate::{Error, Result, data, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How a run becomes an exact tower.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactOptions {
    /// The folder with the recipe's data.
    pub data: PathBuf,
    /// Training images from which scales are chosen.
    pub images: usize,
    /// Take the mean error of rounded weights out of the biases.
    pub correct_biases: bool,
}

/// A tower that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The tower's facts.
    #[serde(flatten)]
    pub spec: TowerSpec,
    /// The greatest proven bound of an exact tower, as a power of two; it is below 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_log2: Option<f64>,
}

/// Makes a tower of a run, an exact one with options: in `out`, else in the run's folder. Of a shipped
/// tower's name it is that tower, in `out`, else in the current folder.
///
/// # Errors
/// A run that cannot be read, or is not finished; other data than it was trained on; a file that cannot be
/// written.
pub fn export_run(run: &Path, exactly: Option<&ExactOptions>, out: Option<&Path>) -> Result<Exported> {
    if let Some(tower) = shipped(run, exactly.is_some()) {
        return export_shipped(tower, out);
    }
    let Trained { recipe, params, mut told } = trained(run)?;
    let (model, name) = match exactly {
        None => (float(&recipe, &params, &told)?, "tower.onnx"),
        Some(_) if recipe.tower.onnx().is_some() => {
            let why =
                "is a run of an ONNX model, whose trained weights are float32; export it without --exact";
            return Err(Error::invalid(run.display(), why));
        }
        Some(options) => {
            let data = data::load(&recipe, &options.data, &Triage::strict())?;
            check_data(&DataFacts::of(&data), &mut told)?;
            let images = calibration_images(&recipe, &data, options.images)?;
            let how = Calibration { images: images.view(), correct_biases: options.correct_biases };
            (exact(&recipe, &params, &told, how)?, "tower.exact.onnx")
        }
    };
    let file = out.map_or_else(|| run.join(name), Path::to_path_buf);
    let spec = save(&model, &file)?;
    exported(file, spec, &model)
}

/// The shipped tower of a name, of which the exact one may be asked for.
fn shipped(name: &Path, exact: bool) -> Option<&'static Shipped> {
    if name.is_dir() {
        return None;
    }
    let exact_one = || Shipped::find(Path::new(&format!("{}-exact", name.display())));
    if exact { exact_one().or_else(|| Shipped::find(name)) } else { Shipped::find(name) }
}

fn export_shipped(tower: &Shipped, out: Option<&Path>) -> Result<Exported> {
    let file = out.map_or_else(|| PathBuf::from(format!("{}.onnx", tower.name)), Path::to_path_buf);
    let (spec, model) = TowerSpec::from_bytes(tower.bytes, tower.name)?;
    files::replace(&file, tower.bytes)?;
    exported(file, spec, &model)
}

fn exported(file: PathBuf, spec: TowerSpec, model: &ModelProto) -> Result<Exported> {
    let bytes = std::fs::metadata(&file).map_err(Error::io("read", &file))?.len();
    let greatest = Provenance::read(model)?.bounds.iter().map(|b| b.bound).reduce(f64::max);
    Ok(Exported { file, bytes, spec, bound_log2: greatest.map(f64::log2) })
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
