//! `siamese embed`: pictures or a data set → a file of embeddings.

use super::interrupt::end_on_interrupt;
use super::output::{self, note, show};
use super::shared::{self, PictureArgs, RuntimeArgs};
use super::{Context, Outcome, progress};
use crate::data::Set;
use crate::embed::{self, Sink, Tee};
use crate::error::shown;
use crate::image::Triage;
use crate::runtime::Embedder;
use crate::tower::TowerSpec;
use crate::{Error, Result};
use indicatif::ProgressBar;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `embed`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The tower: a file, or a shipped one's name.
    tower: PathBuf,
    /// Pictures, folders, or - for a list of paths on stdin.
    #[arg(required_unless_present = "data", conflicts_with = "data")]
    images: Vec<PathBuf>,
    /// What to write: *.npy, *.safetensors, *.parquet, *.jsonl, or - for JSON lines on stdout.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Embed a data set of this folder instead.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which set of the data folder.
    #[arg(long, value_enum, requires = "data")]
    set: Option<Set>,
    /// Write the source and label of each row here, apart by a tab (for .npy and .safetensors).
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    tower: String,
    tower_sha256: String,
    embedded: u64,
    /// Pictures that could not be used.
    broken: u64,
    dim: usize,
}

/// Runs the verb.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut embedder = arguments.runtime.load(context, &arguments.tower)?;
    end_on_interrupt()?;
    let mut sink = sink(arguments, embedder.spec())?;
    let bar = shared::bar_of(&arguments.images);
    let triage = arguments.pictures.triage_above(&bar);
    let embedded = match &arguments.data {
        Some(dir) => set(arguments, dir, embedder.as_mut(), &triage, &mut sink, &bar)?,
        None => {
            let pictures = shared::inputs(&arguments.images)?;
            embed::write_pictures(pictures, embedder.as_mut(), &triage, &mut sink, || bar.inc(1))?;
            triage.tally().pictures - triage.tally().broken
        }
    };
    bar.finish_and_clear();
    if embedded == 0 {
        return Err(Error::invalid(arguments.out.display(), "is not written: there is no embedding"));
    }
    Box::new(sink).finish()?;
    let TowerSpec { name, sha256, dim, .. } = embedder.spec().clone();
    let (file, broken) = (arguments.out.clone(), triage.tally().broken);
    tell(context, &Written { file, tower: name, tower_sha256: sha256, embedded, broken, dim })?;
    triage.end()?;
    Ok(Outcome::Yes)
}

/// Where the rows go: into the file or to stdout, and their names into another file.
fn sink(arguments: &Arguments, spec: &TowerSpec) -> Result<Tee> {
    let rows: Box<dyn Sink> = if to_stdout(&arguments.out) {
        Box::new(embed::stream(output::stdout(), output::STDOUT))
    } else {
        embed::create(&arguments.out, spec)?
    };
    let mut sinks = vec![rows];
    if let Some(names) = &arguments.names {
        sinks.push(Box::new(embed::names(names)?));
    }
    Ok(Tee(sinks))
}

fn to_stdout(out: &Path) -> bool {
    out == Path::new("-")
}

fn set(
    arguments: &Arguments,
    dir: &Path,
    embedder: &mut dyn Embedder,
    triage: &Triage<'_>,
    sink: &mut Tee,
    bar: &ProgressBar,
) -> Result<u64> {
    let set = shared::labelled(dir, arguments.set, &embedder.spec().preprocessing, triage)?;
    progress::known(bar, "pictures", set.len() as u64);
    embed::write_set(&set, embedder, sink, |done| bar.set_position(done as u64))?;
    Ok(set.len() as u64)
}

fn tell(context: &Context, written: &Written) -> Result<()> {
    if !to_stdout(&written.file) {
        return show(context, written, |w| text(w) + "\n");
    }
    // The rows are on stdout already.
    note(if context.json { output::json_line(written)? } else { text(written) });
    Ok(())
}

fn text(written: &Written) -> String {
    let Written { file, embedded, dim, broken, .. } = written;
    let text = format!("{}: {embedded} embeddings of {dim} numbers", shown(file));
    if *broken > 0 { format!("{text}; {broken} pictures could not be used") } else { text }
}
