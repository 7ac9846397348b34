//! `siamese verify`: do these pictures show the same thing?

use super::output::{print, print_json};
use super::shared::{self, PictureArgs, RuntimeArgs, rounded};
use super::{Context, Outcome};
use crate::error::one_line;
use crate::gallery::{self, Gallery, Limit, Location, Verification, Verified};
use crate::{Error, Result};
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A picture.
    a: PathBuf,
    /// Pictures to compare it with: files, folders, or - for a list of paths on stdin.
    #[arg(required = true)]
    b: Vec<PathBuf>,
    /// The tower: a file, or a shipped one's name [default: the gallery's, else omniglot-edge-exact].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// A gallery, whose tower and calibrated threshold decide.
    #[arg(long)]
    gallery: Option<Location>,
    /// Pictures at most this far apart show the same: a number, or `auto` (as calibrated).
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<Limit>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb; all must be the same for the answer yes.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let gallery = arguments.gallery.as_ref().map(Gallery::open).transpose()?;
    let threshold = threshold(arguments, gallery.as_ref())?;
    let mut embedder =
        shared::embedder(context, &arguments.runtime, gallery.as_ref(), arguments.tower.as_deref())?;
    let (others, mut pairs, mut different) = (shared::inputs(&arguments.b)?, Vec::new(), false);
    let triage = arguments.pictures.triage();
    gallery::verify(&arguments.a, threshold, others, embedder.as_mut(), &triage, |verified| {
        different |= verified.iter().any(|v| !v.same);
        if context.json {
            pairs.extend(verified);
            return Ok(());
        }
        print(&verified.iter().map(|v| line(v, threshold)).collect::<String>())
    })?;
    if context.json {
        let (picture, broken) = (arguments.a.clone(), triage.tally().broken);
        print_json(&Verification { picture, threshold, pairs, broken })?;
    }
    triage.end()?;
    Ok(if different { Outcome::No } else { Outcome::Yes })
}

/// Path, answer, distance and threshold, apart by tabs.
fn line(verified: &Verified, threshold: f32) -> String {
    let Verified { source, same, distance } = verified;
    let (answer, source) = (if *same { "same" } else { "different" }, one_line(source));
    format!("{source}\t{answer}\t{}\t{}\n", rounded(*distance), rounded(threshold))
}

fn threshold(arguments: &Arguments, gallery: Option<&Gallery>) -> Result<f32> {
    let found = match (arguments.threshold, gallery) {
        (Some(Limit::At(distance)), _) => Some(distance),
        (None | Some(Limit::Calibrated), Some(gallery)) => {
            gallery.facts().threshold.as_ref().map(|pairs| pairs.distance)
        }
        _ => None,
    };
    found.ok_or_else(|| match gallery {
        Some(gallery) => {
            let why =
                "has no threshold of pairs; `siamese calibrate` chooses one, or give --threshold a distance";
            Error::invalid(gallery.location(), why)
        }
        None => {
            let why = "there is no threshold; give --threshold a distance, or --gallery a calibrated gallery";
            Error::invalid("verify", why)
        }
    })
}
