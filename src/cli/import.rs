//! `siamese import MODEL`: a foreign ONNX model becomes a tower.

use super::output::show;
use super::{Context, Outcome};
use crate::export::{ImportOptions, ImportedFile, Pixels, import_file};
use crate::image::Filter;
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
    /// Factor on the levels 0–255, before mean and standard deviation; 1 leaves them.
    #[arg(long, default_value_t = 1.0 / 255.0, value_name = "FACTOR")]
    scale: f32,
    /// Taken from each channel: one number, or one a channel (0.485,0.456,0.406).
    #[arg(long, value_delimiter = ',', default_value = "0", allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// Divides each channel after that: one number, or one a channel (0.229,0.224,0.225).
    #[arg(long, value_delimiter = ',', default_value = "1", allow_negative_numbers = true)]
    std: Vec<f32>,
    /// The output that is the embedding, or a value inside the graph.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Numbers in the embedding, where the model does not tell.
    #[arg(long, value_name = "D")]
    dim: Option<usize>,
    /// The distance of its embeddings.
    #[arg(long, value_enum, default_value_t = Metric::Cosine)]
    distance: Metric,
    /// Filter of the resize of pictures.
    #[arg(long, value_enum, default_value_t = Resize::Triangle)]
    filter: Resize,
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
    if arguments.dim == Some(0) || arguments.size == Some(0) {
        return Err(Error::invalid("--dim or --size", "is 0; it must be at least 1"));
    }
    let imported = import_file(&arguments.model, &arguments.out, &options(arguments))?;
    show(context, &imported, text)?;
    Ok(Outcome::Yes)
}

fn text(imported: &ImportedFile) -> String {
    let (out, spec) = (imported.file.display(), &imported.tower);
    let (size, channels) = (spec.preprocessing.size(), spec.preprocessing.channels());
    let mut text = format!(
        "{out}: tower {}, [N, {channels}, {size}, {size}] → D = {}, distance {}\n",
        spec.name,
        spec.dim,
        spec.distance.name()
    );
    text.extend(imported.notes.iter().map(|note| format!("note: {note}\n")));
    text + &format!("`siamese compare {out}` tells whether all runtimes agree on it\n")
}

fn options(a: &Arguments) -> ImportOptions {
    let rgb = match (a.rgb || a.bgr, a.ink) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let filter = match a.filter {
        Resize::Triangle => Filter::Triangle,
        Resize::Cubic => Filter::Cubic,
        Resize::Lanczos3 => Filter::Lanczos3,
        Resize::Nearest => Filter::Nearest,
    };
    let distance = match a.distance {
        Metric::L1 => Distance::L1,
        Metric::L2 => Distance::L2,
        Metric::Cosine => Distance::Cosine,
    };
    ImportOptions {
        name: a.name.clone(),
        pixels: Pixels { size: a.size, rgb, filter, crop: a.crop },
        scale: a.scale,
        mean: a.mean.clone(),
        std: a.std.clone(),
        bgr: a.bgr,
        output: a.output.clone(),
        dim: a.dim,
        distance,
    }
}
