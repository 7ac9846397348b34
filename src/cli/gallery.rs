//! `siamese list|remove|merge`: look after galleries.

use super::index::in_words;
use super::output::show;
use super::shared::{self, interval, rounded};
use super::{Context, Outcome};
use crate::error::one_line;
use crate::gallery::{Example, Facts, Gallery, KnownClass, Location};
use crate::{Error, Result};
use serde::Serialize;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// The gallery.
    gallery: Location,
    /// Each example with its source.
    #[arg(long)]
    examples: bool,
}

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The gallery.
    gallery: Location,
    /// The classes to remove.
    #[arg(required = true)]
    labels: Vec<String>,
    /// Only their examples from this source.
    #[arg(long, value_name = "PATH")]
    source: Option<String>,
    /// Calibrate the gallery again afterwards.
    #[arg(long)]
    calibrate: bool,
}

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct Merge {
    /// The gallery that grows.
    gallery: Location,
    /// Galleries of the same tower.
    #[arg(required = true)]
    others: Vec<Location>,
    /// Calibrate the gallery again afterwards.
    #[arg(long)]
    calibrate: bool,
}

/// What a gallery holds.
#[derive(Debug, Serialize)]
struct Listing {
    gallery: Location,
    facts: Facts,
    /// Whether it has changed since it was calibrated.
    stale: bool,
    classes: Vec<KnownClass>,
    /// Examples whose pictures are kept, where the gallery keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_pictures: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<Vec<Example>>,
}

/// What was removed.
#[derive(Debug, Serialize)]
struct Removed {
    gallery: Location,
    /// Examples.
    removed: u64,
}

/// What was merged.
#[derive(Debug, Serialize)]
struct Merged {
    gallery: Location,
    /// Examples that were added.
    added: u64,
    /// Examples that were there already.
    present: u64,
}

/// Tells what a gallery holds.
pub fn list(context: &Context, arguments: &List) -> Result<Outcome> {
    let gallery = Gallery::open(&arguments.gallery)?;
    let listing = Listing {
        gallery: arguments.gallery.clone(),
        facts: gallery.facts().clone(),
        stale: gallery.is_stale()?,
        classes: gallery.classes()?,
        kept_pictures: gallery.facts().keeps_pictures.then(|| gallery.kept_pictures()).transpose()?,
        examples: arguments.examples.then(|| gallery.examples()).transpose()?,
    };
    show(context, &listing, listing_text)?;
    Ok(Outcome::Yes)
}

fn listing_text(listing: &Listing) -> String {
    let Listing { facts, classes, .. } = listing;
    let mut text = format!("tower      {} (SHA-256 {})\n", facts.tower, facts.tower_sha256);
    text.extend(
        facts.former.iter().map(|f| format!("before     {} (SHA-256 {})\n", f.tower, f.tower_sha256)),
    );
    if let Some(newer) = &facts.asked_by {
        text += &format!("asked by   {} (SHA-256 {}), compatible with it\n", newer.tower, newer.tower_sha256);
    }
    text += &format!("distance   {}, {} numbers\n", facts.distance.name(), facts.dim);
    text += &thresholds(facts, listing.stale);
    if let Some(index) = &facts.indexed {
        text += &format!("index      {}\n", in_words(index));
    }
    let all: u64 = classes.iter().map(|e| e.examples).sum();
    text += &format!("holds      {all} examples of {} classes\n", classes.len());
    if let Some(kept) = listing.kept_pictures {
        text += &format!("pictures   those of {kept} of them are kept\n");
    }
    match &listing.examples {
        Some(examples) => {
            text.extend(examples.iter().map(|e| format!("{}\t{}\n", one_line(&e.label), one_line(&e.source))))
        }
        None => text.extend(classes.iter().map(|e| format!("{:>6}  {}\n", e.examples, one_line(&e.label)))),
    }
    text
}

/// What the gallery was calibrated to, and whether that still fits.
fn thresholds(facts: &Facts, stale: bool) -> String {
    let unknown = match (&facts.identification, &facts.threshold) {
        (None, None) => "none; `siamese calibrate` chooses one".into(),
        (None, Some(t)) => format!(
            "distance {} by pairs ({}), which accepts much that is unknown; `siamese calibrate` chooses another",
            rounded(t.distance),
            t.chosen_at
        ),
        (Some(c), _) => {
            let (point, score) = (&c.point, c.strangeness);
            let (threshold, rate) = (rounded(point.threshold), interval(&point.false_positives));
            let right = point.true_positives.as_ref().map_or("not measured".into(), interval);
            format!("{score} {threshold}: false positives {rate} %, true positives {right} %")
        }
    };
    let mut text = format!("unknown    {unknown}\n");
    if stale {
        text += "           STALE: the gallery has changed since; `siamese calibrate` chooses another\n";
    }
    if facts.calibrates_itself {
        text += "           calibrated again by itself after every change\n";
    }
    if let Some(t) = facts.threshold.as_ref().filter(|_| facts.identification.is_some()) {
        text += &format!("pairs      distance {} ({}, on {})\n", rounded(t.distance), t.chosen_at, t.data);
    }
    text
}

/// Removes classes.
pub fn remove(context: &Context, arguments: &Remove) -> Result<Outcome> {
    let mut gallery = Gallery::open(&arguments.gallery)?;
    let removed = gallery.remove(&arguments.labels, arguments.source.as_deref())?;
    if removed == 0 {
        let why = "none of these classes has an example from that source";
        return Err(Error::invalid(arguments.source.as_deref().unwrap_or_default(), why));
    }
    shared::recalibrate(&mut gallery, arguments.calibrate);
    let removed = Removed { gallery: arguments.gallery.clone(), removed };
    show(context, &removed, |r| format!("{}: {} examples removed\n", r.gallery, r.removed))?;
    Ok(Outcome::Yes)
}

/// Adds galleries to a gallery.
pub fn merge(context: &Context, arguments: &Merge) -> Result<Outcome> {
    let mut gallery = Gallery::open(&arguments.gallery)?;
    let mut merged = Merged { gallery: arguments.gallery.clone(), added: 0, present: 0 };
    for other in &arguments.others {
        let done = gallery.merge(&Gallery::open(other)?)?;
        merged.added += done.added;
        merged.present += done.present;
    }
    shared::recalibrate(&mut gallery, arguments.calibrate);
    show(context, &merged, |m| {
        format!("{}: {} examples added, {} were there already\n", m.gallery, m.added, m.present)
    })?;
    Ok(Outcome::Yes)
}
