//! `siamese eval`: accuracy by the protocols of the field.

use super::output::show;
use super::progress::bar;
use super::shared::{RuntimeArgs, percent};
use super::{Context, Outcome};
use crate::data::{self, Makers};
use crate::eval::{EvalOptions, EvaluationResult, LAKE_EPISODES, LinearClassifier, Protocol, evaluate, page};
use crate::runtime::Runtime;
use crate::sample::EpisodeSpec;
use crate::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The tower.
    tower: PathBuf,
    /// The protocol.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// N, the classes of an episode.
    #[arg(long, default_value_t = 20)]
    way: usize,
    /// K, the known drawings of each class of an episode.
    #[arg(long, default_value_t = 1)]
    shot: usize,
    /// Queries of each class of an episode.
    #[arg(long, default_value_t = 1)]
    queries: usize,
    /// Classes of one alphabet, supports and queries by different drawers.
    #[arg(long, conflicts_with = "across")]
    within: bool,
    /// Classes of all alphabets or groups, any drawers unless --makers tells them (the default).
    #[arg(long)]
    across: bool,
    /// Episodes; for lake those of the figure beside the 400 trials (0 for none).
    #[arg(long, default_value_t = LAKE_EPISODES)]
    episodes: u64,
    /// The episodes' seed.
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
    let bar = bar(0, "image");
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let (evaluation, evidence) =
        evaluate(arguments.protocol, &options, embedder.as_mut(), &dir, &mut progress)?;
    bar.finish_and_clear();
    if let Some(out) = &arguments.report {
        page::page(&evaluation, &evidence, &embedder.spec().distance)?.write(out)?;
    }
    let evaluated = Evaluated { runtime: arguments.runtime.runtime, evaluation };
    show(context, &evaluated, |e| text(&e.evaluation))?;
    Ok(Outcome::Yes)
}

fn options(arguments: &Arguments) -> Result<EvalOptions> {
    let &Arguments { protocol, way, shot, queries, within, episodes, seed, .. } = arguments;
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
    let makers = arguments.makers.as_deref().map(Makers::read).transpose()?;
    let spec = EpisodeSpec { way, shot, queries, within, different_drawers: within || makers.is_some() };
    let classifier = arguments.run.as_deref().map(LinearClassifier::of_run).transpose()?;
    Ok(EvalOptions { spec, episodes, seed, classifier, makers })
}

fn text(evaluation: &EvaluationResult) -> String {
    let mut text = format!("{}: {} ({})\n", evaluation.protocol, evaluation.tower, evaluation.data);
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
