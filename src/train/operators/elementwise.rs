//! The derivative of ReLU, and pools.

use super::KERNELS;
use super::tensors::{in_parallel, operand, outcome};
use crate::edge::kernels::Pooled;
use ort::operator::ComputeContext;

/// Elements that a thread takes at once.
pub const PART: usize = 1 << 15;

pub fn relu_grad(context: &ComputeContext) -> ort::Result<()> {
    let [dy, y] = [operand(context, 0)?, operand(context, 1)?];
    let mut dx = outcome(context, 0, &y.shape())?;
    let (dy, y) = (dy.floats()?.chunks(PART), y.floats()?.chunks(PART));
    let parts = dx.floats()?.chunks_mut(PART).zip(dy.zip(y));
    in_parallel(context, parts, |_, (dx, (dy, y))| KERNELS.relu_grad(dy, y, dx))
}

pub fn pool(window: [usize; 2], context: &ComputeContext) -> ort::Result<()> {
    let x = operand(context, 0)?;
    let [n, height, width, channels] = x.dims()?;
    let how = Pooled { image: [height, width, channels], window };
    let [rows, columns] = how.result();
    let mut y = outcome(context, 0, &[n, rows, columns, channels])?;
    let images = x.floats()?.chunks((height * width * channels).max(1));
    let parts = y.floats()?.chunks_mut((rows * columns * channels).max(1)).zip(images);
    in_parallel(context, parts, |_, (y, x)| KERNELS.pool_maxima(&how, x, y))
}

pub fn pool_grad(window: [usize; 2], relu: bool, context: &ComputeContext) -> ort::Result<()> {
    let [x, y, dy] = [operand(context, 0)?, operand(context, 1)?, operand(context, 2)?];
    let [_, height, width, channels] = x.dims()?;
    let how = Pooled { image: [height, width, channels], window };
    let [rows, columns] = how.result();
    let mut dx = outcome(context, 0, &x.shape())?;
    let (image, pooled) = ((height * width * channels).max(1), (rows * columns * channels).max(1));
    let (x, y, dy) = (x.floats()?.chunks(image), y.floats()?.chunks(pooled), dy.floats()?.chunks(pooled));
    let parts = dx.floats()?.chunks_mut(image).zip(x.zip(y.zip(dy)));
    in_parallel(context, parts, |_, (dx, (x, (y, dy)))| KERNELS.pool_maxima_grad(&how, relu, x, y, dy, dx))
}
