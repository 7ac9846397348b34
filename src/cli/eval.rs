//! `siamese eval`: accuracy by the protocols of the field.

use super::shared::{self, RuntimeArgs, percent};
use super::{Context, Outcome};
use crate::data;
use crate::eval::{Classifier, Evaluation, LAKE_EPISODES, Protocol, evaluate};
use crate::export::{self, Trained};
use crate::report::decisions;
use crate::sample::EpisodeSpec;
use crate::{Error, Result};
use clap::ValueEnum;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `eval`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The tower.
    tower: PathBuf,
    /// The protocol.
    #[arg(long, value_enum)]
    protocol: Name,
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
    /// Classes of all alphabets, any drawers (the default).
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
    /// The data folder [default: SIAMESE_DATA, else the cache].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write a page with confusions, scores, a map of the embeddings and the worst errors.
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// MNIST: first training image of each digit, 10,000 test images, by L1 and L2.
    NearestTruth,
    /// The 20 characters of Angelic, 380 queries (and the README's way: 400).
    Angelic,
    /// The 20 runs of Lake et al. 2015, and random trials of the same kind.
    Lake,
    /// N-way K-shot episodes over Omniglot's evaluation part, or class folders.
    Episodes,
    /// 10-way K-shot episodes over MNIST's test images.
    Digits,
    /// MNIST's test images by the classifier that a softmax recipe trained with the tower (--run).
    Accuracy,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    if command.protocol != Name::Accuracy && command.run.is_some() {
        return Err(Error::invalid("--run", "names a classifier, which only the protocol accuracy asks"));
    }
    let trained = command.run.as_deref().map(export::trained).transpose()?;
    let protocol = protocol(command, trained.as_ref())?;
    if command.protocol == Name::Accuracy && command.report.is_some() {
        return Err(Error::invalid(
            "--report",
            "shows what was taken for what, and a classifier has no supports",
        ));
    }
    let dir = data::data_dir(command.data.as_deref())?;
    let mut embedder = command.runtime.load(context, &command.tower)?;
    if let Some(Trained { recipe, .. }) = trained.filter(|t| t.recipe.name != embedder.spec().name) {
        let (tower, run) = (&embedder.spec().name, &recipe.name);
        let why =
            format!("is a run of {run}, but the tower is {tower}; name the run that it was exported from");
        return Err(Error::invalid("--run", why));
    }
    let bar = shared::bar();
    let (evaluation, evidence) = evaluate(&protocol, embedder.as_mut(), &dir, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if let Some(out) = &command.report {
        let distance = &embedder.spec().distance;
        decisions::evaluation(&evaluation, &evidence, distance)?.write(out)?;
    }
    if context.json {
        shared::print_json(&json!({ "runtime": command.runtime.runtime, "evaluation": evaluation }))?;
    } else {
        print!("{}", text(&evaluation));
    }
    Ok(Outcome::Yes)
}

fn protocol(command: &Command, trained: Option<&Trained>) -> Result<Protocol> {
    let &Command { way, shot, queries, within, episodes, seed, .. } = command;
    if way < 2 {
        return Err(Error::invalid("--way", "at least 2 classes are needed for a decision"));
    }
    Ok(match command.protocol {
        Name::NearestTruth => Protocol::NearestTruth,
        Name::Angelic => Protocol::Angelic,
        Name::Lake => Protocol::Lake { episodes, seed },
        Name::Episodes => {
            let spec = EpisodeSpec { way, shot, queries, within, different_drawers: within };
            Protocol::Episodes { spec, episodes, seed }
        }
        Name::Digits => Protocol::Digits { shot, episodes, seed },
        Name::Accuracy => {
            let trained = trained.ok_or_else(|| Error::invalid("--run", "must name the classifier's run"))?;
            Protocol::Accuracy(Classifier::of(&trained.params)?)
        }
    })
}

fn text(evaluation: &Evaluation) -> String {
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
