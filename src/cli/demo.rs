//! `siamese demo`: the whole way, on built-in data.

use super::output::{note, show};
use super::progress::bar;
use super::{Context, Outcome};
use crate::Result;
use crate::demo::{self, Demo, Demonstration, TowersFrom, Watch};
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder for what is made; the page gets its name and .html.
    #[arg(long, value_name = "DIR", default_value = "siamese-demo")]
    out: PathBuf,
    /// Training steps, in place of the recipe's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let stop = AtomicBool::new(false);
    let demo =
        Demo { out: &arguments.out, steps: arguments.steps, library: context.library(false), stop: &stop };
    let told = demo::run(&demo, &mut Shown { bar: None })?;
    show(context, &told, text)?;
    Ok(if told.agrees() { Outcome::Yes } else { Outcome::No })
}

/// Progress on stderr.
struct Shown {
    bar: Option<ProgressBar>,
}

impl Watch for Shown {
    fn say(&mut self, text: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
        note(format_args!("· {text}"));
    }

    fn step(&mut self, step: u64, steps: u64, text: &str) {
        let bar = self.bar.get_or_insert_with(|| bar(steps, "step"));
        bar.set_position(step);
        bar.set_message(text.to_string());
    }
}

fn text(summary: &Demonstration) -> String {
    let mut text = match &summary.origin {
        TowersFrom::Trained { steps } => {
            format!("trained for {steps} steps, exported, compared, enrolled\n\n")
        }
        TowersFrom::Shipped { .. } => "the shipped tower, enrolled\n\n".to_string(),
    };
    text += "  tower  runtime  right        accuracy  95 % interval\n";
    for row in &summary.rows {
        let [low, high] = row.interval_95.map(|x| 100.0 * x);
        let runtime = row.runtime.name;
        text += &format!(
            "  {:<6} {runtime:<8} {:>3} of {:<3}  {:>6.1} %   {low:.1}–{high:.1}\n",
            row.tower.name(),
            row.right,
            row.asked,
            100.0 * row.accuracy()
        );
    }
    text += "\n20 characters of an unseen alphabet, one drawing of each known; guessing gives 5 %\n";
    text += &agreement(summary);
    text + &format!("{:.0} s; report: {}\n", summary.seconds, crate::error::shown(&summary.report))
}

fn agreement(summary: &Demonstration) -> String {
    let mut text = String::new();
    for c in &summary.comparisons {
        let (p, kind) = (&c.predictions, c.tower.spec.kind.name());
        let certified = 100.0 * p.certified as f64 / p.queries.max(1) as f64;
        let bits = if c.settings.sha256.is_some() { "; one SHA-256 everywhere" } else { "" };
        text += &format!(
            "{kind}: {} flips in {} predictions on {} and {}, {certified:.3} % certified{bits}\n",
            p.flipped, p.queries, c.a.setting.runtime, c.b.setting.runtime
        );
    }
    text
}
