//! `siamese classify`: what is on these pictures, or is it unknown?

use super::output::{json_line, note, print};
use super::shared::{self, PictureArgs, RuntimeArgs, SecondLookArgs, interval, percent, rounded};
use super::{Context, Outcome};
use crate::Result;
use crate::error::one_line;
use crate::eval::bootstrap::Share;
use crate::gallery::{self, Answered, Gallery, Limit, Location, Question, Rule, Shots, page};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Arguments of `classify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery.
    gallery: Location,
    /// Pictures, folders, or - for a list of paths on stdin.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The tower: a file, or a shipped one's name; the gallery's own, or one that was trained to be compatible with it
    /// [default: the gallery's].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// The nearest classes to tell.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    #[command(flatten)]
    second_look: SecondLookArgs,
    /// When a picture is unknown: `auto` (as calibrated), `none`, or beyond this distance to the nearest class
    /// [default: as calibrated, where it was].
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<Limit>,
    /// Choose the threshold for so many pictures of unknown things taken for something known, this time only:
    /// 1% or 0.01.
    #[arg(long, value_name = "RATE", value_parser = shared::rate, conflicts_with = "threshold")]
    false_positives: Option<f64>,
    /// What stands for a class: `best` (its nearest example), `mean`, or the mean of its first K.
    #[arg(long, default_value = "best", value_name = "best|mean|K")]
    shots: Shots,
    /// Look at every example of the gallery, where an index would find the nearest ones sooner, but not always.
    #[arg(long)]
    exact: bool,
    /// Write a page with the answers, their pictures and, for class folders, the confusions.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb; all must be known for the answer yes. As JSON each picture is a line, and the summary
/// one on stderr.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let gallery = Gallery::open(&arguments.gallery)?;
    let rule = rule(arguments, &gallery)?;
    let (shots, top, with_ink) = (arguments.shots, arguments.top as usize, arguments.report.is_some());
    let mut embedder = shared::asker(context, &arguments.runtime, &gallery, arguments.tower.as_deref())?;
    let load = |path: &Path| arguments.runtime.load(context, path);
    let own = || gallery.asker(arguments.tower.as_deref(), load);
    let mut second = arguments.second_look.load(context, &arguments.runtime, own)?;
    let pictures = shared::inputs(&arguments.images)?;
    let labels: Vec<String> = gallery.classes()?.into_iter().map(|e| e.label).collect();
    if !context.json {
        print(HEADER)?;
    }
    let (bar, mut answers, mut summary) =
        (shared::bar_of(&arguments.images), Vec::new(), Summary::of(&labels, rule));
    summary.tower_sha256.clone_from(&embedder.spec().sha256);
    summary.changed = second.as_ref().map(|_| 0);
    summary.other_tower_sha256 = second.as_ref().and_then(|s| Some(s.other()?.sha256.clone()));
    summary.gallery_sha256.clone_from(&gallery.facts().tower_sha256);
    summary.recall_at_1 = gallery.index_of(shots, arguments.exact).map(|index| index.recall_at_1);
    let triage = arguments.pictures.triage_above(&bar);
    let question = Question { shots, top, rule, exact: arguments.exact, with_ink };
    gallery::classify(
        &gallery,
        question,
        pictures,
        embedder.as_mut(),
        second.as_mut(),
        &triage,
        |answered| {
            bar.set_position(triage.tally().pictures);
            bar.suspend(|| {
                answered.iter().for_each(|a| summary.count(a));
                let told = if context.json {
                    answered.iter().map(|a| Ok(json_line(a)? + "\n")).collect::<Result<String>>()?
                } else {
                    answered.iter().map(line).collect()
                };
                print(&told)?;
                if with_ink {
                    answers.extend(answered);
                }
                Ok(())
            })
        },
    )?;
    bar.finish_and_clear();
    summary.broken = triage.tally().broken;
    if context.json {
        note(json_line(&summary)?);
    } else {
        print(&(summary.text() + "\n"))?;
    }
    if let Some(out) = &arguments.report {
        page::classification(gallery.facts(), &labels, rule.as_ref(), &answers)?.write(out)?;
    }
    triage.end()?;
    Ok(if summary.unknown > 0 { Outcome::No } else { Outcome::Yes })
}

fn rule(arguments: &Arguments, gallery: &Gallery) -> Result<Option<Rule>> {
    let Some(rate) = arguments.false_positives else {
        return shared::rule(arguments.threshold, arguments.shots, gallery);
    };
    let found = gallery.identify(Some(rate))?;
    shared::of_best(arguments.shots);
    if let Some(short) = shared::shortfall(&found.point) {
        note(format_args!("note: {short}"));
    }
    Ok(Some(Rule::from(&found)))
}

/// What the columns are.
const HEADER: &str = "picture\tlabel\tdistance\tmargin\tnearest others\n";

/// Path, label, distance and margin, apart by tabs; then the other near classes.
fn line(answered: &Answered) -> String {
    let Answered { source, answer, .. } = answered;
    let label = answer.label.as_deref().unwrap_or("unknown");
    let margin = answer.margin.map_or_else(|| "-".into(), rounded);
    let others = answer.nearest.iter().skip(usize::from(answer.label.is_some()));
    let others: Vec<String> =
        others.map(|c| format!("{} {}", one_line(&c.label), rounded(c.distance))).collect();
    let (source, label) = (one_line(source), one_line(label));
    format!("{source}\t{label}\t{}\t{margin}\t{}\n", rounded(answer.distance), others.join(", "))
}

/// What the pictures came to.
#[derive(Debug, Serialize)]
struct Summary {
    pictures: u64,
    /// Pictures that are of no known class.
    unknown: u64,
    /// Pictures that could not be used.
    broken: u64,
    rule: Option<Rule>,
    /// SHA-256 of the tower that asked, and of the gallery's own.
    tower_sha256: String,
    gallery_sha256: String,
    /// Answers that a second look changed, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<u64>,
    /// SHA-256 of the other tower that looked, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_tower_sha256: Option<String>,
    /// Pictures whose folder is named after a class of the gallery.
    of_known_classes: u64,
    /// Those of them that were given this class.
    right: u64,
    /// Those of the other pictures that were called unknown.
    others_unknown: u64,
    /// How often the nearest example is found, where that is by an index; without it always.
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_at_1: Option<Share>,
    #[serde(skip)]
    labels: HashSet<String>,
}

impl Summary {
    fn of(labels: &[String], rule: Option<Rule>) -> Self {
        let labels = labels.iter().cloned().collect();
        let (pictures, unknown, broken, of_known_classes, right, others_unknown) = (0, 0, 0, 0, 0, 0);
        let (recall_at_1, changed, other_tower_sha256) = (None, None, None);
        let (tower_sha256, gallery_sha256) = (String::new(), String::new());
        Self {
            pictures,
            unknown,
            broken,
            rule,
            tower_sha256,
            gallery_sha256,
            changed,
            other_tower_sha256,
            of_known_classes,
            right,
            others_unknown,
            recall_at_1,
            labels,
        }
    }

    fn count(&mut self, answered: &Answered) {
        let is_unknown = answered.answer.label.is_none();
        self.pictures += 1;
        self.unknown += u64::from(is_unknown);
        if let (Some(changed), Some(looked)) = (&mut self.changed, &answered.second_look) {
            *changed += u64::from(looked.changed);
        }
        if self.labels.contains(&answered.place) {
            self.of_known_classes += 1;
            self.right += u64::from(answered.answer.label.as_ref() == Some(&answered.place));
        } else {
            self.others_unknown += u64::from(is_unknown);
        }
    }

    fn text(&self) -> String {
        let Self { pictures, unknown, of_known_classes, right, others_unknown, .. } = self;
        let mut text = format!("{pictures} pictures: {} known, {unknown} unknown", pictures - unknown);
        if *of_known_classes > 0 {
            let share = percent(*right as f64 / *of_known_classes as f64);
            text +=
                &format!("; {right} of {of_known_classes} in folders of known classes are right ({share} %)");
            let others = pictures - of_known_classes;
            if others > 0 {
                text += &format!(", {others_unknown} of {others} others are called unknown");
            }
        }
        if let Some(recall) = &self.recall_at_1 {
            let found = interval(recall);
            text += &format!("; the index finds the nearest example of {found} %, and --exact looks at all");
        }
        if let Some(changed) = self.changed {
            text += &format!("; a second look changed {changed} answers");
        }
        if self.rule.is_none() {
            text + "; without a threshold nothing is unknown (`siamese calibrate` chooses one)"
        } else {
            text
        }
    }
}
