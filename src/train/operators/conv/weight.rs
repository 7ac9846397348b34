//! The gradient of a convolution's weights.

use super::super::KERNELS;
use super::super::tensors::{Scratch, in_parallel, operand, outcome, with_scratch, with_sums};
use super::Attributes;
use super::window::{Frame, Seen};
use crate::edge::kernels::Correlation;
use ort::operator::ComputeContext;

/// Places of the result of which a part of the batch has at least so many: the sums of the weights are read and
/// written once for them.
const PLACES: usize = 256;
/// Parts of a batch whose sums are joined at the end.
const PARTS: usize = 8;

pub fn weight(attributes: &Attributes, context: &ComputeContext) -> ort::Result<()> {
    let [x, dy] = [operand(context, 0)?, operand(context, 1)?];
    let ([n, _, _, channels], [_, rows, columns, filters]) = (x.dims()?, dy.dims()?);
    let kernel = attributes.kernel;
    let seen = Seen::of(attributes, x.dims()?)?;
    let mut dw = outcome(context, 0, &[filters, channels, kernel[0], kernel[1]])?;
    let gradient = Gradient::of(&seen, filters);
    let (image, map) = (seen.frame.image.iter().product::<usize>(), rows * columns * filters);
    let (x, dy, share) = (x.floats()?, dy.floats()?, n.div_ceil(PARTS).max(1));
    let parts = || x.chunks(share * image).zip(dy.chunks(share * map));
    with_sums(parts().len() * gradient.sums, |sums| {
        in_parallel(context, sums.chunks_mut(gradient.sums).zip(parts()), |_, (sums, (x, dy))| {
            let together = PLACES.div_ceil(rows * columns);
            for (x, dy) in x.chunks(together * image).zip(dy.chunks(together * map)) {
                gradient.add(x, dy, sums);
            }
        })?;
        let (total, rest) = sums.split_at_mut(gradient.sums);
        for part in rest.chunks(gradient.sums) {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        let (dw, area) = (dw.floats()?, kernel[0] * kernel[1]);
        for (row, (tap, channel)) in total.chunks(gradient.lanes).zip(seen.window.order(channels)) {
            let at = channel * area + tap.0 * kernel[1] + tap.1;
            let filters = row[..filters].iter().zip(dw[at..].iter_mut().step_by(channels * area));
            filters.for_each(|(value, dw)| *dw = *value);
        }
        Ok(())
    })
}

/// The sums of a part of a batch.
struct Gradient<'a> {
    frame: &'a Frame,
    how: Correlation,
    filters: usize,
    /// Filters in whole vectors.
    lanes: usize,
    /// How many sums there are: `[taps, lanes]`.
    sums: usize,
}

impl<'a> Gradient<'a> {
    fn of(seen: &'a Seen, filters: usize) -> Self {
        let frame = &seen.frame;
        let ([_, _, channels], [_, width]) = (frame.image, frame.framed);
        let (runs, run) = seen.window.runs(width, channels);
        let strides = [frame.count(), seen.strides[0] * width * channels, seen.strides[1] * channels];
        let lanes = filters.next_multiple_of(KERNELS.gradient_lanes());
        let sums = runs.len() * run * lanes;
        Self { frame, how: Correlation { places: seen.places, strides, runs, run }, filters, lanes, sums }
    }

    /// Adds what some images give.
    fn add(&self, x: &[f32], dy: &[f32], sums: &mut [f32]) {
        let image = self.frame.image.iter().product::<usize>();
        let images = self.frame.count() * (x.len() / image);
        let spread = if self.lanes == self.filters { 0 } else { dy.len() / self.filters * self.lanes };
        with_scratch(|Scratch { framed, .. }| {
            framed.clear();
            framed.resize(images + spread, 0.0);
            let (framed, spread) = framed.split_at_mut(images);
            for (image, framed) in x.chunks(image).zip(framed.chunks_mut(self.frame.count())) {
                self.frame.fill(image, framed);
            }
            for (from, to) in dy.chunks(self.filters).zip(spread.chunks_mut(self.lanes)) {
                to[..self.filters].copy_from_slice(from);
            }
            let dy = if self.lanes == self.filters { dy } else { spread };
            KERNELS.correlate(&self.how, framed, dy, self.lanes, sums);
        });
    }
}
