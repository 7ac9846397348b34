//! `siamese enroll`: one or more pictures of each thing become known.

use super::shared::{self, RuntimeArgs};
use super::{Context, Outcome};
use crate::embed::{self, Outcome as Embedding};
use crate::gallery::{Example, Gallery, check_label};
use crate::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `enroll`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The gallery; it is made where there is none.
    gallery: PathBuf,
    /// Pictures, folders of pictures (one image a class, named after the file), class folders, or
    /// - for a list of paths on stdin.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The tower [default: the one that the gallery was made with].
    #[arg(long, value_name = "FILE")]
    tower: Option<PathBuf>,
    /// The label of all these pictures.
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb: all pictures are enrolled, or none.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    command.label.as_deref().map_or(Ok(()), check_label)?;
    let path = &command.gallery;
    let existing = if shared::is_there(path) { Some(Gallery::open(path)?) } else { None };
    let tower = command.tower.as_deref();
    let tower = tower.or(existing.as_ref().map(|g| g.facts().tower_path.as_path())).ok_or_else(|| {
        Error::invalid(path.display(), "does not exist yet; name the tower of the new gallery with --tower")
    })?;
    let mut embedder = match &existing {
        Some(gallery) => command.runtime.load_for(context, gallery, command.tower.as_deref())?,
        None => command.runtime.load(context, tower)?,
    };
    let bar = shared::counter();
    let mut examples = Vec::new();
    embed::pictures(shared::inputs(&command.images)?, embedder.as_mut(), |outcome| {
        bar.inc(1);
        match outcome {
            Embedding::Broken(_, error) => Err(error),
            Embedding::Embedded(done) => {
                let label = command.label.clone().unwrap_or_else(|| done.input.label.clone());
                // Found early: a thousand pictures later would be late.
                check_label(&label)?;
                examples.push(Example {
                    label,
                    embedding: done.embedding.to_vec(),
                    source: done.input.source(),
                    added_unix_s: None,
                });
                Ok(())
            }
        }
    })?;
    bar.finish_and_clear();
    if examples.is_empty() {
        return Err(Error::invalid("the list on stdin", "names no picture"));
    }
    let mut gallery = match existing {
        Some(gallery) => gallery,
        None => Gallery::create(path, embedder.spec(), tower)?,
    };
    let done = gallery.enroll(&examples)?;
    let entries = gallery.entries()?;
    let held: u64 = entries.iter().map(|e| e.examples).sum();
    if context.json {
        shared::print_json(&json!({
            "gallery": path, "added": done.added, "present": done.present, "classes": entries.len(),
            "examples": held, "tower_sha256": gallery.facts().tower_sha256,
        }))?;
    } else {
        let already =
            if done.present > 0 { format!(", {} were there already", done.present) } else { String::new() };
        println!(
            "{}: {} added{already}; it holds {held} examples of {} classes",
            path.display(),
            done.added,
            entries.len()
        );
    }
    Ok(Outcome::Yes)
}
