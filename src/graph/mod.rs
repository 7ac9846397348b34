//! ONNX graphs: building them with static shapes, and differentiating them.
//!
//! A [`Graph`] is a list of nodes of standard ONNX operators (opset 17, IR 8), and its values are
//! expressions ([`Expr`]). [`gradients`] walks it backwards and appends the nodes of the derivative, so a
//! training step is again a graph that any ONNX runtime can execute.

mod builder;
mod expr;
mod grad;
mod kernel;
mod ops;
mod serialise;
mod vjp;

pub use crate::onnx::{DType, Tensor};
pub use builder::Graph;
pub use expr::{Expr, Operand};
pub use grad::{ConvWeightGrad, GradOptions, gradients};
pub use kernel::{DOMAIN, Kernel, RELU};
pub(crate) use ops::Phase;
pub use ops::{Channels, ConvAttrs, Normalised};
pub use serialise::{IR_VERSION, OPSET};

#[cfg(test)]
mod tests;
