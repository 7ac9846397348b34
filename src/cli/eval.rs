//! `siamese eval`: accuracy by the protocols of the field.

use super::output::show;
use super::progress::bar;
use super::shared::{self, PictureArgs, RuntimeArgs, SecondLookArgs, interval, percent};
use super::{Context, Outcome};
use crate::data::{self, Makers};
use crate::eval::bootstrap::Difference;
use crate::eval::identification::Galleries;
use crate::eval::{
    EvalOptions, EvaluationResult, LAKE_EPISODES, LinearClassifier, Protocol, SecondLookResult, Towers,
    evaluate, page,
};
use crate::runtime::{Embedder, Runtime};
use crate::sample::EpisodeSpec;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;

/// Galleries of a figure, unless it is told.
const GALLERIES: u64 = 200;

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The tower: a file, or a shipped one's name.
    tower: PathBuf,
    /// The protocol.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// N, the classes of an episode, or the known classes of a gallery.
    #[arg(long, default_value_t = 20)]
    way: usize,
    /// K, the known drawings of each class of an episode [default: 1; of a gallery 3].
    #[arg(long)]
    shot: Option<usize>,
    /// Queries of each class of an episode.
    #[arg(long, default_value_t = 1)]
    queries: usize,
    /// Classes of one alphabet, supports and queries by different drawers.
    #[arg(long, conflicts_with = "across")]
    within: bool,
    /// Classes of all alphabets or groups, any drawers unless --makers tells them (the default).
    #[arg(long)]
    across: bool,
    /// What is known is embedded by this older tower, which the other one was trained to be compatible with (episodes
    /// and digits): how well it answers from galleries of the older one.
    #[arg(long, value_name = "TOWER", conflicts_with = "second_look")]
    known_by: Option<PathBuf>,
    #[command(flatten)]
    second_look: SecondLookArgs,
    /// Episodes, or galleries; for lake those of the figure beside the 400 trials (0 for none)
    /// [default: 1000; galleries 200].
    #[arg(long)]
    episodes: Option<u64>,
    /// How many pictures of unknown classes galleries are asked to take for known ones at most; several apart by
    /// commas (identification).
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_values = ["10%", "5%", "1%"],
          value_parser = shared::rate)]
    false_positives: Vec<f64>,
    /// The seed of episodes and galleries.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The training run that the tower was exported from; its classifier is what `accuracy` asks.
    #[arg(long, value_name = "RUN", required_if_eq("protocol", "accuracy"))]
    run: Option<PathBuf>,
    /// The data folder, or class folders as a zip file [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Who made the pictures of class folders, a JSON from the stem of a file's name to its maker: supports and
    /// queries are by different makers.
    #[arg(long, value_name = "FILE")]
    makers: Option<PathBuf>,
    /// Write a page with confusions, scores, a map of the embeddings and the worst errors.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// An evaluation, and what computed it.
#[derive(Debug, Serialize)]
struct Evaluated {
    runtime: &'static Runtime,
    evaluation: EvaluationResult,
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let options = options(arguments)?;
    let dir = data::data_dir(arguments.data.as_deref())?;
    let mut embedder = arguments.runtime.load(context, &arguments.tower)?;
    let mut older =
        arguments.known_by.as_deref().map(|old| arguments.runtime.load(context, old)).transpose()?;
    if let Some(older) = &older {
        compatible(embedder.spec(), older.spec())?;
    }
    let own = || arguments.runtime.load(context, &arguments.tower);
    let mut second = arguments.second_look.load(context, &arguments.runtime, own)?;
    let (bar, triage) = (bar(0, "image"), arguments.pictures.triage());
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let towers = Towers {
        asked: embedder.as_mut(),
        known: older.as_mut().map(|old| old.as_mut() as &mut dyn Embedder),
        second: second.as_mut(),
    };
    let (evaluation, evidence) =
        evaluate(arguments.protocol, &options, towers, &dir, &triage, &mut progress)?;
    bar.finish_and_clear();
    if let Some(out) = &arguments.report {
        page::page(&evaluation, &evidence, &embedder.spec().distance)?.write(out)?;
    }
    let evaluated = Evaluated { runtime: arguments.runtime.runtime, evaluation };
    show(context, &evaluated, |e| text(&e.evaluation))?;
    triage.end()?;
    Ok(Outcome::Yes)
}

fn options(arguments: &Arguments) -> Result<EvalOptions> {
    let &Arguments { protocol, way, queries, within, seed, .. } = arguments;
    let (usual_shot, usual_episodes) = match protocol {
        Protocol::Identification => (3, GALLERIES),
        _ => (1, LAKE_EPISODES),
    };
    let shot = arguments.shot.unwrap_or(usual_shot);
    let episodes = arguments.episodes.unwrap_or(usual_episodes);
    let rates = arguments.false_positives.clone();
    if way < 2 {
        return Err(Error::invalid("--way", "at least 2 classes are needed for a decision"));
    }
    if protocol != Protocol::Accuracy && arguments.run.is_some() {
        return Err(Error::invalid("--run", "names a classifier, which only the protocol accuracy asks"));
    }
    if protocol == Protocol::Accuracy && arguments.report.is_some() {
        let why = "shows what was taken for what, and a classifier has no supports";
        return Err(Error::invalid("--report", why));
    }
    if protocol != Protocol::Episodes && arguments.makers.is_some() {
        return Err(Error::invalid("--makers", "is of class folders, which only the protocol episodes asks"));
    }
    if !matches!(protocol, Protocol::Episodes | Protocol::Digits) && arguments.known_by.is_some() {
        return Err(Error::invalid("--known-by", "is of the protocols episodes and digits"));
    }
    let asks_otherwise = matches!(protocol, Protocol::Identification | Protocol::Accuracy);
    if arguments.second_look.wanted() && asks_otherwise {
        let why = "is of the protocols that ask for the nearest class: all but identification and accuracy";
        return Err(Error::invalid("--second-look", why));
    }
    let makers = arguments.makers.as_deref().map(Makers::read).transpose()?;
    let spec = EpisodeSpec { way, shot, queries, within, different_drawers: within || makers.is_some() };
    let classifier = arguments.run.as_deref().map(LinearClassifier::of_run).transpose()?;
    Ok(EvalOptions { spec, episodes, seed, rates, classifier, makers })
}

/// That a tower answers from galleries of an older one.
fn compatible(new: &TowerSpec, old: &TowerSpec) -> Result<()> {
    let with = new.compatible_with.as_deref();
    if with == Some(old.sha256.as_str()) || new.sha256 == old.sha256 {
        return Ok(());
    }
    let told = with.map_or("no older tower".to_string(), |hash| format!("the tower of SHA-256 {hash}"));
    let why = format!("is {} (SHA-256 {}), but {} is compatible with {told}", old.name, old.sha256, new.name);
    Err(Error::invalid("--known-by", why))
}

fn text(evaluation: &EvaluationResult) -> String {
    let mut text = format!("{}: {} ({})\n", evaluation.protocol, evaluation.tower, evaluation.data);
    if let Some(old) = &evaluation.known_by {
        text += &format!("what is known was embedded by the older tower of SHA-256 {old}\n");
    }
    for figure in &evaluation.figures {
        let score = &figure.score;
        let [low, high] = score.interval_95.map(percent);
        text += &format!(
            "{:>7} % ({low}–{high})  {:<11}  {} of {}, {} ties  {}\n",
            percent(score.accuracy),
            figure.distance,
            score.correct,
            score.trials,
            score.ties,
            figure.what
        );
    }
    if let Some(told) = &evaluation.second_look {
        text += &second_look(told);
    }
    if let Some(told) = &evaluation.identification {
        text += &identification(told);
    }
    if let Some(open) = &evaluation.open_set {
        text += &format!("unknown classes: AUROC {:.4}", open.auroc);
        for point in open.points.iter().filter(|p| p.known_accepted < 0.999) {
            let (rejected, accepted) = (percent(point.unknown_rejected), percent(point.known_accepted));
            text += &format!("; {rejected} % rejected at {accepted} % accepted");
        }
        text.push('\n');
    }
    if evaluation.collapsed {
        let chance = evaluation.figures.first().map_or(0.0, |f| f.score.chance);
        text += &format!(
            "COLLAPSED: the tower maps everything to nearly one point; guessing scores {} %\n",
            percent(chance)
        );
    }
    let rate = evaluation.images as f64 / evaluation.embedding_s.max(1e-9);
    text + &format!(
        "{} images embedded in {:.1} s ({rate:.0} /s)\n",
        evaluation.images, evaluation.embedding_s
    )
}

/// A row for each figure after a second look, with what was gained.
fn second_look(told: &SecondLookResult) -> String {
    let also = told.other_tower.as_ref().map_or(String::new(), |other| format!(", by {other} too"));
    let copies = told.copies;
    let mut text =
        format!("after a second look at the nearest classes, by {copies} copies of each picture{also}:\n");
    for figure in &told.figures {
        let score = &figure.score;
        let [low, high] = score.interval_95.map(percent);
        let of_other = figure.gain_of_other.as_ref();
        let of_other =
            of_other.map_or(String::new(), |more| format!(", of that by the other tower {}", gain(more)));
        text += &format!(
            "{:>7} % ({low}–{high})  {}{of_other}  {} of {}, {} ties  {}\n",
            percent(score.accuracy),
            gain(&figure.gain),
            score.correct,
            score.trials,
            score.ties,
            figure.what
        );
    }
    text + &format!(
        "{} pictures in {:.1} s, {:.0} µs each\n",
        told.pictures, told.seconds, told.us_per_picture
    )
}

/// What was gained, in percentage points.
fn gain(told: &Difference) -> String {
    let [least, most] = told.interval_95.map(signed);
    format!("{} ({least} to {most})", signed(told.difference))
}

/// A difference of shares in percentage points, with its sign.
fn signed(difference: f64) -> String {
    format!("{:+.2}", 100.0 * difference)
}

/// A row for each rate that was asked for.
fn identification(told: &Galleries) -> String {
    let mut text = format!(
        "{:<10}{:<10}{:<24}{:<24}{:<12}{}\n",
        "asked, %", "taken", "false positives", "true positives", "expected", "in hindsight"
    );
    for rate in &told.rates {
        let expected = rate.expected_true_positives.map_or_else(|| "-".into(), percent);
        text += &format!(
            "{:<10}{:<10}{:<24}{:<24}{expected:<12}{}\n",
            percent(rate.asked),
            percent(rate.carried),
            interval(&rate.false_positives),
            interval(&rate.true_positives),
            percent(rate.in_hindsight)
        );
    }
    text
}
