//! Foreign ONNX models → towers: the pixels' scaling goes into the graph, input and output get their
//! names, and what the chosen output does not need is left out.

use super::batch::free as free_batch;
use super::external::read_in;
use super::rewrite::{self, Wrapping};
use crate::image::Preprocessing;
use crate::onnx::{GraphProto, ModelProto, ValueInfoProto, data_type};
use crate::op::highest_opset;
use crate::tower::{self, Distance, Provenance, TowerKind, TowerSpec, contract};
use crate::{Error, Result};
use prost::Message;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Highest opset that tract is tested with.
const TRACT_OPSET: i64 = 18;

/// What a foreign model does not tell of itself.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Name of the tower; none for the file's.
    pub name: Option<String>,
    /// From picture to pixels; its size and channels must be the model's.
    pub pixels: Pixels,
    /// Factor on the levels 0–255 before mean and standard deviation; usually 1/255.
    pub scale: f32,
    /// Taken from each channel, one number or one a channel.
    pub mean: Vec<f32>,
    /// Divides each channel after that.
    pub std: Vec<f32>,
    /// Blue, green, red, as OpenCV has them.
    pub bgr: bool,
    /// The output that is the embedding, or any value inside; none where there is one output.
    pub output: Option<String>,
    /// D, where the model does not tell.
    pub dim: Option<usize>,
    /// The distance of its embeddings.
    pub distance: Distance,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            pixels: Pixels::default(),
            scale: 1.0 / 255.0,
            mean: vec![0.0],
            std: vec![1.0],
            bgr: false,
            output: None,
            dim: None,
            distance: Distance::Cosine,
        }
    }
}

/// What is known of the pixels; the model tells the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pixels {
    /// Side of the square.
    pub size: Option<usize>,
    /// Colours (true) or ink (false).
    pub rgb: Option<bool>,
    /// Filter of the resize of colours.
    pub filter: crate::image::Filter,
    /// Share of the shorter side that is kept; none for all.
    pub crop: Option<f64>,
}

/// A tower made of a foreign model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The tower, with its metadata.
    pub model: ModelProto,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

/// Reads a foreign model and makes it a tower.
///
/// # Errors
/// A file that is no ONNX model, is cut off, is a tower already, or keeps weights outside its folder;
/// an opset that is not known; an input that is no picture; an output that is not `[N, D]`; weights that
/// are not finite; options that do not fit the model.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported> {
    let name = path.display().to_string();
    let bytes = tower::read_bytes(path)?;
    let mut model = tower::decode(&bytes, &name)?;
    let source = format!("{}, SHA-256 {}", file_name(path), tower::sha256(&bytes));
    drop(bytes);
    wrap(&mut model, path, options, source).map_err(|e| e.at(&name))
}

/// A tower made of a foreign model, in a file.
#[derive(Clone, Debug, Serialize)]
pub struct ImportedFile {
    /// The file.
    pub file: PathBuf,
    /// The tower's facts.
    pub tower: TowerSpec,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

/// Reads a foreign model and writes it as a tower.
///
/// # Errors
/// As [`import`]; the same file for both; a file that cannot be written.
pub fn import_file(path: &Path, out: &Path, options: &ImportOptions) -> Result<ImportedFile> {
    let imported = import(path, options)?;
    if matches!((path.canonicalize(), out.canonicalize()), (Ok(a), Ok(b)) if a == b) {
        return Err(Error::invalid(out.display(), "is the model itself; name another file with -o"));
    }
    let tower = super::save(&imported.model, out)?;
    Ok(ImportedFile { file: out.into(), tower, notes: imported.notes })
}

fn wrap(model: &mut ModelProto, path: &Path, options: &ImportOptions, source: String) -> Result<Imported> {
    if model.metadata("siamese.format").is_some() {
        return Err(Error::invalid("the model", "is a tower already; use it as it is"));
    }
    let mut notes = check_opset(model)?;
    let graph = model.graph.as_mut().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let input = picture_input(graph, &options.pixels)?;
    read_in(graph, folder)?;
    tower::finite(graph)?;
    let preprocessing = input.preprocessing(&options.pixels);
    preprocessing.validate("the pixels")?;
    let (mean, std) =
        (per_channel("--mean", &options.mean, &input)?, per_channel("--std", &options.std, &input)?);
    if std.contains(&0.0) {
        return Err(Error::invalid("--std", "is 0, and every pixel is divided by it; give a number above 0"));
    }
    if !options.scale.is_finite() || options.scale == 0.0 {
        let why = format!("is {}; every pixel is multiplied by it: give a number above 0", options.scale);
        return Err(Error::invalid("--scale", why));
    }
    let output = rewrite::choose_output(graph, options.output.as_deref(), options.dim)?;
    let wrapping = Wrapping {
        input: input.name.clone(),
        input_type: input.kind,
        channels_last: input.channels_last,
        shape: [preprocessing.channels(), preprocessing.size()],
        scale: options.scale,
        mean,
        std,
        bgr: options.bgr,
        output,
    };
    if let Some(batch) = input.batch {
        notes.extend(free_batch(graph, batch)?);
    }
    let dim = wrapping.output.dim;
    rewrite::wrap(graph, wrapping)?;
    let stem = path.file_stem().map_or("model".into(), |s| s.to_string_lossy().into_owned());
    let spec = TowerSpec {
        name: options.name.clone().unwrap_or(stem),
        kind: TowerKind::Float,
        preprocessing,
        dim,
        distance: options.distance.clone(),
        sha256: String::new(),
    };
    spec.write_metadata(model)?;
    Provenance { source: Some(source), ..Provenance::default() }.write(model)?;
    if model.encoded_len() as u64 > tower::MAX_BYTES {
        return Err(Error::invalid(
            "the model",
            "is longer than 2 GiB with its weights, which ONNX files cannot be",
        ));
    }
    Ok(Imported { model: model.clone(), notes })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

fn check_opset(model: &ModelProto) -> Result<Vec<String>> {
    let opset = model.opset().unwrap_or(1);
    let highest = highest_opset();
    if opset > highest {
        let why = format!(
            "uses opset {opset}; siamese knows opsets up to {highest} (its own towers use 17): \
             export the model again with a lower opset"
        );
        return Err(Error::invalid("the model", why));
    }
    let old = opset > TRACT_OPSET;
    Ok(if old { vec![format!("opset {opset}: tract is tested up to {TRACT_OPSET}")] } else { Vec::new() })
}

/// The picture that a model takes.
struct Input {
    name: String,
    kind: i32,
    channels: usize,
    side: usize,
    channels_last: bool,
    /// N, where it is fixed.
    batch: Option<i64>,
}

impl Input {
    fn preprocessing(&self, pixels: &Pixels) -> Preprocessing {
        match self.channels {
            1 => Preprocessing::ink(self.side),
            _ => Preprocessing::Rgb {
                size: self.side,
                filter: pixels.filter,
                crop: pixels.crop.unwrap_or(1.0),
            },
        }
    }
}

fn picture_input(graph: &GraphProto, pixels: &Pixels) -> Result<Input> {
    let inputs = contract::inputs(graph);
    let [input] = inputs.as_slice() else {
        let listed: Vec<ValueInfoProto> = inputs.into_iter().cloned().collect();
        let why = format!("are {}; an embedding model has one, a picture", contract::names(&listed));
        return Err(Error::invalid("the model's inputs", why));
    };
    let at = format!("input {:?}", input.name());
    let (kind, shape) = contract::tensor(input)?;
    if !matches!(kind, data_type::FLOAT | data_type::FLOAT16 | data_type::DOUBLE | data_type::UINT8) {
        let why =
            format!("is {}; a picture is float32, float16, float64 or uint8", contract::type_name(kind));
        return Err(Error::invalid(at, why));
    }
    let &[batch, a, b, c] = shape.as_slice() else {
        let why =
            format!("has the shape {}; a picture is [N, C, H, W] or [N, H, W, C]", contract::show(&shape));
        return Err(Error::invalid(at, why));
    };
    let picture = |c: Option<i64>| matches!(c, Some(1 | 3));
    let channels_last = picture(c) && !picture(a);
    let (channels, h, w) = if channels_last { (c, a, b) } else { (a, b, c) };
    let channels = match (channels, pixels.rgb) {
        (Some(1), None | Some(false)) | (None, Some(false)) => 1,
        (Some(3), None | Some(true)) | (None, Some(true)) => 3,
        (None, None) => return Err(Error::invalid(at, "does not tell its channels; say --rgb or --ink")),
        (Some(n), _) => {
            let why = format!("takes {n} channels, shape {}; --rgb is 3, --ink is 1", contract::show(&shape));
            return Err(Error::invalid(at, why));
        }
    };
    let side = side(h, w, pixels.size).map_err(|why| Error::invalid(at, why))?;
    Ok(Input { name: input.name().into(), kind, channels, side, channels_last, batch })
}

fn side(h: Option<i64>, w: Option<i64>, given: Option<usize>) -> Result<usize, String> {
    let known: Vec<usize> = [h, w].into_iter().flatten().map(|n| n as usize).chain(given).collect();
    match known.as_slice() {
        [] => Err("takes pictures of any size; say which with --size".into()),
        [first, rest @ ..] if rest.iter().all(|n| n == first) => Ok(*first),
        _ if h.zip(w).is_some_and(|(h, w)| h != w) => {
            Err(format!("takes {h}×{w} pixels", h = known[0], w = known[1])
                + "; the pictures of a tower are square: a model that takes other shapes cannot become one")
        }
        _ => Err(format!("takes pictures of {} pixels, not of --size {}", known[0], given.unwrap_or(0))),
    }
}

fn per_channel(option: &str, values: &[f32], input: &Input) -> Result<Vec<f32>> {
    if values.iter().any(|x| !x.is_finite()) || !(values.len() == 1 || values.len() == input.channels) {
        let why =
            format!("is {values:?}; give one finite number, or one for each of {} channels", input.channels);
        return Err(Error::invalid(option, why));
    }
    Ok(values.iter().copied().cycle().take(input.channels).collect())
}
