//! `siamese migrate`: a gallery goes over to another tower.

use super::output::{note, show};
use super::progress::bar;
use super::shared::{self, RuntimeArgs};
use super::{Context, Outcome};
use crate::Result;
use crate::gallery::{Gallery, Location, Migration, calibrate_as, migrate};
use crate::tower::TowerSpec;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery.
    gallery: Location,
    /// The new tower: a file, or a shipped one's name.
    #[arg(long, value_name = "TOWER")]
    tower: PathBuf,
    /// Where the pictures of its examples are now, but for those that it keeps [default: where they came from].
    #[arg(long, value_name = "DIR", conflicts_with = "queries_only")]
    pictures: Option<PathBuf>,
    /// Leave the examples as they are, and have the new tower embed what is asked about from now on: for one that was
    /// trained to be compatible with the gallery's own (`siamese train --compatible-with`), or, to end that, for its own.
    #[arg(long)]
    queries_only: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb: all examples go over, or none.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut gallery = Gallery::open(&arguments.gallery)?;
    let mut embedder = arguments.runtime.load(context, &arguments.tower)?;
    if arguments.queries_only {
        gallery.ask_by(embedder.spec(), &arguments.tower)?;
        let asked = Asked::of(&gallery, embedder.spec());
        show(context, &asked, |asked| asked.text())?;
        return Ok(Outcome::Yes);
    }
    let before = gallery.facts().clone();
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

/// A gallery with the tower that asks it from now on.
#[derive(Debug, Serialize)]
struct Asked {
    gallery: Location,
    /// The gallery's own tower.
    tower: String,
    tower_sha256: String,
    /// The tower that asks.
    asked_by: String,
    asked_by_sha256: String,
}

impl Asked {
    fn of(gallery: &Gallery, asks: &TowerSpec) -> Self {
        let facts = gallery.facts();
        Self {
            gallery: gallery.location().clone(),
            tower: facts.tower.clone(),
            tower_sha256: facts.tower_sha256.clone(),
            asked_by: asks.name.clone(),
            asked_by_sha256: asks.sha256.clone(),
        }
    }

    fn text(&self) -> String {
        let Self { gallery, tower, tower_sha256, asked_by, asked_by_sha256 } = self;
        format!(
            "{gallery}: of {tower} (SHA-256 {tower_sha256}), asked by {asked_by} (SHA-256 {asked_by_sha256})\n"
        )
    }
}

fn text(done: &Migration) -> String {
    let Migration { gallery, from, tower, tower_sha256, examples, kept } = done;
    let kept = if *kept > 0 { format!(" ({kept} by pictures that it keeps)") } else { String::new() };
    format!(
        "{gallery}: {examples} examples{kept}, from {} (SHA-256 {}) to {tower} (SHA-256 {tower_sha256})\n",
        from.tower, from.tower_sha256
    )
}
