//! What a data folder holds, counted and measured.

use super::{Choice, Dataset, Makers, Survey, class_folders, lake, mnist, omniglot, zipped};
use crate::image::{Colour, Preprocessing, Triage};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// What a data folder holds.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The folder.
    pub folder: String,
    /// The data sets found, part by part.
    pub parts: Vec<Held>,
    /// The sums over the parts of each set of several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub totals: Vec<Total>,
    /// The Lake runs, where they are there: runs and trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lake: Option<Runs>,
    /// Pictures that could not be used.
    pub broken: u64,
}

/// A part of a data set.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// Data set and part: `omniglot background`.
    pub name: String,
    /// Alphabets; one where the set has none.
    pub alphabets: usize,
    /// Characters, digits or other classes.
    pub classes: usize,
    /// Drawings.
    pub images: usize,
    /// Drawers or makers; 1 where nobody tells.
    pub drawers: usize,
    /// Fewest drawings of a class.
    pub images_per_class_min: usize,
    /// Most drawings of a class.
    pub images_per_class_max: usize,
    /// The side at which ink or colours were measured, pixels.
    pub side_px: usize,
    /// Mean of the ink, or of all channels, 0–1.
    pub mean: f64,
    /// Standard deviation over all pixels.
    pub std: f64,
    /// What the pictures are like; of class folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
    /// Who made them, where a file tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub makers: Vec<Made>,
}

/// The pictures of one maker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Who.
    pub maker: String,
    /// How many.
    pub images: usize,
}

/// The sums over the parts of a data set.
#[derive(Clone, Debug, Serialize)]
pub struct Total {
    /// The data set.
    pub set: &'static str,
    /// Alphabets.
    pub alphabets: usize,
    /// Classes: Omniglot's parts share none, MNIST's share all.
    pub classes: usize,
    /// Images.
    pub images: usize,
}

/// The one-shot runs of Lake et al. 2015.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// Runs.
    pub runs: usize,
    /// Test images of all runs.
    pub trials: usize,
}

/// Recognises what is in a folder (Omniglot, the Lake runs, MNIST, else class folders, also in a zip file),
/// reads all of it and measures it; of class folders the pictures that the triage keeps, whose makers `makers`
/// tells.
pub fn info(dir: &Path, makers: Option<Makers>, triage: &Triage<'_>) -> Result<Info> {
    super::there(dir)?;
    if makers.is_some() || zipped::is_zip(dir) {
        return class_folders_info(dir, makers, triage);
    }
    std::fs::read_dir(dir).map_err(Error::io("read the folder", dir))?;
    let mut parts = Vec::new();
    for part in omniglot::Part::ALL {
        if omniglot::has(dir, part) {
            parts.push(Held::of(&omniglot(dir, part, &Preprocessing::ink(omniglot::SIDE))?));
        }
    }
    let omniglot_parts = parts.len();
    for part in mnist::Part::ALL {
        if mnist::has(dir, part) {
            parts.push(Held::of(&mnist(dir, part, &Preprocessing::ink(mnist::SIDE))?));
        }
    }
    let lake =
        if lake::has(dir) { Some(Runs::of(&lake(dir, &Preprocessing::ink(mnist::SIDE))?)) } else { None };
    let (of_omniglot, of_mnist) = parts.split_at(omniglot_parts);
    let totals = [("omniglot", of_omniglot), ("mnist", of_mnist)]
        .into_iter()
        .filter(|(_, parts)| parts.len() > 1)
        .map(|(set, parts)| Total::of(set, parts))
        .collect();
    if parts.is_empty() && lake.is_none() {
        return class_folders_info(dir, makers, triage);
    }
    let broken = triage.tally().broken;
    Ok(Info { folder: dir.display().to_string(), parts, totals, lake, broken })
}

fn class_folders_info(dir: &Path, makers: Option<Makers>, triage: &Triage<'_>) -> Result<Info> {
    let survey = Survey::of(dir)?;
    let how = Preprocessing::ink(omniglot::SIDE);
    let how = if survey.is_coloured() { how.in_colour(Colour::default()) } else { how };
    let choice = Choice { makers, ..Choice::default() };
    let data = class_folders(dir, &how, &choice, triage)?;
    let made = |(number, maker): (usize, &String)| Made {
        maker: maker.clone(),
        images: data.drawers.iter().filter(|&&drawer| usize::from(drawer) == number).count(),
    };
    let makers = choice.makers.iter().flat_map(|makers| makers.names().iter().enumerate().map(made));
    let held = Held { survey: Some(survey), makers: makers.collect(), ..Held::of(&data) };
    let broken = triage.tally().broken;
    Ok(Info { folder: dir.display().to_string(), parts: vec![held], totals: Vec::new(), lake: None, broken })
}

impl Held {
    /// Counts and measures.
    pub fn of(data: &Dataset) -> Self {
        let sizes: Vec<usize> = data.by_class().iter().map(Vec::len).collect();
        let (mean, std) = ink(data);
        Self {
            name: data.name.clone(),
            alphabets: data.alphabets.len(),
            classes: data.classes.len(),
            images: data.len(),
            drawers: data.drawers.iter().collect::<BTreeSet<_>>().len(),
            images_per_class_min: sizes.iter().copied().min().unwrap_or(0),
            images_per_class_max: sizes.iter().copied().max().unwrap_or(0),
            side_px: data.size(),
            mean,
            std,
            survey: None,
            makers: Vec::new(),
        }
    }
}

impl Total {
    fn of(set: &'static str, parts: &[Held]) -> Self {
        let sum = |count: fn(&Held) -> usize| parts.iter().map(count).sum();
        let (alphabets, classes) = match set {
            "mnist" => (1, parts[0].classes),
            _ => (sum(|p| p.alphabets), sum(|p| p.classes)),
        };
        Self { set, alphabets, classes, images: sum(|p| p.images) }
    }
}

impl Runs {
    fn of(lake: &lake::LakeRuns) -> Self {
        Self { runs: lake.runs.len(), trials: lake.runs.iter().map(|r| r.answers.len()).sum() }
    }
}

/// Mean and standard deviation of all pixels / 255, from exact sums.
fn ink(data: &Dataset) -> (f64, f64) {
    let mut counts = [0_u64; 256];
    data.images.iter().for_each(|&level| counts[usize::from(level)] += 1);
    let moment = |power: u32| -> f64 {
        let sum: u128 = (0..256_u128).zip(counts).map(|(level, n)| level.pow(power) * u128::from(n)).sum();
        sum as f64 / data.images.len().max(1) as f64
    };
    let (mean, square) = (moment(1), moment(2));
    (mean / 255.0, (square - mean * mean).max(0.0).sqrt() / 255.0)
}
