//! `siamese list|remove|merge`: look after galleries.

use super::shared::print_json;
use super::{Context, Outcome};
use crate::gallery::Gallery;
use crate::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// The gallery.
    gallery: PathBuf,
    /// Each example with its source.
    #[arg(long)]
    examples: bool,
}

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The gallery.
    gallery: PathBuf,
    /// The classes to remove.
    #[arg(required = true)]
    labels: Vec<String>,
    /// Only their examples from this source.
    #[arg(long, value_name = "PATH")]
    source: Option<String>,
}

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct Merge {
    /// The gallery that grows.
    gallery: PathBuf,
    /// Galleries of the same tower.
    #[arg(required = true)]
    others: Vec<PathBuf>,
}

/// Tells what a gallery holds.
pub fn list(context: &Context, command: &List) -> Result<Outcome> {
    let gallery = Gallery::open(&command.gallery)?;
    let (facts, entries) = (gallery.facts(), gallery.entries()?);
    let examples = if command.examples { gallery.examples()? } else { Vec::new() };
    if context.json {
        let examples: Vec<_> = examples
            .iter()
            .map(|e| json!({ "label": e.label, "source": e.source, "added_unix_s": e.added_unix_s }))
            .collect();
        let mut told = json!({ "gallery": command.gallery, "facts": facts, "classes": entries });
        if command.examples {
            told["examples"] = examples.into();
        }
        print_json(&told)?;
        return Ok(Outcome::Yes);
    }
    println!("tower      {} (SHA-256 {})", facts.tower, facts.tower_sha256);
    println!("distance   {}, {} numbers", facts.distance.name(), facts.dim);
    match &facts.threshold {
        None => println!("threshold  none; `siamese calibrate` chooses one"),
        Some(t) => println!("threshold  {} ({}, on {})", t.distance, t.chosen_at, t.data),
    }
    let held: u64 = entries.iter().map(|e| e.examples).sum();
    println!("holds      {held} examples of {} classes", entries.len());
    if command.examples {
        examples.iter().for_each(|e| println!("{}\t{}", e.label, e.source));
    } else {
        entries.iter().for_each(|e| println!("{:>6}  {}", e.examples, e.label));
    }
    Ok(Outcome::Yes)
}

/// Removes classes.
pub fn remove(context: &Context, command: &Remove) -> Result<Outcome> {
    let mut gallery = Gallery::open(&command.gallery)?;
    let removed = gallery.remove(&command.labels, command.source.as_deref())?;
    if removed == 0 {
        let why = "none of these classes has an example from that source";
        return Err(Error::invalid(command.source.as_deref().unwrap_or_default(), why));
    }
    if context.json {
        print_json(&json!({ "gallery": command.gallery, "removed": removed }))?;
    } else {
        println!("{}: {removed} examples removed", command.gallery.display());
    }
    Ok(Outcome::Yes)
}

/// Adds galleries to a gallery.
pub fn merge(context: &Context, command: &Merge) -> Result<Outcome> {
    let mut gallery = Gallery::open(&command.gallery)?;
    let (mut added, mut present) = (0, 0);
    for other in &command.others {
        let done = gallery.merge(&Gallery::open(other)?)?;
        added += done.added;
        present += done.present;
    }
    if context.json {
        print_json(&json!({ "gallery": command.gallery, "added": added, "present": present }))?;
    } else {
        println!("{}: {added} examples added, {present} were there already", command.gallery.display());
    }
    Ok(Outcome::Yes)
}
