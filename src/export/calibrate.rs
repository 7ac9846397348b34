//! What the float tower's activations are like, from calibration images.

use super::float;
use crate::Result;
use crate::exactness::ACTIVATION_MAX;
use crate::graph::Graph;
use crate::model::{Params, Recipe};
use crate::tower::INPUT;
use crate::walk::{Interpreter, Values};
use ndarray::{ArrayD, ArrayView4, Axis};
use rayon::prelude::*;

/// Share of activations that may be clipped.
const CLIPPED: f64 = 0.001;
/// Exponents that are counted apart.
const LOWEST: i32 = -40;
const HIGHEST: i32 = 40;

/// Images whose statistics are added up by one task: fixed, so that sums of floats come out the same
/// on any number of cores.
const TASK: usize = 8;

/// What the results of a tower's parts are like, part by part.
pub(super) struct Statistics(Vec<Observed>);

/// What the result of one part is like.
struct Observed {
    exponent: i32,
    means: Vec<f64>,
}

/// How the elements of one result are spread.
struct Spread {
    /// Elements by the smallest e for which |x| ≤ 127.5·2^e, from [`LOWEST`].
    counts: Vec<u64>,
    /// Sum of each channel.
    sums: Vec<f64>,
    /// Elements of a channel.
    each: u64,
}

impl Statistics {
    /// Runs `images` through the float tower of folded parameters and watches every part.
    pub fn gather(recipe: &Recipe, folded: &Params, images: ArrayView4<'_, u8>) -> Result<Self> {
        let g = Graph::new("calibration");
        let parts = float::build(&g, recipe, folded)?.parts;
        let names: Vec<String> = (0..parts.len()).map(|place| format!("part {place}")).collect();
        parts.iter().zip(&names).for_each(|(part, name)| g.output(name, *part));
        let channels: Vec<usize> = parts.iter().map(|part| part.dim(1)).collect();
        let model = g.to_model_batched("N")?;
        let interpreter = Interpreter::<f32>::new(&model)?;
        let nothing = || channels.iter().map(|&channels| Spread::new(channels)).collect::<Vec<_>>();
        let spread = |images: ArrayView4<'_, u8>| -> Result<Vec<Spread>> {
            let mut spreads = nothing();
            for image in images.axis_chunks_iter(Axis(0), 1) {
                let given = Values::from([(INPUT.to_string(), image.mapv(f32::from).into_dyn())]);
                let results = interpreter.trace(given)?;
                spreads.iter_mut().zip(&names).for_each(|(spread, name)| spread.add(&results[name]));
            }
            Ok(spreads)
        };
        let tasks: Vec<_> = images.axis_chunks_iter(Axis(0), TASK).collect();
        let mut all = nothing();
        for task in tasks.into_par_iter().map(spread).collect::<Result<Vec<_>>>()? {
            all.iter_mut().zip(&task).for_each(|(sum, spread)| sum.merge(spread));
        }
        Ok(Self(all.iter().map(Spread::observed).collect()))
    }

    /// The exponent of the unit of a part's result: the smallest for which 99.9 % of its elements are at
    /// most 127 units.
    pub fn exponent(&self, place: usize) -> i32 {
        self.0[place].exponent
    }

    /// The mean of each channel of a part's result.
    pub fn means(&self, place: usize) -> &[f64] {
        &self.0[place].means
    }
}

impl Spread {
    fn new(channels: usize) -> Self {
        Self { counts: vec![0; (HIGHEST - LOWEST + 1) as usize], sums: vec![0.0; channels], each: 0 }
    }

    /// Adds one image's value `[1, C, …]`.
    fn add(&mut self, value: &ArrayD<f32>) {
        for x in value {
            self.counts[bucket(*x)] += 1;
        }
        for (sum, channel) in self.sums.iter_mut().zip(value.axis_iter(Axis(1))) {
            *sum += channel.iter().map(|x| f64::from(*x)).sum::<f64>();
        }
        self.each += (value.len() / self.sums.len().max(1)) as u64;
    }

    fn observed(&self) -> Observed {
        let means = self.sums.iter().map(|x| x / self.each.max(1) as f64).collect();
        Observed { exponent: self.exponent(), means }
    }

    fn exponent(&self) -> i32 {
        let mut above: u64 = self.counts.iter().sum();
        let allowed = (above as f64 * CLIPPED) as u64;
        for (i, count) in self.counts.iter().enumerate() {
            above -= count;
            if above <= allowed {
                return LOWEST + i as i32;
            }
        }
        HIGHEST
    }

    fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.each += other.each;
    }
}

/// The place of the smallest e for which |x| ≤ 127.5·2^e.
fn bucket(x: f32) -> usize {
    let ratio = f64::from(x.abs()) / (ACTIVATION_MAX + 0.5);
    if ratio <= 2f64.powi(LOWEST) {
        return 0;
    }
    // The exponent of the number's own binary form, plus one unless it is a power of two.
    let bits = ratio.to_bits();
    let floor = (bits >> 52) as i32 - 1023;
    let ceil = if bits << 12 == 0 { floor } else { floor + 1 };
    (ceil.min(HIGHEST) - LOWEST) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_times_127_and_a_half() {
        for (x, e) in [(127.5, 0), (127.6, 1), (-63.75, -1), (63.8, 0), (255.0, 1), (255.1, 2)] {
            assert_eq!(bucket(x) as i32 + LOWEST, e, "{x}");
        }
        assert_eq!((bucket(0.0), bucket(f32::INFINITY)), (0, (HIGHEST - LOWEST) as usize));
    }

    #[test]
    fn one_in_a_thousand_may_be_clipped() {
        let mut spread = Spread::new(1);
        let mut value = ArrayD::from_elem(ndarray::IxDyn(&[1, 1, 2000]), 1.0f32);
        value[[0, 0, 0]] = 1000.0;
        value[[0, 0, 1]] = 1000.0;
        spread.add(&value);
        assert_eq!(spread.exponent(), -6);
        value.fill(1000.0);
        spread.add(&value.slice_move(ndarray::s![.., .., ..3]).into_dyn());
        assert_eq!(spread.exponent(), 3);
    }
}
