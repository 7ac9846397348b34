//! `siamese classify`: what is on these pictures, or is it unknown?

use super::shared::{self, RuntimeArgs};
use super::{Context, Outcome};
use crate::embed::{self, Embedded, Input, Outcome as Embedding};
use crate::gallery::{Answer, Classifier, Gallery, Shots};
use crate::report::decisions::{self, Answered};
use crate::{Error, Result};
use ndarray::{Array2, Array3};
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;

/// Arguments of `classify`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The gallery.
    gallery: PathBuf,
    /// Pictures, folders, or - for a list of paths on stdin.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The tower [default: the one that the gallery was made with].
    #[arg(long, value_name = "FILE")]
    tower: Option<PathBuf>,
    /// The nearest classes to tell.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Beyond this distance a picture is unknown: `auto` (as calibrated), `none`, or a number
    /// [default: as calibrated, where it was].
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<ThresholdArg>,
    /// What stands for a class: `best` (its nearest example), `mean`, or the mean of its first K.
    #[arg(long, default_value = "best", value_name = "best|mean|K")]
    shots: ShotsArg,
    /// Write a page with the answers, their pictures and, for class folders, the confusions.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Beyond which distance a picture is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdArg {
    /// As calibrated.
    Auto,
    /// Nothing is unknown.
    None,
    /// This distance.
    At(f32),
}

impl FromStr for ThresholdArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => match text.parse::<f32>() {
                Ok(x) if x.is_finite() => Ok(Self::At(x)),
                _ => Err("give auto, none, or a distance".into()),
            },
        }
    }
}

/// What stands for a class.
#[derive(Clone, Copy, Debug)]
pub struct ShotsArg(Shots);

impl FromStr for ShotsArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "best" => Ok(Self(Shots::Best)),
            "mean" => Ok(Self(Shots::Mean)),
            _ => match text.parse() {
                Ok(k) if k > 0 => Ok(Self(Shots::First(k))),
                _ => Err("give best, mean, or a number of examples, at least 1".into()),
            },
        }
    }
}

impl ShotsArg {
    /// What is meant.
    pub fn shots(self) -> Shots {
        self.0
    }
}

impl ThresholdArg {
    /// The distance that is meant for a gallery.
    pub fn of(given: Option<Self>, gallery: &Gallery) -> Result<Option<f32>> {
        let calibrated = gallery.facts().threshold.as_ref().map(|t| t.distance);
        match given {
            None => Ok(calibrated),
            Some(Self::None) => Ok(None),
            Some(Self::At(distance)) => Ok(Some(distance)),
            Some(Self::Auto) if calibrated.is_some() => Ok(calibrated),
            Some(Self::Auto) => {
                let why =
                    "has no calibrated threshold; run `siamese calibrate`, or give --threshold a distance";
                Err(Error::invalid(gallery.path().display(), why))
            }
        }
    }
}

/// A picture that waits for its answer.
struct Waiting {
    input: Input,
    image: Option<Array3<u8>>,
    embedding: Vec<f32>,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    let gallery = Gallery::open(&command.gallery)?;
    let threshold = ThresholdArg::of(command.threshold, &gallery)?;
    let mut embedder = command.runtime.load_for(context, &gallery, command.tower.as_deref())?;
    let (at, distance) = (command.gallery.display().to_string(), gallery.facts().distance.clone());
    let classifier = Classifier::new(gallery.load()?, distance, command.shots.shots(), &at)?;
    let keep = command.report.is_some();
    let (mut waiting, mut told) =
        (Vec::<Waiting>::new(), Told { context, all: Vec::new(), keep, known: 0, unknown: 0 });
    let (bar, mut broken, mut all) = (shared::counter(), 0_u64, 0_u64);
    embed::pictures(shared::inputs(&command.images)?, embedder.as_mut(), |outcome| {
        bar.inc(1);
        all += 1;
        match outcome {
            Embedding::Broken(_, error) => {
                broken += 1;
                bar.suspend(|| shared::warn(error));
            }
            Embedding::Embedded(Embedded { input, image, embedding }) => {
                let image = keep.then(|| image.to_owned());
                waiting.push(Waiting { input: input.clone(), image, embedding: embedding.to_vec() });
            }
        }
        if waiting.len() == embed::BATCH {
            bar.suspend(|| told.answer(&classifier, &mut waiting, command.top, threshold))?;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    told.answer(&classifier, &mut waiting, command.top, threshold)?;
    if all == 0 {
        return Err(Error::invalid("the list on stdin", "names no picture"));
    }
    if context.json {
        let answers: Vec<_> = told.all.iter().map(as_json).collect();
        shared::print_json(&json!({
            "gallery": command.gallery, "threshold": threshold, "answers": answers, "broken": broken,
        }))?;
    }
    if let Some(out) = &command.report {
        let labels: Vec<String> = gallery.entries()?.into_iter().map(|e| e.label).collect();
        decisions::classification(gallery.facts(), &labels, threshold, &told.all)?.write(out)?;
    }
    shared::broken(broken, all)?;
    Ok(if told.unknown > 0 { Outcome::No } else { Outcome::Yes })
}

fn as_json(answered: &Answered) -> serde_json::Value {
    let Answered { source, place, answer, .. } = answered;
    json!({
        "source": source, "place": place, "label": answer.label, "distance": answer.distance,
        "margin": answer.margin, "nearest": answer.nearest,
    })
}

/// The answers so far; they are kept only where JSON or a report needs them.
struct Told<'a> {
    context: &'a Context,
    all: Vec<Answered>,
    keep: bool,
    known: u64,
    unknown: u64,
}

impl Told<'_> {
    fn answer(
        &mut self,
        classifier: &Classifier,
        waiting: &mut Vec<Waiting>,
        top: u32,
        threshold: Option<f32>,
    ) -> Result<()> {
        let Some(dim) = waiting.first().map(|w| w.embedding.len()) else { return Ok(()) };
        let rows: Vec<f32> = waiting.iter().flat_map(|w| w.embedding.iter().copied()).collect();
        let queries = Array2::from_shape_vec((waiting.len(), dim), rows)
            .map_err(|e| Error::invalid_because("the pictures", "have embeddings of different lengths", e))?;
        let answers = classifier.classify(queries.view(), top as usize, threshold);
        for (Waiting { input, image, .. }, answer) in waiting.drain(..).zip(answers) {
            *(if answer.label.is_some() { &mut self.known } else { &mut self.unknown }) += 1;
            if !self.context.json {
                println!("{}", line(&input, &answer));
            }
            if self.context.json || self.keep {
                let (source, place) = (input.source(), input.label);
                self.all.push(Answered { source, place, image, answer });
            }
        }
        Ok(())
    }
}

/// Path, label, distance and margin, apart by tabs; then the other near classes.
fn line(input: &Input, answer: &Answer) -> String {
    let label = answer.label.as_deref().unwrap_or("unknown");
    let margin = answer.margin.map_or_else(|| "-".into(), |m| format!("{m}"));
    let others = answer.nearest.iter().skip(usize::from(answer.label.is_some()));
    let others: Vec<String> = others.map(|c| format!("{} {}", c.label, c.distance)).collect();
    format!("{}\t{label}\t{}\t{margin}\t{}", input.source(), answer.distance, others.join(", "))
}
