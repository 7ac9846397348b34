//! `siamese classify`: what is on these pictures, or is it unknown?

use super::output::{print, print_json};
use super::progress::counter;
use super::shared::{self, PictureArgs, RuntimeArgs};
use super::{Context, Outcome};
use crate::Result;
use crate::error::one_line;
use crate::gallery::{self, Answered, Classification, Gallery, Limit, Location, Question, Shots, page};
use std::path::PathBuf;

/// Arguments of `classify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery.
    gallery: Location,
    /// Pictures, folders, or - for a list of paths on stdin.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The tower: a file, or a shipped one's name [default: the gallery's].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// The nearest classes to tell.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Beyond this distance a picture is unknown: `auto` (as calibrated), `none`, or a number
    /// [default: as calibrated, where it was].
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<Limit>,
    /// What stands for a class: `best` (its nearest example), `mean`, or the mean of its first K.
    #[arg(long, default_value = "best", value_name = "best|mean|K")]
    shots: Shots,
    /// Write a page with the answers, their pictures and, for class folders, the confusions.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb; all must be known for the answer yes.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let gallery = Gallery::open(&arguments.gallery)?;
    let question = Question {
        shots: arguments.shots,
        top: arguments.top as usize,
        threshold: shared::threshold(arguments.threshold, &gallery)?,
        with_ink: arguments.report.is_some(),
    };
    let mut embedder =
        shared::embedder(context, &arguments.runtime, Some(&gallery), arguments.tower.as_deref())?;
    let pictures = shared::inputs(&arguments.images)?;
    let (bar, mut answers, mut unknown) = (counter("images"), Vec::new(), false);
    let triage = arguments.pictures.triage_above(&bar);
    gallery::classify(&gallery, question, pictures, embedder.as_mut(), &triage, |answered| {
        bar.set_position(triage.tally().pictures);
        bar.suspend(|| {
            unknown |= answered.iter().any(|a| a.answer.label.is_none());
            if !context.json {
                print(&answered.iter().map(line).collect::<String>())?;
            }
            if context.json || arguments.report.is_some() {
                answers.extend(answered);
            }
            Ok(())
        })
    })?;
    bar.finish_and_clear();
    let (threshold, broken) = (question.threshold, triage.tally().broken);
    let told = Classification { gallery: arguments.gallery.clone(), threshold, answers, broken };
    if context.json {
        print_json(&told)?;
    }
    if let Some(out) = &arguments.report {
        let labels: Vec<String> = gallery.classes()?.into_iter().map(|e| e.label).collect();
        page::classification(gallery.facts(), &labels, threshold, &told.answers)?.write(out)?;
    }
    triage.end()?;
    Ok(if unknown { Outcome::No } else { Outcome::Yes })
}

/// Path, label, distance and margin, apart by tabs; then the other near classes.
fn line(answered: &Answered) -> String {
    let Answered { source, answer, .. } = answered;
    let label = answer.label.as_deref().unwrap_or("unknown");
    let margin = answer.margin.map_or_else(|| "-".into(), |m| format!("{m}"));
    let others = answer.nearest.iter().skip(usize::from(answer.label.is_some()));
    let others: Vec<String> = others.map(|c| format!("{} {}", one_line(&c.label), c.distance)).collect();
    let (source, label) = (one_line(source), one_line(label));
    format!("{source}\t{label}\t{}\t{margin}\t{}\n", answer.distance, others.join(", "))
}
