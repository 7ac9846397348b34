//! `siamese verify`: do these pictures show the same thing?

use super::classify::ThresholdArg;
use super::shared::{self, RuntimeArgs};
use super::{Context, Outcome};
use crate::embed::{self, Inputs, Outcome as Embedding};
use crate::gallery::Gallery;
use crate::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// A picture.
    a: PathBuf,
    /// Pictures to compare it with: files, folders, or - for a list of paths on stdin.
    #[arg(required = true)]
    b: Vec<PathBuf>,
    /// The tower.
    #[arg(long, value_name = "FILE", required_unless_present = "gallery")]
    tower: Option<PathBuf>,
    /// A gallery, whose tower and calibrated threshold decide.
    #[arg(long)]
    gallery: Option<PathBuf>,
    /// Pictures at most this far apart show the same: a number, or `auto` (as calibrated).
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<ThresholdArg>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb; all must be the same for the answer yes.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    let gallery = command.gallery.as_deref().map(Gallery::open).transpose()?;
    let threshold = threshold(command, gallery.as_ref())?;
    let tower = command.tower.as_deref();
    let mut embedder = match (&gallery, tower) {
        (Some(gallery), _) => command.runtime.load_for(context, gallery, tower)?,
        (None, Some(tower)) => command.runtime.load(context, tower)?,
        (None, None) => return Err(Error::invalid("verify", "give --tower or --gallery")),
    };
    let distance = embedder.spec().distance.clone();
    let mut first = None;
    embed::pictures(Inputs::new([command.a.clone()]), embedder.as_mut(), |outcome| match outcome {
        Embedding::Broken(_, error) => Err(error),
        Embedding::Embedded(_) if first.is_some() => {
            let why = "is a folder of several pictures; the first argument is one picture";
            Err(Error::invalid(command.a.display(), why))
        }
        Embedding::Embedded(done) => {
            first = Some(done.embedding.to_vec());
            Ok(())
        }
    })?;
    let first = first.unwrap_or_default();
    let (mut pairs, mut different, mut broken, mut all) = (Vec::new(), 0_u64, 0, 0);
    embed::pictures(shared::inputs(&command.b)?, embedder.as_mut(), |outcome| {
        all += 1;
        let (input, embedding) = match outcome {
            Embedding::Broken(_, error) => {
                broken += 1;
                shared::warn(error);
                return Ok(());
            }
            Embedding::Embedded(done) => (done.input, done.embedding.to_vec()),
        };
        let apart = distance.between(&first, &embedding);
        let same = apart <= threshold;
        different += u64::from(!same);
        if context.json {
            pairs.push(json!({ "source": input.source(), "same": same, "distance": apart }));
        } else {
            let word = if same { "same" } else { "different" };
            println!("{}\t{word}\t{apart}\t{threshold}", input.source());
        }
        Ok(())
    })?;
    if all == 0 {
        return Err(Error::invalid("the list on stdin", "names no picture"));
    }
    if context.json {
        let told = json!({ "picture": command.a, "threshold": threshold, "pairs": pairs, "broken": broken });
        shared::print_json(&told)?;
    }
    shared::broken(broken, all)?;
    Ok(if different > 0 { Outcome::No } else { Outcome::Yes })
}

fn threshold(command: &Command, gallery: Option<&Gallery>) -> Result<f32> {
    if let Some(ThresholdArg::At(distance)) = command.threshold {
        return Ok(distance);
    }
    let none = || {
        let why = "there is no threshold; give --threshold a distance, or --gallery a calibrated gallery";
        Error::invalid("verify", why)
    };
    let gallery = gallery.ok_or_else(none)?;
    ThresholdArg::of(Some(command.threshold.unwrap_or(ThresholdArg::Auto)), gallery)?.ok_or_else(none)
}
