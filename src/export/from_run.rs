//! The folder of a training run → a tower in a file.

use super::{Calibration, DataFacts, Trained, calibration_images, exact, float, save, trained};
use crate::image::Triage;
use crate::onnx::ModelProto;
use crate::tower::{self, Provenance, TowerKind, TowerSpec};
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

/// Makes a tower of a run, an exact one with options: in `out`, else in the run's folder. Of the
/// name of a tower (shipped, or fetched) it is that tower, in `out`, else in the current folder.
///
/// # Errors
/// A run that cannot be read, or is not finished; other data than it was trained on; a file that cannot be
/// written.
pub fn export_run(run: &Path, exactly: Option<&ExactOptions>, out: Option<&Path>) -> Result<Exported> {
    if tower::is_named(run) && !run.is_dir() {
        return export_named(run, exactly.is_some(), out);
    }
    let Trained { recipe, params, mut told } = trained(run)?;
    let (model, name) = match exactly {
        None => (float(&recipe, &params, &told)?, "tower.onnx"),
        Some(_) if recipe.tower.onnx().is_some() => {
            let why = "is a run of an ONNX model: name pictures of yours for its scales with --calibrate DIR";
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

/// The tower of a name, or the exact one that is shipped beside it.
fn export_named(name: &Path, exact: bool, out: Option<&Path>) -> Result<Exported> {
    let sibling = if exact { tower::exact_sibling(name) } else { None };
    let name = sibling.as_deref().unwrap_or(name);
    let bytes = tower::read_bytes(name)?;
    let (spec, model) = TowerSpec::from_bytes(&bytes, &name.display().to_string())?;
    if exact && spec.kind == TowerKind::Float {
        let why = "is a float tower: name pictures of yours for its scales with --calibrate DIR";
        return Err(Error::invalid(name.display(), why));
    }
    let file = out.map_or_else(|| PathBuf::from(format!("{}.onnx", name.display())), Path::to_path_buf);
    files::replace(&file, &bytes)?;
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
