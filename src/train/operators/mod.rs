//! Our own kernels as operators of ONNX Runtime ([`crate::graph::Kernel`]), for the graphs of [`crate::step::Target::Kernels`].
//!
//! What a training step spends its time with, and ONNX Runtime's CPU provider has no fast operators for: convolutions
//! with the channels last and both their gradients (implicit im2col on the loops of the edge path), and passes over
//! large maps that are one here and several there (normalisation with ReLU and sum, its derivative, pools, Adam).
//! Threads are the session's; how work is cut does not depend on their number, and so neither do the bits.
//!
//! Where the milliseconds of a step of `omniglot-edge-base` go (two threads, AMD EPYC of the Genoa kind; ONNX Runtime's own
//! profile, which itself takes a tenth to a third of a step):
//!
//! | standard operators | ms | with these | ms |
//! |---|---|---|---|
//! | `Gemm` (convolutions and their gradients) | 92.9 | `Conv`, `ConvGradImage`, `ConvGradWeight` | 18.1, 18.1, 22.1 |
//! | `Gather`, `Transpose`, `Pad`, `Concat` (their columns) | 56.0 | | |
//! | `Mul`, `Add`, `Sub`, `Cast`, … (normalisation, ReLU, update) | 45.6 | `BatchNorm`, `BatchNormGrad`, `Adam` | 6.4, 8.4, 1.6 |
//! | | | `Gemm` and all others | 9.5 |
//! | a step | 207 | | 86 |

mod adam;
mod batch_norm;
mod conv;
mod elementwise;
mod tensors;
#[cfg(test)]
mod tests;

use crate::edge::kernels::Kernels;
use crate::graph::{DOMAIN, Kernel};
use ort::operator::{
    ComputeContext, Kernel as Compute, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType::Float32;
use std::sync::LazyLock;

/// The loops for this CPU.
static KERNELS: LazyLock<&'static Kernels> = LazyLock::new(Kernels::best);

/// All operators, for a session's builder.
pub(super) fn domain() -> ort::Result<OperatorDomain> {
    let mut domain = OperatorDomain::new(DOMAIN)?;
    for kernel in Kernel::ALL {
        domain = domain.add(Own(kernel))?;
    }
    Ok(domain)
}

/// A kernel as an operator; each takes and gives float32 only.
struct Own(Kernel);

impl Operator for Own {
    type Kernel<'attr> = Box<dyn Compute + 'attr>;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1).homogenous(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::variadic(1).homogenous(Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        Ok(match self.0 {
            Kernel::Conv => run(conv::attributes(node)?, conv::forward),
            Kernel::ConvGradImage => {
                run((conv::attributes(node)?, sizes(node, "image")?), |(attrs, image), c| {
                    conv::image(attrs, *image, c)
                })
            }
            Kernel::ConvGradWeight => run(conv::attributes(node)?, conv::weight),
            Kernel::BatchNorm => run(batch_norm::Attributes::of(node), batch_norm::forward),
            Kernel::BatchNormGrad => run(batch_norm::Attributes::of(node), batch_norm::grad),
            Kernel::MaxPool => run(sizes(node, "kernel_shape")?, |window, c| elementwise::pool(*window, c)),
            Kernel::MaxPoolGrad => {
                run((sizes(node, "kernel_shape")?, flag(node, crate::graph::RELU)), |(window, relu), c| {
                    elementwise::pool_grad(*window, *relu, c)
                })
            }
            Kernel::ReluGrad => run((), |(), c| elementwise::relu_grad(c)),
            Kernel::Adam => run(adam::Attributes::of(node), adam::step),
        })
    }
}

type Computing<A> = fn(&A, &ComputeContext) -> ort::Result<()>;

/// A kernel of attributes that were read once.
fn run<'a, A: Send + 'a>(attributes: A, compute: Computing<A>) -> Box<dyn Compute + 'a> {
    Box::new(move |context: &ComputeContext| compute(&attributes, context))
}

fn flag(node: &KernelContext<'_>, name: &str) -> bool {
    node.get::<i64>(name).is_some_and(|on| on != 0)
}

/// The integers of an attribute.
fn sizes<const N: usize>(node: &KernelContext<'_>, name: &str) -> ort::Result<[usize; N]> {
    let ints = node.get::<Vec<i64>>(name).unwrap_or_default();
    let sizes: Option<Vec<usize>> = ints.iter().map(|&n| usize::try_from(n).ok()).collect();
    sizes
        .and_then(|sizes| <[usize; N]>::try_from(sizes).ok())
        .ok_or_else(|| ort::Error::new(format!("the attribute {name} is not {N} sizes, but {ints:?}")))
}
