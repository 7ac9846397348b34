//! Makes towers fast on tract: the graph, or the beginning of it that is known, becomes one operator that
//! runs a program of few steps.
//!
//! What is rewritten, and why the result is the same:
//!
//! - **Channels innermost, padding as a border of zeros**: a window is runs of memory, so im2col is
//!   implicit, and nothing is gathered first. The same products are summed. Of a group of channels the runs
//!   are shorter; where each channel is convolved by itself, vectors run along the channels.
//! - **Views** (`view`): what moves elements alone is another way to look at the same map, and copied only
//!   where a step needs its elements elsewhere. What is computed from shapes and constants is a constant
//!   (`reader`), since the image's size is known.
//! - **Integer products**: where every input and weight is an integer and [`crate::exactness`] finds that
//!   float32 rounds no sum, sums of 8-bit integers in 32 bits are the graph's very numbers.
//! - **Bytes for numbers below 0**: a map of integers in −127…127 is stored moved up by 127 (`lift`), and so is its border, where
//!   0 is padded. Every sum begins with what takes that back, modulo 2³²; whatever else reads the map takes it back first.
//! - **Functions of bytes** (`lower::table`): nodes that make one number of 8 bits of another become a table.
//! - **Gates** ([`kernels::Gating`]): a map times one number a channel (squeeze and excitation), or times itself within limits
//!   (`lower::itself`: hard swish of exact towers), is one step with all that follows; from bytes to bytes in integers
//!   ([`kernels::IntegerGate`]).
//! - **Fused epilogues** ([`kernels::Epilogue`]): scale, shift, addition, limits and floor are done as in
//!   the graph, in its order. Factors are joined only where they are powers of two or the bits are not
//!   proven. Sums of integers become bytes by shifts where these are proven to give the same
//!   ([`kernels::Requantise`]); sums of float32, and of bytes, are finished in their registers where the kernels
//!   can ([`kernels::Finishing`]).
//! - **Winograd's tiles** (`winograd`): fewer products, in another order of summation. Where the graph
//!   itself rounds, the result stays within a few roundings; of integers, where the kernels are faster by
//!   tiles, it is the very sum.
//! - **Functions** ([`kernels::Function`]): activations end the step that makes their input; the bound of
//!   each approximation is proven in its module. `x · sigmoid(x)` and GELU written with `Erf` are one.
//! - **Shared memory** (`memory`): maps that are not needed at the same time have one buffer.
//! - **Several images together** (`group`): each image's sums keep their order, so its bits are the same.
//!
//! What is not lowered is left to tract, each node with its reason ([`coverage`]).
//!
//! The tests hold exact towers and random exact graphs to the float64 interpreter's bits, float towers to
//! its numbers, on every kernel that the CPU has, the portable one included; so are convolutions of every
//! form and random backbones.

mod aligned;
#[cfg(test)]
mod backbone_tests;
mod choice;
mod copy;
mod coverage;
mod draft;
#[cfg(test)]
mod exact_tests;
mod group;
pub mod kernels;
mod link;
mod lower;
mod map;
mod memory;
mod program;
mod reader;
mod run;
#[cfg(test)]
mod tests;
#[cfg(feature = "tract")]
mod tract;
mod view;
pub(crate) mod winograd;
#[cfg(test)]
mod winograd_tests;
#[cfg(not(target_family = "wasm"))]
mod work;

pub use choice::{NONE, VARIABLE, kernels, named};
pub use coverage::{Coverage, Refusal, Why};
pub use program::Program;
pub use run::Scratch;
#[cfg(feature = "tract")]
pub use tract::{LoweredOp, lower};
#[cfg(not(target_family = "wasm"))]
pub use work::Work;

use crate::onnx::{ModelProto, data_type};
use crate::tower::contract;
use draft::LoweredValue;
use kernels::Kernels;
use lower::Lowering;
use reader::Reader;

/// A lowered graph, or the beginning of one.
struct Compiled<'a> {
    program: Program,
    /// The values that it gives.
    outputs: Vec<(&'a str, LoweredValue)>,
    coverage: Coverage,
}

/// Lowers what can be of a model for images `[C, H, W]`; where nothing can be, tells of each node why.
fn compile<'a>(
    model: &'a ModelProto,
    size: [usize; 3],
    kernels: &'static Kernels,
) -> Result<Compiled<'a>, Vec<Refusal>> {
    let graph = model.graph.as_ref().ok_or_else(Vec::new)?;
    let [image] = contract::inputs(graph)[..] else {
        return Err(graph.node.iter().map(|node| Refusal::of(node, Why::Inputs)).collect());
    };
    let reader = Reader::new(model, graph, image.name(), size);
    let mut lowering = Lowering::of(reader, image.name(), size, kernels);
    let program = lowering.outputs().and_then(|outputs| {
        let maps: Vec<usize> = outputs.iter().map(|(_, value)| value.map).collect();
        Ok((link::link(&lowering.maps, std::mem::take(&mut lowering.drafts), maps, kernels)?, outputs))
    });
    match program {
        Ok((program, outputs)) => Ok(Compiled { program, outputs, coverage: lowering.coverage() }),
        Err(why) => Err(lowering.refused(why)),
    }
}

/// A program for a whole model that gives one output, to run without tract.
///
/// # Errors
/// The nodes that would be left, if any.
pub fn program(
    model: &ModelProto,
    size: [usize; 3],
    kernels: &'static Kernels,
) -> Result<Program, Vec<Refusal>> {
    let compiled = compile(model, size, kernels)?;
    let outputs = model.graph.iter().flat_map(|graph| &graph.output).map(|output| output.name());
    let given = compiled.outputs.iter().map(|(name, _)| *name);
    match given.len() == 1 && outputs.eq(given) {
        true => Ok(compiled.program),
        false => Err(compiled.coverage.left),
    }
}

/// Which nodes of a model run as one program, but for those that make constants. None for a model that
/// does not take one image of uint8 and of known size.
pub fn coverage(model: &ModelProto) -> Option<Coverage> {
    let [image] = contract::inputs(model.graph.as_ref()?)[..] else { return None };
    let (kind, shape) = contract::tensor(image).ok()?;
    let [_, channels, height, width] = shape[..] else { return None };
    if kind != data_type::UINT8 {
        return None;
    }
    let size = [channels?, height?, width?].map(|d| d as usize);
    Some(match compile(model, size, Kernels::best()) {
        Ok(compiled) => compiled.coverage,
        Err(left) => Coverage { lowered: Vec::new(), left },
    })
}
