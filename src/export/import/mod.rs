//! Foreign ONNX models → towers: the pixels' scaling goes into the graph, input and output get their
//! names, the batch is freed, and what the chosen output does not need is left out.
//!
//! [`Foreign`] is a model that was read and understood; what it needs a runtime for (its width where the file
//! does not tell it, and the proof that the tower does what the model did) stands above, in `adopt`.

mod batch;
mod external;
mod functions;
mod input;
mod options;
mod output;
mod settle;
#[cfg(test)]
mod tests;
mod tidy;
mod wrap;

pub use input::Preset;
pub use options::{ImportOptions, Pixels};
pub use settle::SetInput;

use crate::image::Preprocessing;
use crate::onnx::{AttributeProto, ModelProto, NodeProto, Tensor, ValueInfoProto, data_type};
use crate::op::highest_opset;
use crate::tower::{self, Distance, Provenance, TowerKind, TowerSpec};
use crate::{Error, Result, walk};
use input::{Input, Levels};
use ndarray::{Array2, ArrayView4};
use output::Chosen;
use prost::Message;
use std::path::Path;
use wrap::{Tail, Wrapping};

/// Highest opset that tract is tested with.
const TRACT_OPSET: i64 = 18;
/// Below this IR version weights must stand among the inputs.
const LOWEST_IR: i64 = 4;

/// The batch that a tower takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Any.
    Free,
    /// One picture, where the graph cannot be freed: `siamese.batch` says so, and runtimes run it picture by
    /// picture.
    One,
}

/// A tower made of a foreign model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The tower, with its metadata.
    pub model: ModelProto,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

/// A foreign model that was read: what it takes, what it gives, and how its batch can be freed.
#[derive(Debug)]
pub struct Foreign {
    /// As it was given, its weights read in and told inputs set.
    given: ModelProto,
    /// In order, dense, without functions and dead nodes.
    tidied: ModelProto,
    name: String,
    source: String,
    input: Input,
    levels: Levels,
    bgr: bool,
    chosen: Chosen,
    preprocessing: Preprocessing,
    distance: Distance,
    /// The graph for any batch, or why there is none.
    freed: Result<batch::Freed, String>,
    notes: Vec<String>,
}

/// Reads a foreign model and makes it a tower, without running it.
///
/// # Errors
/// As [`Foreign::read`] and [`Foreign::tower`]; a model whose D cannot be told and is not given.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported> {
    let foreign = Foreign::read(path, options)?;
    let at = |e: Error| e.at(&path.display().to_string());
    let dim = foreign.dim().ok_or_else(|| {
        let why = "has a shape that cannot be told before the model runs: say D with --dim, or let the import run \
                   it (without --unchecked)";
        Error::invalid(format!("output {:?}", foreign.chosen.name), why)
    });
    foreign.tower(foreign.batches()[0], dim.map_err(at)?, &[]).map_err(at)
}

impl Foreign {
    /// Reads a foreign model.
    ///
    /// # Errors
    /// A file that is no ONNX model, is cut off, is a tower already, or keeps weights outside its folder;
    /// an opset that is not known; an input that is no picture; an output that is not `[N, D]`; weights that
    /// are not finite; options that do not fit the model.
    pub fn read(path: &Path, options: &ImportOptions) -> Result<Self> {
        let name = path.display().to_string();
        let bytes = tower::read_bytes(path)?;
        let model = tower::decode(&bytes, &name)?;
        let source = format!("{}, SHA-256 {}", file_name(path), tower::sha256(&bytes));
        drop(bytes);
        Self::of(model, path, options, source).map_err(|e| e.at(&name))
    }

    fn of(mut given: ModelProto, path: &Path, options: &ImportOptions, source: String) -> Result<Self> {
        if given.metadata("siamese.format").is_some() {
            return Err(Error::invalid("the model", "is a tower already; use it as it is"));
        }
        check_opset(&given)?;
        external::read_in(&mut given, path)?;
        settle::settle(&mut given, &options.set_inputs)?;
        let mut tidied = given.clone();
        let mut notes = Vec::new();
        match functions::inline(&mut tidied)? {
            0 => {}
            n => notes.push(format!("{n} calls of the model's own functions were replaced by what these do")),
        }
        let graph = tidied.graph.as_mut().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
        notes.extend(tidy::tidy(graph)?);
        tower::finite(graph)?;
        settle::decide(&mut tidied);
        walk::check_size(&tidied)?;
        let graph = tidied.graph.as_mut().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
        let input = input::picture_input(graph, options)?;
        let preprocessing = input.preprocessing(options);
        preprocessing.validate("the pixels")?;
        let levels = Levels::of(options, &input)?;
        notes.extend(unscaled(options, &input));
        let chosen = output::choose(&tidied, &input, options.output.as_deref(), options.dim)?;
        if let Some(graph) = tidied.graph.as_mut() {
            graph.output =
                vec![ValueInfoProto { name: Some(chosen.name.clone()), ..ValueInfoProto::default() }];
            wrap::prune(graph);
        }
        tidied.ir_version = tidied.ir_version.map(|ir| ir.max(LOWEST_IR));
        let freed = batch::free(&tidied, &input).map_err(|e| e.to_string());
        let stem = path.file_stem().map_or("model".into(), |s| s.to_string_lossy().into_owned());
        let name = options.name.clone().unwrap_or(stem);
        let (bgr, distance) = (options.bgr, options.distance.clone());
        Ok(Self {
            given,
            tidied,
            name,
            source,
            input,
            levels,
            bgr,
            chosen,
            preprocessing,
            distance,
            freed,
            notes,
        })
    }

    /// D, as far as it is known before the model runs.
    pub fn dim(&self) -> Option<usize> {
        self.chosen.dim
    }

    /// The batch that the model itself takes.
    pub fn own_batch(&self) -> usize {
        self.input.batch.unwrap_or(1)
    }

    /// C and S of the pictures that it takes.
    pub fn picture(&self) -> (usize, usize) {
        (self.input.channels, self.input.side)
    }

    /// The batches that a tower of it can have, the better first. A batch that was open stays so even where it
    /// cannot be followed through the graph.
    pub fn batches(&self) -> Vec<Batch> {
        match self.freed.is_ok() || self.input.batch.is_none() {
            true => vec![Batch::Free, Batch::One],
            false => vec![Batch::One],
        }
    }

    /// Whether some of its numbers have few bits, so that runtimes round them far apart.
    pub fn is_coarse(&self) -> bool {
        let graph = self.tidied.graph.iter();
        let half = |t: &crate::onnx::TensorProto| !matches!(t.data_type(), data_type::FLOAT16);
        let quantised = |n: &NodeProto| {
            let op = n.op_type();
            op.contains("Quantize") || op.ends_with("Integer") || op.starts_with("QLinear")
        };
        self.input.kind == data_type::FLOAT16
            || graph.clone().flat_map(|g| &g.node).any(quantised)
            || !graph.flat_map(|g| &g.initializer).all(half)
    }

    /// Whether its embedding is a softmax: the scores of a classifier.
    pub fn is_softmax(&self) -> bool {
        self.tidied.graph.as_ref().is_some_and(|graph| output::is_softmax(graph, &self.chosen.name))
    }

    /// The model itself with the picture as its one input and the embedding as its one output, both float32 if
    /// they are float16: as it was given, or tidied for runtimes that need that.
    pub fn reference(&self, tidied: bool) -> ModelProto {
        let mut model = if tidied { self.tidied.clone() } else { self.given.clone() };
        let Some(graph) = &mut model.graph else { return model };
        let half = self.input.kind == data_type::FLOAT16;
        let (input, output) = (self.input.name.clone(), self.chosen.name.clone());
        let cast = |from: &str, to: &str, kind: i32| NodeProto {
            input: vec![from.into()],
            output: vec![to.into()],
            name: Some(to.into()),
            op_type: Some("Cast".into()),
            attribute: vec![AttributeProto::int("to", i64::from(kind))],
            ..NodeProto::default()
        };
        let mut told = self.feed_shape();
        graph.input.retain(|value| value.name() != input);
        if half {
            told.name = Some(REFERENCE_INPUT.into());
            graph.node.insert(0, cast(REFERENCE_INPUT, &input, data_type::FLOAT16));
        }
        graph.input.insert(0, told);
        let mut result = ValueInfoProto { name: Some(output.clone()), ..ValueInfoProto::default() };
        if self.chosen.kind != Some(data_type::FLOAT) {
            graph.node.push(cast(&output, REFERENCE_OUTPUT, data_type::FLOAT));
            result.name = Some(REFERENCE_OUTPUT.into());
        }
        result.r#type = Some(float_type());
        graph.output = vec![result];
        model
    }

    /// The name of the input of [`Foreign::reference`].
    pub fn reference_input(&self) -> &str {
        if self.input.kind == data_type::FLOAT16 { REFERENCE_INPUT } else { &self.input.name }
    }

    fn feed_shape(&self) -> ValueInfoProto {
        let (channels, side) = self.picture();
        let pictures = ndarray::Array4::<u8>::zeros((self.own_batch(), channels, side, side));
        self.feed(pictures.view()).value_info(&self.input.name)
    }

    /// Pictures `[N, C, S, S]` as a program of the model's own would feed them.
    pub fn feed(&self, images: ArrayView4<'_, u8>) -> Tensor {
        self.input.feed(images, &self.levels, self.bgr)
    }

    /// The rows of what [`Foreign::reference`] gave for a batch.
    ///
    /// # Errors
    /// A result that is not one vector a picture.
    pub fn rows(&self, result: &Tensor) -> Result<Array2<f32>> {
        let batch = self.own_batch();
        let at = || format!("output {:?}", self.chosen.name);
        let dim = output::per_picture(result.shape(), batch).ok_or_else(|| {
            let why = format!(
                "has the shape {:?} for a batch of {batch}, not one vector a picture; choose another with --output \
                 (`siamese inspect --values` lists all)",
                result.shape()
            );
            Error::invalid(at(), why)
        })?;
        if let Some(told) = self.dim().filter(|told| *told != dim) {
            return Err(Error::invalid(
                "--dim",
                format!("is {told}, but the model gives {dim} numbers a picture"),
            ));
        }
        let numbers: Vec<f32> = result.to_f64().iter().map(|&x| x as f32).collect();
        Array2::from_shape_vec((batch, dim), numbers)
            .map_err(|e| Error::invalid_because(at(), "does not fill its shape", e))
    }

    /// The tower for a batch; `proven` names the runtimes that are known to run it.
    ///
    /// # Errors
    /// A distance that does not fit D; a model that is too long for a file.
    pub fn tower(&self, batch: Batch, dim: usize, proven: &[String]) -> Result<Imported> {
        let mut model = self.tidied.clone();
        let mut notes = self.notes.clone();
        let (fixed, tail) = match (batch, &self.freed) {
            (Batch::Free, Ok(freed)) => {
                model.graph = Some(freed.graph.clone());
                let fixed = self.input.batch.map(|n| format!("the batch was fixed at {n}; it is free now"));
                notes.extend(fixed);
                notes.extend(freed.told());
                (None, self.tail(freed.rank, dim))
            }
            (Batch::Free, Err(_)) => (None, self.tail(self.chosen.sizes.as_ref().map_or(0, Vec::len), dim)),
            (Batch::One, freed) => {
                let why = match (freed, self.input.batch) {
                    (Err(why), Some(n)) => format!(": its batch is fixed at {n} and cannot be freed: {why}"),
                    _ => ": its rows depend on what else is in a batch".into(),
                };
                notes.push(format!("the tower takes one picture at a time (siamese.batch = 1){why}"));
                (Some(1), if self.own_batch() > 1 { Tail::First(self.own_batch()) } else { Tail::Reshape })
            }
        };
        let graph = model.graph.as_mut().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
        graph.value_info.clear();
        wrap::wrap(
            graph,
            &Wrapping {
                input: &self.input,
                levels: &self.levels,
                bgr: self.bgr,
                output: &self.chosen.name,
                cast: self.chosen.kind != Some(data_type::FLOAT),
                tail,
                dim,
                batch: fixed,
            },
        );
        let spec = TowerSpec {
            name: self.name.clone(),
            kind: TowerKind::Float,
            preprocessing: self.preprocessing.clone(),
            dim,
            distance: self.distance.clone(),
            batch: fixed,
            compatible_with: None,
            sha256: String::new(),
        };
        spec.write_metadata(&mut model)?;
        let provenance = Provenance {
            source: Some(self.source.clone()),
            proven: proven.to_vec(),
            ..Provenance::default()
        };
        provenance.write(&mut model)?;
        if model.encoded_len() as u64 > tower::MAX_BYTES {
            let why = "is longer than 2 GiB with its weights, which ONNX files cannot be";
            return Err(Error::invalid("the model", why));
        }
        Ok(Imported { model, notes })
    }

    fn tail(&self, rank: usize, dim: usize) -> Tail {
        let first = self.chosen.sizes.as_ref().is_none_or(|s| s.len() < 2 || s[0] == self.own_batch());
        let last = self.chosen.sizes.as_ref().is_none_or(|s| s.last() == Some(&dim));
        match rank {
            2 if first && last => Tail::Same,
            3.. if first => Tail::Flatten,
            _ => Tail::Reshape,
        }
    }

    /// What is to be said where tract did not run the tower.
    pub fn untested(&self) -> Option<String> {
        let opset = self.tidied.opset().unwrap_or(1);
        (opset > TRACT_OPSET).then(|| format!("opset {opset}: tract is tested up to {TRACT_OPSET}"))
    }
}

const REFERENCE_INPUT: &str = "siamese/picture";
const REFERENCE_OUTPUT: &str = "siamese/embedding";

fn float_type() -> crate::onnx::TypeProto {
    use crate::onnx::type_proto::{Tensor, Value};
    let tensor = Tensor { elem_type: Some(data_type::FLOAT), shape: None };
    crate::onnx::TypeProto { value: Some(Value::Tensor(tensor)), denotation: None }
}

/// A word where nothing was told of how the colours of a model are scaled.
fn unscaled(options: &ImportOptions, input: &Input) -> Option<String> {
    let told = options.preset.is_some()
        || options.mean.is_some()
        || options.std.is_some()
        || options.scale.is_some();
    let quiet = told || input.channels != 3 || input.kind == data_type::UINT8;
    (!quiet).then(|| {
        "the colours go in as 0–1, for neither --preset nor --mean and --std was given; most models want another \
         scale: imagenet (torchvision, timm, DINO), clip, inception or arcface"
            .into()
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

fn check_opset(model: &ModelProto) -> Result<()> {
    let opset = model.opset().unwrap_or(1);
    let highest = highest_opset();
    if opset <= highest {
        return Ok(());
    }
    let why = format!(
        "uses opset {opset}; siamese knows opsets up to {highest} (its own towers use 17): \
         export the model again with a lower opset"
    );
    Err(Error::invalid("the model", why))
}
