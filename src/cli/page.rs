//! `siamese page`: a page that recognises by a gallery in the browser, as a folder for any web server.

use super::output::show;
use super::shared;
use super::{Context, Outcome};
use crate::gallery::{Gallery, Limit, Location, Shots};
use crate::page::{Options, Written, write};
use crate::{Result, tower};
use std::path::PathBuf;

/// Arguments of `page`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery.
    gallery: Location,
    /// The folder to write; files of an earlier page there are replaced.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// The tower: a file, or a shipped one's name [default: the gallery's].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// When a picture is unknown: `auto` (as calibrated), `none`, or beyond this distance to the nearest class
    /// [default: as calibrated, where it was].
    #[arg(long, allow_hyphen_values = true)]
    threshold: Option<Limit>,
    /// What stands for a class: `best` (its nearest example), `mean`, or the mean of its first K.
    #[arg(long, default_value = "best", value_name = "best|mean|K")]
    shots: Shots,
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let gallery = Gallery::open(&arguments.gallery)?;
    // Refused where it is to be as calibrated, and was not.
    shared::rule(arguments.threshold, arguments.shots, &gallery)?;
    let limit = arguments.threshold.unwrap_or(Limit::Calibrated);
    let tower = tower::read_bytes(gallery.tower(arguments.tower.as_deref())?)?;
    let written = write(&arguments.out, &gallery, &tower, Options { shots: arguments.shots, limit })?;
    show(context, &written, text)?;
    Ok(Outcome::Yes)
}

fn text(Written { folder, files, bytes }: &Written) -> String {
    let folder = folder.display();
    format!(
        "{folder}: {files} files, {:.1} MB, for any web server; to try it: python3 -m http.server -d {folder}\n",
        *bytes as f64 / 1e6
    )
}
