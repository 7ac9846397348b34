//! The exact form of a float tower, and what it is worth: calibrated on some of the user's pictures, held against
//! the float tower on others, and run on every runtime at hand to see that they give the same bits.

use super::adopt;
use super::{Proving, agreement};
use crate::data::{self, Choice, Class, Dataset};
use crate::embed::{self, PictureFiles};
use crate::export::{self, Cost, ImportOptions, Made, Runs, integers};
use crate::image::{self, Preprocessing, Triage};
use crate::onnx::{ModelProto, Tensor};
use crate::runtime::{Engine, Runner};
use crate::tower::{self, INPUT, Provenance, TowerSpec};
use crate::{Error, Result};
use agreement::Agreement;
use ndarray::{Array2, Array4, ArrayView4, Axis};
use prost::Message;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Pictures by which the runtimes are compared.
const COMPARED: usize = 3;
/// Of so many classes, or pictures of a class, one calibrates where there are enough pictures.
const PARTS: usize = 5;

/// A float tower that becomes exact.
pub struct FloatTower {
    /// Its graph.
    pub model: ModelProto,
    /// Its facts.
    pub spec: TowerSpec,
    /// The length of its file.
    pub bytes: u64,
    /// What the user should know of how it was made.
    pub notes: Vec<String>,
}

/// How a float tower becomes exact.
pub struct Exactly<'a> {
    /// Class folders, a zip file of such, or any pictures.
    pub pictures: &'a Path,
    /// The most pictures that scales are chosen on.
    pub calibrate: usize,
    /// The most other pictures that both towers are compared on.
    pub compare: usize,
    /// What happens to pictures that cannot be used.
    pub triage: &'a Triage<'a>,
    /// The runtimes, and who is told what is being done.
    pub proving: &'a Proving<'a>,
}

/// An exact tower, in a file.
#[derive(Clone, Debug, Serialize)]
pub struct ExactTower {
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The length of the float tower.
    pub float_bytes: u64,
    /// The tower's facts.
    #[serde(flatten)]
    pub tower: TowerSpec,
    /// The greatest proven bound, as a power of two; it is below 24.
    pub bound_log2: f64,
    /// What the integers cost.
    pub cost: Cost,
    /// Pictures that scales were chosen on.
    pub calibrated_on: usize,
    /// The runtime that ran the float tower.
    pub calibrated_by: String,
    /// How it recognises, beside the float tower.
    pub agreement: Agreement,
    /// The runtimes that were seen to give the same bits.
    pub same_bits: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

impl FloatTower {
    /// Reads a tower, or makes one of a foreign model.
    ///
    /// # Errors
    /// As [`TowerSpec::read`] and [`adopt`].
    pub fn read(path: &Path, options: &ImportOptions, how: &Proving<'_>) -> Result<Self> {
        let bytes = tower::read_bytes(path)?;
        let name = path.display().to_string();
        if tower::decode(&bytes, &name)?.metadata("siamese.format").is_some() {
            let (spec, model) = TowerSpec::from_bytes(&bytes, &name)?;
            return Ok(Self { model, spec, bytes: bytes.len() as u64, notes: Vec::new() });
        }
        let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let file = folder.path().join("tower.onnx");
        let adopted = adopt(path, &file, options, how)?;
        let (spec, model) = TowerSpec::read(&file)?;
        Ok(Self { model, spec, bytes: bytes.len() as u64, notes: adopted.notes })
    }
}

/// Makes an exact tower of a float one, compares both, and writes the exact one.
///
/// # Errors
/// As [`integers`]; pictures that cannot be read, or too few; a runtime that gives other bits than another, in
/// which case nothing is written; a file that cannot be written.
pub fn exact(float: &FloatTower, out: &Path, how: &Exactly<'_>) -> Result<ExactTower> {
    let tell = how.proving.progress;
    tell("reading the pictures");
    let most = how.calibrate + how.compare;
    let pictures = pictures(how.pictures, &float.spec.preprocessing, most, how.triage)?;
    let (known, held) = parted(&pictures, how.calibrate, how.compare);
    if known.is_empty() || held.is_empty() {
        let why =
            "holds too few pictures: some choose the scales, others are needed to tell what these are worth";
        return Err(Error::invalid(how.pictures.display(), why));
    }
    let images = pictures.images.select(Axis(0), &known);
    let runners: Vec<&Runner> = how.proving.runners.iter().filter(|r| r.library().is_ok()).collect();
    let (made, by) = calibrated(float, images.view(), &runners, tell)?;
    let held = pictures.subset(&held);
    let bytes = made.model.encode_to_vec();
    let float_bytes = float.model.encode_to_vec();
    tell("embedding other pictures with both towers");
    let before = rows(&runners, &float_bytes, &held.images)?;
    let after = rows(&runners, &bytes, &held.images)?;
    let distances = [&float.spec.distance, &TowerSpec::from_bytes(&bytes, "the exact tower")?.0.distance]
        .map(Clone::clone);
    let agreement = Agreement::of(&held, [before.view(), after.view()], &distances)?;
    let (same_bits, mut notes) = same_bits(&how.proving.runners, &bytes, &held.images, &after, tell)?;
    notes.splice(0..0, float.notes.iter().cloned());
    let tower = export::save(&made.model, out)?;
    let greatest = Provenance::read(&made.model)?.bounds.iter().map(|b| b.bound).fold(1.0, f64::max);
    Ok(ExactTower {
        file: out.into(),
        bytes: bytes.len() as u64,
        float_bytes: float.bytes,
        tower,
        bound_log2: greatest.log2(),
        cost: made.cost,
        calibrated_on: known.len(),
        calibrated_by: by,
        agreement,
        same_bits,
        notes,
    })
}

/// The exact tower, calibrated by the first runtime that runs the float one.
fn calibrated(
    float: &FloatTower,
    images: ArrayView4<'_, u8>,
    runners: &[&Runner],
    tell: &dyn Fn(&str),
) -> Result<(Made, String)> {
    let mut failed = None;
    for runner in runners {
        let title = runner.runtime().title;
        tell(&format!("choosing scales on {} pictures with {title}", images.shape()[0]));
        let mut runs = OnEngine { engine: runner.engine()? };
        match integers(&float.model, &float.spec, images, &mut runs) {
            Ok(made) => return Ok((made, title.into())),
            Err(error @ Error::Runtime { .. }) => failed = failed.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or_else(|| {
        Error::missing("no runtime is at hand", "install one with `siamese runtime install`")
    }))
}

struct OnEngine {
    engine: Box<dyn Engine>,
}

impl Runs for OnEngine {
    fn run(
        &mut self,
        model: &ModelProto,
        images: ArrayView4<'_, u8>,
        take: &mut dyn FnMut(Vec<Tensor>) -> Result<()>,
    ) -> Result<()> {
        let one =
            |image: ArrayView4<'_, u8>| vec![(INPUT.to_string(), Tensor::U8(image.to_owned().into_dyn()))];
        self.engine.stream(model, &mut images.axis_chunks_iter(Axis(0), 1).map(one), take)
    }
}

/// Embeddings by the first runtime that gives them.
fn rows(runners: &[&Runner], tower: &[u8], images: &Array4<u8>) -> Result<Array2<f32>> {
    let mut failed = None;
    for runner in runners {
        let made = runner.load_bytes(tower, "the tower");
        match made.and_then(|mut embedder| embed::images(images.view(), embedder.as_mut(), |_| ())) {
            Ok(rows) => return Ok(rows),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| {
        Error::missing("no runtime is at hand", "install one with `siamese runtime install`")
    }))
}

/// The runtimes that give these very rows for the first pictures, and what is to be said of the others.
fn same_bits(
    runners: &[Runner],
    tower: &[u8],
    images: &Array4<u8>,
    rows: &Array2<f32>,
    tell: &dyn Fn(&str),
) -> Result<(Vec<String>, Vec<String>)> {
    let few = images.slice(ndarray::s![..images.shape()[0].min(COMPARED), .., .., ..]);
    let (mut same, mut notes) = (Vec::new(), Vec::new());
    for runner in runners {
        let title = runner.runtime().title;
        tell(&format!("the exact tower on {title}"));
        let found = runner.library().and_then(|_| runner.load_bytes(tower, "the exact tower"));
        match found.and_then(|mut embedder| embedder.embed(few)) {
            Ok(found) if found.outer_iter().eq(rows.outer_iter().take(found.nrows())) => {
                same.push(runner.runtime().name.to_string());
            }
            Ok(_) => {
                let why = format!(
                    "gives other integers on {title} than elsewhere, so that it was not written; please report it"
                );
                return Err(Error::invalid("the exact tower", why));
            }
            Err(error) => notes.push(format!("{title} did not run the exact tower: {error}")),
        }
    }
    Ok((same, notes))
}

/// Pictures with their classes; loose ones are of one class.
fn pictures(path: &Path, how: &Preprocessing, most: usize, triage: &Triage<'_>) -> Result<Dataset> {
    if !path.exists() {
        return Err(Error::invalid(
            path.display(),
            "does not exist; name class folders, a zip file of such, or pictures",
        ));
    }
    if data::is_class_folders(path) {
        return data::class_folders(path, how, &Choice { most: Some(most), ..Choice::default() }, triage);
    }
    let files = PictureFiles::new([path.to_path_buf()]).collect::<Result<Vec<_>>>()?;
    let each = files.len().div_ceil(most.max(1)).max(1);
    let (mut images, mut sources) = (Vec::new(), Vec::new());
    for file in files.iter().step_by(each) {
        if let Some(image) = triage.keep(image::load(&file.path, how))? {
            images.push(image);
            sources.push(file.source());
        }
    }
    let views: Vec<_> = images.iter().map(|image| image.view()).collect();
    let images = ndarray::stack(Axis(0), &views)
        .map_err(|e| Error::invalid_because(path.display(), "holds no picture that can be used", e))?;
    let count = sources.len();
    let name = path.display().to_string();
    Ok(Dataset {
        classes: vec![Class { name: name.clone(), alphabet: 0 }],
        alphabets: vec![name.clone()],
        name,
        images,
        labels: vec![0; count],
        drawers: vec![0; count],
        sources,
    })
}

/// Which pictures choose scales, and which tell what these are worth: of other classes where there are enough,
/// else other pictures.
fn parted(data: &Dataset, calibrate: usize, compare: usize) -> (Vec<usize>, Vec<usize>) {
    let by_class = data.by_class();
    let part = PARTS * calibrate / (calibrate + compare).max(1);
    let ours = |place: usize| place % PARTS < part.clamp(1, PARTS - 1);
    let (mut known, mut held) = (Vec::new(), Vec::new());
    for (class, members) in by_class.iter().filter(|m| !m.is_empty()).enumerate() {
        for (place, &picture) in members.iter().enumerate() {
            let calibrates = if by_class.len() >= 4 * PARTS { ours(class) } else { ours(place) };
            if calibrates { known.push(picture) } else { held.push(picture) }
        }
    }
    if held.is_empty() {
        // Classes of one picture each, or hardly any pictures.
        held = known.split_off(known.len() / 2);
    }
    (spread(known, calibrate), spread_in_runs(held, compare))
}

fn spread(places: Vec<usize>, most: usize) -> Vec<usize> {
    let count = places.len();
    if count <= most { places } else { (0..most).map(|i| places[i * count / most]).collect() }
}

/// As [`spread`], with neighbours, which are of one class, together.
fn spread_in_runs(places: Vec<usize>, most: usize) -> Vec<usize> {
    let each = places.len().div_ceil(most.max(1)).max(1);
    places.into_iter().enumerate().filter(|(i, _)| (i / 8) % each == 0).map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_classes_are_held_out_whole_and_few_by_their_pictures() {
        let many = Dataset::blank(40, 5);
        let (known, held) = parted(&many, 60, 90);
        assert!(known.len() <= 60 && held.len() <= 90 && !known.is_empty(), "{} {}", known.len(), held.len());
        let classes = |places: &[usize]| {
            places.iter().map(|i| many.labels[*i]).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(classes(&known).is_disjoint(&classes(&held)));
        let few = Dataset::blank(3, 10);
        let (known, held) = parted(&few, 60, 90);
        assert!(known.iter().all(|i| !held.contains(i)) && known.len() + held.len() == 30);
        let (known, held) = parted(&Dataset::blank(4, 1), 60, 90);
        assert_eq!((known.len(), held.len()), (2, 2));
    }
}
