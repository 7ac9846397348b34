//! From the plan and the units to the nodes of an exact tower.

use super::channel::{Addend, Channel, Row, channel};
use super::graph::{Op, Product, Value, Window};
use super::observe::Spread;
use super::plan::{Act, Make, Place, Plan, Planned, Term, View, at};
use super::read::Read;
use super::write::Writer;
use super::{Coarser, Cost};
use crate::exactness::{ACTIVATION_MAX, LIMIT};
use crate::onnx::{AttributeProto, Operator, Tensor, data_type};
use crate::tower::INPUT;
use crate::{Error, Result};
use ndarray::ArrayView4;
use rayon::prelude::*;
use std::sync::Arc;

/// Sums that are scaled by a factor of eleven bits stay below this.
const SCALED_MOST: f64 = LIMIT / 4096.0;

/// Integers of the tower.
struct Integers {
    name: String,
    /// No element is below or above, by channel or for all.
    low: Vec<f64>,
    high: Vec<f64>,
    /// What 1 stands for.
    unit: Vec<f64>,
    /// What 0 stands for.
    offset: Vec<f64>,
    /// The mean of each channel on the pictures of the calibration, in units.
    means: Vec<f64>,
    rank: usize,
}

/// A product in a sum, ready to be written.
struct Written<'a> {
    product: &'a Product,
    input: Place,
    rows: Vec<Row>,
}

/// Something that is added as it is.
struct Added {
    name: String,
    /// By channel.
    factor: Vec<f64>,
    reach: Vec<f64>,
}

/// Writes an exact tower.
pub(super) struct Emitter<'a> {
    read: &'a Read<'a>,
    plan: &'a Plan,
    units: &'a [Vec<f64>],
    spreads: &'a [Option<Spread>],
    made: Vec<Integers>,
    writer: Writer,
    cost: Cost,
}

impl<'a> Emitter<'a> {
    pub fn new(
        read: &'a Read<'a>,
        plan: &'a Plan,
        units: &'a [Vec<f64>],
        spreads: &'a [Option<Spread>],
    ) -> Self {
        let (made, writer, cost) = (Vec::new(), Writer::default(), Cost::default());
        Self { read, plan, units, spreads, made, writer, cost }
    }

    /// All values; gives the writer, the name of the last value and what it cost.
    pub fn emit(mut self, images: ArrayView4<'_, u8>) -> Result<(Writer, String, Cost)> {
        for place in 0..self.plan.values.len() {
            let planned = &self.plan.values[place];
            self.writer.label = self.label(planned);
            let (name, low, high) = self.make(place, planned)?;
            let (unit, rank) = (self.units[place].clone(), self.shape(place).len());
            let offset = self.offset(place, planned);
            let means = self.means(place, planned, images);
            self.made.push(Integers { name, low, high, unit, offset, means, rank });
        }
        let last = self.made[self.plan.output].name.clone();
        Ok((self.writer, last, self.cost))
    }

    /// The node that the value is known by in the float tower.
    fn label(&self, planned: &Planned) -> String {
        let value = &self.read.graph.values[planned.of];
        let first = match &planned.make {
            Make::Sum(act) => act.products.first().map(|term| Arc::as_ptr(&term.product)),
            _ => None,
        };
        let of_product = |v: &&Value| match &v.op {
            Op::Product { product, .. } => Some(Arc::as_ptr(product)) == first,
            _ => false,
        };
        let value =
            self.read.graph.values.iter().find(of_product).filter(|_| first.is_some()).unwrap_or(value);
        let name = value.node.as_ref().map_or("", |node| node.name());
        let name = if name.is_empty() { value.name.as_str() } else { name };
        name.trim_start_matches('/').to_string()
    }

    fn shape(&self, place: Place) -> &'a [usize] {
        &self.read.graph.values[self.plan.values[place].of].shape
    }

    fn offset(&self, place: Place, planned: &Planned) -> Vec<f64> {
        match &planned.make {
            Make::Centred(view) => {
                let levels = centre(view, self.units[view.place][0]);
                let unit = &self.units[place];
                levels.iter().enumerate().map(|(c, z)| at(&view.shift, c) + at(unit, c) * z).collect()
            }
            Make::Moved { inputs, .. } => {
                let of_input = &self.made[inputs[0]].offset;
                let kept = of_input.len() == 1 || of_input.len() == self.shape(place)[1];
                if kept { of_input.clone() } else { vec![0.0] }
            }
            _ => vec![0.0],
        }
    }

    fn means(&self, place: Place, planned: &Planned, images: ArrayView4<'_, u8>) -> Vec<f64> {
        let levels = || -> Vec<f64> {
            let of = |channel: ndarray::ArrayView3<'_, u8>| {
                channel.iter().map(|x| f64::from(*x)).sum::<f64>() / channel.len().max(1) as f64
            };
            images.axis_iter(ndarray::Axis(1)).map(of).collect()
        };
        match (&planned.make, &self.spreads[place]) {
            (Make::Image, _) => levels(),
            (Make::Centred(view), _) => {
                let centre = centre(view, 1.0);
                levels().iter().enumerate().map(|(c, x)| x - at(&centre, c)).collect()
            }
            (_, Some(spread)) => {
                let unit = &self.units[place];
                spread.means().iter().enumerate().map(|(c, x)| x / at(unit, c)).collect()
            }
            _ => vec![0.0],
        }
    }

    /// One value: its name, and the ends of its channels.
    fn make(&mut self, place: Place, planned: &Planned) -> Result<(String, Vec<f64>, Vec<f64>)> {
        match &planned.make {
            Make::Image => {
                let name = self.writer.cast(INPUT, data_type::FLOAT);
                Ok((name, vec![0.0], vec![255.0]))
            }
            Make::Centred(view) => Ok(self.centred(view, self.shape(place).len())),
            Make::Sum(act) => self.sum(place, planned, act),
            Make::Mean { x, window } => self.mean(place, planned, x, window),
            Make::Scaled { a, b } => self.scaled(place, planned, a, b),
            Make::Table { x, root } => self.table(place, planned.of, *x, *root),
            Make::HardSwish { x } => self.hard_swish(place, planned, *x),
            Make::Leaky { x, slopes } => self.leaky(place, planned, *x, slopes),
            Make::Moved { inputs, moved } => {
                let mut names: Vec<String> = inputs.iter().map(|x| self.made[*x].name.clone()).collect();
                names.extend(moved.lists.iter().map(|list| self.writer.list(list)));
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let name = self.writer.node(moved.operator, &names, moved.attributes.clone());
                let ends = |f: fn(&Integers) -> &Vec<f64>, pick: fn(f64, f64) -> f64, start: f64| {
                    let all = inputs.iter().flat_map(|x| f(&self.made[*x])).copied();
                    all.fold(start, pick)
                };
                let low = ends(|i| &i.low, f64::min, f64::INFINITY);
                let high = ends(|i| &i.high, f64::max, f64::NEG_INFINITY);
                // Padding brings zeros.
                Ok((name, vec![low.min(0.0)], vec![high.max(0.0)]))
            }
        }
    }

    /// Pixels less a level for each channel.
    fn centred(&mut self, view: &View, rank: usize) -> (String, Vec<f64>, Vec<f64>) {
        let levels = centre(view, self.units[view.place][0]);
        let level = self.writer.channels(&levels, rank);
        let name = self.writer.node(Operator::Sub, &[&self.made[view.place].name, &level], vec![]);
        (name, levels.iter().map(|z| -z).collect(), levels.iter().map(|z| 255.0 - z).collect())
    }

    fn sum(&mut self, place: Place, planned: &Planned, act: &Act) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let (unit, channels) = (&self.units[place], self.channels(place));
        let products = act.products.iter().map(|term| self.written(term, unit)).collect();
        let added: Vec<Added> = act.views.iter().map(|view| self.added(view, unit, channels)).collect();
        let mut bias: Vec<f64> = (0..channels).map(|c| at(&act.bias, c) / at(unit, c)).collect();
        for term in &act.products {
            self.shifts(term, unit).iter().zip(&mut bias).for_each(|(shift, b)| *b += shift);
        }
        for view in &act.views {
            let offset = &self.made[view.place].offset;
            bias.iter_mut()
                .enumerate()
                .for_each(|(c, b)| *b += at(&view.factor, c) * at(offset, c) / at(unit, c));
        }
        // Integers that are only limited stay as they are.
        if act.products.is_empty()
            && let [only] = added.as_slice()
            && only.factor.iter().all(|f| *f == 1.0)
            && bias.iter().all(|b| *b == 0.0)
        {
            let (low, high) = self.edges(place, planned, false);
            let name = self.writer.limited(&only.name, &low, &high, self.shape(place).len());
            return Ok((name, low, high));
        }
        self.rounded(place, planned, products, added, &bias, false)
    }

    fn channels(&self, place: Place) -> usize {
        self.shape(place).get(1).copied().unwrap_or(1)
    }

    /// The rows of a product, in steps of the result.
    fn written(&self, term: &'a Term, unit: &[f64]) -> Written<'a> {
        let (product, input) = (&*term.product, &self.made[term.input.place]);
        let taps = product.taps().max(1);
        let rows = (0..product.outputs()).into_par_iter().map(|o| {
            let scale = at(&term.factor, o) / at(unit, o);
            let first = product.first_input(o);
            let channel = |j: usize| first + j / taps;
            let weights = product.row(o).iter().enumerate();
            Row {
                weights: weights
                    .map(|(j, w)| {
                        let c = channel(j);
                        f64::from(*w) * scale * at(&term.input.factor, c) * at(&input.unit, c)
                    })
                    .collect(),
                reach: (0..product.row(o).len())
                    .map(|j| at(&input.low, channel(j)).abs().max(at(&input.high, channel(j)).abs()))
                    .collect(),
                means: (0..product.row(o).len()).map(|j| at(&input.means, channel(j))).collect(),
            }
        });
        Written { product, input: term.input.place, rows: rows.collect() }
    }

    /// What the shift of a product's input makes of each of its outputs, in steps of the result.
    fn shifts(&self, term: &Term, unit: &[f64]) -> Vec<f64> {
        let (product, input) = (&term.product, &self.made[term.input.place]);
        let shift = |c: usize| at(&term.input.factor, c) * at(&input.offset, c) + at(&term.input.shift, c);
        let taps = product.taps().max(1);
        let of = |o: usize| {
            let first = product.first_input(o);
            let sum: f64 =
                product.row(o).iter().enumerate().map(|(j, w)| f64::from(*w) * shift(first + j / taps)).sum();
            sum * at(&term.factor, o) / at(unit, o)
        };
        (0..product.outputs()).map(of).collect()
    }

    fn added(&self, view: &View, unit: &[f64], channels: usize) -> Added {
        let input = &self.made[view.place];
        let factor = |c: usize| at(&view.factor, c) * at(&input.unit, c) / at(unit, c);
        let reach = |c: usize| at(&input.low, c).abs().max(at(&input.high, c).abs());
        Added {
            name: input.name.clone(),
            factor: (0..channels).map(factor).collect(),
            reach: (0..channels).map(reach).collect(),
        }
    }

    /// The least and the greatest integer of each channel.
    fn edges(&self, place: Place, planned: &Planned, positive: bool) -> (Vec<f64>, Vec<f64>) {
        let unit = &self.units[place];
        let edge =
            |limit: f64, c: usize| (limit / at(unit, c)).round().clamp(-ACTIVATION_MAX, ACTIVATION_MAX);
        let [low, high] = planned.limits;
        let low = (0..unit.len()).map(|c| if positive { edge(low, c).max(0.0) } else { edge(low, c) });
        (low.collect(), (0..unit.len()).map(|c| edge(high, c)).collect())
    }

    /// The sum → `Floor` → limits.
    fn rounded(
        &mut self,
        place: Place,
        planned: &Planned,
        products: Vec<Written<'_>>,
        added: Vec<Added>,
        bias: &[f64],
        positive: bool,
    ) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let found = (0..self.channels(place)).into_par_iter().map(|c| {
            // A sum of rows is moved out of the list of its product.
            let rows: Vec<Row> = products
                .iter()
                .map(|p| Row {
                    weights: p.rows[c].weights.clone(),
                    reach: p.rows[c].reach.clone(),
                    means: p.rows[c].means.clone(),
                })
                .collect();
            let addends: Vec<Addend> =
                added.iter().map(|a| Addend { factor: a.factor[c], reach: a.reach[c] }).collect();
            channel(&rows, &addends, bias[c])
        });
        let found = found.collect::<Result<Vec<Channel>>>();
        let found = found.map_err(|e| e.at(&self.writer.label))?;
        self.tell(&products, &found);
        let rank = self.shape(place).len();
        let mut sum: Option<String> = None;
        for (p, written) in products.iter().enumerate() {
            let scaled = self.product(written, p, &found, rank);
            sum = Some(self.plus(sum, scaled));
        }
        for (a, added) in added.iter().enumerate() {
            let factors: Vec<f64> = found.iter().map(|c| c.factors[a]).collect();
            let scaled = self.times(&added.name, &factors, rank);
            sum = Some(self.plus(sum, scaled));
        }
        let mut sum = sum.ok_or_else(|| Error::invalid(&self.writer.label, "adds nothing"))?;
        if products.is_empty() {
            let bias: Vec<f64> = found.iter().map(|c| c.bias).collect();
            let bias = self.writer.channels(&bias, rank);
            sum = self.writer.node(Operator::Add, &[&sum, &bias], vec![]);
        }
        let whole = self.writer.floor(&sum);
        let (low, high) = self.edges(place, planned, positive);
        Ok((self.writer.limited(&whole, &low, &high, rank), low, high))
    }

    /// What the bound of 2²⁴ cost.
    fn tell(&mut self, products: &[Written<'_>], found: &[Channel]) {
        self.cost.products += products.len();
        let channels = found.iter().filter(|c| c.lost > 0).count();
        if channels > 0 {
            let bits = found.iter().map(|c| c.lost).max().unwrap_or(0);
            let of = found.len();
            self.cost.coarser.push(Coarser { node: self.writer.label.clone(), channels, of, bits });
        }
    }

    fn plus(&mut self, sum: Option<String>, x: String) -> String {
        match sum {
            None => x,
            Some(sum) => self.writer.node(Operator::Add, &[&sum, &x], vec![]),
        }
    }

    fn times(&mut self, x: &str, factors: &[f64], rank: usize) -> String {
        if factors.iter().all(|f| *f == 1.0) {
            return x.to_string();
        }
        let factors = self.writer.channels(factors, rank);
        self.writer.node(Operator::Mul, &[x, &factors], vec![])
    }

    /// `Conv` or `Gemm` → `Mul` by powers of two.
    fn product(&mut self, written: &Written<'_>, p: usize, found: &[Channel], rank: usize) -> String {
        let product = written.product;
        let all: Vec<i8> = found.iter().flat_map(|c| c.products[p].0.iter().copied()).collect();
        let biases: Vec<f32> = found.iter().map(|c| c.products[p].1 as f32).collect();
        let scales: Vec<f64> = found.iter().map(|c| 2f64.powi(c.products[p].2)).collect();
        let weights = self.writer.weights(&product.shape, all);
        let bias = self.writer.constant(&Tensor::F32(ndarray::arr1(&biases).into_dyn()));
        let x = self.made[written.input].name.clone();
        let sum = match &product.conv {
            Some([strides, pads, dilations]) => {
                let attributes = vec![
                    AttributeProto::ints(
                        "kernel_shape",
                        product.shape[2..].iter().map(|k| *k as i64).collect(),
                    ),
                    AttributeProto::ints("strides", strides.clone()),
                    AttributeProto::ints("pads", pads.clone()),
                    AttributeProto::ints("dilations", dilations.clone()),
                    AttributeProto::int("group", product.groups as i64),
                ];
                self.writer.node(Operator::Conv, &[&x, &weights, &bias], attributes)
            }
            None => {
                let attributes = vec![AttributeProto::int("transB", 1)];
                self.writer.node(Operator::Gemm, &[&x, &weights, &bias], attributes)
            }
        };
        self.times(&sum, &scales, rank)
    }

    /// Sums of windows, scaled to means.
    fn mean(
        &mut self,
        place: Place,
        planned: &Planned,
        x: &View,
        window: &Window,
    ) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let input = &self.made[x.place];
        let (name, shape) = (input.name.clone(), self.shape(x.place).to_vec());
        let (count, sums) = match window {
            Window::All { kept } => {
                let axes = self.writer.list(&[2, 3]);
                let attributes = vec![AttributeProto::flag("keepdims", *kept)];
                (shape[2] * shape[3], self.writer.node(Operator::ReduceSum, &[&name, &axes], attributes))
            }
            Window::Tiles([kernel, strides, pads]) => {
                let count = kernel.iter().product::<i64>() as usize;
                let ones = [shape[1], 1, kernel[0] as usize, kernel[1] as usize];
                let ones = self.writer.weights(&ones, vec![1; shape[1] * count]);
                let attributes = vec![
                    AttributeProto::ints("kernel_shape", kernel.clone()),
                    AttributeProto::ints("strides", strides.clone()),
                    AttributeProto::ints("pads", pads.clone()),
                    AttributeProto::int("group", shape[1] as i64),
                ];
                (count, self.writer.node(Operator::Conv, &[&name, &ones], attributes))
            }
        };
        let input = &self.made[x.place];
        let unit = &self.units[place];
        let mut added = self.added(x, unit, self.channels(place));
        added.name = sums;
        added.factor.iter_mut().for_each(|f| *f /= count as f64);
        added.reach.iter_mut().for_each(|r| *r *= count as f64);
        let bias: Vec<f64> = (0..self.channels(place))
            .map(|c| (at(&x.factor, c) * at(&input.offset, c) + at(&x.shift, c)) / at(unit, c))
            .collect();
        let positive = input.low.iter().all(|l| *l >= 0.0)
            && added.factor.iter().all(|f| *f >= 0.0)
            && bias.iter().all(|b| *b >= 0.0);
        let rank = self.shape(place).len();
        self.narrowed(&mut added, rank);
        self.rounded(place, planned, Vec::new(), vec![added], &bias, positive)
    }

    /// Integers too great for a factor of some bits become multiples of a power of two first.
    fn narrowed(&mut self, added: &mut Added, rank: usize) {
        let reach = added.reach.iter().copied().fold(0.0, f64::max);
        let excess = (reach / SCALED_MOST).log2().ceil();
        if excess < 1.0 {
            return;
        }
        let by = 2f64.powi(excess as i32);
        let scaled = self.times(&added.name, &[1.0 / by], rank);
        let half = self.writer.number(0.5);
        let sum = self.writer.node(Operator::Add, &[&scaled, &half], vec![]);
        added.name = self.writer.floor(&sum);
        added.factor.iter_mut().for_each(|f| *f *= by);
        added.reach.iter_mut().for_each(|r| *r = (*r / by + 1.0).floor());
    }

    /// The product of two values, scaled.
    fn scaled(
        &mut self,
        place: Place,
        planned: &Planned,
        a: &View,
        b: &View,
    ) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let (unit, channels) = (&self.units[place], self.channels(place));
        let (left, right) = (self.added(a, &[1.0], channels), self.added(b, unit, channels));
        let low = |view: &View| self.made[view.place].low.iter().all(|l| *l >= 0.0);
        let positive = low(a) && low(b) && left.factor.iter().chain(&right.factor).all(|f| *f >= 0.0);
        let name = self.writer.node(Operator::Mul, &[&left.name, &right.name], vec![]);
        let join = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>();
        let mut added =
            Added { name, factor: join(&left.factor, &right.factor), reach: join(&left.reach, &right.reach) };
        self.narrowed(&mut added, self.shape(place).len());
        self.rounded(place, planned, Vec::new(), vec![added], &vec![0.0; channels], positive)
    }

    /// A function by its values for all integers that go in.
    fn table(
        &mut self,
        place: Place,
        of: usize,
        x: Place,
        root: usize,
    ) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let input = &self.made[x];
        let (unit, low, high) = (input.unit[0], input.low[0].min(0.0), input.high[0]);
        let numbers: Vec<f64> =
            (low as i64..=high as i64).map(|i| i as f64 * unit + input.offset[0]).collect();
        let given = self.read.computed(of, root, &numbers)?;
        let step = self.units[place][0];
        let whole = |y: &f64| (y / step + 0.5).floor().clamp(-ACTIVATION_MAX, ACTIVATION_MAX);
        let table: Vec<f64> = given.iter().map(whole).collect();
        if table.iter().any(|y| !y.is_finite()) {
            let why = "is not a number for some of its arguments, and so has no table";
            return Err(Error::invalid(&self.writer.label, why));
        }
        let mut name = input.name.clone();
        if low < 0.0 {
            let shift = self.writer.number(-low);
            name = self.writer.node(Operator::Add, &[&name, &shift], vec![]);
        }
        let places = self.writer.cast(&name, data_type::INT64);
        let numbers = ndarray::arr1(&table.iter().map(|y| *y as f32).collect::<Vec<_>>()).into_dyn();
        let numbers = self.writer.constant(&Tensor::F32(numbers));
        let name =
            self.writer.node(Operator::Gather, &[&numbers, &places], vec![AttributeProto::int("axis", 0)]);
        self.cost.tables.push(self.writer.label.clone());
        let ends = |pick: fn(f64, f64) -> f64| table.iter().copied().reduce(pick).unwrap_or(0.0);
        Ok((name, vec![ends(f64::min)], vec![ends(f64::max)]))
    }

    /// `x·clip(x + 3, 0, 6)/6`, where 3 is a whole number of units.
    fn hard_swish(
        &mut self,
        place: Place,
        planned: &Planned,
        x: Place,
    ) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let input = &self.made[x];
        let (unit, three) = (input.unit[0], (3.0 / input.unit[0]).round());
        let reach = input.low[0].abs().max(input.high[0].abs());
        let (name, rank) = (input.name.clone(), input.rank);
        let shift = self.writer.number(three);
        let shifted = self.writer.node(Operator::Add, &[&name, &shift], vec![]);
        let limited = self.writer.limited(&shifted, &[0.0], &[2.0 * three], rank);
        let name = self.writer.node(Operator::Mul, &[&name, &limited], vec![]);
        let channels = self.channels(place);
        let factor = |c: usize| unit * unit / 6.0 / at(&self.units[place], c);
        let reach = reach * (2.0 * three).min(three + reach);
        let mut added =
            Added { name, factor: (0..channels).map(factor).collect(), reach: vec![reach; channels] };
        self.narrowed(&mut added, rank);
        self.rounded(place, planned, Vec::new(), vec![added], &vec![0.0; channels], false)
    }

    /// What is above 0, and what is below, each with its own factors.
    fn leaky(
        &mut self,
        place: Place,
        planned: &Planned,
        x: Place,
        slopes: &[f64],
    ) -> Result<(String, Vec<f64>, Vec<f64>)> {
        let input = &self.made[x];
        let (name, rank, channels) = (input.name.clone(), input.rank, self.channels(place));
        let ratio = |c: usize| at(&input.unit, c) / at(&self.units[place], c);
        let above: Vec<f64> = (0..channels).map(ratio).collect();
        let below: Vec<f64> = (0..channels).map(|c| ratio(c) * at(slopes, c)).collect();
        let reach = vec![ACTIVATION_MAX; channels];
        let parts = [(Operator::Relu, above), (Operator::Clip, below)].map(|(operator, factor)| {
            let name = match operator {
                Operator::Relu => self.writer.node(operator, &[&name], vec![]),
                _ => self.writer.limited(&name, &[-ACTIVATION_MAX], &[0.0], rank),
            };
            Added { name, factor, reach: reach.clone() }
        });
        let added = parts.into_iter().filter(|a| a.factor.iter().any(|f| *f != 0.0)).collect();
        self.rounded(place, planned, Vec::new(), added, &vec![0.0; channels], false)
    }
}

/// The levels of an image, by channel, for which a view of it is about 0.
fn centre(view: &View, unit: f64) -> Vec<f64> {
    let count = view.factor.len().max(view.shift.len());
    (0..count)
        .map(|c| (-at(&view.shift, c) / (at(&view.factor, c) * unit)).round().clamp(0.0, 255.0))
        .collect()
}
