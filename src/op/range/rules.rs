//! How operators follow the rules of numbers: their attributes, constants and shapes.

use super::{Facts, Known};
use crate::exactness::{Interval, LIMIT, Range, power_of_two};
use crate::onnx::{NodeProto, data_type};
use crate::op;
use crate::{Error, Result};
use ndarray::{ArrayD, Axis};

/// A node with what is known of its inputs.
pub(super) struct Operands<'a> {
    pub node: &'a NodeProto,
    pub facts: &'a Facts<'a>,
}

impl<'a> Operands<'a> {
    fn fail(&self, why: impl std::fmt::Display) -> Error {
        op::fail(self.node, why)
    }

    /// An input that is not constant.
    pub fn value(&self, i: usize) -> Result<&'a Known> {
        let name = self.node.input_name(i).unwrap_or_default();
        self.facts
            .get(name)
            .ok_or_else(|| self.fail(format!("its input {name} comes from no node before it")))
    }

    /// An input that is computed with.
    fn number(&self, i: usize) -> Result<&'a Known> {
        let value = self.value(i)?;
        match value.float {
            true => Ok(value),
            false => {
                Err(self.fail("computes in integers, where sums wrap; a Cast to float32 must come first"))
            }
        }
    }

    /// A constant input that may be left out.
    fn optional(&self, i: usize) -> Result<Option<ArrayD<f64>>> {
        let Some(name) = self.node.input_name(i) else { return Ok(None) };
        let constant = self.facts.constants.get(name)?;
        constant.map(Some).ok_or_else(|| self.fail(format!("{name:?} is no constant, so nothing bounds it")))
    }

    pub fn constant(&self, i: usize) -> Result<ArrayD<f64>> {
        self.optional(i)?.ok_or_else(|| self.fail(format!("its input {i} is missing")))
    }

    fn is_constant(&self, i: usize) -> bool {
        self.node.input_name(i).is_some_and(|name| self.facts.constants.has(name))
    }

    /// A constant that broadcasts over a value of `rank` axes: one number for all, or one a channel.
    fn per_channel(&self, i: usize, rank: usize) -> Result<ArrayD<f64>> {
        let constant = self.constant(i)?;
        let axes = constant.ndim();
        let varies = |(axis, d): (usize, &usize)| *d != 1 && axes - axis + 1 != rank;
        if axes > rank || constant.shape().iter().enumerate().any(varies) {
            let shape = constant.shape();
            return Err(self.fail(format!("its constant {shape:?} does not hold one number a channel")));
        }
        Ok(constant)
    }

    /// How many axes are listed, as an attribute or an input.
    pub fn axes(&self) -> Result<usize> {
        self.node.ints("axes").map_or_else(|| Ok(self.constant(1)?.len()), |axes| Ok(axes.len()))
    }

    pub fn each(&self, rule: impl Fn(Interval) -> Interval) -> Result<Known> {
        let x = self.number(0)?;
        Ok(Known { range: x.range.map(rule), ..*x })
    }

    pub fn conv(&self) -> Result<Known> {
        let (x, weights) = (self.number(0)?, self.constant(1)?);
        let groups = self.node.int_or("group", 1);
        let range = if groups == 1 { x.range.clone() } else { x.range.collapse() };
        self.product(&range, weights, x.rank)
    }

    pub fn gemm(&self) -> Result<Known> {
        for factor in ["alpha", "beta"] {
            if self.node.float_or(factor, 1.0) != 1.0 {
                return Err(self.fail(format!("scales by {factor}")));
            }
        }
        if self.node.flag("transA") {
            return Err(self.fail("is not a product of rows with a weight matrix"));
        }
        self.matrix(self.node.flag("transB"))
    }

    pub fn matmul(&self) -> Result<Known> {
        match self.number(0)?.rank {
            2 => self.matrix(false),
            _ => Err(self.fail("is not a product of rows with a weight matrix")),
        }
    }

    /// A product with a matrix whose rows, or columns, are the weights of the outputs.
    fn matrix(&self, rows: bool) -> Result<Known> {
        let (x, weights) = (self.number(0)?, self.constant(1)?);
        match (weights.ndim(), rows) {
            (2, true) => self.product(&x.range, weights, 2),
            (2, false) => self.product(&x.range, weights.reversed_axes(), 2),
            _ => Err(self.fail("is not a product of rows with a weight matrix")),
        }
    }

    /// The sums of `[O, C, …]` weights, and of one bias an output.
    fn product(&self, x: &Range, weights: ArrayD<f64>, rank: usize) -> Result<Known> {
        if weights.ndim() < 2 {
            return Err(self.fail(format!("its weights have the shape {:?}", weights.shape())));
        }
        let outputs = weights.shape()[0];
        let bias = self.optional(2)?.unwrap_or_else(|| ArrayD::zeros(vec![outputs]));
        if bias.len() != outputs || bias.shape().last() != Some(&outputs) {
            let why = format!("its bias does not have one number for each of {outputs} channels");
            return Err(self.fail(why));
        }
        let weights = weights.as_standard_layout();
        let rows = weights.axis_iter(Axis(0)).zip(&bias).enumerate();
        let sums = rows.map(|(c, (row, b))| {
            let sum = row.as_slice().and_then(|row| x.product(row, *b));
            sum.ok_or_else(|| {
                let why = "are not finite, or do not fit the input";
                self.fail(format!("the weights of channel {c} {why}"))
            })
        });
        let range = Range::of(sums.collect::<Result<_>>()?);
        let range = range.ok_or_else(|| self.fail("its weights have no output"))?;
        Ok(Known { range, rank, float: true, integer: false })
    }

    /// Element by element over inputs that broadcast, some of which may be constant.
    pub fn fold(&self, rule: fn(Interval, Interval) -> Interval) -> Result<Known> {
        let inputs = 0..self.node.input.len();
        let first = self.number(inputs.clone().find(|i| !self.is_constant(*i)).unwrap_or(0))?;
        let misfit = || self.fail("its inputs differ in their channels");
        let operand = |i: usize| -> Result<Range> {
            if self.is_constant(i) {
                let numbers = Range::of_numbers(self.per_channel(i, first.rank)?);
                return numbers.ok_or_else(|| self.fail("has a constant that float32 does not hold"));
            }
            let value = self.number(i)?;
            if value.rank == first.rank { Ok(value.range.clone()) } else { Err(misfit()) }
        };
        let mut range = operand(0)?;
        for i in inputs.skip(1) {
            range = range.zip(&operand(i)?, rule).ok_or_else(misfit)?;
        }
        Ok(Known { range, ..*first })
    }

    /// `Mul` by constants, or of two values.
    pub fn multiplied(&self) -> Result<Known> {
        let (first, second) = (self.is_constant(0), self.is_constant(1));
        if !first && !second {
            return self.fold(Interval::product).and_then(|known| self.unrounded(known));
        }
        let (x, factors) = if first { (1, 0) } else { (0, 1) };
        let rank = self.number(x)?.rank;
        let powers = self.per_channel(factors, rank)?.iter().all(|f| power_of_two(*f).is_some());
        if powers { self.shifted(x, factors, 1) } else { self.scaled(x, factors) }
    }

    /// Times constants that are no powers of two.
    fn scaled(&self, x: usize, constant: usize) -> Result<Known> {
        let x = self.number(x)?;
        let factors: Vec<f64> = self.per_channel(constant, x.rank)?.iter().copied().collect();
        let range = x.range.times(&factors).ok_or_else(|| {
            self.fail("its factors do not fit the channels, or are not numbers that float32 holds")
        })?;
        self.unrounded(Known { range, ..*x })
    }

    /// What is only right where float32 holds every element.
    fn unrounded(&self, known: Known) -> Result<Known> {
        match known.range.is_exact() {
            true => Ok(known),
            false => Err(self.fail("makes products of more than 24 bits, which are rounded")),
        }
    }

    /// `Div` by powers of two.
    pub fn divided(&self) -> Result<Known> {
        self.shifted(0, 1, -1)
    }

    fn shifted(&self, x: usize, constant: usize, sign: i32) -> Result<Known> {
        let x = self.number(x)?;
        let factors = self.per_channel(constant, x.rank)?;
        let exponents: Option<Vec<i32>> = factors.iter().map(|f| Some(sign * power_of_two(*f)?)).collect();
        let exponents =
            exponents.ok_or_else(|| self.fail("multiplies by a number that is no power of two"))?;
        let range = x.range.scaled(&exponents);
        let range = range.ok_or_else(|| self.fail("its factors do not fit the channels"))?;
        Ok(Known { range, ..*x })
    }

    /// Edges are inputs, or attributes before opset 11.
    pub fn clip(&self) -> Result<Known> {
        let x = self.number(0)?;
        let edge = |i: usize, attribute: &str, none: f32| match self.optional(i)? {
            None => Ok(f64::from(self.node.float_or(attribute, none))),
            Some(edge) if edge.len() == 1 => Ok(edge.sum()),
            Some(edge) => Err(self.fail(format!("clips at an edge of the shape {:?}", edge.shape()))),
        };
        let (low, high) = (edge(1, "min", f32::NEG_INFINITY)?, edge(2, "max", f32::INFINITY)?);
        let range = x.range.try_map(|c| c.clip(low, high));
        let range =
            range.ok_or_else(|| self.fail(format!("clips to [{low}, {high}], which is no interval")))?;
        Ok(Known { range, ..*x })
    }

    /// The mean of 2^k numbers: their sum has to be exact. Whether padding counts differs.
    pub fn average(&self) -> Result<Known> {
        let x = self.number(0)?;
        let window: i64 = self.node.ints("kernel_shape").unwrap_or_default().iter().product();
        let mean = |c: Interval| c.mean(usize::try_from(window).unwrap_or(0));
        match x.range.try_map(mean).filter(|_| self.inside()) {
            Some(range) => Ok(Known { range, ..*x }),
            None => Err(self.fail(format!("averages {window} numbers, or padding: the mean may be rounded"))),
        }
    }

    /// The sum of all elements along some axes, whose sizes must be known.
    pub fn sum(&self) -> Result<Known> {
        let x = self.number(0)?;
        let sizes = self.facts.sizes(self.node.input_name(0).unwrap_or_default());
        let sizes = sizes.ok_or_else(|| self.fail("sums as many numbers as no shape tells"))?;
        let axes: Vec<i64> = match self.node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => self.constant(1)?.iter().map(|axis| *axis as i64).collect(),
        };
        let mut count = 1usize;
        let mut seen = Vec::new();
        for axis in axes {
            let axis = usize::try_from(if axis < 0 { axis + sizes.len() as i64 } else { axis }).unwrap_or(0);
            let inner = axis > 1 && !seen.contains(&axis);
            let size = sizes.get(axis).filter(|_| inner);
            let size = size.ok_or_else(|| self.fail("sums along the batch or the channels"))?;
            count = count.saturating_mul(*size);
            seen.push(axis);
        }
        if seen.is_empty() || count == 0 {
            return Err(self.fail("does not tell its axes"));
        }
        let rank = if self.node.int_or("keepdims", 1) == 0 { x.rank - seen.len() } else { x.rank };
        Ok(Known { range: x.range.map(|c| c.total(count)), rank, ..*x })
    }

    /// Numbers of a constant list, at places that are computed.
    pub fn listed(&self) -> Result<Known> {
        let (list, places) = (self.constant(0)?, self.value(1)?);
        let within = |c: &Interval| c.step >= 0 && c.low >= 0.0 && c.high <= list.len() as f64 - 1.0;
        if list.ndim() != 1 || self.node.int_or("axis", 0) != 0 || !places.integer {
            return Err(self.fail("does not take numbers of a constant list at integer places"));
        }
        if !places.range.channels().iter().all(within) {
            return Err(self.fail(format!("may take a number beyond the {} of its list", list.len())));
        }
        let range = list.iter().map(|x| Interval::of(*x)).collect::<Option<Vec<_>>>();
        let range = range.and_then(|all| all.into_iter().reduce(Interval::join));
        let range = range.ok_or_else(|| self.fail("holds what is no number that float32 holds"))?;
        Ok(Known { range: Range::uniform(range), rank: places.rank, float: true, integer: false })
    }

    /// Whether every window of a pool lies inside the image.
    fn inside(&self) -> bool {
        let unpadded = self.node.ints("pads").unwrap_or_default().iter().all(|p| *p == 0);
        let auto = self.node.text("auto_pad").unwrap_or("NOTSET");
        unpadded && !self.node.flag("ceil_mode") && matches!(auto, "" | "NOTSET" | "VALID")
    }

    /// The greatest of each window; one of padding alone has none, and every runtime its own.
    pub fn greatest(&self) -> Result<Known> {
        let kernel = self.node.ints("kernel_shape").unwrap_or_default();
        let narrow = |pads: &[i64]| pads.iter().zip(kernel.iter().cycle()).all(|(pad, side)| pad < side);
        let dense = self.node.ints("dilations").unwrap_or_default().iter().all(|d| *d == 1);
        let padded = narrow(self.node.ints("pads").unwrap_or_default()) && dense;
        if self.inside() || (padded && !self.node.flag("ceil_mode")) {
            return self.value(0).cloned();
        }
        Err(self.fail("has windows that may lie in padding alone"))
    }

    /// What is filled in joins the elements; padding along the channels moves them.
    pub fn pad(&self) -> Result<Known> {
        let x = self.value(0)?;
        let fill = match self.optional(2)? {
            None => Some(f64::from(self.node.float_or("value", 0.0))),
            Some(fill) if fill.len() == 1 => Some(fill.sum()),
            Some(_) => None,
        };
        let fill = fill.and_then(Interval::of).ok_or_else(|| self.fail("pads with what is no number"))?;
        let pads = match self.node.ints("pads") {
            Some(pads) => pads.to_vec(),
            None => self.constant(1)?.iter().map(|p| *p as i64).collect(),
        };
        let (rank, all) = (pads.len() / 2, self.node.input_name(3).is_none());
        let outer = all && rank == x.rank && rank > 2 && [0, 1, rank, rank + 1].iter().all(|i| pads[*i] == 0);
        let range = if outer { x.range.clone() } else { x.range.collapse() };
        Ok(Known { range: range.map(|c| c.join(fill)), ..*x })
    }

    /// Channels one behind the other, where that is the axis and each value's are told apart.
    pub fn concat(&self) -> Result<Known> {
        let parts = (0..self.node.input.len()).map(|i| self.value(i)).collect::<Result<Vec<_>>>()?;
        let first = self.value(0)?;
        if parts.iter().any(|p| (p.rank, p.float) != (first.rank, first.float)) {
            return Err(self.fail("its inputs differ in type or rank"));
        }
        let all: Vec<Interval> = parts.iter().flat_map(|p| p.range.channels().iter().copied()).collect();
        let apart = parts.iter().all(|p| p.range.channels().len() > 1);
        let joined = Range::of(all).ok_or_else(|| self.fail("has no input"))?;
        let axis = self.node.int_or("axis", 1);
        let channels = axis == 1 || axis + first.rank as i64 == 1;
        Ok(Known { range: if channels && apart { joined } else { joined.collapse() }, ..*first })
    }

    pub fn cast(&self) -> Result<Known> {
        match self.node.int("to") {
            Some(to) if to == i64::from(data_type::FLOAT) => {
                Ok(Known { float: true, integer: false, ..self.value(0)?.clone() })
            }
            // Places in a list; whole numbers that int64 holds.
            Some(to) if to == i64::from(data_type::INT64) => {
                let x = self.number(0)?;
                let whole = |c: &Interval| c.step >= 0 && c.low.abs().max(c.high.abs()) < LIMIT;
                match x.range.channels().iter().all(whole) {
                    true => Ok(Known { float: false, integer: true, ..x.clone() }),
                    false => Err(self.fail("casts what may be no whole number to int64")),
                }
            }
            _ => Err(self.fail("casts to another type than float32, or int64 for places in a list")),
        }
    }

    pub fn dropout(&self) -> Result<Known> {
        match self.optional(2)?.is_none_or(|training| training.iter().all(|x| *x == 0.0)) {
            true => self.value(0).cloned(),
            false => Err(self.fail("drops elements")),
        }
    }
}
