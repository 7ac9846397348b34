//! A small float32 interpreter of towers, for calibration: every value of every layer, image by image,
//! on all cores, without a runtime's library.
//!
//! It knows the operators that [`super::float()`] and [`super::exact()`] emit. Of an exact tower it gives
//! the very bits that any runtime gives.

use super::window;
use crate::graph::numbers;
use crate::onnx::{ModelProto, NodeProto};
use crate::tower::INPUT;
use crate::{Error, Result};
use ndarray::{Array2, ArrayD, ArrayView3, ArrayView4, Axis, Ix1, Ix2, Ix3};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Images whose statistics are added up by one task: fixed, so that sums of floats come out the same
/// on any number of cores.
const TASK: usize = 8;

/// A tower ready to run.
pub struct Program {
    constants: HashMap<String, ArrayD<f32>>,
    nodes: Vec<NodeProto>,
    output: String,
}

/// The values of one image: shapes without the batch axis.
pub type Values = BTreeMap<String, ArrayD<f32>>;

impl Program {
    /// Takes a tower's nodes and weights.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn new(model: &ModelProto) -> Result<Self> {
        let graph = model.graph.as_ref().ok_or_else(|| Error::invalid("the model", "holds no graph"))?;
        let constant =
            |t: &crate::onnx::TensorProto| Ok((t.name().to_string(), numbers(t)?.mapv(|x| x as f32)));
        let mut constants: HashMap<_, _> = graph.initializer.iter().map(constant).collect::<Result<_>>()?;
        // Casts of weights are done once.
        let mut nodes = Vec::new();
        for node in &graph.node {
            match constants.get(&node.input[0]).filter(|_| node.op_type() == "Cast").cloned() {
                Some(values) => drop(constants.insert(node.output[0].clone(), values)),
                None => nodes.push(node.clone()),
            }
        }
        let output = graph.output.first().map(|o| o.name().to_string()).unwrap_or_default();
        Ok(Self { constants, nodes, output })
    }

    /// Embeddings `[N, D]` of images `[N, C, S, S]`.
    ///
    /// # Errors
    /// An operator that is not known here.
    pub fn embed(&self, images: ArrayView4<'_, u8>) -> Result<Array2<f32>> {
        let rows = self.tally(images, Vec::new, |rows: &mut Vec<Vec<f32>>, values| {
            rows.push(values[&self.output].iter().copied().collect());
        })?;
        let rows: Vec<Vec<f32>> = rows.into_iter().flatten().collect();
        let dim = rows.first().map_or(0, Vec::len);
        Array2::from_shape_vec((rows.len(), dim), rows.concat())
            .map_err(|e| Error::invalid_because("the tower", "gives embeddings of different lengths", e))
    }

    /// Runs the images and shows every image's values to `visit`; gives one tally a task, in order.
    ///
    /// # Errors
    /// As [`Program::embed`].
    pub fn tally<T: Send>(
        &self,
        images: ArrayView4<'_, u8>,
        start: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, &Values) + Sync,
    ) -> Result<Vec<T>> {
        let tasks: Vec<_> = images.axis_chunks_iter(Axis(0), TASK).collect();
        let one = |task: ArrayView4<'_, u8>| {
            let mut tally = start();
            for image in task.outer_iter() {
                visit(&mut tally, &self.values(image)?);
            }
            Ok(tally)
        };
        tasks.into_par_iter().map(one).collect()
    }

    fn values(&self, image: ArrayView3<'_, u8>) -> Result<Values> {
        let mut values = Values::new();
        values.insert(INPUT.into(), image.mapv(f32::from).into_dyn());
        for node in &self.nodes {
            let result = Step { node, values: &values, constants: &self.constants }.run()?;
            values.insert(node.output[0].clone(), result);
        }
        Ok(values)
    }
}

struct Step<'a> {
    node: &'a NodeProto,
    values: &'a Values,
    constants: &'a HashMap<String, ArrayD<f32>>,
}

impl<'a> Step<'a> {
    fn run(&self) -> Result<ArrayD<f32>> {
        let x = || self.input(0);
        Ok(match self.node.op_type() {
            "Cast" | "Identity" => x()?.clone(),
            "Add" => self.both(|a, b| a + b)?,
            "Sub" => self.both(|a, b| a - b)?,
            "Mul" => self.both(|a, b| a * b)?,
            "Div" => self.both(|a, b| a / b)?,
            "Sqrt" => x()?.mapv(f32::sqrt),
            "Relu" => x()?.mapv(|x| x.max(0.0)),
            "Floor" => x()?.mapv(f32::floor),
            "Sigmoid" => x()?.mapv(|x| 1.0 / (1.0 + (-x).exp())),
            "Clip" => {
                let (low, high) = (self.number(1, f32::NEG_INFINITY)?, self.number(2, f32::INFINITY)?);
                x()?.mapv(|x| x.clamp(low, high))
            }
            "Flatten" => {
                let flat: Vec<f32> = x()?.iter().copied().collect();
                ndarray::arr1(&flat).into_dyn()
            }
            "Pad" => self.pad()?,
            "Conv" => self.conv()?,
            "Gemm" => self.gemm()?,
            "MaxPool" => {
                window::pool(&self.image()?, self.pair("kernel_shape")?, self.pair("strides")?, true)
            }
            "AveragePool" => {
                window::pool(&self.image()?, self.pair("kernel_shape")?, self.pair("strides")?, false)
            }
            "ReduceMean" => self.mean()?,
            "ReduceSum" => ndarray::arr1(&[x()?.sum()]).into_dyn(),
            _ => return Err(self.fail("is not known to the calibration")),
        })
    }

    fn fail(&self, why: &str) -> Error {
        Error::Graph { op: self.node.op_type().into(), node: self.node.name().into(), why: why.into() }
    }

    fn input(&self, i: usize) -> Result<&'a ArrayD<f32>> {
        let name = self.node.input.get(i).map_or("", String::as_str);
        let value = self.values.get(name).or_else(|| self.constants.get(name));
        value.ok_or_else(|| self.fail("lacks an input"))
    }

    fn number(&self, i: usize, default: f32) -> Result<f32> {
        if self.node.input.get(i).is_none_or(String::is_empty) {
            return Ok(default);
        }
        self.input(i)?.first().copied().ok_or_else(|| self.fail("has an empty constant"))
    }

    fn image(&self) -> Result<ArrayView3<'a, f32>> {
        self.input(0)?.view().into_dimensionality::<Ix3>().map_err(|_| self.fail("takes images"))
    }

    fn pair(&self, name: &str) -> Result<[usize; 2]> {
        match self.ints(name).map(|v| v.iter().map(|&i| i as usize).collect::<Vec<_>>()).as_deref() {
            None => Ok([1, 1]),
            Some(&[h, w]) => Ok([h, w]),
            Some(_) => Err(self.fail("is not two-dimensional")),
        }
    }

    fn ints(&self, name: &str) -> Option<&'a [i64]> {
        Some(&self.node.attribute.iter().find(|a| a.name() == name)?.ints)
    }

    fn both(&self, f: impl Fn(&ArrayD<f32>, &ArrayD<f32>) -> ArrayD<f32>) -> Result<ArrayD<f32>> {
        let (a, b) = (self.input(0)?, self.input(1)?);
        let fits = a.broadcast(b.raw_dim()).is_some() || b.broadcast(a.raw_dim()).is_some();
        if fits { Ok(f(a, b)) } else { Err(self.fail("has operands that do not fit")) }
    }

    /// The mean over H and W.
    fn mean(&self) -> Result<ArrayD<f32>> {
        let image = self.image()?;
        let pixels = (image.shape()[1] * image.shape()[2]) as f32;
        let sums: Vec<f32> = image.outer_iter().map(|c| c.sum() / pixels).collect();
        Ok(ndarray::arr1(&sums).into_dyn())
    }

    fn pad(&self) -> Result<ArrayD<f32>> {
        let counts: Vec<usize> = self.input(1)?.iter().map(|&n| n as usize).collect();
        match counts.as_slice() {
            &[0, 0, top, left, 0, 0, bottom, right] => {
                Ok(window::padded(&self.image()?, [top, left, bottom, right]).into_dyn())
            }
            _ => Err(self.fail("pads another axis than H and W")),
        }
    }

    fn conv(&self) -> Result<ArrayD<f32>> {
        let weight = self.input(1)?;
        let pads = match self.ints("pads") {
            Some(&[t, l, b, r]) => [t, l, b, r].map(|p| p as usize),
            _ => [0; 4],
        };
        let groups = self.node.attribute.iter().find(|a| a.name() == "group").map_or(1, |a| a.i()) as usize;
        let form = window::Form { pads, strides: self.pair("strides")?, groups };
        let mut y =
            window::conv(&self.image()?, weight, &form).ok_or_else(|| self.fail("does not fit its input"))?;
        if self.node.input.len() > 2 {
            for (mut channel, b) in y.outer_iter_mut().zip(self.input(2)?) {
                channel += *b;
            }
        }
        Ok(y.into_dyn())
    }

    /// `x · wᵀ + b`.
    fn gemm(&self) -> Result<ArrayD<f32>> {
        let misfit = |_| self.fail("does not fit its input");
        let x = self.input(0)?.view().into_dimensionality::<Ix1>().map_err(misfit)?;
        let w = self.input(1)?.view().into_dimensionality::<Ix2>().map_err(misfit)?;
        if w.ncols() != x.len() {
            return Err(self.fail("does not fit its input"));
        }
        let y = w.dot(&x).into_dyn();
        Ok(if self.node.input.len() > 2 { y + self.input(2)? } else { y })
    }
}
