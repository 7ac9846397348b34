//! ONNX graphs: building them with static shapes, differentiating them, checking them.
//!
//! A [`Graph`] is a list of nodes of standard ONNX operators (opset 17, IR 8), and its values are
//! expressions ([`Expr`]). [`gradients`] walks it backwards and appends the nodes of the derivative, so a
//! training step is again a graph that any ONNX runtime can execute. [`mod@reference`] runs graphs in
//! float64, [`check`] proves where their nodes will be placed.

mod builder;
pub mod check;
mod expr;
mod grad;
mod ops;
pub mod reference;
mod serialise;
mod tensor;
mod vjp;

pub use builder::Graph;
pub use expr::{Expr, Operand};
pub use grad::{ConvWeightGrad, GradOptions, gradients};
pub use ops::{Channels, ConvAttrs, Normalised};
pub use tensor::{DType, Tensor, numbers};

#[cfg(test)]
mod tests;
