//! Trained parameters → an exact tower.
//!
//! Weights, biases and activations are integers held in float32; each product is `Conv` (its bias
//! includes half a step) → `Mul` by a power of two per channel → `Floor` → `Clip`. Sums of such
//! integers are exact in any order, so every runtime gives the same bits ([`crate::tower::prove`]).
//! What is rounded, and how far, is chosen here: weights by channel ([`super::quantise`]), activations by
//! part ([`super::calibrate`]). A product is rounded only after what can be done in its accumulator: the
//! normalisation, the sum with a shortcut, the ReLU.

use super::calibrate::Statistics;
use super::float::{self, describe};
use super::quantise::{Incoming, Quantised, Row, finest, finest_beside, finest_pair};
use crate::exactness::ACTIVATION_MAX;
use crate::graph::{ConvAttrs, DType, Expr, Graph, Tensor};
use crate::model::{Kind, Params, Part, Recipe, plan};
use crate::onnx::ModelProto;
use crate::tower::{Distance, INPUT, OUTPUT, Provenance, TowerKind, prove};
use crate::{Error, Result};
use ndarray::{ArrayD, ArrayView4, Axis, IxDyn};

/// What the activations' scales are chosen from.
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'a> {
    /// Training images `[N, C, S, S]`; a few hundred are enough.
    pub images: ArrayView4<'a, u8>,
    /// Take the mean error of rounded weights out of the biases.
    pub correct_biases: bool,
}

/// Builds the exact tower of a recipe: `image: uint8 [N, C, S, S]` → `embedding: float32 [N, D]`,
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
    let parts = plan(recipe)?;
    check_parts(recipe, &parts)?;
    check_images(recipe, how)?;
    let params = float::fold(recipe, params)?;
    let stats = Statistics::gather(recipe, &params, how.images)?;
    let g = Graph::new(&recipe.name);
    let exporter =
        Exporter { g: &g, parts: &parts, params: &params, stats: &stats, correct: how.correct_biases };
    let embedding = exporter.tower(recipe.image())?;
    g.output(OUTPUT, embedding);
    let mut model = g.to_model_batched("N")?;
    let distance =
        if float::normalised(&parts) { Distance::Cosine } else { float::distance(recipe, &params)? };
    describe(&mut model, recipe, TowerKind::Exact, embedding.dim(1), distance)?;
    let bounds = prove(&model)?;
    Provenance { recipe: Some(recipe.clone()), bounds, ..told.clone() }.write(&mut model)?;
    Ok(model)
}

fn check_parts(recipe: &Recipe, parts: &[Part]) -> Result<()> {
    for (place, part) in parts.iter().enumerate() {
        let last = parts[place..].iter().all(|p| matches!(p.kind, Kind::Dropout(_) | Kind::L2Norm));
        let why = match part.kind {
            Kind::Sigmoid => {
                "has no exact form: e⁻ˣ is rounded differently by every runtime; export a float tower"
            }
            Kind::Relu6 | Kind::HardSwish | Kind::Silu | Kind::Means | Kind::Scale => {
                "has no exact form from training images; choose its scales on pictures with --calibrate DIR, or export a float tower"
            }
            Kind::L2Norm if !last => "has no exact form in the middle of a tower: the root is rounded",
            _ => continue,
        };
        return Err(Error::invalid(format!("recipe {}, layer {}", recipe.name, part.layer), why));
    }
    Ok(())
}

fn check_images(recipe: &Recipe, how: Calibration<'_>) -> Result<()> {
    let shape = how.images.shape();
    if shape[0] == 0 {
        return Err(Error::invalid("the calibration images", "are none; give a few hundred"));
    }
    let wanted = recipe.image();
    if shape[1..] != wanted {
        let [channels, height, width] = wanted;
        let why =
            format!("have the shape {shape:?}, but the recipe takes [N, {channels}, {height}, {width}]");
        return Err(Error::invalid("the calibration images", why));
    }
    Ok(())
}

/// What the exact tower has for the result of a part: a sum, which is rounded only when it must be.
#[derive(Clone)]
struct Act<'g> {
    /// The part that it stands for.
    place: usize,
    terms: Vec<Term<'g>>,
}

/// A summand.
#[derive(Clone, Copy)]
enum Term<'g> {
    /// The product at this place, of these integers.
    Product(usize, Integers<'g>),
    /// The integers themselves.
    Integers(Integers<'g>),
}

/// Integers, with the place of the part that they stand for.
#[derive(Clone, Copy)]
struct Integers<'g> {
    value: Expr<'g>,
    is: Incoming,
    place: usize,
    /// Nothing is below 0.
    positive: bool,
}

impl<'g> From<Integers<'g>> for Act<'g> {
    fn from(x: Integers<'g>) -> Self {
        Self { place: x.place, terms: vec![Term::Integers(x)] }
    }
}

struct Exporter<'a, 'g> {
    g: &'g Graph,
    parts: &'a [Part],
    params: &'a Params,
    stats: &'a Statistics,
    correct: bool,
}

impl<'a, 'g> Exporter<'a, 'g> {
    fn tower(&self, [channels, height, width]: [usize; 3]) -> Result<Expr<'g>> {
        let image = self.g.input(INPUT, DType::U8, &[1, channels, height, width]);
        let mut acts: Vec<Act<'g>> = Vec::with_capacity(self.parts.len());
        for place in 0..self.parts.len() {
            let act = self.part(place, image, &acts)?;
            let takers = self.parts.iter().flat_map(|p| &p.inputs).filter(|&&input| input == place);
            // What several parts take is rounded once for all of them.
            acts.push(if takers.count() > 1 { self.rounded(act)?.into() } else { act });
        }
        let Some(last) = acts.pop() else { return Err(Error::invalid("the tower", "has no parts")) };
        let last = self.rounded(last)?;
        let fits = last.is.step >= 0 && last.is.max <= ACTIVATION_MAX;
        Ok(if fits { last.value } else { self.requantised(last) })
    }

    fn part(&self, place: usize, image: Expr<'g>, acts: &[Act<'g>]) -> Result<Act<'g>> {
        let part = &self.parts[place];
        let x = |i: usize| acts[part.inputs[i]].clone();
        let map = |x: Integers<'g>, f: &dyn Fn(Expr<'g>) -> Expr<'g>| {
            let value = self.g.within(&part.layer, || f(x.value));
            Integers { value, place, ..x }
        };
        Ok(match part.kind {
            Kind::Image => {
                let is = Incoming { unit: 1.0 / 255.0, max: 255.0, step: 0 };
                Integers { value: image.cast(DType::F32), is, place, positive: true }.into()
            }
            Kind::Product(_) => Act { place, terms: vec![Term::Product(place, self.rounded(x(0))?)] },
            Kind::Add => Act { place, terms: [x(0).terms, x(1).terms].concat() },
            Kind::Relu => {
                let sum = x(0);
                match *sum.terms.as_slice() {
                    [Term::Integers(x)] if x.positive => Integers { place, ..x }.into(),
                    [Term::Integers(x)] => Integers { positive: true, ..map(x, &|x| x.relu()) }.into(),
                    _ => self.round(Act { place, ..sum }, true)?.into(),
                }
            }
            Kind::MaxPool(size) => map(self.rounded(x(0))?, &|x| x.max_pool([size; 2], [size; 2])).into(),
            Kind::Flatten => map(self.rounded(x(0))?, &|x| x.flatten(1)).into(),
            Kind::AveragePool(size) => self.average(place, x(0), size)?.into(),
            Kind::GlobalAveragePool => {
                let side = self.parts[part.inputs[0]].output[1];
                map(self.average(place, x(0), side)?, &|x| x.flatten(1)).into()
            }
            // Normalisation is in the weights, and the cosine divides by the length; the others were refused.
            Kind::BatchNorm
            | Kind::Dropout(_)
            | Kind::L2Norm
            | Kind::Sigmoid
            | Kind::Relu6
            | Kind::HardSwish
            | Kind::Silu
            | Kind::Means
            | Kind::Scale => x(0),
        })
    }

    /// Integers for a part's result; a sum that goes through no ReLU has a sign.
    fn rounded(&self, act: Act<'g>) -> Result<Integers<'g>> {
        match *act.terms.as_slice() {
            [Term::Integers(x)] => Ok(x),
            _ => self.round(act, false),
        }
    }

    /// The sum → `Floor` → `Clip` to 7 bits and, unless it goes through a ReLU, a sign.
    fn round(&self, sum: Act<'g>, relu: bool) -> Result<Integers<'g>> {
        let exponent = self.stats.exponent(sum.place);
        let first = sum.terms.iter().find_map(|term| match term {
            Term::Product(place, _) => Some(*place),
            Term::Integers(_) => None,
        });
        let layer = &self.parts[first.unwrap_or(sum.place)].layer;
        self.g.within(layer, || {
            let scaled = self.accumulated(&sum.terms, exponent, layer)?;
            Ok(self.clipped(scaled, exponent, relu, sum.place))
        })
    }

    /// The sum scaled so that 1 stands for 2^out, half a step added. It is formed before it is rounded, at
    /// the finer of its terms' scales.
    fn accumulated(&self, terms: &[Term<'g>], out: i32, layer: &str) -> Result<Expr<'g>> {
        let half = 2f64.powi(out - 1);
        match *terms {
            [Term::Product(a, x)] => {
                let rows = self.rows(a, x, half)?;
                let integers = rows.iter().map(|row| finest(row, x.is)).collect::<Result<Vec<_>>>()?;
                self.scaled(a, x, &integers, out)
            }
            [Term::Product(a, x), Term::Product(b, y)] => {
                let (rows_x, rows_y) = (self.rows(a, x, half)?, self.rows(b, y, 0.0)?);
                let pairs = rows_x.iter().zip(&rows_y).map(|(p, q)| finest_pair((p, x.is), (q, y.is)));
                let (integers_x, integers_y): (Vec<_>, Vec<_>) =
                    pairs.collect::<Result<Vec<_>>>()?.into_iter().map(|[p, q]| (p, q)).unzip();
                Ok(self.scaled(a, x, &integers_x, out)? + self.scaled(b, y, &integers_y, out)?)
            }
            [Term::Product(a, x), Term::Integers(y)] | [Term::Integers(y), Term::Product(a, x)] => {
                let exponent = shortcut_exponent(layer, y)?;
                let rows = self.rows(a, x, half)?;
                let beside = rows.iter().map(|row| finest_beside(row, x.is, y.is.real(exponent)));
                let integers = beside.collect::<Result<Vec<_>>>()?;
                let branch = self.scaled(a, x, &integers, out)?;
                Ok(branch + y.value * 2f32.powi(exponent - out))
            }
            _ => {
                let why =
                    "adds results of which none is a product's, or more than two; there is no exact form";
                Err(Error::invalid(format!("layer {layer}"), why))
            }
        }
    }

    /// The mean of each window: exact for 2^k numbers; of others the sum is taken, and the next weights
    /// divide.
    fn average(&self, place: usize, x: Act<'g>, size: usize) -> Result<Integers<'g>> {
        let (x, count, layer) = (self.rounded(x)?, size * size, &self.parts[place].layer);
        let mut is = x.is;
        let value = self.g.within(layer, || {
            if count.is_power_of_two() {
                is.step -= count.trailing_zeros() as i32;
                return x.value.average_pool([size; 2], [size; 2]);
            }
            is.unit /= count as f64;
            is.max *= count as f64;
            let channels = x.value.dim(1);
            let ones = Tensor::I8(ArrayD::from_elem(IxDyn(&[channels, 1, size, size]), 1));
            let ones = self.g.initializer(&format!("{layer}.ones"), ones).cast(DType::F32);
            x.value.conv(
                ones,
                None,
                ConvAttrs { strides: [size; 2], groups: channels, ..ConvAttrs::default() },
            )
        });
        Ok(Integers { value, is, place, ..x })
    }

    /// Rounds means or sums at the tower's end to the integers of an embedding.
    fn requantised(&self, x: Integers<'g>) -> Expr<'g> {
        let target = self.stats.exponent(x.place);
        let shift = (f64::from(target) - x.is.unit.log2()).ceil() as i32;
        let scaled = x.value * 2f32.powi(-shift) + 0.5;
        self.clipped(scaled, target, x.positive, x.place).value
    }

    /// `Floor` → `Clip`.
    fn clipped(&self, scaled: Expr<'g>, exponent: i32, relu: bool, place: usize) -> Integers<'g> {
        let low = if relu { 0.0 } else { -ACTIVATION_MAX as f32 };
        let value = scaled.floor().clip(low, ACTIVATION_MAX as f32);
        let is = Incoming { unit: 2f64.powi(exponent), max: ACTIVATION_MAX, step: 0 };
        Integers { value, is, place, positive: relu }
    }

    /// `Conv` or `Gemm` of integers → `Mul` by powers of two, so that 1 stands for 2^out.
    fn scaled(&self, place: usize, x: Integers<'g>, integers: &[Quantised], out: i32) -> Result<Expr<'g>> {
        let (part, count) = (&self.parts[place], integers.len());
        let Some(product) = part.product() else {
            return Err(Error::invalid(&part.name, "is no product"));
        };
        let named = |end: &str| format!("{}.{end}", part.name);
        let weights = integers.iter().flat_map(|q| q.weights.iter().copied()).collect();
        let weights = ArrayD::from_shape_vec(IxDyn(&product.weight), weights).map_err(|e| {
            Error::invalid_because(format!("parameter {}", named("weight")), "changed its shape", e)
        })?;
        let weights = self.g.initializer(&named("weight"), Tensor::I8(weights)).cast(DType::F32);
        let biases = integers.iter().map(|q| q.bias as f32).collect();
        let biases = self.vector(&named("bias"), biases, &[count])?;
        let scales = integers.iter().map(|q| 2f32.powi(q.exponent - out)).collect();
        Ok(match product.conv {
            Some(conv) => {
                let sum = x.value.conv(weights, Some(biases), conv);
                sum * self.vector(&named("scale"), scales, &[count, 1, 1])?
            }
            None => {
                let sum = x.value.linear(weights, Some(biases));
                sum * self.vector(&named("scale"), scales, &[count])?
            }
        })
    }

    fn vector(&self, name: &str, values: Vec<f32>, shape: &[usize]) -> Result<Expr<'g>> {
        let array = ArrayD::from_shape_vec(IxDyn(shape), values)
            .map_err(|e| Error::invalid_because(name, "does not hold one number a channel", e))?;
        Ok(self.g.initializer(name, Tensor::F32(array)))
    }

    /// The output channels of the product at `place`, whose weight is in standard layout.
    fn rows(&self, place: usize, x: Integers<'g>, half: f64) -> Result<Vec<Row<'a>>> {
        let name = &self.parts[place].name;
        let get = |end: &str| {
            let name = format!("{name}.{end}");
            self.params.get(&name).ok_or_else(|| Error::invalid(format!("parameter {name}"), "is missing"))
        };
        let (weight, bias) = (get("weight")?, get("bias")?);
        let means = if self.correct { self.stats.means(x.place) } else { &[] };
        let groups =
            self.parts[place].product().and_then(|product| product.conv).map_or(1, |conv| conv.groups);
        // What a row sees: all channels, or those of its group.
        let (seen, rows_of_group) = (means.len() / groups, bias.len() / groups);
        let each = weight.axis_iter(Axis(0)).zip(bias).enumerate();
        Ok(each
            .map(|(i, (row, b))| {
                let first = i / rows_of_group.max(1) * seen;
                let means = &means[first..first + seen];
                Row { weights: row.to_slice().unwrap_or(&[]), bias: f64::from(*b), half, means }
            })
            .collect())
    }
}

/// The exponent of the unit of integers that a layer adds as they are.
fn shortcut_exponent(layer: &str, x: Integers<'_>) -> Result<i32> {
    let exponent = x.is.unit.log2();
    if exponent.fract() == 0.0 {
        return Ok(exponent as i32);
    }
    let why = "adds its input as it is, but that is the image or a mean of a number of pixels that is no power \
               of two, whose unit no power of two scales; put a convolution before the block";
    Err(Error::invalid(format!("layer {layer}"), why))
}
