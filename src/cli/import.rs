//! `siamese import MODEL`: a foreign ONNX model becomes a tower.

use super::output::show;
use super::{Context, Outcome, progress};
use crate::adopt::{Adopted, Outcome as AdoptOutcome, Proof, Proving, adopt, adopt_unchecked};
use crate::export::{ImportOptions, Pixels, Preset, SetInput};
use crate::image::Filter;
use crate::runtime::{Lookup, Options, Runner, Runtime};
use crate::tower::Distance;
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The ONNX model: any that turns one picture into one vector.
    model: PathBuf,
    /// The tower to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    told: Told,
    /// Do not run the model and the tower on the runtimes at hand to see that they give the same.
    #[arg(long)]
    unchecked: bool,
}

/// What a foreign model does not tell of itself.
#[derive(Debug, Args)]
pub(super) struct Told {
    /// Name of the tower [default: the file's].
    #[arg(long)]
    name: Option<String>,
    /// Side of its square input, where the model does not tell.
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// It takes colours.
    #[arg(long)]
    rgb: bool,
    /// It takes colours in the order blue, green, red, as OpenCV has them.
    #[arg(long, conflicts_with = "ink")]
    bgr: bool,
    /// It takes one channel, ink: 0 is paper.
    #[arg(long, conflicts_with = "rgb")]
    ink: bool,
    /// A usual way to scale pixels; --scale, --mean and --std override its numbers.
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Factor on the levels 0–255, before mean and standard deviation [default: the preset's, else 1/255; 1 for a
    /// model that takes uint8].
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f32>,
    /// Taken from each channel: one number, or one a channel (0.485,0.456,0.406) [default: the preset's, else 0].
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    mean: Option<Vec<f32>>,
    /// Divides each channel after that: one number, or one a channel (0.229,0.224,0.225) [default: the preset's,
    /// else 1].
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    std: Option<Vec<f32>>,
    /// Sets an input beside the picture once and for all: phase_train:0=false.
    #[arg(long, value_name = "NAME=VALUE")]
    set_input: Vec<SetInput>,
    /// The output that is the embedding, or a value inside the graph (`siamese inspect --values` lists them).
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Numbers in the embedding, to be checked; found by running the model where it does not tell.
    #[arg(long, value_name = "D")]
    dim: Option<usize>,
    /// The distance of its embeddings.
    #[arg(long, value_enum, default_value_t = Metric::Cosine)]
    distance: Metric,
    /// Filter of the resize of pictures [default: triangle; cubic with --preset clip].
    #[arg(long, value_enum)]
    filter: Option<Resize>,
    /// Keep only this share of the shorter side, in the middle (224/256 is 0.875).
    #[arg(long, value_name = "SHARE")]
    crop: Option<f64>,
}

/// A distance without parameters.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Metric {
    L1,
    L2,
    Cosine,
}

/// A filter by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Resize {
    Triangle,
    Cubic,
    Lanczos3,
    Nearest,
}

/// Runs the verb.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let options = arguments.told.options()?;
    let adopted = match arguments.unchecked {
        true => adopt_unchecked(&arguments.model, &arguments.out, &options)?,
        false => proven(context, arguments, &options)?,
    };
    show(context, &adopted, text)?;
    Ok(Outcome::Yes)
}

/// Every runtime of this build; nothing is fetched for them.
pub(super) fn runners(context: &Context) -> Result<Vec<Runner>> {
    let library = Lookup { offline: true, ..context.library(false) };
    let how = Options { library, ..Options::default() };
    Runtime::built_in().map(|runtime| runtime.with(how.clone())).collect()
}

fn proven(context: &Context, arguments: &Arguments, options: &ImportOptions) -> Result<Adopted> {
    let bar = progress::steps();
    let proving = Proving { runners: runners(context)?, progress: &|step| bar.set_message(step.to_string()) };
    let adopted = adopt(&arguments.model, &arguments.out, options, &proving);
    bar.finish_and_clear();
    adopted
}

fn text(adopted: &Adopted) -> String {
    let (out, spec) = (adopted.file.display(), &adopted.tower);
    let (size, channels) = (spec.preprocessing.size(), spec.preprocessing.channels());
    let batch = spec.batch.map_or("N".into(), |n| n.to_string());
    let mut text = format!(
        "{out}: tower {}, [{batch}, {channels}, {size}, {size}] → D = {}, distance {}\n",
        spec.name,
        spec.dim,
        spec.distance.name()
    );
    if let Some(proof) = &adopted.proof {
        text += &proof_lines(proof);
    }
    text.extend(
        adopted.notes.iter().map(|note| format!("note: {note}\n").replace("note: warning:", "warning:")),
    );
    text + &format!("`siamese compare {out}` tells whether all runtimes agree on it\n")
}

fn proof_lines(proof: &Proof) -> String {
    let mut text = format!(
        "proven with {} pictures in batches of 1, 2 and 5, permuted and repeated, against the model as given on {}\n",
        proof.pictures, proof.reference
    );
    for trial in proof.runtimes.iter().filter(|trial| trial.outcome == AdoptOutcome::Right) {
        text += &format!(
            "  {:6} the model's own rows; largest difference {:.1e} of the embeddings' scale\n",
            trial.runtime,
            trial.difference.unwrap_or(0.0)
        );
    }
    text
}

impl Told {
    /// As options of an import.
    ///
    /// # Errors
    /// Sizes of 0.
    pub(super) fn options(&self) -> Result<ImportOptions> {
        if self.dim == Some(0) || self.size == Some(0) {
            return Err(Error::invalid("--dim or --size", "is 0; it must be at least 1"));
        }
        let a = self;
        let rgb = match (a.rgb || a.bgr, a.ink) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let filter = a.filter.map(|filter| match filter {
            Resize::Triangle => Filter::Triangle,
            Resize::Cubic => Filter::Cubic,
            Resize::Lanczos3 => Filter::Lanczos3,
            Resize::Nearest => Filter::Nearest,
        });
        let distance = match a.distance {
            Metric::L1 => Distance::L1,
            Metric::L2 => Distance::L2,
            Metric::Cosine => Distance::Cosine,
        };
        Ok(ImportOptions {
            name: a.name.clone(),
            pixels: Pixels { size: a.size, rgb, filter, crop: a.crop },
            preset: a.preset,
            scale: a.scale,
            mean: a.mean.clone(),
            std: a.std.clone(),
            bgr: a.bgr,
            set_inputs: a.set_input.clone(),
            output: a.output.clone(),
            dim: a.dim,
            distance,
        })
    }
}
