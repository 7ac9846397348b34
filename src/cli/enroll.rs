//! `siamese enroll`: one or more pictures of each thing become known.

use super::output::show;
use super::progress::counter;
use super::shared::{self, PictureArgs, RuntimeArgs};
use super::{Context, Outcome};
use crate::Result;
use crate::gallery::{self, Enrolment, Location};
use std::path::PathBuf;

/// Arguments of `enroll`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery; it is made where there is none.
    gallery: Location,
    /// Pictures, folders of pictures (one image a class, named after the file), class folders, or
    /// - for a list of paths on stdin.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The tower: a file, or a shipped one's name [default: the gallery's, else omniglot-edge-exact].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// The label of all these pictures.
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb: all pictures that can be used are enrolled, or none.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let bar = counter("images");
    let triage = arguments.pictures.triage_above(&bar);
    let enrolment = gallery::enroll(
        &arguments.gallery,
        arguments.tower.as_deref(),
        arguments.label.as_deref(),
        shared::inputs(&arguments.images)?,
        |tower| arguments.runtime.load(context, tower),
        &triage,
        || bar.inc(1),
    )?;
    bar.finish_and_clear();
    show(context, &enrolment, text)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

fn text(done: &Enrolment) -> String {
    let Enrolment { gallery, added, present, examples, classes, .. } = done;
    let already = if *present > 0 { format!(", {present} were there already") } else { String::new() };
    format!("{gallery}: {added} added{already}; it holds {examples} examples of {classes} classes\n")
}
