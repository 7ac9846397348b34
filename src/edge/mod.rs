//! Makes towers fast on tract: the graph, or the beginning of it that is known, becomes one operator that
//! runs a program of few steps.
//!
//! What is rewritten, and why the result is the same:
//!
//! - **Channels innermost, padding as a border of zeros**: a window is runs of memory, and nothing is
//!   gathered first. The same products are summed.
//! - **Integer products** (`grid`): where every input and weight is an integer and no sum can reach 2²⁴,
//!   float32 rounds nothing, so sums of 8-bit integers in 32 bits are the graph's very numbers.
//! - **Fused passes** ([`kernels::Finish`]): scale, shift, addition, limits and floor are done as in the
//!   graph, in its order. Factors are joined only where they are powers of two or the bits are not proven.
//! - **Winograd's tiles** (`winograd`): fewer products, in another order of summation. Only where the graph
//!   itself rounds; the result stays within a few roundings.
//! - **Several images together** (`group`): each image's sums keep their order, so its bits are the same.
//!
//! The tests hold exact towers and random exact graphs to the float64 interpreter's bits, float towers to
//! its numbers, on every kernel that the CPU has, the portable one included.

mod draft;
mod grid;
mod group;
pub mod kernels;
mod link;
mod lower;
mod map;
mod op;
mod products;
mod program;
mod read;
mod run;
#[cfg(test)]
mod tests;
mod winograd;

pub use op::Lowered;
pub use program::Program;
pub use run::Scratch;

use crate::onnx::ModelProto;
use draft::Value;
use kernels::Kernels;
use lower::Lowering;
use read::Reader;
use std::sync::Arc;
use tract_onnx::prelude::*;

/// A lowered graph, or the beginning of one.
struct Compiled<'a> {
    program: Program,
    /// The values that it gives.
    outputs: Vec<(&'a str, Value)>,
}

/// Lowers what can be of a model for images `[C, H, W]`.
fn compile<'a>(model: &'a ModelProto, size: [usize; 3], kernels: &'static Kernels) -> Option<Compiled<'a>> {
    let graph = model.graph.as_ref()?;
    let weights: std::collections::HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let mut inputs = graph.input.iter().map(|i| i.name()).filter(|name| !weights.contains(name));
    let (image, None) = (inputs.next()?, inputs.next()) else { return None };
    let (lowering, outputs) = Lowering::of(Reader::new(graph), image, size)?;
    let values: Vec<Value> = outputs.iter().map(|(_, v)| v.clone()).collect();
    let program = link::link(lowering, &values, kernels)?;
    Some(Compiled { program, outputs })
}

/// A program for a whole model that gives one output, to run without tract.
pub fn program(model: &ModelProto, size: [usize; 3], kernels: &'static Kernels) -> Option<Program> {
    let compiled = compile(model, size, kernels)?;
    let whole = model.graph.as_ref()?.output.first()?.name();
    matches!(compiled.outputs.as_slice(), [(name, _)] if *name == whole).then_some(compiled.program)
}

/// The program that a plan consists of, if it is one whole program and nothing else.
pub fn whole(model: &TypedModel) -> Option<Arc<Program>> {
    let inputs = model.input_outlets().ok()?;
    let mut others = model.nodes.iter().filter(|node| inputs.iter().all(|input| input.node != node.id));
    let (node, None) = (others.next()?, others.next()) else { return None };
    let outputs = model.output_outlets().ok()?;
    let op = node.op_as::<Lowered>()?;
    (outputs == [OutletId::new(node.id, 0)]).then(|| op.program.clone())
}

/// Replaces what can be lowered of a typed tract model, whose input is `uint8 [1, C, H, W]`, by one
/// operator; a model of which nothing can be lowered is returned as it is. `model` is the file that
/// the tract model was made from.
///
/// # Errors
/// If tract refuses the replacement.
pub fn lower(mut typed: TypedModel, model: &ModelProto) -> TractResult<TypedModel> {
    let input = typed.input_outlets()?[0];
    let image = typed.outlet_fact(input)?.clone();
    let shape = image.shape.as_concrete().map(<[usize]>::to_vec);
    let Some([1, channels, height, width]) = shape.as_deref() else { return Ok(typed) };
    if typed.input_outlets()?.len() != 1 || image.datum_type != u8::datum_type() {
        return Ok(typed);
    }
    let Some(compiled) = compile(model, [*channels, *height, *width], Kernels::best()) else {
        return Ok(typed);
    };
    let Compiled { program, outputs } = compiled;
    let outlets: Option<Vec<OutletId>> =
        outputs.iter().map(|(name, _)| typed.find_outlet_label(name)).collect();
    let Some(outlets) = outlets else { return Ok(typed) };
    let shapes = outputs.iter().map(|(_, value)| {
        let map = &program.maps[value.map];
        let [h, w] = map.size;
        if value.flat { tvec![1, map.channels * h * w] } else { tvec![1, map.channels, h, w] }
    });
    let op = Lowered { shapes: shapes.collect(), program: Arc::new(program) };
    let mut patch = TypedModelPatch::default();
    let tapped = patch.tap_model(&typed, input)?;
    let made = patch.wire_node("lowered", op, &[tapped])?;
    for (outlet, made) in outlets.iter().zip(made) {
        patch.shunt_outside(&typed, *outlet, made)?;
    }
    patch.apply(&mut typed)?;
    Ok(typed)
}
