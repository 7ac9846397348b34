//! What the float tower's values are like on pictures: how the elements of each channel are spread.

use super::Runs;
use super::graph::FloatGraph;
use super::plan::{Make, Plan};
use crate::exactness::ACTIVATION_MAX;
use crate::onnx::{DimensionValue, ModelProto, Tensor, ValueInfoProto, type_proto};
use crate::tower::INPUT;
use crate::{Error, Result};
use ndarray::{ArrayD, ArrayView4, Axis};
use rayon::prelude::*;

/// Exponents of float32 that are counted apart, from 2⁻²⁴ on, each in eighths.
const FIRST: u32 = 127 - 24;
const EXPONENTS: u32 = 44;
const BUCKETS: usize = (EXPONENTS << 3) as usize;

/// The elements of one channel.
#[derive(Clone)]
struct Channel {
    /// By magnitude, eight buckets an octave; what is 0 is in none.
    counts: Vec<u32>,
    sum: f64,
    elements: u64,
}

/// The elements of each channel of a value.
pub(super) struct Spread {
    channels: Vec<Channel>,
}

/// Runs pictures `[N, C, S, S]` through the float tower and watches what the plan rounds; none for values that
/// need no scale.
pub(super) fn observe(
    model: &ModelProto,
    graph: &FloatGraph,
    plan: &Plan,
    images: ArrayView4<'_, u8>,
    runs: &mut dyn Runs,
) -> Result<Vec<Option<Spread>>> {
    let watched: Vec<usize> = (0..plan.values.len()).filter(|&p| needs(&plan.values[p].make)).collect();
    let name = |place: &usize| graph.values[plan.values[*place].of].name.clone();
    let names: Vec<String> = watched.iter().map(name).collect();
    let mut spreads: Vec<Spread> =
        watched.iter().map(|&place| Spread::new(graph.channels(plan.values[place].of))).collect();
    let watching = watching(model, &names, images.shape());
    let mut take = |results: Vec<Tensor>| -> Result<()> {
        if results.len() != spreads.len() {
            return Err(Error::invalid("the calibration", "got another number of values than it asked for"));
        }
        let pairs = spreads.par_iter_mut().zip(&results).zip(&names);
        pairs.map(|((spread, result), name)| spread.add(result, name)).collect::<Result<Vec<()>>>()?;
        Ok(())
    };
    runs.run(&watching, images, &mut take)?;
    let mut all: Vec<Option<Spread>> = plan.values.iter().map(|_| None).collect();
    watched.into_iter().zip(spreads).for_each(|(place, spread)| all[place] = Some(spread));
    Ok(all)
}

fn needs(make: &Make) -> bool {
    !matches!(make, Make::Image | Make::Centred(_))
}

/// The model for one picture, with these values as its outputs.
fn watching(model: &ModelProto, names: &[String], images: &[usize]) -> ModelProto {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph.value_info.clear();
        graph.output = names
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.clone()), ..float_value(graph, name) })
            .collect();
        for input in graph.input.iter_mut().filter(|input| input.name() == INPUT) {
            if let Some(type_proto::Value::Tensor(t)) = input.r#type.as_mut().and_then(|t| t.value.as_mut())
                && let Some(shape) = &mut t.shape
            {
                for (i, dim) in shape.dim.iter_mut().enumerate() {
                    let side = if i == 0 { 1 } else { images[i] as i64 };
                    dim.value = Some(DimensionValue::Value(side));
                }
            }
        }
    }
    model
}

/// What is told of an output that is float32 of any shape.
fn float_value(graph: &crate::onnx::GraphProto, name: &str) -> ValueInfoProto {
    use crate::onnx::{TypeProto, data_type, type_proto::Tensor};
    let known = graph.output.iter().find(|o| o.name() == name).cloned();
    known.unwrap_or_else(|| {
        let tensor = Tensor { elem_type: Some(data_type::FLOAT), shape: None };
        let kind = TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None };
        ValueInfoProto { r#type: Some(kind), ..ValueInfoProto::default() }
    })
}

impl Spread {
    fn new(channels: usize) -> Self {
        let empty = Channel { counts: vec![0; BUCKETS], sum: 0.0, elements: 0 };
        Self { channels: vec![empty; channels] }
    }

    /// Adds a value `[1, C, …]`.
    fn add(&mut self, value: &Tensor, name: &str) -> Result<()> {
        let Tensor::F32(value) = value else {
            return Err(Error::invalid(format!("value {name}"), "is not float32"));
        };
        if value.ndim() < 2 || value.shape()[1] != self.channels.len() {
            let why = format!(
                "has the shape {:?} when it runs, not {} channels",
                value.shape(),
                self.channels.len()
            );
            return Err(Error::invalid(format!("value {name}"), why));
        }
        self.count(value).map_err(|x| {
            Error::invalid(
                format!("value {name}"),
                format!("is {x} for a picture, so that nothing scales it"),
            )
        })
    }

    fn count(&mut self, value: &ArrayD<f32>) -> std::result::Result<(), f32> {
        for (channel, elements) in self.channels.iter_mut().zip(value.axis_iter(Axis(1))) {
            for &x in &elements {
                if !x.is_finite() {
                    return Err(x);
                }
                channel.sum += f64::from(x);
                if let Some(bucket) = bucket(x) {
                    channel.counts[bucket] += 1;
                }
            }
            channel.elements += elements.len() as u64;
        }
        Ok(())
    }

    /// The mean of each channel.
    pub fn means(&self) -> Vec<f64> {
        self.channels.iter().map(|c| c.sum / c.elements.max(1) as f64).collect()
    }

    /// The greatest magnitude that is to be kept, for all channels together: what is above is clipped. It is that
    /// for which the squared error of clipping and of rounding to 127 steps is least.
    pub fn reach(&self) -> f64 {
        let mut all = vec![0u64; BUCKETS];
        for channel in &self.channels {
            all.iter_mut().zip(&channel.counts).for_each(|(sum, n)| *sum += u64::from(*n));
        }
        best(&all)
    }

    /// The same of each channel.
    pub fn reaches(&self) -> Vec<f64> {
        let counts = |c: &Channel| c.counts.iter().map(|n| u64::from(*n)).collect::<Vec<_>>();
        self.channels.par_iter().map(|c| best(&counts(c))).collect()
    }
}

/// The bucket of a magnitude; none of what is 0 or beyond counting small.
fn bucket(x: f32) -> Option<usize> {
    let place = (x.abs().to_bits() >> 20).checked_sub(FIRST << 3)? as usize;
    Some(place.min(BUCKETS - 1))
}

/// The end of a bucket.
fn end(bucket: usize) -> f64 {
    let (octave, eighth) = ((bucket >> 3) as i32, (bucket & 7) as f64);
    2f64.powi(octave + FIRST as i32 - 127) * (1.0 + (eighth + 1.0) / 8.0)
}

/// The end of a bucket at which clipping what is above and rounding what is below costs least; 0 where nothing
/// was counted.
fn best(counts: &[u64]) -> f64 {
    let Some(top) = counts.iter().rposition(|n| *n > 0) else { return 0.0 };
    let mut below: u64 = counts.iter().sum();
    // Of what is above: how many, their sum and their squares.
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    let mut least = (f64::INFINITY, 0.0);
    for bucket in (0..=top).rev() {
        let t = end(bucket);
        let clipped = squares - 2.0 * t * sum + n * t * t;
        let rounded = below as f64 * (t / ACTIVATION_MAX).powi(2) / 12.0;
        if clipped + rounded < least.0 {
            least = (clipped + rounded, t);
        }
        let (count, middle) = (counts[bucket] as f64, t - t / 32.0);
        below -= counts[bucket];
        n += count;
        sum += count * middle;
        squares += count * middle * middle;
    }
    least.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magnitude_lies_below_the_end_of_its_bucket() {
        for x in [1.0f32, 1.1, 1.9, 0.3, 6.0, 127.0, 1e-5] {
            let bucket = bucket(x).unwrap_or(0);
            let x = f64::from(x);
            assert!(end(bucket) > x && end(bucket) / x <= 1.126, "{x}");
        }
        assert_eq!((bucket(0.0), bucket(1e-30), bucket(1e30)), (None, None, Some(BUCKETS - 1)));
    }

    #[test]
    fn a_few_far_elements_are_clipped_and_many_are_not() {
        let mut counts = vec![0; BUCKETS];
        let one = bucket(1.0).unwrap_or(0);
        counts[one] = 1_000_000;
        counts[bucket(64.0).unwrap_or(0)] = 1;
        assert!(best(&counts) < 16.0, "{}", best(&counts));
        counts[bucket(64.0).unwrap_or(0)] = 100_000;
        assert!(best(&counts) > 50.0, "{}", best(&counts));
        assert_eq!(best(&vec![0; BUCKETS]), 0.0);
    }
}
