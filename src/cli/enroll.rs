//! `siamese enroll`: one or more pictures of each thing become known.

use super::output::{note, show};
use super::shared::{self, PictureArgs, RuntimeArgs};
use super::{Context, Outcome};
use crate::embed::{PictureFile, PictureFiles};
use crate::gallery::{self, Enrolling, Enrolment, Gallery, Location};
use crate::image::{self, MAX_FILE_BYTES, is_picture_name};
use crate::{Result, files, tower};
use std::path::{Path, PathBuf};

/// Pictures by which the tower of a new gallery is chosen.
const LOOKED_AT: usize = 50;

/// Arguments of `enroll`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gallery; it is made where there is none.
    gallery: Location,
    /// Pictures, folders of pictures (one image a class, named after the file), class folders, or
    /// - for a list of paths on stdin.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The tower: a file, or a shipped one's name [default: the gallery's, else omniglot-edge-exact, or
    /// emoji-edge-exact where most pictures are in colour].
    #[arg(long, value_name = "TOWER")]
    tower: Option<PathBuf>,
    /// The label of all these pictures.
    #[arg(long)]
    label: Option<String>,
    /// Keep the pictures' files in the gallery (at most 16 MiB each), from now on: it can then go over to another tower
    /// by itself, and the server can show what it knows.
    #[arg(long)]
    keep_pictures: bool,
    /// Calibrate the gallery again afterwards.
    #[arg(long)]
    calibrate: bool,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the verb: all pictures that can be used are enrolled, or none.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    if arguments.label.is_none() {
        let told: Vec<String> = arguments.images.iter().filter_map(|path| loose(path)).collect();
        told.first().into_iter().for_each(note);
        if told.len() > 1 {
            note(format_args!("note: so do those of {} other folders", told.len() - 1));
        }
    }
    let tower = match &arguments.tower {
        None if Gallery::find(&arguments.gallery)?.is_none() => Some(fitting(&arguments.images).into()),
        named => named.clone(),
    };
    let bar = shared::bar_of(&arguments.images);
    let triage = arguments.pictures.triage_above(&bar);
    let how = Enrolling {
        tower: tower.as_deref(),
        label: arguments.label.as_deref(),
        keep_pictures: arguments.keep_pictures,
    };
    let enrolment = gallery::enroll(
        &arguments.gallery,
        how,
        shared::inputs(&arguments.images)?,
        |tower| arguments.runtime.load(context, tower),
        &triage,
        || bar.inc(1),
    )?;
    bar.finish_and_clear();
    shared::recalibrate(&mut Gallery::open(&arguments.gallery)?, arguments.calibrate);
    show(context, &enrolment, text)?;
    triage.end()?;
    Ok(Outcome::Yes)
}

/// The tower of a new gallery for which none is named: one that sees colours where most pictures have some. A list on
/// stdin can be read only once, and is taken for ink.
fn fitting(images: &[PathBuf]) -> &'static str {
    let coloured = |picture: PictureFile| {
        let bytes = files::read(&picture.path, MAX_FILE_BYTES, "a picture").ok()?;
        image::look(&bytes, &picture.source()).ok().map(|seen| seen.coloured)
    };
    let pictures = PictureFiles::new(images.iter().filter(|path| *path != Path::new("-")).cloned());
    let looked: Vec<bool> = pictures.flatten().filter_map(coloured).take(LOOKED_AT).collect();
    if 2 * looked.iter().filter(|coloured| **coloured).count() <= looked.len() {
        return tower::DEFAULT;
    }
    note(format_args!(
        "note: the pictures are in colour, so the gallery's tower is {}; for photographs `siamese model get \
         efficientnet-lite0` fetches a larger one, and --tower names it",
        tower::DEFAULT_IN_COLOUR
    ));
    tower::DEFAULT_IN_COLOUR
}

/// That the pictures of a folder become a class each, where they lie in it as they are: it may be the folder of
/// one class.
fn loose(path: &Path) -> Option<String> {
    let pictures = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let pictures: Vec<PathBuf> = pictures.filter(|p| p.is_file() && is_picture_name(p)).collect();
    let name = |p: &PathBuf| p.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let first = pictures.iter().filter_map(name).min()?;
    (pictures.len() > 1).then(|| {
        let (folder, count) = (path.display(), pictures.len());
        let own = path.canonicalize().ok().as_deref().and_then(Path::file_name).map(|n| n.display().to_string());
        format!(
            "note: the {count} pictures that lie in {folder} itself are a class each, named after their files \
             ({first:?} is one); if they show one thing, take these classes away again with `siamese remove` and \
             enroll them with --label {}",
            own.unwrap_or_else(|| "NAME".into())
        )
    })
}

fn text(done: &Enrolment) -> String {
    let Enrolment { gallery, added, present, examples, classes, .. } = done;
    let already = if *present > 0 { format!(", {present} were there already") } else { String::new() };
    format!("{gallery}: {added} added{already}; it holds {examples} examples of {classes} classes\n")
}
