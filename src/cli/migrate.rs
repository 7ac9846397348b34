//! `siamese migrate`: a gallery goes over to another tower.

use super::output::{note, show};
use super::progress::bar;
use super::shared::{self, RuntimeArgs};
use super::{Context, Outcome};
use crate::Result;
use crate::gallery::{Gallery, Location, Migration, calibrate_as, migrate};
use std::path::PathBuf;

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery.
    gallery: Location,
    /// The new tower: a file, or a shipped one's name.
    #[arg(long, value_name = "TOWER")]
    tower: PathBuf,
    /// Where the pictures of its examples are now [default: where they came from].
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb: all examples go over, or none.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut gallery = Gallery::open(&arguments.gallery)?;
    let before = gallery.facts().clone();
    let mut embedder = arguments.runtime.load(context, &arguments.tower)?;
    let examples = gallery.classes()?.iter().map(|class| class.examples).sum();
    let bar = bar(examples, "pictures");
    let pictures = arguments.pictures.as_deref();
    let done = migrate(&mut gallery, &arguments.tower, pictures, embedder.as_mut(), || bar.inc(1))?;
    bar.finish_and_clear();
    match calibrate_as(&mut gallery, &before) {
        Some(Ok(found)) => shared::calibrated(&found.point),
        Some(Err(e)) => note(format_args!("note: not calibrated again: {e}")),
        None => {}
    }
    if before.threshold.is_some() {
        note(
            "note: the threshold of pairs, for `verify`, was the other tower's; `siamese calibrate` chooses one",
        );
    }
    if before.indexed.is_some() {
        note("note: the index was the other tower's; `siamese index` makes one");
    }
    show(context, &done, text)?;
    Ok(Outcome::Yes)
}

fn text(done: &Migration) -> String {
    let Migration { gallery, from, tower, tower_sha256, examples } = done;
    format!(
        "{gallery}: {examples} examples, from {} (SHA-256 {}) to {tower} (SHA-256 {tower_sha256})\n",
        from.tower, from.tower_sha256
    )
}
