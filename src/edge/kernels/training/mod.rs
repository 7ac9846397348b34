//! The loops of training that ONNX Runtime's CPU provider has no fast operators for: of images with the channels
//! last, each over whole images, so that threads share a batch by its images.

mod adam;
mod batch_norm;
mod pool;
#[cfg(test)]
mod tests;
mod weight_gradient;

pub use adam::{AdamStep, AdamTensors};
pub use batch_norm::{Batch, Cotangent, Normalising};
pub use pool::Pooled;
pub use weight_gradient::Correlation;

use super::epilogue::{piece, pieces};
use super::{Kernels, Level, sets};
