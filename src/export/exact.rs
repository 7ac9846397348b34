//! Trained parameters → an exact tower.
//!
//! Weights, biases and activations are integers held in float32; each layer is `Conv` (its bias
//! includes half a step) → `Mul` by a power of two per channel → `Floor` → `Clip`. Sums of such
//! integers are exact in any order, so every runtime gives the same bits ([`crate::tower::prove`]).
//! What is rounded, and how far, is chosen here: weights by channel ([`super::quantise`]), activations by
//! layer ([`super::calibrate`]).

use super::calibrate::{ACTIVATION_MAX, Statistics};
use super::float::{self, describe, normalised};
use super::quantise::{Incoming, Quantised, Row, finest, finest_beside, finest_pair};
use super::taps::Taps;
use crate::graph::{ConvAttrs, DType, Expr, Graph, Tensor};
use crate::model::recipe::{Layer, Padding, Recipe};
use crate::model::{Params, Placed, pads, plan};
use crate::onnx::ModelProto;
use crate::tower::{Distance, INPUT, OUTPUT, Provenance, TowerKind, prove};
use crate::{Error, Result};
use ndarray::{ArrayD, ArrayView4, Axis, IxDyn};

/// What the activations' scales are chosen from.
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'a> {
    /// Training images `[N, 1, S, S]`; a few hundred are enough.
    pub images: ArrayView4<'a, u8>,
    /// Take the mean error of rounded weights out of the biases.
    pub correct_biases: bool,
}

/// Builds the exact tower of a recipe: `image: uint8 [N, 1, S, S]` → `embedding: float32 [N, D]`,
/// integers in [−127, 127]. A tower that ends in L2 normalisation gives the integers before it, and its
/// distance is the cosine. The bounds are proven and written into the metadata.
///
/// # Errors
/// As [`float::float`]; a layer whose result cannot be exact (`sigmoid`, an `l2-norm` that is not last);
/// no calibration images.
pub fn exact(
    recipe: &Recipe,
    params: &Params,
    told: &Provenance,
    how: Calibration<'_>,
) -> Result<ModelProto> {
    let placed = plan(recipe)?;
    check_layers(recipe, &placed)?;
    check_images(recipe, how)?;
    let trained = float::float(recipe, params, told)?;
    let taps = Taps::of(&trained, &placed);
    let stats = Statistics::gather(&trained, &taps.names(), how.images)?;
    let params = float::fold(recipe, params)?;
    let g = &Graph::new(&recipe.name);
    let exporter = Exporter { g, params: &params, stats, taps, correct: how.correct_biases };
    let embedding = exporter.tower(recipe.size, &placed)?;
    g.output(OUTPUT, embedding);
    let dim = embedding.dim(1);
    let mut model = g.to_model_batched("N")?;
    let distance = if normalised(recipe) { Distance::Cosine } else { float::distance(recipe, &params)? };
    describe(&mut model, recipe, TowerKind::Exact, dim, distance)?;
    let bounds = prove(&model)?;
    Provenance { recipe: Some(recipe.clone()), bounds, ..told.clone() }.write(&mut model)?;
    Ok(model)
}

fn check_layers(recipe: &Recipe, placed: &[Placed]) -> Result<()> {
    for (i, p) in placed.iter().enumerate() {
        let later = placed[i + 1..].iter().any(|p| !matches!(p.layer, Layer::Dropout(_) | Layer::L2Norm));
        let why = match p.layer {
            Layer::Sigmoid => {
                "has no exact form: e⁻ˣ is rounded differently by every runtime; export a float tower"
            }
            Layer::L2Norm if later => "has no exact form in the middle of a tower: the root is rounded",
            _ => continue,
        };
        return Err(Error::invalid(format!("recipe {}, layer {}", recipe.name, p.name), why));
    }
    Ok(())
}

fn check_images(recipe: &Recipe, how: Calibration<'_>) -> Result<()> {
    let shape = how.images.shape();
    if shape[0] == 0 {
        return Err(Error::invalid("the calibration images", "are none; give a few hundred"));
    }
    if shape[1..] != [1, recipe.size, recipe.size] {
        let why = format!("have the shape {shape:?}, but the recipe takes [N, 1, {0}, {0}]", recipe.size);
        return Err(Error::invalid("the calibration images", why));
    }
    Ok(())
}

/// A value of the exact tower.
#[derive(Clone)]
struct Act<'a> {
    value: Expr<'a>,
    is: Incoming,
    /// The float tower's value that it stands for.
    tap: String,
    /// Nothing is below 0.
    positive: bool,
}

struct Exporter<'a> {
    g: &'a Graph,
    params: &'a Params,
    stats: Statistics,
    taps: Taps,
    correct: bool,
}

/// A product's place in the tower.
#[derive(Clone, Copy)]
enum Form {
    Conv(ConvAttrs),
    Fc,
}

impl<'a> Exporter<'a> {
    fn tower(&self, size: usize, placed: &[Placed]) -> Result<Expr<'a>> {
        let image = self.g.input(INPUT, DType::U8, &[1, 1, size, size]);
        let value = image.cast(DType::F32);
        let is = Incoming { unit: 1.0 / 255.0, max: 255.0, step: 0 };
        let mut x = Act { value, is, tap: self.taps.image.clone(), positive: true };
        for (i, p) in placed.iter().enumerate() {
            let next = placed[i + 1..].iter().map(|p| &p.layer);
            let relu = next.clone().find(|l| !matches!(l, Layer::BatchNorm | Layer::Dropout(_)))
                == Some(&Layer::Relu);
            x = self.g.within(&p.name, || self.layer(p, x, relu))?;
        }
        if x.is.step < 0 || x.is.max > ACTIVATION_MAX {
            x = self.requantise(x)?;
        }
        Ok(x.value)
    }

    fn layer(&self, p: &Placed, x: Act<'a>, relu: bool) -> Result<Act<'a>> {
        let tap = self.taps.after(&p.name);
        match p.layer {
            Layer::Conv { kernel, stride, padding, .. } => {
                let form = Form::Conv(self.window(x.value, kernel, stride, padding));
                // The scale is that of what the next rounding gives: after the ReLU, where one follows.
                self.product(&p.name, form, x, relu, tap)
            }
            Layer::Fc { .. } => self.product(&p.name, Form::Fc, x, relu, tap),
            Layer::Residual { stride, .. } => self.residual(p, x, stride),
            Layer::Relu if x.positive => Ok(Act { tap, ..x }),
            Layer::Relu => Ok(Act { positive: true, value: x.value.relu(), tap, ..x }),
            Layer::MaxPool { size } => Ok(Act { value: x.value.max_pool([size; 2], [size; 2]), tap, ..x }),
            Layer::AveragePool { size } => Ok(Act { tap, ..self.average(&p.name, x, size)? }),
            Layer::GlobalAveragePool => {
                let side = x.value.dim(2);
                let mean = self.average(&p.name, x, side)?;
                Ok(Act { value: mean.value.flatten(1), tap, ..mean })
            }
            Layer::Flatten => Ok(Act { value: x.value.flatten(1), tap, ..x }),
            // Batch normalisation is in the weights; the cosine distance normalises.
            Layer::BatchNorm | Layer::Dropout(_) | Layer::L2Norm | Layer::Sigmoid => Ok(x),
        }
    }

    /// Product, rounded to 7 bits and, unless a ReLU follows, a sign.
    fn product(&self, name: &str, form: Form, x: Act<'a>, relu: bool, tap: String) -> Result<Act<'a>> {
        let out = self.stats.exponent(&tap);
        let means = self.means(&x);
        let (weight, bias) = self.weights(name)?;
        let half = 2f64.powi(out - 1);
        let rows = rows(weight, bias, half, &means);
        let integers = rows.iter().map(|row| finest(row, x.is)).collect::<Result<Vec<_>>>()?;
        let scaled = self.scaled_product(name, form, x.value, weight.shape(), &integers, out)?;
        Ok(self.rounded(scaled, out, relu, tap))
    }

    /// The block's sum is formed before it is rounded, at the finer of both scales.
    fn residual(&self, p: &Placed, x: Act<'a>, stride: usize) -> Result<Act<'a>> {
        let [first, second, third] = [1, 2, 3].map(|i| format!("{}.conv{i}", p.name));
        let middle = self.taps.middle(&p.name);
        let window = self.window(x.value, 3, stride, Padding::Half);
        let y = self.product(&first, Form::Conv(window), x.clone(), true, middle)?;
        let tap = self.taps.after(&p.name);
        let out = self.stats.exponent(&tap);
        let (half, means) = (2f64.powi(out - 1), self.means(&y));
        let (weight, bias) = self.weights(&second)?;
        let rows_y = rows(weight, bias, half, &means);
        let form = Form::Conv(self.window(y.value, 3, 1, Padding::Half));
        let shape = weight.shape();
        if p.input == p.output {
            let exponent = shortcut_exponent(p, &x)?;
            let (magnitude, step) = (x.is.max * x.is.unit, exponent + x.is.step);
            let beside = rows_y.iter().map(|row| finest_beside(row, y.is, magnitude, step));
            let integers = beside.collect::<Result<Vec<_>>>()?;
            let branch = self.scaled_product(&second, form, y.value, shape, &integers, out)?;
            let sum = branch + x.value * 2f32.powi(exponent - out);
            return Ok(self.rounded(sum, out, true, tap));
        }
        let means = self.means(&x);
        let (weight_x, bias_x) = self.weights(&third)?;
        let rows_x = rows(weight_x, bias_x, 0.0, &means);
        let pairs = rows_y.iter().zip(&rows_x).map(|(a, b)| finest_pair((a, y.is), (b, x.is)));
        let (integers, integers_x): (Vec<_>, Vec<_>) =
            pairs.collect::<Result<Vec<_>>>()?.into_iter().map(|[a, b]| (a, b)).unzip();
        let branch = self.scaled_product(&second, form, y.value, shape, &integers, out)?;
        let form = Form::Conv(self.window(x.value, 1, stride, Padding::Half));
        let shortcut = self.scaled_product(&third, form, x.value, weight_x.shape(), &integers_x, out)?;
        Ok(self.rounded(branch + shortcut, out, true, tap))
    }

    /// The mean of each window: exact for 2^k numbers; of others the sum is taken, and the next weights
    /// divide.
    fn average(&self, name: &str, x: Act<'a>, size: usize) -> Result<Act<'a>> {
        let count = size * size;
        let mut is = x.is;
        if count.is_power_of_two() {
            is.step -= count.trailing_zeros() as i32;
            return Ok(Act { value: x.value.average_pool([size; 2], [size; 2]), is, ..x });
        }
        let channels = x.value.dim(1);
        let ones = ArrayD::from_elem(IxDyn(&[channels, 1, size, size]), 1i8);
        let ones = self.g.initializer(&format!("{name}.ones"), Tensor::I8(ones)).cast(DType::F32);
        let attrs = ConvAttrs { strides: [size; 2], groups: channels, ..ConvAttrs::default() };
        is.unit /= count as f64;
        is.max *= count as f64;
        Ok(Act { value: x.value.conv(ones, None, attrs), is, ..x })
    }

    /// Rounds means or sums at the tower's end to the integers of an embedding.
    fn requantise(&self, x: Act<'a>) -> Result<Act<'a>> {
        let target = self.stats.exponent(&x.tap);
        let shift = (f64::from(target) - x.is.unit.log2()).ceil() as i32;
        let shifted = x.value * 2f32.powi(-shift) + 0.5;
        Ok(self.rounded(shifted, target, x.positive, x.tap))
    }

    /// `Floor` → `Clip`.
    fn rounded(&self, scaled: Expr<'a>, exponent: i32, relu: bool, tap: String) -> Act<'a> {
        let low = if relu { 0.0 } else { -ACTIVATION_MAX as f32 };
        let value = scaled.floor().clip(low, ACTIVATION_MAX as f32);
        let is = Incoming { unit: 2f64.powi(exponent), max: ACTIVATION_MAX, step: 0 };
        Act { value, is, tap, positive: relu }
    }

    /// `Conv` or `Gemm` of integers → `Mul` by powers of two, so that 1 stands for 2^out.
    fn scaled_product(
        &self,
        name: &str,
        form: Form,
        x: Expr<'a>,
        shape: &[usize],
        integers: &[Quantised],
        out: i32,
    ) -> Result<Expr<'a>> {
        let weights: Vec<i8> = integers.iter().flat_map(|q| q.weights.iter().copied()).collect();
        let weights = ArrayD::from_shape_vec(IxDyn(shape), weights).map_err(|e| {
            Error::invalid_because(format!("parameter {name}.weight"), "changed its shape", e)
        })?;
        let weights = self.g.initializer(&format!("{name}.weight"), Tensor::I8(weights)).cast(DType::F32);
        let biases = integers.iter().map(|q| q.bias as f32).collect();
        let biases = self.vector(&format!("{name}.bias"), biases, &[integers.len()])?;
        let scales = integers.iter().map(|q| 2f32.powi(q.exponent - out)).collect();
        let (sum, spread): (Expr, &[usize]) = match form {
            Form::Conv(attrs) => (x.conv(weights, Some(biases), attrs), &[integers.len(), 1, 1]),
            Form::Fc => (x.linear(weights, Some(biases)), &[integers.len()]),
        };
        Ok(sum * self.vector(&format!("{name}.scale"), scales, spread)?)
    }

    fn vector(&self, name: &str, values: Vec<f32>, shape: &[usize]) -> Result<Expr<'a>> {
        let array = ArrayD::from_shape_vec(IxDyn(shape), values)
            .map_err(|e| Error::invalid_because(name, "does not hold one number a channel", e))?;
        Ok(self.g.initializer(name, Tensor::F32(array)))
    }

    fn window(&self, x: Expr<'a>, kernel: usize, stride: usize, padding: Padding) -> ConvAttrs {
        let [h, w] = [2, 3].map(|axis| pads(x.dim(axis), kernel, stride, padding));
        ConvAttrs { strides: [stride; 2], pads: [h[0], w[0], h[1], w[1]], ..ConvAttrs::default() }
    }

    fn means(&self, x: &Act<'_>) -> Vec<f64> {
        if self.correct { self.stats.means(&x.tap) } else { Vec::new() }
    }
}

impl<'a> Exporter<'a> {
    /// Weight and bias of a product.
    fn weights(&self, name: &str) -> Result<(&'a ArrayD<f32>, &'a ArrayD<f32>)> {
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            self.params.get(&name).ok_or_else(|| Error::invalid(format!("parameter {name}"), "is missing"))
        };
        Ok((part("weight")?, part("bias")?))
    }
}

/// The output channels of a weight in standard layout.
fn rows<'a>(weight: &'a ArrayD<f32>, bias: &'a ArrayD<f32>, half: f64, means: &'a [f64]) -> Vec<Row<'a>> {
    let each = weight.axis_iter(Axis(0)).zip(bias);
    each.map(|(row, b)| Row { weights: row.to_slice().unwrap_or(&[]), bias: f64::from(*b), half, means })
        .collect()
}

/// The exponent of the unit of a block's input that is added as it is.
fn shortcut_exponent(p: &Placed, x: &Act<'_>) -> Result<i32> {
    let exponent = x.is.unit.log2();
    if exponent.fract() == 0.0 {
        return Ok(exponent as i32);
    }
    let why = "adds its input as it is, but that is the image or a mean of a number of pixels that is no power \
               of two, whose unit no power of two scales; put a convolution before the block";
    Err(Error::invalid(format!("layer {}", p.name), why))
}
