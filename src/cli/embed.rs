//! `siamese embed`: pictures or a data set → a file of embeddings.

use super::shared::{self, RuntimeArgs, SetName};
use super::{Context, Outcome};
use crate::data::{self, Dataset, LakeRuns};
use crate::embed::{self, Outcome as Embedding, Sink};
use crate::files::Replacement;
use crate::runtime::Embedder;
use crate::{Error, Result};
use clap::ValueEnum;
use indicatif::ProgressBar;
use ndarray::{ArrayView4, s};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `embed`.
#[derive(Debug, clap::Args)]
pub struct Command {
    /// The tower.
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
    set: Option<EmbedSet>,
    /// Write the source and label of each row here, apart by a tab (for .npy and .safetensors).
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// A picture that cannot be used is an error.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Sets that can be embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EmbedSet {
    OmniglotBackground,
    OmniglotEvaluation,
    /// The 20 one-shot runs: of each its training images, then its test images.
    Lake,
    MnistTrain,
    MnistTest,
    Folder,
}

/// Runs the verb.
pub fn run(context: &Context, command: &Command) -> Result<Outcome> {
    let mut embedder = command.runtime.load(context, &command.tower)?;
    let mut out = Out {
        sink: embed::create(&command.out, embedder.spec())?,
        names: command.names.as_deref().map(Names::create).transpose()?,
        embedded: 0,
        broken: 0,
    };
    let bar = if command.data.is_some() { shared::bar() } else { shared::counter() };
    match &command.data {
        Some(dir) => embed_set(dir, command.set, embedder.as_mut(), &mut out, &bar)?,
        None => {
            let inputs = shared::inputs(&command.images)?;
            embed::pictures(inputs, embedder.as_mut(), |outcome| {
                bar.inc(1);
                match outcome {
                    Embedding::Embedded(done) => {
                        out.row(&done.input.source(), &done.input.label, done.embedding)
                    }
                    Embedding::Broken(_, error) if command.strict => Err(error),
                    Embedding::Broken(_, error) => {
                        out.broken += 1;
                        bar.suspend(|| shared::warn(error));
                        Ok(())
                    }
                }
            })?;
        }
    }
    bar.finish_and_clear();
    let (embedded, broken) = (out.embedded, out.broken);
    if embedded == 0 {
        return Err(Error::invalid(command.out.display(), "is not written: there is no embedding"));
    }
    out.finish()?;
    tell(context, command, embedder.as_ref(), embedded, broken)?;
    Ok(Outcome::Yes)
}

fn tell(
    context: &Context,
    command: &Command,
    embedder: &dyn Embedder,
    embedded: u64,
    broken: u64,
) -> Result<()> {
    let spec = embedder.spec();
    let result = json!({
        "file": command.out, "tower": spec.name, "tower_sha256": spec.sha256, "embedded": embedded,
        "broken": broken, "dim": spec.dim,
    });
    let words = format!("{}: {embedded} embeddings of {} numbers", command.out.display(), spec.dim);
    let words = if broken > 0 { format!("{words}; {broken} pictures could not be used") } else { words };
    match (context.json, command.out == Path::new("-")) {
        // The rows are on stdout already.
        (true, true) => eprintln!("{result}"),
        (false, true) => eprintln!("{words}"),
        (true, false) => shared::print_json(&result)?,
        (false, false) => println!("{words}"),
    }
    Ok(())
}

/// Where rows go.
struct Out {
    sink: Box<dyn Sink>,
    names: Option<Names>,
    embedded: u64,
    broken: u64,
}

impl Out {
    fn row(&mut self, source: &str, label: &str, embedding: ndarray::ArrayView1<'_, f32>) -> Result<()> {
        self.embedded += 1;
        if let Some(names) = &mut self.names {
            names.line(source, label)?;
        }
        self.sink.row(source, label, embedding)
    }

    fn finish(self) -> Result<()> {
        self.sink.finish()?;
        self.names.map_or(Ok(()), Names::finish)
    }
}

/// The file of names.
struct Names(Replacement);

impl Names {
    fn create(path: &Path) -> Result<Self> {
        Replacement::create(path).map(Self)
    }

    fn line(&mut self, source: &str, label: &str) -> Result<()> {
        let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        self.0.append(format!("{}\t{}\n", plain(source), plain(label)).as_bytes())
    }

    fn finish(self) -> Result<()> {
        self.0.finish()
    }
}

fn embed_set(
    dir: &Path,
    set: Option<EmbedSet>,
    embedder: &mut dyn Embedder,
    out: &mut Out,
    bar: &ProgressBar,
) -> Result<()> {
    let how = embedder.spec().preprocessing.clone();
    let named = match set {
        None => None,
        Some(EmbedSet::OmniglotBackground) => Some(SetName::OmniglotBackground),
        Some(EmbedSet::OmniglotEvaluation) => Some(SetName::OmniglotEvaluation),
        Some(EmbedSet::MnistTrain) => Some(SetName::MnistTrain),
        Some(EmbedSet::MnistTest) => Some(SetName::MnistTest),
        Some(EmbedSet::Folder) => Some(SetName::Folder),
        Some(EmbedSet::Lake) => return embed_lake(&data::lake(dir, &how)?, embedder, out, bar),
    };
    let set: Dataset = shared::labelled(dir, named, &how)?;
    let name = |i: usize| (set.sources[i].clone(), set.classes[set.labels[i] as usize].name.clone());
    bar.set_length(set.len() as u64);
    embed_images(set.images.view(), name, embedder, out, bar)
}

fn embed_lake(runs: &LakeRuns, embedder: &mut dyn Embedder, out: &mut Out, bar: &ProgressBar) -> Result<()> {
    let images = |run: &data::LakeRun| run.training.shape()[0] + run.test.shape()[0];
    bar.set_length(runs.runs.iter().map(|run| images(run) as u64).sum());
    for run in &runs.runs {
        let training = |i: usize| (format!("{}/training/{i}", run.name), i.to_string());
        embed_images(run.training.view(), training, embedder, out, bar)?;
        let test = |i: usize| (format!("{}/test/{i}", run.name), run.answers[i].to_string());
        embed_images(run.test.view(), test, embedder, out, bar)?;
    }
    Ok(())
}

/// Batch by batch; `name` tells source and label of an image.
fn embed_images(
    images: ArrayView4<'_, u8>,
    name: impl Fn(usize) -> (String, String),
    embedder: &mut dyn Embedder,
    out: &mut Out,
    bar: &ProgressBar,
) -> Result<()> {
    let count = images.shape()[0];
    for first in (0..count).step_by(embed::BATCH) {
        let last = (first + embed::BATCH).min(count);
        let rows = embed::images(images.slice(s![first..last, .., .., ..]), embedder, |_| ())?;
        for (i, row) in (first..last).zip(rows.outer_iter()) {
            let (source, label) = name(i);
            out.row(&source, &label, row)?;
        }
        bar.inc((last - first) as u64);
    }
    Ok(())
}
