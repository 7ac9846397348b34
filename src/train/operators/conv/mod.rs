//! Convolutions of images with the channels last, and their gradients.
//!
//! The result of a convolution and the gradient of its image are products of the same kind: pixels whose windows are
//! runs of a framed image, by packed weights. With a stride the gradient of the image is one such product for each of
//! its phases. The gradient of the weights is a [`crate::edge::kernels::Correlation`].

mod product;
mod weight;
mod window;

pub use weight::weight;

use super::tensors::{operand, outcome};
use super::{flag, sizes};
use crate::graph::{ConvAttrs, Phase, RELU};
use ort::operator::{ComputeContext, KernelContext};
use product::{Ending, Pixels, Product, Weights, products};
use window::{Frame, Seen, Window};

/// What does not change from step to step.
pub struct Attributes {
    conv: ConvAttrs,
    /// Rows and columns of the kernel.
    kernel: [usize; 2],
    relu: bool,
}

pub fn attributes(node: &KernelContext<'_>) -> ort::Result<Attributes> {
    let conv = ConvAttrs {
        strides: sizes(node, "strides")?,
        pads: sizes(node, "pads")?,
        dilations: sizes(node, "dilations")?,
        groups: 1,
    };
    Ok(Attributes { conv, kernel: sizes(node, "kernel_shape")?, relu: flag(node, RELU) })
}

pub fn forward(attributes: &Attributes, context: &ComputeContext) -> ort::Result<()> {
    let [x, w] = [operand(context, 0)?, operand(context, 1)?];
    let bias = if context.num_inputs()? > 2 { Some(operand(context, 2)?) } else { None };
    let (image, [filters, channels, kh, kw]) = (x.dims::<4>()?, w.dims()?);
    let n = image[0];
    let seen = Seen::of(attributes, image)?;
    let [rows, columns] = seen.places;
    let mut y = outcome(context, 0, &[n, rows, columns, filters])?;
    let pixels =
        Pixels { count: seen.places, strides: seen.strides, result: [0, columns * filters, filters] };
    let weights =
        Weights { data: w.floats()?, of_output: channels * kh * kw, of_input: kh * kw, columns: kw };
    let product = Product::new(&seen.window, &seen.frame, &pixels, filters, &weights)?;
    let bias = bias.as_ref().map(|bias| bias.floats()).transpose()?;
    let ending = Ending { bias, relu: attributes.relu };
    products(context, &seen.frame, &[product], x.floats()?, (y.floats()?, rows * columns * filters), ending)
}

pub fn image(attributes: &Attributes, image: [usize; 4], context: &ComputeContext) -> ort::Result<()> {
    let [dy, w] = [operand(context, 0)?, operand(context, 1)?];
    let ([filters, channels, kh, kw], [_, rows, columns, _]) = (w.dims()?, dy.dims::<4>()?);
    let [_, height, width, _] = image;
    let mut dx = outcome(context, 0, &image)?;
    let strides = attributes.conv.strides;
    let phases = [attributes.conv.phases(0, kh), attributes.conv.phases(1, kw)];
    // Of the first phase, which has the most.
    let most = [height.div_ceil(strides[0]), width.div_ceil(strides[1])];
    let [above, framed_rows] = reach(&phases[0], most[0], rows);
    let [left, framed_columns] = reach(&phases[1], most[1], columns);
    let frame = Frame {
        image: [rows, columns, filters],
        before: [above, left],
        framed: [framed_rows, framed_columns],
    };
    let w = w.floats()?;
    let mut all = Vec::new();
    for (row, down) in phases[0].iter().enumerate() {
        for (column, across) in phases[1].iter().enumerate() {
            let window = Window { rows: ascending(down, above), columns: ascending(across, left) };
            let pixels = Pixels {
                count: [
                    height.saturating_sub(row).div_ceil(strides[0]),
                    width.saturating_sub(column).div_ceil(strides[1]),
                ],
                strides: [1, 1],
                result: [
                    (row * width + column) * channels,
                    strides[0] * width * channels,
                    strides[1] * channels,
                ],
            };
            let weights = Weights { data: w, of_output: kh * kw, of_input: channels * kh * kw, columns: kw };
            all.push(Product::new(&window, &frame, &pixels, channels, &weights)?);
        }
    }
    let ending = Ending { bias: None, relu: false };
    products(context, &frame, &all, dy.floats()?, (dx.floats()?, height * width * channels), ending)
}

/// Zeros before the places of a cotangent along one axis, so that all taps of as many pixels find one, and places with
/// those before and after.
fn reach(phases: &[Phase], pixels: usize, places: usize) -> [usize; 2] {
    let offs = || phases.iter().flatten().map(|tap| tap.1);
    let before = (-offs().min().unwrap_or(0)).max(0) as usize;
    let after = offs().max().unwrap_or(0) + pixels as i64 - places as i64;
    [before, places + before + after.max(0) as usize]
}

/// The taps of a phase by where in the frame they look.
fn ascending(phase: &Phase, before: usize) -> Vec<(usize, usize)> {
    let place = |&(tap, off): &(usize, i64)| (tap, (off + before as i64) as usize);
    let mut taps: Vec<(usize, usize)> = phase.iter().map(place).collect();
    taps.sort_by_key(|tap| tap.1);
    taps
}
